"""How the end of a trial is written in an Optuna study: its state, the values of its objectives, its constraints."""

import math
from collections.abc import Mapping, Sequence

from optuna.trial import TrialState

from autogrow.metrics.objectives import Objective
from autogrow.study.trial_result import CompleteTrial, EndedTrial, FailedTrial, StoppedTrial

STATES = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
"""By the status of a result."""
MEMORY = "memory"
"""The constraint that a trial breaks for which memory was too small."""


def with_values(result: EndedTrial, objectives: Sequence[Objective]) -> tuple[EndedTrial, list[float] | None]:
    """How a trial has ended, and its objectives where it is complete.

    A complete one whose objectives are not all finite has failed: Optuna would take infinity, and leave NaN running.
    """
    if not isinstance(result, CompleteTrial):
        return result, None
    measured = result.metrics.by_name()
    problem = next(filter(None, (_problem(each, measured) for each in objectives)), None)
    if problem is not None:
        return FailedTrial(reason=problem), None
    return result, [float(objective.value(measured) or 0.0) for objective in objectives]


def constraints_of_end(result: EndedTrial) -> Mapping[str, float] | None:
    """A trial's constraints; None where nothing is known of its size."""
    if isinstance(result, CompleteTrial):
        return result.constraints
    if isinstance(result, StoppedTrial):
        return {}
    if result.infeasible is None:
        return None
    return {MEMORY: 1 + math.log10(max(1, result.infeasible.parameters or 1))}  # the larger, the further from feasible


def _problem(objective: Objective, measured: Mapping[str, float]) -> str | None:
    """Why a trial has no value of an objective, in words; None where it has."""
    value = objective.value(measured)
    if value is not None and math.isfinite(value):
        return None
    return f"the {objective.metric.title} is {'not defined' if value is None else value}"
