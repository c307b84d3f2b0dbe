"""How numbers are written: same digits, same units, in every table, figure and sentence."""

from collections.abc import Callable
from dataclasses import dataclass

MISSING = "–"
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def seconds(value: float | None) -> str:
    """Three significant digits below a thousand, whole seconds above."""
    if value is None:
        return MISSING
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def ratio(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def count(value: float | None) -> str:
    """A number of parameters or FLOPs with three significant digits: 950, 26.6k, 1.24M."""
    if value is None:
        return MISSING
    for size, prefix in _PREFIXES:
        if value >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{prefix}"
    return f"{value:.0f}"


def significant(value: float | None) -> str:
    """Three significant digits of a loss or of milliseconds; whole numbers from a thousand to a billion."""
    if value is None:
        return MISSING
    return f"{value:,.0f}" if 999.5 <= abs(value) < 1e9 else f"{value:#.3g}".rstrip(".")


def small(value: float) -> str:
    """An output change: zero, or one significant digit and its power of ten."""
    return "0" if value == 0 else f"{value:.1e}"


def percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def p_value(value: float | None) -> str:
    """Three digits; a power of ten below a thousandth."""
    if value is None:
        return MISSING
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


@dataclass(frozen=True)
class NumberFormat:
    """How the values of a metric, and differences of two of them, are written."""

    text: Callable[[float | None], str]
    """A bare value, as cells of tables have it."""
    digits: int | None = None
    """Of differences after the point; None: three significant digits."""
    factor: float = 1.0
    """What is shown for a value of 1: 100 for shares."""
    unit: str = ""
    """Of a value."""
    difference_unit: str = ""
    """Of a difference."""

    def with_unit(self, value: float | None) -> str:
        return self.text(value) + (f" {self.unit}" if self.unit else "")

    def shown(self, value: float) -> float:
        """The number that figures have for a value."""
        return self.factor * value

    def signed(self, difference: float | None) -> str:
        """A difference with its sign, as cells have it; what is rounded to zero has a plus."""
        if difference is None:
            return MISSING
        if self.digits is None:
            return f"{self.shown(difference):+.3g}"
        return f"{round(self.shown(difference), self.digits) + 0.0:+.{self.digits}f}"

    def amount(self, difference: float) -> str:
        """The size of a difference, with its unit."""
        size = abs(self.shown(difference))
        number = f"{size:.3g}" if self.digits is None else f"{size:.{self.digits}f}"
        return f"{number} {self.difference_unit}" if self.difference_unit else number


def fixed(digits: int, factor: float = 1.0) -> Callable[[float | None], str]:
    """Writes numbers with this number of digits after the point."""
    return lambda value: MISSING if value is None else f"{factor * value:.{digits}f}"


SHARE = NumberFormat(fixed(2, 100.0), 2, 100.0, "%", "points")
"""A share of right answers in percent; differences of two in percentage points."""
COEFFICIENT = NumberFormat(fixed(4), 4)
"""A number around 1 without a unit, such as R²."""
SIGNIFICANT = NumberFormat(significant)
SECONDS = NumberFormat(seconds)
COUNT = NumberFormat(count)
RATIO = NumberFormat(ratio)
