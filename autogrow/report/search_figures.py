"""The page's figures of a whole search, each drawn by plotly from a small record: trials, parameters, time.

No file is read here and nothing is computed. Text that comes from a run is escaped: plotly reads it as HTML.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from autogrow.metrics import numbers
from autogrow.metrics.metric import Metric
from autogrow.report.figure_records import Importances, Slice, Span, TrialPoint
from autogrow.report.figure_style import (
    BLUE,
    GREEN,
    GREY,
    KINDS,
    ORANGE,
    OUTLINE,
    PURPLE,
    RED,
    SERIES,
    short_title,
    styled,
    whole_axis,
)

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
        title, symbol, _ = KINDS[kind]
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
    return styled(figure, 460)


def _error_bars(points: Sequence[TrialPoint], metric: Metric) -> dict[str, Any]:
    """Standard errors, where several seeds say them."""
    errors = [point.standard_error for point in points]
    if all(error is None for error in errors):
        return {}
    shown = [0.0 if error is None else metric.shown(error) for error in errors]
    return {"error_y": {"array": shown, "thickness": 1, "width": 3, "color": OUTLINE}}


def _point_label(point: TrialPoint, metric: Metric, gap: Metric) -> str:
    policy = point.policy if len(point.policy) <= _MAX_CHARACTERS else point.policy[: _MAX_CHARACTERS - 1] + "…"
    title = KINDS[point.kind][0]
    front = ", on the Pareto front" if point.on_front and point.kind != "front" else ""
    reached = f"{metric.with_unit(point.value)}, gap {gap.text(point.gap)}"
    reached = f"{reached}, {numbers.seconds(point.train_seconds)} s"
    return f"<b>trial {point.trial}</b> ({title}{front})<br>{reached}<br>{escape(policy)}"


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
    figure.update_xaxes(title="finished trials, in order of completion", rangemode="tozero", **whole_axis(len(trials)))
    figure.update_yaxes(title=escape(axis))
    return styled(figure, 340)


def importance_figure(found: Sequence[Importances]) -> go.Figure:
    """Importances as bars, one colour per objective, the parameter with the largest sum on top."""
    totals: dict[str, float] = {}
    for entry in found:
        for name, share in entry.shares.items():
            totals[name] = totals.get(name, 0.0) + share
    names = sorted(totals, key=lambda name: totals[name])
    figure = go.Figure()
    for entry, colour in zip(found, SERIES, strict=False):
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
    return styled(figure, 140 + 40 * len(names))


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
    figure.update_yaxes(title=short_title(metric), col=1)
    figure.update_annotations(font_size=12.5)
    # Room on top for the tool bar, which would lie on a panel's title.
    return styled(figure, 120 + _SLICE_ROW_HEIGHT * num_rows).update_layout(margin_t=70)


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


def _parameter_title(name: str) -> str:
    """``trigger.plateau.window`` as ``plateau window``: the part's kind and the field are enough."""
    pieces = name.split(".")
    return escape(" ".join(pieces[-2:] if pieces[-2:-1] != ["training"] else pieces[-1:]).replace("_", " "))


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
    figure.update_yaxes(
        title="trial", autorange="reversed", **whole_axis(max(numbers) - min(numbers) if numbers else 0)
    )
    figure.update_layout(barmode="overlay", bargap=0.15)
    return styled(figure, min(900, 170 + 14 * len(found)))
