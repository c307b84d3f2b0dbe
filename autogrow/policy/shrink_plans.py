"""What is done next while a network is shrunk: a pure function of the steps that were taken.

So a run that was killed goes on exactly where it was: what it has to know stands in its record.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_records import ShrinkStep, Target
from autogrow.policy.shrinking import Shrinking

KEEP_RATIO = 0.75
"""What a step that is to keep the score asks for at first, as a share of the FLOPs (or whatever goes) before it."""
LEAST_GAIN = 0.01
"""Share of them below which no further step is worth a recovery."""
MOST_REJECTED = 3
"""Steps in a row that may lose too much; after each the next one asks for less, by the root of the ratio."""


@dataclass(frozen=True)
class Action:
    """The next step."""

    name: str
    target: Target
    recovery: Recovery
    member: str | None = None
    """The folder that the network is saved in, where it is one of a family."""


class ShrinkPlan(ABC):
    """`steps` are all that were taken; the first is the network before any removal."""

    @abstractmethod
    def next(self, steps: Sequence[ShrinkStep]) -> Action | None:
        """What to do; None when there is nothing left."""

    def judged(self, steps: Sequence[ShrinkStep], step: ShrinkStep, action: Action) -> ShrinkStep:
        """The step that was just taken, with whether the next begins with its network, and why not."""
        return step


@dataclass(frozen=True)
class ToSize(ShrinkPlan):
    """Down to a size, in cycles.

    Off a trunk the rate stays constant until the last removal, and falls once, after it.
    """

    shrinking: Shrinking
    target: Target
    start: float
    """The same of the network before the first step."""
    is_off_trunk: bool = False

    def next(self, steps: Sequence[ShrinkStep]) -> Action | None:
        sizes = self.shrinking.sizes(self.start, self.target.value)
        number = len(steps)
        if number > len(sizes):
            return None
        target = Target(self.target.metric, sizes[number - 1])
        recovery = self.shrinking.recovery
        if self.is_off_trunk and number < len(sizes):
            recovery = recovery.without_fall()
        return Action(f"cycle {number}", target, recovery)


@dataclass(frozen=True)
class KeepScore(ShrinkPlan):
    """As small as it goes while validation does not become worse by more than `tolerance`.

    `by_loss`: by the loss, in its own unit; otherwise by the score.
    """

    shrinking: Shrinking
    tolerance: float
    by_loss: bool

    def next(self, steps: Sequence[ShrinkStep]) -> Action | None:
        ratio = KEEP_RATIO ** (0.5 ** sum(not step.is_kept for step in steps))
        if _rejected_at_the_end(steps) == MOST_REJECTED or ratio > 1 - LEAST_GAIN:
            return None
        if not steps[-1].is_kept and steps[-1].num_removed == 1:
            return None  # less cannot go
        last, metric = next(step for step in reversed(steps) if step.is_kept), self.shrinking.remove.metric
        target = Target(metric, getattr(last.footprint, metric) * ratio)
        return Action(f"step {len(steps)}", target, self.shrinking.recovery)

    def judged(self, steps: Sequence[ShrinkStep], step: ShrinkStep, action: Action) -> ShrinkStep:
        lost = self.lost(steps[0], step)
        if lost <= self.tolerance:
            return step
        what = "loss rose" if self.by_loss else "score fell"
        return _rejected(step, f"the validation {what} by {lost:.4g}, more than {self.tolerance:g}: taken back")

    def lost(self, first: ShrinkStep, step: ShrinkStep) -> float:
        return step.loss - first.loss if self.by_loss else first.score - step.score


@dataclass(frozen=True)
class Family(ShrinkPlan):
    """Networks of several sizes, pruned off one trunk that goes on at a constant rate, each then with a falling one.

    The trunk of a size is what its network before the fall was; the next size begins there. So most of the training is
    shared: the warmup-stable-decay schedule's branches (Hägele et al. 2024, arXiv 2405.18392), along size.
    """

    shrinking: Shrinking
    start: float
    """FLOPs before, or what else the removal makes smaller."""
    shares: tuple[float, ...]
    """Of these, each smaller than the one before."""

    def next(self, steps: Sequence[ShrinkStep]) -> Action | None:
        number, is_member = divmod(len(steps) - 1, 2)
        if number == len(self.shares):
            return None
        share, recovery = self.shares[number], self.shrinking.recovery
        target = Target(self.shrinking.remove.metric, self.start * share)
        if is_member:
            return Action(member_name(share), target, recovery.falling_part(), member=member_name(share))
        return Action(f"trunk of {member_name(share)}", target, recovery.constant_part())

    def judged(self, steps: Sequence[ShrinkStep], step: ShrinkStep, action: Action) -> ShrinkStep:
        return _rejected(step) if action.member is not None else step


def member_name(share: float) -> str:
    """What a network of a family is called, and its folder."""
    return f"{share:g}"


def _rejected_at_the_end(steps: Sequence[ShrinkStep]) -> int:
    return next(place for place, step in enumerate(reversed(steps)) if step.is_kept)


def _rejected(step: ShrinkStep, *notes: str) -> ShrinkStep:
    return replace(step.noting(*notes), is_kept=False)
