"""Pictures of metrics along training runs, as SVG text: the median over seeds, every seed, and when networks grew.

`curve_lines` computes what is drawn; the drawing has no arithmetic but scales.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from autogrow.experiments import svg
from autogrow.experiments.results import Results

Points = tuple[tuple[float, float], ...]
SMALLEST = 1e-12
"""What stands in the place of zero on a logarithmic axis."""
TICK = 7
"""Pixels of a mark where a network grew."""


@dataclass(frozen=True)
class CurveLine:
    """One condition."""

    title: str
    median: Points
    """Over the seeds, along steps; empty where they were read at different ones."""
    seeds: tuple[Points, ...]
    growth: tuple[float, ...]
    """Steps after which the network grew, under the first seed whose run did not fail."""


@dataclass(frozen=True)
class Picture:
    """What is drawn over what; names are columns of a `Curve`."""

    across: str
    up: str
    title: str
    """Of the upward axis."""
    below: str = "training steps"
    factor: float = 1.0
    """Values are drawn so many times as large: 100 for percent."""
    logarithmic: bool = False


def curve_lines(results: Results, picture: Picture) -> tuple[CurveLine, ...]:
    """What the picture shows, in the order of conditions."""
    lines = []
    for condition in results.design.conditions:
        curves = [run.curve for run in results.of_condition(condition.name) if run.curve is not None]
        seeds = tuple(
            tuple(zip(curve.columns[picture.across], _shown(curve.columns[picture.up], picture), strict=True))
            for curve in curves
            if picture.up in curve.columns
        )
        if seeds:
            growth = tuple(curves[0].growth_steps) if picture.across == "step" else ()
            median = _median(seeds) if picture.across == "step" else ()
            lines.append(CurveLine(condition.title, median, seeds, growth))
    return tuple(lines)


def _shown(values: Sequence[float], picture: Picture) -> list[float]:
    return [max(value, SMALLEST) if picture.logarithmic else value * picture.factor for value in values]


def _median(seeds: Sequence[Points]) -> Points:
    places = {tuple(place for place, _ in seed) for seed in seeds}
    if len(places) > 1:
        return ()
    values = zip(*([value for _, value in seed] for seed in seeds), strict=True)
    return tuple(zip(places.pop(), map(statistics.median, values), strict=True))


def draw_curves(results: Results, picture: Picture, heading: str) -> str:
    """The SVG document. Raises `ValueError` where no run has kept its curve."""
    lines = curve_lines(results, picture)
    points = [point for line in lines for seed in line.seeds for point in seed]
    if not points:
        raise ValueError("no run has kept its curve")
    across, up = _scales(points, picture)
    parts = svg.axes(across, up, picture.title, picture.below)
    for index, line in enumerate(lines):
        parts.append(_drawn(line, svg.colour_of(index), across, up))
        parts.append(svg.legend(index, line.title, svg.colour_of(index)))
    medians = ["bold: median of the seeds"] if any(line.median for line in lines) else []
    explanation = [] if len(results.seeds) == 1 else [*medians, "thin: every seed"]
    if any(line.growth for line in lines):
        explanation += ["marks below: growth", "under the first seed"]
    return svg.document(heading, [*parts, *svg.notes(len(lines), explanation)])


def _scales(points: Sequence[tuple[float, float]], picture: Picture) -> tuple[svg.Scale, svg.Scale]:
    places, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    if picture.logarithmic:
        up = svg.up_scale(low / 1.3, high * 1.3, logarithmic=True)
    else:
        room = 0.05 * (high - low) or max(abs(high) * 0.01, 1e-3)
        up = svg.up_scale(low - room, high + room)
    first = 0.0 if picture.across == "step" else min(places)
    return svg.across_scale(first, max(places) if max(places) > first else first + 1), up


def _drawn(line: CurveLine, colour: str, across: svg.Scale, up: svg.Scale) -> str:
    thin = len(line.seeds) > 1 and bool(line.median)
    seeds = "".join(
        svg.polyline(
            [(across(x), up(y)) for x, y in seed], colour, width=0.8 if thin else 1.6, opacity=0.3 if thin else 1
        )
        for seed in line.seeds
    )
    bold = svg.polyline([(across(x), up(y)) for x, y in line.median], colour) if thin else ""
    marks = "".join(svg.line(across(step), up.start - TICK, across(step), up.start, colour, 2) for step in line.growth)
    return f"<g><title>{escape(line.title)}</title>{seeds}{bold}{marks}</g>"
