"""The thesis' first experiment (5.1, Figure 5.1, Table 5.2): sin(x) on [-2 pi, 2 pi] by one hidden layer.

Static networks of 100 and 500 units; one that grows to 500 in fifths after ten samples without improvement and freezes
what it has. Beside them today's best policy, and both static networks with its training settings.
"""

from autogrow.data.dataset import Dataset
from autogrow.experiments.conditions import Condition, Design, Experiment, FixedPlan
from autogrow.experiments.curve_drawing import Picture
from autogrow.experiments.reproduction.base import REPRODUCTIONS, Arena, Request
from autogrow.experiments.reproduction.thesis_experiment import ThesisExperiment
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import static_policy
from autogrow.policy.training_settings import TrainingSettings

FULL = ModelSpec("mlp", {"hidden": (500,), "batch_norm": False})
SMALL = ModelSpec("mlp", {"hidden": (100,), "batch_norm": False})
THESIS_TRAINING = TrainingSettings(epochs=100, batch_size=100, learning_rate_schedule="constant")
"""Adam at PyTorch's and the thesis' default rate. The thesis gives neither length nor batch: these bring its static
networks to the losses that it reports."""
BEST_TRAINING = THESIS_TRAINING.model_copy(update={"learning_rate_schedule": "constant_then_cosine"})
PUBLISHED = {"static_100": (0.00138, 0.000389), "static_500": (0.00234, 0.003261), "thesis": (0.00024, 0.000084)}
"""Table 5.2."""
QUICK_EPOCHS = 3


def thesis_policy() -> GrowthPolicy:
    """Fifths; grow after ten samples without improvement; freeze what was there; Glorot."""
    return GrowthPolicy.from_dict(
        {
            "initial_fraction": 0.2,
            "chunk_fraction": 0.2,
            "width_multiple": 1,
            "trigger": {
                "kind": "plateau", "window": 1, "patience": 10, "min_delta": 0.0, "cooldown": 0, "max_wait": None,
            },
            "initialization": "xavier",
            "freeze": {"kind": "old"},
        }
    )  # fmt: skip


def best_policy() -> GrowthPolicy:
    """Today's best policy here, chosen on validation data by other seeds than those of the experiment."""
    return GrowthPolicy.from_dict(
        {
            "initial_fraction": 0.2,
            "chunk_fraction": 0.2,
            "width_multiple": 1,
            "trigger": {"kind": "schedule", "every": 10},
            "initialization": "zero_fan_out",
        }
    )


def build(dataset: Dataset, request: Request) -> Arena:
    thesis, best = (_length(training, request) for training in (THESIS_TRAINING, BEST_TRAINING))
    experiment = Experiment(
        dataset, FULL, best_policy(), best, device=request.device, execution=request.execution,
        keeps_validation_apart=True,
    )  # fmt: skip
    static = static_policy()
    conditions = (
        Condition.fixed(
            "static_100", "100 units", "100 units throughout, as in the thesis", FixedPlan(static, SMALL, thesis)
        ),
        Condition.fixed(
            "static_500", "500 units", "500 units throughout, as in the thesis", FixedPlan(static, FULL, thesis)
        ),
        Condition.fixed(
            "thesis", "thesis policy", "100 to 500 units, frozen, as in the thesis",
            FixedPlan(thesis_policy(), FULL, thesis),
        ),
        Condition.fixed("best", "best policy", "today's best policy", FixedPlan(best_policy(), FULL, best)),
        Condition.fixed(
            "static_100_best", "100 units, its training", "100 units with the training settings of the best policy",
            FixedPlan(static, SMALL, best),
        ),
        Condition.fixed(
            "static_500_best", "500 units, its training", "500 units with the training settings of the best policy",
            FixedPlan(static, FULL, best),
        ),
    )  # fmt: skip
    return Arena(experiment, Design(conditions, subject="best", unit="static_100", keeps_curves=True))


def _length(training: TrainingSettings, request: Request) -> TrainingSettings:
    return training.model_copy(update={"epochs": QUICK_EPOCHS}) if request.quick else training


SINE = REPRODUCTIONS.register("sine")(
    ThesisExperiment(
        name="sine",
        summary="Thesis 5.1: a sine by 100 units, by 500, and by a network that grows from one to the other",
        dataset="sine",
        build=build,
        columns={"train_loss": "train loss", "validation_loss": "validation loss"},
        pictures={
            "train-loss": Picture("step", "train_loss", "train loss (mean squared error)", logarithmic=True),
            "validation-loss": Picture("step", "validation_loss", "validation loss", logarithmic=True),
        },
        published=PUBLISHED,
    )
)
