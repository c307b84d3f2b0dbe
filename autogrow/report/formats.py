"""How numbers and policies are written in every table and figure: same digits, same units, everywhere."""

from collections.abc import Callable, Mapping
from typing import Any

from autogrow.data.catalogue import Task
from autogrow.study.objectives import Objective

MISSING = "–"
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SHOWN_FIELDS = {"plateau": ("metric", "window", "patience"), "schedule": ("every",), "none": ()}
"""The fields of a policy's part that its one line names; all of them for kinds that are not listed."""


def score_name(task: Task) -> str:
    return "accuracy" if task == "classification" else "R²"


def in_points(value: float, task: Task) -> float:
    """An accuracy or a difference of accuracies in percent; R² stays as it is."""
    return 100 * value if task == "classification" else value


def score(value: float | None, task: Task) -> str:
    """The bare number of a table cell: percent, or R²."""
    if value is None:
        return MISSING
    return f"{100 * value:.2f}" if task == "classification" else f"{value:.4f}"


def score_with_unit(value: float, task: Task) -> str:
    return score(value, task) + (" %" if task == "classification" else "")


def gap(value: float | None, task: Task) -> str:
    """A signed difference of accuracies: in points (percent), or of R²."""
    if value is None:
        return MISSING
    digits = 2 if task == "classification" else 4
    return f"{round(in_points(value, task), digits) + 0.0:+.{digits}f}"


def difference(points: float, task: Task) -> str:
    """The size of a difference that `in_points` has scaled, with its unit."""
    return f"{abs(points):.2f} points" if task == "classification" else f"{abs(points):.4f}"


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


def metric(name: str, value: float | None, task: Task) -> str:
    """The bare number of a trial's metric, as table cells give it."""
    if name == "validation_score":
        return score(value, task)
    if name == "generalization_gap":
        return gap(value, task)
    return _METRICS[name](value)


_METRICS: dict[str, Callable[[float | None], str]] = {
    "train_seconds": seconds,
    "compute": ratio,
    "validation_loss": significant,
    "parameters": count,
    "flops": count,
    "latency_ms": significant,
    "memory_bytes": count,
    "num_events": count,
}


def short_title(objective: Objective, task: Task) -> str:
    """What an objective is called where there is little room."""
    return score_name(task) if objective.metric == "validation_score" else _SHORT_TITLES[objective.metric]


_SHORT_TITLES = {
    "generalization_gap": "gap",
    "train_seconds": "train s",
    "validation_loss": "loss",
    "parameters": "params",
    "flops": "FLOPs",
    "latency_ms": "latency",
}


def difference_from(objective: Objective, value: float | None, other: float | None, task: Task) -> str:
    """How far a value lies above or below another one: in points, in percent of the other for costs, else as it is."""
    if value is None or other is None or (objective.is_cost and not other):
        return MISSING
    if objective.is_share:
        return gap(value - other, task)
    return f"{round(100 * (value / other - 1)) + 0:+d} %" if objective.is_cost else f"{value - other:+.3g}"


def small(value: float) -> str:
    """An output change: zero, or one significant digit and its power of ten."""
    return "0" if value == 0 else f"{value:.1e}"


def percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def short_name(name: str, length: int = 22) -> str:
    """A channel group's name, its middle left out where it is long: both ends tell groups apart."""
    if len(name) <= length:
        return name
    head = (length - 1) // 3
    return f"{name[:head]}…{name[len(name) - (length - 1 - head) :]}"


def policy_line(recipe: Mapping[str, Any], training_differences: Mapping[str, Any]) -> str:
    """A growth policy, as `GrowthPolicy.recipe` gives it, in one line, with the training settings that differ."""
    start, end = recipe["initial_fraction"], recipe["max_fraction"]
    training = [f"{name} {plain(value)}" for name, value in training_differences.items()]
    if start >= end:
        return ", ".join([f"{percent(end)} of full width throughout", *training])
    parts = [
        f"{percent(start)} to {percent(end)} by {percent(recipe['chunk_fraction'])}",
        _part(recipe["trigger"]),
        _part(recipe["layer_selection"]),
        str(recipe["initialization"]),
    ]
    if recipe["freeze"]["kind"] != "none":
        parts.append(f"freeze {_part(recipe['freeze'])}")
    if recipe["optimizer_state"] != "carry":
        parts.append(f"optimizer {recipe['optimizer_state']}")
    return ", ".join(parts + training)


def _part(fields: Mapping[str, Any]) -> str:
    kind = str(fields["kind"])
    names = _SHOWN_FIELDS.get(kind, tuple(name for name in fields if name != "kind"))
    shown = [
        plain(fields[name]) if name == "metric" else f"{name} {plain(fields[name])}" for name in names if name in fields
    ]
    return f"{kind} ({' '.join(shown)})" if shown else kind


def plain(value: Any) -> str:
    """A setting's value; three significant digits of a float."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
