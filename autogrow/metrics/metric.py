"""What a metric is: where its value stands among what a trial measured, how it is called and written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from autogrow.metrics.numbers import COEFFICIENT, COUNT, MISSING, RATIO, SECONDS, SIGNIFICANT, NumberFormat
from autogrow.metrics.scores import Score


@dataclass(frozen=True)
class Metric:
    """One number that a trial measures.

    In the table of metrics ``{score}`` stands for the title of the task's score, and ``{loss_unit}`` for the unit of
    its loss; `of` puts them there.
    """

    name: str
    """Key of the value in the metrics of a trial."""
    title: str
    """In sentences: ``validation loss``."""
    heading: str = ""
    """Above a column, where there is little room: ``loss``; where it is empty, the title."""
    numbers: NumberFormat | None = SIGNIFICANT
    """None: as the task's score is written."""
    unit: str = ""
    """In which values are given; empty where the heading says it, and where they are those of `numbers`."""
    is_difference: bool = False
    """Whether it is a difference of two scores, and so has a sign."""
    is_cost: bool = False
    """Always above zero, so that differences are told in percent of the other's value."""
    is_by_the_clock: bool = False
    """Whether it depends on what else the machine did meanwhile, and so compares among trials of a search alone."""
    note: str = ""
    """What stands below tables that have it."""
    read: Callable[[Mapping[str, Any]], float | None] | None = None
    """How it comes of what a trial measured; None: it is measured under its name."""
    measure: Callable[[Any, Any], Any] | None = None
    """How it is measured at the end of a trial, where nothing else needs to know it: of the network, a plain module in
    eval mode, and a batch of its inputs. It gives one finite number, a float or a tensor."""

    needs: tuple[str, ...] = ()
    """What it is made of that is measured only on request: ``latency_ms``, ``memory_bytes``, another's `measure`."""

    def value(self, metrics: Mapping[str, Any]) -> float | None:
        """The value among what a trial measured; None where it did not."""
        if self.read is None or self.name in metrics:
            found: float | None = metrics.get(self.name)
            return found
        try:
            return self.read(metrics)
        except (KeyError, TypeError):  # of what it is made, something was not measured
            return None

    def of(self, score: Score) -> "Metric":
        """As it is called and written for a task with this score."""
        numbers = self.numbers or score.numbers
        own_unit = self.unit.format(loss_unit=score.loss_unit)
        unit = own_unit or (numbers.difference_unit if self.is_difference else numbers.unit)
        title, note = (text.format(score=score.title) for text in (self.title, self.note))
        heading = self.heading.format(score=score.short) or title
        return replace(self, numbers=numbers, unit=unit, title=title, heading=heading, note=note)

    @property
    def titled(self) -> str:
        """The title with the unit."""
        return self.title + (f" ({self.unit})" if self.unit else "")

    @property
    def sentence_title(self) -> str:
        """The title as a heading begins with it."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def label(self) -> str:
        """What it is called in front of a value with its unit."""
        return self.title if self.heading == self.unit else self.heading

    def text(self, value: float | None) -> str:
        """The bare number, as cells of tables have it."""
        return self._format.signed(value) if self.is_difference else self._format.text(value)

    def deviation(self, value: float) -> str:
        """A standard deviation, which has no sign."""
        return self._format.text(value)

    def with_unit(self, value: float | None) -> str:
        return self.text(value) + (f" {self.unit}" if self.unit else "")

    def shown(self, value: float) -> float:
        """The number that figures have for a value."""
        return self._format.shown(value)

    def change(self, difference: float | None) -> str:
        """A difference of two values with its sign, in the units of the values or in points."""
        return self._format.signed(difference)

    def difference(self, value: float | None, other: float | None) -> str:
        """How far a value lies above or below another: in points, in percent of the other for costs, else as it is."""
        if value is None or other is None or (self.is_cost and not other):
            return MISSING
        return f"{round(100 * (value / other - 1)) + 0:+d} %" if self.is_cost else self.change(value - other)

    @property
    def _format(self) -> NumberFormat:
        return self.numbers or COEFFICIENT


SCORE = Metric("validation_score", "validation {score}", "{score}", numbers=None)
GAP = Metric("generalization_gap", "generalization gap", "gap", numbers=None, is_difference=True)
TRAIN_SECONDS = Metric("train_seconds", "train seconds", "train s", SECONDS, is_cost=True, is_by_the_clock=True)
COMPUTE = Metric(
    "compute", "compute", numbers=RATIO, note="compute: training FLOPs, 1 being a full-width run of equal length"
)
LOSS = Metric("validation_loss", "validation loss", "loss", unit="{loss_unit}", note="loss: on validation data")
BITS_PER_BYTE = Metric(
    "bits_per_byte", "bits per byte", "bits/byte", note="bits/byte: the loss per byte of text, whatever the tokenizer"
)
PARAMETERS = Metric("parameters", "parameters", "params", COUNT, is_cost=True)
FLOPS = Metric(
    "flops", "training FLOPs per example", "FLOPs", COUNT, is_cost=True,
    note="FLOPs: of training on one example, at the end",
)  # fmt: skip
LATENCY = Metric(
    "latency_ms",
    "latency",
    "ms",
    unit="ms",
    is_cost=True,
    is_by_the_clock=True,
    note="ms: of one forward pass of a batch, at the end",
)
MEMORY = Metric("memory_bytes", "memory of one training step", "memory", COUNT, is_cost=True)
EVENTS = Metric("num_events", "growth events", "events", COUNT, note="events: growth events")
METRICS = {
    each.name: each
    for each in (
        SCORE,
        GAP,
        TRAIN_SECONDS,
        COMPUTE,
        LOSS,
        BITS_PER_BYTE,
        PARAMETERS,
        FLOPS,
        LATENCY,
        MEMORY,
        EVENTS,
    )  # fmt: skip
}
"""What tables of trials can show, in the order of their columns; objectives of others come after these."""


def metrics_of(score: Score) -> dict[str, Metric]:
    """All that tables of trials can show, for a task with this score."""
    return {name: metric.of(score) for name, metric in METRICS.items()}
