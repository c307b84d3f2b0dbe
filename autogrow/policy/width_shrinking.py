"""How a network that has grown is shrunk in the same run: which units go, how many at a time, and when.

Counts and scores in, units out. What is left trains on, so the run itself is the recovery.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PlainSerializer

from autogrow.errors import PolicyError
from autogrow.policy.changes import Compensation, Narrow
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.policy.triggers import AnyTrigger, Schedule
from autogrow.policy.unit_removal import FloatArray, RemovalOrder, removed_units
from autogrow.policy.unit_scores import AnyUnitScore, Fisher
from autogrow.registry import Registry

WIDTH_SHRINKINGS: Registry[type[PolicyChoice]] = Registry("width shrinking", PolicyError)


@WIDTH_SHRINKINGS.register("none")
class NoWidthShrinking(PolicyChoice):
    """Stands for no shrinking in policy files and search spaces; a policy's `shrink` is None then."""

    kind: ClassVar[str] = "none"
    summary: ClassVar[str] = "no unit is removed"
    source: ClassVar[str] = "the baseline"


@WIDTH_SHRINKINGS.register("units")
class UnitShrinking(PolicyChoice):
    """Units are removed once nothing grows any more, by a trigger of its own, until few enough are left."""

    kind: ClassVar[str] = "units"
    summary: ClassVar[str] = "once nothing grows any more, the units that matter least go, some at a time"
    formula: ClassVar[str] = (
        "an event leaves max(final_fraction P, n - fraction P) of n units, with P the most units that the network had"
    )
    source: ClassVar[str] = (
        "cycles of training, scoring and removing: Network Trimming, Hu et al. 2016, arXiv 1607.03250; in one run with "
        "growing: ours"
    )

    trigger: AnyTrigger = Schedule(every=5)
    """When, among the samples since the last event of any kind."""
    score: AnyUnitScore = Fisher()
    """By what the units of a group are told apart."""
    order: RemovalOrder = RemovalOrder()
    """How units of different groups are put into one order."""
    compensation: Compensation = "least_squares"
    """What is done for the units that stay; nothing while something is held frozen, which it would change."""
    part: Literal["all", "frozen", "thawed"] = "all"
    """Which units may go: all, those that are held frozen at the time, or those that are not (thesis (C. Lee 2017),
    6.1)."""
    only: tuple[str, ...] = ()
    """Groups that may lose units: their names, those of modules around them, or patterns. None: all."""
    fraction: float = Field(default=0.125, gt=0, le=1)
    """Units that an event removes, as a share of the most that the network had."""
    final_fraction: float = Field(default=0.5, gt=0, le=1)
    """Share of them that is left at the end."""
    shrink_until: float = Field(default=0.7, gt=0, le=1)
    """Share of the run after which no event happens, so that what is left has time to recover."""

    def num_to_remove(self, units: int, most_units: int) -> int:
        """Units of all groups together that the next event removes; 0 once few enough are left.

        Args:
            units: That the network has now.
            most_units: That it had when it was largest.
        """
        least = math.ceil(round(self.final_fraction * most_units, 9))
        return max(0, min(max(1, round(self.fraction * most_units)), units - least))

    def within_part(self, scores: FloatArray, is_held: NDArray[np.bool_]) -> FloatArray:
        """The scores of a group while something is held, infinite where units are not of the part that may go.

        The best of those that train stays in any case: a network that is held as a whole could not go on.

        Args:
            is_held: Which units are frozen.
        """
        stays = np.zeros(len(scores), np.bool_) if self.part == "all" else is_held != (self.part == "frozen")
        if not is_held.all():
            stays[np.where(is_held, -math.inf, scores).argmax()] = True
        return np.where(stays, math.inf, scores)

    def removal(self, scores: Mapping[str, FloatArray], number: int, *, is_held: bool) -> Narrow | None:
        """What removes so many units, as far as groups can lose some; None where none can.

        Args:
            scores: By group, one for every unit; infinite for one that stays in any case.
            is_held: Whether something is frozen.
        """
        order = [(name, unit) for name, unit in self.order.order(scores) if scores[name][unit] != math.inf]
        units = removed_units(order, number)
        return Narrow(units, "none" if is_held else self.compensation) if units else None


_parse_kind = choice_parser(WIDTH_SHRINKINGS)


def parse_width_shrinking(value: Any) -> UnitShrinking | None:
    """What ``{kind: units, ...}`` says, the same without a kind, or its name; None for ``none``."""
    if value is None:
        return None
    if isinstance(value, Mapping) and "kind" not in value:
        value = {"kind": UnitShrinking.kind, **value}
    parsed = _parse_kind(value)
    return parsed if isinstance(parsed, UnitShrinking) else None


def _dump(shrinking: UnitShrinking | None) -> dict[str, Any] | None:
    return None if shrinking is None else shrinking.describe()


AnyWidthShrinking = Annotated[UnitShrinking | None, BeforeValidator(parse_width_shrinking), PlainSerializer(_dump)]
