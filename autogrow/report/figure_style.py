"""What the page's figures have in common: colours, fonts and room, axes.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which colour-blind readers can tell apart, and
cividis (Nuñez et al. 2018) where there is an order.
"""

from typing import Any

import plotly.graph_objects as go

from autogrow.metrics.metric import Metric

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#8A8A8A"
OUTLINE = "#7A7A7A"
"""Seen on a light page and on a dark one."""
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY)
KINDS = {
    "grown": ("grown", "circle", GREY),
    "front": ("Pareto front", "circle", BLUE),
    "static": ("static control", "square", RED),
    "default": ("default policy", "triangle-up", GREEN),
    "thesis": ("thesis policy", "diamond", PURPLE),
    "best": ("best", "circle", BLUE),
    "pruned": ("stopped early", "circle", "#9A9A9A"),
}


def styled(figure: go.Figure, height: int) -> go.Figure:
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


def whole_axis(span: int) -> dict[str, Any]:
    """An axis of whole numbers over `span` of them: ticks at about ten of them, each written once."""
    return {"tickformat": "d", "tick0": 0, "dtick": max(1, -(-span // 10))}


def short_title(metric: Metric) -> str:
    return metric.heading + (f" ({metric.unit})" if metric.unit else "")
