"""How policies and names are written in every table and figure; `autogrow.metrics` writes numbers."""

from collections.abc import Mapping
from typing import Any

from autogrow.metrics.numbers import percent

_SHOWN_FIELDS = {"plateau": ("metric", "window", "patience"), "schedule": ("every",), "none": ()}
"""The fields of a policy's part that its one line names; all of them for kinds that are not listed."""


_MOST_SHARES = 5
"""Of the compute, that a line names."""


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
    if recipe.get("shrink"):
        training = [_shrinking(recipe["shrink"]), *training]
    if recipe.get("depth"):
        training = [_depth(recipe["depth"]), *training]
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


def _shrinking(fields: Mapping[str, Any]) -> str:
    """How units are removed in the end: down to which share, by how much, when, which go, and what stands in."""
    made_up = "" if fields["compensation"] == "none" else f", {fields['compensation']}"
    return (
        f"shrunk to {percent(fields['final_fraction'])} of the units by {percent(fields['fraction'])}, "
        f"{_when(fields['trigger'])}, {_part(fields['score'])}{made_up}"
    )


def _depth(fields: Mapping[str, Any]) -> str:
    """How the depth grows: from how many blocks, by how much, when, and what new blocks are."""
    blocks, start, end = fields.get("initial_blocks"), fields["initial_fraction"], fields["max_fraction"]
    if blocks is None and start >= end:
        return f"{percent(end)} of the blocks throughout"
    begin = f"{percent(start)} of the blocks" if blocks is None else f"{blocks} block{'s' if blocks > 1 else ''}"
    factor = fields.get("growth_factor")
    step = f"+{fields['blocks_per_event']}" if factor is None else f"times {plain(factor)}"
    initialization = fields["initialization"]
    new = _part(initialization) if isinstance(initialization, Mapping) else str(initialization)
    most = "" if end == 1 else f" to {percent(end)}"
    return f"depth from {begin}{most}, {step} {_when(fields['trigger'])}, {new}"


def _when(trigger: Mapping[str, Any]) -> str:
    if trigger["kind"] != "compute_shares":
        return f"by {_part(trigger)}"
    shares = list(trigger.get("shares") or ())
    if trigger.get("first") is not None:
        shares = [trigger["first"]]
        while len(shares) < _MOST_SHARES and shares[-1] * trigger["ratio"] < 1:
            shares.append(shares[-1] * trigger["ratio"])
    return f"at {', '.join(plain(100.0 * share) for share in shares[:_MOST_SHARES])} % of the compute"


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
