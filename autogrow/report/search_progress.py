"""How a search came along: after every finished trial, how good the Pareto front was so far, in one number.

For several objectives that number is the hypervolume of the front (Zitzler and Thiele 1998), computed by Optuna, for
one objective the best value. Not for how a single trial trained; see `autogrow.report.timeline`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna._hypervolume import compute_hypervolume
from optuna.trial import FrozenTrial

from autogrow.metrics.objectives import Objective
from autogrow.study.candidates import Candidate, Candidates
from autogrow.study.choosing import is_eligible

MARGIN = 0.1
"""How far beyond the worst values the reference point lies, in shares of each objective's range. On the worst values
themselves (the nadir), a trial that is worst in one objective would add nothing however good it is in the others."""
MANY_OBJECTIVES = 5
MOST_TRIALS = 200
"""With `MANY_OBJECTIVES` or more; the time for a hypervolume rises steeply with both: 7 objectives and 600 random
trials took a minute on one core."""


@dataclass(frozen=True)
class SearchProgress:
    """The quality of the front after each finished trial, in the order in which they finished."""

    measure: str
    """``hypervolume``, or ``best`` where there is one objective."""
    trials: tuple[int, ...]
    """Numbers of the finished trials, controls and infeasible ones included, which may add nothing."""
    values: tuple[float | None, ...]
    """After each of them: the front's share of the box between `ideal` and `reference` that it dominates, from 0 to 1,
    or the best value in the objective's own unit; None before the first trial that counts."""
    reference: dict[str, float]
    """The reference point by objective: the worst value of a feasible finished trial, a tenth of the range beyond."""
    ideal: dict[str, float]
    """The best value of every objective."""
    reason: str = ""
    """Why there are no values."""

    @property
    def final(self) -> float | None:
        return self.values[-1] if self.values else None


def search_progress(trials: Sequence[FrozenTrial], objectives: tuple[Objective, ...]) -> SearchProgress:
    """Progress of a study so far. The reference point is one for all of it, so that earlier values can be compared.

    A policy that was trained on several seeds counts once, when its first trial ended, by what is known of it now.
    """
    measure = "best" if len(objectives) == 1 else "hypervolume"
    known = Candidates(trials)
    finished = [each for each in known.all if _has_values(known, each, objectives)]
    finished.sort(key=lambda each: (each.first.datetime_complete is None, each.first.datetime_complete, each.number))
    counted = [number for number, each in enumerate(finished) if is_eligible(each)]
    if not counted:
        return SearchProgress(measure, (), (), {}, {}, "No grown trial has finished.")
    if len(objectives) >= MANY_OBJECTIVES and len(counted) > MOST_TRIALS:
        reason = f"A hypervolume of {len(objectives)} objectives is computed for up to {MOST_TRIALS} trials only."
        return SearchProgress(measure, (), (), {}, {}, reason)
    losses = np.array([_losses(known, each, objectives) for each in finished])
    box = _Box.around(losses[[each.is_feasible for each in finished]])
    found = np.minimum.accumulate(losses[counted, 0]) if len(objectives) == 1 else box.hypervolumes(losses[counted])
    if len(objectives) == 1:
        found = -objectives[0].sign * found
    return SearchProgress(
        measure,
        tuple(each.first.number for each in finished),
        _carried_on(dict(zip(counted, found, strict=True)), len(finished)),
        _by_name(box.reference, objectives),
        _by_name(box.ideal, objectives),
    )


@dataclass(frozen=True)
class _Box:
    """The part of the objectives' space that counts, less being better in all of them."""

    ideal: Any
    reference: Any

    @classmethod
    def around(cls, losses: Any) -> "_Box":
        ideal, worst = losses.min(axis=0), losses.max(axis=0)
        return cls(ideal, worst + MARGIN * (worst - ideal))

    def hypervolumes(self, losses: Any) -> Any:
        """Of the first trial, the first two, and so on, as shares of the box. Shape (trials, objectives) -> (trials,).

        An objective in which all trials are equal counts as dominated: it tells none of them apart.
        """
        size = self.reference - self.ideal
        scaled = np.where(size > 0, (losses - self.ideal) / np.where(size > 0, size, 1.0), 0.0)
        reference = np.ones(len(size))
        found, front, volume = [], scaled[:0], 0.0
        for point in scaled:
            if not (front <= point).all(axis=1).any():
                # What the trial dominates, less what those before it dominate of that.
                shared = np.maximum(front, point)
                volume += float(np.prod(reference - point)) - compute_hypervolume(shared, reference)
                front = np.vstack([front[(front < point).any(axis=1)], point])
            found.append(volume)
        return np.array(found)


def _has_values(known: Candidates, candidate: Candidate, objectives: tuple[Objective, ...]) -> bool:
    return all(known.estimate(candidate, objective) is not None for objective in objectives)


def _losses(known: Candidates, candidate: Candidate, objectives: tuple[Objective, ...]) -> list[float]:
    estimates = (known.estimate(candidate, objective) for objective in objectives)
    return [-estimate.mean for estimate in estimates if estimate is not None]


def _carried_on(found: dict[int, float], length: int) -> tuple[float | None, ...]:
    """Values at some places of a sequence, each holding until the next."""
    values: list[float | None] = []
    for place in range(length):
        before = values[-1] if values else None
        values.append(float(found[place]) if place in found else before)
    return tuple(values)


def _by_name(losses: Any, objectives: tuple[Objective, ...]) -> dict[str, float]:
    """A point in the objectives' own values."""
    return {objective.name: float(-objective.sign * loss) for objective, loss in zip(objectives, losses, strict=True)}
