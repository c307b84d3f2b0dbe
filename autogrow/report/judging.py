"""How one result stands beside another: the one place that says higher, ahead, level, or that nothing was learned.

One seed never says ahead. Ahead, behind and level are said of paired seeds, at least `FEWEST_SEEDS`, by whether their
mean difference is beyond `STANDARD_ERRORS` of its standard errors. The report, ``confirm`` and ``compare`` say it
with the same words.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

from autogrow.data.catalogue import Task
from autogrow.report import formats

Kind = Literal["nothing_learned", "higher", "lower", "equal", "ahead", "behind", "level"]
FEWEST_SEEDS = 3
"""With two, two standard errors are passed three times in ten where there is no difference at all."""
STANDARD_ERRORS = 2.0
ROUNDING = 2.0**-21
"""Metrics are computed in 32 bits: what differs by less than so many parts of its value does not differ."""


@dataclass(frozen=True)
class Yardstick:
    """What results are compared by, and what is known of the examples that they were read on."""

    task: Task
    by_loss: bool = False
    num_examples: int | None = None
    """None in a run of before, which did not write it down."""
    largest_class_share: float | None = None
    """What always naming one class gets right; None for a regression, and where nobody wrote it down."""

    def has_learned(self, accuracy: float | None) -> bool:
        """Whether an accuracy (R²) is above what a network has that looks at no input.

        For classes, by more than two standard errors of a share of so many examples. True where nothing is known.
        """
        if accuracy is None:
            return True
        if self.task == "regression":
            return accuracy > 0
        share = self.largest_class_share
        if share is None:
            return True
        error = sqrt(share * (1 - share) / self.num_examples) if self.num_examples else 0.0
        return accuracy > share + STANDARD_ERRORS * error

    @property
    def chance(self) -> str:
        """What a network has that looks at no input, in words."""
        if self.task == "regression":
            return "always answering the mean has R² 0"
        share = formats.score_with_unit(self.largest_class_share or 0.0, self.task)
        return f"always naming the largest class has {share}"

    def amount(self, difference: float) -> str:
        """The size of a difference, with its unit."""
        if self.by_loss:
            return f"{abs(difference):.3g} of loss"
        if self.task == "regression":
            return f"{abs(difference):.3g} of R²"
        return f"{100 * abs(difference):.2f} points"

    def counted(self, difference: float) -> int | None:
        """A difference of accuracies as a number of examples; None where it is none."""
        if self.by_loss or self.task == "regression" or self.num_examples is None:
            return None
        return round(difference * self.num_examples)

    def smallest(self, size: float) -> float:
        """A difference of results of that size that is none yet: of rounding, or one example more or less."""
        rounding = ROUNDING * abs(size)
        if self.by_loss or self.task == "regression" or self.num_examples is None:
            return rounding
        return max(rounding, 1.0 / self.num_examples)


@dataclass(frozen=True)
class Judgement:
    """One result beside another."""

    kind: Kind
    difference: float
    """The first minus the other; accuracies as shares."""
    num_seeds: int
    standard_error: float | None
    amount: str

    def beside(self, other: str) -> str:
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
        if self.num_seeds == 1:
            return ", one seed"
        if self.kind in ("higher", "lower", "equal"):
            return f" on average over {self.num_seeds} seeds, too few to say more"
        error = "" if self.standard_error is None else f"standard error {_same_unit(self)}, "
        return f" ({error}{self.num_seeds} paired seeds)"


def _same_unit(judgement: Judgement) -> str:
    assert judgement.standard_error is not None
    in_points = judgement.amount.endswith("points")
    return f"{100 * judgement.standard_error:.2f}" if in_points else f"{judgement.standard_error:.3g}"


def judge_values(first: float, other: float, yardstick: Yardstick) -> Judgement:
    """Two results of one seed: which is higher, and by how much, and no more than that."""
    difference = first - other
    count = yardstick.counted(difference)
    is_equal = count == 0 if count is not None else abs(difference) <= ROUNDING * max(abs(first), abs(other))
    kind: Kind = "equal" if is_equal else "higher" if difference > 0 else "lower"
    amount = yardstick.amount(difference)
    if count is not None:
        amount = f"{abs(count):,} of {yardstick.num_examples:,} examples"
    return Judgement(kind, difference, 1, None, amount)


def judge_seeds(
    difference: float, standard_error: float | None, num_seeds: int, size: float, yardstick: Yardstick
) -> Judgement:
    """The mean difference of paired seeds, of results of about the given size."""
    amount = yardstick.amount(difference)
    if num_seeds == 1:
        return judge_values(size, size - difference, yardstick)
    smallest = yardstick.smallest(size)
    if num_seeds < FEWEST_SEEDS or standard_error is None:
        is_equal = abs(difference) <= ROUNDING * abs(size)
        few: Kind = "equal" if is_equal else "higher" if difference > 0 else "lower"
        return Judgement(few, difference, num_seeds, standard_error, amount)
    if abs(difference) <= max(STANDARD_ERRORS * standard_error, smallest):
        return Judgement("level", difference, num_seeds, standard_error, amount)
    is_better = (difference < 0) == yardstick.by_loss
    return Judgement("ahead" if is_better else "behind", difference, num_seeds, standard_error, amount)
