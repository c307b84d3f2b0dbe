"""Fixtures that every folder of tests may use."""

import gc
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before PyTorch is imported: threads of several workers that wait for each other on the same cores cost three times
    # the whole suite's time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402
from sqlalchemy import event  # noqa: E402
from sqlalchemy.engine import Engine  # noqa: E402

# Where processes share the cores, how long one example took says nothing.
settings.register_profile("shared cores", deadline=None)
settings.load_profile("shared cores")
pytest.register_assert_rewrite("tests.processes", "tests.faults.kills")

from autogrow.cli.main import run  # noqa: E402
from autogrow.data import open_dataset  # noqa: E402
from autogrow.study.in_process_executor import InProcessExecutor  # noqa: E402
from tests.processes import Records, Search  # noqa: E402


@event.listens_for(Engine, "connect")
def do_not_wait_for_the_disk(connection, record):
    """A database of a test need not survive a power cut."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


LONGEST_FIRST = (
    "tests/cli/test_reproduce.py",
    "tests/faults/",
    "tests/cli/test_search.py",
    "tests/cli/test_confirm.py",
    "tests/experiments/test_workers.py",
    "tests/study/test_sampling.py",
)
"""Files and folders of tests that take the longest, most of them waiting for processes that they start."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, the others in their order.

    Of several workers, each begins with a stretch of this order and one that has finished takes from the end of
    another's: the first works through the long tests, which wait a lot, beside the others' short ones, which compute.
    Were the long ones last, a worker would be alone with them in the end; and half of a file whose tests share what
    takes minutes to make would be taken by a second worker, which would make it again.
    """

    def place(item: pytest.Item) -> int:
        file = item.nodeid.removeprefix("./")
        return next((number for number, name in enumerate(LONGEST_FIRST) if file.startswith(name)), len(LONGEST_FIRST))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Modules and thousands of tests are objects, too: the collector need not look through them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Training in a test uses one thread: sums are then bit-identical from run to run, and cores stay free."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def autogrow(capsys):
    """Runs a command in this process; gives its exit code and what it printed."""

    def command(*arguments):
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """The data sets that need no files, decoded once."""
    folder = tmp_path_factory.mktemp("decoded-data")
    for name in ("digits", "sine", "friedman", "summation"):
        open_dataset(name, folder)
    return folder


@pytest.fixture
def workplace(tmp_path, data_dir, monkeypatch):
    """An empty folder, now the current one; data and cache lie where the user's environment says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOGROW_DATA", str(data_dir))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(f"{tmp_path}/"):
            del sys.modules[name]  # another test's `mine` is another module


@pytest.fixture
def temporary():
    """Where the processes of a test put temporary files; short, because Ray puts sockets there."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start(workplace, temporary):
    """Starts a search in ``results/run`` of `workplace`; whatever of it runs at the end of the test is killed."""
    searches = []

    def search(*arguments, **options):
        searches.append(Search(["search", "--name", "run", *arguments], workplace, temporary, **options))
        return searches[-1]

    yield search
    for each in searches:
        each.crash()


@pytest.fixture
def trials_here(monkeypatch):
    """Searches run their trials in this process, not on Ray: for whatever an executor has no part in."""
    monkeypatch.setattr("autogrow.study.ray_executor.RayExecutor.of", lambda settings: InProcessExecutor())


@pytest.fixture
def search_here(autogrow, workplace, trials_here):
    """Runs such a search in ``results/run``, in seconds where `start` takes many; gives what `autogrow` does."""

    def search(*arguments):
        return autogrow("search", "--name", "run", *arguments)

    return search


@pytest.fixture
def records(workplace):
    return Records(workplace / "results" / "run")
