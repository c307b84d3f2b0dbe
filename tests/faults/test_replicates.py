"""The driver of a search is killed while it trains policies on other seeds: the ledger holds for these as well."""

import pytest

from autogrow.study.candidates import Candidates
from autogrow.study.trial_record import TrialRecord, is_replicate
from tests.processes import LONG, check_ended, wait_until

pytestmark = pytest.mark.slow
TRIALS, SEEDS = 9, 3


def test_a_replicate_whose_driver_was_killed_goes_on_with_its_seed(start, records):
    search = start("--trials", TRIALS, "--seeds-per-policy", SEEDS, "--space", "quick", *LONG, "--epochs", 25)
    wait_until(lambda: any(is_replicate(t) and records.samples(t.number) for t in running(records)), 600)
    search.crash()
    lost = [TrialRecord(trial) for trial in running(records) if is_replicate(trial)]
    code, _, err = start("--resume").end()
    assert code == 0, err
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


def running(records):
    return [trial for trial in records.trials() if trial.state.name == "RUNNING"]
