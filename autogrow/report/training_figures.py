"""The page's figures of how networks trained and grew, each drawn by plotly from a small record.

No file is read here and nothing is computed. Text that comes from a run is escaped: plotly reads it as HTML.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from autogrow.metrics.metric import Metric
from autogrow.policy.records import Sample
from autogrow.report import formats
from autogrow.report.figure_records import Curve
from autogrow.report.figure_style import BLUE, KINDS, OUTLINE, RED, SERIES, SKY, short_title, styled
from autogrow.report.timeline import GrowthTimeline


def curves_figure(curves: Sequence[Curve], metric: Metric) -> go.Figure:
    """What trials are judged by over training FLOPs, growth events marked; stopped trials in a panel below."""
    scale, unit = _flops_scale(max((curve.flops[-1] for curve in curves), default=1.0))
    stopped = [curve for curve in curves if curve.kind == "pruned"]
    finished = [curve for curve in curves if curve.kind != "pruned"]
    panels = [("", finished), ("stopped early", stopped)] if stopped else [("", finished)]
    figure = make_subplots(
        rows=len(panels),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.1,
        row_heights=[0.66, 0.34][: len(panels)],
        subplot_titles=[title for title, _ in panels],
    )
    for row, (_, shown) in enumerate(panels, start=1):
        _draw_curves(figure, shown, scale, unit, metric, row)
        figure.update_yaxes(title=short_title(metric) if row > 1 else metric.titled, row=row, col=1)
    _mark_growth(figure, finished, scale, metric)
    _mark_stops(figure, stopped, scale, metric)
    figure.update_yaxes(range=_late_range(finished, metric), row=1, col=1)
    figure.update_xaxes(rangemode="tozero")
    figure.update_xaxes(title=f"training compute so far ({unit})", row=len(panels), col=1)
    figure.update_annotations(font_size=13)
    return styled(figure, 640 if stopped else 460)


def _draw_curves(figure: go.Figure, curves: Sequence[Curve], scale: float, unit: str, metric: Metric, row: int) -> None:
    shown: set[str] = set()
    for curve in curves:
        title, _, colour = KINDS[curve.kind]
        many = curve.kind in ("pruned", "front")
        is_first = curve.replicate_of is None
        figure.add_scatter(
            x=[flops / scale for flops in curve.flops],
            y=[metric.shown(value) for value in curve.values],
            mode="lines",
            name=title if many else f"{title} (trial {curve.trial})",
            legendgroup=curve.kind,
            showlegend=is_first and curve.kind not in shown,
            line={
                "color": SKY if curve.kind == "front" else colour,
                "width": {"pruned": 1, "front": 1.5}.get(curve.kind, 2.5) if is_first else 1,
            },
            hovertemplate=f"trial {curve.trial} ({title}): %{{y:.4g}} at %{{x:.4g}} {unit}<extra></extra>",
            row=row,
            col=1,
        )
        if is_first:
            shown.add(curve.kind)


def _mark_growth(figure: go.Figure, curves: Sequence[Curve], scale: float, metric: Metric) -> None:
    """Open circles at the growth events of the curves that have a colour of their own."""
    marked = [curve for curve in curves if curve.kind != "front" and curve.event_flops and curve.replicate_of is None]
    for position, curve in enumerate(marked):
        colour = KINDS[curve.kind][2]
        figure.add_scatter(
            x=[flops / scale for flops in curve.event_flops],
            y=[metric.shown(value) for value in curve.event_values],
            mode="markers",
            name="growth event",
            legendgroup="growth event",
            showlegend=position == 0,
            marker={"symbol": "circle-open", "size": 9, "color": colour, "line": {"width": 2}},
            hovertemplate=f"trial {curve.trial} grows: %{{y:.4g}} before<extra></extra>",
            row=1,
            col=1,
        )


def _mark_stops(figure: go.Figure, stopped: Sequence[Curve], scale: float, metric: Metric) -> None:
    """A cross where each stopped trial ended."""
    if stopped:
        figure.add_scatter(
            x=[curve.flops[-1] / scale for curve in stopped],
            y=[metric.shown(curve.values[-1]) for curve in stopped],
            customdata=[curve.trial for curve in stopped],
            mode="markers",
            name="stopped",
            marker={"symbol": "x", "size": 7, "color": RED},
            hovertemplate="trial %{customdata} stopped: %{y:.4g}<extra></extra>",
            row=2,
            col=1,
        )


def _late_range(curves: Sequence[Curve], metric: Metric) -> list[float] | None:
    """Where the curves are after a third of their samples: the climb (for R² from far below zero) would flatten what
    tells them apart."""
    late = [value for curve in curves for value in curve.values[len(curve.values) // 3 :]]
    if not late or min(late) == max(late):
        return None
    low, high = metric.shown(min(late)), metric.shown(max(late))
    return [low - 0.04 * (high - low), high + 0.06 * (high - low)]


def _flops_scale(largest: float) -> tuple[float, str]:
    for size, unit in ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")):
        if largest >= size:
            return size, unit
    return 1.0, "FLOP"


def growth_figure(timeline: GrowthTimeline, samples: Sequence[Sample]) -> go.Figure:
    """Widths of all groups, stacked, over the training steps; below, the losses. Events are vertical lines."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.55, 0.45])
    steps = [0, *(event.step for event in timeline.events), timeline.last_step]
    names = timeline.groups
    for name, colour in zip(names, _group_colours(len(names)), strict=True):
        shapes = (timeline.initial_widths, *(event.widths for event in timeline.events))
        widths = [shape.get(name, 0) for shape in shapes]  # 0 of blocks that are not there yet, or no more
        title = escape(formats.short_name(f"group {name}" if name.isdigit() else name))
        figure.add_scatter(
            x=steps,
            y=[*widths, widths[-1]],
            mode="lines",
            name=title,
            stackgroup="widths",
            line={"shape": "hv", "width": 0.8, "color": OUTLINE},
            fillcolor=colour,
            hovertemplate=f"{title}: %{{y}} units<extra></extra>",
            row=1,
            col=1,
        )
    losses = (("train loss", "train_loss", BLUE, "solid"), ("validation loss", "validation_loss", RED, "dash"))
    for title, field, colour, dash in losses:
        figure.add_scatter(
            x=[sample.step for sample in samples],
            y=[getattr(sample, field) for sample in samples],
            mode="lines",
            name=title,
            line={"color": colour, "width": 2, "dash": dash},
            hovertemplate=f"{title}: %{{y:.4g}}<extra></extra>",
            row=2,
            col=1,
        )
    for event in timeline.events:
        figure.add_vline(x=event.step, line={"color": OUTLINE, "width": 1, "dash": "dot"})
    figure.update_yaxes(title="units", row=1, col=1)
    log = {"type": "log", "dtick": "D2", "tickformat": ".2~g"} if _positive(samples) else {}
    figure.update_yaxes(title="loss", row=2, col=1, **log)
    figure.update_xaxes(title="training step", row=2, col=1)
    figure.update_layout(hovermode="x unified", legend_traceorder="normal")
    return styled(figure, 560)


def _group_colours(number: int) -> list[Any]:
    if number <= len(SERIES):
        return list(SERIES[:number])
    return list(sample_colorscale("Cividis", [index / (number - 1) for index in range(number)]))


def _positive(samples: Sequence[Sample]) -> bool:
    return all(
        value is None or value > 0 for sample in samples for value in (sample.train_loss, sample.validation_loss)
    )
