"""Several training processes side by side on one device: what they train together, and the memory of each.

``python -m tests.benchmarks.packing DEVICE THREADS SECONDS QUICK`` is one of them. It trains the ResNet of 60 layers,
prints a line when it has warmed up, waits for one on its standard input, so that all begin together, and trains for
so many seconds.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from autogrow.policy.presets import static_policy
from autogrow.policy.records import Sample
from autogrow.training.ending import Signal
from tests.benchmarks.setting import Setting, data_dir_of_user
from tests.benchmarks.table import Row
from tests.benchmarks.timing import in_words
from tests.benchmarks.training_runs import BATCH, Run, epochs_for, first_network, image_data, training

MIB = 2**20
MOST_STEPS = 100_000
"""More than any of them takes: they end by the clock."""


@dataclass(frozen=True)
class Arrangement:
    """So many processes of so many threads each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        processes = f"{self.processes} process{'es' if self.processes > 1 else ''}"
        return f"{processes} of {self.threads} thread{'s' if self.threads > 1 else ''}"


def rows(setting: Setting) -> Iterator[Row]:
    """A row per arrangement; they are measured by turns, and compared with the first within each round."""
    arrangements = setting.choose(
        cpu=[Arrangement(1, 2), Arrangement(1, 1), Arrangement(2, 1)],
        gpu=[Arrangement(number, 1) for number in (1, 2, 4, 8, 16)],
        quick=[Arrangement(1, 1), Arrangement(2, 1)],
    )
    rounds, seconds = setting.choose(cpu=(3, 12.0), gpu=(1, 6.0), quick=(1, 1.0))
    rates: dict[Arrangement, list[float]] = {arrangement: [] for arrangement in arrangements}
    for index in range(rounds):
        for arrangement in arrangements:
            try:
                found = _together(arrangement, seconds, setting)
            except RuntimeError as error:
                yield Row(_what(arrangement, setting), f"failed: {error}", "", None)
                continue
            rates[arrangement].append(sum(each["examples"] / each["seconds"] for each in found))
            if index == rounds - 1:
                text = f"{_compared(rates, arrangement)}; {_memory(found, setting)}"
                yield Row(_what(arrangement, setting), text, "", None)


def _what(arrangement: Arrangement, setting: Setting) -> str:
    return f"{first_network(setting)[0]}, batch {BATCH}: {arrangement}"


def _compared(rates: dict[Arrangement, list[float]], arrangement: Arrangement) -> str:
    first, own = next(iter(rates)), rates[arrangement]
    ratios = [mine / others for mine, others in zip(own, rates[first], strict=False)]
    return f"{in_words(own, 1)} images/s together; {in_words(ratios)} times what {first} did"


def _memory(found: list[dict[str, float]], setting: Setting) -> str:
    if not setting.is_gpu:
        return f"largest process {max(each['resident_bytes'] for each in found) / MIB:.0f} MiB"
    reserved = max(each["reserved_bytes"] for each in found) / MIB
    used = max(each["device_bytes"] for each in found) / MIB
    return (
        f"PyTorch's memory on the GPU {reserved:.0f} MiB per process; the GPU's in use {used / len(found):.0f} MiB each"
    )


def _together(arrangement: Arrangement, seconds: float, setting: Setting) -> list[dict[str, float]]:
    """What each process reports. Raises `RuntimeError` with the last line of the first that fails."""
    command = [sys.executable, "-m", __name__, setting.device.type, str(arrangement.threads), str(seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(arrangement.threads)}
    with ExitStack() as stack:
        processes = []
        for _ in range(arrangement.processes):
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = subprocess.Popen([*command, str(setting.quick)], text=True, env=environment, **pipes)
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in processes:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(_last_line(process.stderr.read()))
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        return [_report(process) for process in processes]


def _report(process: subprocess.Popen[str]) -> dict[str, float]:
    output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(_last_line(errors))
    report: dict[str, float] = json.loads(output)
    return report


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["a process ended without a word"])[-1]


def train_beside_others(setting: Setting, seconds: float) -> None:
    """One process: warm up, wait for the word, train until the time is over, report."""
    steps = setting.choose(cpu=2, gpu=50, quick=1)
    data = image_data(setting, "cifar100", setting.choose(cpu=5000, gpu=None, quick=256))
    first: Sample | None = None
    last: Sample | None = None
    begun = 0.0

    def watch(sample: Sample) -> Signal:
        nonlocal first, last, begun
        if first is None:
            print("ready", flush=True)
            sys.stdin.readline()
            first, begun = sample, time.perf_counter()
            return Signal.CONTINUE
        last = sample
        return Signal.STOP if time.perf_counter() - begun > seconds else Signal.CONTINUE

    settings = training(epochs_for(MOST_STEPS, data), steps, read_examples=1)
    Run(first_network(setting)[1], data, setting.device).trainer(static_policy(), settings, watch).run()
    assert first is not None and last is not None
    report = {
        "examples": (last.step - first.step) * BATCH,
        "seconds": last.train_seconds - first.train_seconds,
        **_memory_now(setting),
    }
    print(json.dumps(report))


def _memory_now(setting: Setting) -> dict[str, float]:
    """Bytes: resident at most, reserved by PyTorch on the GPU at most, and in use on the GPU by all processes."""
    found = {"resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0}
    if setting.is_gpu:
        free, total = torch.cuda.mem_get_info(setting.device)
        found |= {
            "reserved_bytes": float(torch.cuda.max_memory_reserved(setting.device)),
            "device_bytes": float(total - free),
        }
    return found


if __name__ == "__main__":
    device, threads, duration, quick = sys.argv[1:]
    torch.set_num_threads(int(threads))
    train_beside_others(Setting(torch.device(device), quick == "True", data_dir_of_user()), float(duration))
