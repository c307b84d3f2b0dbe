"""The driver of a search is killed, at random and at the worst moments: the next one goes on as if nothing had been."""

from importlib import import_module
from operator import attrgetter

import pytest

from autogrow.study.trial_record import TrialRecord
from tests.faults.killed_at import TRIALS_HERE
from tests.faults.kills import AIMED, KilledSearch
from tests.processes import LONG

pytestmark = pytest.mark.slow
TRIALS = 6


@pytest.fixture
def killed(workplace, temporary):
    search = KilledSearch(workplace, temporary, ["--trials", TRIALS, "--space", "quick", *LONG, "--epochs", 60])
    yield search
    search.crash()


def test_three_kills(killed):
    """More of them, at random: ``python -m tests.faults.kills --times 20``."""
    records = killed.records
    assert killed.kill_when(lambda: records.ended() and records.to_resume(), "while a trial trains and one has ended")
    assert "RUNNING" in records.states()
    assert (records.run / "lock").exists()  # the dead driver's, which nobody waits for
    before, checkpoints = records.finished(), records.to_resume()
    trained = {root: up_to(step, records.samples(root)) for root, step in checkpoints.items()}
    assert all(trained.values())
    assert killed.kill_aimed("inside ask")
    assert killed.kill_aimed("between checkpoint and tell")
    killed.finish()
    killed.check(TRIALS)
    after = {trial.number: trial for trial in records.trials()}
    assert {number: after[number] for number in before} == before
    assert checkpoints.keys() <= {trial.user_attrs["root"] for trial in after.values() if "root" in trial.user_attrs}
    for root, step in checkpoints.items():
        # A sample names the seconds trained until then, so equal ones were not trained again.
        assert up_to(step, records.samples(root)) == trained[root]
        assert records.samples(root)[-1]["step"] > step


def test_one_trial_at_a_time_a_killed_search_finds_what_an_undisturbed_one_finds(workplace, temporary, monkeypatch):
    """By accuracy alone, for seconds are other ones every time; without Ray, which has no part in what is proposed."""
    monkeypatch.setenv(TRIALS_HERE, "1")
    alone = ["--trials", 7, "--objectives", "accuracy", "--max-concurrent", 1, "--epochs", 10]
    searches = []
    for name, kills in (("undisturbed", []), ("killed", ["between checkpoint and tell"])):
        (workplace / name).mkdir()
        searches.append(KilledSearch(workplace / name, temporary, alone))
        try:
            assert all(searches[-1].kill_aimed(moment) for moment in kills)
            searches[-1].finish()
        finally:
            searches[-1].crash()
    undisturbed, killed = (found(search.records) for search in searches)
    assert killed == undisturbed
    assert len(killed) == 7


@pytest.mark.parametrize("moment", AIMED)
def test_every_moment_is_one_that_a_driver_comes_to(moment):
    """A function that was renamed is never called, and the long run would kill nothing."""
    module, _, path = AIMED[moment][0].partition(":")
    assert callable(attrgetter(path)(import_module(module)))


def found(records):
    """What was tried, in what order, and how well it did."""
    lines = {trial.user_attrs.get("root", trial.number): trial for trial in records.trials()}
    return [(lines[root].params, TrialRecord(lines[root]).policy, lines[root].values) for root in sorted(lines)]


def up_to(step, samples):
    return [sample for sample in samples if sample["step"] <= step]
