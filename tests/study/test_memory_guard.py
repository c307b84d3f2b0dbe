"""A trial's limit of memory: what is available, what is an error of memory, and that only the trial is limited."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from autogrow.study.memory_guard import MemoryLimit, asked_bytes, available_bytes, is_out_of_memory, memory_share

pytestmark = pytest.mark.slow

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is only limited on Linux")
GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    """What Linux says of a machine with 8 GiB available, and of a process in a group with a limit."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"

    def write(groups="", **files):
        (proc / "self").mkdir(parents=True, exist_ok=True)
        (proc / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {8 * 2**20} kB\n")
        (proc / "self" / "cgroup").write_text(groups)
        for name, content in files.items():
            path = cgroups / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return available_bytes(proc, cgroups)

    return write


def test_what_is_available_is_what_the_machine_has(machine):
    assert machine() == 8 * GIB


def test_a_control_group_allows_less(machine):
    files = {
        "a/b/memory.max": f"{4 * GIB}",
        "a/b/memory.current": f"{3 * GIB}",
        "a/b/memory.stat": f"inactive_file {GIB}\n",
    }
    # Pages of files that were not used lately are given back when they are needed.
    assert machine("0::/a/b\n", **files) == 2 * GIB


def test_so_does_one_around_it(machine):
    files = {"a/memory.max": f"{2 * GIB}", "a/memory.current": f"{GIB}", "a/memory.stat": "anon 1\n"}
    inner = {"a/b/memory.max": "max", "a/b/memory.current": "0", "a/b/memory.stat": ""}
    assert machine("0::/a/b\n", **files, **inner) == GIB


def test_and_one_of_the_older_kind(machine):
    files = {
        "memory/a/memory.limit_in_bytes": f"{3 * GIB}",
        "memory/a/memory.usage_in_bytes": f"{GIB}",
        "memory/a/memory.stat": "total_inactive_file 0\n",
    }
    assert machine("4:cpu:/x\n3:memory:/a\n", **files) == 2 * GIB


def test_elsewhere_nothing_is_known(tmp_path):
    assert available_bytes(tmp_path) is None


@linux
def test_trials_share_what_is_available():
    alone, four = memory_share(1), memory_share(4)
    assert alone is not None and four is not None
    assert 0 < four < alone <= available_bytes() * 1.05


@pytest.mark.parametrize(("error", "is_one", "asked"), [
    (MemoryError(), True, None),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has"), True, int(2.5 * GIB)),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 512 bytes."), True, 512),
    (RuntimeError("could not create a memory object"), True, None),
    (np._core._exceptions._ArrayMemoryError((2**20,), np.dtype("float64")), True, 8 * 2**20),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, None),
    (ValueError("can't allocate memory"), False, None),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_what_is_an_error_of_memory(error, is_one, asked):
    assert is_out_of_memory(error) is is_one
    if is_one:
        assert asked_bytes(error) == asked


def test_an_error_that_memory_caused_is_one():
    error = RuntimeError("growing failed")
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error)


@linux
def test_only_what_is_inside_is_limited():
    """In a process of its own, because the limit holds for a whole process."""
    program = """
import torch
from autogrow.study.memory_guard import MemoryLimit
limit = MemoryLimit(256 * 2**20, "cpu")
with limit.enforced():
    small = torch.zeros(2**24)
    try:
        torch.zeros(2**30)
    except RuntimeError as error:
        result = limit.exceeded(error, 1234)
large = torch.zeros(2**28)
print(result.infeasible, result.reason)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "parameters=1234" in done.stdout
    assert "a trial may take 256 MiB, 1,234 parameters; bound networks with --max-memory" in done.stdout
    assert "4,096 MiB more asked for" in done.stdout


def test_on_a_gpu_pytorch_limits_itself():
    with MemoryLimit(1, "cuda").enforced():
        assert torch.zeros(2**20).sum() == 0
