"""What the flags of ``autogrow search`` change in the plan, and in the study."""

import shutil

import pytest
import yaml

from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.sampling import SAMPLERS
from autogrow.study.settings import DEFAULT_SEEDS_PER_POLICY
from autogrow.study.trial_record import TrialRecord

from ..processes import check_ended
from ..study.finished_run import FASTEST, KNEE, MOST_ACCURATE, SMALLEST_GAP
from .test_commands import one_document

pytestmark = pytest.mark.slow

QUICK = ("--space", "quick", "--model", "mlp", "--model-option", "hidden=[16, 16]")


@pytest.fixture
def planned(autogrow):
    """The plan of a search that is not started."""

    def plan(*arguments):
        code, out, err = autogrow("search", *QUICK, "--dry-run", "--json", *arguments)
        assert code == 0, err
        return one_document(out)

    return plan


@pytest.mark.parametrize(
    ("arguments", "name", "default", "value"),
    [
        (["--compute-budget", "1h30m"], "compute_budget_seconds", None, 5400.0),
        (["--time-budget", "90s"], "time_budget_seconds", None, 90.0),
        (["--memory-per-trial", "2G"], "memory_per_trial_bytes", None, 2 * 2**30),
        (["--no-fork-at-growth"], "fork_at_growth", True, False),
        (["--max-consecutive-failures", 9], "max_consecutive_failures", 5, 9),
        (["--seeds-per-policy", 3], "seeds_per_policy", DEFAULT_SEEDS_PER_POLICY, 3),
        *((["--sampler", name], "sampler", "tpe", name) for name, _ in SAMPLERS.items()),
        *((["--early-stopping", name], "early_stopping", "flops", name) for name in ("train_seconds", "none")),
    ],
)
def test_a_flag_changes_its_setting(arguments, name, default, value, planned):
    assert planned()[name] == default
    assert planned(*arguments)[name] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compute-budget", "0"], "not above zero"),
        (["--compute-budget", "much"], "write for example 90s, 30m or 1h30m"),
        (["--memory-per-trial", "lots"], "--memory-per-trial 'lots' is not a size above 0"),
        (["--memory-per-trial", "4K"], "memory_per_trial_bytes is 4096"),
        (["--max-consecutive-failures", "0"], "max_consecutive_failures is 0"),
        (["--seeds-per-policy", "0"], "seeds_per_policy is 0: give a whole number from 1 to 100"),
        (["--seeds-per-policy", "101"], "seeds_per_policy is 101: give a whole number from 1 to 100"),
        (["--sampler", "tpee"], "did you mean 'tpe'"),
        (["--early-stopping", "often"], "'often' is not one of"),
        (["--from", "absent"], "no run at"),
        (["--from", "absent.yaml"], "absent.yaml: cannot read the policy file: No such file"),
        (["--from", "."], "no run at"),
        (["--from", "policy.yaml", "--from", "absent"], "no run at"),
        (["--from", "results/done/config.yaml"], "format is 'autogrow-run/1', expected 'autogrow-policy/1'"),
    ],
)
def test_a_bad_value_is_one_line(arguments, message, refused, policy_file, finished_run):
    assert message in refused("search", *arguments)


class TestFrom:
    def test_the_best_of_a_run_by_every_preference_that_it_has_measured(self, planned, finished_run):
        origins = [entry["origin"] for entry in planned("--from", "done")["warm_start"]]
        best = {MOST_ACCURATE, SMALLEST_GAP, FASTEST, KNEE}
        assert {f"done, trial {number}" for number in best} <= set(origins)
        assert len(origins) == len(set(origins))

    def test_a_policy_file_and_no_policy_twice(self, planned, policy_file, workplace):
        shutil.copy(policy_file, workplace / "again.yaml")
        (entry,) = planned("--from", policy_file, "--from", "again.yaml")["warm_start"]
        assert entry["origin"] == str(policy_file)
        assert entry["policy"]["initial_fraction"] == 0.5

    def test_a_run_in_which_nothing_has_finished_is_one_line(self, refused, finished_run):
        finished_run.database.unlink()
        assert "study.db" in refused("search", "--from", "done")

    def test_it_is_tried_after_the_controls(self, search_here, records, finished_run, policy_file):
        sources = ("--from", "done", "--from", policy_file)
        code, _, err = search_here(
            "--trials", 10, "--seeds-per-policy", 1, "--epochs", 3, *QUICK, *sources, "--quiet"
        )  # fmt: skip
        assert code == 0, err
        check_ended(records, 10)
        origins = [trial.user_attrs.get("origin") for trial in records.trials()]
        assert origins[:3] == [None] * 3
        assert f"done, trial {MOST_ACCURATE}" in origins
        assert str(policy_file) in origins
        for trial in records.trials()[3:]:
            assert trial.user_attrs["role"] == ("transferred" if "origin" in trial.user_attrs else "searched")
        given = records.trials()[origins.index(str(policy_file))]
        assert GrowthPolicy.from_dict(TrialRecord(given).policy).recipe() == expected_recipe(policy_file)
        assert given.state.name in ("COMPLETE", "PRUNED")


def expected_recipe(path):
    fields = yaml.safe_load(path.read_text())
    del fields["training"], fields["format"]
    return GrowthPolicy.from_dict(fields).recipe()


def test_a_compute_budget_ends_a_search_and_says_so(search_here, records):
    code, _, err = search_here("--trials", 500, "--compute-budget", "4s", "--epochs", 4, *QUICK)
    assert code == 0, err
    assert "the compute budget is used up: saving the trials that run" in err
    assert 3 <= len(records.roots()) < 500
    assert "RUNNING" not in records.states()
    assert records.finished()
    before = records.trials()
    code, _, err = search_here("--resume", "--quiet")
    assert code == 0, err
    assert "the compute budget is used up" in err
    assert records.trials() == before  # what was used stays used: nothing more is trained


@pytest.mark.parametrize("sampler", ["gp", "nsga2"])
def test_other_samplers_propose(sampler, search_here, records):
    one_seed = ("--seeds-per-policy", 1)
    code, _, err = search_here("--trials", 9, "--epochs", 2, *QUICK, *one_seed, "--sampler", sampler, "--quiet")
    assert code == 0, err
    check_ended(records, 9)
    assert "FAIL" not in records.states()
    points = [trial.params for trial in records.trials() if trial.user_attrs["role"] == "searched"]
    assert len(points) == 6
    assert all(point and point not in points[:number] for number, point in enumerate(points))
