"""The thesis' second experiment (5.2, Figure 5.3, Table 5.4): MNIST by two convolutions of 7 x 7 and 1024 units.

A standard network, and one that grows to the same size in tenths when the moving average of its accuracy stalls; both
with Adam at a constant rate. Compared with today's best policy, and what a sceptic would train: the same without
freezing, and what needs no growing at all, a falling learning rate: at full size, cut to as much compute, at half size.
"""

from collections.abc import Callable

from autogrow.data.dataset import Dataset
from autogrow.experiments.conditions import Condition, Design, Experiment, Finished, FixedPlan, TrainingPlan
from autogrow.experiments.controls import GROWN, plan_grown
from autogrow.experiments.drawing import CurvePicture
from autogrow.experiments.reproduction.base import REPRODUCTIONS, DesignedExperiment, Request
from autogrow.experiments.reproduction.thesis_experiment import ThesisExperiment
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import static_policy
from autogrow.policy.training_settings import TrainingSettings

NETWORK = ModelSpec("convnet")
HALF = ModelSpec("convnet", {"channels": (16, 32), "hidden": 512})
QUICK_NETWORK = ModelSpec("convnet", {"channels": (16, 16), "hidden": 64})
QUICK_HALF = ModelSpec("convnet", {"channels": (8, 8), "hidden": 32})
"""With these the ten thousand test images take a second, not ten."""
TRAIN_SIZE, QUICK_SIZE = 10_000, 300
"""Images; all 60,000 would take more than an hour on two cores."""
THESIS_TRAINING = TrainingSettings(
    epochs=4, batch_size=128, learning_rate_schedule="constant", sample_every=6, sample_size=200
)
BEST_TRAINING = THESIS_TRAINING.model_copy(update={"learning_rate": 2e-3})
"""A larger rate suits narrow networks."""
FALLING = THESIS_TRAINING.model_copy(update={"learning_rate_schedule": "cosine"})
FALLING_HALF = BEST_TRAINING.model_copy(update={"learning_rate_schedule": "cosine"})
BEST_EVERY = 37
PUBLISHED = {"standard": (0.00686, 0.000369), "thesis": (0.00633, 0.000248)}
"""Table 5.4."""


def thesis_policy() -> GrowthPolicy:
    """Tenths; grow when the moving average of the accuracy stalls or falls; Glorot; nothing frozen."""
    return GrowthPolicy.from_dict(
        {
            "initial_fraction": 0.1,
            "chunk_fraction": 0.1,
            "width_multiple": 1,
            "trigger": {
                "kind": "plateau", "metric": "train_score", "window": 5, "patience": 1, "min_delta": 0.0,
                "cooldown": 0, "max_wait": None,
            },
            "initialization": "xavier",
        }
    )  # fmt: skip


def best_policy(every: int = BEST_EVERY, freeze: str = "old") -> GrowthPolicy:
    """The best found that takes at most half of the standard network's time: half width, one late event, old frozen.

    Chosen on validation data by seeds that the experiment does not use.
    """
    return GrowthPolicy.from_dict(
        {
            "initial_fraction": 0.5,
            "chunk_fraction": 0.125,
            "max_fraction": 0.625,
            "width_multiple": 4,
            "trigger": {"kind": "schedule", "every": every},
            "initialization": "zero_fan_out",
            "freeze": {"kind": freeze},
            "new_unit_lr": 0.1,
        }
    )


def build(dataset: Dataset, request: Request) -> DesignedExperiment:
    thesis, best, falling, half = (
        _length(training, request) for training in (THESIS_TRAINING, BEST_TRAINING, FALLING, FALLING_HALF)
    )
    every = 4 if request.quick else BEST_EVERY
    network, half_network = (QUICK_NETWORK, QUICK_HALF) if request.quick else (NETWORK, HALF)
    experiment = Experiment(
        dataset, network, best_policy(every), best, train_size=QUICK_SIZE if request.quick else TRAIN_SIZE,
        device=request.device, execution=request.execution, keeps_validation_apart=True,
    )  # fmt: skip
    static = static_policy()
    conditions = (
        Condition.fixed("standard", "standard", "full size, as in the thesis", FixedPlan(static, None, thesis)),
        Condition.fixed(
            "thesis", "thesis policy", "tenths when accuracy stalls, as in the thesis",
            FixedPlan(thesis_policy(), None, thesis),
        ),
        Condition(GROWN, "best policy", "half to five eighths, old units frozen, twice the rate", plan_grown),
        Condition.fixed(
            "grown_unfrozen", "not frozen", "as the best policy, but nothing is frozen",
            FixedPlan(best_policy(every, "none"), None, best),
        ),
        Condition.fixed("falling", "full, falling", "the standard one with a cosine", FixedPlan(static, None, falling)),
        Condition(
            "falling_same_compute", "falling, same compute", "as that, cut to the best policy's FLOPs",
            _cut(falling), (GROWN, "standard"), {"training": falling.model_dump(mode="json")},
        ),
        Condition.fixed(
            "falling_half", "half, falling", "half of the width throughout, a cosine from twice the rate",
            FixedPlan(static, half_network, half),
        ),
    )  # fmt: skip
    return DesignedExperiment(experiment, Design(conditions, subject=GROWN, unit="standard", keeps_curves=True))


def _cut(training: TrainingSettings) -> Callable[[Experiment, int, Finished], TrainingPlan]:
    """Full size with these settings, for as many steps as the grown run's FLOPs pay for."""

    def plan(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan:
        grown, full = finished[GROWN], finished["standard"]
        steps = max(1, round(grown.training_flops / full.training_flops * full.steps))
        return TrainingPlan(experiment.model, static_policy(), training.model_copy(update={"steps": steps}))

    return plan


def _length(training: TrainingSettings, request: Request) -> TrainingSettings:
    if not request.quick:
        return training
    return training.model_copy(update={"steps": 12, "batch_size": 32, "sample_every": 1, "sample_size": 100})


MNIST = REPRODUCTIONS.register("mnist")(
    ThesisExperiment(
        name="mnist",
        summary="Thesis 5.2: MNIST by a standard convolutional network, and by one that grows to its size",
        dataset="mnist",
        build=build,
        columns={"validation_loss": "validation loss", "train_loss": "train loss"},
        pictures={
            "validation-loss": CurvePicture("step", "validation_loss", "validation loss", logarithmic=True),
            "train-loss": CurvePicture("step", "train_loss", "train loss", logarithmic=True),
        },
        published=PUBLISHED,
        published_column="validation_loss",
        note="The thesis does not say which metric its table gives, nor on how many images; it stands by our loss. "
        "The best policy and its settings were chosen on the validation images, by other seeds: test is the judge.",
    )
)
