"""The search itself: checks everything first, then has the executor run what the study proposes, within the budget."""

import re
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from optuna.trial import TrialState

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.errors import AutogrowError, NoSuccessfulTrialError, RunFolderError, UsageError
from autogrow.files import remove_unfinished, unwritable
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.part import validated
from autogrow.policy.presets import CONTROLS
from autogrow.study.budget import Budget
from autogrow.study.choosing import best_trial, policy_of
from autogrow.study.monitor import SearchMonitor
from autogrow.study.objectives import OBJECTIVES, Objective, metrics_to_measure
from autogrow.study.run_folder import RunFolder
from autogrow.study.sampling import SAMPLERS, Proposer
from autogrow.study.search_space import SearchSpace
from autogrow.study.session_folder import authentication_problem, remove_abandoned
from autogrow.study.settings import SPLIT_SEED, SearchSettings, experiment_digest, versions
from autogrow.study.study_database import Queued, StudyDatabase, is_surplus
from autogrow.study.study_location import SharedStudy, without_password
from autogrow.study.successive_halving import SuccessiveHalving
from autogrow.study.trial import TrialConfig, device_problem
from autogrow.study.warm_start import TRANSFERRED
from autogrow.training.batches import BatchOrder
from autogrow.training.example_input import example_input
from autogrow.training.measuring import expected_samples
from autogrow.training.records import TrialFolder
from autogrow.training.size_fitting import FittingSizes
from autogrow.training.trainer import TIMED_BATCH

NUM_REPORTS = 12
"""Reports of a trial while it runs: what ASHA compares and the progress display shows."""
LEAST_FREE_BYTES = 16 * 2**20
"""Disk space without which no search is started: a database, records and a few checkpoints."""
CONNECT_SECONDS = 5.0
FEWEST_SAMPLES = 30
"""A run with fewer samples is too short for most triggers."""


@dataclass(frozen=True)
class SearchPlan:
    """A search whose settings, data and network have been checked."""

    settings: SearchSettings
    dataset: Dataset
    space: SearchSpace
    objectives: tuple[Objective, ...]
    num_samples: int
    """Samples that one trial is going to take."""
    num_groups: int
    num_parameters: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class SearchResult:
    """How a search ended."""

    folder: RunFolder
    complete: int
    pruned: int
    failed: int
    waiting: int
    interrupted: bool
    wall_seconds: float


def plan_search(settings: SearchSettings) -> SearchPlan:
    """Open the data, build and trace the network, read the space: whatever could fail, before anything is started."""
    if settings.address is None:
        problem = authentication_problem() or device_problem(settings.gpus_per_trial)
    else:
        problem = address_problem(settings.address)
    if problem is not None:
        raise UsageError(problem)
    SAMPLERS[settings.sampler]
    if settings.storage is not None:
        without_password(settings.storage)
    space = SearchSpace(settings.space, "search space")
    objectives = tuple(OBJECTIVES[name] for name in settings.objectives)
    dataset = open_dataset(settings.dataset, Path(settings.data_dir))
    train, _ = dataset.split(seed=SPLIT_SEED, train_size=settings.train_size)
    spec = ModelSpec.from_dict({"name": settings.model, "options": settings.model_options})
    model = build_model(spec, dataset.input_shape, dataset.num_outputs, settings.seed)
    network = ExpandableNetwork(model, example_input(dataset.input_shape, torch.device("cpu")))
    if not network.groups:
        reasons = "; ".join(f"{group.name}: {group.reason}" for group in network.fixed)
        raise UsageError(f"model {settings.model!r} has no channel group that can grow ({reasons})")
    limits = settings.limits
    if limits.is_set:
        batch = example_input(dataset.input_shape, torch.device("cpu"), settings.training.batch_size)
        timed = example_input(dataset.input_shape, torch.device("cpu"), TIMED_BATCH)
        fitting = FittingSizes(network, GrowthPolicy().within(limits), batch, timed)
        fitting.start({group.name: 1 for group in network.groups})
    order = BatchOrder(len(train), settings.training.batch_size, 0, torch.device("cpu"))
    num_steps = order.steps_per_epoch * settings.training.epochs
    num_samples = expected_samples(num_steps, settings.training.sample_every)
    notes = []
    if num_samples < FEWEST_SAMPLES:
        notes.append(
            f"a trial takes only {num_samples} samples, too few for most triggers: raise --epochs or --train-size"
        )
    return SearchPlan(
        settings, dataset, space, objectives, num_samples, len(network.groups), network.num_parameters, tuple(notes)
    )


def run_search(
    plan: SearchPlan, folder: RunFolder, *, resume: bool, monitor: SearchMonitor | None = None
) -> SearchResult:
    """Run a planned search to the end of its budget, or until it is interrupted, in `folder`.

    Raises `RunFolderError` (the folder exists, or not, against `resume`), `RunFolderInUseError`, and
    `NoSuccessfulTrialError` when nothing completed, or too many trials failed in a row.
    """
    started = time.monotonic()
    _need_space(folder)
    with folder.locked():
        database = _prepare(plan, folder, resume)
        driver = _Driver(plan, folder, database, monitor or SearchMonitor(), started)
        try:
            with driver.handling_signals():
                driver.run()
        finally:
            folder.interrupt_file.unlink(missing_ok=True)
            waiting = database.reconcile(folder)
            if waiting == 0:
                folder.discard_forks()
        trials = database.trials()
        superseded = {trial.user_attrs["resume_of"] for trial in trials if "resume_of" in trial.user_attrs}
        failed = [t for t in trials if t.state == TrialState.FAIL and t.number not in superseded and not is_surplus(t)]
        states = [trial.state for trial in trials]
        result = SearchResult(
            folder=folder,
            complete=states.count(TrialState.COMPLETE),
            pruned=states.count(TrialState.PRUNED),
            failed=len(failed),
            waiting=waiting,
            interrupted=driver.interrupted,
            wall_seconds=time.monotonic() - started,
        )
        if driver.failures_in_a_row >= plan.settings.max_consecutive_failures:
            raise NoSuccessfulTrialError(_why_it_stopped(folder, failed, driver.failures_in_a_row))
        if result.complete == 0 and result.waiting == 0 and not result.interrupted:
            raise NoSuccessfulTrialError(_why_none_succeeded(folder, failed))
        return result


def address_problem(address: str) -> str | None:
    """Why a cluster's HOST:PORT cannot be reached, in one line; Ray itself would try for a minute."""
    host, separator, port = address.rpartition(":")
    if not separator or "/" in address or not port.isdigit():
        return None  # "auto", or a scheme of Ray's own
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        return f"no Ray cluster answers at {address!r} ({error}): start one, or leave out --address"
    return None


def resume_settings(folder: RunFolder, **changes: Any) -> SearchSettings:
    """The settings that a run was started with; `changes` may be its budget and where it runs, None changing nothing.

    A time budget counts from the resumption, so the old one does not hold.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    fields = {**folder.settings().model_dump(), "time_budget_seconds": None, **given}
    return validated(SearchSettings, fields, str(folder.config_file))


def _need_space(folder: RunFolder) -> None:
    existing = next(path for path in (folder.path, *folder.path.parents) if path.exists())
    if shutil.disk_usage(existing).free < LEAST_FREE_BYTES:
        raise RunFolderError(f"no space left to write {folder.path}: free at least {LEAST_FREE_BYTES >> 20} MiB")


def _prepare(plan: SearchPlan, folder: RunFolder, resume: bool) -> StudyDatabase:
    """The study to work on, with nothing of this run RUNNING in it; the run folder is created, or checked."""
    settings = plan.settings
    config = {**settings.model_dump(mode="json"), "versions": versions()}
    if settings.storage is not None:
        config["storage"] = without_password(settings.storage)
        config["driver"] = uuid.uuid4().hex[:12]
    remove_abandoned()  # workers of a killed driver live on for seconds: they must not write any more
    remove_unfinished(folder.path)
    if resume:
        before = folder.read_config()
        if before["fingerprint"] != plan.dataset.fingerprint:
            raise RunFolderError(
                f"{folder.path} was searched on data {before['fingerprint']}, {settings.dataset!r} is now "
                f"{plan.dataset.fingerprint}: restore the data, or start a new run"
            )
        if settings.storage is None:
            folder.refuse_lost_study()
        config["driver"] = before.get("driver", "")
    else:
        folder.create(config)
    folder.interrupt_file.unlink(missing_ok=True)
    try:
        database = StudyDatabase.create(
            folder.study_location() if settings.storage is None else SharedStudy(settings.storage, folder.name),
            plan.objectives,
            _queue(settings),
            driver=config.get("driver", ""),
            experiment=experiment_digest(settings),
        )
    except AutogrowError:
        if not resume:
            folder.config_file.unlink()  # nothing was begun, and another try must not find a run here
        raise
    if resume:
        folder.write_config(config)  # not before: a study that cannot be opened leaves the run as it was
    database.reconcile(folder)
    return database


def _queue(settings: SearchSettings) -> list[Queued]:
    """What is tried before anything is proposed: the controls, then what earlier studies have found."""
    queue = [Queued(role, {}) for role in CONTROLS]
    for entry in settings.warm_start:
        given = {} if entry["params"] else {"given_policy": entry["policy"]}
        queue.append(Queued(TRANSFERRED, {"origin": entry["origin"], **given}, entry["params"]))
    return queue[: settings.trials]


class _Driver:
    """One run of a search: gives trials to the executor, records their ends, watches the budget and the signals."""

    def __init__(
        self, plan: SearchPlan, folder: RunFolder, database: StudyDatabase, monitor: SearchMonitor, started: float
    ) -> None:
        self.interrupted = False
        self.failures_in_a_row = 0
        self._plan = plan
        self._folder = folder
        self._database = database
        self._monitor = monitor
        self._proposer = Proposer(database, plan.space, plan.settings, plan.num_samples)
        self._halving = SuccessiveHalving(plan.settings.early_stopping, folder.rungs_file)
        self._budget = Budget(plan.settings, started, database.trial_seconds())
        self._stopping = False

    def run(self) -> None:
        # Ray is imported here, so that everything before can fail without it and readers of a run never need it.
        from autogrow.study.ray_executor import ray_cluster, run_trials

        settings = self._plan.settings
        self._save_best_policy()  # a driver may have died just before it did
        if not self._work_left():
            return
        with ray_cluster(
            settings.address, settings.cpus_per_trial, settings.gpus_per_trial, settings.max_concurrent
        ) as cluster:
            self._handle_signals()  # again, because starting Ray takes SIGTERM away
            self._budget.slots = cluster.slots
            self._monitor.search_started(
                settings.trials, self._database.num_ended(), cluster.slots, self._budget.seconds_left
            )
            run_trials(self, cluster, settings.cpus_per_trial, settings.gpus_per_trial, self.stopping)

    def stopping(self) -> bool:
        """Whether no more trials are to be started; running ones are then asked to save themselves."""
        if not self._stopping and (exhausted := self._budget.exhausted) is not None:
            self._stop(exhausted)
        return self._stopping

    def next_trial(self) -> TrialConfig | None:
        settings = self._plan.settings
        proposal = self._proposer.next()
        if proposal is None:
            return None
        self._monitor.trial_started(proposal)
        return TrialConfig(
            number=proposal.number,
            role=proposal.role,
            policy=proposal.policy.recipe(),
            training=proposal.training.model_dump(),
            dataset=settings.dataset,
            data_dir=settings.data_dir,
            model=settings.model,
            model_options=settings.model_options,
            train_size=settings.train_size,
            split_seed=SPLIT_SEED,
            seed=settings.seed,
            device="cuda" if settings.gpus_per_trial else "cpu",
            num_threads=settings.cpus_per_trial,
            gpu_memory_fraction=settings.gpus_per_trial if 0 < settings.gpus_per_trial < 1 else None,
            memory_bytes=settings.memory_per_trial_bytes,
            folder=str(self._folder.trial(proposal.root).path),
            interrupt_file=str(self._folder.interrupt_file),
            working_directory=settings.working_directory,
            num_reports=NUM_REPORTS,
            measured=metrics_to_measure(self._plan.objectives, settings.limits),
            forks=str(self._folder.forks) if settings.fork_at_growth else None,
        )

    def reported(self, config: TrialConfig, metrics: Mapping[str, Any]) -> bool:
        self._budget.reported(config.number, metrics["trial_seconds"])
        self._monitor.trial_reported(config.number, metrics)
        return self._halving.goes_on(int(Path(config.folder).name), config.role, metrics)

    def ended(self, config: TrialConfig, result: Mapping[str, Any]) -> None:
        trial_seconds = result.get("trial_seconds", result.get("metrics", {}).get("trial_seconds"))
        self._budget.ended(config.number, trial_seconds)
        if result["status"] == "interrupted":
            self._database.note(config.number, trial_seconds=trial_seconds)
            if "reason" in result:
                raise RunFolderError(f"{result['reason']}; then go on with --resume")
            return  # left RUNNING until `reconcile` queues it for the next time
        self._database.tell_result(config.number, result)
        TrialFolder(Path(config.folder)).discard_checkpoints()
        if result["status"] == "complete":
            self._save_best_policy()
        self._monitor.trial_ended(config.number, result)
        self._count_failures(result["status"])

    def _count_failures(self, status: str) -> None:
        limit = self._plan.settings.max_consecutive_failures
        if self.failures_in_a_row < limit:  # once there, a running trial that still ends well does not undo it
            self.failures_in_a_row = self.failures_in_a_row + 1 if status == "failed" else 0
            if self.failures_in_a_row == limit:
                self._stop(f"{limit} trials in a row have failed")

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM once: save and end. Twice: end at once. Only the main thread can be told."""
        before = self._handle_signals()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle_signals(self) -> dict[signal.Signals, Any]:
        """What handled them before, by signal; nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}

    def _interrupt(self, number: int, frame: object) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self._stop("interrupted; once more ends at once")

    def _stop(self, reason: str) -> None:
        # Called from the signal handler too, which runs between any two lines of this thread: no locks here.
        if not self._stopping:
            self._stopping = True
            try:
                self._folder.interrupt_file.touch()
            except OSError as error:
                raise unwritable(self._folder.interrupt_file, error) from error
            self._monitor.stopping(reason)

    def _work_left(self) -> bool:
        proposed, wanted = self._database.num_proposed(), self._plan.settings.trials
        return proposed < wanted or self._database.has_waiting_resumption()

    def _save_best_policy(self) -> None:
        """Rewrite policy.yaml when the best trial has changed."""
        best = best_trial(self._database.trials(), self._plan.objectives, "accuracy")
        if best is not None:
            policy_of(best, self._folder, self._plan.settings).save(self._folder.policy_file)


def _why_it_stopped(folder: RunFolder, failed: list[Any], number: int) -> str:
    last = sorted(failed, key=lambda trial: trial.datetime_complete)[-number:]
    reason, times = _commonest_reason(last)
    return (
        f"stopped after {number} trials in a row failed, {times} of them because: {reason}; mend that (logs are in "
        f"{folder.trials}), then go on with --resume"
    )


def _why_none_succeeded(folder: RunFolder, failed: list[Any]) -> str:
    if not failed:
        return f"no trial of {folder.path} has finished"
    reason, times = _commonest_reason(failed)
    return f"none of {len(failed)} trials succeeded, {times} of them because: {reason}"


def _commonest_reason(failed: list[Any]) -> tuple[str, int]:
    """The reason that most trials failed for, as the first of them gave it, and how many that were.

    Reasons that differ in their numbers alone are the same: the step at which the loss became NaN, the memory taken.
    """
    alike: dict[str, list[str]] = {}
    for trial in failed:
        reason = str(trial.user_attrs.get("reason", "unknown"))
        alike.setdefault(re.sub(r"\d+", "0", reason), []).append(reason)
    commonest = max(alike.values(), key=len)
    return commonest[0], len(commonest)
