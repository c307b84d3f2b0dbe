"""Metrics of networks at the moment when they were equally good in another one (thesis, 5.3).

At equal train accuracy: which network generalizes better, and how sure it is of itself (cross-entropy). At equal
validation accuracy: which has the smaller gap.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autogrow.experiments.records import RunCurve
from autogrow.experiments.results import Results
from autogrow.experiments.statistics import Spread, spread
from autogrow.experiments.tables import caption_of, columns_of, gap_cell, loss_cell, score_cell
from autogrow.metrics.scores import Score
from autogrow.report.tables import Table

NUM_LEVELS = 4
ROUNDING = 1e-9
Reading = Mapping[str, float]
"""One sample of a curve, by column."""


@dataclass(frozen=True)
class Shown:
    """What is read off, and how it is written."""

    title: str
    read: Callable[[Reading], float]
    cell: Callable[[Spread | None, Score], str]


@dataclass(frozen=True)
class Matching:
    """Which metric is to be equal, and what is shown then."""

    by: str
    title: str
    shown: tuple[Shown, ...]


def _gap(reading: Reading) -> float:
    return reading["train_score"] - reading["validation_score"]


VALIDATION_LOSS = Shown(
    "Validation loss", lambda reading: reading["validation_loss"], lambda found, score: loss_cell(found)
)
VALIDATION_SCORE = Shown("Validation {score}", lambda reading: reading["validation_score"], score_cell)
GAP = Shown("Generalization gap", _gap, gap_cell)
AT_EQUAL_TRAIN_SCORE = Matching("train_score", "train", (VALIDATION_LOSS, VALIDATION_SCORE))
AT_EQUAL_VALIDATION_SCORE = Matching("validation_score", "validation", (GAP,))


def matched_tables(results: Results, matching: Matching) -> tuple[Table, ...]:
    """Of each metric that is shown: its value at the first sample at which a run had reached a level, for several."""
    return tuple(_matched_table(results, matching, shown) for shown in matching.shown)


def _matched_table(results: Results, matching: Matching, shown: Shown) -> Table:
    found = levels(results, matching.by)
    rows = []
    for condition in results.design.conditions:
        curves = [run.curve for run in results.of_condition(condition.name) if run.curve is not None]
        cells = []
        for level in found:
            readings = [reading for curve in curves if (reading := first_at(curve, matching.by, level)) is not None]
            read = [shown.read(reading) for reading in readings]
            cells.append(shown.cell(spread(read) if read else None, results.score))
        rows.append((condition.title, *cells))
    titles = [f"at {results.score.numbers.text(level)}" for level in found]
    equal = f"{matching.title} {results.score.title}"
    note = f"Read at the first measurement with that {equal}; the highest is one that every run reached."
    caption = caption_of(f"{shown.title.format(score=results.score.title)} at equal {equal}", results)
    return Table(caption, columns_of("network", *titles), tuple(rows), note)


def levels(results: Results, column: str) -> list[float]:
    """Values of a column that every run reached, evenly spaced up to the highest such one."""
    curves = [run.curve for run in results.runs if run.curve is not None]
    reached = [max(curve.columns[column]) for curve in curves if column in curve.columns]
    return [min(reached) * number / NUM_LEVELS for number in range(1, NUM_LEVELS + 1)] if reached else []


def first_at(curve: RunCurve, column: str, level: float) -> Reading | None:
    """The first sample whose column is at `level` or above."""
    for place, value in enumerate(curve.columns[column]):
        if value >= level - ROUNDING:
            return {name: values[place] for name, values in curve.columns.items()}
    return None
