"""The study database: proposes trials and takes in how they ended. An ordinary Optuna study in an SQLite file.

It holds at all times that COMPLETE + PRUNED + FAIL + RUNNING + WAITING trials are all that were ever proposed, and
after `reconcile` none is RUNNING. A trial that is resumed after its driver died is a new Optuna trial which names the
first of its line, its root; folders and budgets count roots.
"""

import hashlib
import logging
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from autogrow.errors import RunFolderError
from autogrow.files import atomic_target
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.limits import SizeLimits
from autogrow.policy.presets import CONTROLS, control_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.objectives import Objective, objective_values
from autogrow.study.run_folder import RunFolder
from autogrow.study.search_space import SearchSpace

STUDY_NAME = "autogrow"
SEARCHED = "searched"
INTERRUPTED = "interrupted"
LOCK_TIMEOUT_SECONDS = 60
FULL_DISK_BYTES = 2**20
"""With less than this free, a failed write means a full disk, whatever SQLite says."""
STARTUP_SHARE = 4
"""A quarter of the trials, at most 10, are random before the sampler models anything."""


@dataclass(frozen=True)
class Proposal:
    """A trial to run."""

    number: int
    root: int
    role: str
    policy: GrowthPolicy
    training: TrainingSettings


class StudyDatabase:
    """One study. The driver of a search is its only writer; any number of readers may look on."""

    def __init__(self, study: optuna.Study, objectives: tuple[Objective, ...], path: Path) -> None:
        self.study = study
        self.objectives = objectives
        self._path = path

    @classmethod
    def create(cls, path: Path, objectives: tuple[Objective, ...], num_trials: int = len(CONTROLS)) -> "StudyDatabase":
        """A new study with the controls waiting to be tried first; one that exists gets those that it lacks."""
        if path.exists() and not os.access(path, os.W_OK):
            raise RunFolderError(f"cannot write {path}: it is read-only; make it writable, or copy the run elsewhere")
        with _readable_errors(path):
            if not path.exists():
                # Beside its place, so that whoever looks meanwhile finds no database rather than half of one: two
                # processes that make its tables at a time break each other, and a kill leaves nothing.
                with atomic_target(path) as temporary:
                    _create_study(temporary, objectives)
            study = optuna.load_study(study_name=STUDY_NAME, storage=_storage(path))
            queued = {trial.user_attrs.get("role") for trial in study.get_trials(deepcopy=False)}
            for role in CONTROLS[:num_trials]:
                if role not in queued:
                    study.enqueue_trial({}, user_attrs={"role": role})
        return cls(study, objectives, path)

    @classmethod
    def open(cls, path: Path, objectives: tuple[Objective, ...]) -> "StudyDatabase":
        """An existing study. Raises `RunFolderError` when the file is missing, damaged or cannot be opened."""
        if not path.exists():
            raise RunFolderError(f"no study database at {path}: the search has not begun, or the file was removed")
        with _readable_errors(path):
            return cls(optuna.load_study(study_name=STUDY_NAME, storage=_storage(path)), objectives, path)

    def trials(self) -> list[FrozenTrial]:
        """All trials, oldest first."""
        return self.study.get_trials(deepcopy=False)

    def num_proposed(self) -> int:
        """Roots that have been started: what a budget of trials counts."""
        return sum(1 for trial in self.trials() if trial.state != TrialState.WAITING and "root" not in trial.user_attrs)

    def num_ended(self) -> int:
        """Trials that have ended for good: one that was interrupted goes on as another."""
        trials = self.trials()
        superseded = {trial.user_attrs.get("resume_of") for trial in trials}
        return sum(trial.state.is_finished() and trial.number not in superseded for trial in trials)

    def has_waiting_resumption(self) -> bool:
        return any(t.state == TrialState.WAITING and "root" in t.user_attrs for t in self.trials())

    def propose(
        self,
        space: SearchSpace,
        base: TrainingSettings,
        seed: int,
        expected_samples: int,
        num_trials: int,
        limits: SizeLimits | None = None,
    ) -> Proposal | None:
        """The next trial, within `limits`; None when `num_trials` have been proposed and none waits to be resumed."""
        if self.num_proposed() >= num_trials and not self.has_waiting_resumption():
            return None
        with _readable_errors(self._path, _WRITING_ERRORS):
            return self._propose(space, base, seed, expected_samples, num_trials, limits or SizeLimits())

    def _propose(
        self,
        space: SearchSpace,
        base: TrainingSettings,
        seed: int,
        expected_samples: int,
        num_trials: int,
        limits: SizeLimits,
    ) -> Proposal:
        self.study.sampler = _sampler(seed, len(self.trials()), num_trials, len(self.objectives))
        trial = self.study.ask()
        attributes = trial.user_attrs
        role = attributes.get("role", SEARCHED)
        if role in CONTROLS:
            policy, training = control_policy(role, expected_samples), base
        else:
            policy, training = space.suggest(trial, base)
        policy = policy.within(limits)
        root = attributes.get("root", trial.number)
        trial.set_user_attr("role", role)
        trial.set_user_attr("policy", policy.recipe())
        trial.set_user_attr("training", training.model_dump())
        return Proposal(trial.number, root, role, policy, training)

    def tell_complete(self, number: int, metrics: Mapping[str, Any]) -> None:
        """Record a finished trial; `metrics` holds the objectives and whatever else reports show.

        One whose objectives are not all finite has failed: Optuna would take infinity, and leave NaN running.
        """
        values = objective_values(self.objectives, metrics)
        for objective, value in zip(self.objectives, values, strict=True):
            if not math.isfinite(value):
                self.tell_failed(number, f"the {objective.title} is {value}")
                return
        with _readable_errors(self._path, _WRITING_ERRORS):
            self._set_attributes(number, metrics=dict(metrics))
            self.study.tell(number, values=values)

    def tell_pruned(self, number: int, metrics: Mapping[str, Any]) -> None:
        """Record a trial that the scheduler stopped, with what it had reached; it is no candidate for the front."""
        with _readable_errors(self._path, _WRITING_ERRORS):
            self._set_attributes(number, metrics=dict(metrics))
            self.study.tell(number, state=TrialState.PRUNED)

    def tell_failed(self, number: int, reason: str) -> None:
        with _readable_errors(self._path, _WRITING_ERRORS):
            self._set_attributes(number, reason=reason)
            self.study.tell(number, state=TrialState.FAIL)

    def reconcile(self, folder: RunFolder) -> int:
        """Leave no trial RUNNING: one that has its result is told, any other fails and waits to be resumed.

        Returns how many wait. Called when nothing of this study runs any more, before and after every search.
        """
        for trial in self.trials():
            if trial.state == TrialState.RUNNING:
                result = folder.trial(trial.user_attrs.get("root", trial.number)).result()
                self.tell_result(trial.number, result or {"status": "failed", "reason": INTERRUPTED})
        resumed = {trial.user_attrs.get("resume_of") for trial in self.trials()}
        for trial in self.trials():
            # Found by their reason, because a driver may have died between telling and queueing them.
            is_interrupted = trial.state == TrialState.FAIL and trial.user_attrs.get("reason") == INTERRUPTED
            if is_interrupted and trial.number not in resumed:
                root, role = trial.user_attrs.get("root", trial.number), trial.user_attrs.get("role", SEARCHED)
                attributes = {"root": root, "resume_of": trial.number, "role": role}
                with _readable_errors(self._path, _WRITING_ERRORS):
                    self.study.enqueue_trial(trial.params, user_attrs=attributes)
        return sum(trial.state == TrialState.WAITING and "root" in trial.user_attrs for trial in self.trials())

    def tell_result(self, number: int, result: Mapping[str, Any]) -> None:
        """Record how a trial ended, from the result that it wrote or reported."""
        if result["status"] == "complete":
            self.tell_complete(number, result["metrics"])
        elif result["status"] == "stopped":
            self.tell_pruned(number, result["metrics"])
        else:
            if "infeasible" in result:  # too large for the machine: its size, for whoever proposes the next
                with _readable_errors(self._path, _WRITING_ERRORS):
                    self._set_attributes(number, infeasible=result["infeasible"])
            self.tell_failed(number, str(result.get("reason", "unknown")))

    def _set_attributes(self, number: int, **attributes: Any) -> None:
        # A Study offers no way to annotate a running trial by its number; its storage does.
        storage = self.study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        for name, value in attributes.items():
            storage.set_trial_user_attr(trial_id, name, value)


def _sampler(seed: int, num_existing: int, num_trials: int, num_objectives: int) -> optuna.samplers.BaseSampler:
    """TPE with a seed of its own for every proposal: one seed for a whole study repeats points after a resume."""
    digest = hashlib.sha256(f"{seed}/{num_existing}".encode()).digest()
    startup = max(4, min(10, num_trials // STARTUP_SHARE)) + len(CONTROLS)
    # Grouped, because controls have no parameters and conditional ones differ: no parameter is common to all trials.
    joint = num_objectives == 1 or None
    return optuna.samplers.TPESampler(
        seed=int.from_bytes(digest[:4], "big"), n_startup_trials=startup, multivariate=joint, group=bool(joint)
    )


def _create_study(path: Path, objectives: tuple[Objective, ...]) -> None:
    storage = _storage(path)
    directions = [objective.direction for objective in objectives]
    study = optuna.create_study(study_name=STUDY_NAME, storage=storage, directions=directions)
    study.set_metric_names([objective.name for objective in objectives])
    storage.engine.dispose()


def _storage(path: Path) -> optuna.storages.RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return optuna.storages.RDBStorage(
        f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": LOCK_TIMEOUT_SECONDS}}
    )


_OPENING_ERRORS = (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, KeyError)
_WRITING_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)


@contextmanager
def _readable_errors(path: Path, expected: tuple[type[Exception], ...] = _OPENING_ERRORS) -> Iterator[None]:
    """Turns what can go wrong with a database file into one line that names the file and the cause."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    except expected as error:
        if path.parent.exists() and shutil.disk_usage(path.parent).free < FULL_DISK_BYTES:
            raise RunFolderError(f"no space left to write {path}: free some, then go on with --resume") from error
        cause = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        what = "opened" if expected is _OPENING_ERRORS else "written"
        raise RunFolderError(f"{path}: the study database cannot be {what}: {cause}") from error
