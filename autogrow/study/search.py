"""A search from start to end: the run folder is locked and put in order, its trials are run, nothing is left open."""

import re
import shutil
import time
import uuid
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from autogrow.errors import AutogrowError, NoSuccessfulTrialError, RunFolderError
from autogrow.policy.presets import CONTROLS
from autogrow.study.constraints import constraint_names
from autogrow.study.driver import Driver
from autogrow.study.monitor import SearchMonitor
from autogrow.study.planning import SearchPlan
from autogrow.study.run_folder import RunFolder
from autogrow.study.search_space import SearchSpace
from autogrow.study.session_folder import remove_abandoned
from autogrow.study.settings import SearchSettings, experiment_digest, versions
from autogrow.study.study_database import Queued, StudyDatabase
from autogrow.study.study_location import SharedStudy, StudyLocation, without_password
from autogrow.study.trial_record import SEARCHED, TrialRecord, goes_on, is_by_confirm, is_surplus, superseded
from autogrow.study.warm_start import TRANSFERRED

LEAST_FREE_BYTES = 16 * 2**20
"""Disk space without which no search is started: a database, records and a few checkpoints."""


@dataclass(frozen=True)
class SearchResult:
    """How a search ended."""

    folder: RunFolder
    complete: int
    pruned: int
    failed: int
    waiting: int
    interrupted: bool
    wall_seconds: float | None
    """None where the search was not this call's."""


def read_result(folder: RunFolder) -> SearchResult:
    """How the search of a run has ended, or stands. Raises `RunFolderError` where there is none, or it is damaged."""
    trials = StudyDatabase.open(folder.study_location(), folder.settings().chosen_objectives).trials()
    waiting = sum(trial.state == TrialState.WAITING and goes_on(trial) for trial in trials)
    return _result(folder, trials, waiting=waiting, interrupted=waiting > 0, wall_seconds=None)


def _result(folder: RunFolder, trials: list[FrozenTrial], **more: Any) -> SearchResult:
    states = [trial.state for trial in trials if not is_by_confirm(trial)]
    complete, pruned = states.count(TrialState.COMPLETE), states.count(TrialState.PRUNED)
    return SearchResult(folder=folder, complete=complete, pruned=pruned, failed=len(_failed(trials)), **more)


def _failed(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Trials of searches that have failed for good: one that was interrupted goes on as another."""
    left_out = superseded(trials) | {t.number for t in trials if is_surplus(t) or is_by_confirm(t)}
    return [t for t in trials if t.state == TrialState.FAIL and t.number not in left_out]


def run_search(
    plan: SearchPlan,
    folder: RunFolder,
    *,
    resume: bool,
    monitor: SearchMonitor | None = None,
) -> SearchResult:
    """Run a planned search to the end of its budget, or until it is interrupted, in `folder`.

    Raises `RunFolderError` (the folder exists, or not, against `resume`), `RunFolderInUseError`, and
    `NoSuccessfulTrialError` when nothing completed, or too many trials failed in a row.
    """
    started = time.monotonic()
    settings = plan.settings
    folder.storage_url = settings.storage
    folder.model_name = plan.model.name
    _need_space(folder)
    if resume:
        folder.read_config()  # before the lock, which is put into the folder of a run alone
    else:
        folder.refuse_what_is_no_run()
    with folder.locked():
        database = prepare_run(plan, folder, resume)
        driver = Driver(plan, folder, database, monitor or SearchMonitor(), started)
        try:
            with driver.handling_signals():
                driver.run()
        finally:
            folder.withdraw_interrupt()
            folder.fetch_trials()
            waiting = database.reconcile(folder)
            if waiting == 0:
                folder.discard_forks()
            folder.publish()
        trials = database.trials()
        failed = _failed(trials)
        seconds = time.monotonic() - started
        result = _result(folder, trials, waiting=waiting, interrupted=driver.interrupted, wall_seconds=seconds)
        if driver.failures_in_a_row >= plan.settings.max_consecutive_failures:
            raise NoSuccessfulTrialError(_why_it_stopped(folder, failed, driver.failures_in_a_row))
        is_running = any(trial.state == TrialState.RUNNING for trial in trials)  # another driver may be at work
        is_over = result.waiting == 0 and not is_running
        if result.complete == 0 and is_over and not result.interrupted:
            raise NoSuccessfulTrialError(_why_none_succeeded(folder, failed))
        return result


def _need_space(folder: RunFolder) -> None:
    existing = next(path for path in (folder.path, *folder.path.parents) if path.exists())
    if shutil.disk_usage(existing).free < LEAST_FREE_BYTES:
        raise RunFolderError(f"no space left to write {folder.path}: free at least {LEAST_FREE_BYTES >> 20} MiB")


def prepare_run(plan: SearchPlan, folder: RunFolder, resume: bool) -> StudyDatabase:
    """The study to work on, with nothing of this run RUNNING in it; the run folder is created, or checked."""
    settings = plan.settings
    config = {**settings.model_dump(mode="json"), "versions": versions()}
    if settings.storage is not None:
        config["storage"] = without_password(settings.storage)
        config["driver"] = uuid.uuid4().hex[:12]
    remove_abandoned()  # workers of a killed driver live on for seconds: they must not write any more
    if resume:
        before = folder.read_config()
        folder.refuse_links()
        if before["fingerprint"] != plan.dataset.fingerprint:
            raise RunFolderError(
                f"{folder.place} was searched on data {before['fingerprint']}, {settings.dataset!r} is now "
                f"{plan.dataset.fingerprint}: restore the data, or start a new run"
            )
        if settings.storage is None:
            folder.refuse_lost_study()
        config["driver"] = before.get("driver", "")
        if settings.storage is not None and config["storage"] != before.get("storage"):
            StudyDatabase.open(_location(settings, folder), plan.objectives)  # moved: a new one would lose all trials
    else:
        folder.create(config)
    folder.remove_unfinished()
    folder.withdraw_interrupt()
    try:
        database = StudyDatabase.create(
            _location(settings, folder),
            plan.objectives,
            first_trials(settings, plan.space),
            driver=config.get("driver", ""),
            limited=constraint_names(settings, plan.space),
            experiment=experiment_digest(settings),
        )
    except AutogrowError:
        if not resume:
            folder.config_file.unlink()  # nothing was begun, and another try must not find a run here
        raise
    if resume:
        folder.write_config(config)  # not before: a study that cannot be opened leaves the run as it was
    database.reconcile(folder)
    folder.publish()
    return database


def _location(settings: SearchSettings, folder: RunFolder) -> StudyLocation:
    return folder.database if settings.storage is None else SharedStudy(settings.storage, folder.name)


def first_trials(settings: SearchSettings, space: SearchSpace) -> list[Queued]:
    """What is tried before anything is proposed: the controls, what earlier studies have found, the space's points."""
    queue = [Queued(role) for role in CONTROLS]
    for entry in settings.warm_start:
        given = None if entry.params else entry.policy
        queue.append(Queued(TRANSFERRED, entry.origin, entry.params, given))
    for number, point in enumerate(space.first_points, 1):
        queue.append(Queued(SEARCHED, f"point {number} of the search space", point))
    return queue[: settings.trials]


def _why_it_stopped(folder: RunFolder, failed: list[Any], number: int) -> str:
    last = sorted(failed, key=lambda trial: trial.datetime_complete)[-number:]
    reason, times = _commonest_reason(last)
    return (
        f"stopped after {number} trials in a row failed, {times} of them because: {reason}; mend that (logs are in "
        f"{folder.place_of(folder.trials)}), then go on with --resume"
    )


def _why_none_succeeded(folder: RunFolder, failed: list[Any]) -> str:
    if not failed:
        return f"no trial of {folder.place} has finished"
    reason, times = _commonest_reason(failed)
    return f"none of {len(failed)} trials succeeded, {times} of them because: {reason}"


def _commonest_reason(failed: list[Any]) -> tuple[str, int]:
    """The reason that most trials failed for, as the first of them gave it, and how many that were.

    Reasons that differ in their numbers alone are the same: the step at which the loss became NaN, the memory taken.
    """
    alike: dict[str, list[str]] = {}
    for trial in failed:
        reason = str(TrialRecord(trial).reason or "unknown")
        alike.setdefault(re.sub(r"\d+", "0", reason), []).append(reason)
    commonest = max(alike.values(), key=len)
    return commonest[0], len(commonest)
