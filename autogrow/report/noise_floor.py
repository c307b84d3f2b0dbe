"""The noise floor: how large a difference chance alone makes. Numbers in, numbers out.

It is measured by a placebo (a run that differs from another by chance alone), or by policies that were trained on
several seeds. What is called better goes by it in `autogrow.report.judging`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Self

import numpy as np

CONFIDENCE = 0.95
"""How often chance alone stays below its floor."""
UNLIKELY = 0.001
"""Chance of varying so much more than others over seeds, below which a policy says nothing of them."""
SMALLEST = 1e-12
"""Share of the squares that is taken for rounding."""


@dataclass(frozen=True)
class NoiseFloor:
    """What chance alone makes of results that are the same but for it.

    A mean difference over n seeds is above the floor where it is larger than

        max(|shift|, t(degrees) * deviation / sqrt(n))

    with t the two-sided 95% quantile of Student's distribution: chance alone stays below it 19 times in 20. It falls
    with the number of seeds, as chance does; and since a few differences say little of how much they vary, t is 12.7
    for one of them, 3.2 for three and 2.2 for twelve. The standard error of few seeds may be small by luck: the floor
    is there for that, and for what an event does without adding anything.
    """

    deviation: float
    """Standard deviation of one seed's difference, about zero."""
    degrees: int
    """Differences that say so, as degrees of freedom; at least 1."""
    shift: float = 0.0
    """The mean difference of a placebo; 0 where none was measured."""

    def of_mean(self, num_seeds: int) -> float:
        """The size up to which the mean difference over `num_seeds` seeds is level."""
        from scipy.special import stdtrit  # imported here: it takes time, and not every command judges

        spread = float(stdtrit(self.degrees, 1 - (1 - CONFIDENCE) / 2)) * self.deviation / sqrt(num_seeds)
        return max(abs(self.shift), spread)

    def hides(self, difference: float, num_seeds: int) -> bool:
        """Whether chance alone makes as large a mean difference over so many seeds."""
        return abs(difference) <= self.of_mean(num_seeds)

    @classmethod
    def of_placebo(cls, differences: Sequence[float]) -> Self | None:
        """From what a placebo and the run that it copies differ by, seed by seed; None where there is no difference.

        Which of the two is called the placebo is chance, so the differences vary about zero: none of them is spent
        on estimating a mean.
        """
        if not differences:
            return None
        number = len(differences)
        deviation = sqrt(sum(each * each for each in differences) / number)
        return cls(deviation, number, sum(differences) / number)

    @classmethod
    def of_replicates(cls, values: Sequence[Mapping[Any, float]]) -> Self | None:
        """From what policies reached by seed: what is left of it once every policy and every seed has its own mean.

        What all policies have of a seed is no noise between them: it took 0 to 70% of the variance over seeds in the
        project's own studies. Where that cannot be told, as with one policy on several seeds, how each varies over its
        seeds is all taken for noise. Policies with one seed say nothing, and those that vary beyond all likelihood more
        than the others say nothing of the others: they are left out. None where no policy has several seeds.

        Args:
            values: Of every policy, by its seeds, which are the same ones for all as far as they go.
        """
        kept = [each for each in values if len(each) > 1]
        fit = _Fit.of(kept)
        while fit is not None and (wild := fit.wildest()) is not None:
            del kept[wild]
            fit = _Fit.of(kept)
        if fit is not None:
            return cls(sqrt(2 * fit.squares / fit.degrees), fit.degrees)
        degrees = sum(len(each) - 1 for each in kept)
        squares = sum(float(np.var(list(each.values()))) * len(each) for each in kept)
        return cls(sqrt(2 * squares / degrees), degrees) if degrees else None


@dataclass(frozen=True)
class _Fit:
    """Values of policies by seeds, explained by an effect of each policy and one of each seed (least squares)."""

    squares: float
    """Sum of the squares that are left."""
    degrees: int
    """Degrees of freedom of these, at least 1."""
    shares: tuple[tuple[float, int], ...]
    """Of every policy: by how much less both would be without it."""

    @classmethod
    def of(cls, values: Sequence[Mapping[Any, float]]) -> Self | None:
        """None where nothing is left over."""
        seeds = sorted({seed for each in values for seed in each}, key=str)
        effects = np.zeros((sum(map(len, values)), len(values) + len(seeds)))
        rows = ((policy, seed) for policy, each in enumerate(values) for seed in each)
        for row, (policy, seed) in enumerate(rows):
            effects[row, policy] = effects[row, len(values) + seeds.index(seed)] = 1.0
        reached = np.array([value for each in values for value in each.values()])
        left_of = np.eye(len(reached)) - effects @ np.linalg.pinv(effects)
        left = left_of @ reached
        degrees = round(float(np.trace(left_of)))
        if degrees < 1:
            return None
        shares, start = [], 0
        for each in values:
            own = slice(start, start := start + len(each))
            inverse = np.linalg.pinv(left_of[own, own], rcond=1e-9)
            shares.append((float(left[own] @ inverse @ left[own]), int(np.linalg.matrix_rank(inverse))))
        return cls(float(left @ left), degrees, tuple(shares))

    def wildest(self) -> int | None:
        """The policy that varies so much more than the others that chance hardly does that, by an F test; or None."""
        from scipy.special import fdtrc  # imported here, as above

        chances = {}
        for policy, (squares, degrees) in enumerate(self.shares):
            rest, others = max(self.squares - squares, SMALLEST * self.squares), self.degrees - degrees
            if others > 0 and degrees > 0 and squares > 0:
                chances[policy] = float(fdtrc(degrees, others, squares / degrees / (rest / others)))
        least = min(chances, key=lambda policy: chances[policy], default=None)
        return None if least is None or chances[least] >= UNLIKELY else least
