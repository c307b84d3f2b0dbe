import pytest
import torch
from torch import nn

from autogrow.network import ExpandableNetwork
from autogrow.network.flops import training_flops_per_example
from autogrow.network.statistics import activation_std, evaluating
from tests.network.networks import built_in


def test_activation_std_is_read_at_the_norms_and_leaves_no_hooks():
    module, batch = built_in("mlp")
    growing = ExpandableNetwork(module, batch)
    measured = activation_std(module, growing.groups, batch)
    with evaluating(module):
        first = module[2](module[1](batch.flatten(1)))
    assert measured["1"] == pytest.approx(first.std(correction=0).item(), rel=1e-5)
    assert set(measured) == {group.name for group in growing.groups}
    assert all(not layer._forward_hooks and not layer._forward_pre_hooks for layer in module.modules())


def test_hooks_are_removed_when_the_network_fails():
    module, batch = built_in("mlp")
    groups = ExpandableNetwork(module, batch).groups
    with pytest.raises(RuntimeError):
        activation_std(module, groups, torch.randn(2, 3))
    assert all(not layer._forward_hooks for layer in module.modules())


def test_evaluating_restores_every_modules_own_mode():
    module = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3))
    module.train()
    module[1].eval()
    with evaluating(module):
        assert not any(layer.training for layer in module.modules())
    assert [layer.training for layer in module.modules()] == [True, True, False]


@pytest.mark.parametrize("examples", [1, 3])
def test_flops_of_a_linear_network_are_those_of_its_products(examples):
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    forward = 2 * (8 * 16 + 16 * 4)
    weight_gradients, input_gradient = forward, 2 * 16 * 4
    counted = training_flops_per_example(module, torch.randn(examples, 8))
    assert counted == forward + weight_gradients + input_gradient


def test_counting_flops_leaves_gradients_and_mode_alone():
    module, batch = built_in("resnet")
    module.train()
    training_flops_per_example(module, batch)
    assert module.training
    assert all(parameter.grad is None for parameter in module.parameters())
