"""Which trial is best: the Pareto front of a study, and one trial of it by preference."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from autogrow.errors import RunFolderError, UsageError
from autogrow.metrics.objectives import KNEE, OBJECTIVES, SCORE_OF_ANY_TASK, Objective, preferences, preferred
from autogrow.paths import is_npz_name
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import STATIC
from autogrow.study.run_folder import RunFolder
from autogrow.study.settings import SearchSettings, versions
from autogrow.study.trial_record import TrialRecord


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether the trial keeps to all constraints; Optuna's convention is that a value above 0 breaks one."""
    return all(value <= 0 for value in trial.constraints.values())


def candidates(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Finished, feasible trials but the static control, which is what they are compared with."""
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE and is_feasible(trial)]
    return [trial for trial in finished if TrialRecord(trial).role != STATIC]


def pareto_front(trials: Sequence[FrozenTrial], objectives: tuple[Objective, ...]) -> list[FrozenTrial]:
    """The candidates that no other candidate beats in one objective and equals or beats in all, oldest first."""
    kept = [trial for trial in candidates(trials) if has_measured(trial, objectives)]
    if not kept:
        return []
    scores = _scores(kept, objectives)
    dominated = [bool(np.any(np.all(scores >= score, axis=1) & np.any(scores > score, axis=1))) for score in scores]
    return [trial for trial, beaten in zip(kept, dominated, strict=True) if not beaten]


def best_trial(trials: Sequence[FrozenTrial], objectives: tuple[Objective, ...], preference: str) -> FrozenTrial | None:
    """One candidate by preference, or None when there is none.

    knee: the trial of the Pareto front nearest to the best value of every objective, each scaled to the front's range.
    Any other: the first of those that `ranked` gives.
    """
    if preference == KNEE:
        front = pareto_front(trials, objectives)
        return _knee(front, objectives) if front else None
    return next(iter(ranked(trials, preference)), None)


def ranked(trials: Sequence[FrozenTrial], preference: str) -> list[FrozenTrial]:
    """The candidates that have measured the metric of a preference other than the knee, the best first.

    Equals are told apart by their score, then by train seconds, then by gap. Raises `UsageError` where there are
    candidates, and none has measured it.
    """
    wanted = preferred(preference)
    possible = candidates(trials)
    measured = [trial for trial in possible if has_measured(trial, (wanted,))]
    if possible and not measured:
        raise UsageError(
            f"no trial of this study has measured {wanted.metric.name}, which {preference!r} goes by: prefer one of "
            f"{', '.join(measured_preferences(trials))}, or search with {wanted.name} among the --objectives"
        )
    order = [wanted, *(OBJECTIVES[name] for name in (SCORE_OF_ANY_TASK, "train_seconds", "generalization_gap"))]
    return sorted(measured, key=lambda trial: [_score(trial, objective) for objective in order], reverse=True)


def measured_preferences(trials: Sequence[FrozenTrial]) -> list[str]:
    """The preferences that the finished trials can answer; all of them before any has finished."""
    possible = candidates(trials)

    def is_answered(objective: Objective) -> bool:
        return not possible or any(has_measured(trial, (objective,)) for trial in possible)

    return [*(name for name, objective in preferences().items() if is_answered(objective)), KNEE]


def has_measured(trial: FrozenTrial, objectives: tuple[Objective, ...]) -> bool:
    """Whether the trial has a value in all of these objectives."""
    metrics = TrialRecord(trial).metrics
    return all(objective.value(metrics) is not None for objective in objectives)


def trial_by_number(trials: Sequence[FrozenTrial], number: int) -> FrozenTrial:
    """A trial with a policy to export. Raises `UsageError` when there is none of that number that has ended well."""
    for trial in trials:
        if trial.number == number and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            return trial
    numbers = [t.number for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    raise UsageError(f"trial {number} has not finished or does not exist: finished are {_ranges(numbers)}")


def policy_of(trial: FrozenTrial, folder: RunFolder, settings: SearchSettings) -> GrowthPolicy:
    """The policy that a trial tried, with its training settings and where it comes from."""
    record = TrialRecord(trial)
    fields = {
        **record.needed_policy(),
        "training": record.needed_training(),
        "found_by": found_by(folder, settings, trial=trial.number, role=record.role, metrics=record.metrics),
    }
    return GrowthPolicy.from_dict(fields, f"trial {trial.number}")


def found_by(folder: RunFolder, settings: SearchSettings, **which: Any) -> dict[str, Any]:
    """Where a policy comes from, as its file says it: `which` of the run's it is, and the run's circumstances."""
    return {
        "study": folder.name,
        **which,
        "dataset": settings.dataset,
        "fingerprint": settings.fingerprint,
        **({"task": settings.task, "layout": settings.layout} if is_npz_name(settings.dataset) else {}),
        "train_size": settings.train_size,
        "model": settings.model,
        "model_options": settings.model_options,
        "seed": settings.seed,
        "versions": versions(),
    }


def need_candidate(trial: FrozenTrial | None, folder: RunFolder) -> FrozenTrial:
    if trial is None:
        raise RunFolderError(f"{folder.place}: no trial with a growth policy has finished yet: go on with --resume")
    return trial


def _knee(front: list[FrozenTrial], objectives: tuple[Objective, ...]) -> FrozenTrial:
    scores = _scores(front, objectives)
    best, worst = scores.max(axis=0), scores.min(axis=0)
    spread = np.where(best > worst, best - worst, 1.0)
    return front[int(np.argmin(np.linalg.norm((best - scores) / spread, axis=1)))]


def _scores(trials: Sequence[FrozenTrial], objectives: tuple[Objective, ...]) -> Any:
    return np.array([[_score(trial, objective) for objective in objectives] for trial in trials])


def _score(trial: FrozenTrial, objective: Objective) -> float:
    """The trial's value in an objective, more being better; minus infinity where it has none."""
    value = objective.value(TrialRecord(trial).metrics)
    return float("-inf") if value is None else objective.sign * float(value)


def _ranges(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:20])) + (" ..." if len(numbers) > 20 else "") if numbers else "none"
