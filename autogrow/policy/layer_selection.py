"""Where to grow. A layer selection is a pure function from statistics of the groups to the names of those that grow.

Source of activation_std: C. Lee's thesis (2017), section 4.3, after He et al., "Deep Residual Learning" (2016).
`all` is the baseline to beat.
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
from autogrow.registry import Registry


class LayerSelection(PolicyChoice):
    """Decides which channel groups grow."""

    statistic: ClassVar[str | None] = None
    """The field of `GroupStatistics` that has to be measured, if any."""

    @abstractmethod
    def select(self, groups: Sequence[GroupStatistics], random: np.random.Generator) -> list[str]:
        """Names of the groups that grow, at least one, out of those that still can."""


LAYER_SELECTIONS: Registry[type[LayerSelection]] = Registry("layer selection", PolicyError)


class TopFraction(LayerSelection):
    """A selection of the first `fraction` of the groups, in an order of its own."""

    fraction: float = Field(default=0.5, gt=0, le=1)
    """Share of the growable groups that grows at one event, rounded up."""

    def count(self, groups: Sequence[GroupStatistics]) -> int:
        # Rounded before the ceiling: 0.2 * 15 is 3.0000000000000004 in floating point, and 3 groups are meant.
        return math.ceil(round(self.fraction * len(groups), 9))


@LAYER_SELECTIONS.register("all")
class All(LayerSelection):
    kind: ClassVar[str] = "all"
    summary: ClassVar[str] = "every group that can still grow (the baseline)"

    def select(self, groups: Sequence[GroupStatistics], random: np.random.Generator) -> list[str]:
        return [group.name for group in groups]


@LAYER_SELECTIONS.register("activation_std")
class ActivationStd(TopFraction):
    """The groups whose activations vary most over a minibatch; ties keep the network's order."""

    kind: ClassVar[str] = "activation_std"
    summary: ClassVar[str] = "the largest activation standard deviation over a minibatch (thesis, 4.3)"
    statistic: ClassVar[str | None] = "activation_std"

    def select(self, groups: Sequence[GroupStatistics], random: np.random.Generator) -> list[str]:
        ranked = sorted(groups, key=lambda group: -_measured(group))
        return [group.name for group in ranked[: self.count(groups)]]


@LAYER_SELECTIONS.register("random")
class Random(TopFraction):
    kind: ClassVar[str] = "random"
    summary: ClassVar[str] = "a random share of the groups (the control for every other selection)"

    def select(self, groups: Sequence[GroupStatistics], random: np.random.Generator) -> list[str]:
        chosen = random.permutation(len(groups))[: self.count(groups)]
        return [groups[index].name for index in sorted(chosen)]


def _measured(group: GroupStatistics) -> float:
    if group.activation_std is None:
        raise ValueError(f"activation_std of group {group.name!r} was not measured")
    return group.activation_std


parse_layer_selection = choice_parser(LAYER_SELECTIONS)


def _dump(selection: LayerSelection) -> dict[str, Any]:
    return selection.describe()


AnyLayerSelection = Annotated[LayerSelection, BeforeValidator(parse_layer_selection), PlainSerializer(_dump)]
