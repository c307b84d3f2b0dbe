"""How one result compares with another: the one place that says higher, ahead, level, or that nothing was learned.

One seed never says ahead. Ahead, behind and level are said of paired seeds, at least `FEWEST_SEEDS`, by whether their
mean difference is beyond `STANDARD_ERRORS` of its standard errors, and beyond what chance alone does where that was
measured (`NoiseFloor`). The report, ``confirm``, ``compare`` and the studies say it with the same words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any, Literal

import numpy as np

from autogrow.metrics.metric import BITS_PER_BYTE, LOSS
from autogrow.metrics.objectives import SCORE_OF_ANY_TASK, Objective, objective_of
from autogrow.metrics.scores import Score
from autogrow.report.noise_floor import NoiseFloor
from autogrow.tasks import TASKS
from autogrow.tasks.text import bits_per_byte

Kind = Literal["nothing_learned", "higher", "lower", "equal", "ahead", "behind", "level"]
FEWEST_SEEDS = 3
"""With two, two standard errors are passed three times in ten where there is no difference at all."""
STANDARD_ERRORS = 2.0
ROUNDING = 2.0**-21
"""Metrics are computed in 32 bits: what differs by less than this share of its value does not differ."""


@dataclass(frozen=True)
class Yardstick:
    """What results are compared by, and what is known of the examples that they were read on."""

    task: str
    objective: str = SCORE_OF_ANY_TASK
    """By its name."""
    num_examples: int | None = None
    """None in a run of before, which did not write it down."""
    chance_level: float | None = None
    """As the task gave it for the training examples; None where it has none, and where nobody wrote it down."""
    bytes_per_token: float | None = None
    """Of text; None where it is not known, and of other data."""

    @property
    def score(self) -> Score:
        return TASKS[self.task].score

    @property
    def by(self) -> Objective:
        """What results are compared by."""
        return objective_of(self.objective, self.score)

    @property
    def by_score(self) -> bool:
        return self.objective in (SCORE_OF_ANY_TASK, self.score.name)

    @property
    def judges_chance_by(self) -> Literal["score", "loss"]:
        """What says whether anything was learned."""
        return TASKS[self.task].judges_chance_by

    def has_learned(self, value: float | None) -> bool:
        """Whether a score, or the loss, is better than that of a network that looks at no input.

        True where nothing is known. `judges_chance_by` says which of the two is asked.
        """
        return value is None or TASKS[self.task].has_learned(value, self.chance_level, self.num_examples)

    @property
    def chance(self) -> str:
        """What a network has that looks at no input, in words."""
        level, score = self.chance_level, self.score
        if level is None:
            reached = f"{score.title} 0"
        elif self.judges_chance_by == "loss":
            reached = f"loss {LOSS.of(score).with_unit(level)}"
            if self.bytes_per_token is not None:
                bits = bits_per_byte(level, self.bytes_per_token)
                reached += f", {BITS_PER_BYTE.text(bits)} {BITS_PER_BYTE.title}"
        else:
            reached = score.numbers.with_unit(level)
        return f"{TASKS[self.task].chance_answer} has {reached}"

    @property
    def chance_if_known(self) -> str:
        """The same; empty where nobody wrote the level down."""
        return "" if self.chance_level is None else self.chance

    def amount(self, difference: float) -> str:
        """The size of a difference, with its unit."""
        metric = self.by.metric
        if metric.numbers is not None and metric.numbers.difference_unit:
            return metric.numbers.amount(difference)
        return f"{abs(difference):.3g} {metric.unit or f'of {metric.heading}'}"

    def error(self, standard_error: float) -> str:
        """A standard error in the unit of `amount`, which is not said again."""
        metric = self.by.metric
        if metric.numbers is not None and metric.numbers.difference_unit:
            return metric.numbers.amount(standard_error).partition(" ")[0]
        return f"{standard_error:.3g}"

    def counted(self, difference: float) -> int | None:
        """A difference of scores as a number of examples; None where it is none."""
        if not self.by_score or not TASKS[self.task].counts_examples or self.num_examples is None:
            return None
        return round(difference * self.num_examples)

    def smallest(self, size: float) -> float:
        """A difference of results of that size that is none yet: of rounding, or one example more or less."""
        rounding = ROUNDING * abs(size)
        if not self.by_score or not TASKS[self.task].counts_examples or self.num_examples is None:
            return rounding
        return max(rounding, 1.0 / self.num_examples)


@dataclass(frozen=True)
class Judgement:
    """How one result compares with another."""

    kind: Kind
    difference: float
    """The first minus the other, as measured: accuracies as shares."""
    num_seeds: int
    standard_error: float | None
    amount: str
    error: str = ""
    """The standard error, as `amount` is written."""
    floor: str = ""
    """The noise floor, as `amount` is written, where the difference is level by it alone."""

    def compared_with(self, other: str) -> str:
        """What the first is, as the end of a sentence that it begins."""
        if self.kind == "equal":
            return f"equal to {other}{self._basis}"
        if self.kind == "level":
            return f"level with {other}: {'-' if self.difference < 0 else '+'}{self.amount}{self._basis}"
        if self.kind in ("ahead", "behind"):
            return f"{self.kind}{' of' if self.kind == 'ahead' else ''} {other} by {self.amount}{self._basis}"
        return f"{self.kind} than {other} by {self.amount}{self._basis}"

    @property
    def _basis(self) -> str:
        below = f", below the noise floor of {self.floor}" if self.floor else ""
        if self.num_seeds == 1:
            return f", one seed{below}"
        if self.kind in ("higher", "lower", "equal"):
            return f" on average over {self.num_seeds} seeds, too few to say more"
        error = f"standard error {self.error}, " if self.error else ""
        return f" ({error}{self.num_seeds} paired seeds{below})"


def noise_sentence(floor: NoiseFloor, num_seeds: int, yardstick: Yardstick) -> str:
    """What replicates say of noise, of means over so many seeds."""
    seeds = "one seed" if num_seeds == 1 else f"{num_seeds} seeds"
    return (
        "Noise floor: by how policies vary from seed to seed, chance alone makes up to "
        f"{yardstick.amount(floor.of_mean(num_seeds))} between two of them over {seeds}: nothing smaller is called "
        "better."
    )


def judge_values(first: float, other: float, yardstick: Yardstick, floor: NoiseFloor | None = None) -> Judgement:
    """Two results of one seed: which is higher, and by how much, and no more than that; level below the floor."""
    difference = first - other
    count = yardstick.counted(difference)
    is_equal = count == 0 if count is not None else abs(difference) <= ROUNDING * max(abs(first), abs(other))
    kind: Kind = "equal" if is_equal else "higher" if difference > 0 else "lower"
    amount = yardstick.amount(difference)
    if count is not None:
        amount = f"{abs(count):,} of {yardstick.num_examples:,} examples"
    return _above_floor(Judgement(kind, difference, 1, None, amount), yardstick, floor)


def judge_seeds(
    difference: float,
    standard_error: float | None,
    num_seeds: int,
    size: float,
    yardstick: Yardstick,
    floor: NoiseFloor | None = None,
) -> Judgement:
    """The mean difference of paired seeds, of results of about the given size; level below the floor, if one is known.

    Args:
        floor: Of differences of single seeds, in the unit of `difference`.
    """
    if num_seeds == 1:
        return judge_values(size, size - difference, yardstick, floor)
    return _above_floor(_by_seeds(difference, standard_error, num_seeds, size, yardstick), yardstick, floor)


def judge_by_seed(
    first: Mapping[Any, float], other: Mapping[Any, float], yardstick: Yardstick, floor: NoiseFloor | None = None
) -> Judgement | None:
    """Two policies by the seeds that both were trained on, of what each reached by seed; None where they share none."""
    shared = [seed for seed in first if seed in other]
    if not shared:
        return None
    ours, theirs = np.array([first[seed] for seed in shared]), np.array([other[seed] for seed in shared])
    if len(shared) == 1:
        return judge_values(float(ours[0]), float(theirs[0]), yardstick, floor)
    differences = ours - theirs
    error = float(differences.std(ddof=1)) / sqrt(len(shared))
    size = max(abs(float(ours.mean())), abs(float(theirs.mean())))
    return judge_seeds(float(differences.mean()), error, len(shared), size, yardstick, floor)


def _above_floor(found: Judgement, yardstick: Yardstick, floor: NoiseFloor | None) -> Judgement:
    """The same; level where chance alone makes as large a difference."""
    if floor is None or found.kind in ("equal", "level"):
        return found
    if not floor.hides(found.difference, found.num_seeds):
        return found
    return replace(found, kind="level", floor=yardstick.amount(floor.of_mean(found.num_seeds)))


def _by_seeds(
    difference: float, standard_error: float | None, num_seeds: int, size: float, yardstick: Yardstick
) -> Judgement:
    """What paired seeds say, at least two, by their own standard error."""
    amount = yardstick.amount(difference)
    smallest = yardstick.smallest(size)
    error = "" if standard_error is None else yardstick.error(standard_error)
    if num_seeds < FEWEST_SEEDS or standard_error is None:
        is_equal = abs(difference) <= ROUNDING * abs(size)
        few: Kind = "equal" if is_equal else "higher" if difference > 0 else "lower"
        return Judgement(few, difference, num_seeds, standard_error, amount, error)
    if abs(difference) <= max(STANDARD_ERRORS * standard_error, smallest):
        return Judgement("level", difference, num_seeds, standard_error, amount, error)
    is_better = yardstick.by.sign * difference > 0
    return Judgement("ahead" if is_better else "behind", difference, num_seeds, standard_error, amount, error)
