"""The table of a trial's growth: what has a column, what stands in the note, and how it looks on a narrow terminal."""

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from autogrow.metrics.metric import LOSS, SCORE
from autogrow.policy.records import GrowthEvent, Sample
from autogrow.report.growth_table import growth_table
from autogrow.report.terminal import render_tables
from autogrow.report.timeline import growth_timeline
from autogrow.tasks import TASKS

WAITED = "max_wait of 10 measurements reached"
USUAL = ["step", "changed", "params", "before", "after"]
SAMPLES = [Sample(n, n * 10, 0.1 * n, 0.5, 0.4 - 0.01 * n, 0.8, 0.9 + 0.01 * n, 1.0, 1e6, 900, 1e-3) for n in range(6)]
QUIET = GrowthEvent(
    index=1,
    step=10,
    sample=1,
    added_units={"features.1": 128, "features.4": 64},
    widths={"features.1": 256, "features.4": 128},
    parameters_before=90_000,
    parameters_after=178_000,
    flops_before=474_000.0,
    flops_after=1_010_000.0,
    largest_output_change=1.7e-6,
    trigger_reason=WAITED,
    trigger_value=10.0,
    seconds=0.25,
    shock=0.0,
    loss_before=1.5,
    losses_after={0: 1.5},
)
LATER = replace(QUIET, index=2, step=30, sample=3, parameters_after=303_000, flops_after=1_730_000.0, seconds=0.5)
NOISY = replace(
    LATER,
    step=20_000,
    shock=0.37,
    losses_after={0: 2.75, 1: 1.6},
    added_units={"layers.10.query": 1024, "layers.10.value": 1024},
    trigger_reason="validation_loss promises at most 0.001234 over 12 measurements",
)


def table_of(*events, metric=SCORE):
    summary = SimpleNamespace(
        preferred_trial=SimpleNamespace(number=3),
        best_timeline=growth_timeline(SAMPLES, events),
        judged_by=metric.of(TASKS["classification"].score),
    )
    return growth_table(summary)


def titles(table):
    return [column.title for column in table.columns]


def column(table, title):
    return [row[titles(table).index(title)] for row in table.rows]


def drawn(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(render_tables(table))
    return console.file.getvalue()


def test_what_is_the_same_of_all_events_stands_in_the_note():
    table = table_of(QUIET, LATER)
    assert titles(table) == USUAL
    assert table.rows[0] == ("10", "features.1: +128, features.4: +64", "178k", "91.00", "92.00")
    for told in (
        "Training FLOPs per example went from 474k to 1.73M.",
        "None changed an output on a fixed batch by more than 1.7e-06.",
        "Events took 0.750 seconds in all.",
        "Right after none of them was the loss there higher than before.",
        "In the 50 steps after it rose by less than 1 %.",
        f"Trigger: {WAITED}.",
    ):
        assert told in table.note


def test_what_differs_has_a_column():
    table = table_of(QUIET, NOISY)
    assert titles(table) == ["step", "changed", "params", "shock", "jump", "before", "after", "trigger"]
    assert column(table, "shock") == ["0 %", "37 %"]
    assert column(table, "jump") == ["1.5, none", "1.5 to 2.75, not yet"]
    assert column(table, "trigger") == [WAITED, NOISY.trigger_reason]
    for told in ("Right after none", "In the 50 steps after", "Trigger:"):
        assert told not in table.note


def test_what_no_event_has_recorded_is_not_told():
    unread = replace(QUIET, shock=None, loss_before=None, losses_after={})
    table = table_of(unread)
    assert titles(table) == USUAL
    assert "the loss" not in table.note


def test_where_the_loss_judges_it_is_shown():
    table = table_of(QUIET, metric=LOSS)
    assert (column(table, "before"), column(table, "after")) == (["0.390"], ["0.380"])
    assert "validation loss at the measurements" in table.note


def test_there_is_none_without_events():
    assert not table_of().rows


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (2.5, {0: 2.75, 1: 2.6, 10: 2.5}, "2.5 to 2.75, 10 steps"),
        (2.5, {0: 2.75, 1: 2.5}, "2.5 to 2.75, 1 step"),
        (2.5, {0: 2.75, 1: 2.6}, "2.5 to 2.75, not yet"),
        (2.5, {0: 2.5, 1: 2.6}, "2.5, none"),
        (None, {}, "–"),
    ],
)
def test_a_jump_names_both_losses_and_the_steps_to_recovery(before, after, text):
    table = table_of(replace(QUIET, loss_before=before, losses_after=after), NOISY)
    assert column(table, "jump")[0] == text


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("events", [(QUIET, LATER), (QUIET, NOISY)], ids=["alike", "different"])
def test_headings_words_and_numbers_stay_whole(events, width):
    table = table_of(*events)
    text = drawn(table, width)
    assert max(map(len, text.splitlines())) <= width
    printed = text.split()
    for cell in (*titles(table), *(cell for row in table.rows for cell in row)):
        assert set(cell.split()) <= set(printed), cell
