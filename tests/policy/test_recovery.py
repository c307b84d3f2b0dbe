"""How a network trains on after units were removed: what the trainer is told."""

import pytest

from autogrow.errors import PolicyError
from autogrow.policy.recovery import Recovery
from autogrow.policy.training_settings import TEXT_RECIPE, TrainingSettings
from autogrow.training.optimizers import learning_rate_at

TRAINED_WITH = TrainingSettings(epochs=20, learning_rate=0.02, optimizer="sgd", weight_decay=1e-3, batch_size=32)


def test_it_is_a_quarter_of_the_training_with_its_recipe():
    settings = Recovery().settings(TRAINED_WITH, steps_per_epoch=10)
    assert (settings.steps, settings.learning_rate, settings.batch_size) == (50, 0.02, 32)
    assert (settings.optimizer, settings.weight_decay) == ("sgd", 1e-3)
    assert (settings.learning_rate_schedule, settings.decay_fraction, settings.warmup_steps) == (
        "constant_then_decay", 1.0, 2,
    )  # fmt: skip


def test_the_rate_rises_and_falls():
    settings = Recovery(epochs=10, warmup_share=0.2).settings(TRAINED_WITH, steps_per_epoch=10)
    rates = [learning_rate_at(step, step, 100, settings, None) for step in range(100)]
    assert rates[0] < rates[10] < max(rates)
    assert rates[-1] == pytest.approx(0.02 / 100)
    constant = Recovery(epochs=1, warmup_share=0, decay_share=0).settings(TRAINED_WITH, steps_per_epoch=10)
    assert {learning_rate_at(step, step, 10, constant, None) for step in range(10)} == {0.02}


def test_with_what_the_optimizer_has_learnt_the_rate_need_not_rise():
    settings = Recovery(epochs=10, warmup_share=0.2).settings(TRAINED_WITH, steps_per_epoch=10, warms_up=False)
    assert (settings.steps, settings.warmup_steps) == (100, 0)
    assert learning_rate_at(0, 0, 100, settings, None) == 0.02


def test_what_was_trained_by_compute_recovers_by_steps():
    settings = Recovery().settings(TrainingSettings(epochs=2, warmup_steps=50, **TEXT_RECIPE), steps_per_epoch=400)
    assert (settings.length, settings.steps, settings.warmup_steps) == ("epochs", 200, 10)
    assert settings.max_gradient_norm == 1.0
    assert Recovery(epochs=3).settings(settings, steps_per_epoch=400).steps == 1200


def test_epochs_are_its_own_where_they_are_given():
    assert Recovery(epochs=3, learning_rate=0.5).settings(TRAINED_WITH, 10).steps == 30
    assert Recovery(epochs=3, learning_rate=0.5).settings(TRAINED_WITH, 10).learning_rate == 0.5
    assert not Recovery(epochs=0).trains


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"distillation": 1.5}, "distillation"),
        ({"warmup_share": 0.5, "decay_share": 0.6}, "more than the whole"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_what_cannot_be(fields, message):
    with pytest.raises(PolicyError, match=message):
        Recovery(**fields)
