"""What a policy sees, and what a trial writes: plain numbers, one record per line of a run's JSON-lines files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from autogrow.former_names import with_present_names

SMALLEST_LEVEL = 1e-12
"""What a change is related to where the level itself is smaller."""

SHOCK_STEPS = 50
"""Steps after an event in which a rise of the loss counts as its shock."""
RECOVERED = 1e-5
"""Relative rise of the loss that rounding makes, and that is none."""


class _Record:
    """Conversion to and from one JSON object; unknown keys of newer versions are ignored on reading."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        values = with_present_names(values)
        known = {entry.name for entry in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True)
class Sample(_Record):
    """One reading of the metrics: train and validation on the same weights, in eval mode, without augmentation.

    `accuracy` is the share of right answers for classification and R² (1 minus the residual's share of the
    variance) for regression; `loss` is the cross-entropy in nats or the mean squared error in the user's unit, squared.
    Where a regression is trained on standardized targets, policies watch the loss of those: see `watched`.
    """

    index: int
    step: int
    epoch: float
    train_loss: float
    validation_loss: float | None
    """None where a run has no validation split, as when a found policy is retrained on everything."""
    train_score: float
    validation_score: float | None
    train_seconds: float
    training_flops: float
    parameters: int
    learning_rate: float
    standardized_train_loss: float | None = None
    """The mean squared error of standardized targets, which is what is trained on; None where there are none."""
    standardized_validation_loss: float | None = None
    progress: float | None = None
    """Share of the run's compute that is used, where its length is compute; None where it goes by epochs."""

    def watched(self, metric: str) -> float:
        """A metric as policies see it: losses as they are trained on, so that no unit decides when a network grows."""
        standardized = getattr(self, f"standardized_{metric}", None)
        value: float = getattr(self, metric) if standardized is None else standardized
        return value

    @property
    def generalization_gap(self) -> float | None:
        """Train accuracy minus validation accuracy."""
        return None if self.validation_score is None else self.train_score - self.validation_score

    def to_dict(self) -> dict[str, Any]:
        fields = {name: value for name, value in super().to_dict().items() if name not in _IF_ANY or value is not None}
        return {**fields, "generalization_gap": self.generalization_gap}


_IF_ANY = ("standardized_train_loss", "standardized_validation_loss", "progress")
"""Left out of a record where there are none."""
SAMPLE_METRICS = {"train_loss": -1, "validation_loss": -1, "train_score": 1, "validation_score": 1}
"""The metrics a trigger may watch, with the direction that is better."""


@dataclass(frozen=True)
class GroupStatistics(_Record):
    """What is known of one channel group when a policy chooses where to grow."""

    name: str
    width: int
    full_width: int
    last_event: int = 0
    """Index of the last event at which the group grew, 0 if it never has."""
    value: float | None = None
    """The statistic that the layer selection asks for, or None where it was not measured; larger grows first."""


@dataclass(frozen=True)
class GrowthEvent(_Record):
    """One application of a policy to a network: what was changed, why, and what it did."""

    index: int
    """1 for the first event; the network counts them, and entries made by one belong to the cohort of its number."""
    step: int
    sample: int
    added_units: dict[str, int]
    widths: dict[str, int]
    """Width of every group after the event."""
    parameters_before: int
    parameters_after: int
    flops_before: float
    """Training FLOPs of one example: forward and backward."""
    flops_after: float
    trigger_value: float
    trigger_reason: str
    largest_output_change: float
    """Largest absolute change of any output on a fixed batch, in eval mode."""
    seconds: float
    statistics: dict[str, float] = field(default_factory=dict)
    """What layer selection measured of each group, where it measured anything."""
    added_blocks: dict[str, int] = field(default_factory=dict)
    """Residual blocks that this event added, by stage."""
    blocks: dict[str, int] = field(default_factory=dict)
    """Blocks of every stage after the event, where a policy grows depth."""
    gradient_ratio: float | None = None
    """Root mean square of the newborn entries' gradients over that of the incumbents', on the first step after."""
    loss_before: float | None = None
    """Loss on a fixed batch right before the event, as it is trained on (of standardized targets, if any)."""
    losses_after: dict[int, float] = field(default_factory=dict)
    """Loss on the same batch by number of steps after the event; 0 is right after growing."""
    shock: float | None = None
    """See `shock_of`; None where it was not measured."""
    limited_by: str | None = None
    """The size limit that cut this event short, in words."""
    selection_flops: float = 0.0
    """Training FLOPs spent on choosing where to grow (by `probe`); they are part of the run's."""
    removed_units: dict[str, int] = field(default_factory=dict)
    """Units that this event took away, by group."""
    removed_blocks: dict[str, int] = field(default_factory=dict)
    """Residual blocks that this event took away, by stage."""
    first_trained_cohort: int = 0
    """Entries of earlier cohorts are held from this event on; 0: none are."""

    @property
    def loss_after(self) -> float | None:
        """Loss on the fixed batch right after growing; beside `loss_before` it is the event's jump."""
        return self.losses_after.get(0)

    @property
    def recovered_after(self) -> int | None:
        """Steps after which the loss was first seen to be no higher than before the event: 0 where it never rose, None
        where it has not come down again, as far as was looked."""
        before = self.loss_before
        if before is None:
            return None
        level = before + RECOVERED * max(abs(before), SMALLEST_LEVEL)
        return next((steps for steps, loss in sorted(self.losses_after.items()) if loss <= level), None)

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().to_dict().items() if name not in _IF_CHANGED or value}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        # JSON knows no whole numbers as keys.
        losses = {int(steps): loss for steps, loss in (values.get("losses_after") or {}).items()}
        return super().from_dict({**values, "losses_after": losses})


_IF_CHANGED = ("removed_units", "removed_blocks", "first_trained_cohort")
"""Left out of a record of an event that did nothing of the kind."""


def shock_of(loss_before: float | None, losses_after: Mapping[int, float]) -> float | None:
    """Largest rise of the loss over `loss_before` within 50 steps, relative to it: 0 if it never rose, None if it was
    not measured."""
    soon = [loss for steps, loss in losses_after.items() if steps <= SHOCK_STEPS]
    if loss_before is None or not soon:
        return None
    return max(0.0, max(soon) - loss_before) / max(abs(loss_before), SMALLEST_LEVEL)
