"""What trains policies on other seeds is killed, a search or a confirmation: the ledger holds for these as well."""

import pytest

from autogrow.study.candidates import Candidates
from autogrow.study.trial_record import TrialRecord, is_replicate
from tests.faults.killed_at import TRIALS_HERE
from tests.faults.kills import KILLED_AT
from tests.processes import LONG, Search, check_ended, wait_until

pytestmark = pytest.mark.slow
TRIALS, SEEDS = 12, 3
RACE = ("--trials", TRIALS, "--seeds-per-policy", SEEDS, "--early-stopping", "none", "--quiet")
QUEUED, REPORTS = 8, 11
"""Controls and first points of the default space, which come before any other seed; reports of a trial on its way."""


def test_a_replicate_goes_on_with_its_seed(start, records, monkeypatch):
    """Without Ray, which has no part in that."""
    monkeypatch.setenv(TRIALS_HERE, "1")
    place = (KILLED_AT, "autogrow.study.driver:Driver.reported", QUEUED * REPORTS + 5)
    code, _, _ = start(*RACE, "--epochs", 4, program=place).end()
    assert code == -9
    lost = [TrialRecord(trial) for trial in running(records)]
    assert [each.replicate_of is not None for each in lost] == [True]
    code, _, err = start(
        "--resume", "--quiet", program=(KILLED_AT, "autogrow.study.driver:Driver.reported", 10**6)
    ).end()
    assert code == 0, err
    check(records, lost)


def test_so_it_does_on_ray(start, records):
    search = start(*RACE, "--space", "quick", *LONG, "--epochs", 25)
    wait_until(lambda: any(is_replicate(each) and records.samples(each.number) for each in running(records)), 600)
    search.crash()
    lost = [each for each in map(TrialRecord, running(records)) if each.root not in records.ended()]
    code, _, err = start("--resume", "--quiet").end(600)
    assert code == 0, err
    check(records, [each for each in lost if each.replicate_of is not None])


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("autogrow.study.confirmed_seeds:add_seeds", 3),
        ("autogrow.study.study_database:StudyDatabase.add_replicate", 3),
        ("autogrow.study.run_folder:RunFolder.publish", 3),
        ("autogrow.experiments.folder:ExperimentFolder.write_record", 3),
    ],
    ids=lambda each: str(each).rpartition(":")[2],
)
def test_a_confirmation_that_is_killed_loses_and_doubles_nothing(
    place, call, search_here, autogrow, records, workplace, temporary
):
    small = ("--trials", 4, "--epochs", 1, "--train-size", 60, "--model", "mlp", "--model-option", "hidden=[8]")
    assert search_here(*small, "--quiet")[0] == 0
    confirm = ("confirm", "run", "--top", 1, "--seeds", 2, "--threads", 1, "--quiet")
    killed = Search(confirm, workplace, temporary, program=(KILLED_AT, place, call))
    assert killed.end()[0] == -9
    before = confirmed(records)
    assert 1 <= len(before) <= 3
    assert autogrow(*confirm)[0] == 0
    after = confirmed(records)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 2 * 3
    check_ended(records, 4)
    assert search_here("--resume", "--trials", 5, "--quiet")[0] == 0
    assert confirmed(records) == after
    check_ended(records, 5)


def confirmed(records):
    """Which policies a confirmation has told of which seeds."""
    found = [record for record in map(TrialRecord, records.trials()) if record.is_by_confirm]
    return [(record.replicate_of, record.seed) for record in found]


def running(records):
    return [trial for trial in records.trials() if trial.state.name == "RUNNING"]


def check(records, lost):
    """Every trial of the budget has ended, what was lost on its seed; no policy was trained on one seed twice."""
    check_ended(records, TRIALS)
    trials = records.trials()
    for each in lost:
        again = next(record for record in map(TrialRecord, trials) if record.resume_of == each.number)
        assert (again.seed, again.replicate_of, again.root) == (each.seed, each.replicate_of, each.root)
        assert again.trial.state.name == "COMPLETE"
    candidates = Candidates(trials).all
    assert sum(len(each.trials) for each in candidates) == TRIALS
    for each in candidates:
        seeds = [TrialRecord(trial).seed for trial in each.trials]
        assert seeds == list(range(len(seeds)))
        assert len(seeds) <= SEEDS
