"""The Ray cluster of a search, as its Ray process sees it: started or joined, watched, and left."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from autogrow.data.locations import stand_in_for_home

# Read by Ray when it is imported: no banners, no second signal handler, no usage statistics, no memory monitor (one
# kill by it ends a whole Tune run in 2.60), no workers started ahead (Tune's actors have an environment of their own,
# which none of those has: they only took time from the actors' start), results handed on one by one, and time for a
# trial's thread to end (Tune forgets the next trial if it does not).
os.environ.update(
    RAY_AIR_NEW_OUTPUT="0",
    RAY_DEDUP_LOGS="0",
    RAY_TUNE_DISABLE_STRICT_METRIC_CHECKING="1",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    RAY_memory_monitor_refresh_ms="0",
    RAY_prestart_worker_first_driver="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_DISABLE_SIGINT_HANDLER="1",
    TUNE_FUNCTION_THREAD_TIMEOUT_S="60",
    TUNE_GLOBAL_CHECKPOINT_S="3600",
    TUNE_PRINT_ALL_TRIAL_ERRORS="0",
    TUNE_WARN_THRESHOLD_S="60",
)

stand_in_for_home()  # Ray looks for a home folder, too, and ends where there is none

import ray  # noqa: E402
from ray._private import ray_constants  # noqa: E402
from ray._private.node import Node  # noqa: E402

from autogrow.errors import UsageError  # noqa: E402

WATCH_SECONDS = 1.0
UNREACHABLE_SECONDS = 10.0
"""How long a joined cluster may not answer before it counts as gone."""
CONNECT_SECONDS = 3.0
UNUSED_PARTS = ("start_monitor", "start_log_monitor", "start_api_server")
"""What starts processes of Ray's that no search uses: the autoscaler, the copying of logs and, without a dashboard, the
server that it would be on."""


@contextmanager
def ray_cluster(address: str | None, num_cores: int, folder: Path) -> Iterator[None]:
    """A Ray cluster for the time of a search: one on this machine, reachable from it alone, or the one at `address`.

    folder: For what Ray keeps in files.
    """
    try:
        if address is None:
            with _loopback_only(), _without_unused_parts():
                ray.init(
                    address="local",
                    num_cpus=num_cores,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder),  # Ray opens its folder to everybody; the one around it stays ours
                    _node_ip_address="127.0.0.1",
                )
            _make_token_private()
        else:
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except ConnectionError as error:
                raise UsageError(f"no Ray cluster answers at {address!r}: start one, or leave out --address") from error
        logging.getLogger("ray").setLevel(logging.ERROR)
        yield
    finally:
        ray.shutdown()


def fitting_trials(cpus: int, gpus: float) -> int:
    """How many trials that take these CPUs and GPUs fit the cluster. Raises `UsageError` if it has none for one."""
    resources: Mapping[str, float] = ray.cluster_resources()
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


def watch_cluster(address: str | None, lost: Callable[[str], None]) -> None:
    """Look after the cluster from a thread, and call `lost` with the reason once it is gone.

    Ray itself tells its user of a dead raylet never, and of a dead GCS after a minute, by ending the process.
    """
    problem: Callable[[], str | None] = _dead_process if address is None else _Reachable()

    def watch() -> None:
        while (reason := problem()) is None:
            time.sleep(WATCH_SECONDS)
        lost(reason)

    threading.Thread(target=watch, name="watching Ray", daemon=True).start()


def _dead_process() -> str | None:
    """Of the cluster's own processes, which are this one's children."""
    node: Any = ray._private.worker._global_node
    dead = node.dead_processes() if node is not None else []
    return f"{dead[0][0]} ended with {_ending(dead[0][1].returncode)}" if dead else None


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class _Reachable:
    """Whether the processes of a joined cluster can be reached: its control service, and this node's raylet."""

    def __init__(self) -> None:
        self._last_reached = time.monotonic()

    def __call__(self) -> str | None:
        problem = self._problem()
        if problem is None:
            self._last_reached = time.monotonic()
        elif time.monotonic() - self._last_reached > UNREACHABLE_SECONDS:
            return problem
        return None

    def _problem(self) -> str | None:
        node: Any = ray._private.worker._global_node
        if node is None:
            return None
        host, _, port = node.gcs_address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            return f"its control service (GCS) at {node.gcs_address} does not answer: {error.strerror or error}"
        try:
            with socket.socket(socket.AF_UNIX) as raylet:
                raylet.settimeout(CONNECT_SECONDS)
                raylet.connect(node.raylet_socket_name)
        except OSError as error:
            return f"the raylet of this machine does not answer: {error.strerror or error}"
        return None


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


@contextmanager
def _without_unused_parts() -> Iterator[None]:
    """Leave out the `UNUSED_PARTS` of a cluster: three processes that import for seconds while Ray waits for them."""
    # Where a version of Ray calls one otherwise, it is started as ever.
    before = {name: getattr(Node, name) for name in UNUSED_PARTS if hasattr(Node, name)}
    for name in before:
        setattr(Node, name, lambda node, **_: None)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)


def _make_token_private() -> None:
    """Ray writes its authentication token once per user, readable by all if another program made it write it."""
    with suppress(OSError, RuntimeError):  # it may be somebody else's, or in the environment; there may be no home
        token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
        token.chmod(0o600)
