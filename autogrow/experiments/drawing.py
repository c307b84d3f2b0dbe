"""One picture of an experiment, as SVG text: accuracy over training FLOPs, every seed and the means.

`figure_record` computes what is drawn; the drawing has no arithmetic but scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from autogrow.data.catalogue import Task
from autogrow.experiments import svg
from autogrow.experiments.results import Results
from autogrow.experiments.statistics import spread
from autogrow.report import formats

CLOSE = 14
"""Means nearer than this many pixels are drawn beside each other."""


@dataclass(frozen=True)
class Mark:
    """One condition: a point per seed, the mean, and one standard deviation to both sides."""

    title: str
    seeds: tuple[tuple[float, float], ...]
    """Compute, and accuracy as tables give it (percent, or R²)."""
    mean: tuple[float, float]
    deviation: float | None
    """None for one seed."""


def figure_record(results: Results) -> tuple[Mark, ...]:
    """What the figure shows, in the order of conditions."""
    marks = []
    for condition in results.design.conditions:
        compute = results.by_seed(condition.name, "compute")
        accuracy = results.by_seed(condition.name, results.score_metric)
        shown = [seed for seed in compute if seed in accuracy]  # an accuracy may be undefined
        points = tuple((compute[seed], formats.in_points(accuracy[seed], results.task)) for seed in shown)
        if not points:
            continue  # every run failed, or has nothing to show
        across, up = (spread([point[place] for point in points]) for place in (0, 1))
        marks.append(Mark(condition.title, points, (across.mean, up.mean), up.std))
    return tuple(marks)


def draw_results(results: Results, heading: str) -> str:
    """The SVG document."""
    marks = figure_record(results)
    across, up = _scales(marks)
    shifts = _shifts([across(mark.mean[0]) for mark in marks])
    unit = results.design.title(results.design.unit)
    title = _score_title(results.task, results.design.split)
    parts = [
        *svg.axes(across, up, title, f"training FLOPs, 1 being those of {unit}"),
        *(_mark(mark, svg.colour_of(index), shifts[index], across, up) for index, mark in enumerate(marks)),
        *(svg.legend(index, mark.title, svg.colour_of(index)) for index, mark in enumerate(marks)),
        *svg.notes(len(marks), _explanation(len(results.seeds), any(shifts))),
    ]
    return svg.document(heading, parts)


def _scales(marks: Sequence[Mark]) -> tuple[svg.Scale, svg.Scale]:
    """Compute from 0 on; accuracies from the lowest to the highest that are drawn, with some room."""
    computes = [point[0] for mark in marks for point in mark.seeds]
    values = [point[1] for mark in marks for point in mark.seeds]
    values += [mark.mean[1] + sign * (mark.deviation or 0.0) for mark in marks for sign in (-1, 1)]
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or max(abs(high) * 0.01, 1e-3)
    return svg.across_scale(0.0, 1.08 * max(computes) or 1.0), svg.up_scale(low - room, high + room)


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


def _mark(mark: Mark, colour: str, shift: float, across: svg.Scale, up: svg.Scale) -> str:
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
        bar = svg.line(x, low, x, high, colour, 2) + "".join(
            svg.line(x - 4, end, x + 4, end, colour, 2) for end in (low, high)
        )
    mean = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}" stroke="#FFFFFF" stroke-width="1.5"/>'
    return f"<g><title>{escape(mark.title)}</title>{bar}{mean}{seeds}</g>"


def _explanation(num_seeds: int, any_shifted: bool) -> list[str]:
    lines = ["one seed"] if num_seeds == 1 else [f"large: mean of {num_seeds} seeds", "± one standard deviation"]
    lines += [] if num_seeds == 1 else ["small: single seeds"]
    if any_shifted:
        lines += ["moved aside where they", "would cover each other"]
    return lines


def _score_title(task: Task, split: str) -> str:
    return f"{split} accuracy (%)" if task == "classification" else f"{split} R²"
