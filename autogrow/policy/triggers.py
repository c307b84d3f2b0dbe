"""When to grow. A trigger is a pure verdict on the samples since the last growth event; it keeps no state.

Sources: plateau, C. Lee's thesis (2017), section 4.1, made relative and robust to metrics at or below zero;
schedule, the same thesis, section 5.3.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from autogrow.errors import PolicyError
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.policy.records import SAMPLE_METRICS, Sample
from autogrow.registry import Registry


@dataclass(frozen=True)
class Verdict:
    """Whether to grow now, the number that decided it, and why, in words for the record."""

    grow: bool
    value: float
    reason: str


class Trigger(PolicyChoice):
    """Decides when a network grows."""

    @abstractmethod
    def decide(self, samples: Sequence[Sample]) -> Verdict:
        """The verdict on the samples taken since the last growth event (or since the start), oldest first."""


TRIGGERS: Registry[type[Trigger]] = Registry("trigger", PolicyError)


@TRIGGERS.register("plateau")
class Plateau(Trigger):
    """Grow when a moving average has stopped improving.

    The average runs over `window` samples. Its best value so far moves only when the average is better by more
    than `min_delta` times the magnitude of that best (so a metric at zero or below works too). The network grows
    when the best has stood for `patience` samples, and at the latest `max_wait` samples after the last event.
    """

    kind: ClassVar[str] = "plateau"
    summary: ClassVar[str] = "a moving average of a metric has stopped improving (thesis, 4.1)"

    metric: Literal["train_loss", "validation_loss", "train_accuracy", "validation_accuracy"] = "train_loss"
    window: int = Field(default=5, ge=1, le=10_000)
    """Samples in the moving average."""
    patience: int = Field(default=5, ge=1, le=10_000)
    """Samples that the best average may stand before the network grows."""
    min_delta: float = Field(default=0.002, ge=0, lt=1)
    """Relative improvement that counts as one."""
    cooldown: int = Field(default=2, ge=0, le=10_000)
    """Samples after an event that are not looked at."""
    max_wait: int | None = Field(default=20, ge=1, le=100_000)
    """Grow after so many samples even if the metric still improves; None waits for ever."""

    def decide(self, samples: Sequence[Sample]) -> Verdict:
        considered = samples[self.cooldown :]
        sign = SAMPLE_METRICS[self.metric]
        best, best_age, average = None, 0, 0.0
        values = [getattr(sample, self.metric) for sample in considered]
        for end in range(self.window, len(values) + 1):
            average = sum(values[end - self.window : end]) / self.window
            if best is None or sign * (average - best) > self.min_delta * abs(best):
                best, best_age = average, 0
            else:
                best_age += 1
        if best is not None and best_age >= self.patience:
            return Verdict(True, average, f"{self.metric} averaged over {self.window} stood for {best_age} samples")
        if self.max_wait is not None and len(samples) >= self.max_wait:
            return Verdict(True, average, f"max_wait of {self.max_wait} samples reached")
        return Verdict(False, average, f"{self.metric} improves, or too few samples")


@TRIGGERS.register("schedule")
class Schedule(Trigger):
    """Grow every `every` samples, whatever the metrics say."""

    kind: ClassVar[str] = "schedule"
    summary: ClassVar[str] = "every so many samples (thesis, 5.3: 25 samples of 100 steps)"

    every: int = Field(default=25, ge=1, le=100_000)
    """Samples between two events."""

    def decide(self, samples: Sequence[Sample]) -> Verdict:
        due = len(samples) >= self.every
        return Verdict(due, float(len(samples)), f"{len(samples)} of {self.every} samples since the last event")


parse_trigger = choice_parser(TRIGGERS)


def _dump(trigger: Trigger) -> dict[str, Any]:
    return trigger.describe()


AnyTrigger = Annotated[Trigger, BeforeValidator(parse_trigger), PlainSerializer(_dump)]
