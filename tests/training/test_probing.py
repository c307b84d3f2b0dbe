"""Choosing where to grow by trying: copies are what the run would be, and leave it untouched."""

import copy

import pytest
import torch
from torch import nn

from autogrow.policy.layer_selection import Probe
from autogrow.policy.triggers import Schedule
from autogrow.training.ending import Signal
from tests.training.runs import RESNET, data, policy, same, settings, trained, trainer, weights

pytestmark = pytest.mark.usefixtures("one_thread")


def probing(steps=2, **fields):
    return {"kind": "probe", "steps": steps, **fields}


def everything(run):
    """All that a copy might disturb."""
    state = run.state()
    gradients = {name: parameter.grad for name, parameter in run.model.named_parameters()}
    hooks = [list(run.optimizer._optimizer_step_pre_hooks), list(run.optimizer._optimizer_step_post_hooks)]
    modes = [module.training for module in run.model.modules()]
    rates = [group["lr"] for group in run.optimizer.param_groups]
    return copy.deepcopy({**state, "gradients": gradients, "hooks": hooks, "modes": modes, "rates": rates})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "optimizer", "network"),
    [
        ({}, "adam", RESNET),
        ({"freeze": {"kind": "thaw", "hold_samples": 0, "release_samples": 9}, "new_unit_lr": "cohort"}, "sgd", {}),
        ({"connection_ramp_steps": 6, "initialization": "tiny", "optimizer_state": "reset"}, "adamw", {}),
    ],
    ids=["plain", "thaw", "ramp"],
)
def test_copies_leave_the_run_untouched(fields, optimizer, network):
    run = trainer(the_policy=policy(**fields), the_settings=settings(optimizer=optimizer, weight_decay=0.1), **network)
    checked = []

    def look(sample):
        if sample.step == 6:
            assert run.events  # so that there are young entries, frozen ones, ramps
            parameters, before = list(run.model.parameters()), everything(run)
            growing = run.growth.policy.model_copy(
                update={"layer_selection": Probe(steps=3), "trigger": Schedule(every=1)}
            )
            (wanted,) = growing.wants(run.growth.history(run.samples, run.events, run.optimizer))
            values, _ = run.growth.probe(wanted, 3, sample, run.optimizer)
            assert len(set(values.values())) > 1
            assert all(map(lambda first, second: first is second, parameters, run.model.parameters()))
            checked.append(same(before, everything(run)))
        return Signal.STOP if checked else Signal.CONTINUE

    run.on_sample = look
    run.run()
    assert checked == [True]


class WithDropout(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)
        )


@pytest.mark.slow
def test_a_run_that_probes_is_the_run_that_knew_the_result(monkeypatch):
    """Dropout and augmentation draw at random in copies; that must not show in the run."""

    def one():
        torch.manual_seed(0)
        return trained(module=WithDropout(), the_data=data(augmentation="pad_crop_flip"),
                       the_policy=policy(layer_selection=probing(fraction=0.5)))  # fmt: skip

    probed = one()
    known = iter([event.statistics for event in probed.events])
    monkeypatch.setattr("autogrow.training.growth.probe_groups", lambda *arguments: next(known))
    knew = one()
    assert len(probed.events) > 3
    assert same(weights(probed), weights(knew))
    assert same(probed.optimizer.state_dict(), knew.optimizer.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer_state": "reset", "initialization": "xavier"},
        {"freeze": "old", "initialization": "paired"},
        {"freeze": {"kind": "thaw", "hold_samples": 0, "release_samples": 3}},
        {"connection_ramp_steps": 9, "new_unit_lr": 0.3, "initialization": "xavier"},
        {"new_unit_lr": "cohort", "initialization": "split"},
    ],
    ids=["reset", "freeze", "thaw", "ramp", "cohort"],
)
def test_a_copy_becomes_what_the_run_then_becomes(fields):
    """The value of the group that is chosen is minus the loss that the run reaches with it: bit for bit."""
    run = trained(
        the_policy=policy(
            layer_selection=probing(steps=2, fraction=0.5), trigger={"kind": "schedule", "every": 1}, **fields),
        the_settings=settings(sample_every=3, optimizer="adamw", weight_decay=0.1, epochs=2),
    )  # fmt: skip
    assert len(run.events) == 3
    for event in run.events:
        (chosen,) = event.added_units
        assert event.statistics[chosen] == -event.losses_after[2]
        assert event.statistics[chosen] == max(event.statistics.values())


class Branches(nn.Module):
    """Two branches, of which only the second has any say."""

    def __init__(self, weights=(0.0, 1.0)):
        super().__init__()
        self.first, self.second = nn.Linear(192, 16), nn.Linear(192, 16)
        self.read_first, self.read_second = nn.Linear(16, 4), nn.Linear(16, 4)
        self.weights = weights

    def forward(self, x):
        x = x.flatten(1)
        first, second = self.read_first(self.first(x).relu()), self.read_second(self.second(x).relu())
        return self.weights[0] * first + self.weights[1] * second


@pytest.mark.slow
@pytest.mark.parametrize(("shares", "better"), [((0.0, 1.0), "second"), ((1.0, 0.0), "first")])
def test_it_chooses_the_group_whose_growth_lowers_the_loss(shares, better):
    torch.manual_seed(0)
    run = trained(
        module=Branches(shares),
        the_policy=policy(initial_fraction=0.07, chunk_fraction=0.4, layer_selection=probing(steps=8, fraction=0.5)),
        the_settings=settings(learning_rate=0.02, learning_rate_schedule="constant", sample_size=64),
    )
    event = run.events[0]
    worse = {"first": "second", "second": "first"}[better]
    assert list(event.added_units) == [better]
    assert event.statistics[better] > event.statistics[worse] + 0.1


@pytest.mark.slow
def test_copies_are_paid_for():
    """At the size that they train at, on batches as large as the run's."""
    run = trainer(the_policy=policy(layer_selection=probing(steps=3, fraction=1.0)))
    outcome = run.run()
    per_example = [run.events[0].flops_before, *(event.flops_after for event in run.events)]
    ends = [event.step for event in run.events] + [outcome.steps]
    trained_flops = sum(
        16 * flops * (end - start) for flops, start, end in zip(per_example, [0, *ends], ends, strict=False)
    )
    assert outcome.training_flops == pytest.approx(trained_flops + sum(event.selection_flops for event in run.events))
    # 4 x 192 and 3 x 4 weights to begin with: forward and backward for weights, and backward for the first's outputs
    dense = [(8, 192, 3), (4, 192, 6)]
    expected = sum(2 * 2 * (a * inputs) + 2 * 3 * (a * b + b * 4) for a, inputs, b in dense)
    assert run.events[0].selection_flops == 3 * 16 * expected


@pytest.mark.slow
def test_only_candidates_are_tried_and_known():
    run = trained(
        the_policy=policy(layer_selection=probing(steps=1, candidates=2, fraction=0.2)),
        the_settings=settings(epochs=2),
        **RESNET,
    )
    assert [len(event.statistics) for event in run.events] == [2, 2]
    for event in run.events:
        assert set(event.added_units) <= set(event.statistics)


@pytest.mark.slow
def test_copies_near_the_end_of_the_run_have_batches_too():
    run = trained(the_policy=policy(layer_selection=probing(steps=30)), the_settings=settings(epochs=2))
    assert [event.step for event in run.events] == [4, 8]
    assert all(len(event.statistics) == 2 for event in run.events)
