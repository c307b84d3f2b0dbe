"""The growth policy: one frozen record that says when, where and how much a network grows, and how new units start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from autogrow.errors import PolicyError
from autogrow.outputs import check_output, write_output
from autogrow.paths import resolved
from autogrow.policy.changes import Change, Deepen, Freeze, ShapeChange, Thaw, Widen
from autogrow.policy.depth import AnyDepth
from autogrow.policy.freezing import AnyFreezing, NoFreezing
from autogrow.policy.history import Decision, History, MeasurementRequest, Measurements
from autogrow.policy.initializations import AnyInitialization, ZeroFanOut
from autogrow.policy.layer_selection import All, AnyLayerSelection
from autogrow.policy.limits import SizeLimits
from autogrow.policy.part import PolicyPart, validated
from autogrow.policy.policy_file import Origin, policy_text, read_policy_file
from autogrow.policy.records import GroupStatistics, GrowthEvent, Sample
from autogrow.policy.stopping import relative_gain
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.triggers import AnyTrigger, Plateau, Trigger, TriggerReading
from autogrow.policy.unit_removal import FloatArray
from autogrow.policy.unit_scores import UnitScore
from autogrow.policy.width_plan import WidthPlan
from autogrow.policy.width_shrinking import AnyWidthShrinking
from autogrow.reading.fields import PlainTable
from autogrow.reading.typed import typed

COHORT = "cohort"
MOST_NEW_UNIT_LR = 100.0


@dataclass(frozen=True)
class _WideningDue:
    reading: TriggerReading
    units: dict[str, int]
    """What every group that can still grow would get."""


@dataclass(frozen=True)
class _DeepeningDue:
    reading: TriggerReading
    blocks: dict[str, int]


class GrowthPolicy(PolicyPart):
    """How a network grows. Fractions are of every channel group's full width, the width its author wrote."""

    initial_fraction: float = Field(default=0.25, gt=0, le=1)
    """Share that every group starts with."""
    chunk_fraction: float = Field(default=0.25, gt=0, le=1)
    """Units added to a chosen group per growth event."""
    chunk_growth: float = Field(default=1.0, ge=1, le=4)
    """Every event adds this times the units of the event before (Yuan et al. 2023, arXiv 2306.12700: 1.2)."""
    max_fraction: float = Field(default=1.0, gt=0, le=4)
    """Share at which a group stops growing; above 1 it becomes wider than written."""
    width_multiple: int = Field(default=8, ge=1, le=256)
    """Widths on the way are multiples of this where a group is at least 8 of them wide and a chunk at least one."""
    trigger: AnyTrigger = Plateau()
    """When."""
    layer_selection: AnyLayerSelection = All()
    """Where."""
    initialization: AnyInitialization = ZeroFanOut()
    """How new units start."""
    freeze: AnyFreezing = NoFreezing()
    """What is held fixed after an event."""
    optimizer_state: Literal["carry", "reset"] = "carry"
    """carry: moments of old entries survive an event; reset: the optimizer starts afresh."""
    new_unit_lr: float | Literal["cohort"] = 1.0
    """Learning rate of new entries relative to the run's; cohort: by the norms of their weights, per event (Yuan)."""
    connection_ramp_steps: int = Field(default=0, ge=0, le=1_000_000)
    """Steps over which the connections between old and new units are faded in (thesis, 7.3); 0 makes them at once."""
    min_gain: float | None = Field(default=None, ge=0, lt=1)
    """Least relative improvement of the train loss that the last event must have bought for another; None asks none."""
    grow_until: float = Field(default=1.0, gt=0, le=1)
    """Share of the run's steps after which no event happens."""
    limits: SizeLimits = SizeLimits()
    """Sizes that growing must not exceed."""
    depth: AnyDepth = None
    """How the network grows deeper; None keeps every stage as it is."""
    shrink: AnyWidthShrinking = None
    """How the network is shrunk once nothing grows any more; None leaves its units as they are."""
    training: TrainingSettings | None = None
    """The training settings that the policy was found with; None leaves them to the command."""
    found_by: PlainTable | None = None
    """Where the policy comes from: study, trial, data set, fingerprint, metrics, versions. How a network trains is not
    decided by it; the data set and the built-in model are taken from it where none is given."""

    @model_serializer(mode="wrap")
    def _without_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Policies that do not shrink are written as before there was any: runs are recognized by what was written.
        written: dict[str, Any] = serialize(self)
        return {name: value for name, value in written.items() if name != "shrink" or value is not None}

    @field_validator("found_by")
    @classmethod
    def _has_an_origin(cls, found_by: dict[str, Any] | None) -> dict[str, Any] | None:
        if found_by is None:
            return None
        origin = typed(Origin, found_by, "found_by", PolicyError)
        return {**found_by, "metrics": origin.metrics} if origin.metrics is not None else found_by

    @field_validator("new_unit_lr", mode="before")
    @classmethod
    def _factor_or_cohort(cls, value: Any) -> Any:
        # Checked here, because pydantic's message for a union names neither the field nor both ways to mend it.
        if value == COHORT:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_NEW_UNIT_LR:
            raise ValueError(f"new_unit_lr is {value!r}: a number above 0, at most {MOST_NEW_UNIT_LR:g}, or {COHORT!r}")
        return value

    @model_validator(mode="after")
    def _fractions_in_order(self) -> Self:
        if self.initial_fraction > self.max_fraction:
            raise ValueError(f"initial_fraction {self.initial_fraction} is above max_fraction {self.max_fraction}")
        return self

    @property
    def widens(self) -> bool:
        """Whether there is any width left to grow after the start."""
        return self.initial_fraction < self.max_fraction

    @property
    def grows(self) -> bool:
        """Whether there is anything left to grow after the start, in width or in depth."""
        return self.widens or (self.depth is not None and self.depth.grows)

    @property
    def watches_validation(self) -> bool:
        """Whether any trigger looks at validation metrics, so that a validation split must be kept apart."""
        return any(trigger.watches_validation for trigger in self._triggers)

    @property
    def events_reset_optimizer(self) -> bool:
        """Whether the optimizer starts afresh at any kind of its events."""
        of_depth = self.depth is not None and self.depth.grows and self.depth.optimizer_state == "reset"
        return of_depth or (self.widens and self.optimizer_state == "reset")

    @property
    def needs_compute(self) -> bool:
        """Whether any trigger goes by the run's compute, so that its length must be compute."""
        others = [each.trigger for each in (self.depth, self.shrink) if each is not None]
        used = [self.trigger, *others] if self.widens else others
        return any(trigger.needs_compute for trigger in used)

    @property
    def _triggers(self) -> list[Trigger]:
        return [self.trigger, *(each.trigger for each in (self.depth, self.shrink) if each is not None)]

    @property
    def num_width_events(self) -> int:
        """Events that take a group from its initial width to its maximum, if it takes part in every one."""
        return self._widths.num_events()

    def initial_width(self, full_width: int) -> int:
        """The number of units a group of `full_width` starts with, at least 1."""
        return self._widths.width_after(0, full_width)

    def max_width(self, full_width: int) -> int:
        """The number of units a group of `full_width` can reach."""
        return self._widths.max_width(full_width)

    def added_units(self, width: int, full_width: int, removed: int = 0) -> int:
        """The units that one event adds to a group that has `width` now; 0 once it is at its maximum.

        `removed` units were taken from the group since the start.
        """
        return self._widths.added_units(width, full_width, removed)

    def may_grow_at(self, step: int, num_steps: int) -> bool:
        """Whether an event may happen after `step` of `num_steps` steps, as far as `grow_until` says."""
        return step <= self.grow_until * num_steps

    def worth_going_on(self, samples: Sequence[Sample], events: Sequence[GrowthEvent]) -> bool:
        """Whether the last event bought at least `min_gain`; to be asked when a trigger wants the next one.

        `samples` and `events` are all of the run's, oldest first. True where nothing can be compared yet.
        """
        gain = None if self.min_gain is None else relative_gain(samples, events)
        return gain is None or self.min_gain is None or gain >= self.min_gain

    def wants(self, history: History) -> tuple[MeasurementRequest, ...]:
        """What has to be measured before `decide` can: nothing, unless a trigger says that it is time to widen."""
        selection = self.layer_selection
        if selection.statistic is None or history.has_ended or self._stops(history):
            return ()
        due = self._due(history)
        if not isinstance(due, _WideningDue) or not self.worth_going_on(history.samples, history.events):
            return ()
        released = self._released(history)
        units = {name: due.units[name] for name in selection.to_measure(self._growable(history, due.units))}
        alone = {name: self._with_holding(history, released, self._widen({name: units[name]})) for name in units}
        return (MeasurementRequest(selection.statistic, alone, units),) if units else ()

    def wants_unit_scores(self, history: History) -> UnitScore | None:
        """By what units have to be scored before `decide` can: nothing, unless it is time to remove some."""
        return self.shrink.score if self.shrink is not None and self._removal_is_due(history) else None

    def decide(
        self,
        history: History,
        measurements: Measurements,
        unit_scores: Mapping[str, FloatArray] = MappingProxyType({}),
    ) -> Decision:
        """What is to be done to the network now: it grows if a trigger is due, and what was held is let go in time.

        Once it grows no more it shrinks, where that is due.

        Args:
            history: The run up to its last measurement.
            measurements: What `wants` asked for with the same history.
            unit_scores: What `wants_unit_scores` did: by group, one for every unit.

        Raises:
            ValueError: Some of that is missing.
        """
        released = self._released(history)
        if history.has_ended:
            return self._shrunk(history, released, unit_scores)
        if reason := self._stops(history):
            return Decision(released, growth_ended_by=reason)
        due = self._due(history)
        if due is None:
            return Decision(released)
        if not self.worth_going_on(history.samples, history.events):
            bought = f"the last event bought less than min_gain of {self.min_gain:g}"
            return Decision(released, growth_ended_by=bought)
        if isinstance(due, _WideningDue):
            growth: ShapeChange = self._widen(self._chosen(history, due.units, measurements))
        else:
            assert self.depth is not None
            growth = Deepen(due.blocks, self.depth.initialization, self.depth.optimizer_state)
        changes = self._with_holding(history, released, growth)
        return Decision(changes, due.reading.value, due.reading.reason)

    def _num_to_remove(self, history: History) -> int:
        """Units that the next removal takes, whenever that is."""
        if self.shrink is None or history.progress > self.shrink.shrink_until:
            return 0
        return self.shrink.num_to_remove(history.num_units, history.most_units)

    def _removal_is_due(self, history: History) -> bool:
        if self.shrink is None or not history.has_ended or self._num_to_remove(history) == 0:
            return False
        samples = history.samples_since(history.events)
        return bool(samples) and self.shrink.trigger.decide(samples, len(history.narrowings)).grow

    def _shrunk(
        self, history: History, released: tuple[Change, ...], unit_scores: Mapping[str, FloatArray]
    ) -> Decision:
        """What is done to a network that grows no more."""
        if self.shrink is None or not self._removal_is_due(history):
            return Decision(released)
        is_held = history.first_trained_cohort > 0
        narrow = self.shrink.removal(unit_scores, self._num_to_remove(history), is_held=is_held)
        if narrow is None:
            return Decision(released)
        samples = history.samples_since(history.events)
        reading = self.shrink.trigger.decide(samples, len(history.narrowings))
        return Decision((*released, narrow), reading.value, reading.reason)

    def acts(self, history: History) -> bool:
        """Whether the policy first grows a network without events, or gives that up, on the last of its samples."""
        return not history.has_ended and (bool(self._stops(history)) or self._due(history) is not None)

    def can_grow(self, history: History) -> bool:
        """Whether there is anything left to add to the network, limits of its size aside."""
        return bool(self._more_units(history) or self._more_blocks(history))

    def _stops(self, history: History) -> str:
        """Why growth ends without a trigger's having been asked; empty where it does not."""
        progress = history.last.progress
        if progress is None and self.may_grow_at(history.last.step, history.num_steps):
            return ""
        if progress is not None and progress <= self.grow_until:
            return ""
        return f"grow_until of {self.grow_until:g} of the run has passed"

    def _due(self, history: History) -> "_WideningDue | _DeepeningDue | None":
        """What the trigger of widths or, if that keeps still, that of depth wants done."""
        if units := self._more_units(history):
            widenings = history.widenings
            reading = self.trigger.decide(history.samples_since(widenings), len(widenings))
            if reading.grow:
                return _WideningDue(reading, units)
        if self.depth is not None and (blocks := self._more_blocks(history)):
            deepenings = history.deepenings
            reading = self.depth.trigger.decide(history.samples_since(deepenings), len(deepenings))
            if reading.grow:
                return _DeepeningDue(reading, blocks)
        return None

    def _chosen(self, history: History, units: Mapping[str, int], measurements: Measurements) -> dict[str, int]:
        """The units that an event adds to the groups that the layer selection takes."""
        values = measurements.get(self.layer_selection.statistic or "", {})
        groups = [replace(group, value=values.get(group.name)) for group in self._growable(history, units)]
        chosen = self.layer_selection.select(groups, np.random.default_rng(history.seed))
        return {name: units[name] for name in chosen}

    def _growable(self, history: History, units: Mapping[str, int]) -> list[GroupStatistics]:
        """What a layer selection sees of the groups that can be given `units`."""
        last = history.last_events()
        return [replace(group, last_event=last.get(group.name, 0)) for group in history.groups if group.name in units]

    def _widen(self, units: dict[str, int]) -> Widen:
        return Widen(units, self.initialization, self.optimizer_state)

    def _more_units(self, history: History) -> dict[str, int]:
        """Units that one event would add, for every group that is not at its maximum."""
        if not self.widens:
            return {}
        removed = history.removed_units()
        added = {
            group.name: self.added_units(group.width, group.full_width, removed[group.name]) for group in history.groups
        }
        return {name: number for name, number in added.items() if number > 0}

    def _more_blocks(self, history: History) -> dict[str, int]:
        """Blocks that one event would add, by stage."""
        if self.depth is None or not self.depth.grows:
            return {}
        present = {stage.name: stage.num_blocks for stage in history.stages}
        return self.depth.added_blocks(present, {stage.name: stage.full_blocks for stage in history.stages})

    def _released(self, history: History) -> tuple[Change, ...]:
        """What lets go of held entries as far as it is time to."""
        if history.first_trained_cohort == 0 or not history.events:
            return ()
        share = self.freeze.released_share(len(history.samples_since(history.events)))
        return (Thaw(min(share, 1.0)),) if share > history.released_share else ()

    def _with_holding(self, history: History, released: tuple[Change, ...], growth: ShapeChange) -> tuple[Change, ...]:
        """A change of shape between what is let go before it and what is held from then on."""
        share = self.freeze.released_share(0)
        cohort = self.freeze.first_trained_cohort(history.num_events + 1) if share < 1 else 0
        if cohort == 0:
            is_free = history.first_trained_cohort == 0 or Thaw() in released
            return (*released, growth) if is_free else (*released, growth, Thaw())
        held = (Freeze(cohort), Thaw(share)) if share > 0 else (Freeze(cohort),)
        return (*released, growth, *held)

    @property
    def _widths(self) -> WidthPlan:
        return WidthPlan(
            initial=self.initial_fraction,
            chunk=self.chunk_fraction,
            growth=self.chunk_growth,
            maximum=self.max_fraction,
            multiple=self.width_multiple,
            unit_multiple=self.initialization.unit_multiple,
        )

    def within(self, limits: SizeLimits) -> "GrowthPolicy":
        """The same policy with its limits tightened to these."""
        return self.model_copy(update={"limits": self.limits.tightened(limits)})

    def recipe(self) -> dict[str, Any]:
        """The fields that decide how a network grows, as plain data: without `training` and `found_by`."""
        return self.model_dump(mode="json", exclude={"training", "found_by"})

    @classmethod
    def from_dict(cls, fields: dict[str, Any], where: str = "policy") -> "GrowthPolicy":
        """The policy of these fields; raises `PolicyError` naming the field, the value and the limit."""
        return validated(cls, fields, where)

    @classmethod
    def load(cls, path: str | Path) -> "GrowthPolicy":
        """Read a policy file. Raises `PolicyError` for anything but a valid ``autogrow-policy/1`` file."""
        return cls.from_dict(read_policy_file(resolved(path)), where=str(path))

    def save(self, path: str | Path) -> None:
        """Write the policy file, whole or not at all; one that stands there is replaced."""
        place = resolved(path)
        check_output(place, lambda _: True, "")
        write_output(place, self.to_text())

    def to_text(self) -> str:
        """The content of its file."""
        unset = set() if self.limits.is_set else {"limits"}
        return policy_text(self.model_dump(mode="json", exclude_none=True, exclude=unset))
