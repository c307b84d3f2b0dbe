"""When a network is large enough: limits of its size, and how much of a growth event still fits under them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import Field

from autogrow.policy.part import PolicyPart
from autogrow.reading.fields import Bytes, Count

HALVINGS = 8
"""Bisection steps of `largest_fitting`: a share is found to within 1/256."""


@dataclass(frozen=True)
class NetworkSize:
    """What a network costs; memory and latency are None where no limit asked for them to be measured."""

    parameters: int
    flops: float
    """Training FLOPs of one example: forward and backward."""
    memory_bytes: int | None = None
    """Of one training step."""
    latency_ms: float | None = None
    """Of one forward pass of one batch."""


class SizeLimits(PolicyPart):
    """Sizes that growing must not exceed; None leaves one open. A network that starts above a limit stays as it is."""

    max_parameters: Count | None = None
    """Parameters of the network."""
    max_flops: float | None = Field(default=None, gt=0)
    """Training FLOPs of one example."""
    max_memory_bytes: Bytes | None = None
    """Memory of one training step."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Time of one forward pass of one batch."""

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return self != SizeLimits()

    @property
    def needs_memory(self) -> bool:
        """Whether a training step's memory has to be measured, which takes a training step."""
        return self.max_memory_bytes is not None

    @property
    def needs_latency(self) -> bool:
        """Whether a forward pass has to be timed."""
        return self.max_latency_ms is not None

    def excess(self, sizes: Mapping[str, float | None]) -> dict[str, float]:
        """By what share each size is beyond its limit, at most 0 where it keeps to it; sizes by `NetworkSize` names."""
        limits = {name.removeprefix("max_"): getattr(self, name) for name in type(self).model_fields}
        return {
            name: size / limit - 1
            for name, limit in limits.items()
            if limit is not None and (size := sizes.get(name)) is not None
        }

    def tightened(self, other: "SizeLimits") -> "SizeLimits":
        """For each size the smaller of both limits."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in type(self).model_fields}
        return SizeLimits(**{
            name: min((limit for limit in pair if limit is not None), default=None) for name, pair in pairs.items()
        })  # fmt: skip

    def exceeded(self, size: NetworkSize) -> str | None:
        """The first limit that `size` is above, with limit and value in words; None if it is within all.

        Raises `ValueError` where a limit is set whose value was not measured.
        """
        for name, limit, value in (
            ("max_parameters", self.max_parameters, size.parameters),
            ("max_flops", self.max_flops, size.flops),
            ("max_memory_bytes", self.max_memory_bytes, size.memory_bytes),
            ("max_latency_ms", self.max_latency_ms, size.latency_ms),
        ):
            if limit is None:
                continue
            if value is None:
                raise ValueError(f"{name} is set, but {name.removeprefix('max_')} was not measured")
            if value > limit:
                return f"{name} {_number(limit)}: would be {_number(value)}"
        return None


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def largest_fitting(fits: Callable[[float], bool]) -> float | None:
    """The largest share in [0, 1] of a growth event that fits, to within 1/256; None if not even none of it does.

    `fits` must be monotone: where a share fits, every smaller one does. It is asked at most ten times.
    """
    if fits(1.0):
        return 1.0
    if not fits(0.0):
        return None
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
