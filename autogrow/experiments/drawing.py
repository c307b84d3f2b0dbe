"""Pictures of an experiment, as SVG text: the score over training FLOPs, and metrics along training runs.

`score_marks` and `curve_lines` compute small records of what is shown; drawing them needs nothing else. Every condition
has a colour and a shape of marker of its own, so that colours are never the only difference. Colours are those of Okabe
and Ito, "Color Universal Design" (2008), without the yellow, which is hard to see on white.

matplotlib is imported when something is drawn: it takes longer than everything else that the command line imports.
"""

import statistics
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from autogrow.experiments.results import Results
from autogrow.experiments.statistics import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = tuple[tuple[float, float], ...]
COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8A8A8A", "#222222")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
WIDTH, HEIGHT = 5.0, 3.6
"""Inches, without the legend: 360 points across, so that text keeps its size on a phone."""
LEGEND_ROW = 0.19
"""Inches."""
LETTERS_ACROSS = 66
"""How many letters of text fit across; of a bold heading, three quarters as many."""
CLOSE = 0.06
"""Means nearer than this share of the axis are moved apart."""
LABEL_OFFSET = 8
"""Points from a mean to its seeds."""
SMALLEST = 1e-12
"""What stands in the place of zero on a logarithmic axis."""
MARKERS_PER_LINE = 5
MOST_TICKS = 6
STYLE = {
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial"],
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#E3E3E3",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 9,
    "legend.frameon": False,
    # Text stays text: it can be found and copied, and files are small. It takes up at most as much room as in the font
    # that it was laid out with, which comes with matplotlib and is wider than those that browsers have instead.
    "svg.fonttype": "none",
    # Names of folders and models are shown as they are, dollar signs included.
    "text.parse_math": False,
    # The same results are the same file: no random names inside it.
    "svg.hashsalt": "autogrow",
}


@dataclass(frozen=True)
class ScoreMark:
    """One condition: a point per seed, the mean, and one standard deviation to both sides."""

    title: str
    seeds: Points
    """Compute, and the score as tables give it (percent, or R²)."""
    mean: tuple[float, float]
    deviation: float | None
    """None for one seed."""


@dataclass(frozen=True)
class CurvePicture:
    """Which columns of a `RunCurve` are drawn over which."""

    across: str
    up: str
    title: str
    """Of the upward axis."""
    below: str = "training steps"
    factor: float = 1.0
    """Values are multiplied by it: 100 for percent."""
    logarithmic: bool = False


@dataclass(frozen=True)
class CurveLine:
    """One condition along its runs."""

    title: str
    median: Points
    """Over the seeds; empty where they were measured at different places, as seconds are."""
    seeds: tuple[Points, ...]
    growth: tuple[float, ...]
    """Steps after which the network grew under the first seed whose run did not fail; empty along other places."""


def score_marks(results: Results) -> tuple[ScoreMark, ...]:
    """What the picture of scores shows, in the order of conditions; without those of which there is nothing to show."""
    marks = []
    for condition in results.design.conditions:
        compute = results.by_seed(condition.name, "compute")
        score = results.by_seed(condition.name, results.score_metric)
        shown = [seed for seed in compute if seed in score]  # a score may be undefined
        points = tuple((compute[seed], results.score.numbers.shown(score[seed])) for seed in shown)
        if points:
            across, up = (spread([point[place] for point in points]) for place in (0, 1))
            marks.append(ScoreMark(condition.title, points, (across.mean, up.mean), up.std))
    return tuple(marks)


def curve_lines(results: Results, picture: CurvePicture) -> tuple[CurveLine, ...]:
    """What a picture of curves shows, in the order of conditions."""
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
            lines.append(CurveLine(condition.title, _median(seeds), seeds, growth))
    return tuple(lines)


def _shown(values: Sequence[float], picture: CurvePicture) -> list[float]:
    return [max(value, SMALLEST) if picture.logarithmic else value * picture.factor for value in values]


def _median(seeds: Sequence[Points]) -> Points:
    places = {tuple(place for place, _ in seed) for seed in seeds}
    if len(places) > 1:
        return ()
    values = zip(*([value for _, value in seed] for seed in seeds), strict=True)
    return tuple(zip(places.pop(), map(statistics.median, values), strict=True))


def draw_scores(results: Results, heading: str) -> str:
    """The SVG document of scores over compute. Raises `ValueError` where `score_marks` has nothing to show."""
    marks = score_marks(results)
    if not marks:
        raise ValueError("no run has a score and a compute")
    shifts = moved_apart([mark.mean[0] for mark in marks], CLOSE * max(x for mark in marks for x, _ in mark.seeds))

    def draw(axes: "Axes") -> None:
        for index, (mark, shift) in enumerate(zip(marks, shifts, strict=True)):
            _draw_mark(axes, mark, shift, index)
        axes.set_xlabel(f"training FLOPs, 1 being those of {results.design.title(results.design.unit)}")
        axes.set_ylabel(f"{results.design.split} {results.score.axis}")
        axes.margins(x=0.08, y=0.08)
        axes.set_xlim(left=0)

    return _document(heading, [mark.title for mark in marks], _explain_marks(len(results.seeds), any(shifts)), draw)


def score_pictures(results: Results, heading: str) -> dict[str, str]:
    """The picture of scores by its name; none where the runs that compute is measured by have all failed."""
    return {"figure": draw_scores(results, heading)} if score_marks(results) else {}


def moved_apart(places: Sequence[float], distance: float) -> list[float]:
    """By how much to move each place so that all that are nearer than `distance` to the next stand that far apart."""
    shifts = [0.0] * len(places)
    clusters: list[list[int]] = []
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        if clusters and places[index] - places[clusters[-1][-1]] < distance:
            clusters[-1].append(index)
        else:
            clusters.append([index])
    for cluster in clusters:
        centre = sum(places[index] for index in cluster) / len(cluster)
        for position, index in enumerate(cluster):
            shifts[index] = centre + (position - (len(cluster) - 1) / 2) * distance - places[index]
    return shifts


def _draw_mark(axes: "Axes", mark: ScoreMark, shift: float, index: int) -> None:
    """The mean, large, on the bar of its deviation; the seeds, small, to its right, where they do not cover it."""
    from matplotlib.transforms import ScaledTranslation

    colour, marker = _colour(index), _marker(index)
    x, y = mark.mean
    bars = axes.errorbar(
        x + shift, y, mark.deviation, fmt=marker, markersize=9, color=colour, markeredgecolor="white", capsize=4
    )
    bars.lines[0].set_gid(f"mean-{index}")
    (seeds,) = axes.plot(
        [x + shift for x, _ in mark.seeds], [y for _, y in mark.seeds], marker, markersize=4, color=colour,
        markerfacecolor="white", zorder=3,
        transform=axes.transData + ScaledTranslation(LABEL_OFFSET / 72, 0, axes.figure.dpi_scale_trans),
    )  # fmt: skip
    axes.update_datalim([(x + shift, y) for x, y in mark.seeds])  # what has a transform of its own is not counted
    seeds.set_gid(f"seeds-{index}")


def _explain_marks(num_seeds: int, any_moved: bool) -> str:
    said = ["one seed"] if num_seeds == 1 else [f"large: mean of {num_seeds} seeds ± one standard deviation"]
    said += [] if num_seeds == 1 else ["small, to its right: single seeds"]
    return "; ".join([*said, *(["moved aside where they would overlap"] if any_moved else [])])


def draw_curves(results: Results, picture: CurvePicture, heading: str) -> str:
    """The SVG document. Raises `ValueError` where no run has kept its curve."""
    lines = curve_lines(results, picture)
    if not lines:
        raise ValueError("no run has kept its curve")

    def draw(axes: "Axes") -> None:
        if picture.logarithmic:
            axes.set_yscale("log")
        for index, line in enumerate(lines):
            _draw_line(axes, line, index, len(lines))
        axes.set_xlabel(picture.below)
        axes.set_ylabel(picture.title)
        axes.margins(x=0, y=0.05)
        if picture.across == "step":
            axes.set_xlim(left=0)
        _draw_growth(axes, lines)

    medians = ["bold: median of the seeds"] if any(line.median for line in lines) else []
    explanation = [] if len(results.seeds) == 1 else [*medians, "thin: every seed"]
    explanation += ["marks below: growth under the first seed"] if any(line.growth for line in lines) else []
    return _document(heading, [line.title for line in lines], "; ".join(explanation), draw)


def _draw_line(axes: "Axes", line: CurveLine, index: int, num_lines: int) -> None:
    """The median in bold over every seed; each seed alone where there is no median, or only one seed."""
    bold: tuple[Points, ...] = line.seeds
    thin: tuple[Points, ...] = ()
    if line.median and len(line.seeds) > 1:
        bold, thin = (line.median,), line.seeds
    for points in thin:
        axes.plot(*zip(*points, strict=True), color=_colour(index), linewidth=0.7, alpha=0.35)[0].set_gid(
            f"seed-{index}"
        )
    for points in bold:
        # Markers of different lines are not at the same steps, so that lines which run together can be told apart.
        every = max(1, len(points) // MARKERS_PER_LINE)
        (drawn,) = axes.plot(
            *zip(*points, strict=True), color=_colour(index), linewidth=1.6, zorder=3, marker=_marker(index),
            markersize=5, markeredgecolor="white", markevery=(index * every // num_lines, every),
        )  # fmt: skip
        drawn.set_gid(f"line-{index}")


def _draw_growth(axes: "Axes", lines: Sequence[CurveLine]) -> None:
    """A row of marks at the bottom for every condition that grew, one above the other."""
    grown = [(index, line) for index, line in enumerate(lines) if line.growth]
    for row, (index, line) in enumerate(grown):
        height = 0.02 + 0.035 * row  # of the axis
        axes.plot(
            line.growth, [height] * len(line.growth), "|", color=_colour(index), markersize=7, markeredgewidth=1.6,
            transform=axes.get_xaxis_transform(), zorder=4,
        )[0].set_gid(f"growth-{index}")  # fmt: skip


def _document(heading: str, titles: Sequence[str], explanation: str, draw: Callable[["Axes"], None]) -> str:
    """A figure with what `draw` puts into its axes, under a heading, over a legend of the conditions."""
    import matplotlib
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = 2 if max(map(len, titles)) <= LETTERS_ACROSS // 2 - 6 else 1
    explained = textwrap.fill(explanation, LETTERS_ACROSS)
    rows = -(-len(titles) // columns) + len(explained.splitlines())
    with matplotlib.style.context(["default", STYLE]):  # a user's own settings of matplotlib change nothing
        figure = Figure(figsize=(WIDTH, HEIGHT + LEGEND_ROW * rows), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        _label_ticks(axes)
        bold = textwrap.fill(heading, LETTERS_ACROSS * 3 // 4)
        figure.suptitle(bold, x=0.02, horizontalalignment="left", fontsize=11, fontweight="bold")
        handles = [
            Line2D([], [], color=_colour(index), marker=_marker(index), markersize=7, markeredgecolor="white")
            for index in range(len(titles))
        ]
        figure.legend(
            handles,
            titles,
            loc="outside lower left",
            ncols=columns,
            title=explained,
            title_fontsize=9,
            alignment="left",
        )
        document = StringIO()
        figure.savefig(document, format="svg", metadata={"Date": None, "Creator": None})
    return document.getvalue()


def _label_ticks(axes: "Axes") -> None:
    """Plain numbers, without the powers that matplotlib writes at an axis' end."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = axes.get_ylim()
            axis.set_major_locator(LogLocator(subs=(1,) if high / low > 1000 else (1, 2, 5), numticks=MOST_TICKS))
            axis.set_minor_locator(NullLocator())
        else:
            axis.set_major_locator(MaxNLocator(MOST_TICKS, steps=(1, 2, 2.5, 5, 10)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _tick_label(value)))


def _tick_label(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 0.01 else f"{value:,.6g}"


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]
