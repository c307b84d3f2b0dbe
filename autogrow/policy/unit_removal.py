"""Which units or blocks go: pure functions from their scores to an order in which they are removed.

A group never loses its best unit: a ratio that would empty a layer leaves one. Removing a unit takes a row of one
weight and a column of others away, so what goes together is decided by `autogrow.network`; here are only numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from autogrow.policy.changes import Change, Compensation, Narrow, Shorten
from autogrow.policy.part import PolicyPart

FloatArray = NDArray[np.float64]
Normalization = Literal["mean", "largest", "standard_deviation", "none"]
Budget = Literal["global", "per_group"]


class RemovalOrder(PolicyPart):
    """How units of different groups are put into one order."""

    normalization: Normalization = "mean"
    """What scores of a group are divided by before groups are compared: their mean absolute value, their largest, or
    their standard deviation about their mean; none compares them as they are."""
    budget: Budget = "global"
    """global: the units with the lowest scores go, whatever groups they are of. per_group: the same share of all."""
    least_share: float = Field(default=0.0, ge=0, le=1)
    """Share of every group's units that stay in any case; at least one does."""

    def order(self, scores: Mapping[str, FloatArray]) -> list[tuple[str, int]]:
        """Group and number of all units that may go, the first to go first.

        Args:
            scores: One per unit, larger stays, by group. A group with a score that is NaN keeps all of its units.
        """
        ranked = []
        for place, (name, values) in enumerate(scores.items()):
            if np.isnan(values).any():
                continue
            # Stable, so that of equals the last goes first: what is narrowed by numbers keeps the first units, too.
            weakest = (len(values) - 1 - np.argsort(values[::-1], kind="stable")).tolist()
            movable = len(values) - self.num_kept(len(values))
            levels = self._levels(values)
            ranked += [(levels[unit] if self.budget == "global" else rank / len(values), place, rank, name, unit)
                       for rank, unit in enumerate(weakest[:movable])]  # fmt: skip
        return [(name, unit) for *_, name, unit in sorted(ranked)]

    def lowest(self, values: Mapping[str, FloatArray], number: int) -> dict[str, NDArray[np.bool_]]:
        """Which entries of flat arrays go first, the first `number` of all that may: as `order`, of very many.

        They are compared as they are. Divided by their layer's mean, all weights of a small last layer would go first.
        """
        levels = {name: np.array(each, dtype=np.float64) for name, each in values.items()}
        for name, each in values.items():
            ranked = np.argsort(each, kind="stable")
            if self.budget == "per_group":
                levels[name][ranked] = np.arange(len(each)) / len(each)
            levels[name][ranked[len(each) - self.num_kept(len(each)) :]] = np.inf
        everything = np.concatenate([*levels.values()])
        number = min(number, int(np.isfinite(everything).sum()))
        goes = np.zeros(len(everything), dtype=np.bool_)
        goes[np.argsort(everything, kind="stable")[:number]] = True
        ends = np.cumsum([len(each) for each in levels.values()])
        return dict(zip(levels, np.split(goes, ends[:-1]), strict=True))

    def num_kept(self, width: int) -> int:
        """Of a group of that many units: how many stay in any case."""
        return max(1, int(np.ceil(round(self.least_share * width, 9))))

    def _levels(self, values: FloatArray) -> FloatArray:
        """The scores of a group as they are compared with other groups'."""
        finite = values[np.isfinite(values)]  # infinite ones go first or last, whatever the others are divided by
        if self.normalization == "none" or not len(finite):
            return values
        if self.normalization == "mean":
            unit = np.abs(finite).mean()
        elif self.normalization == "largest":
            unit = np.abs(finite).max()
        else:
            values, unit = values - finite.mean(), finite.std()
        # A group whose scores are all alike says nothing of its units: they are as good as the mean of any other.
        return values / unit if unit > 0 else np.where(np.isfinite(values), 0.0, values)


def is_named(name: str, patterns: Sequence[str]) -> bool:
    """Whether a group or stage is meant by one of these: names of it or of a module around it, or with * and ?.

    No patterns mean all.
    """
    return not patterns or any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns)


def removed_units(order: list[tuple[str, int]], number: int) -> dict[str, list[int]]:
    """The first `number` units of an order, by group, as `autogrow.policy.changes.Narrow` takes them."""
    removed: dict[str, list[int]] = {}
    for name, unit in order[:number]:
        removed.setdefault(name, []).append(unit)
    return {name: sorted(units) for name, units in removed.items()}


@dataclass(frozen=True)
class Candidates:
    """What may go from a network, the first to go first."""

    entries: tuple[tuple[str, int], ...]
    """Group and unit, or stage and block."""
    are_blocks: bool = False

    @classmethod
    def units(cls, order: RemovalOrder, scores: Mapping[str, FloatArray]) -> "Candidates":
        """Of groups, by the scores of their units, larger stays."""
        return cls(tuple(order.order(scores)))

    @classmethod
    def blocks(cls, order: RemovalOrder, scores: Mapping[str, FloatArray]) -> "Candidates":
        """Of stages, by the scores of their blocks, compared as they are; NaN is one that cannot go."""
        able = {name: np.where(np.isnan(values), np.inf, values) for name, values in scores.items()}
        entries = order.model_copy(update={"normalization": "none"}).order(able)
        return cls(tuple(entry for entry in entries if np.isfinite(able[entry[0]][entry[1]])), are_blocks=True)

    def __len__(self) -> int:
        return len(self.entries)

    def changes(self, number: int, compensation: Compensation = "none") -> list[Change]:
        """What removes the first `number` of them."""
        removed = removed_units(list(self.entries), number)
        if not removed:
            return []
        return [Shorten(removed)] if self.are_blocks else [Narrow(removed, compensation)]
