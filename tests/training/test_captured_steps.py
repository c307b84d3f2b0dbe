"""Captured steps give what plain ones give, through every event after which a captured step is out of date."""

import copy
import logging

import pytest
import torch
from torch import nn

from autogrow.policy.execution import Execution
from autogrow.training import captured_step
from autogrow.training.ending import Signal
from autogrow.training.records import TrialFolder
from tests.training.recorder import RecorderOnCpu
from tests.training.runs import CLASSES, RESNET, STAGED, data, policy, settings, trainer

pytestmark = pytest.mark.slow

LONG = {"epochs": 5}
"""30 steps: growth events at every fourth, ages and ramps in between."""

NARROW = {**RESNET, "options": {"depth": 8, "width": 4}}


def run(monkeypatch, *, warm_up_steps=captured_step.WARM_UP_STEPS, **arguments):
    """A trained run, and the recorder of its steps."""
    recorder = RecorderOnCpu()
    with monkeypatch.context() as patch:
        patch.setattr("autogrow.training.steps.recorder_for", lambda device: recorder)
        patch.setattr(captured_step, "WARM_UP_STEPS", warm_up_steps)
        run = trainer(**{"the_settings": settings(**LONG), **arguments})
        run.run()
    return run, recorder


CASES = {
    "adam": {},
    "sgd": {"the_settings": settings(**LONG, optimizer="sgd", weight_decay=1e-2)},
    "adamw, cosine after growth": {
        "the_settings": settings(**LONG, optimizer="adamw", learning_rate_schedule="constant_then_cosine")
    },
    "batch norm and augmentation": {
        **NARROW,
        "the_data": data(augmentation="pad_crop_flip"),
        "the_settings": settings(**LONG, cutout=2),
    },
    "frozen": {"the_policy": policy(freeze={"kind": "old"}, layer_selection={"kind": "round_robin"})},
    "frozen norms": {**NARROW, "the_policy": policy(freeze={"kind": "old"})},
    "thawed": {"the_policy": policy(freeze={"kind": "thaw", "hold_samples": 3, "release_samples": 5})},
    "ramps": {"the_policy": policy(connection_ramp_steps=7)},
    "ramps, frozen": {"the_policy": policy(connection_ramp_steps=3, freeze={"kind": "old"})},
    "slow new units": {"the_policy": policy(new_unit_lr=0.3)},
    "rates by cohort": {"the_policy": policy(new_unit_lr="cohort"), "the_settings": settings(**LONG, optimizer="sgd")},
    "fresh optimizer": {"the_policy": policy(optimizer_state="reset")},
    "deeper": {
        **STAGED,
        "the_policy": policy(depth={"initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 9}}),
    },
    "probing": {"the_policy": policy(layer_selection={"kind": "probe"}, trigger={"kind": "schedule", "every": 9})},
    "seldom": {"the_policy": policy(trigger={"kind": "schedule", "every": 10})},
}


@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_are_bit_identical_to_plain_ones(case, monkeypatch):
    captured, recorder = run(monkeypatch, **CASES[case])
    plain, never = run(monkeypatch, warm_up_steps=10**9, **CASES[case])
    assert recorder.replays > 0
    assert recorder.captures > len(captured.events) / 4
    assert never.captures == 0
    assert [sample.train_loss for sample in captured.samples] == [sample.train_loss for sample in plain.samples]
    assert len(captured.events) == len(plain.events) > 0
    for name, value in plain.model.state_dict().items():
        assert torch.equal(captured.model.state_dict()[name], value), name
    assert captured.network.attach(captured.optimizer).steps == plain.network.attach(plain.optimizer).steps


def test_a_shape_is_captured_once(monkeypatch):
    captured, recorder = run(monkeypatch, the_policy=policy(initial_fraction=1.0))
    assert recorder.captures == 1
    assert recorder.warm_ups == captured_step.WARM_UP_STEPS
    assert recorder.replays == captured.num_steps - captured_step.WARM_UP_STEPS


def test_frozen_steps_are_captured_once_per_event(monkeypatch):
    """Masks of frozen entries are part of what is captured, and samples in between leave them alone."""
    arguments = {"the_policy": policy(freeze={"kind": "old"}, trigger={"kind": "schedule", "every": 8})}
    captured, recorder = run(monkeypatch, **arguments, the_settings=settings(**LONG, optimizer="sgd"))
    assert recorder.captures == len(captured.events) + 1


class Peeking(nn.Module):
    """Looks at its values, which a GPU cannot capture."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, CLASSES))
        self.seen = 0.0

    def forward(self, inputs):
        if self.training and torch.is_grad_enabled():
            self.seen = inputs.mean().item()
        return self.layers(inputs)


def test_what_cannot_be_captured_runs_as_it_is_and_says_why(monkeypatch, caplog):
    module = Peeking()
    with caplog.at_level(logging.WARNING, "autogrow"):
        captured, recorder = run(monkeypatch, module=copy.deepcopy(module))
    assert recorder.replays == 0
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    assert "not captured as a CUDA graph" in caplog.text and "_local_scalar_dense" in caplog.text
    plain, _ = run(monkeypatch, module=module, warm_up_steps=10**9)
    assert captured.samples[-1].train_loss == plain.samples[-1].train_loss


@pytest.mark.parametrize("first_is_captured", [True, False])
def test_a_run_goes_on_where_steps_are_captured_otherwise(first_is_captured, monkeypatch, tmp_path):
    """As from a machine with a GPU to one without, and back: the learning rate keeps following its schedule."""

    def ending(folder, *captured):
        for is_captured in captured:
            recorder = RecorderOnCpu() if is_captured else None
            monkeypatch.setattr("autogrow.training.steps.recorder_for", lambda device, found=recorder: found)
            run = trainer(
                the_settings=settings(**LONG),
                the_policy=policy(trigger={"kind": "schedule", "every": 10}),
                folder=TrialFolder(tmp_path / folder),
                on_sample=lambda sample: (
                    Signal.INTERRUPT if sample.step == 17 and len(captured) > 1 else Signal.CONTINUE
                ),
            )
            run.run()
        return run

    mixed = ending("mixed", first_is_captured, not first_is_captured)
    plain = ending("plain", False)
    assert [s.learning_rate for s in mixed.samples] == [s.learning_rate for s in plain.samples]
    assert isinstance(mixed.optimizer.param_groups[0]["lr"], float) == first_is_captured
    assert mixed.samples[-1].train_loss == pytest.approx(plain.samples[-1].train_loss, abs=0.05)


def test_cuda_graphs_can_be_switched_off(monkeypatch):
    captured, recorder = run(monkeypatch, execution=Execution(cuda_graphs=False))
    assert recorder.warm_ups == recorder.captures == 0
    assert isinstance(captured.optimizer.param_groups[0]["lr"], float)
