"""A search's Ray process: Ray Tune runs trials in it, as the driver says. It is disposable, and so is all of Ray.

A process of its own, because Ray ends, or blocks for ever, the process that uses it when one of its parts dies; and in
a session of its own, because what is sent to the driver's process group is for the driver. It ends when the driver
does, however that happens, and takes Ray with it.

Ray Tune places trials on slots and keeps their actors (a fresh one imports torch for seconds). Asking, telling,
stopping early, checkpoints and resuming are the driver's.
"""

import gc
import json
import os
import queue
import signal
import threading
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from autogrow.errors import AutogrowError, one_line
from autogrow.study.ray_channel import Channel, Message
from autogrow.study.ray_cluster import fitting_trials, ray_cluster, watch_cluster
from autogrow.study.trial_deaths import MAX_FAILURES, keep_crashes, why_it_died
from autogrow.study.trial_result import CompleteTrial, FailedTrial, StoppedTrial, TrialReport

import ray  # isort: skip
from ray import tune  # isort: skip
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # isort: skip
from ray.tune.search import Searcher  # isort: skip
from ray.tune.trainable import wrap_function  # isort: skip

METRIC = "validation_score"
QUEUED_AHEAD = 1
"""Trials that are proposed before a slot is free, so that none waits for the sampler and Ray Tune's next round."""
REPLACED = "replaced"
"""Reported by a process in which a trial has changed what others would see, before it makes room for another."""


def main(descriptor: int) -> None:
    """Run the trials that the driver at the other end of a pipe gives, until there are no more."""
    channel = Channel(Connection(descriptor))
    _ignore_signals()
    job = channel.hear()
    assert job is not None
    driver = _Driver(channel)
    try:
        with ray_cluster(job["address"], job["num_cores"], Path(job["folder"]) / job["ray"]):
            _ignore_signals()  # again, because starting Ray has SIGTERM end this process
            fitting = fitting_trials(job["cpus_per_trial"], job["gpus_per_trial"])
            watch_cluster(job["address"], lambda reason: driver.say("lost", reason=reason))
            slots = min(fitting, job["max_concurrent"] or fitting)
            driver.say("ready", slots=slots)
            _run_trials(driver, job, slots + (QUEUED_AHEAD if slots == fitting else 0))
            driver.say("finished")
    except AutogrowError as error:
        driver.say("refused", reason=str(error))
    except Exception as error:  # noqa: BLE001  whatever goes wrong with Ray, the driver goes on or says why
        driver.say("lost", reason=one_line(error))


def _ignore_signals() -> None:
    # Handlers, because children would inherit that a signal is ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


def _run_trials(driver: "_Driver", job: Message, limit: int) -> None:
    # Otherwise Ray Tune starts one actor at a time, each importing torch for seconds before the next one begins.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(limit)
    gpus = {"gpu": job["gpus_per_trial"]} if job["gpus_per_trial"] else {}
    searcher = _StudySearcher(driver, limit, Path(job["folder"]))
    tuner = tune.Tuner(
        tune.with_resources(RayTrial, {"cpu": job["cpus_per_trial"], **gpus}),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            search_alg=searcher,
            scheduler=_AskingScheduler(searcher),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(Path(job["folder"]) / "tune"),
            name="trials",
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[_Starts(searcher)],
            stop=_StopWhenTold(searcher),
        ),
    )
    tuner.fit()


class _Driver:
    """The driver, as this process sees it. A thread listens to it; when it has gone, this process goes too."""

    def __init__(self, channel: Channel) -> None:
        self.stopping = threading.Event()
        self.to_fail: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        """Trials that are to end now, and why."""
        self._channel = channel
        self._answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="listening", daemon=True).start()

    def ask(self, word: str, **content: Any) -> Message:
        self.say(word, **content)
        return self._answers.get()

    def say(self, word: str, **content: Any) -> None:
        try:
            self._channel.say(word, **content)
        except OSError:
            os._exit(1)

    def _listen(self) -> None:
        try:
            while True:
                message = self._channel.hear()
                if message is None:
                    continue
                if message["word"] == "stop":
                    self.stopping.set()
                elif message["word"] == "fail":
                    self.to_fail.put((message["number"], message["reason"]))
                else:
                    self._answers.put(message)
        finally:
            os._exit(1)


@cache
def _freeze_imports() -> None:
    """Have the garbage collector pass by what is there already, once per process.

    The collection at the end of every trial looks at it otherwise: 0.2 s, a fifth of a short trial.
    """
    gc.collect()
    gc.freeze()


def _ray_trial(config: dict[str, Any]) -> None:
    """The function that Ray Tune runs in an actor. A trial that the scheduler stops ends inside `tune.report`."""
    from autogrow.study.process_state import is_spoilt
    from autogrow.study.trial import run_trial
    from autogrow.study.trial_config import TrialConfig
    from autogrow.training.ending import Signal

    if is_spoilt():
        tune.report({METRIC: 0.0, REPLACED: True})
        os._exit(0)
    _freeze_imports()

    def report(report: TrialReport) -> Signal:
        tune.report({METRIC: report.metrics.validation_score, "report": report.model_dump_json()})
        return Signal.CONTINUE

    trial = TrialConfig.model_validate_json(config["trial"])
    if trial.scratch is not None:
        keep_crashes(Path(trial.scratch), trial.number)
    result = run_trial(trial, report)
    score = result.metrics.validation_score if isinstance(result, CompleteTrial | StoppedTrial) else 0.0
    tune.report({METRIC: score, "result": result.model_dump_json()})


class RayTrial(wrap_function(_ray_trial)):  # type: ignore[misc]
    """An actor that runs one trial after another. This process never imports PyTorch; that one does it first."""

    def setup(self, config: dict[str, Any]) -> None:
        import autogrow.study.trial  # noqa: F401

        super().setup(config)


class _NotPickled:
    """Ray Tune pickles its searcher and stopper so that a run can be restored; ours is resumed from its database."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _StudySearcher(_NotPickled, Searcher):
    """Hands the driver's trials to Ray Tune, at most `limit` at a time, those that wait for a slot included."""

    def __init__(self, driver: _Driver, limit: int, folder: Path) -> None:
        super().__init__(metric=METRIC, mode="max")
        self.driver = driver
        self.live: dict[str, int] = {}
        """The numbers of the trials that Ray Tune has, by its own names for them."""
        self.reasons: dict[int, str] = {}
        """Why trials were made to fail."""
        self.errors: dict[str, str] = {}
        """What Ray Tune wrote down of the failures of trials that it gives up."""
        self._limit = limit
        self._folder = folder

    def suggest(self, trial_id: str) -> Any:
        if self.driver.stopping.is_set():
            return Searcher.FINISHED
        if len(self.live) >= self._limit:
            return None
        trial = self.driver.ask("next")["trial"]
        if trial is None:
            return Searcher.FINISHED
        self.live[trial_id] = json.loads(trial)["number"]
        return {"trial": trial}

    def goes_on(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a trial that has reported this is to go on."""
        if "report" in result and trial_id in self.live:
            answer = self.driver.ask("reported", number=self.live[trial_id], report=result["report"])
            return bool(answer["goes_on"])
        return True

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False, **_: Any
    ) -> None:
        number, errors = self.live.pop(trial_id, None), self.errors.pop(trial_id, "")
        if number is not None:
            reason = self.reasons.get(number) or why_it_died(self._folder, number, errors)
            ending = _ending(result, reason if error else None)
            self.driver.say("ended", number=number, result=ending)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study database is the state. Ray's own `restore` refuses, as it should."""


def _ending(result: dict[str, Any] | None, failure: str | None) -> str:
    """How a trial ended, a `TrialResult` as JSON, from the last that Ray Tune heard of it."""
    if failure is not None:
        return FailedTrial(reason=failure).model_dump_json()
    if result is not None and "result" in result:
        return str(result["result"])
    if result is not None and "report" in result:
        return StoppedTrial.after(TrialReport.model_validate_json(result["report"])).model_dump_json()
    return FailedTrial(reason="it ended without a report").model_dump_json()


class _AskingScheduler(FIFOScheduler):
    """Passes every report on, stops the trials that are told to stop, and keeps the errors of those that fail."""

    def __init__(self, searcher: _StudySearcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if REPLACED in result:
            trial.max_failures += 1  # the process ends, which is not the trial's fault
        goes_on = self._searcher.goes_on(trial.trial_id, result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        # The searcher is told next, and not of this; Tune's own reader looks where the file is copied to later.
        if trial.error_file is not None:
            errors = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
            self._searcher.errors[trial.trial_id] = errors


class _Starts(_NotPickled, tune.Callback):
    """Says when a trial has got its process, and ends the process of one that is to fail."""

    def __init__(self, searcher: _StudySearcher) -> None:
        self._searcher = searcher

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        if trial.trial_id in self._searcher.live:
            self._searcher.driver.say("started", number=self._searcher.live[trial.trial_id])

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        while not self._searcher.driver.to_fail.empty():
            number, reason = self._searcher.driver.to_fail.get()
            for trial in trials:
                if self._searcher.live.get(trial.trial_id) == number:
                    self._searcher.reasons[number] = reason
                    trial.max_failures = 0
                    ray.kill(trial.temporary_state.ray_actor)


class _StopWhenTold(_NotPickled, tune.Stopper):
    """Ends the Tune run when a stop was asked for and the running trials have saved themselves."""

    def __init__(self, searcher: _StudySearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._searcher.driver.stopping.is_set() and not self._searcher.live
