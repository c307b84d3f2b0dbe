"""The smallest weights become zeros, of all or of each layer, and stay zeros whatever trains on."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_records import Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.unit_removal import RemovalOrder
from autogrow.training.ending import Signal
from autogrow.training.records import TrialFolder
from autogrow.training.recovery import RecoveryRun
from autogrow.training.shrink_targets import UnreachableError
from autogrow.training.shrinking import Shrinker
from autogrow.training.zeroing import holding_zeros, prunable, zero_smallest
from tests.training.runs import CPU, SHAPE, data, settings

RAW = RemovalOrder()


def two_layers():
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.arange(1.0, parameter.numel() + 1).reshape(parameter.shape))
        module[1].weight.mul_(-10)
    return module


def nonzero(module):
    return sum(int(parameter.count_nonzero()) for parameter in module.parameters())


def test_the_smallest_of_all_go_whatever_their_sign():
    module = two_layers()  # weights 1 to 12, and -10 to -60; 5 biases
    assert zero_smallest(module, RAW, Target("nonzero", 23 - 11)) == 11
    assert module[0].weight.flatten().tolist() == [0.0] * 9 + [0.0, 11.0, 12.0]
    assert module[1].weight.flatten().tolist() == [0.0, -20, -30, -40, -50, -60]
    assert (nonzero(module), int(module[0].bias.count_nonzero())) == (12, 3)


def test_the_same_share_of_each_layer():
    module = two_layers()
    zero_smallest(module, RemovalOrder(budget="per_group"), Target("nonzero", 23 - 9))
    assert int((module[0].weight == 0).sum()) == 6 and int((module[1].weight == 0).sum()) == 3


def test_zeros_that_are_there_count_and_no_layer_is_emptied():
    module = two_layers()
    with torch.no_grad():
        module[0].weight[0] = 0.0
    assert zero_smallest(module, RAW, Target("nonzero", 19)) == 0
    assert zero_smallest(module, RAW, Target("nonzero", 7)) == 12  # one of each layer stays, and all biases
    assert module[0].weight.count_nonzero() == module[1].weight.count_nonzero() == 1
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(UnreachableError, match="6 parameters that are not zero cannot be reached: .* 7 are left"):
        zero_smallest(module, RAW, Target("nonzero", 6))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_only_weights_of_these_names_and_none_that_are_computed():
    module = nn.Sequential(nn.Linear(4, 3), weight_norm(nn.Linear(3, 3)), nn.LayerNorm(3))
    assert [*prunable(module)] == ["0.weight"]
    assert [*prunable(nn.Sequential(two_layers(), two_layers()), ["1"])] == ["1.0.weight", "1.1.weight"]
    module = two_layers()
    zero_smallest(module, RAW, Target("nonzero", 20), only=["1"])
    assert (module[0].weight != 0).all() and int((module[1].weight == 0).sum()) == 3


def network():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )
    return ExpandableNetwork(module, torch.zeros(2, *SHAPE))


@pytest.mark.parametrize(
    "trained_with",
    [{"optimizer": "adamw", "weight_decay": 0.1}, {"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adam"}],
    ids=str,
)
def test_zeros_stay_zeros_while_all_else_trains(trained_with):
    growing = network()
    zero_smallest(growing.module, RemovalOrder(), Target("nonzero", 100))
    before = {name: parameter.clone() for name, parameter in growing.module.named_parameters()}
    RecoveryRun(
        growing, data(), Recovery(epochs=2, distortion=0.1), settings(**trained_with), holds_zeros=True, device=CPU
    ).run()
    for name, parameter in growing.module.named_parameters():
        if parameter.dim() > 1:
            assert torch.equal(parameter == 0, before[name] == 0)
            assert (parameter != before[name])[before[name] != 0].float().mean() > 0.9


def test_what_an_optimizer_carries_moves_no_zero():
    module = two_layers()
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    module(torch.ones(1, 4)).sum().backward()
    optimizer.step()  # momentum of all weights
    zero_smallest(module, RAW, Target("nonzero", 12))
    hold = holding_zeros(module)
    optimizer.step()
    assert nonzero(module) > 12
    hold()
    assert nonzero(module) == 12


@pytest.mark.slow
def test_an_interrupted_recovery_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("autogrow.training.ending.INTERRUPT_POLL_SECONDS", 0.0)

    def recovered(folder, interrupted=None):
        growing = network()
        zero_smallest(growing.module, RemovalOrder(), Target("nonzero", 100))
        run = RecoveryRun(
            growing, data(), Recovery(epochs=3), settings(), holds_zeros=True, device=CPU,
            folder=TrialFolder(tmp_path / folder), interrupted=interrupted,
        )  # fmt: skip
        return run.run().signal, growing.module.state_dict()

    _, whole = recovered("whole")
    asked = []
    signal, _ = recovered("cut", lambda: bool(asked.append(1)) or len(asked) > 7)
    assert signal is Signal.INTERRUPT
    _, resumed = recovered("cut")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert int((resumed["0.weight"] == 0).sum()) > 0


def test_a_step_says_how_many(monkeypatch):
    monkeypatch.setattr(Shrinker, "latencies", lambda shrinker: ())
    growing = network()
    shrinker = Shrinker(
        growing, data(), Shrinking(remove="weights", recovery=Recovery(epochs=1)), settings(), device=CPU
    )
    before = shrinker.before()
    step = shrinker.step("step", Target("nonzero", 0.5 * before.footprint.nonzero))
    assert step.footprint.nonzero <= 0.5 * before.footprint.nonzero
    assert step.removed_weights == before.footprint.nonzero - step.footprint.nonzero
    assert (step.footprint.flops, step.footprint.parameters, step.footprint.bytes) == (
        before.footprint.flops, before.footprint.parameters, before.footprint.bytes,
    )  # fmt: skip
