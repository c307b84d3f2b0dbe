"""The growth timeline of one trial: what every growth event changed, from its samples and events. No drawing here."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autogrow.policy.records import GrowthEvent, Sample
from autogrow.training.records import TrialFolder


@dataclass(frozen=True)
class TimelineEvent:
    """One growth event, with the validation accuracy around it."""

    index: int
    step: int
    reason: str
    """Why the trigger fired."""
    added_units: dict[str, int]
    """Of the groups that grew."""
    added_blocks: dict[str, int]
    """Of the stages that grew deeper."""
    removed_units: dict[str, int]
    """Of the groups that got narrower."""
    removed_blocks: dict[str, int]
    """Of the stages that got shorter."""
    widths: dict[str, int]
    """Of all groups, after the event."""
    parameters_before: int
    parameters_after: int
    flops_before: float
    """Training FLOPs of one example."""
    flops_after: float
    largest_output_change: float
    shock: float | None
    """Largest relative rise of the loss on a fixed batch in the 50 steps after."""
    loss_before: float | None
    """On that batch, right before the event."""
    loss_after: float | None
    """On it right after."""
    recovered_after: int | None
    """Steps until the loss was first seen to be no higher than before; None where it has not been, or was not read."""
    seconds: float
    score_before: float | None
    """At the sample that the event followed, on the same weights."""
    score_after: float | None
    """At the next sample; None where training ended before it."""
    validation_loss_before: float | None = None
    validation_loss_after: float | None = None
    """At the same samples."""


@dataclass(frozen=True)
class GrowthTimeline:
    """How one trial's network grew."""

    initial_widths: dict[str, int]
    """Of every group before the first event; empty where nothing changed, since only events record widths."""
    events: tuple[TimelineEvent, ...]
    last_step: int

    @property
    def groups(self) -> list[str]:
        """All groups that the network had at any time, those of its last shape first and in its order."""
        shapes = [event.widths for event in reversed(self.events)]
        return list(dict.fromkeys(name for widths in (*shapes, self.initial_widths) for name in widths))

    @property
    def units_added(self) -> int:
        return sum(sum(event.added_units.values()) for event in self.events)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_timeline(folder: TrialFolder) -> GrowthTimeline:
    """The timeline of a trial, also while it runs; empty where nothing was recorded yet."""
    return growth_timeline(folder.samples(), folder.events())


def growth_timeline(samples: Sequence[Sample], events: Sequence[GrowthEvent]) -> GrowthTimeline:
    """Join events with the samples around them. A sample is taken just before the event of the same step."""
    accuracy = {sample.index: sample.validation_score for sample in samples}
    losses = {sample.index: sample.validation_loss for sample in samples}
    joined = tuple(
        TimelineEvent(
            index=event.index,
            step=event.step,
            reason=event.trigger_reason,
            added_units={name: units for name, units in event.added_units.items() if units},
            added_blocks=dict(event.added_blocks),
            removed_units={name: units for name, units in event.removed_units.items() if units},
            removed_blocks=dict(event.removed_blocks),
            widths=dict(event.widths),
            parameters_before=event.parameters_before,
            parameters_after=event.parameters_after,
            flops_before=event.flops_before,
            flops_after=event.flops_after,
            largest_output_change=event.largest_output_change,
            shock=event.shock,
            loss_before=event.loss_before,
            loss_after=event.loss_after,
            recovered_after=event.recovered_after,
            seconds=event.seconds,
            score_before=accuracy.get(event.sample),
            score_after=accuracy.get(event.sample + 1),
            validation_loss_before=losses.get(event.sample),
            validation_loss_after=losses.get(event.sample + 1),
        )
        for event in events
    )
    initial = _widths_before(events[0]) if events else {}
    last_step = max([sample.step for sample in samples[-1:]] + [event.step for event in events[-1:]], default=0)
    return GrowthTimeline(initial, joined, last_step)


def _widths_before(event: GrowthEvent) -> dict[str, int]:
    """Widths before an event, as far as what it left tells: not of groups that went with removed blocks.

    Blocks are numbered by their places, so those that an event added are the last ones by name, wherever they stand.
    """
    before = {
        name: width - event.added_units.get(name, 0) + event.removed_units.get(name, 0)
        for name, width in event.widths.items()
    }
    for stage, added in event.added_blocks.items():
        places = {name: place for name in before if (place := _place(name, stage)) is not None}
        number = 1 + max(places.values(), default=-1)
        before = {name: width for name, width in before.items() if places.get(name, -1) < number - added}
    return before


def _place(group: str, stage: str) -> int | None:
    """The number of the block of a stage that a group is in; None where it is in none."""
    found = re.match(rf"{re.escape(stage)}\.(\d+)\.", group)
    return int(found[1]) if found else None
