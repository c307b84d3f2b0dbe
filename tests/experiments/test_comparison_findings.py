"""What a comparison says of its subject: only paired seeds say ahead, and chance is no result."""

import dataclasses

import pytest

from autogrow.experiments.comparison_findings import content, findings
from autogrow.experiments.conditions import Condition, Design
from autogrow.experiments.records import RunRecord
from autogrow.experiments.results import Results
from autogrow.network.shape import NetworkShape
from autogrow.report.judging import Yardstick
from autogrow.tasks import TASKS

YARDSTICK = Yardstick("classification", "score", 1000, 0.1)


def results(**accuracies):
    """By condition, the test accuracies of its seeds."""
    copies = {"placebo": "full"}
    conditions = tuple(Condition(name, name, "", lambda *given: "", copies=copies.get(name)) for name in accuracies)
    runs = tuple(
        RunRecord(
            seed, name, test_score=accuracy, test_loss=1 - accuracy, train_score=0.9, train_loss=0.1,
            train_seconds=1.0, training_flops=2.0, steps=10, parameters=10, num_events=1, growth_ended_by="",
            shape=NetworkShape({}),
        )
        for name, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    )  # fmt: skip
    return Results("classification", Design(conditions, subject="grown", unit="full"), runs)


def test_paired_seeds_say_ahead_behind_and_level():
    found = results(
        grown=[0.9, 0.91, 0.92], full=[0.91, 0.9, 0.92], final=[0.8, 0.812, 0.82], small=[0.95, 0.962, 0.97]
    )
    assert [each.split(" by ")[0].split(":")[0] for each in findings(found, YARDSTICK)] == [
        "By test accuracy, Grown is level with full",
        "By test accuracy, Grown is ahead of final",
        "By test accuracy, Grown is behind small",
    ]
    assert {name: each["kind"] for name, each in content(found, YARDSTICK)["verdicts"].items()} == {
        "full": "level", "final": "ahead", "small": "behind",
    }  # fmt: skip


class TestPlacebo:
    """Grown is ahead of full by 0.9 points, with a standard error of 0.06, and an event that adds nothing did 1.4."""

    CLOSE = {"grown": [0.919, 0.929, 0.937], "full": [0.91, 0.92, 0.929]}

    def test_what_is_within_its_noise_is_level_and_the_floor_is_said_once(self):
        assert findings(results(**self.CLOSE), YARDSTICK)[0].startswith("By test accuracy, Grown is ahead of full")
        found = results(**self.CLOSE, placebo=[0.9, 0.93, 0.939])
        level, noise = findings(found, YARDSTICK)
        assert level == (
            "By test accuracy, Grown is level with full: +0.87 points (standard error 0.03, 3 paired seeds, below the "
            "noise floor of 1.84 points)."
        )
        assert noise == (
            "Noise floor: the placebo, an event that adds nothing, ended +0.33 points from full (standard error 0.67, "
            "3 seeds). By how that varies, chance alone makes up to 1.84 points over 3 seeds: nothing smaller is "
            "called better."
        )
        assert content(found, YARDSTICK)["verdicts"].keys() == {"full"}
        assert content(found, YARDSTICK)["verdicts"]["full"]["kind"] == "level"

    def test_what_is_beyond_its_noise_is_not(self):
        found = results(**self.CLOSE, placebo=[0.911, 0.919, 0.93])
        assert findings(found, YARDSTICK)[0].startswith("By test accuracy, Grown is ahead of full by 0.87 points")

    def test_the_summary_has_what_it_did_and_the_floor(self):
        summary = results(**self.CLOSE, placebo=[0.9, 0.93, 0.939]).summary()
        assert summary["placebo_minus_full"]["test_score"]["mean"] == pytest.approx(0.01 / 3)
        assert summary["noise_floor"]["test_score"]["of_mean"] == pytest.approx(0.01837, rel=1e-3)
        assert "placebo" not in summary["grown_minus"]

    def test_a_seed_under_which_nothing_grew_says_nothing_of_noise(self):
        found = results(**self.CLOSE, placebo=[0.9, 0.93, 0.929])
        runs = [
            dataclasses.replace(run, same_run_as="full") if (run.condition, run.seed) == ("placebo", 2) else run
            for run in found.runs
        ]
        found = dataclasses.replace(found, runs=tuple(runs))
        assert found.noise_floor("test_score").degrees == found.placebo_difference("test_score").num_seeds == 2

    def test_without_one_nothing_is_said_of_it(self):
        summary = results(**self.CLOSE).summary()
        assert "noise_floor" not in summary
        assert not any("Noise floor" in each for each in findings(results(**self.CLOSE), YARDSTICK))


def test_one_seed_says_how_many_examples():
    assert findings(results(grown=[0.903], full=[0.9]), YARDSTICK) == (
        "By test accuracy, Grown is higher than full by 3 of 1,000 examples, one seed.",
    )


def test_at_chance_nothing_is_compared():
    assert findings(results(grown=[0.11] * 3, full=[0.1] * 3), YARDSTICK) == (
        "Nothing was learned: Grown is no better than chance (always naming the largest class has 10.00 %), so nothing "
        "is compared.",
    )
    said = findings(results(grown=[0.9] * 3, full=[0.1] * 3), YARDSTICK)
    assert said == (
        "Not compared, for they are no better than chance (always naming the largest class has 10.00 %): full.",
    )


def test_text_is_compared_by_its_loss():
    found = dataclasses.replace(results(grown=[0.9, 0.91, 0.92], final=[0.8, 0.812, 0.82]), task="text")
    (said,) = findings(found, Yardstick("text", TASKS["text"].preference, 1000, 3.0))
    assert said.startswith("By test loss, Grown is ahead of final by 0.0993 nats per token")


def test_chance_is_judged_by_the_loss_of_text_whatever_its_accuracy():
    found = dataclasses.replace(results(grown=[0.1, 0.11, 0.12], final=[0.01, 0.02, 0.03]), task="text")
    lost = Yardstick("text", "loss", 1000, 0.5)
    assert findings(found, lost) == (
        "Nothing was learned: Grown is no better than chance (naming tokens by how common they are (the unigram "
        "entropy) has loss 0.500 nats per token), so nothing is compared.",
    )
    assert "ahead of final" in findings(found, Yardstick("text", "loss", 1000, 1.0))[0]
