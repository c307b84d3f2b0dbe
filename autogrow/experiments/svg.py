"""Primitives of pictures as SVG text: scales, round ticks, axes, lines, text. What is drawn is decided elsewhere.

Written by hand, since plotly needs a browser to write SVG. Colours are those of Okabe and Ito, "Color Universal
Design" (2008).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 84, 190, 50, 70
"""Margins, in pixels; the legend stands in the right one."""
COLOURS = ("#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#8A8A8A", "#222222")
TEXT = 'font-family="Helvetica, Arial, sans-serif" fill="#222222"'


@dataclass(frozen=True)
class Scale:
    """From a value to a place in pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers along it."""
        return decades(self.low, self.high) if self.logarithmic else ticks(self.low, self.high)


def across_scale(low: float, high: float) -> Scale:
    return Scale(low, high, LEFT, WIDTH - RIGHT)


def up_scale(low: float, high: float, *, logarithmic: bool = False) -> Scale:
    return Scale(low, high, HEIGHT - BOTTOM, TOP, logarithmic)


def ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Round numbers from `low` to `high`, at most `most` of them and at least two where there is room."""
    raw = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`, above zero; with 2 and 5 times them where there are less than three."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5), tuple(range(1, 10))):
        found = [factor * 10.0**power for power in exponents for factor in factors]
        within = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(within) >= 3:
            return within
    return ticks(low, high)


def document(heading: str, parts: Sequence[str]) -> str:
    """The SVG of these parts under a heading."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#FFFFFF"/>'
    title = text(LEFT, 28, heading, size=15, weight="bold")
    return "\n".join([head, background, title, *parts, "</svg>"]) + "\n"


def axes(across: Scale, up: Scale, title: str, below: str) -> list[str]:
    bottom, right = up.start, across.end
    parts = []
    for value in up.ticks():
        parts.append(line(LEFT, up(value), right, up(value), "#E3E3E3"))
        parts.append(text(LEFT - 8, up(value) + 4, _tick_label(value), anchor="end"))
    for value in across.ticks():
        parts.append(line(across(value), bottom, across(value), bottom + 5, "#222222"))
        parts.append(text(across(value), bottom + 19, f"{value:g}", anchor="middle"))
    parts.append(line(LEFT, bottom, right, bottom, "#222222"))
    parts.append(text((LEFT + right) / 2, bottom + 42, below, anchor="middle"))
    middle = (TOP + bottom) / 2
    parts.append(text(20, middle, title, anchor="middle", turned=True))
    return parts


def _tick_label(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 0.01 else f"{value:g}"


def legend(index: int, title: str, colour: str) -> str:
    x, y = WIDTH - RIGHT + 24, TOP + 14 + 24 * index
    return f'<circle cx="{x}" cy="{y - 4}" r="6" fill="{colour}"/>' + text(x + 14, y, title)


def notes(num_entries: int, lines: Sequence[str]) -> list[str]:
    """Small lines under a legend of so many entries."""
    x, first = WIDTH - RIGHT + 18, TOP + 14 + 24 * num_entries + 10
    return [text(x, first + 16 * number, each, size=11) for number, each in enumerate(lines)]


def colour_of(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    places = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {places} stroke="{colour}" stroke-width="{width}"/>'


def polyline(points: Sequence[tuple[float, float]], colour: str, *, width: float = 2, opacity: float = 1) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    style = f'fill="none" stroke="{colour}" stroke-width="{width:g}" stroke-opacity="{opacity:g}"'
    return f'<polyline points="{places}" {style}/>'


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: int = 12,
    anchor: str = "start",
    weight: str = "normal",
    turned: bool = False,
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    style = f'{TEXT} font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}{turn}>{escape(content)}</text>'
