"""The page's figures, each drawn by plotly from a small record. No file is read here and nothing is computed.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which colour-blind readers can tell apart, and
cividis (Nuñez et al. 2018) where there is an order. Text that comes from a run is escaped: plotly reads it as HTML.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from autogrow.metrics import numbers
from autogrow.metrics.metric import Metric
from autogrow.policy.records import Sample
from autogrow.report import formats
from autogrow.report.figure_records import Curve, Importances, Slice, Span, TrialPoint
from autogrow.report.timeline import GrowthTimeline

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#8A8A8A"
OUTLINE = "#7A7A7A"
"""Seen on a light page and on a dark one."""
_SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY)
_KINDS = {
    "grown": ("grown", "circle", GREY),
    "front": ("Pareto front", "circle", BLUE),
    "static": ("static control", "square", RED),
    "default": ("default policy", "triangle-up", GREEN),
    "thesis": ("thesis policy", "diamond", PURPLE),
    "best": ("best", "circle", BLUE),
    "pruned": ("stopped early", "circle", "#9A9A9A"),
}
_STATE_COLOURS = {
    "complete": BLUE,
    "infeasible": GREY,
    "pruned": ORANGE,
    "failed": RED,
    "running": GREEN,
    "interrupted": PURPLE,
}
_MAX_CHARACTERS = 90
"""Of a policy in one line of a hover label."""
SLICE_COLUMNS = 3
_SLICE_ROW_HEIGHT = 210


def pareto_figure(points: Sequence[TrialPoint], metric: Metric, gap: Metric) -> go.Figure:
    """The metric that trials are judged by over train seconds, the colour being the generalization gap."""
    figure = go.Figure()
    gaps = [gap.shown(point.gap) for point in points]
    # Not a colour axis: plotly.js takes the number of an entry in the legend for a colour there, and warns of each.
    colours = {"colorscale": "Cividis", "cmin": min(gaps, default=0.0), "cmax": max(gaps, default=1.0)}
    colour_bar = {
        "title": dict(text=gap.heading + (f" ({gap.unit})" if gap.unit else ""), side="right"),
        "thickness": 12,
        "outlinewidth": 0,
    }
    for kind in ("grown", "front", "static", "default", "thesis"):
        chosen = [point for point in points if point.kind == kind]
        if not chosen:
            continue
        title, symbol, _ = _KINDS[kind]
        shows_bar = not figure.data
        figure.add_scatter(
            x=[point.train_seconds for point in chosen],
            y=[metric.shown(point.value) for point in chosen],
            mode="markers",
            name=title,
            marker={
                "symbol": symbol,
                "size": [15 if point.on_front else 11 for point in chosen],
                "color": [gap.shown(point.gap) for point in chosen],
                **colours,
                **({"showscale": True, "colorbar": colour_bar} if shows_bar else {}),
                "line": {"width": [2.5 if point.on_front else 0.5 for point in chosen], "color": OUTLINE},
            },
            text=[_point_label(point, metric, gap) for point in chosen],
            hovertemplate="%{text}<extra></extra>",
            **_error_bars(chosen, metric),
        )
    figure.update_xaxes(title="train seconds", rangemode="tozero")
    figure.update_yaxes(title=metric.titled)
    return _styled(figure, 460)


def _error_bars(points: Sequence[TrialPoint], metric: Metric) -> dict[str, Any]:
    """Standard errors, where several seeds say them."""
    errors = [point.standard_error for point in points]
    if all(error is None for error in errors):
        return {}
    shown = [0.0 if error is None else metric.shown(error) for error in errors]
    return {"error_y": {"array": shown, "thickness": 1, "width": 3, "color": OUTLINE}}


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
        figure.update_yaxes(title=_short_title(metric) if row > 1 else metric.titled, row=row, col=1)
    _mark_growth(figure, finished, scale, metric)
    _mark_stops(figure, stopped, scale, metric)
    figure.update_yaxes(range=_late_range(finished, metric), row=1, col=1)
    figure.update_xaxes(rangemode="tozero")
    figure.update_xaxes(title=f"training compute so far ({unit})", row=len(panels), col=1)
    figure.update_annotations(font_size=13)
    return _styled(figure, 640 if stopped else 460)


def _draw_curves(figure: go.Figure, curves: Sequence[Curve], scale: float, unit: str, metric: Metric, row: int) -> None:
    shown: set[str] = set()
    for curve in curves:
        title, _, colour = _KINDS[curve.kind]
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
        colour = _KINDS[curve.kind][2]
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


def progress_figure(trials: Sequence[int], values: Sequence[float | None], axis: str) -> go.Figure:
    """The front's quality after every finished trial, in order of completion, as steps."""
    figure = go.Figure()
    figure.add_scatter(
        x=list(range(1, len(trials) + 1)),
        y=list(values),
        customdata=list(trials),
        mode="lines+markers",
        line={"shape": "hv", "color": BLUE, "width": 2.5},
        marker={"size": 6},
        hovertemplate="after trial %{customdata}: %{y:.4g}<extra></extra>",
    )
    figure.update_xaxes(title="finished trials, in order of completion", rangemode="tozero", **_whole(len(trials)))
    figure.update_yaxes(title=escape(axis))
    return _styled(figure, 340)


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
    return _styled(figure, 560)


def importance_figure(found: Sequence[Importances]) -> go.Figure:
    """Importances as bars, one colour per objective, the parameter with the largest sum on top."""
    totals: dict[str, float] = {}
    for entry in found:
        for name, share in entry.shares.items():
            totals[name] = totals.get(name, 0.0) + share
    names = sorted(totals, key=lambda name: totals[name])
    figure = go.Figure()
    for entry, colour in zip(found, _SERIES, strict=False):
        figure.add_bar(
            y=[_parameter_title(name) for name in names],
            x=[entry.shares.get(name, 0.0) for name in names],
            orientation="h",
            name=escape(entry.objective),
            marker={"color": colour},
            hovertemplate=f"%{{y}}: %{{x:.0%}} of {escape(entry.objective)}<extra></extra>",
        )
    figure.update_xaxes(title="importance (share)", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    figure.update_layout(barmode="group", bargap=0.25, legend_traceorder="normal")
    return _styled(figure, 140 + 40 * len(names))


def slice_figure(panels: Sequence[Slice], metric: Metric) -> go.Figure:
    """One small panel per searched parameter: the metric that trials are judged by over its value."""
    num_rows = -(-len(panels) // SLICE_COLUMNS)
    figure = make_subplots(
        rows=num_rows,
        cols=SLICE_COLUMNS,
        shared_yaxes="all",
        horizontal_spacing=0.03,
        vertical_spacing=min(0.5 / num_rows, 70 / (_SLICE_ROW_HEIGHT * num_rows)),
        subplot_titles=[_parameter_title(panel.parameter) for panel in panels],
    )
    for index, panel in enumerate(panels):
        row, column = index // SLICE_COLUMNS + 1, index % SLICE_COLUMNS + 1
        for complete, title, colour, symbol in (
            (False, "pruned", GREY, "circle-open"),
            (True, "complete", BLUE, "circle"),
        ):
            chosen = [place for place, ended in enumerate(panel.complete) if ended is complete]
            figure.add_scatter(
                x=[_shown(panel.values[place]) for place in chosen],
                y=[metric.shown(panel.reached[place]) for place in chosen],
                customdata=[panel.trials[place] for place in chosen],
                mode="markers",
                name=title,
                legendgroup=title,
                showlegend=index == 0,
                marker={"color": colour, "symbol": symbol, "size": 8},
                hovertemplate="trial %{customdata}: %{x}, %{y:.4g}<extra></extra>",
                row=row,
                col=column,
            )
        figure.update_xaxes(**_axis(panel), row=row, col=column)
    figure.update_yaxes(title=_short_title(metric), col=1)
    figure.update_annotations(font_size=12.5)
    # Room on top for the tool bar, which would lie on a panel's title.
    return _styled(figure, 120 + _SLICE_ROW_HEIGHT * num_rows).update_layout(margin_t=70)


def span_figure(found: Sequence[Span]) -> go.Figure:
    """When each trial ran, one bar per trial, coloured by how it ended."""
    figure = go.Figure()
    for state, colour in _STATE_COLOURS.items():
        chosen = [span for span in found if span.state == state]
        if chosen:
            figure.add_bar(
                base=[span.start_seconds for span in chosen],
                x=[span.seconds for span in chosen],
                y=[span.trial for span in chosen],
                orientation="h",
                name=state,
                marker={"color": colour},
                text=[f"trial {span.trial} ({escape(span.role)})" for span in chosen],
                textposition="none",
                hovertemplate="%{text}: %{x:.3g} s<extra>" + state + "</extra>",
            )
    figure.update_xaxes(title="seconds since the first trial started", rangemode="tozero")
    numbers = [span.trial for span in found]
    figure.update_yaxes(title="trial", autorange="reversed", **_whole(max(numbers) - min(numbers) if numbers else 0))
    figure.update_layout(barmode="overlay", bargap=0.15)
    return _styled(figure, min(900, 170 + 14 * len(found)))


def _styled(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 70, "r": 20, "t": 30, "b": 60},
        font={"family": "system-ui, sans-serif", "size": 14, "color": "#222222"},
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "xanchor": "left", "x": 0},
        hoverlabel={"align": "left"},
        # The page is seen through; it paints text and grid when it knows whether it is light or dark.
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return figure


def _whole(span: int) -> dict[str, Any]:
    """An axis of whole numbers over `span` of them: ticks at about ten of them, each written once."""
    return {"tickformat": "d", "tick0": 0, "dtick": max(1, -(-span // 10))}


def _short_title(metric: Metric) -> str:
    return metric.heading + (f" ({metric.unit})" if metric.unit else "")


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


def _point_label(point: TrialPoint, metric: Metric, gap: Metric) -> str:
    policy = point.policy if len(point.policy) <= _MAX_CHARACTERS else point.policy[: _MAX_CHARACTERS - 1] + "…"
    title = _KINDS[point.kind][0]
    front = ", on the Pareto front" if point.on_front and point.kind != "front" else ""
    reached = f"{metric.with_unit(point.value)}, gap {gap.text(point.gap)}"
    reached = f"{reached}, {numbers.seconds(point.train_seconds)} s"
    return f"<b>trial {point.trial}</b> ({title}{front})<br>{reached}<br>{escape(policy)}"


def _parameter_title(name: str) -> str:
    """``trigger.plateau.window`` as ``plateau window``: the part's kind and the field are enough."""
    pieces = name.split(".")
    return escape(" ".join(pieces[-2:] if pieces[-2:-1] != ["training"] else pieces[-1:]).replace("_", " "))


def _group_colours(number: int) -> list[Any]:
    if number <= len(_SERIES):
        return list(_SERIES[:number])
    return list(sample_colorscale("Cividis", [index / (number - 1) for index in range(number)]))


def _positive(samples: Sequence[Sample]) -> bool:
    return all(
        value is None or value > 0 for sample in samples for value in (sample.train_loss, sample.validation_loss)
    )


def _axis(panel: Slice) -> dict[str, Any]:
    """A panel's horizontal axis; categories keep room at both ends, so that labels of neighbours do not meet."""
    if isinstance(panel.values[0], str):
        return {
            "type": "category",
            "categoryorder": "category ascending",
            "range": [-0.6, len(set(panel.values)) - 0.4],
        }
    return {"type": "log", "dtick": "D2", "tickformat": "~g", "tickangle": 0} if panel.is_log else _few_ticks(panel)


def _few_ticks(panel: Slice) -> dict[str, Any]:
    """About five ticks, at whole numbers where all values are whole."""
    numbers = [value for value in panel.values if isinstance(value, int)]
    if len(numbers) < len(panel.values):
        return {"type": "linear", "nticks": 5}
    return {"type": "linear", "tickformat": "d", "dtick": max(1, -(-(max(numbers) - min(numbers)) // 4))}


def _shown(value: float | str) -> float | str:
    return escape(value) if isinstance(value, str) else value
