"""`tiny` against least squares written out, and on tasks that the network is too narrow for."""

import copy
import statistics

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autogrow.network import ExpandableNetwork
from autogrow.network.fitting import fit_new_units
from autogrow.network.found_no_better import tiny
from autogrow.policy.initializations import Tiny, ZeroFanOut
from tests.network.fitting_cases import captured, prepared, regression, value_of
from tests.network.networks import user_network

pytestmark = pytest.mark.usefixtures("one_thread")


def narrow_regression(seed, examples=200, norm=False):
    """A network that is too narrow for its task and trained on it for a while, the loss and the inputs."""
    torch.manual_seed(seed)
    teacher = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 4))
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(2)
    inputs = torch.randn(examples, 10)
    targets = teacher(inputs).detach()
    module = nn.Sequential(nn.Linear(10, 3), nn.BatchNorm1d(3) if norm else nn.Identity(), nn.ReLU(), nn.Linear(3, 4))
    optimizer = torch.optim.Adam(module.parameters(), 0.03)
    for _ in range(80):
        optimizer.zero_grad()
        F.mse_loss(module(inputs), targets).backward()
        optimizer.step()
    return module, inputs, lambda twin: F.mse_loss(twin(inputs), targets)


def remaining(module, inputs, loss, settings, added=4):
    """The loss right after growing, relative to that before."""
    growing = ExpandableNetwork(copy.deepcopy(module), inputs)
    before = value_of(loss, growing.module)
    growing.widen("0", added, initialization=settings, loss=loss, calibration_input=inputs)
    return value_of(loss, growing.module) / before


@pytest.mark.slow
@pytest.mark.parametrize("norm", [False, True])
def test_tiny_lowers_the_loss_right_after_growing(norm, monkeypatch):
    fitted, drawn = [], []
    for seed in range(4):
        case = narrow_regression(seed, norm=norm)
        assert remaining(*case, ZeroFanOut()) == pytest.approx(1, abs=1e-5)
        fitted.append(remaining(*case, Tiny(scale=4)))
        with monkeypatch.context() as patch:
            patch.setattr(tiny, "ROUNDS", 0)  # the same fan-out and line search for a random fan-in
            drawn.append(remaining(*case, Tiny(scale=4)))
    assert max(fitted) < 0.95
    assert 1 - statistics.mean(fitted) > 1.5 * (1 - statistics.mean(drawn)) > 0


def test_tiny_takes_off_what_the_best_units_can_of_a_linear_network():
    torch.manual_seed(0)
    inputs, targets = torch.randn(400, 12) @ torch.randn(12, 12), torch.randn(400, 8)
    targets += inputs @ torch.randn(12, 8) / 5
    module = nn.Sequential(nn.Linear(12, 2, bias=False), nn.Linear(2, 8, bias=False))
    hidden = module[0](inputs).detach()
    with torch.no_grad():  # nothing is left for the present units to do
        module[1].weight.copy_(torch.linalg.lstsq(hidden, targets).solution.T)

    def loss(module):
        return 0.5 * (module(inputs) - targets).square().sum(1).mean()

    rest = targets - module(inputs).detach()
    root = torch.linalg.cholesky(inputs.T @ inputs / 400)
    values = torch.linalg.svdvals(torch.linalg.solve_triangular(root, inputs.T @ rest / 400, upper=False))
    before = value_of(loss, module)
    growing = ExpandableNetwork(module, inputs)
    growing.widen("0", 3, initialization="tiny", loss=loss)
    lowered = before - value_of(loss, module)
    assert 0.95 < lowered / (0.5 * values[:3].square().sum().item()) < 1.001


class Dense(nn.Module):
    """Two weights read the first layer; the second of them, and an output, read what the first one computes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(12, 3)
        self.inner = nn.Linear(3, 5)
        self.head = nn.Linear(8, 6)
        with torch.no_grad():
            self.head.weight[:5, 3:] = 0
            self.head.weight[5, 3:] = 0.5

    def forward(self, x):
        x = self.first(x)
        inner = self.inner(x).mul_(3)
        return torch.cat([self.head(torch.cat([x, inner], 1)), -0.5 * inner.sum(1, keepdim=True)], 1)


def explained_away(inputs, targets):
    """What least squares on the inputs and a constant leaves of the targets."""
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()
    return targets.double() - inputs @ torch.linalg.lstsq(inputs, targets.double()).solution


def test_tiny_finds_the_direction_of_the_paper_for_several_readers():
    torch.manual_seed(0)
    module, inputs = Dense(), torch.randn(300, 12) @ torch.randn(12, 12) / 3
    targets = torch.tanh(inputs @ torch.randn(12, 7)) + 2

    def loss(module):
        return F.mse_loss(module(inputs), targets)

    with torch.no_grad():
        first = module.first(inputs)
        v = 2 * (targets - module(inputs)) / 7
        v_inner = 3 * (v[:, :6] @ module.head.weight[:, 3:] - 0.5 * v[:, 6:])
        # The inner units, which the head reads too, are linear in the first ones.
        rest = torch.cat([explained_away(first, v_inner), explained_away(first, v[:, :6])], 1)
    root = torch.linalg.cholesky(inputs.T.double() @ inputs.double())
    products = torch.linalg.solve_triangular(root, inputs.T.double() @ rest, upper=False).T
    growing = ExpandableNetwork(module, inputs)
    resizing = prepared(growing, {"first": 1})
    fit_new_units(growing, resizing, Tiny(), loss, None)
    new = next(change for change in resizing.changes if change.name == "first.weight").new.detach()[3:].double()
    assert captured(products, new @ root) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("case", ["few examples", "duplicate inputs", "dead inputs", "no inputs", "constant targets"])
def test_tiny_works_with_singular_inputs(case):
    module, inputs, loss = narrow_regression(0, examples=6 if case == "few examples" else 50)
    if case == "duplicate inputs":
        inputs[:, 5:] = inputs[:, :5]
    elif case == "dead inputs":
        inputs[:, 3:] = 0
    elif case == "no inputs":
        inputs[:] = 0
    elif case == "constant targets":
        with torch.no_grad():
            module[3].weight.zero_()
    assert remaining(module, inputs, loss, Tiny()) <= 1 + 1e-6


def test_tiny_steps_back_until_the_loss_falls_no_further():
    module, inputs, loss = narrow_regression(0)
    best = remaining(module, inputs, loss, Tiny(scale=2))
    assert remaining(module, inputs, loss, Tiny(scale=8)) == pytest.approx(best)
    assert remaining(module, inputs, loss, Tiny(scale=8, halvings=0)) == 1
    assert best < remaining(module, inputs, loss, Tiny(scale=0.1)) < 1


def test_tiny_leaves_readers_that_it_cannot_fit_at_zero():
    module, batch = user_network("transposed")
    growing = ExpandableNetwork(module, batch)
    growing.widen("encode", 2, initialization="tiny", loss=regression(module, batch))
    assert not module.decode.weight[6:].any()
    level = value_of(regression(module, batch), module)
    growing.widen("decode", 2, initialization="tiny", loss=regression(module, batch))
    assert module.out.weight[:, 5:].any()
    assert value_of(regression(module, batch), module) < level
