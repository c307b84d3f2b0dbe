"""What is seen of a growth event in the 50 steps after it, and that looking changes nothing."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autogrow.policy.records import GrowthEvent, shock_of
from autogrow.training.aftermath import next_observation
from autogrow.training.ending import Signal
from autogrow.training.records import TrialFolder
from tests.training.runs import RESNET, policy, same, settings, trained, trainer, weights

pytestmark = pytest.mark.usefixtures("one_thread")

ONE_EVENT = {"chunk_fraction": 0.75}
LONG = {"epochs": 10}


def event_at(step):
    return GrowthEvent(1, step, 0, {"a": 1}, {"a": 2}, 1, 2, 1.0, 2.0, 0.0, "", 0.0, 0.0)


def test_when_to_look():
    looks = [next_observation([event_at(10)], step) for step in (10, 11, 12, 15, 20, 30, 60)]
    assert looks == [11, 12, 15, 20, 30, 60, None]
    assert next_observation([], 3) is None
    assert next_observation([event_at(10), event_at(13)], 13) == 14


def test_the_loss_is_read_until_it_is_what_it_was():
    def event(**losses):
        after = {int(name[1:]): loss for name, loss in losses.items()}
        return replace(event_at(10), loss_before=2.0, losses_after=after)

    high = event(s0=2.5, s50=2.1)
    assert high.recovered_after is None and high.loss_after == 2.5
    assert [next_observation([high], step) for step in (60, 110, 151, 210)] == [110, 151, 210, 293]
    down = event(s0=2.5, s50=2.1, s100=2.0)
    assert down.recovered_after == 100 and next_observation([down], 110) is None
    assert event(s0=2.0, s1=2.3).recovered_after == 0
    assert shock_of(2.0, {0: 2.5, 50: 2.1, 141: 9.0}) == pytest.approx(0.25)


@pytest.mark.slow
def test_an_event_that_is_given_time_is_read_seven_times(tmp_path):
    run = trained(the_policy=policy(**ONE_EVENT), the_settings=settings(**LONG), folder=TrialFolder(tmp_path))
    (event,) = run.events
    assert list(event.losses_after) == [0, 1, 2, 5, 10, 20, 50]
    assert TrialFolder(tmp_path).events() == [event]
    assert event.shock == shock_of(event.loss_before, event.losses_after)
    assert event.losses_after[0] == pytest.approx(event.loss_before, rel=1e-5)


def test_the_next_event_and_the_end_of_the_run_cut_it_short(tmp_path):
    run = trained(the_settings=settings(sample_every=3), the_policy=policy(trigger={"kind": "schedule", "every": 2}),
                  folder=TrialFolder(tmp_path))  # fmt: skip
    assert [event.step for event in run.events] == [6, 12, 18]
    assert [list(event.losses_after) for event in run.events] == [[0, 1, 2, 5]] * 3
    assert all(event.shock is not None and event.gradient_ratio is not None for event in run.events)
    assert TrialFolder(tmp_path).events() == run.events


def test_what_was_seen_is_kept_when_a_run_is_stopped(tmp_path):
    run = trained(folder=TrialFolder(tmp_path),
                  on_sample=lambda sample: Signal.STOP if sample.step == 6 else Signal.CONTINUE)  # fmt: skip
    (event,) = TrialFolder(tmp_path).events()
    assert list(event.losses_after) == [0, 1, 2]
    assert run.events == [event]


@pytest.mark.slow
def test_a_jolt_is_a_shock_and_no_jolt_is_none():
    jolted = trained(the_policy=policy(initialization="xavier"), the_settings=settings(epochs=2), **RESNET).events[1]
    assert jolted.shock == pytest.approx(max(jolted.losses_after.values()) / jolted.loss_before - 1)
    assert jolted.shock > 0.1
    assert trained().events[0].shock < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("initialization", ["zero_fan_out", "split", "paired", "xavier"])
def test_the_first_gradients_of_new_entries_are_compared_with_those_of_old_ones(initialization):
    run = trainer(the_policy=policy(initialization=initialization))
    ratios = {}

    def look(sample):
        for event in run.events:
            if sample.step == event.step + 1:
                ratios[event.index] = ratio(run, event.index)
        return Signal.CONTINUE

    run.on_sample = look
    run.run()
    assert len(ratios) == len(run.events) == 3
    for event in run.events:
        assert event.gradient_ratio == pytest.approx(ratios[event.index], rel=1e-5)
        assert 0 < event.gradient_ratio < 10


def ratio(run, cohort):
    """Root mean square of new over old gradients, over the parameters that have both."""
    new, old = [], []
    for name, parameter in run.model.named_parameters():
        cohorts = run.network.cohorts.of(name, parameter)
        if (cohorts == cohort).any() and (cohorts < cohort).any():
            new.append(parameter.grad[cohorts == cohort])
            old.append(parameter.grad[cohorts < cohort])
    return float((torch.cat(new).square().mean() / torch.cat(old).square().mean()).sqrt())


class WithDropout(nn.Sequential):
    """A network for which train mode makes a difference: norms that move, units that are left out at random."""

    def __init__(self):
        super().__init__(
            nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 4)
        )


def network():
    torch.manual_seed(0)
    return WithDropout()


def test_it_is_read_in_eval_mode():
    run = trainer(module=network(), the_policy=policy(**ONE_EVENT), the_settings=settings(**LONG))
    expected = {}

    def look(sample):
        model = run.model.eval()
        with torch.no_grad():
            loss = F.cross_entropy(model(run.growth.batch.inputs), run.growth.batch.targets)
        expected[sample.step] = float(loss)
        model.train()
        return Signal.CONTINUE

    run.on_sample = look
    run.run()
    (event,) = run.events
    # Right after growing is the sample at which it grew.
    assert {4 + after: loss for after, loss in event.losses_after.items()} == {
        step: pytest.approx(expected[step], rel=1e-6) for step in (4, 5, 6, 9, 14, 24, 54)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [{}, {"freeze": {"kind": "thaw", "hold_samples": 1, "release_samples": 2}}, {"connection_ramp_steps": 7}],
    ids=["plain", "thaw", "ramp"],
)
def test_looking_leaves_no_trace(fields, monkeypatch):
    options = {
        "the_policy": policy(trigger={"kind": "schedule", "every": 1}, initialization="xavier", **fields),
        "the_settings": settings(sample_every=7, optimizer="adamw", weight_decay=0.1),
    }
    watched = trained(module=network(), **options)
    assert [list(event.losses_after) for event in watched.events] == [[0, 1, 2, 5]] * 2 + [[0, 1, 2]]
    monkeypatch.setattr("autogrow.training.trainer.next_observation", lambda events, step: None)
    unwatched = trained(module=network(), **options)
    assert [list(event.losses_after) for event in unwatched.events] == [[0]] * 3
    assert same(weights(watched), weights(unwatched))
    assert same(watched.optimizer.state_dict(), unwatched.optimizer.state_dict())
