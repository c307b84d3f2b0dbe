"""Has a search's trials run on Ray, in a process of Ray's own, and outlives whatever happens to that.

Nothing that matters is kept there: when a part of Ray dies, all of it is ended, and the trials that ran go on in a new
one from their checkpoints. The driver never waits for Ray without listening to its user.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autogrow.errors import ClusterError, UsageError
from autogrow.study.executor import Host, TrialSource
from autogrow.study.memory_guard import memory_share
from autogrow.study.ray_channel import Channel, Message
from autogrow.study.session_folder import RAY, authentication_problem, place_for_ray, session_folder
from autogrow.study.settings import SearchSettings, available_cores
from autogrow.study.trial import device_problem
from autogrow.study.trial_config import TrialConfig
from autogrow.study.trial_result import FailedTrial, TrialReport, TrialResult, result_from_json

PROGRAM = (
    "import json, sys; sys.path[:], sys.argv[0] = json.loads(sys.argv[2]), sys.argv[3]; "
    "from autogrow.study.ray_process import main; main(int(sys.argv[1]))"
)
CONNECT_SECONDS = 5.0
LISTEN_SECONDS = 0.2
"""How often the driver looks after its signals, budgets and trials while Ray says nothing."""
MOST_LOSSES = 3
"""How often in a row Ray may end without that a trial has."""
LEAVE_SECONDS = 5.0
"""How long Ray may take to end by itself when there is nothing more to do."""
HEED_SECONDS = 30.0
"""How long Ray may take to end the process of a trial that is to fail."""


@dataclass(frozen=True)
class Resources:
    """What a search's trials run on."""

    address: str | None
    """Of a Ray cluster to join; None starts one on this machine."""
    cpus_per_trial: int
    gpus_per_trial: float
    max_concurrent: int | None


class RayExecutor:
    """An `Executor` on Ray."""

    preparation: str | None = "starting Ray"

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    @classmethod
    def of(cls, settings: SearchSettings) -> "RayExecutor":
        """On what the settings of a search ask for."""
        return cls(
            Resources(settings.address, settings.cpus_per_trial, settings.gpus_per_trial, settings.max_concurrent)
        )

    def check(self, settings: SearchSettings) -> None:
        """Raise `UsageError` where Ray cannot be started here, or the cluster to join does not answer."""
        address = self._resources.address
        if address is None:
            problem = authentication_problem() or device_problem(settings.gpus_per_trial)
        else:
            problem = address_problem(address)
        if problem is not None:
            raise UsageError(problem)
        if address is None:
            place_for_ray()

    def run(self, source: TrialSource) -> None:
        """Run trials until `source` has no more, or is stopping and those that run have saved themselves.

        Raises whatever `source` raises, `UsageError` when there is no cluster or it has no room for a single trial,
        and `ClusterError` when it is lost: one that was joined, or one that is lost again and again. No process and
        no folder is left behind.
        """
        resources = self._resources
        if resources.address is None and (problem := authentication_problem()) is not None:
            raise UsageError(problem)
        in_a_row = 0
        while True:
            place = place_for_ray() if resources.address is None else None
            with session_folder(place) as folder, RayProcess(resources, folder) as process:
                session = _Session(source, resources, process, folder)
                reason = session.run()
            if reason is None:
                return
            session.fail_hanging()
            in_a_row = 1 if session.num_ended else in_a_row + 1
            error = _given_up(resources, in_a_row, reason)
            source.cluster_lost(reason, goes_on=error is None)
            if source.stopping():
                return
            if error is not None:
                raise error


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


def _given_up(resources: Resources, in_a_row: int, reason: str) -> ClusterError | None:
    """Why there is to be no new Ray after one that was lost for that reason."""
    if resources.address is not None:
        return ClusterError(
            f"the Ray cluster at {resources.address} is lost ({reason}): trials are saved as of their last "
            "checkpoints; go on with --resume when it is back, or with another --address"
        )
    if in_a_row == MOST_LOSSES:
        return ClusterError(
            f"Ray ended {MOST_LOSSES} times in a row before a trial had ({reason}): trials are saved as of their "
            "last checkpoints; mend that, then go on with --resume"
        )
    return None


class RayProcess:
    """The process in which Ray runs: see `autogrow.study.ray_process`. When the block ends, so has it."""

    def __init__(self, resources: Resources, folder: Path) -> None:
        ours, theirs = Pipe()
        with theirs, (folder / "ray.log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(theirs.fileno()), json.dumps(sys.path), sys.argv[0]],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,  # Ray's authentication token is for this user alone
            )
        self._connection = ours
        self._channel = Channel(ours)
        job = {"num_cores": available_cores(), "folder": str(folder), "ray": RAY, **vars(resources)}
        with suppress(OSError):  # hearing of it says why
            self._channel.say("job", **job)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()

    def say(self, word: str, **content: Any) -> None:
        with suppress(OSError):  # it has died, which hearing of it says
            self._channel.say(word, **content)

    def hear(self, timeout_seconds: float) -> Message | None:
        """The next message; None if there is none in that time. That the process has died is one too."""
        try:
            return self._channel.hear(timeout_seconds)
        except EOFError:
            code = self._process.wait()
            return {"word": "lost", "reason": f"its process ended with {f'signal {-code}' if code < 0 else code}"}

    def leave(self) -> None:
        """Give it time to end by itself."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVE_SECONDS)


class _Session:
    """A Ray process's time: what it asks is answered until it has finished or is lost."""

    def __init__(self, source: TrialSource, resources: Resources, process: RayProcess, folder: Path) -> None:
        self.num_ended = 0
        self._source = source
        self._is_local = resources.address is None
        self._process = process
        self._live: dict[int, TrialConfig] = {}
        self._failing: dict[int, tuple[str, float]] = {}
        """Trials whose processes are being ended: why, and since when."""
        self._host = Host(scratch=str(folder))
        self._answers: dict[str, Callable[[Message], None]] = {
            "ready": self._ready,
            "next": self._next,
            "started": lambda message: self._source.started(self._live[message["number"]]),
            "reported": self._reported,
            "ended": self._ended,
        }

    def run(self) -> str | None:
        """Answer until there is nothing more to do; why Ray was lost before, if it was."""
        is_told = is_ready = False
        while True:
            if self._source.stopping() and not is_told:
                if not is_ready:
                    return None
                self._process.say("stop")
                is_told = True
            if self._source.out_of_patience():
                return None
            if (reason := self._end_hanging()) is not None:
                return reason
            message = self._process.hear(LISTEN_SECONDS)
            if message is None:
                continue
            word = message["word"]
            is_ready = is_ready or word == "ready"
            if word == "finished":
                self._process.leave()
                return None
            if word == "refused":
                raise UsageError(message["reason"])
            if word == "lost":
                return str(message["reason"])
            self._answers[word](message)

    def fail_hanging(self) -> None:
        """Record the ends of trials whose processes were being ended when Ray was."""
        for number, (reason, _) in list(self._failing.items()):
            self._end(number, FailedTrial(reason=reason))

    def _ready(self, message: Message) -> None:
        # The memory of a cluster is not known here.
        memory = memory_share(message["slots"]) if self._is_local else None
        self._host = replace(self._host, memory_bytes=memory)
        self._source.cluster_started(message["slots"])

    def _next(self, message: Message) -> None:
        # Asked before it could hear that the search stops: the end of the trial before may have been the reason.
        config = None if self._source.stopping() else self._source.next_trial(self._host)
        if config is not None:
            self._live[config.number] = config
        self._process.say("answer", trial=None if config is None else config.model_dump_json())

    def _reported(self, message: Message) -> None:
        report = TrialReport.model_validate_json(message["report"])
        goes_on = self._source.reported(self._live[message["number"]], report)
        self._process.say("answer", goes_on=goes_on)

    def _ended(self, message: Message) -> None:
        self._end(message["number"], result_from_json(message["result"]))

    def _end(self, number: int, result: TrialResult) -> None:
        self._failing.pop(number, None)
        self.num_ended += 1
        self._source.ended(self._live.pop(number), result)

    def _end_hanging(self) -> str | None:
        """Have the processes of trials that hang ended; why Ray is taken for lost if it does not do that."""
        for number, reason in self._source.found_hanging().items():
            self._failing[number] = (reason, time.monotonic())
            self._process.say("fail", number=number, reason=reason)
        if any(time.monotonic() - since > HEED_SECONDS for _, since in self._failing.values()):
            return "it did not end the process of a trial that hangs"
        return None
