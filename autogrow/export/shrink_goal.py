"""What a network is to become when it is shrunk, as its caller says it, and the plan that leads there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autogrow.errors import UsageError
from autogrow.policy.removals import Removal
from autogrow.policy.shrink_plans import Family, KeepScore, ShrinkPlan, ToSize, member_name
from autogrow.policy.shrink_records import METRICS, Footprint, Latency, ShrinkStep, Target
from autogrow.policy.shrinking import Shrinking

SIZES = tuple(f"to_{metric}" for metric in METRICS)
"""What a size is asked for by."""


@dataclass(frozen=True)
class Goal:
    """What a network is to become: exactly one of these."""

    size: Target | None = None
    """A value up to 1 is a share of what the network has, but of latencies."""
    keep: float | None = None
    """How much worse validation may become: by its score, or its loss where the task is judged by that."""
    family: tuple[float, ...] = ()
    """Shares of the FLOPs, or of the weights that are not zero."""

    def __post_init__(self) -> None:
        if sum((self.size is not None, self.keep is not None, bool(self.family))) != 1:
            raise UsageError(f"give one of {', '.join(SIZES)}, keep and family")
        if self.size is not None and not 0 < self.size.value < math.inf:
            raise UsageError(f"to_{self.size.metric} {self.size.value:g} cannot be had: give a number above 0")
        if self.keep is not None and not 0 <= self.keep < math.inf:
            raise UsageError(f"keep {self.keep:g} cannot be: give 0 or more, by which validation may become worse")
        shares = self.family
        if any(not 0 < share < 1 for share in shares) or list(shares) != sorted(set(shares), reverse=True):
            raise UsageError(
                f"family {','.join(f'{share:g}' for share in shares)}: give shares between 0 and 1, each smaller than "
                "the one before, such as 0.5,0.25"
            )
        names = [member_name(share) for share in shares]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"family has {name} twice: shares that are alike in six digits are one network")

    def check(self, removal: Removal) -> None:
        """Raises `UsageError` for a size that no such removal comes to."""
        if self.size is not None and (self.size.metric == "nonzero") != (removal.metric == "nonzero"):
            raise UsageError(
                f"to_{self.size.metric} with {removal.kind} removed: weights that become zeros take nothing else away, "
                "so give to_nonzero with weights, and any other size with units and blocks"
            )

    def target(self, before: Footprint, removal: Removal) -> Target:
        """The smallest size that is asked for, of a network that is `before`; not for `keep`."""
        if self.size is None:
            return Target(removal.metric, getattr(before, removal.metric) * self.family[-1])
        metric, value = self.size.metric, self.size.value
        is_share = value <= 1 and metric != "latency_ms"
        return Target(metric, value * float(getattr(before, metric))) if is_share else self.size

    @property
    def begins_with_trunk(self) -> bool:
        """Whether it begins with the network's trunk, if there is one; `keep` holds every step against the network."""
        return self.keep is None

    def plan(
        self, shrinking: Shrinking, before: ShrinkStep, by_loss: bool, *, is_off_trunk: bool = False
    ) -> ShrinkPlan:
        """What is done to a network that is `before`."""
        if self.keep is not None:
            return KeepScore(shrinking, self.keep, by_loss)
        if self.size is None:
            return Family(shrinking, float(getattr(before.footprint, shrinking.remove.metric)), self.family)
        target = self.target(before.footprint, shrinking.remove)
        if target.metric == "latency_ms":  # of 64 examples, with all threads
            return ToSize(shrinking, target, before.latencies[-1].milliseconds, is_off_trunk)
        return ToSize(shrinking, target, float(getattr(before.footprint, target.metric)), is_off_trunk)

    def notes_on(self, latencies: Sequence[Latency]) -> tuple[str, ...]:
        """What there is to say of a result's times: units were removed by other measurements of the same."""
        taken = latencies[-1].milliseconds
        if self.size is None or self.size.metric != "latency_ms" or taken <= self.size.value:
            return ()
        return (
            f"takes {taken:.3g} ms at the end, not {self.size.value:g}: times vary with what the machine does besides",
        )

    def to_dict(self) -> dict[str, Any]:
        size = None if self.size is None else [self.size.metric, self.size.value]
        return {"size": size, "keep": self.keep, "family": list(self.family)}
