"""What a policy decides on: everything that is known of a run at one of its measurements. Records only, no tensors."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autogrow.policy.changes import Change, changes_shape
from autogrow.policy.records import GroupStatistics, GrowthEvent, Sample


@dataclass(frozen=True)
class Stage:
    """A row of blocks as it is now."""

    name: str
    """Dotted name of the container."""
    num_blocks: int
    """Blocks it has now, at least 1. Layers before the first block (a convolution, say) are not counted."""
    full_blocks: int
    """Blocks of the network as its author wrote it: the reference for fractions."""
    unrepeatable_blocks: int = 0
    """Leading ones that no copy of themselves can follow, since they change the shape: 0 or 1."""


@dataclass(frozen=True)
class History:
    """One run up to its last measurement, and the network as it is now."""

    samples: Sequence[Sample]
    """All measurements of the run, oldest first."""
    events: Sequence[GrowthEvent]
    """All growth events of the run, oldest first."""
    groups: tuple[GroupStatistics, ...]
    """The channel groups that can change, in the network's order."""
    num_steps: int
    """Training steps of the whole run; of the full-size network where its length is compute."""
    num_events: int = 0
    """Events of the network so far, by its own counter: the next one has the number after this."""
    stages: tuple[Stage, ...] = ()
    """Those that can be deepened, in the network's order; empty where the policy leaves depth alone."""
    first_trained_cohort: int = 0
    """Entries of earlier cohorts are held at present; 0: none are."""
    released_share: float = 0.0
    """Of their updates, what held entries make at present."""
    has_ended: bool = False
    """Whether the policy has decided before that the network grows no more."""
    seed: int = 0
    """For what is drawn at random at the next event."""

    @property
    def last(self) -> Sample:
        return self.samples[-1]

    @property
    def progress(self) -> float:
        """The share of the run that is behind it: of its compute where it goes by that, otherwise of its steps."""
        return self.last.step / self.num_steps if self.last.progress is None else self.last.progress

    def samples_since(self, events: Sequence[GrowthEvent]) -> Sequence[Sample]:
        """The measurements after the last of some events; all of them where there is none."""
        return self.samples[events[-1].sample + 1 :] if events else self.samples

    @property
    def widenings(self) -> list[GrowthEvent]:
        """The events that added units."""
        return [event for event in self.events if event.added_units]

    @property
    def narrowings(self) -> list[GrowthEvent]:
        """The events that removed units."""
        return [event for event in self.events if event.removed_units]

    @property
    def num_units(self) -> int:
        """Of all groups that can change, now."""
        return sum(group.width for group in self.groups)

    @property
    def most_units(self) -> int:
        """That they have had at any time since the start: before the first event as many as now, or fewer."""
        return max([self.num_units, *(sum(event.widths.values()) for event in self.events), self._units_at_start])

    @property
    def _units_at_start(self) -> int:
        first = self.events[0] if self.events else None
        if first is None:
            return self.num_units
        return sum(first.widths.values()) + sum(first.removed_units.values()) - sum(first.added_units.values())

    @property
    def deepenings(self) -> list[GrowthEvent]:
        """The events that added blocks."""
        return [event for event in self.events if event.added_blocks]

    def last_events(self) -> dict[str, int]:
        """By group, the number of the event that last widened it; those that never grew are left out."""
        return {name: event.index for event in self.events for name in event.added_units}

    def removed_units(self) -> Counter[str]:
        """By group, the units that were taken from it since the start."""
        removed: Counter[str] = Counter()
        for event in self.events:
            removed.update(event.removed_units)
        return removed


@dataclass(frozen=True)
class MeasurementRequest:
    """A statistic of channel groups that a policy has to know before it can decide."""

    statistic: str
    """Its name; what it means is said by the layer selection that asks for it."""
    candidates: Mapping[str, tuple[Change, ...]]
    """By group to measure: what would be done to the network if this group were chosen alone."""
    added_units: Mapping[str, int]
    """By the same groups: the units among that."""


Measurements = Mapping[str, Mapping[str, float]]
"""What was measured: by statistic and by group, NaN where a group has no value."""


@dataclass(frozen=True)
class Decision:
    """What a policy wants done now, and why."""

    changes: tuple[Change, ...] = ()
    """To be made in this order, all or none."""
    trigger_value: float = 0.0
    """The number that decided it."""
    trigger_reason: str = ""
    """Why the network changes, in words; empty where no trigger said so."""
    growth_ended_by: str = ""
    """Why the network grows no more from here on, in words; empty where it still may."""

    @property
    def changes_shape(self) -> bool:
        """Whether the network is to become another: a growth event."""
        return changes_shape(self.changes)
