"""What is recorded of a network while it is shrunk: plain numbers, one record per step."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

METRICS = {
    "flops": "FLOPs",
    "parameters": "parameters",
    "bytes": "bytes",
    "latency_ms": "ms",
    "nonzero": "parameters that are not zero",
}
"""What a size can be of, with its unit: a forward pass of one example, parameters, weights, a forward pass."""


@dataclass(frozen=True)
class Footprint:
    """What can be counted of a network: the same on every machine."""

    parameters: int
    flops: float
    """Of one example's forward pass."""
    bytes: int
    """Of all parameters and buffers, each memory once."""
    nonzero: int | None = None
    """Parameters that are not zero, with all biases and gains; None in older records."""


@dataclass(frozen=True)
class Target:
    """A size that a network is not to exceed."""

    metric: str
    """One of `METRICS`."""
    value: float

    def __str__(self) -> str:
        return f"{shown(self.value)} {METRICS[self.metric]}"


@dataclass(frozen=True)
class Latency:
    """How long one forward pass in eval mode takes on the machine that it was measured on."""

    milliseconds: float
    """The median of several."""
    batch_size: int
    threads: int


@dataclass(frozen=True)
class ShrinkStep:
    """A network after one removal and the training that followed, or before the first."""

    name: str
    target: str
    """What size was asked for, in words; empty for the network before the first removal."""
    removed_units: dict[str, int]
    """By group."""
    widths: dict[str, int]
    score: float
    """On the validation examples, as the loss."""
    loss: float
    footprint: Footprint
    latencies: tuple[Latency, ...] = ()
    score_before_recovery: float | None = None
    loss_before_recovery: float | None = None
    removal_seconds: float = 0.0
    train_seconds: float = 0.0
    training_flops: float = 0.0
    """Of the recovery, with those of a teacher's answers."""
    is_kept: bool = True
    """Whether the next step begins with this network."""
    notes: tuple[str, ...] = ()
    """What a reader should know of this step."""
    removed_blocks: dict[str, list[int]] = field(default_factory=dict)
    """By stage, their numbers before the step."""
    blocks: dict[str, int] = field(default_factory=dict)
    """How many each stage has, where blocks can go."""

    removed_weights: int = 0
    """That have become zeros."""

    @property
    def num_removed(self) -> int:
        """Units, blocks and weights together."""
        return sum(self.removed_units.values()) + sum(map(len, self.removed_blocks.values())) + self.removed_weights

    def noting(self, *notes: str) -> Self:
        return replace(self, notes=(*self.notes, *notes))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
