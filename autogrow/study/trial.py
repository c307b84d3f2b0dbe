"""One trial, from a configuration of plain data to a result of plain data; the same inline and on a Ray worker.

Expected failures (a network that diverges, a user's model that raises) become results with a reason. The trial
leaves nothing behind in its process: no globals, no CUDA memory, the random state and thread count as they were.
"""

import ctypes
import gc
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict

from autogrow.data.arrays import Layout
from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.errors import RunFolderError, one_line
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.records import Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.memory_guard import MemoryLimit, is_out_of_memory
from autogrow.study.process_state import kept_process_state, random_state_of
from autogrow.study.settings import SPLIT_SEED, SearchSettings
from autogrow.study.trial_workplace import trial_workplace
from autogrow.training.example_input import example_input
from autogrow.training.forks import ForkStore
from autogrow.training.records import TrialFolder
from autogrow.training.trainer import Signal, Trainer, TrainingOutcome
from autogrow.training.training_data import TrainingData

logger = logging.getLogger(__name__)
LIFE_SECONDS = 1.0
"""How often a trial shows that it takes steps."""
Report = Callable[[dict[str, Any]], Signal]
"""Takes the metrics of a running trial and says whether it goes on."""


class TrialConfig(BaseModel):
    """What a worker needs to run a trial; plain data, so that it can be sent anywhere as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    role: str
    policy: dict[str, Any]
    training: dict[str, Any]
    dataset: str
    data_dir: str
    task: str | None = None
    layout: Layout | None = None
    standardizes_targets: bool = True
    model: str
    model_options: dict[str, Any]
    train_size: int | None
    split_seed: int
    seed: int
    device: str
    num_threads: int
    execution: Execution = Execution()
    gpu_memory_fraction: float | None
    memory_bytes: int | None = None
    """What the trial may allocate on the CPU beyond what its process has; None: no limit."""
    folder: str
    interrupt_file: str
    working_directory: str
    num_reports: int
    measured: tuple[str, ...] = ()
    """Metrics to measure at the end, which takes time: see `objectives.metrics_to_measure`. What the policy's limits
    look at is measured anyway."""
    scratch: str | None = None
    """A folder of the search for what goes with it, on the machine of its driver."""
    umask: int = 0o022
    """Whom the trial's files are not open to: as the driver's own, though Ray's processes keep theirs to the user."""
    forks: str | None = None
    """Folder of the forks that the search's trials leave each other; None where every trial starts from scratch."""

    @classmethod
    def of(cls, settings: SearchSettings, model: ModelSpec, **own: Any) -> Self:
        """A trial of a search: what all its trials have in common, and this one's `own`.

        Raises `NetworkError` for a network of the user's own that nobody has named: the trial's process takes its
        configuration for the word of whoever started the search.
        """
        model.refuse_unnamed()
        common = {
            "dataset": settings.dataset,
            "data_dir": settings.data_dir,
            "task": settings.task,
            "layout": settings.layout,
            "standardizes_targets": settings.standardizes_targets,
            "model": model.name,
            "model_options": dict(model.options),
            "train_size": settings.train_size,
            "split_seed": SPLIT_SEED,
            "seed": settings.seed,
            "num_threads": settings.cpus_per_trial,
            "execution": settings.execution,
            "working_directory": settings.working_directory,
        }
        return cls(**{**common, **own})

    @property
    def root(self) -> int:
        """The number of the first trial of this one's line, by which its folder is named."""
        return int(self.folder.rpartition("/")[2])


def run_trial(config: TrialConfig, report: Report) -> dict[str, Any]:
    """Train one network under one policy and return its result.

    The result's `status` is "complete" (with `metrics` and `constraints`), "stopped" (by `report`; with the metrics so
    far), "interrupted" (saved, to be resumed; with a `reason` if nothing can be written any more) or "failed" (with the
    `reason`, and if it ran out of memory with its size as `infeasible`); `trial_seconds` is always there, `warnings`
    holds what was logged as such. All but "interrupted" are also written to the trial's folder, so that a driver which
    died meanwhile still learns of them.
    """
    started = time.monotonic()
    try:
        workplace = trial_workplace(config.folder, config.interrupt_file, config.scratch)
        with _files_open_to(config.umask), workplace as (folder, interrupted):
            with _logging_to(folder) as warnings:
                result = _run(config, folder, report, _Life(folder, interrupted))
            result["trial_seconds"] = time.monotonic() - started
            if warnings:
                result["warnings"] = warnings
            if result["status"] != "interrupted":
                folder.write_result(result)
    except RunFolderError as error:  # not the policy's fault: the trial goes on when there is space again
        result = {"status": "interrupted", "reason": one_line(error), "trial_seconds": time.monotonic() - started}
    return result


def _run(config: TrialConfig, folder: TrialFolder, report: Report, interrupted: Callable[[], bool]) -> dict[str, Any]:
    reporter = _Reporter(config, report)
    memory = MemoryLimit(config.memory_bytes, config.device)
    changed: list[str] = []
    try:
        with _own_process_settings(config), memory.enforced():
            dataset = open_dataset(config.dataset, Path(config.data_dir), task=config.task, layout=config.layout)
            with _surroundings(config) as changed:
                return _train(config, dataset, folder, reporter, interrupted)
    except RunFolderError:
        raise
    except BaseException as error:  # noqa: BLE001  a trial's failure is a result: the search goes on
        if reporter.has_ended or _is_from_outside(error):
            raise
        folder.log(_traceback_of(error))
        if is_out_of_memory(error):
            return memory.exceeded(error, reporter.num_parameters)
        return {"status": "failed", "reason": one_line(error)}
    finally:
        _release_memory()
        if changed:
            logger.warning(f"the model changed what it shares with other trials: {', '.join(changed)} (put back)")


@contextmanager
def _surroundings(config: TrialConfig) -> Iterator[list[str]]:
    """Yields a list that at the end names what the trial's model has changed of its process; ours change nothing."""
    with ExitStack() as stack:
        changed = stack.enter_context(kept_process_state()) if not ModelSpec(config.model).is_ours else []
        stack.enter_context(random_state_of(config.seed))
        yield changed


def _is_from_outside(error: BaseException) -> bool:
    """Whether it is Ctrl-C, which only reaches the main thread; elsewhere a model has raised it."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001  it holds the error's text, which somebody else's code makes
        return "".join(["Traceback:\n", *traceback.format_tb(error.__traceback__), one_line(error)])


@contextmanager
def _logging_to(folder: TrialFolder) -> Iterator[list[str]]:
    """Keeps the trial's warnings: in its log at once, and in a list for its result. A worker's own log is lost."""
    kept: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record.getMessage())
            folder.log(f"warning: {record.getMessage()}")

    keeper = Keeper(logging.WARNING)
    logger = logging.getLogger("autogrow")
    logger.addHandler(keeper)
    try:
        yield kept
    finally:
        logger.removeHandler(keeper)


def _train(
    config: TrialConfig,
    dataset: Dataset,
    folder: TrialFolder,
    reporter: "_Reporter",
    interrupted: Callable[[], bool],
) -> dict[str, Any]:
    policy = GrowthPolicy.from_dict(config.policy)
    train, validation = dataset.split(seed=config.split_seed, train_size=config.train_size)
    data = TrainingData.of(dataset, train, validation, standardizes_targets=config.standardizes_targets)
    spec = ModelSpec.from_dict(
        {"name": config.model, "options": config.model_options}
    ).given_by_caller()  # see `TrialConfig.of`
    model = build_model(spec, dataset.input_shape, dataset.num_outputs, config.seed)
    reporter.num_parameters = sum(parameter.numel() for parameter in model.parameters())
    device = torch.device(config.device)
    trainer = Trainer(
        ExpandableNetwork(model.to(device), example_input(dataset.input_shape, device)),
        data,
        policy,
        TrainingSettings.model_validate(config.training),
        seed=config.seed,
        device=device,
        folder=folder,
        on_sample=reporter,
        interrupted=interrupted,
        forks=_fork_store(config, dataset),
        execution=config.execution,
    )
    reporter.trainer = trainer
    outcome = trainer.run()
    if outcome.signal is Signal.INTERRUPT:
        return {"status": "interrupted"}
    if outcome.signal is Signal.STOP:
        return {"status": "stopped", "metrics": reporter.metrics(trainer.samples[-1])}
    outcome.check_validation()
    metrics = {
        **final_metrics(outcome, trainer, config.measured),
        **_saved(trainer),
        "trial_seconds": time.monotonic() - reporter.started,
    }
    return {"status": "complete", "metrics": metrics, "constraints": policy.limits.excess(metrics)}


def _fork_store(config: TrialConfig, dataset: Dataset) -> ForkStore | None:
    if config.forks is None:
        return None
    identity = {
        "model": [config.model, config.model_options],
        "data": [config.dataset, dataset.fingerprint, config.split_seed, config.train_size],
    }
    return ForkStore(Path(config.forks), config.number, identity)


def _saved(trainer: Trainer) -> dict[str, Any]:
    """What a trial that started from another's fork did not train itself, though its other metrics count it."""
    return trainer.fork.to_dict() if trainer.fork is not None else {}


def final_metrics(outcome: TrainingOutcome, trainer: Trainer, measured: Collection[str] = ()) -> dict[str, Any]:
    """The metrics of a finished run, by the names that objectives and reports use.

    measured: `memory_bytes` and `latency_ms`, if they are wanted.
    """
    assert outcome.train is not None and outcome.validation is not None
    size = trainer.size(memory="memory_bytes" in measured, latency="latency_ms" in measured)
    costly = {"memory_bytes": size.memory_bytes, "latency_ms": size.latency_ms}
    return {
        "validation_score": outcome.validation.score,
        "validation_loss": outcome.validation.loss,
        "train_score": outcome.train.score,
        "train_loss": outcome.train.loss,
        "generalization_gap": outcome.train.score - outcome.validation.score,
        "train_seconds": outcome.train_seconds,
        "training_flops": outcome.training_flops,
        "compute": outcome.training_flops / trainer.full_training_flops,
        "parameters": outcome.parameters,
        "flops": size.flops,
        "num_events": outcome.num_events,
        "steps": outcome.steps,
        **{name: value for name, value in costly.items() if value is not None},
    }


class _Reporter:
    """Passes about `num_reports` evenly spaced samples of a run on to the search."""

    def __init__(self, config: TrialConfig, report: Report) -> None:
        self._report = report
        self._num_reports = config.num_reports
        self.started = time.monotonic()
        self.has_ended = False
        """Whether the trial was stopped by an exception out of `report`, which then is to be passed on."""
        self.num_parameters: int | None = None
        """Of the network as far as is known: at full width until the first sample."""
        self.trainer: Trainer

    def __call__(self, sample: Sample) -> Signal:
        # From the samples alone, so that a trial which did not begin at step 0 reports as if it had.
        self.num_parameters = sample.parameters
        before = self.trainer.samples[-2].step if len(self.trainer.samples) > 1 else 0
        if self._num_due(before) == self._num_due(sample.step) or sample.step == self.trainer.num_steps:
            return Signal.CONTINUE
        metrics = self.metrics(sample)
        try:
            return self._report(metrics)
        except BaseException:
            self.has_ended = True
            raise

    def _num_due(self, step: int) -> int:
        """Reports that are due by `step`."""
        return int(step * self._num_reports / self.trainer.num_steps)

    def metrics(self, sample: Sample) -> dict[str, Any]:
        return {
            "validation_score": sample.validation_score,
            "validation_loss": sample.validation_loss,
            "train_score": sample.train_score,
            "generalization_gap": sample.generalization_gap,
            "train_seconds": sample.train_seconds,
            "training_flops": sample.training_flops,
            "compute": sample.training_flops / self.trainer.full_training_flops,
            "parameters": sample.parameters,
            "num_events": len(self.trainer.events),
            "may_grow": self.trainer.may_grow,
            "progress": sample.step / self.trainer.num_steps,
            **_saved(self.trainer),
            "trial_seconds": time.monotonic() - self.started,
        }


class _Life:
    """Asks whether to save and end, as training does between steps, and so shows that it goes on."""

    def __init__(self, folder: TrialFolder, interrupted: Callable[[], bool]) -> None:
        self._folder = folder
        self._interrupted = interrupted
        self._asked = 0
        self._next_sign = time.monotonic()

    def __call__(self) -> bool:
        self._asked += 1
        if time.monotonic() >= self._next_sign:
            self._next_sign = time.monotonic() + LIFE_SECONDS
            with suppress(OSError):  # should nothing be written any more, the next record says so
                self._folder.show_life(self._asked)
        return self._interrupted()


@contextmanager
def _files_open_to(umask: int) -> Iterator[None]:
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _own_process_settings(config: TrialConfig) -> Iterator[None]:
    """Threads, import path and GPU memory of this trial; Ray gives its workers one thread whatever they asked for."""
    threads, path = torch.get_num_threads(), list(sys.path)
    torch.set_num_threads(config.num_threads)
    if ":" in config.model and config.working_directory not in sys.path:
        sys.path.insert(0, config.working_directory)
    if config.gpu_memory_fraction is not None:
        torch.cuda.set_per_process_memory_fraction(config.gpu_memory_fraction)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        sys.path[:] = path


def _release_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    # glibc keeps what was freed in pieces of every shape that the network had: 1.0 GB after six ResNet trials, 0.4 GB
    # when it is asked to give it back.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def device_problem(gpus_per_trial: float) -> str | None:
    """What stands against the GPUs that a search asks for, in one line; None if nothing does."""
    if gpus_per_trial > 0 and not torch.cuda.is_available():
        return f"--gpus-per-trial {gpus_per_trial:g}, but PyTorch sees no GPU here: leave it out to run on the CPU"
    if gpus_per_trial > 1 and gpus_per_trial != int(gpus_per_trial):
        return f"--gpus-per-trial {gpus_per_trial:g}: above 1 only whole numbers, for example {int(gpus_per_trial)}"
    if gpus_per_trial > torch.cuda.device_count():
        return f"--gpus-per-trial {gpus_per_trial:g}, but there are {torch.cuda.device_count()}: ask for at most that"
    return None
