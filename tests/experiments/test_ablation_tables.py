"""What a study says of made-up results: better, worse, no difference, not tested, failed."""

from dataclasses import replace

from autogrow.experiments.conditions import Condition, Design
from autogrow.experiments.records import FailedRun, RunRecord
from autogrow.experiments.reproduction.ablation_tables import (
    STATIC,
    ablation_findings,
    ablation_table,
    tables_by_dataset,
)
from autogrow.experiments.results import Results
from autogrow.network.shape import NetworkShape

NAMES = (STATIC, "baseline", "other")
COPIES = {"placebo": STATIC}


def results(losses, failures=()):
    """By condition, the losses of its seeds."""
    conditions = tuple(
        Condition(name, name, f"what {name} is", lambda *arguments: "", copies=COPIES.get(name))
        for name in dict.fromkeys((*NAMES, *losses))
    )
    design = Design(conditions, subject="baseline", unit=STATIC, split="validation")
    runs = [
        RunRecord(
            seed, name, test_score=None, test_loss=None, validation_score=0.9 - loss, validation_loss=loss,
            train_score=0.9, train_loss=0.1, train_seconds=1.0, training_flops=2.0, steps=10, parameters=10,
            num_events=1, growth_ended_by="", shape=NetworkShape({}), largest_shock=0.25,
        )
        for name, values in losses.items()
        for seed, loss in enumerate(values)
    ]  # fmt: skip
    return Results("classification", design, tuple(runs), tuple(failures))


BASE = {STATIC: [0.3, 0.31, 0.29], "baseline": [0.2, 0.22, 0.21]}


def test_data_sets_are_told_apart_by_what_was_found_there():
    found = {
        "worse": results({**BASE, "other": [0.3, 0.33, 0.31]}),
        "better": results({**BASE, "other": [0.1, 0.11, 0.105]}),
        "level": results({**BASE, "other": [0.19, 0.24, 0.2]}),
        "single": results({name: values[:1] for name, values in {**BASE, "other": [0.1]}.items()}),
        "failed": results(BASE, [FailedRun(seed, "other", "the loss is nan") for seed in range(3)]),
    }
    head, _, sentence = ablation_findings(found)
    assert head == "A difference is one of the loss with p below 0.05 over 3 seeds."
    assert sentence == (
        "Other: worse than baseline on worse (loss 1.49 times, -10.33 points); better than baseline on better "
        "(loss 0.50 times, +10.50 points); no difference from baseline found on level; not tested against baseline on "
        "single (one seed: no standard error, no test); not compared with baseline, since runs failed, on failed."
    )


class TestPlacebo:
    BETTER = {**BASE, "other": [0.18, 0.202, 0.189]}
    """By 0.02, in every seed."""

    def test_what_chance_alone_makes_is_level(self):
        noisy = results({**self.BETTER, "placebo": [0.28, 0.33, 0.27]})
        calm = results({**self.BETTER, "placebo": [0.301, 0.309, 0.29]})
        head, *_, sentence = ablation_findings({"noisy": noisy, "calm": calm})
        assert head == (
            "A difference is one of the loss with p below 0.05 over 3 seeds, and above what chance alone makes by the "
            "placebo (0.0367 on noisy, 0.0015 on calm)."
        )
        assert sentence.startswith(
            "Other: level with baseline on noisy (below the noise floor); better than baseline on calm"
        )
        assert not any(each.startswith("Placebo") for each in ablation_findings({"noisy": noisy}))

    def test_its_row_has_the_difference_from_what_it_copies(self):
        table = ablation_table({"noisy": results({**self.BETTER, "placebo": [0.28, 0.33, 0.27]})})
        assert table.rows[-1][1] == "placebo"
        assert table.rows[-1][8] == "-0.00667"
        assert "The placebo's difference is from static: what chance alone makes." in table.note


def test_nothing_is_said_of_one_seed():
    single = results({name: values[:1] for name, values in {**BASE, "other": [0.1]}.items()})
    assert ablation_findings({"a": single, "b": single}) == (
        "One seed: no standard error and no test, so nothing is said of differences.",
    )


def test_the_ratio_is_over_seeds_that_both_have():
    other = results({**BASE, "baseline": [0.2, 0.2, 0.2], "other": [0.1, 0.11, 0.105]})
    runs = tuple(run for run in other.runs if (run.seed, run.condition) != (0, "other"))
    *_, sentence = ablation_findings({"data": replace(other, runs=runs)})
    assert "loss 0.54 times" in sentence


def test_one_table_has_every_data_set_and_failures_are_named():
    found = {"a": results({**BASE, "other": [0.3, 0.33, 0.31]}), "b": results(BASE, [FailedRun(0, "other", "nan")])}
    table = ablation_table(found)
    assert [row[:2] for row in table.rows] == [(data, name) for data in "ab" for name in NAMES]
    assert [column.title for column in table.columns][:4] == ["data", "policy", "accuracy %", "loss"]
    assert table.rows[0][7:] == ("25 %", "+0.09", "0.00577", "0.004")
    assert table.rows[5][2:] == ("–",) * 9
    assert table.note.endswith("On b, other failed under seed 0: nan.")
    assert "other: what other is" in table.note


def test_in_a_terminal_every_data_set_has_a_narrower_one():
    first, second = tables_by_dataset({"a": results({**BASE, "other": [0.3, 0.33, 0.31]}), "b": results(BASE)})
    titles = [column.title for column in first.columns]
    assert titles == ["policy", "accuracy %", "loss", "compute", "shock", "loss - baseline", "p"]
    assert first.rows[0] == (STATIC, "60.00 ± 1.00", "0.300 ± 0.0100", "1.000", "25 %", "+0.09", "0.004")
    assert not first.note and second.note
