"""Commands run in this process, in an empty folder of their own."""

import shutil
import signal

import pytest

from autogrow.study.run_folder import RunFolder

from ..study.finished_run import make_finished_run


@pytest.fixture(autouse=True)
def in_the_workplace(workplace):
    """Every test here runs in it."""


@pytest.fixture(autouse=True)
def signal_handlers():
    """`train` listens to signals for the rest of its process, which is that of all tests here."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def contents(folder):
    """Every file of a folder with what it holds, and every folder in it."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def refused(autogrow, workplace):
    """Runs a command that must be refused, in one line and with nothing left behind; gives the line."""

    def check(*arguments):
        before = contents(workplace)
        quiet = ["--quiet"] if arguments[:1] == ("search",) and "--quiet" not in arguments else []  # else it says more
        code, out, err = autogrow(*arguments[:1], *quiet, *arguments[1:])
        assert (code, out) == (2, "")
        assert err.startswith("autogrow: error: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert contents(workplace) == before
        return err

    return check


@pytest.fixture(scope="session")
def made_run(tmp_path_factory, data_dir):
    return make_finished_run(tmp_path_factory.mktemp("run") / "done", data_dir)


@pytest.fixture
def finished_run(made_run, workplace):
    """``results/done``, as a search leaves it."""
    path = workplace / "results" / "done"
    shutil.copytree(made_run.path, path)
    return RunFolder(path)


@pytest.fixture
def policy_file(workplace):
    path = workplace / "policy.yaml"
    path.write_text(
        "format: autogrow-policy/1\ninitial_fraction: 0.5\ntrigger: {kind: schedule, every: 5}\ntraining: {epochs: 2}\n"
    )
    return path
