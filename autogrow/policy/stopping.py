"""What the last growth event has bought: the ground on which a policy goes on growing, or stops."""

from collections.abc import Sequence

from autogrow.policy.records import SMALLEST_LEVEL, GrowthEvent, Sample

LEVEL_SAMPLES = 5
"""Samples that a level of the training loss is averaged over; fewer where there are fewer."""


def relative_gain(samples: Sequence[Sample], events: Sequence[GrowthEvent]) -> float | None:
    """Relative improvement of the training loss since the last event; None before there is anything to compare.

    (before - now) / |before|: `now` is the mean of the last 5 samples since the event, `before` the smallest mean of
    any 5 successive samples up to it (of fewer where there are fewer). `samples` are all of the run's, oldest first.
    """
    if not events:
        return None
    last = events[-1].sample
    earlier = [sample.watched("train_loss") for sample in samples if sample.index <= last]
    later = [sample.watched("train_loss") for sample in samples if sample.index > last]
    if not earlier or not later:
        return None
    size = min(LEVEL_SAMPLES, len(earlier))
    before = min(_mean(earlier[end - size : end]) for end in range(size, len(earlier) + 1))
    now = _mean(later[-LEVEL_SAMPLES:])
    return (before - now) / max(abs(before), SMALLEST_LEVEL)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
