import math

import pytest
import torch
from torch import nn

from autogrow.network import ExpandableNetwork
from autogrow.network.resizing.initialization import INITIALIZERS
from autogrow.policy.initializations import INITIALIZATIONS


def grown(initialization, inputs=300, hidden=200, added=200):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 10))
    ExpandableNetwork(module, torch.randn(4, inputs)).widen("0", added, initialization=initialization)
    return module[0].weight[hidden:], module[2].weight[:, hidden:], module[0].bias


def test_what_policies_may_name_is_what_networks_can_do():
    assert set(INITIALIZATIONS) == set(INITIALIZERS)


def test_zero_fan_out_follows_the_new_fan_in():
    fan_in, fan_out, _ = grown("zero_fan_out")
    assert fan_in.std().item() == pytest.approx(math.sqrt(2 / 300), rel=0.02)
    assert not fan_out.any()


def test_xavier_follows_both_fans_after_growing():
    fan_in, fan_out, _ = grown("xavier")
    assert fan_in.abs().max().item() <= math.sqrt(6 / (300 + 400))
    assert fan_in.std().item() == pytest.approx(math.sqrt(2 / (300 + 400)), rel=0.02)
    assert fan_out.std().item() == pytest.approx(math.sqrt(2 / (400 + 10)), rel=0.05)


@pytest.mark.parametrize("name", ["zero_fan_out", "xavier"])
def test_new_biases_are_spread_as_the_old_ones(name):
    _, _, bias = grown(name)
    old, new = bias[:200].detach(), bias[200:].detach()
    assert torch.isin(new, old).all()
    assert len(new.unique()) > 100  # all alike, units that read one input would bend at the same place
    assert new.std().item() == pytest.approx(old.std().item(), rel=0.15)


@pytest.mark.parametrize("name", [name for name, kind in INITIALIZATIONS.items() if not kind.keeps_outputs])
def test_inexact_initializations_say_so_rightly(name):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 20), nn.ReLU(), nn.Linear(20, 3))
    batch = torch.randn(8, 5)
    before = module(batch).detach()
    ExpandableNetwork(module, batch).widen("0", 20, initialization=name, loss=lambda twin: twin(batch).square().mean())
    assert (module(batch) - before).abs().max() > 1e-4


def test_new_norm_channels_start_with_measured_statistics():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    batch = torch.randn(64, 4) * 3 + 1
    old = module[1].running_mean.clone()
    ExpandableNetwork(module, batch).widen("0", 5, calibration_input=batch)
    values = module[0](batch).detach()
    assert torch.equal(module[1].running_mean[:6], old)
    assert torch.allclose(module[1].running_mean[6:], values[:, 6:].mean(0), atol=1e-5)
    assert torch.allclose(module[1].running_var[6:], values[:, 6:].var(0), rtol=1e-4)


def test_a_small_start_has_the_variance_of_its_width():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(50, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 3))
    growing = ExpandableNetwork(module, torch.randn(2, 50))
    stds = [module[index].weight.std().item() for index in (0, 2)]
    growing.start_small({"0": 100, "2": 100})
    assert module[2].weight.shape == (100, 100)
    assert module[0].weight.std().item() == pytest.approx(stds[0], rel=0.05)
    assert module[2].weight.std().item() == pytest.approx(2 * stds[1], rel=0.05)
    assert [group.full_width for group in growing.groups] == [400, 400]
