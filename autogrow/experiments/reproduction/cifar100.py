"""The thesis' third experiment (5.3): CIFAR-100 by a residual network of 60 layers that grows in tenths.

Static, and grown every 2,500 steps, as in the thesis. Compared with today's best policy, the same network at
full size with its training settings, and at full size for as much compute. Then the same question for ResNet-18, whose
published figures are those to beat. Both are meant for a GPU: on a CPU a run takes a day.
"""

from autogrow.data.dataset import Dataset
from autogrow.experiments.conditions import Condition, Design, Experiment, FixedPlan
from autogrow.experiments.controls import FULL, GROWN, SAME_COMPUTE, plan_full, plan_grown, plan_same_compute
from autogrow.experiments.drawing import CurvePicture
from autogrow.experiments.matched_metrics import AT_EQUAL_TRAIN_SCORE, AT_EQUAL_VALIDATION_SCORE
from autogrow.experiments.reproduction.base import REPRODUCTIONS, DesignedExperiment, Request
from autogrow.experiments.reproduction.thesis_experiment import ThesisExperiment
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import static_policy
from autogrow.policy.training_settings import TrainingSettings

THESIS_NETWORK = ModelSpec("resnet", {"depth": 62})
QUICK_NETWORK = ModelSpec("resnet", {"depth": 8, "width": 4})
RESNET_18 = ModelSpec("resnet18")
THESIS_TRAINING = TrainingSettings(
    epochs=100, batch_size=128, learning_rate_schedule="constant", sample_every=100, sample_size=5000
)
"""Adam at its default rate; nine events of 2,500 steps and half as long again. The thesis says no length."""
BEST_TRAINING = THESIS_TRAINING.model_copy(update={"learning_rate_schedule": "constant_then_cosine"})
RESNET_18_TRAINING = TrainingSettings(
    epochs=200, batch_size=128, optimizer="sgd", learning_rate=0.1, weight_decay=5e-4,
    learning_rate_schedule="constant_then_cosine", sample_every=391, sample_size=5000,
)  # fmt: skip
"""Those of the published figures for ResNet-18 of 78.4 % (Yuan et al. 2023), but for the schedule."""
QUICK_SIZE, QUICK_STEPS = 400, 24
SAMPLES_BETWEEN = 25


def thesis_policy(every: int = SAMPLES_BETWEEN) -> GrowthPolicy:
    """Tenths, everywhere, every 25 measurements (2,500 steps); Glorot; nothing frozen."""
    return GrowthPolicy.from_dict(
        {
            "initial_fraction": 0.1,
            "chunk_fraction": 0.1,
            "width_multiple": 1,
            "trigger": {"kind": "schedule", "every": every},
            "initialization": "xavier",
        }
    )


def best_policy(every: int) -> GrowthPolicy:
    """From half to full width in two events, exact, the learning rate constant for three quarters."""
    return GrowthPolicy.from_dict(
        {
            "initial_fraction": 0.5,
            "chunk_fraction": 0.25,
            "trigger": {"kind": "schedule", "every": every},
            "initialization": "zero_fan_out",
            "connection_ramp_steps": 50,
        }
    )


def build(dataset: Dataset, request: Request) -> DesignedExperiment:
    """The thesis' network."""
    thesis, best = (_length(training, request) for training in (THESIS_TRAINING, BEST_TRAINING))
    every, thesis_every = (4, 1) if request.quick else (120, SAMPLES_BETWEEN)
    experiment = _experiment(dataset, THESIS_NETWORK, best_policy(every), best, request)
    conditions = (
        Condition.fixed("static", "static", "full size, as in the thesis", FixedPlan(static_policy(), None, thesis)),
        Condition.fixed(
            "thesis", "thesis policy", "tenths every 25 measurements, as in the thesis",
            FixedPlan(thesis_policy(thesis_every), None, thesis),
        ),
        *_grown_and_controls(),
    )  # fmt: skip
    return DesignedExperiment(experiment, Design(conditions, subject=GROWN, unit=FULL, keeps_curves=True))


def build_resnet_18(dataset: Dataset, request: Request) -> DesignedExperiment:
    """The network of the published figures."""
    policy = best_policy(4 if request.quick else 60)
    experiment = _experiment(dataset, RESNET_18, policy, _length(RESNET_18_TRAINING, request), request)
    return DesignedExperiment(experiment, Design(_grown_and_controls(), subject=GROWN, unit=FULL, keeps_curves=True))


def _grown_and_controls() -> tuple[Condition, ...]:
    return (
        Condition(GROWN, "best policy", "today's best policy", plan_grown),
        Condition(FULL, "static, its training", "full size with the best policy's training settings", plan_full),
        Condition(
            SAME_COMPUTE, "same compute", "as that, for as many steps as the best policy's FLOPs pay for",
            plan_same_compute, (GROWN, FULL),
        ),
    )  # fmt: skip


def _experiment(
    dataset: Dataset, network: ModelSpec, policy: GrowthPolicy, training: TrainingSettings, request: Request
) -> Experiment:
    return Experiment(
        dataset,
        QUICK_NETWORK if request.quick else network,
        policy,
        training,
        train_size=QUICK_SIZE if request.quick else None,
        device=request.device,
        execution=request.execution,
        keeps_validation_apart=True,
    )


def _length(training: TrainingSettings, request: Request) -> TrainingSettings:
    if not request.quick:
        return training
    short = {"steps": QUICK_STEPS, "batch_size": 32, "sample_every": 2, "sample_size": 100}
    return training.model_copy(update=short)


PICTURES = {
    "validation-loss": CurvePicture("step", "validation_loss", "validation loss", logarithmic=True),
    "accuracy": CurvePicture("step", "validation_score", "validation accuracy (%)", factor=100),
    "loss-at-equal-training": CurvePicture(
        "train_score", "validation_loss", "validation loss", below="train accuracy", logarithmic=True
    ),
}
COLUMNS = {"validation_loss": "validation loss", "train_loss": "train loss"}
MATCHINGS = (AT_EQUAL_TRAIN_SCORE, AT_EQUAL_VALIDATION_SCORE)

CIFAR100 = REPRODUCTIONS.register("cifar100")(
    ThesisExperiment(
        name="cifar100",
        summary="Thesis 5.3: CIFAR-100 by a residual network of 60 layers, static and grown in tenths",
        dataset="cifar100",
        build=build,
        columns=COLUMNS,
        pictures=PICTURES,
        matchings=MATCHINGS,
        note="The thesis reports, static: train 100 %, test 65 % (gap 35); grown: train 80 %, test 58 % (gap 22).",
        needs_gpu=True,
    )
)
CIFAR100_RESNET_18 = REPRODUCTIONS.register("cifar100-resnet18")(
    ThesisExperiment(
        name="cifar100-resnet18",
        summary="CIFAR-100 by ResNet-18, for which growing has published figures",
        dataset="cifar100",
        build=build_resnet_18,
        columns=COLUMNS,
        pictures=PICTURES,
        matchings=MATCHINGS,
        note="Published (Yuan et al. 2023): static 78.36 %, grown 78.12 % in 0.83 of the time.",
        needs_gpu=True,
    )
)
