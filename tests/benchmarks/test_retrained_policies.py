"""What was found, trained again: whose policy trains on what with which seed, and how differences are told."""

from concurrent.futures import Future
from dataclasses import replace

import pytest

from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.training.evaluation import Metrics
from tests.benchmarks import retrained_policies
from tests.benchmarks.retrained_policies import FIRST_SEED, UNITS, Finds, Run, _rows_of, trained


class AtOnce:
    """Stands in for a pool of processes."""

    def submit(self, function, run):
        future = Future()
        future.set_result(function(run))
        return future


def policy(fraction):
    return GrowthPolicy(initial_fraction=fraction).model_dump(mode="json", exclude={"found_by"})


@pytest.fixture
def runs(monkeypatch):
    """Every run that was trained; a run's accuracy is its policy's start, and a tenth of its seed's last digit."""
    seen = []

    def read(run):
        seen.append(run)
        start = run.widths["share"] if run.policy is None else run.policy["initial_fraction"]
        score = start / 2 + run.seed % 10 / 100
        return Metrics(1 - score, score), Metrics(1 - score, score)

    monkeypatch.setattr(retrained_policies, "trained", read)
    return seen


ONE_SEED = [policy(0.75), policy(0.25)]
HERE = Finds("digits", None, UNITS["accuracy"], 4, [policy(0.75), policy(1.0)], ONE_SEED, [{"share": 0.375}])
THERE = Finds("mnist", 500, UNITS["accuracy"], 4, [policy(0.125)], [policy(0.125)], [])


def test_seeds_that_no_search_used_take_turns_among_the_finds(runs):
    retrained_policies._rows_of(HERE, [HERE, THERE], AtOnce())
    assert {(run.dataset, run.train_size) for run in runs} == {("digits", None)}
    assert {run.seed for run in runs} == set(range(FIRST_SEED, FIRST_SEED + 4))
    own = [run.policy["initial_fraction"] for run in runs if run.policy in HERE.confirmed]
    assert own == [0.75, 1.0, 0.75, 1.0]
    assert [run.seed for run in runs if run.widths] == list(range(FIRST_SEED, FIRST_SEED + 4))


def test_what_two_kinds_have_in_common_is_trained_once(runs):
    rows = {row.what: row.measured for row in _rows_of(HERE, [HERE], AtOnce())}
    assert [run.policy["initial_fraction"] for run in runs if run.policy in ONE_SEED] == [0.75, 0.75, 0.25, 0.25]
    assert rows["digits, 4 other seeds: test accuracy, best in its search"].startswith("26.50%")


def test_beside_what_was_found_stands_what_a_search_of_static_widths_found(runs):
    rows = {row.what: row.measured for row in _rows_of(HERE, [HERE], AtOnce())}
    better = rows["digits, 4 other seeds: test accuracy, found on digits better than static widths found by"]
    assert better.startswith("+25.00%, standard error 3.61%")


def test_differences_are_paired_and_better_is_above_zero(runs):
    rows = {row.what: row for row in _rows_of(HERE, [HERE, THERE], AtOnce())}
    better = rows["digits, 4 other seeds: test accuracy, found on digits better than default policy by"]
    assert better.measured == "+18.75%, standard error 3.61%, n=4"
    assert better.reached
    moved = rows["digits, 4 other seeds: test accuracy, found on mnist better than found on digits by"]
    assert moved.measured.startswith("-37.50%")
    assert moved.reached is None


def test_of_losses_the_lower_is_better(runs):
    losses = replace(HERE, unit=UNITS["loss"])
    rows = {row.what: row for row in _rows_of(losses, [losses], AtOnce())}
    better = rows["digits, 4 other seeds: validation loss, found on digits better than default policy by"]
    assert better.measured.startswith("+0.18750, standard error")


@pytest.mark.slow
def test_a_run_keeps_validation_apart_and_its_own_training_settings():
    found = GrowthPolicy(initial_fraction=0.0625, max_fraction=0.125, training={"epochs": 40, "learning_rate": 0.005})
    validation, test = trained(Run("digits", None, 1000, found.model_dump(mode="json", exclude={"found_by"})))
    assert 0.8 < validation.score < 1
    assert 0.8 < test.score < 1


@pytest.mark.slow
def test_a_static_network_trains_in_its_own_widths():
    widths = {f"hidden.{place}": width for place, width in enumerate((32, 24, 16))}
    rates = {"learning_rate": 0.005, "learning_rate_schedule": "constant_then_cosine"}
    validation, test = trained(Run("digits", None, 1000, widths={**widths, **rates}))
    assert 0.8 < validation.score < 1
    assert 0.8 < test.score < 1
