"""The terminal report: what it says, and that numbers stay whole on a narrow terminal."""

import io

import pytest
from rich.console import Console

from autogrow.report import terminal
from autogrow.report.summary import summarize
from autogrow.report.tables import Column, Table
from autogrow.report.terminal import render, render_status
from tests.report.conftest import EVERY_OBJECTIVE

pytestmark = pytest.mark.slow


def text_of(renderable, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def test_says_what_there_is(full_summary):
    text = text_of(render(full_summary))
    assert "23 complete, 1 pruned, 3 failed of 50 trials" in text
    assert "Growing (trial 22) is higher than the static control by 16 of 1,000 examples" in text
    for caption in (
        "Best grown trials, and the controls",
        "Pareto front",
        "Growth of trial 22",
        "Failed and infeasible trials",
    ):
        assert caption in text
    assert "TrainingDivergedError" in text


@pytest.mark.parametrize("width", [80, 100, 140])
def test_numbers_stay_whole(full_summary, width):
    lines = text_of(render(full_summary), width).splitlines()
    assert max(map(len, lines)) <= width
    best = next(line for line in lines if line.startswith("best accuracy"))
    assert best.split() == ["best", "accuracy", "22", "91.65", "+1.80", "10.5", "0.60", "300k", "2"]
    front = next(line for line in lines if line.lstrip().startswith("22 ") and "91.65" in line)
    assert front.split()[:7] == ["22", "91.65", "+1.80", "10.5", "0.60", "300k", "2"]


def test_regression_is_headed_r_squared(make_run):
    run = make_run(dataset="sine")
    run.controls(static=-0.5, default=0.25, thesis=0.9)
    text = text_of(render(summarize(run.folder)))
    heading = next(line for line in text.splitlines() if line.startswith("what"))
    assert "R²" in heading
    assert "accuracy" not in heading
    assert "-0.5000" in text


def test_no_trial_finished_yet(make_run):
    run = make_run()
    run.start()
    with run.folder.locked():
        text = text_of(render(summarize(run.folder)), 80)
    assert "No verdict yet" in text
    assert "search running" in text
    assert "static (running)" in text
    assert "Running trials" in text
    assert "Pareto front" not in text


def test_a_long_front_is_cut_and_says_so(make_run, monkeypatch):
    monkeypatch.setattr(terminal, "MAX_FRONT_ROWS", 2)
    run = make_run()
    run.controls(default=0.1, thesis=0.1)
    for index in range(5):
        run.complete(0.5 + 0.01 * index, gap=0.01 + 0.01 * index, seconds=1.0 + index)
    assert "And 3 more." in text_of(render(summarize(run.folder)))


def test_markup_in_a_reason_is_text(make_run):
    run = make_run()
    run.fail("ValueError: [bold]shape[/nothing] [3, 4]")
    assert "[bold]shape[/nothing] [3, 4]" in text_of(render(summarize(run.folder)))


@pytest.mark.parametrize("width", [80, 120])
def test_seven_objectives_fit_a_narrow_terminal(make_run, width):
    run = make_run(objectives=EVERY_OBJECTIVE)
    for accuracy in (0.90, 0.88, 0.86, 0.95):
        run.complete(accuracy, latency_ms=12.5, seconds=1234.5, parameters=27_600_000)
    lines = text_of(render(summarize(run.folder)), width).splitlines()
    assert max(map(len, lines)) <= width
    best = next(line for line in lines if line.startswith("best accuracy"))
    assert best.split()[2:] == ["3", "95.00", "+2.00", "1,234", "0.400", "27.6M", "166M", "12.5"]
    assert any(line.startswith("latency (ms)") for line in lines)


def test_labels_are_broken_before_numbers_are_cut(make_run):
    run = make_run(objectives=EVERY_OBJECTIVE)
    run.complete_infeasible(0.9, {"max_parameters": 1.0}, latency_ms=1234.0, seconds=12345.0)
    run.complete(0.9, latency_ms=1234.0, seconds=12345.0)
    lines = text_of(render(summarize(run.folder)), 80).splitlines()
    assert max(map(len, lines)) <= 80
    static = next(line for line in lines if "static" in line and "90.00" in line and "300k" in line)
    assert static.split()[-8:] == ["0", "90.00", "+2.00", "12,345", "0.400", "300k", "1.80M", "1,234"]


def test_status_is_short(full_summary):
    text = text_of(render_status(full_summary))
    assert "23 complete" in text
    assert "Pareto front" not in text
    assert "train seconds, " in text
    assert "validation accuracy (%)" in text


def test_status_counts_every_state(make_run):
    run = make_run()
    run.controls()
    run.complete_infeasible(0.9, {"max_parameters": 1.0})
    run.prune(0.5)
    run.fail("RuntimeError: broken")
    run.start()
    run.database.study.enqueue_trial({})
    text = text_of(render_status(summarize(run.folder, with_progress=False)))
    assert "3 complete, 1 infeasible, 1 pruned, 1 failed, 1 running, 1 waiting of 50 trials" in text
    assert "hypervolume" not in text


def test_headings_are_broken_before_names_are_cut():
    columns = (Column("condition"), *(Column(f"test next-token accuracy {part} %", numeric=True) for part in range(4)))
    table = Table("Quality", columns, (("same compute", *["12.34 ± 0.56"] * 4), ("grown", *["9.99 ± 0.10"] * 4)))
    narrow, wide = (text_of(terminal.render_tables(table), width) for width in (80, 200))
    assert "same compute  12.34 ± 0.56" in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert "test next-token accuracy 0 %" not in narrow
    assert "test next-token accuracy 0 %" in wide
