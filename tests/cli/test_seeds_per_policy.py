"""A search that trains policies on several seeds: small budgets, seeds that come to nothing, runs from before."""

import pytest

from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import STATIC
from autogrow.study import in_process_executor
from autogrow.study.candidates import Candidates
from autogrow.study.trial import run_trial
from autogrow.study.trial_record import TrialRecord, is_replicate
from autogrow.study.trial_result import FailedTrial

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SMALL = ("--train-size", 100, "--epochs", 2, "--model", "mlp", "--model-option", "hidden=[16]", "--quiet")


@pytest.mark.parametrize(("trials", "num_again"), [(4, 0), (9, 1)])
def test_a_budget_smaller_than_a_race_does_what_it_says(trials, num_again, search_here, records):
    code, _, err = search_here("--trials", trials, "--seeds-per-policy", 5, *SMALL)
    assert code == 0, err
    note = (
        f"{trials} trials are too few to train a policy on a second seed (controls and first policies take {trials} of "
        "them): all are trained on seed 0 alone; from --trials 9 on, the best are trained again"
    )
    assert (note in err) is (num_again == 0)
    found = list(map(TrialRecord, records.trials()))
    assert len(found) == trials
    assert [each.seed for each in found if each.replicate_of is not None] == [1] * num_again


def test_a_policy_that_fails_on_one_seed_of_three_is_not_the_best_of_them(
    search_here, records, workplace, autogrow, monkeypatch
):
    best_before = []

    def run_trial_but_for_the_best(config, ask):
        """The best by its first two seeds comes to nothing on the third."""
        if config.seed == 2 and not best_before:
            best_before.append(GrowthPolicy.load(workplace / "results" / "run" / "policy.yaml").found_by["trial"])
        if config.seed == 2 and config.replicate_of in best_before:
            return FailedTrial(reason="the loss became NaN at step 3")
        return run_trial(config, ask)

    monkeypatch.setattr(in_process_executor, "run_trial", run_trial_but_for_the_best)
    code, _, err = search_here("--trials", 14, "--seeds-per-policy", 3, "--early-stopping", "none", *SMALL)
    assert code == 0, err
    failed = [each for each in Candidates(records.trials()).all if each.has_failed]
    assert [each.number for each in failed] == best_before
    assert len(failed[0].finished) == 2
    chosen = GrowthPolicy.load(workplace / "results" / "run" / "policy.yaml").found_by["trial"]
    assert chosen not in best_before
    assert autogrow("export", "run", "--to", "exported.yaml")[0] == 0
    assert GrowthPolicy.load("exported.yaml").found_by["trial"] == chosen
    code, out, _ = autogrow("report", "run")
    assert code == 0
    assert f"best accuracy  {best_before[0]:>6}" not in out


def test_a_search_that_began_without_a_race_goes_on_with_one(search_here, records):
    assert search_here("--trials", 8, *SMALL)[0] == 0
    before = records.finished()
    code, _, err = search_here("--resume", "--trials", 10, "--seeds-per-policy", 3, "--quiet")
    assert code == 0, err
    assert {number: records.finished()[number] for number in before} == before
    new = [trial for trial in records.trials() if trial.number >= 8]
    assert [is_replicate(trial) for trial in new] == [True, True]
    again = [each for each in Candidates(records.trials()).all if len(each.trials) > 1]
    assert all(each.role != STATIC and len(each.trials) <= 3 for each in again)
