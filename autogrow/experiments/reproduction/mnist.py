"""The thesis' second experiment (5.2, Figure 5.3, Table 5.4): MNIST by two convolutions of 7 x 7 and 1024 units.

A standard network, and one that grows to the same size in tenths when the moving average of its accuracy stalls. Beside
them today's best policy, and what a sceptic would train in the same time.
"""

from autogrow.data.dataset import Dataset
from autogrow.experiments.conditions import Condition, Design, Experiment, FixedPlan
from autogrow.experiments.controls import FULL, GROWN, SAME_COMPUTE, plan_full, plan_grown, plan_same_compute
from autogrow.experiments.curve_drawing import Picture
from autogrow.experiments.reproduction.base import REPRODUCTIONS, Arena, Request
from autogrow.experiments.reproduction.thesis_experiment import ThesisExperiment
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import static_policy
from autogrow.policy.training_settings import TrainingSettings

NETWORK = ModelSpec("convnet")
THESIS_TRAINING = TrainingSettings(epochs=3, learning_rate_schedule="constant")
BEST_TRAINING = TrainingSettings(epochs=3, learning_rate_schedule="constant_then_cosine")
PUBLISHED = {"standard": (0.00686, 0.000369), "thesis": (0.00633, 0.000248)}
"""Table 5.4; of which metric the thesis does not say: by their size errors, so they stand beside ours."""
QUICK_SIZE = 500


def thesis_policy() -> GrowthPolicy:
    """Tenths; grow when the moving average of the accuracy stalls or falls; Glorot; nothing frozen."""
    return GrowthPolicy.from_dict(
        {
            "initial_fraction": 0.1,
            "chunk_fraction": 0.1,
            "width_multiple": 1,
            "trigger": {"kind": "plateau", "metric": "train_accuracy", "window": 5, "patience": 2, "max_wait": None},
            "initialization": "xavier",
        }
    )


def best_policy() -> GrowthPolicy:
    """Today's best policy here, chosen on validation data by other seeds than those of the experiment."""
    return GrowthPolicy.from_dict({"initial_fraction": 0.25, "chunk_fraction": 0.25, "max_fraction": 0.5})


def build(dataset: Dataset, request: Request) -> Arena:
    thesis, best = (_length(training, request) for training in (THESIS_TRAINING, BEST_TRAINING))
    experiment = Experiment(
        dataset, NETWORK, best_policy(), best, train_size=QUICK_SIZE if request.quick else None, device=request.device,
        execution=request.execution, keeps_validation_apart=True,
    )  # fmt: skip
    static = static_policy()
    conditions = (
        Condition.fixed("standard", "standard", "full size, as in the thesis", FixedPlan(static, None, thesis)),
        Condition.fixed(
            "thesis", "thesis policy", "tenths when accuracy stalls, as in the thesis",
            FixedPlan(thesis_policy(), None, thesis),
        ),
        Condition(GROWN, "best policy", "today's best policy", plan_grown),
        Condition(FULL, "standard, its training", "full size with the best policy's training settings", plan_full),
        Condition(
            SAME_COMPUTE, "same compute", "as that, for as many steps as the best policy's FLOPs pay for",
            plan_same_compute, (GROWN, FULL),
        ),
    )  # fmt: skip
    return Arena(experiment, Design(conditions, subject=GROWN, unit="standard", keeps_curves=True))


def _length(training: TrainingSettings, request: Request) -> TrainingSettings:
    return training.model_copy(update={"epochs": 2}) if request.quick else training


MNIST = REPRODUCTIONS.register("mnist")(
    ThesisExperiment(
        name="mnist",
        summary="Thesis 5.2: MNIST by a standard convolutional network, and by one that grows to its size",
        dataset="mnist",
        build=build,
        columns={"validation_loss": "validation loss", "train_loss": "train loss"},
        pictures={
            "validation-loss": Picture("step", "validation_loss", "validation loss", logarithmic=True),
            "train-loss": Picture("step", "train_loss", "train loss", logarithmic=True),
        },
        published=PUBLISHED,
    )
)
