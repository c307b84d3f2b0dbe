"""Where to grow. A layer selection is a pure function from statistics of the groups to the names of those that grow.

What a statistic measures is said here, in `formula`; `autogrow.network` measures it. `all` is the baseline to beat.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer

from autogrow.errors import PolicyError
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.policy.records import GroupStatistics
from autogrow.registry import Registry, subclass_of


class LayerSelection(PolicyChoice):
    """Decides which channel groups grow."""

    statistic: ClassVar[str | None] = None
    """What has to be measured of each group and stand in `GroupStatistics.value`, if anything; larger grows first."""
    needs_batch: ClassVar[bool] = False
    """Whether measuring it needs examples with their targets and the loss, not inputs alone."""

    def to_measure(self, groups: Sequence[GroupStatistics]) -> list[str]:
        """Names of the groups, out of those that can still grow, whose statistic is to be measured."""
        return [group.name for group in groups] if self.statistic else []

    @abstractmethod
    def select(self, groups: Sequence[GroupStatistics], random: np.random.Generator) -> list[str]:
        """Names of the groups that grow, at least one, out of those that still can."""


LAYER_SELECTIONS: Registry[type[LayerSelection]] = Registry(
    "layer selection", PolicyError, group="autogrow.layer_selections", accepts=subclass_of(LayerSelection)
)


class TopFraction(LayerSelection):
    """A selection of the first `fraction` of the groups, in an order of its own."""

    fraction: float = Field(default=0.5, gt=0, le=1)
    """Share of the growable groups that grows at one event, rounded up."""

    def count(self, groups: Sequence[GroupStatistics]) -> int:
        # Rounded before the ceiling: 0.2 * 15 is 3.0000000000000004 in floating point, and 3 groups are meant.
        return math.ceil(round(self.fraction * len(groups), 9))


class LargestStatistic(TopFraction):
    """The groups with the largest value of a statistic; ties keep the network's order, NaN comes last."""

    def select(self, groups: Sequence[GroupStatistics], random: np.random.Generator) -> list[str]:
        for group in groups:
            if group.value is None:
                raise ValueError(f"{self.statistic} of group {group.name!r} was not measured")
        return [group.name for group in sorted(groups, key=_largest_first)[: self.count(groups)]]


def _largest_first(group: GroupStatistics) -> tuple[bool, float]:
    value = math.nan if group.value is None else group.value
    return (True, 0.0) if math.isnan(value) else (False, -value)


@LAYER_SELECTIONS.register("all")
class All(LayerSelection):
    kind: ClassVar[str] = "all"
    summary: ClassVar[str] = "every group that can still grow (the baseline)"
    source: ClassVar[str] = "uniform growth; Yuan et al. 2023, arXiv 2306.12700, among others"

    def select(self, groups: Sequence[GroupStatistics], random: np.random.Generator) -> list[str]:
        return [group.name for group in groups]


@LAYER_SELECTIONS.register("activation_std")
class ActivationStd(LargestStatistic):
    kind: ClassVar[str] = "activation_std"
    summary: ClassVar[str] = "the largest activation standard deviation over a minibatch"
    formula: ClassVar[str] = "std of all of the group's activations over a fixed minibatch"
    source: ClassVar[str] = "thesis (C. Lee 2017), 4.3, after the layer responses of He et al. 2016, arXiv 1512.03385"
    statistic: ClassVar[str | None] = "activation_std"


@LAYER_SELECTIONS.register("gradient_gain")
class GradientGain(LargestStatistic):
    """How much the loss' gradient can be enlarged by units added here, for what they cost.

    M = E[delta x^T] (readers x inputs) with x the layer's input and delta the gradient of the loss with respect to
    what the readers compute; k is the number of units that this event would add.
    """

    kind: ClassVar[str] = "gradient_gain"
    summary: ClassVar[str] = "the largest gradient that new units could get, per added FLOP"
    formula: ClassVar[str] = "sum of the top k squared singular values of M / FLOPs that k units add"
    source: ClassVar[str] = "GradMax: Evci et al. 2022, arXiv 2201.05125; per FLOP: derived here"
    statistic: ClassVar[str | None] = "gradient_gain"
    needs_batch: ClassVar[bool] = True


@LAYER_SELECTIONS.register("sensitivity")
class Sensitivity(LargestStatistic):
    """The groups in which a small disturbance of the weights makes the largest ripple in the loss."""

    kind: ClassVar[str] = "sensitivity"
    summary: ClassVar[str] = "the largest change of the loss when the layer's weights are disturbed"
    formula: ClassVar[str] = "mean over repeats of |loss(W + noise * rms(W) * N(0, 1)) - loss(W)|"
    source: ClassVar[str] = "thesis (C. Lee 2017), addendum on ripples"
    statistic: ClassVar[str | None] = "sensitivity"
    needs_batch: ClassVar[bool] = True

    noise: float = Field(default=0.05, gt=0, le=1)
    """Standard deviation of the disturbance relative to the root mean square of the weights."""
    repeats: int = Field(default=3, ge=1, le=100)
    """Disturbances that are averaged."""


@LAYER_SELECTIONS.register("rank")
class Rank(LargestStatistic):
    """The groups whose activations already span most of the directions they have: full layers want more units."""

    kind: ClassVar[str] = "rank"
    summary: ClassVar[str] = "the largest share of independent directions among the group's activations"
    formula: ClassVar[str] = "number of singular values of the activations H (n x width) above 0.01 sqrt(n) / width"
    source: ClassVar[str] = "NORTH: Maile et al. 2022, arXiv 2202.08539"
    statistic: ClassVar[str | None] = "rank"


@LAYER_SELECTIONS.register("round_robin")
class RoundRobin(TopFraction):
    kind: ClassVar[str] = "round_robin"
    summary: ClassVar[str] = "the groups that have waited longest, in the network's order"
    formula: ClassVar[str] = "smallest index of the event at which the group last grew (0: never)"
    source: ClassVar[str] = "AutoGrow's order of stages: Wen et al. 2020, arXiv 1906.02909"

    def select(self, groups: Sequence[GroupStatistics], random: np.random.Generator) -> list[str]:
        waiting = sorted(groups, key=lambda group: group.last_event)
        return [group.name for group in waiting[: self.count(groups)]]


@LAYER_SELECTIONS.register("random")
class Random(TopFraction):
    kind: ClassVar[str] = "random"
    summary: ClassVar[str] = "a random share of the groups (the control for every other selection)"
    source: ClassVar[str] = "the control"

    def select(self, groups: Sequence[GroupStatistics], random: np.random.Generator) -> list[str]:
        chosen = random.permutation(len(groups))[: self.count(groups)]
        return [groups[index].name for index in sorted(chosen)]


@LAYER_SELECTIONS.register("probe")
class Probe(TopFraction):
    """Grow every candidate in a copy of the run, train each copy for some steps, keep those with the lowest loss.

    A short training tells more than the loss right after growing, which misleads. Copies cost training, so at most
    `candidates` groups are tried at an event: those with the smallest width relative to their full width (they have
    most left to gain), among equals those that grew longest ago, then in the network's order.
    """

    kind: ClassVar[str] = "probe"
    summary: ClassVar[str] = "the lowest loss after growing the group in a copy of the run and training it a little"
    formula: ClassVar[str] = "-(loss on a fixed batch after growing this group alone and training for steps)"
    source: ClassVar[str] = "landscape-aware growing: Karp et al. 2024, arXiv 2406.02469"
    statistic: ClassVar[str | None] = "probe"
    needs_batch: ClassVar[bool] = True

    steps: int = Field(default=20, ge=1, le=10_000)
    """Training steps of every copy."""
    candidates: int = Field(default=8, ge=1, le=10_000)
    """Most groups that are tried at one event."""

    def to_measure(self, groups: Sequence[GroupStatistics]) -> list[str]:
        narrowest = sorted(groups, key=lambda group: (group.width / group.full_width, group.last_event))
        tried = {group.name for group in narrowest[: self.candidates]}
        return [group.name for group in groups if group.name in tried]

    def select(self, groups: Sequence[GroupStatistics], random: np.random.Generator) -> list[str]:
        tried = [group for group in groups if group.value is not None]
        if not tried:
            raise ValueError("probe was not measured of any group")
        return [group.name for group in sorted(tried, key=_largest_first)[: self.count(groups)]]


parse_layer_selection = choice_parser(LAYER_SELECTIONS)


def _dump(selection: LayerSelection) -> dict[str, Any]:
    return selection.describe()


AnyLayerSelection = Annotated[LayerSelection, BeforeValidator(parse_layer_selection), PlainSerializer(_dump)]
