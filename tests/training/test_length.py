"""How long runs are: in epochs, in training steps, or in the compute that the full-size network would use."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from autogrow.errors import PolicyError
from autogrow.inputs import training_settings
from autogrow.policy.part import validated
from autogrow.policy.training_settings import TrainingSettings
from autogrow.search_plans import plan_new_search
from autogrow.training.ending import Signal
from autogrow.training.optimizers import learning_rate_at
from autogrow.training.records import TrialFolder
from tests.training.runs import ending, policy, same, settings, state_of, trained, trainer

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS_PER_EPOCH = 6


@pytest.mark.slow
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


def by_compute(**fields):
    return settings(**{"length": "compute", "sample_every": None, "learning_rate_schedule": "constant", **fields})


GROWING = {"chunk_fraction": 0.5, "trigger": {"kind": "compute_shares", "shares": [0.3, 0.6]}}


class TestCompute:
    def test_a_full_network_takes_the_steps_of_its_epochs(self):
        full = policy(initial_fraction=1.0)
        by_epochs = trainer(the_policy=full)
        other = trainer(the_policy=full, the_settings=settings(length="compute"))
        assert by_epochs.run().steps == other.run().steps == 4 * STEPS_PER_EPOCH
        assert by_epochs.samples == [replace(s, progress=None, train_seconds=t.train_seconds) for s, t in
                                     zip(other.samples, by_epochs.samples, strict=True)]  # fmt: skip
        assert [sample.progress for sample in other.samples] == pytest.approx([n / 24 for n in range(1, 25)])

    def test_a_smaller_one_uses_as_much_in_more_steps(self):
        small = trainer(the_policy=policy(grow_until=0.001), the_settings=by_compute())
        outcome = small.run()
        last_step = outcome.training_flops / outcome.steps
        assert outcome.steps > 30
        assert 0 <= outcome.training_flops - small.full_training_flops < last_step
        assert small.samples[-1].step == outcome.steps == small.num_steps and small.samples[-1].progress == 1.0

    def test_samples_and_events_come_at_shares_of_compute(self):
        run = trained(the_policy=policy(**GROWING), the_settings=by_compute())
        assert 0 <= run.samples[-1].training_flops - run.full_training_flops < run.growth.step_flops * 16
        per_sample = run.full_training_flops / 24
        for number, sample in enumerate(run.samples, 1):
            assert 0 <= sample.training_flops - number * per_sample < run.growth.step_flops * 16
        at = [run.samples[event.sample] for event in run.events]
        assert [round(sample.progress, 2) >= share for sample, share in zip(at, (0.3, 0.6), strict=True)] == [
            True,
            True,
        ]
        assert [
            run.samples[event.sample - 1].progress < share for event, share in zip(run.events, (0.3, 0.6), strict=True)
        ]
        gaps = [after.step - before.step for before, after in pairwise(run.samples)]
        assert gaps[0] > gaps[-1]

    @pytest.mark.slow
    @pytest.mark.parametrize("schedule", ["cosine", "constant_then_cosine", "constant_then_decay"])
    def test_schedules_go_by_compute(self, schedule):
        run = trained(
            the_policy=policy(**GROWING, grow_until=0.5),
            the_settings=by_compute(learning_rate_schedule=schedule, constant_share=0.1, learning_rate=0.1),
        )
        ended = next(sample.progress for sample in run.samples if sample.step == run.growth.ended_step)
        assert 0.5 < ended < 0.6
        first = {"cosine": 0.0, "constant_then_cosine": ended, "constant_then_decay": 0.8}[schedule]
        for sample in run.samples:
            passed = max(0.0, sample.progress - first) / (1 - first)
            fallen = 1 - passed if schedule == "constant_then_decay" else 0.5 * (1 + math.cos(math.pi * passed))
            assert sample.learning_rate == pytest.approx(0.1 * fallen, abs=1e-9)

    def test_shares_of_compute_need_a_length_in_compute(self):
        with pytest.raises(PolicyError, match=r"compute_shares goes by compute.*set training\.length to compute"):
            trainer(the_policy=policy(**GROWING))
        assert trained(the_policy=policy(initial_fraction=1.0, trigger="compute_shares")).samples

    @pytest.mark.slow
    @pytest.mark.parametrize("cuts", [[5], [3, 4, 41], list(range(2, 50, 7))])
    def test_a_run_cut_at_any_step_goes_on_bit_for_bit(self, cuts, tmp_path):
        options = {
            "the_policy": policy(**GROWING),
            "the_settings": by_compute(learning_rate_schedule="constant_then_decay", warmup_steps=6, learning_rate=0.1),
        }
        whole, left = trained(**options), list(cuts)
        while True:
            run = trainer(**options, folder=TrialFolder(tmp_path))
            if left:
                run._interrupt.ask = lambda run=run: setattr(
                    run._interrupt, "is_interrupted", bool(left) and run._step >= left[0]
                )
            ended = run.run()
            if ended.signal is not Signal.INTERRUPT:
                break
            assert ended.steps == left.pop(0)
        assert not left and len(run.events) == 2
        assert same(state_of(run), state_of(whole))


@pytest.mark.parametrize(
    ("decay", "rates"),
    [("linear", [1, 1, 1, 0.8, 0.6, 0.4, 0.2]), ("one_minus_sqrt", [1, 1, 1, 0.553, 0.368, 0.225, 0.106])],
)
def test_the_rate_rises_stays_and_decays(decay, rates):
    the_settings = TrainingSettings(
        learning_rate=0.1, learning_rate_schedule="constant_then_decay", decay=decay, decay_fraction=0.5, warmup_steps=2
    )
    found = [learning_rate_at(step, step, 10, the_settings, None) for step in (1, 2, 5, 6, 7, 8, 9)]
    assert found == pytest.approx([0.1 * rate for rate in rates], abs=1e-4)
    assert learning_rate_at(0, 0, 10, the_settings, None) == pytest.approx(0.05)
    assert learning_rate_at(10, 10, 10, the_settings, None) == pytest.approx(0.0)


def test_what_goes_by_epochs_is_written_as_it_always_was():
    # Interrupted runs and shared studies are recognized by their settings as older versions wrote them.
    assert not {"steps", "length", "warmup_steps", "decay_fraction", "decay"} & TrainingSettings().model_dump().keys()
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
