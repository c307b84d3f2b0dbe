"""How policies and names are written in every table and figure; `autogrow.metrics` writes numbers."""

from collections.abc import Mapping
from typing import Any

from autogrow.metrics.numbers import percent

_SHOWN_FIELDS = {"plateau": ("metric", "window", "patience"), "schedule": ("every",), "none": ()}
"""The fields of a policy's part that its one line names; all of them for kinds that are not listed."""


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
