"""The figures of the page, in order: each with title, caption and description, or the reason why it is not drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from autogrow.metrics.metric import GAP
from autogrow.report import figure_records
from autogrow.report.figure_records import Importances
from autogrow.report.snapshot import Snapshot
from autogrow.report.summary import RunSummary
from autogrow.report.tables import reference_point

_PLOTLY_CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


@dataclass(frozen=True)
class Figure:
    """A drawn figure, or the reason why there is none."""

    identifier: str
    title: str
    caption: str
    description: str
    """What a reader who cannot see the figure is told."""
    drawing: Markup | None
    reason: str = ""


def page_figures(snapshot: Snapshot, summary: RunSummary) -> list[Figure]:
    """All figures of a run. Reads the samples of the trials that are drawn."""
    return [
        _pareto(summary),
        _progress(summary),
        _curves(snapshot, summary),
        _growth(snapshot, summary),
        _importances(snapshot, summary),
        _slices(snapshot, summary),
        _spans(snapshot, summary),
    ]


def _pareto(summary: RunSummary) -> Figure:
    from autogrow.report.search_figures import pareto_figure

    points = figure_records.trial_points(summary)
    return _figure(
        "pareto",
        f"{summary.judged_by.sentence_title}, train seconds and gap",
        "Every feasible finished trial, and the controls. Large outlined markers are on the Pareto front; colour is "
        f"the generalization gap, train minus validation. The policy shows on hovering.{_note_on_bars(summary)}",
        f"Scatter plot of {len(points)} finished trials; the table of the Pareto front gives the same numbers.",
        (lambda: pareto_figure(points, summary.judged_by, summary.metrics[GAP.name])) if points else None,
        "No trial has finished.",
    )


def _note_on_means(summary: RunSummary) -> str:
    return "" if summary.over_seeds is None else " Every policy counts once, by its means over seeds."


def _note_on_bars(summary: RunSummary) -> str:
    several = " Policies are shown by their means over seeds; bars are standard errors."
    return "" if summary.over_seeds is None else several


def _progress(summary: RunSummary) -> Figure:
    from autogrow.report.search_figures import progress_figure

    progress = summary.progress
    objective = summary.chosen_objectives[0]
    if progress is None or progress.final is None:
        return _figure("progress", "How the search came along", "", "", None, progress.reason if progress else "")
    if progress.measure == "best":
        name = objective.metric.titled
        values = [None if value is None else objective.metric.shown(value) for value in progress.values]
        title, caption = (
            f"The best {objective.metric.title} so far",
            "The best value of a feasible grown trial.",
        )
    else:
        name, values = "hypervolume (share)", list(progress.values)
        title, caption = "Hypervolume of the Pareto front so far", _hypervolume_caption(summary)
    return _figure(
        "progress",
        title,
        f"After every finished trial, in order of completion. {caption}",
        f"Step plot of the {name} over {len(progress.trials)} finished trials, from {_first(values):.3g} to "
        f"{values[-1]:.3g}.",
        lambda: progress_figure(progress.trials, values, name),
    )


def _hypervolume_caption(summary: RunSummary) -> str:
    return (
        "The share of the space between the best values and the reference point that the front of feasible grown "
        "trials dominates: larger is better, 1 would be the best in all objectives at once. With "
        f"{reference_point(summary)}: "
        "the worst of every objective among feasible finished trials, controls included, a tenth of the range beyond. "
        "It is the same for the whole curve, and moves when a later trial is worse or better than all before."
    )


def _first(values: Sequence[float | None]) -> float:
    return next(value for value in values if value is not None)


def _curves(snapshot: Snapshot, summary: RunSummary) -> Figure:
    from autogrow.report.training_figures import curves_figure

    curves = figure_records.curves_of(snapshot, summary)
    return _figure(
        "accuracy",
        f"{summary.judged_by.sentence_title} over training compute",
        "Finished trials; those that were stopped early are apart, below. Circles mark growth events. Measurements on "
        "the way may look at a part of the validation data, so a curve can end at another number than the tables'. A "
        "double click shows the start of training as well, a click on a name hides its curves."
        f"{_note_on_curves(summary)}",
        f"Line plot of the measurements of {len(curves)} trials over their cumulative training FLOPs; "
        f"{sum(curve.kind == 'pruned' for curve in curves)} of them, stopped early, are in a panel of their own.",
        (lambda: curves_figure(curves, summary.judged_by)) if curves else None,
        "No trial has been measured.",
    )


def _note_on_curves(summary: RunSummary) -> str:
    return "" if summary.over_seeds is None else " Thin lines of a colour are other seeds of its policy."


def _growth(snapshot: Snapshot, summary: RunSummary) -> Figure:
    from autogrow.report.training_figures import growth_figure

    best, timeline = summary.preferred_trial, summary.best_timeline
    if best is None or timeline is None or not timeline.events:
        reason = "No grown trial has finished." if best is None else "The best trial never grew."
        return _figure("growth", "How the best trial grew", "", "", None, reason)
    samples = snapshot.run.trial(best.root).samples()
    return _figure(
        "growth",
        f"How trial {best.number} grew",
        "Above, the units of every channel group, stacked; below, the loss on train and validation data. Dotted lines "
        "are growth events.",
        f"{len(timeline.events)} growth events over {timeline.last_step} steps; the table of its growth lists them.",
        lambda: growth_figure(timeline, samples),
    )


def _importances(snapshot: Snapshot, summary: RunSummary) -> Figure:
    from autogrow.report.search_figures import importance_figure

    shares, reason = figure_records.importances(snapshot)
    return _figure(
        "importances",
        "Which searched parameters matter",
        "Share of every parameter in deciding which trials are the best quarter (PED-ANOVA), by objective. From under "
        f"a hundred trials it is a hint, not a finding.{_note_on_means(summary)}",
        f"Bar chart of parameter importances; the largest: {_largest(shares)}.",
        (lambda: importance_figure(shares)) if shares else None,
        reason,
    )


def _slices(snapshot: Snapshot, summary: RunSummary) -> Figure:
    from autogrow.report.search_figures import slice_figure

    panels = figure_records.slices(snapshot, summary.judged_by.name)
    name = summary.judged_by.title
    return _figure(
        "slices",
        f"Searched parameters and {name}",
        "One panel per parameter, with the trials that had it. Pruned trials are shown at what they had reached."
        f"{_note_on_means(summary)}",
        f"{len(panels)} scatter plots of {name} over a searched parameter.",
        (lambda: slice_figure(panels, summary.judged_by)) if panels else None,
        "Too few searched trials have ended.",
    )


def _spans(snapshot: Snapshot, summary: RunSummary) -> Figure:
    from autogrow.report.search_figures import span_figure

    spans = figure_records.spans(snapshot, summary)
    return _figure(
        "spans",
        "When the trials ran",
        "One bar per trial, from its start to its end, the start of its worker included.",
        f"Timeline of {len(spans)} trials.",
        (lambda: span_figure(spans)) if spans else None,
        "No trial has started.",
    )


def _figure(
    identifier: str, title: str, caption: str, description: str, draw: Callable[[], Any] | None, reason: str = ""
) -> Figure:
    from plotly.io import to_html

    if draw is None:
        return Figure(identifier, title, caption, description, None, reason)
    page = to_html(draw(), config=_PLOTLY_CONFIG, full_html=False, include_plotlyjs=False, div_id=f"{identifier}-plot")
    # plotly's JSON escapes <, > and /, and `figures` escapes the texts in it.
    return Figure(identifier, title, caption, description, Markup(page))


def _largest(shares: tuple[Importances, ...]) -> str:
    """The most important parameter of every objective, in words."""
    return "; ".join(f"for {entry.objective}, {max(entry.shares, key=entry.shares.__getitem__)}" for entry in shares)
