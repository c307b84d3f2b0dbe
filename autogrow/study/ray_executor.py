"""Runs a search's trials on Ray Tune, which is a disposable executor here: nothing that matters is kept in it.

Ray Tune places trials on slots and keeps their actors (a fresh one imports torch for seconds). Asking, telling,
stopping early, checkpoints and resuming are ours.
"""

import gc
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self

from autogrow.errors import UsageError

# Read by Ray when it is imported: no banners, no second signal handler, no usage statistics, no memory monitor (one
# kill by it ends a whole Tune run in 2.60), results handed on one by one.
os.environ.update(
    RAY_AIR_NEW_OUTPUT="0",
    RAY_DEDUP_LOGS="0",
    RAY_TUNE_DISABLE_STRICT_METRIC_CHECKING="1",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    RAY_memory_monitor_refresh_ms="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_DISABLE_SIGINT_HANDLER="1",
    TUNE_GLOBAL_CHECKPOINT_S="3600",
    TUNE_PRINT_ALL_TRIAL_ERRORS="0",
    TUNE_WARN_THRESHOLD_S="60",
)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray._private import ray_constants  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from autogrow.study.memory_guard import memory_share  # noqa: E402
from autogrow.study.session_folder import RAY, authentication_problem, place_for_ray, session_folder  # noqa: E402
from autogrow.study.settings import available_cores  # noqa: E402
from autogrow.study.trial import TrialConfig, run_trial  # noqa: E402
from autogrow.training.trainer import Signal  # noqa: E402

METRIC = "validation_accuracy"
QUEUED_AHEAD = 1
"""Trials that are proposed before a slot is free, so that none waits for the sampler and Ray Tune's next round."""
MAX_FAILURES = 2
"""How often a trial whose process died is started again, from its checkpoint."""
STOP_WAIT_SECONDS = 60.0
"""How long running trials may take to save themselves before the cluster is stopped anyway."""


@dataclass(frozen=True)
class Cluster:
    """What a search runs on."""

    slots: int
    """Trials that can run at a time."""
    is_full: bool
    """Whether that is all that fits; if not, only the searcher keeps more from running."""
    folder: Path
    """For what is needed only while the search runs."""
    memory_per_trial: int | None
    """Bytes that a trial may take where the search does not say; None on a cluster, whose memory is not known here."""


class TrialSource(Protocol):
    """What the executor asks for trials and tells of their ends; `autogrow.study.driver` is one."""

    def next_trial(self) -> TrialConfig | None: ...

    def reported(self, config: TrialConfig, metrics: Mapping[str, Any]) -> bool:
        """Whether the trial goes on."""

    def ended(self, config: TrialConfig, result: Mapping[str, Any]) -> None: ...


@contextmanager
def ray_cluster(
    address: str | None, cpus_per_trial: int, gpus_per_trial: float, max_concurrent: int | None
) -> Iterator[Cluster]:
    """A Ray cluster for the time of a search: one on this machine, reachable from it alone, or the one at `address`.

    Raises `UsageError` when it has no room for a single trial. Leaves no process and no folder behind.
    """
    if address is None and (problem := authentication_problem()) is not None:
        raise UsageError(problem)
    if ray.is_initialized():
        raise UsageError("this process has a Ray session of its own: call ray.shutdown(), or search in another process")
    mask = os.umask(0o077)  # Ray's authentication token is for this user alone
    try:
        with session_folder(None if address else place_for_ray()) as folder, _ray(address, folder):
            os.umask(mask)
            logging.getLogger("ray").setLevel(logging.ERROR)
            fitting = _slots(ray.cluster_resources(), cpus_per_trial, gpus_per_trial)
            slots = min(fitting, max_concurrent or fitting)
            memory = None if address else memory_share(slots)
            yield Cluster(slots, is_full=slots == fitting, folder=folder, memory_per_trial=memory)
    finally:
        os.umask(mask)


@contextmanager
def _ray(address: str | None, folder: Path) -> Iterator[None]:
    try:
        if address is None:
            with _loopback_only():
                ray.init(
                    address="local",
                    num_cpus=available_cores(),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder / RAY),  # Ray opens its folder to everybody; the one around it stays ours
                    _node_ip_address="127.0.0.1",
                )
            _make_token_private()
        else:
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except ConnectionError as error:
                raise UsageError(f"no Ray cluster answers at {address!r}: start one, or leave out --address") from error
        yield
    finally:
        ray.shutdown()


@contextmanager
def _loopback_only() -> Iterator[None]:
    """Keep Ray's sockets off the network. On Linux it replaces 127.0.0.1 by an outside address, which opens them all.

    Where Ray allows no clusters (macOS and Windows, as it is installed) it leaves the address alone.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _make_token_private() -> None:
    """Ray writes its authentication token once per user, readable by all if another program made it write it."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    with suppress(OSError):  # the token may be somebody else's, or in the environment
        token.chmod(0o600)


def run_trials(
    source: TrialSource, cluster: Cluster, cpus_per_trial: int, gpus_per_trial: float, stopping: Callable[[], bool]
) -> None:
    """Run trials until `source` has no more, or `stopping` says so and those that run have saved themselves.

    Raises whatever `source` raised: Ray Tune would swallow it and leave the trial running for ever.
    """
    limit = cluster.slots + (QUEUED_AHEAD if cluster.is_full else 0)
    searcher = _StudySearcher(source, limit, stopping, cluster)
    # Otherwise Ray Tune starts one actor at a time, each importing torch for seconds before the next one begins.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(limit)
    resources = {"cpu": cpus_per_trial, **({"gpu": gpus_per_trial} if gpus_per_trial else {})}
    tuner = tune.Tuner(
        tune.with_resources(_ray_trial, resources),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="max",
            search_alg=searcher,
            scheduler=_AskingScheduler(searcher),
            num_samples=-1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(cluster.folder / "tune"),
            name="trials",
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            stop=_StopWhenTold(stopping, searcher),
        ),
    )
    tuner.fit()
    if searcher.error is not None:
        raise searcher.error


@cache
def _freeze_imports() -> None:
    """Have the garbage collector pass by what is there already, once per process.

    The collection at the end of every trial looks at it otherwise: 0.2 s, a fifth of a short trial.
    """
    gc.collect()
    gc.freeze()


def _ray_trial(config: dict[str, Any]) -> None:
    """The function that Ray Tune runs in an actor. A trial that the scheduler stops ends inside `tune.report`."""
    _freeze_imports()

    def report(metrics: dict[str, Any]) -> Signal:
        tune.report(metrics)
        return Signal.CONTINUE

    result = run_trial(TrialConfig.model_validate_json(config["trial"]), report)
    tune.report({METRIC: result.get("metrics", {}).get(METRIC, 0.0), "result": json.dumps(result)})


class _NotPickled:
    """Ray Tune pickles its searcher and stopper so that a run can be restored; ours is resumed from its database."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _StudySearcher(_NotPickled, Searcher):
    """Hands trials from a `TrialSource` to Ray Tune, at most `limit` at a time, those that wait for a slot included."""

    def __init__(self, source: TrialSource, limit: int, stopping: Callable[[], bool], cluster: Cluster) -> None:
        super().__init__(metric=METRIC, mode="max")
        self.error: BaseException | None = None
        self.live: dict[str, TrialConfig] = {}
        self._source = source
        self._limit = limit
        self._stopping = stopping
        self._cluster = cluster

    def suggest(self, trial_id: str) -> Any:
        if self.error is not None or self._stopping():
            return Searcher.FINISHED
        if len(self.live) >= self._limit:
            return None
        with self._keeping_errors():
            config = self._source.next_trial()
            if config is not None:
                memory = self._cluster.memory_per_trial if config.memory_bytes is None else config.memory_bytes
                config = config.model_copy(update={"memory_bytes": memory, "scratch": str(self._cluster.folder)})
                self.live[trial_id] = config
                return {"trial": config.model_dump_json(), "number": config.number, "role": config.role}
        return Searcher.FINISHED

    def goes_on(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether a trial that has reported this is to go on."""
        if "result" not in result and trial_id in self.live:
            with self._keeping_errors():
                return self._source.reported(self.live[trial_id], result)
        return True

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False, **_: Any
    ) -> None:
        config = self.live.pop(trial_id, None)
        if config is None:
            return
        with self._keeping_errors():
            self._source.ended(config, _ending(result, error))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study database is the state. Ray's own `restore` refuses, as it should."""

    @contextmanager
    def _keeping_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  raised again by run_trials
            self.error = self.error or error


def _ending(result: dict[str, Any] | None, error: bool) -> dict[str, Any]:
    """How a trial ended, from the last that Ray Tune heard of it."""
    if error:
        reason = (
            f"its process was killed or crashed {MAX_FAILURES + 1} times: if by lack of memory, set --memory-per-trial"
        )
        return {"status": "failed", "reason": reason}
    if result is None:
        return {"status": "failed", "reason": "it ended without a report"}
    if "result" in result:
        ending: dict[str, Any] = json.loads(result["result"])
        return ending
    return {"status": "stopped", "metrics": {key: result[key] for key in _REPORTED if key in result}}


_REPORTED = (
    "validation_accuracy",
    "validation_loss",
    "train_accuracy",
    "generalization_gap",
    "train_seconds",
    "training_flops",
    "compute",
    "parameters",
    "num_events",
    "progress",
    "trial_seconds",
    "forked_from",
    "forked_at_step",
    "saved_seconds",
    "saved_flops",
)


class _AskingScheduler(FIFOScheduler):
    """Passes every report on and stops the trials that are told to stop."""

    def __init__(self, searcher: _StudySearcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        goes_on = self._searcher.goes_on(trial.trial_id, result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)


class _StopWhenTold(_NotPickled, tune.Stopper):
    """Ends the Tune run when a stop was asked for and the running trials have saved themselves, or took too long."""

    def __init__(self, stopping: Callable[[], bool], searcher: _StudySearcher) -> None:
        self._stopping = stopping
        self._searcher = searcher
        self._deadline: threading.Timer | None = None
        self._expired = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._searcher.error is not None:
            return True
        if not self._stopping():
            return False
        if self._deadline is None:
            self._deadline = threading.Timer(STOP_WAIT_SECONDS, self._expire)
            self._deadline.daemon = True
            self._deadline.start()
        return self._expired or not self._searcher.live

    def _expire(self) -> None:
        self._expired = True


def _slots(resources: Mapping[str, float], cpus: int, gpus: float) -> int:
    slots = int(resources.get("CPU", 0) // cpus)
    if gpus:
        # Fractions of one GPU each: 4 x 0.25 fit on it, 3 x 0.3 do too.
        per_gpu = int(1 / gpus + 1e-9) if gpus <= 1 else 1 / gpus
        slots = min(slots, int(resources.get("GPU", 0) * per_gpu))
    if slots < 1:
        raise UsageError(
            f"no room for a trial of {cpus} CPUs and {gpus:g} GPUs: the cluster has {resources.get('CPU', 0):g} CPUs "
            f"and {resources.get('GPU', 0):g} GPUs; ask for less per trial"
        )
    return slots
