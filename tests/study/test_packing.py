"""How many trials share a GPU. The measurement itself is run on the CPU here."""

import pytest

from autogrow.errors import UsageError
from autogrow.search_plans import plan_new_search
from autogrow.study import planning, ray_executor
from autogrow.study.packing import Packing, best_packing, measured_rate


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({1: 10, 2: 19, 4: 30, 8: 31}, Packing(4, 3.0)),
        ({1: 10, 2: 10.5}, Packing(1, 1.0)),
        ({1: 10, 2: 18, 4: None}, Packing(2, 1.8)),
        ({1: 1, 2: 2, 4: 4, 8: 8, 16: 16}, Packing(16, 16.0)),
        ({1: 10, 2: 5, 4: 100}, Packing(1, 1.0)),
    ],
    ids=["until it pays no more", "alone", "until memory is short", "as many as allowed", "no second try"],
)
def test_trials_are_doubled_as_long_as_that_pays(rates, expected):
    asked = []
    assert best_packing(lambda number: asked.append(number) or rates[number]) == expected
    assert asked == sorted(asked) == list(rates)[: len(asked)]
    assert expected.share == 1 / expected.num_trials


def test_no_more_trials_than_there_are_cores_for():
    assert best_packing(float, most=3) == Packing(2, 2.0)


def test_a_network_that_does_not_train_alone():
    with pytest.raises(UsageError, match="give --gpus-per-trial a number"):
        best_packing(lambda number: None)


def test_auto_needs_a_gpu_here(monkeypatch):
    with pytest.raises(UsageError, match="--gpus-per-trial auto, but PyTorch sees no GPU here"):
        plan_new_search("digits", gpus_per_trial="auto")
    with pytest.raises(UsageError, match="not on the cluster at --address"):
        plan_new_search("digits", gpus_per_trial="auto", address="auto")


def test_auto_becomes_the_measured_share(monkeypatch):
    for module in (planning, ray_executor):
        monkeypatch.setattr(module, "device_problem", lambda share: None)
    seen = []

    def measured(settings, model, most):
        seen.append((settings.gpus_per_trial, model.name, most))
        return Packing(4, 2.5)

    monkeypatch.setattr(planning, "measure_packing", measured)
    monkeypatch.setattr(planning, "available_cores", lambda: 12)
    plan = plan_new_search("digits", gpus_per_trial="auto", cpus_per_trial=3)
    assert plan.settings.gpus_per_trial == 0.25
    assert seen == [(1.0, "mlp", 4)]
    assert "4 trials per GPU: together they train 2.5 times as much as one" in plan.warnings


@pytest.mark.slow
def test_processes_are_measured_together():
    plan = plan_new_search("digits")
    settings, model = plan.settings, plan.model
    alone, together = (measured_rate(settings, model, number, "cpu", seconds=0.3) for number in (1, 2))
    assert alone > 0 and together > 0
    broken = settings.model_copy(update={"dataset": "nowhere.npz"})
    assert measured_rate(broken, model, 1, "cpu", seconds=1.0) is None
