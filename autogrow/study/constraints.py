"""Limits as Optuna's constraints: by what share a trial's network is beyond each, where above 0 is infeasible.

All trials of a study have the same constraints in the same order, because `GPSampler` compares them by position (seen
with Optuna 5.0.0).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from autogrow.policy.limits import SizeLimits
from autogrow.study.search_space import SearchSpace
from autogrow.study.settings import SearchSettings

UNLIMITED = -1.0
"""Of a limit that is not set: a size is beyond its limit by size / limit - 1, and no limit is an infinite one."""
_NAMED = "constraints:"
"""Prefix of the attributes in which Optuna keeps constraints by their names."""
_LISTED = "constraints"
"""The attribute in which Optuna kept them before, without names: the only one that optuna-dashboard reads (seen with
optuna-dashboard 0.21.0 with Optuna 5.0.0, which reads both)."""


def constraint_names(settings: SearchSettings, space: SearchSpace) -> tuple[str, ...]:
    """The sizes that any trial of a search may have a limit of, sorted: none where nothing is limited."""
    transferred = [SizeLimits.model_validate(entry.policy.get("limits", {})) for entry in settings.warm_start]
    limited = {name for limits in (settings.limits, *transferred) for name, value in limits if value is not None}
    return tuple(sorted(name.removeprefix("max_") for name in limited | set(space.limits)))


def complete_constraints(names: Sequence[str], constraints: Mapping[str, float]) -> dict[str, float]:
    """A trial's `constraints` and, where it has none of a name, that it keeps to it."""
    return {name: float(constraints.get(name, UNLIMITED)) for name in sorted({*names, *constraints})}


def constraints_of(trial: FrozenTrial) -> dict[str, float]:
    """A trial's constraints by their names; `trial.constraints` has each of them twice, also by its number."""
    attributes = trial.system_attrs.items()
    return {name.removeprefix(_NAMED): value for name, value in attributes if name.startswith(_NAMED)}


def named_attributes(constraints: Mapping[str, float]) -> dict[str, float]:
    """Constraints as attributes of a trial that only Optuna reads."""
    return {f"{_NAMED}{name}": value for name, value in constraints.items()}


def all_attributes(constraints: Mapping[str, float]) -> dict[str, Any]:
    """Constraints as attributes of a trial, for Optuna and its dashboard."""
    return {_LISTED: list(constraints.values()), **named_attributes(constraints)} if constraints else {}


def without_constraints(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a trial that say nothing of constraints."""
    return {name: value for name, value in attributes.items() if name != _LISTED and not name.startswith(_NAMED)}
