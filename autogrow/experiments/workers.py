"""Where an experiment's runs are trained: in this process, or in several others.

Each process trains one run at a time with its share of the threads, so that runs do not wait for each other's threads.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Protocol

import torch

from autogrow.errors import TrainingDivergedError
from autogrow.experiments.conditions import Experiment, Split, TrainingPlan
from autogrow.experiments.records import FailedRun, Outcome, RunRecord
from autogrow.export.retraining import train_policy
from autogrow.study.settings import SPLIT_SEED


class Workers(Protocol):
    """What trains runs."""

    @property
    def number(self) -> int:
        """Runs at a time."""

    def train(self, condition: str, plan: TrainingPlan, seed: int, place: Path | None) -> Future[Outcome | None]:
        """Start a run; its outcome is None when it was told to save and end."""

    def stop(self) -> None:
        """Tell all runs to save and end."""


@contextmanager
def open_workers(
    experiment: Experiment, number: int, interrupted: Callable[[], bool], *, split: Split, keeps_curves: bool
) -> Iterator[Workers]:
    """Workers for one experiment, whose results are read on `split`."""
    if number == 1:
        yield _InThisProcess(_Training(experiment, split, keeps_curves, 1, interrupted))
        return
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    threads = max(1, torch.get_num_threads() // number)
    arguments = experiment, split, keeps_curves, number, threads, stop
    with ProcessPoolExecutor(number, context, initializer=_begin, initargs=arguments) as pool:
        try:
            yield _Processes(pool, number, stop)
        except BaseException:
            stop.set()
            raise


@dataclass(frozen=True)
class _Training:
    """How one process trains the runs of an experiment."""

    experiment: Experiment
    split: Split
    keeps_curves: bool
    jobs: int
    interrupted: Callable[[], bool]

    def __call__(self, condition: str, plan: TrainingPlan, seed: int, place: Path | None) -> Outcome | None:
        experiment = self.experiment
        try:
            result = train_policy(
                plan.model,
                experiment.dataset,
                plan.policy,
                plan.training,
                seed=seed,
                train_size=experiment.train_size,
                hold_out_validation=experiment.holds_out_validation,
                device=experiment.device,
                execution=experiment.execution,
                out=place,
                interrupted=self.interrupted,
                reads_test=self.split == "test",
                standardizes_targets=experiment.standardizes_targets,
                split_seed=seed if experiment.draws_splits else SPLIT_SEED,
                placebo=plan.placebo,
            )
        except TrainingDivergedError as error:
            return FailedRun(seed, condition, str(error))
        if result is None:
            return None
        trained_on = experiment.circumstances(jobs=self.jobs)
        return RunRecord.of(seed, condition, result, trained_on, keeps_curve=self.keeps_curves)


@dataclass(frozen=True)
class _InThisProcess:
    """One run at a time; `train` returns when it is finished."""

    training: _Training
    number: int = 1

    def train(self, condition: str, plan: TrainingPlan, seed: int, place: Path | None) -> Future[Outcome | None]:
        finished: Future[Outcome | None] = Future()
        finished.set_result(self.training(condition, plan, seed, place))
        return finished

    def stop(self) -> None:
        """The run asks by itself."""


@dataclass(frozen=True)
class _Processes:
    """Runs in other processes."""

    pool: ProcessPoolExecutor
    number: int
    stopping: Event

    def train(self, condition: str, plan: TrainingPlan, seed: int, place: Path | None) -> Future[Outcome | None]:
        # A process that is started here inherits the blocked signals: Ctrl-C must not kill it before it can ignore it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            return self.pool.submit(_train, condition, plan, seed, place)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def stop(self) -> None:
        self.stopping.set()


_training: _Training | None = None
"""Of a worker process: set once, when it begins."""


def _begin(experiment: Experiment, split: Split, keeps_curves: bool, jobs: int, threads: int, stop: Event) -> None:
    global _training
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the driver tells what to do
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(threads)
    _training = _Training(experiment, split, keeps_curves, jobs, stop.is_set)
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _end_with_driver() -> None:
    """A driver that is killed can tell nobody: its workers would wait for work for ever."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _train(condition: str, plan: TrainingPlan, seed: int, place: Path | None) -> Outcome | None:
    assert _training is not None
    return _training(condition, plan, seed, place)
