"""Mean and deviation of a metric over the last samples of a run: how the thesis compares networks (Table 5.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autogrow.experiments.results import Results
from autogrow.experiments.statistics import Spread, spread
from autogrow.experiments.tables import caption_of, columns_of, loss_cell
from autogrow.metrics import numbers
from autogrow.metrics.numbers import MISSING
from autogrow.report.tables import Table

NUM_SAMPLES = 10


@dataclass(frozen=True)
class LastSamples:
    """Of one condition and metric, over the seeds."""

    mean: Spread
    median: float
    """Of the means of single runs."""
    std: Spread
    """Of the last samples of one run, about their mean (as the thesis has it: within a run, not between seeds)."""


def last_samples(results: Results, condition: str, column: str) -> LastSamples | None:
    """None where no run has the column."""
    curves = [run.curve for run in results.of_condition(condition) if run.curve is not None]
    last = [curve.last(column, NUM_SAMPLES) for curve in curves if column in curve.columns]
    if not last:
        return None
    means = [float(np.mean(each)) for each in last]
    return LastSamples(spread(means), float(np.median(means)), spread([float(np.std(each)) for each in last]))


def last_samples_table(
    results: Results, column: str, title: str, published: Mapping[str, tuple[float, float]]
) -> Table:
    """Mean and deviation of a column's last measurements, and the mean's ratio to that of the design's unit.

    `published`: mean and deviation of conditions in the thesis; without any, its columns are left out.
    """
    unit = last_samples(results, results.design.unit, column)
    rows = []
    for condition in results.design.conditions:
        thesis = _published(published.get(condition.name)) if published else ()
        rows.append((condition.title, *_cells(last_samples(results, condition.name, column), unit), *thesis))
    titles = ("mean", "median", "std in a run", "ratio", *(("thesis: mean", "std") if published else ()))
    note = (
        f"Mean over seeds ± deviation between seeds; std in a run: of its last {NUM_SAMPLES} measurements; ratio: of "
        f"the mean to that of {results.design.title(results.design.unit)}."
    )
    caption = caption_of(f"{title.capitalize()} of the last {NUM_SAMPLES} measurements", results)
    return Table(caption, columns_of("network", *titles), tuple(rows), note)


def _cells(found: LastSamples | None, unit: LastSamples | None) -> Sequence[str]:
    if found is None:
        return (MISSING,) * 4
    ratio = MISSING if unit is None else numbers.significant(found.mean.mean / unit.mean.mean)
    return loss_cell(found.mean), numbers.significant(found.median), numbers.significant(found.std.mean), ratio


def _published(values: tuple[float, float] | None) -> tuple[str, str]:
    if values is None:
        return MISSING, MISSING
    return f"{values[0]:g}", f"{values[1]:g}"


def to_dict(results: Results, columns: Sequence[str]) -> dict[str, dict[str, dict[str, object] | None]]:
    """Plain data, by condition and column."""
    return {
        condition.name: {column: _plain(last_samples(results, condition.name, column)) for column in columns}
        for condition in results.design.conditions
    }


def _plain(found: LastSamples | None) -> dict[str, object] | None:
    return (
        None
        if found is None
        else {"mean": found.mean.to_dict(), "median": found.median, "std_in_a_run": found.std.to_dict()}
    )
