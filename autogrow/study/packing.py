"""How many trials share a GPU best: measured, by training the network at full width in 1, 2, 4, ... processes.

``python -m autogrow.study.packing SECONDS`` is one of those processes. It takes a trial on its standard input, says
when it has warmed up, waits for a word so that all begin together, and says what it trained per second.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autogrow.errors import UsageError, one_line
from autogrow.models.building import ModelSpec
from autogrow.policy.presets import static_policy
from autogrow.study.settings import SearchSettings
from autogrow.study.trial import run_trial
from autogrow.study.trial_config import TrialConfig
from autogrow.study.trial_result import StoppedTrial, TrialReport
from autogrow.training.ending import Signal

MOST_TRIALS = 16
LEAST_GAIN = 1.1
"""How much more twice as many trials must train together: each of them has half the memory and takes longer."""
WARM_UP_REPORTS = 3
MEASURED_SECONDS = 5.0
STEPS_PER_REPORT = 20


@dataclass(frozen=True)
class Packing:
    """How many trials share one GPU."""

    num_trials: int
    gain: float
    """What they train together, relative to one trial alone."""

    @property
    def share(self) -> float:
        """GPUs per trial."""
        return 1 / self.num_trials

    def __str__(self) -> str:
        if self.num_trials == 1:
            return "one trial per GPU: two train no more together than one"
        return f"{self.num_trials} trials per GPU: together they train {self.gain:.1f} times as much as one"


def best_packing(rate: Callable[[int], float | None], most: int = MOST_TRIALS) -> Packing:
    """Double the trials as long as that pays.

    Args:
        rate: What a number of trials train per second together, in any unit; None where they do not fit.

    Raises `UsageError` when not even one does.
    """
    alone = rate(1)
    if alone is None:
        raise UsageError(
            "the network does not train on the GPU alone: give --gpus-per-trial a number to see the reason"
        )
    best = Packing(1, 1.0)
    while 2 * best.num_trials <= most:
        together = rate(2 * best.num_trials)
        if together is None or together < LEAST_GAIN * best.gain * alone:
            break
        best = Packing(2 * best.num_trials, together / alone)
    return best


def measure_packing(
    settings: SearchSettings, model: ModelSpec, device: str = "cuda", most: int = MOST_TRIALS
) -> Packing:
    """The best packing of a search's trials, at most as many as there are cores for."""
    return best_packing(lambda number: measured_rate(settings, model, number, device), most)


def measured_rate(
    settings: SearchSettings, model: ModelSpec, num_trials: int, device: str, seconds: float = MEASURED_SECONDS
) -> float | None:
    """Shares of a whole training that `num_trials` trials do per second together; None if one of them fails."""
    command = [sys.executable, "-m", "autogrow.study.packing", str(seconds)]
    pipes: Mapping[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        processes = []
        for number in range(num_trials):
            process = stack.enter_context(subprocess.Popen(command, text=True, **pipes))
            stack.callback(process.kill)
            processes.append(process)
            config = _trial(settings, model, Path(folder) / str(number), device, num_trials)
            _say(process, config.model_dump_json())
        if any(_heard(process) != "ready" for process in processes):
            return None
        for process in processes:
            _say(process, "go")
        rates = [_heard(process) for process in processes]
        return sum(map(float, rates)) if all(rates) else None


def _say(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has died, which reading its answer will show
        process.stdin.write(line + "\n")
        process.stdin.flush()


def _heard(process: "subprocess.Popen[str]") -> str:
    """A line of a process; empty if it has ended."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _trial(settings: SearchSettings, model: ModelSpec, folder: Path, device: str, num_trials: int) -> TrialConfig:
    """A training of the network at full width that does not end by itself."""
    training = settings.training.model_copy(update={"epochs": 100_000, "sample_every": STEPS_PER_REPORT})
    return TrialConfig.of(
        settings,
        model,
        number=0,
        role="packing",
        policy=static_policy(),
        training=training,
        device=device,
        gpu_memory_fraction=1 / num_trials if device == "cuda" else None,
        folder=str(folder / "0"),
        interrupt_file=str(folder / "interrupt"),
        num_reports=10**9,
    )


def _answer(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _Watch:
    """Lets a trial warm up and wait for the others, and then train for some seconds."""

    def __init__(self, seconds: float) -> None:
        self.rate = 0.0
        self._seconds = seconds
        self._reports = 0
        self._began = 0.0
        self._progress = 0.0

    def __call__(self, report: TrialReport) -> Signal:
        self._reports += 1
        if self._reports == WARM_UP_REPORTS:
            _answer("ready")
            sys.stdin.readline()
            self._began, self._progress = time.monotonic(), report.progress
        elif self._reports > WARM_UP_REPORTS:
            elapsed = time.monotonic() - self._began
            self.rate = (report.progress - self._progress) / elapsed
            if elapsed >= self._seconds:
                return Signal.STOP
        return Signal.CONTINUE


def main() -> None:
    config = TrialConfig.model_validate_json(sys.stdin.readline())
    watch = _Watch(float(sys.argv[1]))
    result = run_trial(config, watch)
    if not isinstance(result, StoppedTrial):
        sys.exit(one_line(RuntimeError(getattr(result, "reason", None) or result.status)))
    _answer(str(watch.rate))


if __name__ == "__main__":
    main()
