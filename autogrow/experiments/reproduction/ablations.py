"""The ablations behind the defaults: where to grow, what to freeze, how new units start, when to grow; whole policies.

In the first four, events are at equal intervals, so that alternatives differ in the one choice that an ablation is
about, and spend about the same. Another compares candidates for the default policy, which differ in several, and one
asks whether growing pays where the network is made smaller in the end. Their base is written out and does not follow
`default_policy`, which is chosen by what comes out.
"""

from dataclasses import replace
from typing import Any

from autogrow.experiments.reproduction.ablation import Ablation, Alternative, Workload
from autogrow.experiments.reproduction.base import REPRODUCTIONS
from autogrow.experiments.reproduction.mnist import QUICK_NETWORK
from autogrow.models.building import ModelSpec
from autogrow.policy.training_settings import TrainingSettings


def _training(epochs: int, batch_size: int = 128) -> TrainingSettings:
    """Constant for three quarters of the run, then a cosine: under the one alone late units hardly learn."""
    return TrainingSettings(epochs=epochs, batch_size=batch_size, learning_rate_schedule="constant_then_cosine")


DIGITS = Workload(
    "digits",
    ModelSpec("mlp", {"hidden": (256, 256, 256)}),
    _training(epochs=20),
)
FRIEDMAN = Workload(
    "friedman",
    ModelSpec("mlp", {"hidden": (128, 128, 128), "batch_norm": False}),
    _training(epochs=20),
)
SINE = Workload(
    "sine",
    ModelSpec("mlp", {"hidden": (500,), "batch_norm": False}),
    _training(epochs=60, batch_size=100),
)
MNIST = Workload(
    "mnist",
    ModelSpec("convnet"),
    _training(epochs=4, batch_size=64),
    train_size=2000,
    quick_model=QUICK_NETWORK,
)
MNIST_READ_LESS = replace(MNIST, training=MNIST.training.model_copy(update={"sample_size": 100}))
"""Fewer examples per measurement where no trigger watches them: they take a third of the time otherwise."""
CIFAR100 = Workload("cifar100", ModelSpec("resnet"), _training(epochs=30), needs_gpu=True)
ALL = (DIGITS, SINE, FRIEDMAN, MNIST, CIFAR100)
ON_SCHEDULE = (DIGITS, SINE, FRIEDMAN, MNIST_READ_LESS, CIFAR100)
SEVERAL_GROUPS = (DIGITS, FRIEDMAN, MNIST_READ_LESS, CIFAR100)
"""Where there is a choice of layers."""
BASE: dict[str, Any] = {
    "initial_fraction": 0.25,
    "chunk_fraction": 0.25,
    "trigger": {"kind": "schedule", "every": 20},
    "initialization": "zero_fan_out",
    "connection_ramp_steps": 50,
}
HALF_OF_THE_GROUPS = {"trigger": {"kind": "schedule", "every": 10}}
"""Twice as many events of half as many groups: as many units are added by the end of each stretch."""


def _top_half(kind: str, summary: str) -> Alternative:
    return Alternative(kind, summary, {**HALF_OF_THE_GROUPS, "layer_selection": {"kind": kind, "fraction": 0.5}})


LAYER_SELECTION = Ablation(
    name="layer-selection",
    summary="Where to grow: by activation standard deviation, by gradient gain, at random, or everywhere",
    base=BASE,
    alternatives=(
        Alternative("uniform", "all groups by an eighth", {**HALF_OF_THE_GROUPS, "chunk_fraction": 0.125}),
        _top_half("random", "half of the groups by a quarter, at random"),
        _top_half("activation_std", "half of the groups by a quarter, by activation standard deviation"),
        _top_half(
            "gradient_gain", "half of the groups by a quarter, by the gradient that new units would get per FLOP"
        ),
    ),
    baseline="uniform",
    workloads=SEVERAL_GROUPS,
)
FREEZING = Ablation(
    name="freezing",
    summary="What to freeze: nothing, everything older than the last event, or that for a while",
    base=BASE,
    alternatives=(
        Alternative("none", "everything keeps training", {"freeze": {"kind": "none"}}),
        Alternative("old", "older entries held for ever (the thesis)", {"freeze": {"kind": "old"}}),
        Alternative(
            "thaw", "older entries held for 5 measurements, then released over 10",
            {"freeze": {"kind": "thaw", "hold_samples": 5, "release_samples": 10}},
        ),
    ),
    baseline="none",
    workloads=ON_SCHEDULE,
)  # fmt: skip
INITIALIZATION = Ablation(
    name="initialization",
    summary="How new units start, and what that does to the loss",
    base={**BASE, "connection_ramp_steps": 0},
    alternatives=(
        Alternative("zero_fan_out", "fan-in random, fan-out zero", {}),
        Alternative("faded_in", "the same, connections faded in over 50 steps", {"connection_ramp_steps": 50}),
        Alternative("paired", "equal units with opposite signs", {"initialization": "paired"}),
        Alternative("gradient_max", "along the largest gradients", {"initialization": "gradient_max"}),
        Alternative("split", "copies of old units", {"initialization": "split"}),
        Alternative("tiny", "what old units cannot express", {"initialization": "tiny"}),
        Alternative("xavier", "as if the layer were new (the thesis)", {"initialization": "xavier"}),
    ),
    baseline="zero_fan_out",
    workloads=ON_SCHEDULE,
)
TRIGGER = Ablation(
    name="trigger",
    summary="When to grow: on a plateau, on a flat slope, or on a schedule",
    base=BASE,
    alternatives=(
        Alternative("schedule", "every 20 measurements", {}),
        Alternative(
            "plateau",
            "when a moving average has stood for 5 measurements",
            {"trigger": {"kind": "plateau", "max_wait": None}},
        ),
        Alternative(
            "slope",
            "when a line through 8 measurements promises too little",
            {"trigger": {"kind": "slope", "max_wait": None}},
        ),
    ),
    baseline="schedule",
    workloads=ALL,
)
COSINE = {"learning_rate_schedule": "cosine"}
FALLS_WITH_GROWTH = {"constant_share": 0.0}
"""The rate falls from the last event on, however early that is."""
ENDS = {"grow_until": 0.6}
"""Growing ends in time for the rate to fall, also where a trigger would go on."""
SOONER = {**ENDS, "trigger": {"kind": "plateau", "max_wait": 10}}
FROM_HALF = {**SOONER, "initial_fraction": 0.5}
FULL = {"initial_fraction": 1.0, "chunk_fraction": 1.0}
DEFAULT_POLICY = Ablation(
    name="default-policy",
    summary="Which policy to give a user who does not search: how small to start, how far to grow, how the rate falls",
    base={**BASE, "trigger": {"kind": "plateau", "max_wait": 20}},
    alternatives=(
        Alternative(
            "from_half", "half to full size in quarters by 60 %, the rate constant for three quarters", FROM_HALF
        ),
        Alternative("falling_sooner", "the same, the rate constant until growing ends", FROM_HALF, FALLS_WITH_GROWTH),
        Alternative("cosine", "the same, a cosine over the whole run", FROM_HALF, COSINE),
        Alternative("quarters", "a quarter to full size in quarters", SOONER),
        Alternative("quarters_later", "that, after 20 measurements at the latest and not 10", ENDS),
        Alternative(
            "from_half_at_once", "half to full size in one event after 20 measurements at the latest",
            {**ENDS, "initial_fraction": 0.5, "chunk_fraction": 0.5},
        ),
        Alternative("full_cosine", "full size from the first step, a cosine over the whole run", FULL, COSINE),
        Alternative("half", "half of the width throughout", {"initial_fraction": 0.5, "max_fraction": 0.5}),
    ),
    baseline="from_half",
    workloads=ALL,
)  # fmt: skip
EQUAL_COMPUTE = {"length": "compute"}
"""Every alternative spends the training FLOPs of full size throughout; one that is small for a while has more steps."""


def _shrunk(every: int, final_fraction: float = 0.25) -> dict[str, Any]:
    """A quarter of the most units go at every event, as many of every group, until a share of them is left."""
    order, trigger = {"budget": "per_group"}, {"kind": "schedule", "every": every}
    of_units = {"order": order, "trigger": trigger, "fraction": 0.25, "final_fraction": final_fraction}
    return {"shrink": {"kind": "units", **of_units, "shrink_until": 0.8}}


SHRINKING = Ablation(
    name="grow-then-shrink",
    summary="How to come to a quarter of the width at equal compute: grow and shrink, shrink alone, or neither",
    base={**BASE, "chunk_fraction": 0.25, "trigger": {"kind": "schedule", "every": 8}, "grow_until": 0.4},
    alternatives=(
        Alternative("full_shrunk", "full width, shrunk from the first measurements on", {**FULL, **_shrunk(5)},
                    EQUAL_COMPUTE),
        Alternative("full_shrunk_later", "full width, shrunk in the second half", {**FULL, **_shrunk(18)},
                    EQUAL_COMPUTE),
        Alternative("grown_shrunk", "a quarter, grown to full width, then shrunk", _shrunk(5), EQUAL_COMPUTE),
        Alternative("grown_half_shrunk", "a quarter, grown to half of the width, then shrunk",
                    {"max_fraction": 0.5, **_shrunk(5, 0.5)}, EQUAL_COMPUTE),
        Alternative("grown", "an eighth, grown to a quarter of the width",
                    {"initial_fraction": 0.125, "chunk_fraction": 0.0625, "max_fraction": 0.25}, EQUAL_COMPUTE),
        Alternative("quarter", "a quarter of the width throughout",
                    {"initial_fraction": 0.25, "max_fraction": 0.25}, EQUAL_COMPUTE),
    ),
    baseline="full_shrunk",
    workloads=(DIGITS, FRIEDMAN, MNIST_READ_LESS),
)  # fmt: skip
for _ablation in (LAYER_SELECTION, FREEZING, INITIALIZATION, TRIGGER, DEFAULT_POLICY, SHRINKING):
    REPRODUCTIONS.register(_ablation.name)(_ablation)
