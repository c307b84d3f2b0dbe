"""One trial, from its configuration to its result; the same in the driver's process and on a Ray worker.

Expected failures (a network that diverges, a user's model that raises) become results with a reason. The trial
leaves nothing behind in its process: no globals, no CUDA memory, the random state and thread count as they were.
"""

import math
import threading
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import torch

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.errors import NetworkError, RunFolderError, one_line
from autogrow.metrics.objectives import measured_metrics
from autogrow.models.building import ModelSpec
from autogrow.network.running.undisturbed import evaluating
from autogrow.policy.records import Sample
from autogrow.study.memory_guard import MemoryLimit, is_out_of_memory
from autogrow.study.trial_config import TrialConfig
from autogrow.study.trial_process import files_open_to, own_settings, release_memory, undisturbed, warnings_kept
from autogrow.study.trial_result import (
    CompleteTrial,
    FailedTrial,
    InterruptedTrial,
    StoppedTrial,
    TrialMetrics,
    TrialReport,
    TrialResult,
    write_trial_result,
)
from autogrow.study.working_folder import working_folder
from autogrow.training.assembly import assemble, fresh_network
from autogrow.training.ending import Signal, TrainingOutcome
from autogrow.training.forks import ForkStore
from autogrow.training.records import TrialFolder
from autogrow.training.trainer import Trainer
from autogrow.training.training_data import TrainingData

LIFE_SECONDS = 1.0
"""How often a trial shows that it takes steps."""
Report = Callable[[TrialReport], Signal]
"""Takes what a running trial reports and says whether it goes on."""


def run_trial(config: TrialConfig, report: Report) -> TrialResult:
    """Train one network under one policy and say how that ended.

    The result is also written to the trial's folder, unless the trial was interrupted: a driver which died meanwhile
    still learns of it. Raises what `report` raises, and KeyboardInterrupt where that was the user's Ctrl-C.
    """
    started = time.monotonic()
    reporter = _Reporter(config, report)
    memory = MemoryLimit(config.memory_bytes, config.device)
    place = working_folder(config.folder, config.interrupt_file, config.scratch)
    result: TrialResult
    try:
        with files_open_to(config.umask), place as (folder, interrupted):
            with warnings_kept(folder) as warnings:
                try:
                    with own_settings(config), memory.enforced():
                        result = _train(config, folder, reporter, _Life(folder, interrupted))
                except RunFolderError:
                    raise
                except BaseException as error:  # noqa: BLE001  a trial's failure is a result: the search goes on
                    if reporter.has_ended or _is_from_outside(error):
                        raise
                    result = _failed(error, folder, memory, reporter.num_parameters)
                finally:
                    release_memory()
            seconds = time.monotonic() - started
            result = result.model_copy(update={"trial_seconds": seconds, "warnings": tuple(warnings)})
            if not isinstance(result, InterruptedTrial):
                write_trial_result(folder, result)
            return result
    except RunFolderError as error:  # not the policy's fault: the trial goes on when there is space again
        return InterruptedTrial(reason=one_line(error), trial_seconds=time.monotonic() - started)


def _failed(error: BaseException, folder: TrialFolder, memory: MemoryLimit, num_parameters: int | None) -> FailedTrial:
    folder.log(_traceback_of(error))
    if is_out_of_memory(error):
        return memory.exceeded(error, num_parameters)
    return FailedTrial(reason=one_line(error))


def _is_from_outside(error: BaseException) -> bool:
    """Whether it is Ctrl-C, which only reaches the main thread; elsewhere a model has raised it."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001  it holds the error's text, which somebody else's code makes
        return "".join(["Traceback:\n", *traceback.format_tb(error.__traceback__), one_line(error)])


def _train(
    config: TrialConfig, folder: TrialFolder, reporter: "_Reporter", interrupted: Callable[[], bool]
) -> TrialResult:
    dataset = open_dataset(config.dataset, Path(config.data_dir), task=config.task, layout=config.layout)
    with undisturbed(config):
        train, validation = dataset.split(seed=config.split_seed, train_size=config.train_size)
        data = TrainingData.of(dataset, train, validation, standardizes_targets=config.standardizes_targets)
        spec = ModelSpec.from_dict({"name": config.model, "options": config.model_options})
        module = fresh_network(spec.given_by_caller(), dataset, config.seed)  # see `TrialConfig.of`
        reporter.num_parameters = sum(parameter.numel() for parameter in module.parameters())
        trainer = assemble(
            module,
            dataset,
            data,
            config.policy,
            config.training,
            seed=config.seed,
            device=torch.device(config.device),
            folder=folder,
            on_sample=reporter,
            interrupted=interrupted,
            forks=_fork_store(config, dataset),
            execution=config.execution,
        )
        reporter.trainer = trainer
        return _result(trainer.run(), trainer, reporter, config)


def _result(outcome: TrainingOutcome, trainer: Trainer, reporter: "_Reporter", config: TrialConfig) -> TrialResult:
    if outcome.signal is Signal.INTERRUPT:
        return InterruptedTrial()
    if outcome.signal is Signal.STOP:
        return StoppedTrial.after(reporter.report_of(trainer.samples[-1]))
    outcome.check_validation()
    metrics = final_metrics(outcome, trainer, config.measured)
    return CompleteTrial(metrics=metrics, constraints=config.policy.limits.excess(metrics.by_name()))


def _fork_store(config: TrialConfig, dataset: Dataset) -> ForkStore | None:
    if config.forks is None:
        return None
    identity = {
        "model": [config.model, config.model_options],
        "data": [config.dataset, dataset.fingerprint, config.split_seed, config.train_size],
    }
    return ForkStore(Path(config.forks), config.number, identity)


def _saved(trainer: Trainer) -> dict[str, int | float]:
    """What a trial that started from another's fork did not train itself, though its other metrics count it."""
    return trainer.fork.to_dict() if trainer.fork is not None else {}


def final_metrics(outcome: TrainingOutcome, trainer: Trainer, measured: Collection[str] = ()) -> TrialMetrics:
    """The metrics of a finished run.

    measured: What is wanted of `memory_bytes`, `latency_ms`, and what objectives measure themselves.

    Raises `NetworkError` where one of these is no finite number.
    """
    assert outcome.train is not None and outcome.validation is not None
    size = trainer.size(memory="memory_bytes" in measured, latency="latency_ms" in measured)
    costly = {"memory_bytes": size.memory_bytes, "latency_ms": size.latency_ms}
    own = _measured_by_objectives(trainer, set(measured) - set(costly))
    return TrialMetrics(
        validation_score=outcome.validation.score,
        validation_loss=outcome.validation.loss,
        train_score=outcome.train.score,
        train_loss=outcome.train.loss,
        generalization_gap=outcome.train.score - outcome.validation.score,
        train_seconds=outcome.train_seconds,
        training_flops=outcome.training_flops,
        compute=outcome.training_flops / trainer.full_training_flops,
        parameters=outcome.parameters,
        flops=size.flops,
        num_events=outcome.num_events,
        steps=outcome.steps,
        others={**{name: value for name, value in costly.items() if value is not None}, **own, **_saved(trainer)},
    )


def _measured_by_objectives(trainer: Trainer, names: Collection[str]) -> dict[str, float]:
    """Metrics that objectives measure themselves, by name."""
    if not names:
        return {}
    known, network = measured_metrics(), trainer.network.module
    found = {}
    with evaluating(network), torch.no_grad():
        for name in sorted(names):
            measure = known[name].measure if name in known else None
            if measure is None:
                raise NetworkError(
                    f"nothing here measures {name!r}: install the package of that objective, or leave it out"
                )
            found[name] = float(measure(network, trainer.metrics.timed_inputs))
            if not math.isfinite(found[name]):
                raise NetworkError(f"objective {name!r} measured {found[name]} of this network, no finite number")
    return found


class _Reporter:
    """Passes about `num_reports` evenly spaced samples of a run on to the search."""

    def __init__(self, config: TrialConfig, report: Report) -> None:
        self._report = report
        self._num_reports = config.num_reports
        self._started = time.monotonic()
        self.has_ended = False
        """Whether the trial was stopped by an exception out of `report`, which then is to be passed on."""
        self.num_parameters: int | None = None
        """Of the network as far as is known: at full width until the first sample."""
        self.trainer: Trainer

    def __call__(self, sample: Sample) -> Signal:
        # From the samples alone, so that a trial which did not begin at step 0 reports as if it had.
        self.num_parameters = sample.parameters
        before = self.trainer.progress_of(self.trainer.samples[-2]) if len(self.trainer.samples) > 1 else 0.0
        progress = self.trainer.progress_of(sample)
        if self._num_due(before) == self._num_due(progress) or progress >= 1:
            return Signal.CONTINUE
        report = self.report_of(sample)
        try:
            return self._report(report)
        except BaseException:
            self.has_ended = True
            raise

    def _num_due(self, progress: float) -> int:
        """Reports that are due where so much of the run is done."""
        return int(round(progress * self._num_reports, 9))

    def report_of(self, sample: Sample) -> TrialReport:
        assert sample.validation_loss is not None and sample.validation_score is not None, "trials hold out validation"
        metrics = TrialMetrics(
            validation_score=sample.validation_score,
            validation_loss=sample.validation_loss,
            train_score=sample.train_score,
            train_loss=sample.train_loss,
            generalization_gap=sample.train_score - sample.validation_score,
            train_seconds=sample.train_seconds,
            training_flops=sample.training_flops,
            compute=sample.training_flops / self.trainer.full_training_flops,
            parameters=sample.parameters,
            num_events=len(self.trainer.events),
            steps=sample.step,
            others=_saved(self.trainer),
        )
        return TrialReport(
            metrics=metrics,
            progress=self.trainer.progress_of(sample),
            may_grow=self.trainer.may_grow,
            trial_seconds=time.monotonic() - self._started,
        )


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


def device_problem(gpus_per_trial: float) -> str | None:
    """What stands against the GPUs that a search asks for, in one line; None if nothing does."""
    if gpus_per_trial > 0 and not torch.cuda.is_available():
        return f"--gpus-per-trial {gpus_per_trial:g}, but PyTorch sees no GPU here: leave it out to run on the CPU"
    if gpus_per_trial > 1 and gpus_per_trial != int(gpus_per_trial):
        return f"--gpus-per-trial {gpus_per_trial:g}: above 1 only whole numbers, for example {int(gpus_per_trial)}"
    if gpus_per_trial > torch.cuda.device_count():
        return f"--gpus-per-trial {gpus_per_trial:g}, but there are {torch.cuda.device_count()}: ask for at most that"
    return None
