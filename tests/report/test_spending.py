"""What a search took, and what stopping trials early saved at least."""

import dataclasses

import pytest

from autogrow.report.spending import Saving, Spending, remaining_flops, total_saving, total_spending
from tests.report.conftest import growth_event, sample

# Samples are 10 steps and one epoch apart; a run of 5 epochs has 50 steps.
STEADY = [sample(0, 0.5, 100.0), sample(1, 0.6, 200.0)]


def event_at(at_sample, flops_before, flops_after, selection_flops=0.0):
    made = growth_event(1, at_sample, {"a": 4}, {"a": 8}, (10, 20))
    return dataclasses.replace(
        made, flops_before=flops_before, flops_after=flops_after, selection_flops=selection_flops
    )


def test_the_rest_of_a_run_costs_what_its_last_steps_did():
    assert remaining_flops(STEADY, [], epochs=5) == pytest.approx(300.0)
    assert remaining_flops(STEADY[:1], [], epochs=5) == pytest.approx(400.0)
    assert remaining_flops(STEADY, [], epochs=2) == 0.0


def test_growth_before_the_last_sample_is_in_its_steps():
    grown = [sample(0, 0.5, 100.0), sample(1, 0.6, 400.0)]
    assert remaining_flops(grown, [event_at(0, 2.0, 6.0)], epochs=5) == pytest.approx(900.0)


def test_growth_right_after_the_last_sample_is_added():
    assert remaining_flops(STEADY, [event_at(1, 2.0, 6.0)], epochs=5) == pytest.approx(900.0)


def test_what_choosing_a_layer_cost_is_no_cost_of_a_step():
    probed = [sample(0, 0.5, 100.0), sample(1, 0.6, 250.0)]
    assert remaining_flops(probed, [event_at(0, 2.0, 2.0, selection_flops=50.0)], epochs=5) == pytest.approx(300.0)


def test_without_records_nothing_is_known():
    assert remaining_flops([], [], epochs=5) is None
    assert total_saving([(0.0, None)]) is None
    assert total_saving([]) is None


def test_savings_add_up():
    saving = total_saving([(100.0, 300.0), (0.0, None), (50.0, 50.0)])
    assert saving == Saving(trials=2, spent_flops=150.0, saved_flops=350.0)
    assert saving.share == pytest.approx(0.7)


def test_spending_counts_trials_that_have_begun():
    metrics = [{"train_seconds": 2.0, "training_flops": 10.0}, {}, {"train_seconds": 3.0, "training_flops": 5.0}]
    assert total_spending(metrics) == Spending(trials=2, train_seconds=5.0, training_flops=15.0)
