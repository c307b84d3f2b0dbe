import math

import pytest
import torch

from autogrow.errors import TrainingDivergedError
from autogrow.network.measuring.flops import training_flops_per_example
from autogrow.training.ending import Signal
from autogrow.training.evaluation import evaluate
from autogrow.training.records import TrialFolder
from tests.training.runs import CPU, RESNET, data, policy, same, settings, trainer, weights

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_a_run_grows_learns_and_records(tmp_path):
    run = trainer(the_settings=settings(epochs=8, learning_rate=0.01), folder=TrialFolder(tmp_path), **RESNET)
    outcome = run.run()
    assert outcome.signal is Signal.CONTINUE and outcome.steps == 48
    assert [event.step for event in run.events] == [4, 8, 12]
    assert run.samples[-1].train_loss < 0.5 * run.samples[0].train_loss
    assert outcome.validation.score > 0.8
    assert outcome.shape.widths == {group.name: group.full_width for group in run.network.groups}
    assert TrialFolder(tmp_path).samples() == run.samples
    assert TrialFolder(tmp_path).events() == run.events


def test_events_say_what_they_did():
    run = trainer()
    run.run()
    for event in run.events:
        assert event.largest_output_change <= 1e-5
        assert event.parameters_after > event.parameters_before
        assert event.flops_after > event.flops_before
        assert event.widths[next(iter(event.added_units))] > 0
        assert "measurements since the last event" in event.trigger_reason
    assert run.events[0].parameters_after == run.events[1].parameters_before
    assert run.events[-1].widths == run.network.widths


def test_an_inexact_initialization_shows_in_the_record():
    run = trainer(the_policy=policy(initialization="xavier"))
    run.run()
    assert min(event.largest_output_change for event in run.events) > 1e-3


def test_flops_are_those_of_the_sizes_trained_at():
    run = trainer()
    outcome = run.run()
    per_example = [run.events[0].flops_before] + [event.flops_after for event in run.events]
    ends = [event.step for event in run.events] + [outcome.steps]
    starts = [0] + [event.step for event in run.events]
    expected = sum(16 * flops * (end - start) for flops, start, end in zip(per_example, starts, ends, strict=True))
    assert outcome.training_flops == pytest.approx(expected)
    batch = torch.randn(2, 3, 8, 8)
    assert per_example[-1] == training_flops_per_example(run.model, batch)
    assert outcome.training_flops < run.full_training_flops


def test_samples_match_train_and_validation():
    run = trainer(the_settings=settings(sample_size=64))
    run.run()
    measuring = run.metrics.plan
    assert len(measuring.train_indices) == len(measuring.validation_indices) == 64
    for sample in run.samples:
        assert sample.generalization_gap == pytest.approx(sample.train_score - sample.validation_score)
    assert [sample.step for sample in run.samples] == list(range(1, 25))


def test_a_sample_does_not_disturb_the_run():
    """Reading the metrics leaves weights, norm statistics, mode and random state alone."""
    finals = []
    for every in (1, 7):
        run = trainer(the_policy=policy(initial_fraction=1.0), the_settings=settings(sample_every=every))
        run.run()
        finals.append(weights(run))
    assert same(*finals)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "policy_fields"),
    [("adam", {}), ("adamw", {"freeze": "old"}), ("sgd", {"optimizer_state": "reset"})],
    ids=["adam", "adamw, freeze", "sgd, reset"],
)
def test_equal_seeds_give_equal_runs(optimizer, policy_fields):
    first, second, other = (
        trainer(
            the_policy=policy(layer_selection="random", **policy_fields),
            the_settings=settings(epochs=2, optimizer=optimizer),
            the_data=data(augmentation="pad_crop_flip"),
            seed=seed,
        )
        for seed in (1, 1, 2)
    )
    for run in (first, second, other):
        run.run()
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize(("optimizer_state", "kept"), [("carry", True), ("reset", False)])
def test_an_event_carries_the_optimizer_state_or_drops_it(optimizer_state, kept):
    run = trainer(the_policy=policy(optimizer_state=optimizer_state))
    states = []

    def look(sample):
        if run.events and run.events[-1].step == sample.step:
            states.append(any(bool(state) for state in run.optimizer.state.values()))
        return Signal.CONTINUE

    run.on_sample = look
    run.run()
    assert states == [kept] * 3


def test_divergence_is_an_error_of_one_line():
    run = trainer(the_settings=settings(optimizer="sgd", learning_rate=100.0, epochs=20), model="mlp",
                  options={"hidden": (16,), "batch_norm": False})  # fmt: skip
    with pytest.raises(TrainingDivergedError, match=r"the loss is (nan|inf) at step \d+ of 120; lower the learning"):
        run.run()


def test_the_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    trainer().run()
    assert torch.equal(torch.get_rng_state(), state)


def test_stopping_ends_the_run_at_the_sample():
    run = trainer(on_sample=lambda sample: Signal.STOP if sample.step == 5 else Signal.CONTINUE)
    outcome = run.run()
    assert (outcome.signal, outcome.steps, outcome.validation) == (Signal.STOP, 5, None)


def test_without_validation_samples_have_none():
    run = trainer(the_data=data(validation=False))
    outcome = run.run()
    assert outcome.validation is None and outcome.train is not None
    assert {sample.validation_loss for sample in run.samples} == {None}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_the_gpu_grows_and_learns():
    run = trainer(the_settings=settings(epochs=8, learning_rate=0.01))
    assert run.run().validation.score > 0.8


def test_metrics_of_a_constant_network_are_those_of_guessing():
    run = trainer(the_policy=policy(initial_fraction=1.0))
    for parameter in run.model.parameters():
        parameter.data.zero_()
    metrics = evaluate(run.metrics.data.task, run.model, run.metrics.train)
    assert metrics.loss == pytest.approx(math.log(4), rel=1e-5)
    assert run.device == CPU
