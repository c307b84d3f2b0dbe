"""Scores of tasks: what tells a good network from a bad one, and is the better the higher it is.

Which task has which score, its task says: `autogrow.tasks.base.Task.score`.
"""

from dataclasses import dataclass

from autogrow.errors import UsageError
from autogrow.metrics.numbers import COEFFICIENT, SHARE, NumberFormat
from autogrow.registry import Registry


@dataclass(frozen=True)
class Score:
    """How a task's score is called and written. More is better."""

    name: str
    """By which objectives and ``--prefer`` name it."""
    title: str
    """In sentences and headings."""
    numbers: NumberFormat = COEFFICIENT
    short_title: str = ""
    """In headings of tables, where there is little room; empty: the title."""
    loss_unit: str = ""
    """Of the losses that stand beside it."""

    @property
    def short(self) -> str:
        """As headings of tables have it, without the unit."""
        return self.short_title or self.title

    @property
    def heading(self) -> str:
        """With its unit, as tables of experiments have it: ``accuracy %``."""
        return self.short + (f" {self.numbers.unit}" if self.numbers.unit else "")

    @property
    def axis(self) -> str:
        """With its unit, as figures have it: ``accuracy (%)``."""
        return self.title + (f" ({self.numbers.unit})" if self.numbers.unit else "")

    @property
    def difference_unit(self) -> str:
        """What a difference of two is called: ``points``, ``R²``."""
        return self.numbers.difference_unit or self.title


SCORES: Registry[Score] = Registry("score", UsageError)

for _score in (
    Score("accuracy", "accuracy", SHARE),
    Score("r2", "R²"),
    Score("f1", "F1"),
    Score("reconstruction_r2", "reconstruction R²", COEFFICIENT, "R²", "per standardized value"),
    Score("token_accuracy", "next-token accuracy", SHARE, "token accuracy", "nats per token"),
):
    SCORES.register(_score.name)(_score)
