"""Which trials are of one policy: a candidate's first trial and its replicates, and what they say of it together.

A candidate is a policy with its training settings, known by the root of its first trial. A replicate trains it once
more on another seed. The sampler, what chooses the best, and the report all see a study's candidates as they are here;
how several seeds are weighed is `autogrow.study.racing`'s.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from statistics import fmean, stdev

from optuna.trial import FrozenTrial, TrialState

from autogrow.metrics.objectives import Objective
from autogrow.policy.presets import STATIC
from autogrow.study import racing
from autogrow.study.racing import Estimate
from autogrow.study.trial_record import TrialRecord, goes_on, has_ended, is_by_confirm, is_surplus, root_of


@dataclass(frozen=True)
class Candidate:
    """A policy with its training settings, and the trials that tried it, as they stood at one moment."""

    trials: tuple[FrozenTrial, ...]
    """Where each of its lines stands: the first trial's, then the replicates', in the order in which they began."""

    @cached_property
    def number(self) -> int:
        """The root of its first trial."""
        return root_of(self.trials[0])

    @property
    def first(self) -> FrozenTrial:
        return self.trials[0]

    @cached_property
    def role(self) -> str:
        return TrialRecord(self.first).role

    @property
    def began_well(self) -> bool:
        """Whether its first trial was trained to its end."""
        return self.first.state == TrialState.COMPLETE

    @cached_property
    def finished(self) -> tuple[FrozenTrial, ...]:
        """Those that were trained to their end."""
        return tuple(trial for trial in self.trials if trial.state == TrialState.COMPLETE)

    @cached_property
    def num_pending(self) -> int:
        """Trials that run, or wait to go on."""
        return sum(not has_ended(trial) for trial in self.trials)

    @cached_property
    def has_failed(self) -> bool:
        """Whether it came to nothing on any seed."""
        return any(trial.state == TrialState.FAIL and has_ended(trial) for trial in self.trials)

    @cached_property
    def is_feasible(self) -> bool:
        """Whether it keeps to all constraints on every seed; Optuna's convention is that above 0 breaks one."""
        return all(value <= 0 for trial in self.trials for value in trial.constraints.values())

    def values(self, objective: Objective) -> tuple[float, ...]:
        """What its finished trials came to, larger being better; those that have not measured it are left out.

        So are, of what is measured by the clock, those that no search has trained: they had the machine otherwise.
        """
        key = (objective.name, objective.metric.name)
        if key not in self._values:
            read = (
                objective.value(metrics)
                for trial, metrics in zip(self.finished, self._metrics, strict=True)
                if not (objective.metric.is_by_the_clock and is_by_confirm(trial))
            )
            self._values[key] = tuple(objective.sign * float(value) for value in read if value is not None)
        return self._values[key]

    @cached_property
    def _values(self) -> dict[tuple[str, str], tuple[float, ...]]:
        """By objective, as far as anybody has asked."""
        return {}

    @cached_property
    def _metrics(self) -> tuple[Mapping[str, float], ...]:
        return tuple(TrialRecord(trial).metrics for trial in self.finished)

    def stands(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether these are still its trials, and all of them have ended: nothing can have changed then."""
        same = len(trials) == len(self.trials) and all(a is b for a, b in zip(trials, self.trials, strict=True))
        return same and all(trial.state.is_finished() for trial in trials)


def lines_of(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Where every line of trials stands that was ever started, by its root: the last that goes on with another."""
    return {
        root_of(trial): trial
        for trial in trials
        if not is_surplus(trial) and (trial.state != TrialState.WAITING or goes_on(trial))
    }


class Candidates:
    """The candidates of a study at one moment, oldest first.

    Args:
        trials: Of the study, oldest first.
        before: Of a moment before, so that what has not changed since is not read again.
    """

    def __init__(self, trials: Iterable[FrozenTrial], before: "Candidates | None" = None) -> None:
        lines = lines_of(trials)
        found: dict[int, list[FrozenTrial]] = {}
        for root in sorted(lines):
            found.setdefault(_number_of(root, lines), []).append(lines[root])
        known = {} if before is None else before._by_number
        self.all = tuple(_candidate(found[number], known.get(number)) for number in sorted(found))
        self._by_number: dict[int, Candidate] = {each.number: each for each in self.all}
        self._known: dict[str, Mapping[int, Estimate]] = {}

    @property
    def are_replicated(self) -> bool:
        """Whether any replicate has ended, so that more than single readings is known."""
        return any(has_ended(trial) for each in self.all for trial in each.trials[1:])

    @property
    def confirmed(self) -> set[tuple[int, int | None]]:
        """What `autogrow confirm` has trained: numbers of candidates, and their seeds."""
        trials = ((each.number, trial) for each in self.all for trial in each.trials)
        return {(number, TrialRecord(trial).seed) for number, trial in trials if is_by_confirm(trial)}

    def next_seed(self, candidate: Candidate, own: int) -> int:
        """The first after the run's `own` that no trial of the candidate was trained on, nor any by `autogrow confirm`.

        So they are the same ones for all candidates, and more can be confirmed on seeds that the search did not use.
        """
        used = {TrialRecord(trial).seed for trial in candidate.trials} | {seed for _, seed in self.confirmed}
        return next(seed for seed in count(own + 1) if seed not in used)

    def seeds(self, own: int) -> set[int]:
        """All that any trial was trained on; the run's `own` where none says more."""
        said = (TrialRecord(trial).seed for each in self.all for trial in each.trials)
        return {own, *(seed for seed in said if seed is not None)}

    def of(self, trial: FrozenTrial) -> Candidate | None:
        """The one that a trial tries, be it a replicate or an interrupted one; None where it was never started."""
        record = TrialRecord(trial)
        named = None if record.replicate_of is None else self._by_number.get(record.replicate_of)
        return named or self._by_number.get(record.root)

    def in_race(self, objective: Objective) -> list[racing.Candidate]:
        """The policies that a race is about: all but the static control, which is what they are compared with.

        One that breaks a limit on any seed is no more to be chosen than one that failed.
        """
        return [
            racing.Candidate(
                each.number, each.values(objective), each.num_pending, each.has_failed or not each.is_feasible
            )
            for each in self.all
            if each.role != STATIC
        ]

    def estimate(self, candidate: Candidate, objective: Objective) -> Estimate | None:
        """What is known of its mean over seeds, larger being better; None where it has no value.

        Where no candidate was replicated, that is what the one seed says, as it is. Costs, which hardly depend on luck,
        are plain means, and so is what the static control reached: it is none of the policies that a search draws.
        """
        if objective.name not in self._known:
            self._known[objective.name] = self._estimates(objective)
        return self._known[objective.name].get(candidate.number)

    def _estimates(self, objective: Objective) -> Mapping[int, Estimate]:
        values = {each.number: each.values(objective) for each in self.all}
        if not self.are_replicated:
            return {number: Estimate(found[0], 0.0, 1) for number, found in values.items() if found}
        if objective.metric.is_cost:
            return {number: _plain_mean(found) for number, found in values.items() if found}
        racers = self.in_race(objective)
        noise = racing.measure_noise(racers)
        known = dict(racing.estimates(racers))
        for each in self.all:
            if each.number not in known and (found := values[each.number]):
                error = 0.0 if noise is None else math.sqrt(noise.within / len(found))
                known[each.number] = Estimate(sum(found) / len(found), error, len(found))
        return known


def _candidate(trials: list[FrozenTrial], before: Candidate | None) -> Candidate:
    return before if before is not None and before.stands(trials) else Candidate(tuple(trials))


def _plain_mean(values: tuple[float, ...]) -> Estimate:
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(fmean(values), error, len(values))


def _number_of(root: int, lines: Mapping[int, FrozenTrial]) -> int:
    """The candidate of a line; one that names a first trial which is none, as others may write, is its own."""
    first = TrialRecord(lines[root]).replicate_of
    is_known = first is not None and first in lines and TrialRecord(lines[first]).replicate_of is None
    return first if first is not None and is_known else root
