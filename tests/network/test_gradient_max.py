"""`gradient_max` against the exact singular vectors, and behind norms and ReLUs."""

import statistics

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autogrow.network import ExpandableNetwork
from autogrow.network.fitting import fit_new_units
from autogrow.network.new_units.unit_blocks import find_unit_blocks
from autogrow.network.running.undisturbed import evaluating
from autogrow.policy.initializations import GradientMax, ZeroFanOut
from tests.network.fitting_cases import captured, prepared, regression
from tests.network.networks import batch_of

pytestmark = pytest.mark.usefixtures("one_thread")


def linear_products(seed):
    """A linear network, what its new units read, and M = E[delta x^T]."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(30, 12), nn.Identity(), nn.Linear(12, 20))
    inputs, targets = torch.randn(200, 30) * torch.linspace(0.3, 2, 30), torch.randn(200, 20)
    made = module(inputs)
    delta = torch.autograd.grad(F.mse_loss(made, targets), made)[0]
    return module, inputs, lambda twin: F.mse_loss(twin(inputs), targets), delta.T @ inputs


def convolutional_products(seed):
    """The same of two convolutions: M from patches of patches, (outputs x kernel, inputs x kernel)."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(4, 5, 3), nn.Identity(), nn.Conv2d(5, 6, 2))
    inputs, targets = torch.randn(20, 4, 9, 9), torch.randn(20, 6, 6, 6)
    inputs = F.avg_pool2d(inputs, 2, 1, 1)[:, :, :9, :9] + inputs * torch.tensor([0.2, 0.5, 1, 2]).view(1, 4, 1, 1)
    made = module(inputs)
    delta = torch.autograd.grad(F.mse_loss(made, targets), made)[0].flatten(2)
    read = F.unfold(inputs, 3)
    reread = F.unfold(read.view(20, 36, 7, 7), 2).view(20, 36, 4, 36)
    products = torch.einsum("nop,nfqp->oqf", delta, reread).reshape(24, 36)
    return module, inputs, lambda twin: F.mse_loss(twin(inputs), targets), products


@pytest.mark.slow
@pytest.mark.parametrize(("iterations", "share"), [(1, 0.9), (2, 0.95), (10, 0.99)])
@pytest.mark.parametrize("case", [linear_products, convolutional_products])
def test_gradient_max_finds_the_top_singular_vectors(case, iterations, share):
    shares = []
    for seed in range(6):
        module, inputs, loss, products = case(seed)
        growing, old = ExpandableNetwork(module, inputs), module[0].weight.detach().clone().flatten(1)
        growing.widen("0", 6, initialization=GradientMax(iterations=iterations, scale=0.5), loss=loss)
        new = module[0].weight.detach().flatten(1)[len(old) :]
        assert new.norm(dim=1).tolist() == pytest.approx([0.5 * old.norm(dim=1).square().mean().sqrt().item()] * 6)
        assert not module[2].weight[:, len(old) :].any()
        shares.append(captured(products, new))
    assert statistics.mean(shares) > share


def test_behind_a_norm_the_mean_of_the_inputs_does_not_count():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(10, 12), nn.BatchNorm1d(12), nn.Linear(12, 20))
    inputs = torch.randn(400, 10) + 3
    targets = 1 + torch.randn(400, 20) + 2 * inputs[:, :1]

    def loss(module):
        return F.mse_loss(module(inputs), targets)

    with evaluating(module):
        delta = 2 * (module(inputs) - targets) / targets.numel()
    growing = ExpandableNetwork(module, inputs)
    for iterations in (3, 4):  # what one round finds, the next does not lose
        network = growing.twin()
        network.widen("0", 1, initialization=GradientMax(iterations=iterations), loss=loss)
        new = network.module[0].weight.detach()[12:]
        assert captured(delta.T @ (inputs - inputs.mean(0)), new) > 0.95


def test_groups_that_grow_together_are_fitted_as_if_each_grew_alone():
    torch.manual_seed(0)
    module, batch = nn.Sequential(nn.Linear(9, 5), nn.Linear(5, 6), nn.Linear(6, 8)), batch_of((9,), 50)
    growing, loss = ExpandableNetwork(module, batch), regression(module, batch)
    together, alone = prepared(growing, {"0": 3, "1": 4}), prepared(growing, {"0": 3})
    for resizing in (together, alone):
        fit_new_units(growing, resizing, GradientMax(), loss, None)
    assert torch.allclose(together.changes[0].new, alone.changes[0].new, atol=1e-3)


def fan_out_gradient(growing, added, settings, loss, batch):
    """Norm of the gradient that the fan-out of new units has in training mode, right after growing."""
    network = growing.twin()
    blocks = find_unit_blocks(network.structure, prepared(network, added))
    network.widen_groups(added, initialization=settings, loss=loss, calibration_input=batch)
    parameters = dict(network.module.named_parameters())
    with torch.no_grad():
        for block in (block for group in blocks for block in group.fan_in):
            rows, usual = block.read(parameters[block.name]), block.usual_norm(parameters[block.name])
            block.write(parameters[block.name], rows / rows.norm(dim=1, keepdim=True) * usual)
    names = [block.name for group in blocks for block in group.fan_out]
    found = torch.autograd.grad(loss(network.module.train()), [parameters[name] for name in names])
    parts = zip([block for group in blocks for block in group.fan_out], found, strict=True)
    return sum(block.read(gradient).square().sum() for block, gradient in parts).sqrt().item()


def behind_norms(name, seed):
    """A network with norms and ReLUs, and inputs of ten classes in noise."""
    torch.manual_seed(seed)
    targets = torch.arange(200) % 10
    if name == "mlp":
        layers = [nn.Linear(40, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)]
        centres, noise = batch_of((40,), 10), batch_of((40,), 200)
    else:
        layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)]
        centres = F.interpolate(batch_of((3, 3, 3), 10), size=(10, 10), mode="bilinear")
        noise = batch_of((3, 10, 10), 200)
    batch = noise + 0.5 * centres[targets]
    return nn.Sequential(*layers), batch, lambda module: F.cross_entropy(module(batch), targets)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "group"), [("mlp", "0"), ("convnet", "0"), ("convnet", "3")])
def test_gradient_max_enlarges_the_gradient_behind_relus_and_norms(name, group):
    ratios = []
    for seed in range(3):
        module, batch, loss = behind_norms(name, seed)
        growing = ExpandableNetwork(module, batch)
        fitted, drawn = (
            fan_out_gradient(growing, {group: 6}, settings, loss, batch) for settings in (GradientMax(), ZeroFanOut())
        )
        ratios.append(fitted / drawn)
    assert statistics.median(ratios) > 1.5


def test_more_units_than_directions_keep_what_was_drawn():
    torch.manual_seed(0)
    module, batch = nn.Sequential(nn.Linear(9, 4), nn.Identity(), nn.Linear(4, 2)), batch_of((9,), 50)
    growing = ExpandableNetwork(module, batch)
    drawn, fitted = prepared(growing, {"0": 6}), prepared(growing, {"0": 6})
    fit_new_units(growing, fitted, GradientMax(), regression(module, batch), None)
    kept = (drawn.changes[0].new[4:] == fitted.changes[0].new[4:]).all(1)
    assert kept.sum() == 4
