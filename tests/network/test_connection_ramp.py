"""Gradual connection: weights between old and new units fade in."""

import copy

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from tests.network.optimizers import LEARNING_RATE, configured, plain_sgd, push, values_of, widen_all

NUM_STEPS = 7
pytestmark = pytest.mark.usefixtures("one_thread")


def r(age, num_steps):
    """The ramp as the module's docstring has it."""
    return 1.0 if age >= num_steps else 1 / num_steps + (1 - 1 / num_steps) * age / num_steps


def grown(initialization, dtype=torch.float64, **configuration):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).to(dtype)
    twin = copy.deepcopy(module)
    networks = []
    for each, num_steps in ((module, NUM_STEPS), (twin, 0)):
        growing = ExpandableNetwork(each, torch.randn(2, 3, dtype=dtype), verify=False)
        optimizer = torch.optim.SGD(each.parameters(), LEARNING_RATE, momentum=0.9)
        control = growing.attach(optimizer)
        control.configure(connection_ramp_steps=num_steps, **configuration)
        push(each, optimizer, 0.1, steps=2)
        growing.widen_groups({"0": 2, "2": 3}, optimizer=optimizer, initialization=initialization)
        networks.append((growing, optimizer, control))
    return networks


@pytest.mark.slow
@pytest.mark.parametrize("initialization", ["xavier", "zero_fan_out"])
@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("entries", [8, 2**16])
def test_against_a_reference(initialization, rate, entries, monkeypatch):
    """s = r * w, where w takes the updates as they come: with constant gradients those of a network without ramps."""
    monkeypatch.setattr("autogrow.network.optimizer.cohorts.BLOCK_ENTRIES", entries)
    (growing, optimizer, _), (free, its_optimizer, _) = grown(initialization, new_unit_lr=rate)
    reference = dict(free.module.named_parameters())
    for age in range(NUM_STEPS + 3):
        for key, value in growing.module.named_parameters():
            ramps = growing.cohorts.connections(key, value)
            expected = torch.where(ramps, r(age, NUM_STEPS) * reference[key], reference[key])
            assert torch.allclose(value, expected, rtol=1e-12, atol=1e-15), (key, age)
            if not ramps.any():
                assert torch.equal(value, reference[key])
        push(growing.module, optimizer, 0.1)
        push(free.module, its_optimizer, 0.1)


def test_which_entries_ramp():
    (growing, _, _), (free, _, _) = grown("xavier")
    shares = {
        key: value / other
        for (key, value), other in zip(growing.module.named_parameters(), free.module.parameters(), strict=True)
    }
    first = 1 / NUM_STEPS
    assert torch.allclose(shares["0.weight"][4:], torch.full((2, 3), first, dtype=torch.float64))
    middle = shares["2.weight"]
    assert torch.equal(middle[:5, :4], torch.ones_like(middle[:5, :4]))
    assert torch.equal(middle[5:, 4:], torch.ones_like(middle[5:, 4:]))
    assert torch.allclose(middle[:5, 4:], torch.full_like(middle[:5, 4:], first))
    assert torch.allclose(middle[5:, :4], torch.full_like(middle[5:, :4], first))
    assert all(torch.equal(growing.module[i].bias, free.module[i].bias) for i in (0, 2, 4))


def test_frozen_connections_wait():
    (growing, optimizer, control), _ = grown("xavier")
    push(growing.module, optimizer, 0.1, steps=2)
    growing.widen("0", 1, optimizer=optimizer)
    control.freeze_before(2)
    before = values_of(growing.module)
    push(growing.module, optimizer, 0.1, steps=4)
    for key, value in growing.module.named_parameters():
        old = growing.cohorts.of(key, value) < 2
        assert torch.equal(value[old], before[key][old])
    assert control.state_dict()["ramps"] == {1: [2.0, NUM_STEPS], 2: [4.0, NUM_STEPS]}
    control.freeze_before(2, released=0.5)
    push(growing.module, optimizer, 0.0)
    assert control.state_dict()["ramps"][1] == [2.5, NUM_STEPS]
    # What moved: half of what momentum asks for, and the connections by half a step of their ramp.
    weight = growing.module[4].weight
    update = -LEARNING_RATE * optimizer.state[weight]["momentum_buffer"]
    earlier, now = r(2, NUM_STEPS), r(2.5, NUM_STEPS)
    expected = now / earlier * before["4.weight"] + now * 0.5 * update
    assert torch.allclose(weight[:, 5:], expected[:, 5:], rtol=1e-12)
    assert torch.allclose(weight[:, :5], (before["4.weight"] + 0.5 * update)[:, :5], rtol=1e-12)


def test_two_events_ramp_apart():
    (growing, optimizer, control), _ = grown("zero_fan_out")
    push(growing.module, optimizer, 0.1, steps=5)
    growing.widen("0", 1, optimizer=optimizer)
    push(growing.module, optimizer, 0.1, steps=2)
    assert control.state_dict()["ramps"] == {2: [2.0, NUM_STEPS]}
    push(growing.module, optimizer, 0.1, steps=5)
    assert control.state_dict()["ramps"] == {}
    assert control.leaves_updates_alone


@pytest.mark.parametrize("num_steps", [0, 1])
def test_no_ramp(num_steps):
    growing, optimizer, control, _ = configured(plain_sgd, connection_ramp_steps=num_steps)
    widen_all(growing, optimizer, initialization="xavier")
    assert control.leaves_updates_alone


def test_negative_steps():
    _, _, control, _ = configured(plain_sgd, steps=0)
    with pytest.raises(NetworkError, match="connection_ramp_steps is -1"):
        control.configure(connection_ramp_steps=-1)


def test_a_ramp_under_way_keeps_its_length():
    (growing, optimizer, control), _ = grown("xavier")
    control.configure(connection_ramp_steps=50)
    push(growing.module, optimizer, 0.1, steps=NUM_STEPS)
    assert control.state_dict()["ramps"] == {}
