"""When to grow. A trigger is a pure function of the measurements since the last growth event; it keeps no state.

Nothing is divided by a metric's level, so that metrics at zero or below (a log likelihood, R²) work like any other.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator

from autogrow.errors import PolicyError
from autogrow.former_names import FORMER_METRICS
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.policy.records import SAMPLE_METRICS, Sample
from autogrow.registry import Registry, subclass_of

ONE_SIDED_95 = 1.64
"""Standard errors above an estimate below which the true value lies with 95 % probability, for normal errors."""
MOST_GROWN_INTERVALS = 500
"""Intervals of a schedule after which they grow no more: 4 ** 500 is still a floating-point number."""

GOES_BY_EPOCHS = "trigger compute_shares goes by compute, but the run by epochs: set training.length to compute"


@dataclass(frozen=True)
class TriggerReading:
    """Whether to grow now, the number that decided it, and why, in words for the record."""

    grow: bool
    value: float
    reason: str


class Trigger(PolicyChoice):
    """Decides when a network grows."""

    notation: ClassVar[str] = "direction is 1 for metrics that rise as they improve (accuracies) and -1 for losses"

    @property
    def watches_validation(self) -> bool:
        """Whether the answer depends on validation metrics, so that a validation split must be kept apart."""
        return False

    @property
    def needs_compute(self) -> bool:
        """Whether it goes by the share of the run's compute, so that the run's length must be compute."""
        return False

    @abstractmethod
    def decide(self, samples: Sequence[Sample], num_events: int = 0) -> TriggerReading:
        """What the samples say that were taken since the last growth event (or since the start), oldest first.

        `num_events` is the number of growth events so far.
        """


TRIGGERS: Registry[type[Trigger]] = Registry(
    "trigger", PolicyError, group="autogrow.triggers", accepts=subclass_of(Trigger)
)


class MetricTrigger(Trigger):
    """A trigger that watches one metric, after a cooldown, and waits for so long and no longer."""

    metric: Annotated[
        Literal["train_loss", "validation_loss", "train_score", "validation_score"],
        BeforeValidator(lambda name: FORMER_METRICS.get(name, name) if isinstance(name, str) else name),
    ] = "train_loss"
    """What is watched."""
    window: int = Field(default=5, ge=1, le=10_000)
    """Samples in the moving average."""
    patience: int = Field(default=5, ge=1, le=10_000)
    """Samples that the best average may stand before the network grows."""
    cooldown: int = Field(default=2, ge=0, le=10_000)
    """Samples after an event that are not looked at."""
    max_wait: int | None = Field(default=20, ge=1, le=100_000)
    """Samples after which to grow even if the metric still improves; None waits for ever."""

    @property
    def watches_validation(self) -> bool:
        return self.metric.startswith("validation_")

    @property
    def direction(self) -> int:
        """1 where larger is better, -1 where smaller is."""
        return SAMPLE_METRICS[self.metric]

    def decide(self, samples: Sequence[Sample], num_events: int = 0) -> TriggerReading:
        reading = self._judge(samples[self.cooldown :])
        if not reading.grow and self.max_wait is not None and len(samples) >= self.max_wait:
            return TriggerReading(True, reading.value, f"max_wait of {self.max_wait} measurements reached")
        return reading

    @abstractmethod
    def _judge(self, samples: Sequence[Sample]) -> TriggerReading:
        """What the samples after the cooldown say, without regard to `max_wait`."""

    def _values(self, samples: Sequence[Sample]) -> list[float]:
        return [sample.watched(self.metric) for sample in samples]


class StandingAverage(MetricTrigger):
    """A trigger that counts for how many samples the best moving average has stood.

    The best moves only when the average is better by more than `min_delta` times the magnitude of that best.
    """

    min_delta: float = Field(default=0.002, ge=0, lt=1)
    """Relative improvement that counts as one."""

    def _standing(self, samples: Sequence[Sample]) -> tuple[float, int | None]:
        """The last moving average, and the samples since the best one; None before there is any."""
        values = self._values(samples)
        best, best_age, average = None, 0, 0.0
        for end in range(self.window, len(values) + 1):
            average = sum(values[end - self.window : end]) / self.window
            if best is None or self.direction * (average - best) > self.min_delta * abs(best):
                best, best_age = average, 0
            else:
                best_age += 1
        return average, None if best is None else best_age

    def _stood(self, samples: Sequence[Sample], patience: int) -> TriggerReading:
        average, age = self._standing(samples)
        if age is not None and age >= patience:
            return TriggerReading(
                True, average, f"{self.metric} averaged over {self.window} stood for {age} measurements"
            )
        return TriggerReading(False, average, f"{self.metric} improves, or too few measurements")


@TRIGGERS.register("plateau")
class Plateau(StandingAverage):
    """Grow when a moving average has stopped improving, and at the latest `max_wait` samples after the last event."""

    kind: ClassVar[str] = "plateau"
    summary: ClassVar[str] = "a moving average of a metric has stopped improving"
    formula: ClassVar[str] = (
        "a = mean of the last window values; best = a whenever direction * (a - best) > min_delta * |best|; "
        "grow when best has stood for patience measurements"
    )
    source: ClassVar[str] = "thesis (C. Lee 2017), 4.1, made relative to the best"

    def _judge(self, samples: Sequence[Sample]) -> TriggerReading:
        return self._stood(samples, self.patience)


@TRIGGERS.register("slope")
class Slope(MetricTrigger):
    """Grow when even an optimistic reading of the trend promises too little.

    A straight line is fitted to the last `window` samples: slope b with standard error s (per sample), level l, their
    mean. Noise widens s, so that a few lucky samples neither hide a stall nor feign one.
    """

    kind: ClassVar[str] = "slope"
    summary: ClassVar[str] = "a line through the last measurements promises too little, its uncertainty allowed for"
    formula: ClassVar[str] = (
        "grow when (direction * b + 1.64 s) * window <= threshold * |l| for patience measurements in a row, "
        "l = mean, b = Sxy / Sxx, s = sqrt(RSS / ((window - 2) Sxx))"
    )
    source: ClassVar[str] = "ordinary least squares, one-sided 95 % limit of the slope; the rule is derived here"

    window: int = Field(default=8, ge=3, le=10_000)
    """Samples that the line is fitted to; three is the fewest that leave an error to estimate."""
    threshold: float = Field(default=0.05, ge=0, lt=1)
    """Improvement over a whole window, relative to the level, below which growing is due."""
    patience: int = Field(default=2, ge=1, le=10_000)
    """Successive samples at which the line must promise too little."""

    def _judge(self, samples: Sequence[Sample]) -> TriggerReading:
        values = self._values(samples)
        ends = range(max(self.window, len(values) - self.patience + 1), len(values) + 1)
        readings = [self._reading(values[end - self.window : end]) for end in ends]
        promise = readings[-1][0] if readings else 0.0
        if len(readings) == self.patience and all(promise <= limit for promise, limit in readings):
            reason = f"{self.metric} promises at most {promise:.4g} over {self.window} measurements"
            return TriggerReading(True, promise, reason)
        return TriggerReading(False, promise, f"{self.metric} improves, or too few measurements")

    def _reading(self, values: Sequence[float]) -> tuple[float, float]:
        """The most that the metric may improve over a window, and the least that it should, in its own unit."""
        slope, error, level = _line(values)
        return (self.direction * slope + ONE_SIDED_95 * error) * self.window, self.threshold * abs(level)


def _line(values: Sequence[float]) -> tuple[float, float, float]:
    """Slope per sample, its standard error, and the mean, by ordinary least squares over samples 0, 1, 2 ..."""
    count = len(values)
    centre, level = (count - 1) / 2, math.fsum(values) / count
    spread = math.fsum((index - centre) ** 2 for index in range(count))
    slope = math.fsum((index - centre) * (value - level) for index, value in enumerate(values)) / spread
    residuals = (value - level - slope * (index - centre) for index, value in enumerate(values))
    squares = math.fsum(residual**2 for residual in residuals)
    return slope, math.sqrt(squares / (count - 2) / spread), level


@TRIGGERS.register("schedule")
class Schedule(Trigger):
    """Grow at fixed intervals, whatever the metrics say; with `growth` each is longer than the last."""

    kind: ClassVar[str] = "schedule"
    summary: ClassVar[str] = "after a fixed number of measurements, at equal intervals or at ones that grow"
    formula: ClassVar[str] = "interval n (from 0) = round(every * growth^n) measurements"
    source: ClassVar[str] = (
        "thesis (C. Lee 2017), 5.3 (25 measurements, one every 100 steps); growth: Yuan et al. 2023, arXiv 2306.12700"
    )

    every: int = Field(default=25, ge=1, le=100_000)
    """Samples before the first event, and between two events where `growth` is 1."""
    growth: float = Field(default=1.0, ge=1, le=4)
    """Every interval is this times the one before."""

    def decide(self, samples: Sequence[Sample], num_events: int = 0) -> TriggerReading:
        interval = self.interval(num_events)
        due = len(samples) >= interval
        return TriggerReading(
            due, float(len(samples)), f"{len(samples)} of {interval} measurements since the last event"
        )

    def interval(self, num_events: int) -> int:
        """Samples from event number `num_events` (0: the start) to the next one."""
        return round(self.every * self.growth ** min(num_events, MOST_GROWN_INTERVALS))


@TRIGGERS.register("compute_shares")
class ComputeShares(Trigger):
    """Growth at fixed shares of the training FLOPs of the run: one jump or several."""

    kind: ClassVar[str] = "compute_shares"
    summary: ClassVar[str] = "growth when given shares of the run's training FLOPs are used, one event at each"
    formula: ClassVar[str] = (
        "event number i at the first measurement with used FLOPs / all FLOPs >= shares[i], or first * ratio^i"
    )
    source: ClassVar[str] = "one jump: Bu 2025, arXiv 2511.04981; the default's shares: own trials on bytes of text"

    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(0.075, 0.2, 0.5), min_length=1, max_length=1000
    )
    """Of the whole run's training FLOPs, in rising order; the run's length must be compute."""
    first: float | None = Field(default=None, gt=0, lt=1)
    """The first of them, in place of `shares`: each later one is `ratio` times the one before, as long as below 1."""
    ratio: float = Field(default=2.5, gt=1, le=100)
    """Between one share and the next, where `first` is given."""

    @field_validator("shares")
    @classmethod
    def _rise(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in pairwise(shares)):
            raise ValueError(f"shares {list(shares)} do not rise: every event comes after the one before")
        return shares

    @property
    def needs_compute(self) -> bool:
        return True

    def decide(self, samples: Sequence[Sample], num_events: int = 0) -> TriggerReading:
        used = samples[-1].progress if samples else 0.0
        if used is None:
            raise PolicyError(GOES_BY_EPOCHS)
        share = self._share(num_events)
        if share is None:
            return TriggerReading(False, used, f"all {num_events} events have been")
        return TriggerReading(used >= share, used, f"{used:.1%} of the run's compute used, {share:.1%} asked for")

    def _share(self, number: int) -> float | None:
        """The share at which the event comes that follows `number` others; None if there is none."""
        if self.first is None:
            return self.shares[number] if number < len(self.shares) else None
        share = self.first * self.ratio ** min(number, MOST_GROWN_INTERVALS)
        return share if share < 1 else None


@TRIGGERS.register("gap")
class Gap(StandingAverage):
    """A plateau whose patience grows with the generalization gap: a network that overfits has no need of capacity.

    The gap is that of the newest sample; where a run has no validation split it counts as 0.
    """

    kind: ClassVar[str] = "gap"
    summary: ClassVar[str] = "a plateau that waits the longer, the more the network overfits"
    formula: ClassVar[str] = (
        "as plateau, with patience round(patience * (1 + gap_weight * max(0, train - validation accuracy)))"
    )
    source: ClassVar[str] = "after FRAGrow: Wu et al. 2024, arXiv 2401.03104 (there: a logistic curve of the gap)"

    gap_weight: float = Field(default=5.0, ge=0, le=1000)
    """Growth of the patience per unit of the gap: 5 makes it half as long again at a gap of 0.1."""

    @property
    def watches_validation(self) -> bool:
        return True

    def _judge(self, samples: Sequence[Sample]) -> TriggerReading:
        gap = samples[-1].generalization_gap if samples else None
        patience = round(self.patience * (1 + self.gap_weight * max(0.0, gap or 0.0)))
        return self._stood(samples, patience)


parse_trigger = choice_parser(TRIGGERS)


def _dump(trigger: Trigger) -> dict[str, Any]:
    return trigger.describe()


AnyTrigger = Annotated[Trigger, BeforeValidator(parse_trigger), PlainSerializer(_dump)]
