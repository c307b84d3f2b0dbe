"""Runs whose length is given in training steps instead of epochs."""

import math

import pytest

from autogrow.errors import PolicyError
from autogrow.inputs import training_settings
from autogrow.policy.part import validated
from autogrow.policy.training_settings import TrainingSettings
from autogrow.search_plans import plan_new_search
from tests.training.runs import ending, same, settings, trained, trainer

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS_PER_EPOCH = 6


def test_as_many_steps_as_epochs_have_are_the_same_run():
    by_epochs, by_steps = ending(trainer()), ending(trainer(the_settings=settings(steps=4 * STEPS_PER_EPOCH, epochs=9)))
    assert same(by_epochs, by_steps)


def test_a_run_may_end_within_an_epoch_and_its_schedule_ends_there():
    found = []
    run = trainer(the_settings=settings(steps=10, learning_rate=0.01, learning_rate_schedule="cosine"))
    run.optimizer.register_step_pre_hook(lambda optimizer, *_: found.append(optimizer.param_groups[0]["lr"]))
    outcome = run.run()
    assert (run.num_steps, outcome.steps, run.samples[-1].step) == (10, 10, 10)
    assert found == pytest.approx([0.005 * (1 + math.cos(math.pi * step / 10)) for step in range(10)])
    assert outcome.train is not None


def test_compute_is_that_of_the_steps_taken():
    run = trained(the_settings=settings(steps=10))
    assert run.full_training_flops == pytest.approx(trainer().full_training_flops * 10 / (4 * STEPS_PER_EPOCH))


def test_what_goes_by_epochs_is_written_as_it_always_was():
    # Interrupted runs and shared studies are recognized by their settings as older versions wrote them.
    assert "steps" not in TrainingSettings().model_dump()
    written = TrainingSettings(steps=7).model_dump(mode="json")
    assert TrainingSettings.model_validate(written).steps == 7


@pytest.mark.parametrize("steps", [0, -1, 1.5, "many"])
def test_a_length_that_is_none(steps):
    with pytest.raises(PolicyError, match="steps is"):
        validated(TrainingSettings, {"steps": steps}, "training")


def test_trials_of_a_search_go_by_epochs(tmp_path):
    with pytest.raises(PolicyError, match=r"training\.steps is 7: trials of a search go by epochs"):
        plan_new_search("digits", data_dir=tmp_path, training=TrainingSettings(steps=7))


def test_epochs_that_are_given_stand_in_place_of_steps():
    base = TrainingSettings(steps=7, batch_size=5)
    assert training_settings(None, base).steps == 7
    assert training_settings(None, base, epochs=3) == TrainingSettings(epochs=3, batch_size=5)
