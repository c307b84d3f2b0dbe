"""What a search has spent on training, and what it saved by stopping trials early.

Nobody knows how much a stopped trial would have taken, because it might have grown on. What is told is the least: had
it kept the size that it had when it was stopped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autogrow.policy.records import GrowthEvent, Sample


@dataclass(frozen=True)
class Spending:
    """Of all trials that have taken a sample, those that run or failed included."""

    trials: int
    train_seconds: float
    training_flops: float


@dataclass(frozen=True)
class Saving:
    """What stopping trials early has saved, in training FLOPs."""

    trials: int
    """Stopped trials whose records say what they saved."""
    spent_flops: float
    """By those trials."""
    saved_flops: float
    """At least, by those trials."""

    @property
    def share(self) -> float:
        """Saved FLOPs of what these trials would have taken at full length."""
        return self.saved_flops / (self.spent_flops + self.saved_flops)


def total_spending(metrics: Iterable[dict[str, float]]) -> Spending:
    """The sum over trials of what they have spent, by the metrics that they ended with or have reached."""
    needed = ("training_flops", "train_seconds")
    known = [entry for entry in metrics if all(entry.get(name) is not None for name in needed)]
    return Spending(
        len(known), sum(entry["train_seconds"] for entry in known), sum(entry["training_flops"] for entry in known)
    )


def remaining_flops(samples: Sequence[Sample], events: Sequence[GrowthEvent], epochs: float) -> float | None:
    """Training FLOPs of the rest of a run of `epochs` epochs at the size after the last sample; None without records.

    Between two samples the size does not change, since a network grows right after one. What an event spent on choosing
    where to grow counts as spent by the step after it, and is no cost of a step.
    """
    if not samples or samples[-1].step == 0:
        return None
    last = samples[-1]
    before = samples[-2] if len(samples) > 1 else None
    steps = last.step - (before.step if before else 0)
    if steps <= 0:
        return None  # records that no run has written
    spent = last.training_flops - (before.training_flops if before else 0.0)
    choosing = sum(event.selection_flops for event in events if before is not None and event.sample == before.index)
    per_step = (spent - choosing) / steps
    for event in events:
        if event.sample == last.index and event.flops_before:  # grown right after the last sample
            per_step *= event.flops_after / event.flops_before
    if last.progress:
        return max(0.0, last.training_flops / last.progress - last.training_flops)
    return max(0.0, per_step * (last.step * epochs / last.epoch - last.step))


def total_saving(stopped: Iterable[tuple[float, float | None]]) -> Saving | None:
    """The sum over stopped trials of what each has spent and what was left; None where nothing is known."""
    known = [(spent, left) for spent, left in stopped if left is not None and spent + left > 0]
    if not known:
        return None
    return Saving(len(known), sum(spent for spent, _ in known), sum(left for _, left in known))
