"""One picture of an experiment, as SVG text: test accuracy over training FLOPs, every seed and the means.

Written by hand, since plotly needs a browser to write SVG. `figure_record` computes what is drawn; the drawing has no
arithmetic but scales. Colours are those of Okabe and Ito, "Color Universal Design" (2008).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from autogrow.data.catalogue import Task
from autogrow.experiments.results import Results
from autogrow.experiments.statistics import spread
from autogrow.report import formats

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 50, 70
"""Margins, in pixels; the legend stands in the right one."""
COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8A8A8A")
CLOSE = 14
"""Means nearer than this many pixels are drawn beside each other."""
TEXT = 'font-family="Helvetica, Arial, sans-serif" fill="#222222"'


@dataclass(frozen=True)
class Mark:
    """One condition: a point per seed, the mean, and one standard deviation to both sides."""

    title: str
    seeds: tuple[tuple[float, float], ...]
    """Compute, and accuracy as tables give it (percent, or R²)."""
    mean: tuple[float, float]
    deviation: float | None
    """None for one seed."""


@dataclass(frozen=True)
class Scale:
    """From a value to a place in pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def figure_record(results: Results) -> tuple[Mark, ...]:
    """What the figure shows, in the order of conditions."""
    marks = []
    for condition in results.design.conditions:
        compute = results.by_seed(condition.name, "compute")
        accuracy = results.by_seed(condition.name, "test_accuracy")
        points = tuple((compute[seed], formats.in_points(accuracy[seed], results.task)) for seed in compute)
        if not points:
            continue  # every run failed
        across, up = (spread([point[place] for point in points]) for place in (0, 1))
        marks.append(Mark(condition.title, points, (across.mean, up.mean), up.std))
    return tuple(marks)


def draw_results(results: Results, heading: str) -> str:
    """The SVG document."""
    marks = figure_record(results)
    across, up = _scales(marks)
    shifts = _shifts([across(mark.mean[0]) for mark in marks])
    unit = results.design.title(results.design.unit)
    parts = [
        _text(LEFT, 28, heading, size=15, weight="bold"),
        *_axes(across, up, _accuracy_title(results.task), f"training FLOPs, 1 being those of {unit}"),
        *(_mark(*entry, across, up) for entry in zip(marks, _colours(marks), shifts, strict=True)),
        *(_legend(index, *entry) for index, entry in enumerate(zip(marks, _colours(marks), strict=True))),
        *_explanation(len(marks), len(results.seeds), any(shifts)),
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#FFFFFF"/>'
    return "\n".join([head, background, *parts, "</svg>"]) + "\n"


def _scales(marks: Sequence[Mark]) -> tuple[Scale, Scale]:
    """Compute from 0 on; accuracies from the lowest to the highest that are drawn, with some room."""
    computes = [point[0] for mark in marks for point in mark.seeds]
    values = [point[1] for mark in marks for point in mark.seeds]
    values += [mark.mean[1] + sign * (mark.deviation or 0.0) for mark in marks for sign in (-1, 1)]
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or max(abs(high) * 0.01, 1e-3)
    across = Scale(0.0, 1.08 * max(computes), LEFT, WIDTH - RIGHT)
    return across, Scale(low - room, high + room, HEIGHT - BOTTOM, TOP)


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers from `low` to `high`, at most `most` of them and at least two where there is room."""
    raw = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _shifts(places: Sequence[float]) -> list[float]:
    """Pixels to move every mean aside, so that those at the same place can be told apart."""
    shifts = [0.0] * len(places)
    order = sorted(range(len(places)), key=lambda index: places[index])
    clusters: list[list[int]] = []
    for index in order:
        if clusters and places[index] - places[clusters[-1][-1]] < CLOSE:
            clusters[-1].append(index)
        else:
            clusters.append([index])
    for cluster in clusters:
        centre = sum(places[index] for index in cluster) / len(cluster)
        for position, index in enumerate(cluster):
            wanted = centre + (position - (len(cluster) - 1) / 2) * CLOSE
            shifts[index] = wanted - places[index]
    return shifts


def _axes(across: Scale, up: Scale, title: str, below: str) -> list[str]:
    bottom, right = up.start, across.end
    parts = []
    for value in ticks(up.low, up.high):
        parts.append(_line(LEFT, up(value), right, up(value), "#E3E3E3"))
        parts.append(_text(LEFT - 8, up(value) + 4, f"{value:g}", anchor="end"))
    for value in ticks(across.low, across.high):
        parts.append(_line(across(value), bottom, across(value), bottom + 5, "#222222"))
        parts.append(_text(across(value), bottom + 19, f"{value:g}", anchor="middle"))
    parts.append(_line(LEFT, bottom, right, bottom, "#222222"))
    parts.append(_text((LEFT + right) / 2, bottom + 42, below, anchor="middle"))
    middle = (TOP + bottom) / 2
    parts.append(_text(20, middle, title, anchor="middle", turned=True))
    return parts


def _mark(mark: Mark, colour: str, shift: float, across: Scale, up: Scale) -> str:
    """The mean as a large circle on its bar, the seeds as small ones over it."""
    x, y = across(mark.mean[0]) + shift, up(mark.mean[1])
    outline = f'fill="#FFFFFF" stroke="{colour}" stroke-width="1.2"'
    seeds = "".join(
        f'<circle cx="{across(compute) + shift:.1f}" cy="{up(accuracy):.1f}" r="3" {outline}/>'
        for compute, accuracy in mark.seeds
    )
    bar = ""
    if mark.deviation is not None:
        low, high = up(mark.mean[1] - mark.deviation), up(mark.mean[1] + mark.deviation)
        bar = _line(x, low, x, high, colour, 2) + "".join(
            _line(x - 4, end, x + 4, end, colour, 2) for end in (low, high)
        )
    mean = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}" stroke="#FFFFFF" stroke-width="1.5"/>'
    return f"<g><title>{escape(mark.title)}</title>{bar}{mean}{seeds}</g>"


def _legend(index: int, mark: Mark, colour: str) -> str:
    x, y = WIDTH - RIGHT + 24, TOP + 14 + 24 * index
    return f'<circle cx="{x}" cy="{y - 4}" r="6" fill="{colour}"/>' + _text(x + 14, y, mark.title)


def _explanation(num_marks: int, num_seeds: int, any_shifted: bool) -> list[str]:
    lines = ["one seed"] if num_seeds == 1 else [f"large: mean of {num_seeds} seeds", "± one standard deviation"]
    lines += [] if num_seeds == 1 else ["small: single seeds"]
    if any_shifted:
        lines += ["moved aside where they", "would cover each other"]
    x, first = WIDTH - RIGHT + 18, TOP + 14 + 24 * num_marks + 10
    return [_text(x, first + 16 * number, line, size=11) for number, line in enumerate(lines)]


def _colours(marks: Sequence[Mark]) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(marks))]


def _accuracy_title(task: Task) -> str:
    return "test accuracy (%)" if task == "classification" else "test R²"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    places = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {places} stroke="{colour}" stroke-width="{width}"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "start",
    weight: str = "normal",
    turned: bool = False,
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    style = f'{TEXT} font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}{turn}>{escape(text)}</text>'
