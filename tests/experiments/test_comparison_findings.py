"""What a comparison says of its subject: only paired seeds say ahead, and chance is no result."""

import dataclasses

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
    conditions = tuple(Condition(name, name, "", lambda *given: "") for name in accuracies)
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
