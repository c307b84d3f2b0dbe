"""Which policy is best: the Pareto front of a study, and one of its candidates by preference, as their first trials."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from autogrow.errors import RunFolderError, UsageError
from autogrow.metrics.objectives import (
    KNEE,
    OBJECTIVES,
    SCORE_OF_ANY_TASK,
    Objective,
    preferences,
    preferred,
    tolerance_of,
)
from autogrow.metrics.scores import SCORES
from autogrow.paths import is_npz_name
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import DEFAULT, STATIC
from autogrow.study import racing
from autogrow.study.candidates import Candidate, Candidates
from autogrow.study.run_folder import RunFolder
from autogrow.study.settings import SearchSettings, versions
from autogrow.study.trial_record import TrialRecord
from autogrow.tasks import TASKS

TrialsOrCandidates = Sequence[FrozenTrial] | Candidates
"""The trials of a study, oldest first, or the candidates that they make."""
_QUALITY = "loss", SCORE_OF_ANY_TASK, *SCORES
"""Objectives that say how well a network does its task, by name."""


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether the trial keeps to all constraints; Optuna's convention is that a value above 0 breaks one."""
    return all(value <= 0 for value in trial.constraints.values())


def is_eligible(candidate: Candidate) -> bool:
    """Whether it may be chosen: trained to its end and feasible on every seed that has ended.

    The static control never is: it is what the others are compared with.
    """
    is_sound = candidate.is_feasible and not candidate.has_failed and candidate.role != STATIC
    return is_sound and bool(candidate.finished)


def pareto_front(trials: TrialsOrCandidates, objectives: tuple[Objective, ...]) -> list[FrozenTrial]:
    """The first trials of the candidates that no other beats in one objective and equals or beats in all, oldest first.

    Where policies were trained on several seeds, means are compared, as by `best_trial`.
    """
    found = _candidates(trials)
    return [each.first for each in _front(found, objectives)]


def _front(found: Candidates, objectives: tuple[Objective, ...]) -> list[Candidate]:
    kept = [each for each in _eligible(found) if all(found.estimate(each, one) is not None for one in objectives)]
    if not kept:
        return []
    scores = _scores(found, kept, objectives)
    dominated = [bool(np.any(np.all(scores >= score, axis=1) & np.any(scores > score, axis=1))) for score in scores]
    return [each for each, beaten in zip(kept, dominated, strict=True) if not beaten]


def best_trial(trials: TrialsOrCandidates, objectives: tuple[Objective, ...], preference: str) -> FrozenTrial | None:
    """The first trial of one candidate by preference, or None when there is none.

    knee: that of the Pareto front nearest to the best value of every objective, each scaled to the front's range.
    smallest-within 0.01: the fewest parameters of those whose loss is at most 1% above the lowest, or whose score is at
    most 0.01 below the highest: whichever is the first among the objectives, the score where neither is.
    Any other: the first of those that `ranked` gives.
    """
    tolerance = tolerance_of(preference)
    if tolerance is not None:
        return _smallest_within(_candidates(trials), objectives, tolerance)
    if preference == KNEE:
        found = _candidates(trials)
        front = _front(found, objectives)
        return _knee(found, front, objectives) if front else None
    return next(iter(ranked(trials, preference)), None)


def _smallest_within(found: Candidates, objectives: tuple[Objective, ...], tolerance: float) -> FrozenTrial | None:
    by_quality = [each for each in objectives if each.name in _QUALITY]
    quality, size = (*by_quality, OBJECTIVES[SCORE_OF_ANY_TASK])[0], OBJECTIVES["parameters"]
    possible = [
        each for each in _eligible(found) if found.estimate(each, quality) and found.estimate(each, size) is not None
    ]
    if not possible:
        return None
    best = max(_score(found, each, quality) for each in possible)
    least = best - tolerance * (abs(best) if quality.name == "loss" else 1.0)
    kept = [each for each in possible if _score(found, each, quality) >= least]
    return max(kept, key=lambda each: (_score(found, each, size), _score(found, each, quality))).first


def ranked(trials: TrialsOrCandidates, preference: str) -> list[FrozenTrial]:
    """The first trials of candidates that have measured the metric of a preference but the knee, the best first.

    Where policies were trained on several seeds, their means are compared, drawn towards that of all
    (`autogrow.study.racing`); scores that are closer than their standard error are told apart by the loss, which is not
    as coarse; and by score or loss the default policy is the first unless another is better with a probability of
    `autogrow.study.racing.SURE_ENOUGH`. Else equals are told apart by their score, then by train seconds, then by gap.
    Raises `UsageError` where there are candidates, and none has measured it.
    """
    wanted, found = preferred(preference), _candidates(trials)
    possible = _eligible(found)
    measured = [each for each in possible if found.estimate(each, wanted) is not None]
    if possible and not measured:
        raise UsageError(
            f"no trial of this study has measured {wanted.metric.name}, which {preference!r} goes by: prefer one of "
            f"{', '.join(measured_preferences(trials))}, or search with {wanted.name} among the --objectives"
        )
    then = tuple(OBJECTIVES[name] for name in (SCORE_OF_ANY_TASK, "train_seconds", "generalization_gap"))
    standings = [_standing(found, each, wanted, then) for each in measured]
    in_order = racing.in_order(
        standings,
        by_score=wanted.name == SCORE_OF_ANY_TASK and found.are_replicated,
        guards_default=wanted.name in _QUALITY and found.are_replicated,
    )
    by_number = {each.number: each.first for each in measured}
    return [by_number[each.number] for each in in_order]


def probability_better(found: Candidates, first: Candidate, other: Candidate, wanted: Objective) -> float:
    """That the first policy's mean over seeds is better, in what is wanted or in the loss: the higher of both.

    Both have measured what is wanted.
    """
    return racing.probability_better(_standing(found, first, wanted), _standing(found, other, wanted))


def _standing(
    found: Candidates, candidate: Candidate, wanted: Objective, then: tuple[Objective, ...] = ()
) -> racing.Standing:
    known = found.estimate(candidate, wanted)
    assert known is not None
    loss = found.estimate(candidate, OBJECTIVES["loss"])
    scores = tuple(_score(found, candidate, each) for each in then)
    return racing.Standing(candidate.number, known, loss, candidate.role == DEFAULT, scores)


def measured_preferences(trials: TrialsOrCandidates) -> list[str]:
    """The preferences that the finished trials can answer; all of them before any has finished."""
    found = _candidates(trials)
    possible = _eligible(found)

    def is_answered(objective: Objective) -> bool:
        return not possible or any(found.estimate(each, objective) is not None for each in possible)

    return [*(name for name, objective in preferences().items() if is_answered(objective)), KNEE]


def trial_by_number(trials: Sequence[FrozenTrial], number: int) -> FrozenTrial:
    """A trial with a policy to export. Raises `UsageError` when there is none of that number that has ended well."""
    for trial in trials:
        if trial.number == number and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            return trial
    numbers = [t.number for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    raise UsageError(f"trial {number} has not finished or does not exist: finished are {_ranges(numbers)}")


def policy_of(
    trial: FrozenTrial, folder: RunFolder, settings: SearchSettings, trials: TrialsOrCandidates = ()
) -> GrowthPolicy:
    """The policy that a trial tried, with its training settings, where it is from and what all `trials` say of it."""
    record = TrialRecord(trial)
    which = {"trial": trial.number, "role": record.role, "metrics": record.metrics}
    over_seeds = evidence(trials, trial, preferred(TASKS[settings.task].preference))
    fields = {
        **record.needed_policy(),
        "training": record.needed_training(),
        "found_by": found_by(folder, settings, **which, **({"over_seeds": over_seeds} if over_seeds else {})),
    }
    return GrowthPolicy.from_dict(fields, f"trial {trial.number}")


def evidence(trials: TrialsOrCandidates, trial: FrozenTrial, objective: Objective) -> dict[str, Any] | None:
    """What a study's seeds say of the policy that a trial tried; None where it trained none on several."""
    found = _candidates(trials)
    candidate = found.of(trial)
    known = None if candidate is None else found.estimate(candidate, objective)
    if known is None or not found.are_replicated:
        return None
    return {
        "metric": objective.metric.name,
        "mean": objective.sign * known.mean,
        "standard_error": known.standard_error,
        "num_seeds": known.num_seeds,
    }


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


def _candidates(trials: TrialsOrCandidates) -> Candidates:
    return trials if isinstance(trials, Candidates) else Candidates(trials)


def _eligible(found: Candidates) -> list[Candidate]:
    return [each for each in found.all if is_eligible(each)]


def _knee(found: Candidates, front: list[Candidate], objectives: tuple[Objective, ...]) -> FrozenTrial:
    scores = _scores(found, front, objectives)
    best, worst = scores.max(axis=0), scores.min(axis=0)
    spread = np.where(best > worst, best - worst, 1.0)
    return front[int(np.argmin(np.linalg.norm((best - scores) / spread, axis=1)))].first


def _scores(found: Candidates, chosen: Sequence[Candidate], objectives: tuple[Objective, ...]) -> Any:
    return np.array([[_score(found, each, objective) for objective in objectives] for each in chosen])


def _score(found: Candidates, candidate: Candidate, objective: Objective) -> float:
    """The candidate's mean in an objective, more being better; minus infinity where it has none."""
    known = found.estimate(candidate, objective)
    return -math.inf if known is None else known.mean


def _ranges(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:20])) + (" ..." if len(numbers) > 20 else "") if numbers else "none"
