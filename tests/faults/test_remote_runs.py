"""A run at a URL: what one machine began, another goes on with."""

import json
import signal

import pytest

from autogrow.study.finding_runs import find_run
from tests.processes import LONG, Records, Search, check_ended, check_nothing_left, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def there(tmp_path):
    """The run, where no machine works on it itself."""
    return Records(tmp_path / "there" / "run")


@pytest.fixture
def search_from(workplace, there, temporary):
    """Starts searches on machines of their own: each has another folder, and other temporary files."""
    searches = []

    def start(machine, *arguments):
        folder, own_temporary = workplace / machine, temporary / machine
        folder.mkdir(exist_ok=True)
        own_temporary.mkdir(exist_ok=True)
        out = f"file://{there.run.parent}"
        arguments = ["search", "--name", "run", "--out", out, "--quiet", *arguments]
        searches.append(Search(arguments, folder, own_temporary))
        return searches[-1]

    yield start
    for search in searches:
        search.crash()


def test_a_machine_dies_and_another_goes_on(search_from, there, temporary, workplace):
    first = search_from("first", "--trials", 3, "--space", "quick", *LONG, "--epochs", 100)
    wait_until(lambda: there.ended() and there.to_resume())
    second = search_from("second", "--resume")
    assert (second.end()[0], first.process.poll()) == (3, None)
    first.crash()
    before, checkpoints = there.finished(), there.to_resume()
    lock = json.loads((there.run / "lock").read_text())
    (there.run / "lock").write_text(json.dumps({**lock, "host": "first", "renewed": lock["renewed"] - 100}))
    second = search_from("second", "--resume")
    code, out, err = second.end()
    assert code == 0, err
    assert f"report       file://{there.run}/report.html" in out
    check_ended(there, 3)
    assert {number: there.finished()[number] for number in before} == before
    resumed = {trial.user_attrs["root"] for trial in there.trials() if "root" in trial.user_attrs}
    assert checkpoints.keys() <= resumed
    for root, step in checkpoints.items():
        assert there.samples(root)[-1]["step"] > step
    assert not list(there.run.rglob("*.pt"))
    assert not list((workplace / "second").iterdir())
    check_nothing_left(second, temporary / "second")
    run = find_run(f"file://{there.run}")
    assert [sample.step for sample in run.trial(0).samples()] == [each["step"] for each in there.samples(0)]


def test_sigterm_saves_there_and_the_search_goes_on_elsewhere(search_from, there, temporary):
    first = search_from("first", "--trials", 3, *LONG, "--epochs", 100)
    wait_until(there.to_resume)
    first.interrupt(signal.SIGTERM)
    code, _, err = first.end()
    assert code == 130, err
    check_nothing_left(first, temporary / "first")
    assert "RUNNING" not in there.states()
    assert there.to_resume()
    code, _, err = search_from("second", "--resume").end()
    assert code == 0, err
    check_ended(there, 3)
