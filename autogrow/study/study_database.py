"""The study database: the only truth about which trials there are and how they ended. An ordinary Optuna study.

It holds at all times that COMPLETE + PRUNED + FAIL + RUNNING + WAITING trials are all that were ever proposed, and
after `reconcile` none of this driver's is RUNNING. A trial that is resumed after its driver died is a new Optuna trial
which names the first of its line, its root; folders and budgets count roots.
"""

import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autogrow.errors import RunFolderError
from autogrow.files import atomic_target
from autogrow.metrics.objectives import Objective
from autogrow.policy.presets import CONTROLS
from autogrow.study.candidates import Candidates
from autogrow.study.constraints import all_attributes, complete_constraints, constraints_of
from autogrow.study.local_storage import one_transaction
from autogrow.study.new_study import EXPERIMENT, create_study, join_study
from autogrow.study.run_folder import RunFolder
from autogrow.study.study_location import (
    WRITING_ERRORS,
    SharedStudy,
    StudyLocation,
    find_study,
    open_storage,
    readable_errors,
    study_name,
)
from autogrow.study.trial_endings import STATES, constraints_of_end, with_values
from autogrow.study.trial_record import (
    CLAIMED,
    CONFIRM,
    DUPLICATE,
    INTERRUPTED,
    SURPLUS,
    Attributes,
    TrialRecord,
    attributes_of,
    goes_on,
    has_ended,
    is_by_confirm,
    is_root,
    is_surplus,
    queued,
    replicated,
    resumed,
    root_of,
    superseded,
)
from autogrow.study.trial_result import EndedTrial, FailedTrial, read_trial_result

SAMPLER_STATE = "sampler"


@dataclass(frozen=True)
class Queued:
    """A trial to be tried before the sampler proposes any: a control, or what an earlier study has found.

    Of the search space's parameters, a sampler draws those that are not among `params`; where there is a
    `given_policy`, it draws none.
    """

    role: str
    origin: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    given_policy: Mapping[str, Any] | None = None

    def as_trial(self) -> FrozenTrial:
        """As `optuna.Study.enqueue_trial` makes it, which takes no system attributes."""
        attributes = queued(self.role, self.origin, self.given_policy)
        system = {"fixed_params": dict(self.params), **attributes.system}
        return create_trial(state=TrialState.WAITING, system_attrs=system, user_attrs=dict(attributes.user))


class StudyDatabase:
    """One study. Drivers write to it, several of them where it is shared; any number of readers may look on.

    Args:
        driver: Marks the trials of this driver in a shared study, whose folders only it has.
        limited: The sizes that trials may have a limit of; see `autogrow.study.constraints`.
    """

    def __init__(
        self,
        study: optuna.Study,
        objectives: tuple[Objective, ...],
        location: StudyLocation,
        driver: str = "",
        limited: Sequence[str] = (),
    ) -> None:
        self.study = study
        self.objectives = objectives
        self.driver = driver
        self._limited = limited
        self._location = location
        self._sampler_state: dict[str, Any] = {}
        self._is_alone = False
        """Whether nobody else writes, so that what was read stands until something is written here."""
        self._known: list[FrozenTrial] | None = None
        self._candidates: tuple[list[FrozenTrial], Candidates] | None = None
        """Those of the trials that were read last."""

    @classmethod
    def create(
        cls,
        location: StudyLocation,
        objectives: tuple[Objective, ...],
        queue: Sequence[Queued] = tuple(Queued(role) for role in CONTROLS),
        *,
        driver: str = "",
        limited: Sequence[str] = (),
        experiment: str = "",
    ) -> "StudyDatabase":
        """A new study with `queue` waiting to be tried first; one that exists gets what it lacks of that.

        Args:
            experiment: A digest of all that makes trials comparable. Raises `RunFolderError` when a shared study of
                the same name has another.
        """
        with readable_errors(location):
            if isinstance(location, SharedStudy):
                study = join_study(location, objectives, experiment)
            else:
                if location.exists() and not os.access(location, os.W_OK):
                    raise RunFolderError(
                        f"cannot write {location}: it is read-only; make it writable, or copy the run elsewhere"
                    )
                if not location.exists():
                    # Under another name first, so that whoever looks meanwhile finds no database rather than half of
                    # one: two processes that make its tables at a time break each other, and a kill leaves nothing.
                    with atomic_target(location) as temporary:
                        create_study(temporary, study_name(location), objectives)
                study = find_study(location, open_storage(location))
            database = cls(study, objectives, location, driver, limited)
            present = {(record.role, record.origin) for record in map(TrialRecord, database.trials())}
            for entry in queue:
                if (entry.role, entry.origin) not in present:
                    study.add_trial(entry.as_trial())
            if isinstance(location, SharedStudy):
                study.set_user_attr(EXPERIMENT, experiment)  # last: drivers that join wait for it
        database._known, database._is_alone = None, not database.is_shared
        return database

    @classmethod
    def open(cls, location: StudyLocation, objectives: tuple[Objective, ...]) -> "StudyDatabase":
        """An existing study. Raises `RunFolderError` when it is missing, damaged or cannot be opened."""
        if isinstance(location, Path) and not location.exists():
            raise RunFolderError(f"no study database at {location}: the search has not begun, or the file was removed")
        with readable_errors(location):
            storage = open_storage(location)
            try:
                study = find_study(location, storage)
            except KeyError as error:
                raise RunFolderError(
                    f"{location} does not exist: the search has not begun, or it was removed"
                ) from error
            return cls(study, objectives, location)

    @property
    def is_shared(self) -> bool:
        return isinstance(self._location, SharedStudy)

    def trials(self) -> list[FrozenTrial]:
        """All trials, oldest first."""
        if self._known is None or not self._is_alone:
            with readable_errors(self._location, WRITING_ERRORS):
                self._known = self.study.get_trials(deepcopy=False)
        return self._known

    def candidates(self) -> Candidates:
        """The policies that they try."""
        trials = self.trials()
        if self._candidates is None or self._candidates[0] is not trials:
            before = None if self._candidates is None else self._candidates[1]
            self._candidates = trials, Candidates(trials, before)
        return self._candidates[1]

    def num_proposed(self) -> int:
        """Roots that have been started, replicates included: what a budget of trials counts."""
        return sum(trial.state != TrialState.WAITING and is_root(trial) for trial in self.trials())

    def num_ended(self) -> int:
        """Trials of searches that have ended for good: one that was interrupted goes on as another."""
        trials = [trial for trial in self.trials() if not is_by_confirm(trial)]
        gone_on_with = superseded(trials)
        return sum(
            trial.state.is_finished() and trial.number not in gone_on_with and not is_surplus(trial) for trial in trials
        )

    def trial_seconds(self) -> float:
        """Seconds that trials have held a slot; those of trials whose process died are not known."""
        return sum(TrialRecord(trial).trial_seconds for trial in self.trials())

    def sampler_state(self) -> dict[str, Any]:
        """What a sampler has noted of the study; genetic ones keep the parents of every generation there."""
        return dict(self.study.user_attrs.get(SAMPLER_STATE + self.driver, {}))

    def keep_sampler_state(self, state: Mapping[str, Any]) -> None:
        if dict(state) != self._sampler_state:
            self._sampler_state = dict(state)
            with self._writing():
                self.study.set_user_attr(SAMPLER_STATE + self.driver, self._sampler_state)

    def note(self, number: int, **attributes: Any) -> None:
        """Write something down about a trial that has not ended."""
        with self._writing():
            self._set_attributes(number, **attributes)

    def has_waiting_resumption(self) -> bool:
        return any(t.state == TrialState.WAITING and goes_on(t) and self._is_ours(t) for t in self.trials())

    def num_waiting(self, roles: Collection[str]) -> int:
        """Trials of these roles that were never started."""
        return sum(t.state == TrialState.WAITING and is_root(t) and TrialRecord(t).role in roles for t in self.trials())

    def claim(self, *, new: bool, but: Collection[str] = ()) -> FrozenTrial | None:
        """Take a waiting trial, if there is one: what was interrupted before what was never started, oldest first.

        Args:
            new: Also one that was never started.
            but: Roles whose trials are left waiting if they were never started.
        """
        waiting = [t for t in self.trials() if t.state == TrialState.WAITING and self._is_ours(t)]
        with self._writing():
            for trial in sorted(waiting, key=lambda each: (not goes_on(each), each.number)):
                may_start = new and TrialRecord(trial).role not in but
                if (may_start or goes_on(trial)) and self._take(trial):
                    return trial
        return None

    def _take(self, trial: FrozenTrial) -> bool:
        try:
            if self.driver:
                # Before it is taken, because a driver that dies between taking and describing it must know it again.
                self._set_attributes(trial.number, **{CLAIMED + self.driver: True})
            return self.study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        except optuna.exceptions.UpdateFinishedTrialError:
            return False  # another driver has taken and ended it

    def describe(
        self,
        trial: FrozenTrial,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        attributes: Attributes,
    ) -> None:
        """Write down what a claimed trial tries."""
        storage = self.study._storage
        with self._writing():
            for name, distribution in distributions.items():
                if name not in trial.params:
                    internal = distribution.to_internal_repr(params[name])
                    storage.set_trial_param(trial._trial_id, name, internal, distribution)
            self._set_attributes(trial.number, **attributes.user, **self._driver_attribute())
            for name, value in attributes.system.items():
                storage.set_trial_system_attr(trial._trial_id, name, value)

    def add_running(
        self,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        attributes: Attributes,
        system_attributes: Mapping[str, Any],
    ) -> int:
        """Start a trial that was just proposed, written at once; returns its number.

        `system_attributes` are the sampler's own.
        """
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            user_attrs={**attributes.user, **self._driver_attribute()},
            system_attrs={**system_attributes, **attributes.system},
        )
        with self._writing():
            trial_id = self.study._storage.create_new_trial(self.study._study_id, trial)
            return self.study._storage.get_trial_number_from_id(trial_id)

    def gave_back_surplus(self, number: int, num_trials: int) -> bool:
        """Undo a start by which several drivers together went beyond `num_trials`; whether that was so."""
        if not self.is_shared:
            return False
        roots = [trial.number for trial in self.trials() if trial.state != TrialState.WAITING and is_root(trial)]
        if roots.index(number) < num_trials:
            return False
        self.tell_failed(number, SURPLUS)
        return True

    def gave_back_duplicate(self, number: int) -> bool:
        """Undo the start of a replicate that another driver has started before; whether that was so."""
        if not self.is_shared:
            return False
        of_number = {record.number: record for record in map(TrialRecord, self.trials()) if record.is_root}
        own = of_number[number]
        others = (each for each in of_number.values() if each.number < number)
        if not any((each.replicate_of, each.seed) == (own.replicate_of, own.seed) for each in others):
            return False
        self.tell_failed(number, DUPLICATE)
        return True

    def tell_result(self, number: int, result: EndedTrial) -> None:
        """Record how a trial ended. A stopped one keeps what it had reached, but is no candidate for the front."""
        result, values = with_values(result, self.objectives)
        constraints = constraints_of_end(result)
        with self._writing():
            self._set_attributes(number, **attributes_of(result))
            if constraints is not None:
                self._set_constraints(number, constraints)
            self._end(number, STATES[result.status], values)

    def add_replicate(self, first: TrialRecord, seed: int, result: EndedTrial) -> None:
        """Write down how a candidate that began with `first` did on a seed that `autogrow confirm` has trained it on.

        At once whole, and nothing where any of its trials is of that seed: it is told as often as one likes.
        """
        own = [record for record in map(TrialRecord, self.trials()) if not record.is_surplus]
        if any(seed == each.seed and first.root in (each.root, each.replicate_of) for each in own):
            return
        result, values = with_values(result, self.objectives)
        attributes = replicated(first, seed, CONFIRM)
        constraints = constraints_of_end(result)
        limited = list(constraints_of(first.trial))
        limits = {} if constraints is None else all_attributes(complete_constraints(limited, constraints))
        ended = create_trial(
            state=STATES[result.status],
            values=values,
            params=first.trial.params,
            distributions=first.trial.distributions,
            user_attrs={**attributes.user, **attributes_of(result)},
            system_attrs={**attributes.system, **limits},
        )
        with self._writing():
            self.study.add_trial(ended)

    def tell_failed(self, number: int, reason: str) -> None:
        self.tell_result(number, FailedTrial(reason=reason))

    def reconcile(self, folder: RunFolder) -> int:
        """Leave no trial of this driver RUNNING: one that has its result is told, any other waits to be resumed.

        Nor a checkpoint of one that has ended: a driver may have died before it removed that.
        Returns how many wait. Called when nothing of this driver runs any more, before and after every search.
        """
        for trial in self.trials():
            if trial.state == TrialState.RUNNING and self._is_ours(trial):
                result = read_trial_result(folder.trial(root_of(trial)))
                self.tell_result(trial.number, result or FailedTrial(reason=INTERRUPTED))
        gone_on_with = superseded(self.trials())
        # As they were started, which is not the order of their numbers: controls wait for a while.
        for trial in sorted(self.trials(), key=_started):
            # Found by their reason, because a driver may have died between telling and queueing them.
            is_interrupted = trial.state == TrialState.FAIL and TrialRecord(trial).reason == INTERRUPTED
            if is_interrupted and trial.number not in gone_on_with and self._is_ours(trial):
                self._queue_again(trial)
        ended = {root_of(trial) for trial in self.trials() if has_ended(trial) and self._is_ours(trial)}
        for root in ended & folder.roots_with_checkpoints():
            folder.discard_checkpoints(root)
        return sum(t.state == TrialState.WAITING and goes_on(t) for t in self.trials() if self._is_ours(t))

    def _queue_again(self, trial: FrozenTrial) -> None:
        attributes = resumed(TrialRecord(trial))
        again = create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=dict(attributes.user),
            system_attrs=dict(attributes.system),
        )
        with self._writing():
            self.study.add_trial(again)

    def _is_ours(self, trial: FrozenTrial) -> bool:
        """Whether this driver may take, or end, the trial. One that waits to be tried first is anybody's."""
        record = TrialRecord(trial)
        if record.driver is not None or not self.driver:
            return (record.driver or "") == self.driver
        return trial.state == TrialState.WAITING or record.is_claimed_by(self.driver)

    def _driver_attribute(self) -> dict[str, str]:
        return {"driver": self.driver} if self.driver else {}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with readable_errors(self._location, WRITING_ERRORS), one_transaction(self.study):
                yield
        finally:
            self._known = None

    def _end(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        # Study.tell would also ask the sampler, which works on another study: see `autogrow.study.sampling`.
        self.study._storage.set_trial_state_values(self._id(number), state, values)

    def _set_attributes(self, number: int, **attributes: Any) -> None:
        # A Study offers no way to annotate a running trial by its number; its storage does.
        for name, value in attributes.items():
            self.study._storage.set_trial_user_attr(self._id(number), name, value)

    def _set_constraints(self, number: int, constraints: Mapping[str, float]) -> None:
        for name, value in all_attributes(complete_constraints(self._limited, constraints)).items():
            self.study._storage.set_trial_system_attr(self._id(number), name, value)

    def _id(self, number: int) -> int:
        return self.study._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)


def _started(trial: FrozenTrial) -> float:
    return math.inf if trial.datetime_start is None else trial.datetime_start.timestamp()
