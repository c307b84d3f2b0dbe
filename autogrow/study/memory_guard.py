"""Keeps a trial from taking the memory of its machine: its allocations fail first, and say how much they asked for.

On the CPU of a Linux machine the process's data segment (RLIMIT_DATA, which counts private writable mappings) may grow
by the trial's share, so that PyTorch's allocator raises and nobody else notices. On a GPU PyTorch limits itself.
Elsewhere there is no guard: the kernel ends the process, and the trial is tried again.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from autogrow.errors import message_of
from autogrow.study.trial_result import FailedTrial, OutOfMemory

USABLE_SHARE = 0.9
"""Of the memory that is available, the rest being left to the driver, Ray and everybody else."""
_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50, "EiB": 2**60}
_ASKED = (
    re.compile(r"tried to allocate (\d+(?:\.\d+)?) ?(bytes|[KMGT]?iB)?", re.IGNORECASE),  # PyTorch, CPU and CUDA
    re.compile(r"Unable to allocate (\d+(?:\.\d+)?) (bytes|[KMGTPE]?iB)"),  # NumPy
)
_SIGNS = ("can't allocate memory", "not enough memory", "bad_alloc", "CUDA out of memory", "could not create a memory")


class MemoryLimit:
    """A trial's limit, and how much it has taken of it."""

    def __init__(self, num_bytes: int | None, device: str) -> None:
        self.num_bytes = num_bytes if device == "cpu" and sys.platform.startswith("linux") else None
        self._device = device
        self._before = _data_bytes()

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Limit what this process may allocate inside the block beyond what it had before."""
        if self.num_bytes is None:
            yield
            return
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limits = [self._before + self.num_bytes, *(each for each in (soft, hard) if each != resource.RLIM_INFINITY)]
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))

    def exceeded(self, error: BaseException, parameters: int | None) -> FailedTrial:
        """The result of a trial that ran out of memory: the reason in words, and its size.

        Called while the trial's memory is still taken, as it is where the error is caught.
        """
        taken = torch.cuda.memory_allocated() if self._device == "cuda" else max(_data_bytes() - self._before, 0)
        asked = asked_bytes(error) or 0
        words = f"out of memory: {_mebibytes(taken)} taken, {_mebibytes(asked)} more asked for"
        if self.num_bytes is not None:
            words += f", a trial may take {_mebibytes(self.num_bytes)}"
        if parameters is not None:
            words += f", {parameters:,} parameters"
        return FailedTrial(
            reason=f"{words}; bound networks with --max-memory, or run fewer at a time with --max-concurrent",
            infeasible=OutOfMemory(memory_bytes=taken + asked, parameters=parameters),
        )


def memory_share(num_slots: int) -> int | None:
    """What each of `num_slots` trials may take of the memory that is available now; None where that cannot be known."""
    available = available_bytes()
    return None if available is None else int(available * USABLE_SHARE) // num_slots


def available_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory that could be allocated without swapping, within the control groups that this process is in."""
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return min([available, *_cgroup_rooms(proc, cgroups)])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what caused it, is an allocation that failed."""
    return any(
        isinstance(each, MemoryError | torch.OutOfMemoryError)
        or (isinstance(each, RuntimeError) and any(sign in message_of(each) for sign in _SIGNS))
        for each in _with_causes(error)
    )


def asked_bytes(error: BaseException) -> int | None:
    """How much the failed allocation asked for, where the message says so."""
    for each in _with_causes(error):
        for pattern in _ASKED:
            if match := pattern.search(message_of(each)):
                unit = "" if match[2] in (None, "bytes") else match[2]
                return int(float(match[1]) * _UNITS[unit])
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from; somebody else's may come from itself."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _data_bytes() -> int:
    """Private writable memory of this process, as the limit counts it; 0 where that cannot be known."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"


def _cgroup_rooms(proc: Path, cgroups: Path) -> Iterator[int]:
    """What is left in each memory control group around this process: of version 2, or 1."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root, limit, usage, cache = cgroups, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit = cgroups / "memory", "memory.limit_in_bytes"
            usage, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            if not group.is_relative_to(root):
                break
            with suppress(OSError, ValueError):  # "max", and groups of another namespace, which are not to be seen
                used = int((group / usage).read_text()) - _statistic(group / "memory.stat", cache)
                yield max(int((group / limit).read_text()) - used, 0)


def _statistic(path: Path, name: str) -> int:
    """A number of memory.stat; file pages that were not used lately are given back when they are needed."""
    for line in path.read_text().splitlines():
        if line.startswith(f"{name} "):
            return int(line.split()[1])
    return 0
