"""The share of the gradient that reaches new units."""

import pytest
import torch
from torch import nn

from autogrow.network import ExpandableNetwork
from autogrow.training.aftermath import newborn_gradient_ratio


@pytest.fixture
def growing():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    growing = ExpandableNetwork(module, torch.randn(2, 3), verify=False)
    growing.widen("0", 2)
    return growing


def set_gradients(growing, old, new, cohort=1):
    for name, parameter in growing.module.named_parameters():
        is_new = growing.cohorts.of(name, parameter) >= cohort
        parameter.grad = torch.where(is_new, torch.tensor(new), torch.tensor(old)).float()


def test_by_hand(growing):
    set_gradients(growing, old=2.0, new=-1.0)
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 1) == pytest.approx(0.5)


def test_zero_fan_out_starves_the_fan_in(growing):
    growing.module(torch.randn(8, 3)).square().sum().backward()
    assert torch.equal(growing.module[0].weight.grad[4:], torch.zeros(2, 3))
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 1) > 0  # that of the fan-out
    growing.module[2].weight.grad[:, 4:] = 0
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 1) == 0


def test_parameters_without_both_sorts_do_not_count(growing):
    set_gradients(growing, old=2.0, new=1.0)
    growing.module[2].bias.grad.fill_(1e6)  # has no new entry
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 1) == pytest.approx(0.5)
    growing.cohorts.add(["2.bias"])  # or is new altogether
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 1) == pytest.approx(0.5)


def test_all_earlier_cohorts_are_compared_with(growing):
    growing.widen("0", 2)
    set_gradients(growing, old=2.0, new=1.0, cohort=2)
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 2) == pytest.approx(0.5)
    growing.module[0].bias.grad[4:6] = 100.0
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 2) < 0.5


def test_nothing_to_compare(growing):
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 1) is None  # no gradients
    set_gradients(growing, old=0.0, new=1.0)
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 1) is None  # nothing to divide by
    set_gradients(growing, old=1.0, new=1.0)
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 0) is None  # nothing earlier
    assert newborn_gradient_ratio(growing.module, growing.cohorts, 2) is None  # no such cohort
