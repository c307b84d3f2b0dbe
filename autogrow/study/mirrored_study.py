"""The study that a sampler sees: in memory, one trial there for every candidate here.

So an ask costs no transactions, a resumed search samples exactly as one that was never interrupted, and trials that
failed for want of memory are shown to the sampler as infeasible points, which Optuna's own FAIL trials are not. Where
candidates were trained on several seeds, the sampler sees their means, drawn towards that of all (see
`autogrow.study.racing`), instead of what one seed made of them.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from autogrow.errors import PolicyError
from autogrow.study.candidates import Candidate, Candidates, lines_of
from autogrow.study.constraints import complete_constraints, constraints_of, named_attributes, without_constraints
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_record import TrialRecord, has_ended, is_replicate

Suggested = TypeVar("Suggested")


class MirroredStudy:
    """A study in memory that follows a study database.

    Args:
        constraint_names: Constraints that every trial has.
    """

    def __init__(self, database: StudyDatabase, constraint_names: tuple[str, ...]) -> None:
        self._database = database
        self._constraint_names = constraint_names
        self._memory = self._empty(database.sampler_state())
        self._mirrored: dict[int, int | None] = {}
        """Numbers in memory, by root; None where a trial has no parameters, as the controls have none."""
        self._running: set[int] = set()
        """Roots that have not ended in memory."""
        self._num_averaged = 0
        """Trials that had ended when means over seeds were last put into memory."""

    @property
    def trials(self) -> list[FrozenTrial]:
        """What samplers see."""
        return self._memory.get_trials(deepcopy=False)

    @property
    def num_candidates(self) -> int:
        return len(self._mirrored)

    def ask(
        self, sampler: BaseSampler, suggest: Callable[[Trial], Suggested], fixed: Mapping[str, Any]
    ) -> tuple[Suggested, FrozenTrial]:
        """A point in memory, `fixed` in some parameters, and what `suggest` makes of it, whose `PolicyError` it raises.

        `remember` it by its number, once it has one.
        """
        self._average()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._memory.sampler = sampler
            if fixed:
                self._memory.enqueue_trial(dict(fixed))
            trial = self._memory.ask()
            try:
                suggested = suggest(trial)
            except PolicyError:  # values that are offered, but not together
                self._memory.tell(trial, state=TrialState.FAIL)
                raise
        self._database.keep_sampler_state(self._state())
        return suggested, self._memory.get_trials(deepcopy=False)[trial.number]

    def remember(self, root: int, mirror: FrozenTrial) -> None:
        """That the trial in memory is the one of this number in the database."""
        if root not in self._mirrored:
            self._mirrored[root] = mirror.number if mirror.params else None
            self._running.add(root)

    def catch_up(self) -> None:
        """Bring the study in memory up to date: what has ended, and what another driver has proposed."""
        lines = self._lines()
        for root in sorted(lines):
            last = lines[root]
            if root not in self._mirrored:
                self.remember(root, self._add(self._mirror(last)))
            elif root in self._running and has_ended(last):
                self._end(self._mirrored[root], self._mirror(last))
            if has_ended(last):
                self._running.discard(root)

    def _lines(self) -> dict[int, FrozenTrial]:
        """Where every candidate's first line stands."""
        # Another driver may have taken a trial and not yet written down what it tries.
        described = (t for t in self._database.trials() if TrialRecord(t).is_described or has_ended(t))
        return {root: last for root, last in lines_of(described).items() if not is_replicate(last)}

    def _average(self) -> None:
        """Put means over seeds in the place of single readings, where anything was replicated.

        Every one of them changes with every trial that ends. The trials in memory are changed as they lie there, which
        nobody else sees: a new study would take a third of a second for a thousand.
        """
        num_ended = sum(map(has_ended, self._database.trials()))
        if num_ended == self._num_averaged:
            return
        self._num_averaged = num_ended
        candidates = self._database.candidates()
        if not candidates.are_replicated:
            return
        lines, seen = self._lines(), self.trials
        for root, number in self._mirrored.items():
            if number is None or root in self._running:
                continue
            candidate = candidates.of(lines[root])
            if candidate is not None and len(candidate.trials) > 1:  # another seed may have failed, or broken a limit
                mirror = self._mirror(lines[root], candidates)
                seen[number].state, seen[number].system_attrs = mirror.state, mirror.system_attrs
                seen[number].values = mirror.values
            elif seen[number].state == TrialState.COMPLETE:
                seen[number].values = self._values(lines[root], candidates, candidate)

    def _add(self, mirror: FrozenTrial) -> FrozenTrial:
        if mirror.params:  # a trial without any would leave samplers no parameter that all trials have
            self._memory.add_trial(mirror)
            mirror.number = len(self._memory.get_trials(deepcopy=False)) - 1
        return mirror

    def _mirror(self, trial: FrozenTrial, candidates: Candidates | None = None) -> FrozenTrial:
        """How the sampler sees a trial: an infeasible failure as a pruned one, since it learns nothing of failures.

        So it sees a policy that failed on another seed than its first.
        """
        candidate = None if candidates is None else candidates.of(trial)
        constraints = constraints_of(trial) if candidate is None else _worst_constraints(candidate)
        state = trial.state if has_ended(trial) else TrialState.RUNNING
        if state == TrialState.FAIL and any(value > 0 for value in constraints.values()):
            state = TrialState.PRUNED
        if state == TrialState.COMPLETE and candidate is not None and candidate.has_failed:
            state = TrialState.PRUNED
        if state in (TrialState.COMPLETE, TrialState.PRUNED):  # also of a run from before all trials had all of them
            constraints = complete_constraints(self._constraint_names, constraints)
        return create_trial(
            state=state,
            values=self._values(trial, candidates, candidate) if state == TrialState.COMPLETE else None,
            params=trial.params,
            distributions=trial.distributions,
            system_attrs={**without_constraints(trial.system_attrs), **named_attributes(constraints)},
        )

    def _values(self, trial: FrozenTrial, candidates: Candidates | None, candidate: Candidate | None) -> list[float]:
        if candidates is None or candidate is None:
            return list(trial.values)
        known = [(each, candidates.estimate(candidate, each)) for each in self._database.objectives]
        return [
            value if estimate is None else objective.sign * estimate.mean
            for value, (objective, estimate) in zip(trial.values, known, strict=True)
        ]

    def _end(self, number: int | None, mirror: FrozenTrial) -> None:
        if number is None:
            return
        trial = self._memory.get_trials(deepcopy=False)[number]
        for name, value in mirror.system_attrs.items():
            if name not in trial.system_attrs:
                self._memory._storage.set_trial_system_attr(trial._trial_id, name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if mirror.state == TrialState.COMPLETE:
                self._memory.tell(number, mirror.values)
            else:
                self._memory.tell(number, state=mirror.state)

    def _empty(self, state: Mapping[str, Any]) -> optuna.Study:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            memory = optuna.create_study(directions=[each.direction for each in self._database.objectives])
        for name, value in state.items():
            memory._storage.set_study_system_attr(memory._study_id, name, value)
        return memory

    def _state(self) -> dict[str, Any]:
        """What the sampler has noted of the study."""
        return dict(self._memory._storage.get_study_system_attrs(self._memory._study_id))


def _worst_constraints(candidate: Candidate) -> dict[str, float]:
    """Of all its seeds."""
    found: dict[str, float] = {}
    for trial in candidate.trials:
        for name, value in constraints_of(trial).items():
            found[name] = max(value, found.get(name, value))
    return found
