"""Ways to spend the compute of a network's full depth: at one depth throughout, or getting deeper."""

from dataclasses import dataclass, replace
from typing import Any

from autogrow.experiments.conditions import Condition, FixedPlan
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import default_depth_policy, static_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.triggers import ComputeShares

LAYERS = 8
"""Of the transformer at full depth."""
NUM_SAMPLES = 40
"""Measurements of a run."""
SHORTER = 0.6
"""Share of the full depth's compute at which growing is to reach its loss."""
STACKED, FULL = "stacked", f"static_{LAYERS}"


@dataclass(frozen=True)
class Contestant:
    """A way to spend the compute."""

    name: str
    title: str
    summary: str
    policy: GrowthPolicy
    """Full width throughout; the depth as it says."""
    compute: float = 1.0
    """Share of the full depth's compute that it has."""
    rate_of: str | None = None
    """The contestant whose learning rate it takes; None chooses its own."""

    def training(self, base: TrainingSettings, rate: float, num_samples: int = NUM_SAMPLES) -> TrainingSettings:
        """With a learning rate, for its share of the compute of the steps of `base` at full depth."""
        assert base.steps is not None
        steps = max(1, round(self.compute * base.steps))
        every = max(1, steps // num_samples)
        return base.model_copy(update={"learning_rate": rate, "steps": steps, "sample_every": every})

    def condition(self, base: TrainingSettings, rate: float, num_samples: int = NUM_SAMPLES) -> Condition:
        """As a condition of an experiment."""
        plan = FixedPlan(self.policy, None, self.training(base, rate, num_samples))
        return Condition.fixed(self.name, self.title, self.summary, plan)

    def at_rate(self, rate: float) -> "Contestant":
        """The same by a name that says its rate."""
        return replace(self, name=with_rate(self.name, rate), title=f"{self.title} at {rate:g}")

    def branched(self, share: float, decay_fraction: float) -> "Contestant":
        """The run that ends after less compute: its jumps come when they came, none while its rate decays."""
        depth = self.policy.depth
        assert depth is not None
        trigger = depth.trigger
        if isinstance(trigger, ComputeShares):
            trunk = share * (1 - decay_fraction)
            trigger = ComputeShares(shares=tuple(each / share for each in trigger.shares if each < trunk))
        policy = self.policy.model_copy(update={"depth": depth.model_copy(update={"trigger": trigger})})
        name, title = with_rate(self.name, share), f"{self.title}, {share:g}"
        summary = f"{self.summary}; with {share:g} of the compute"
        return Contestant(name, title, summary, policy, share * self.compute, self.rate_of or self.name)


def with_rate(name: str, rate: float) -> str:
    """What a contestant is called under a rate, or with a share of the compute."""
    return f"{name}@{rate:g}"


def in_depth(**fields: Any) -> GrowthPolicy:
    """A policy that leaves the width as it is."""
    return GrowthPolicy.from_dict({**static_policy().recipe(), "depth": {"kind": "blocks", **fields}})


def static(blocks: int, full: int, title: str) -> Contestant:
    """One depth throughout, `blocks` of `full` in every stage."""
    share = blocks / full
    return Contestant(
        f"static_{blocks}",
        title,
        f"{blocks} of {full} blocks throughout",
        in_depth(initial_fraction=share, max_fraction=share),
    )


def stacked(initial: int, *shares: float, initialization: str = "stack") -> GrowthPolicy:
    """Doubled at shares of the compute, from `initial` blocks."""
    return in_depth(
        initial_blocks=initial,
        growth_factor=2,
        initialization=initialization,
        stage_selection="all",
        trigger={"kind": "compute_shares", "shares": shares},
    )


def _layers(number: int) -> str:
    return f"{number} layer{'s' if number > 1 else ''}"


STATICS = tuple(static(layers, LAYERS, _layers(layers)) for layers in (1, 2, 4, LAYERS))
DEFAULT = default_depth_policy()
CONTESTANTS = (
    *STATICS,
    Contestant("stacked_once", "4-8 layers", "one jump at 40 % of the compute", stacked(4, 0.4)),
    Contestant("stacked_twice", "2-4-8 layers", "jumps at 20 and 50 %", stacked(2, 0.2, 0.5)),
    Contestant(STACKED, "1-2-4-8 layers", "the default: jumps at 7.5, 20 and 50 %", DEFAULT),
    Contestant("stacked_shorter", "shorter", f"the default with {SHORTER:g} of the compute", DEFAULT, SHORTER, STACKED),
)
TIMES = 0.075, 0.2, 0.5
METHODS = tuple(
    Contestant(
        name,
        name.replace("_", " "),
        f"the default's times, new blocks by {name}",
        stacked(1, *TIMES, initialization=name),
        rate_of=STACKED,
    )
    for name in ("interleave", "copy_last", "zero", "random")
)
"""Other ways for blocks to begin, at the default's times and rate."""
