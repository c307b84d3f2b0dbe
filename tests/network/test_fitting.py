"""Initializations that look at data: `gradient_max` and `tiny`."""

import copy
import statistics

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork, tiny
from autogrow.network.evaluating import evaluating
from autogrow.network.fitting import fit_new_units
from autogrow.network.initialization import make_initializer
from autogrow.network.layout import NEW
from autogrow.network.resizing import prepare_resizing
from autogrow.network.subspaces import orthonormal_rows
from autogrow.network.unit_blocks import find_unit_blocks
from autogrow.policy.initializations import GradientMax, Tiny, ZeroFanOut
from tests.network.networks import BUILT_IN, USER_NETWORKS, batch_of, built_in, user_network
from tests.network.test_patterns import PATTERNS
from tests.network.untouched import untouched

pytestmark = pytest.mark.usefixtures("one_thread")

FITTED = [GradientMax(), Tiny()]
BOTH = pytest.mark.parametrize("settings", FITTED, ids=lambda settings: settings.kind)
UNUSUAL = [
    "batch norm without gains or statistics", "binarized weights", "convolution over words", "functional calls", "gru",
    "hierarchical split", "instance norm in a residual stream", "layer used twice", "layers called by keyword",
    "own backward pass", "residual attention", "scripted block", "shuffle of two groups", "tied weights",
]  # fmt: skip
NETWORKS = ["mlp", "convnet", "resnet", *USER_NETWORKS, *UNUSUAL]


def network(name):
    if name in PATTERNS:
        return PATTERNS[name].module(), PATTERNS[name].batch()
    return built_in(name) if name in BUILT_IN else user_network(name)


def outputs(module, batch):
    with evaluating(module):
        return [leaf for leaf in tree_leaves(module(batch)) if isinstance(leaf, torch.Tensor)]


def regression(module, batch):
    """Squared distance to fixed targets, of all outputs."""
    generator = torch.Generator().manual_seed(5)
    targets = [torch.randn(leaf.shape, generator=generator) for leaf in outputs(module, batch)]

    def loss(module):
        made = [leaf for leaf in tree_leaves(module(batch)) if isinstance(leaf, torch.Tensor)]
        return sum(F.mse_loss(leaf, target) for leaf, target in zip(made, targets, strict=True))

    return loss


def value_of(loss, module):
    with evaluating(module):
        return float(loss(module))


def prepared(growing, added, seed=0):
    units = {name: growing._with_new_units(name, number) for name, number in added.items()}
    generator = torch.Generator().manual_seed(seed)
    return prepare_resizing(growing.module, growing.structure, units, make_initializer(ZeroFanOut()), generator)


def different_numbers(growing):
    return {group.name: 1 + index % 3 for index, group in enumerate(growing.groups)}


# Both


@BOTH
@pytest.mark.parametrize("name", NETWORKS)
def test_fitting_keeps_its_promise_in_all_sorts_of_networks(name, settings):
    module, batch = network(name)
    growing = ExpandableNetwork(module, batch)
    loss, before = regression(module, batch), outputs(module, batch)
    level = value_of(loss, module)
    growing.widen_groups(different_numbers(growing), initialization=settings, loss=loss, calibration_input=batch)
    after = outputs(module, batch)
    assert all(leaf.isfinite().all() for leaf in after)
    if settings.keeps_outputs:
        assert all((new - old).abs().max() <= 1e-5 * old.abs().max() for new, old in zip(after, before, strict=True))
    else:
        assert value_of(loss, module) <= level * (1 + 1e-6)


def new_along(change, dim):
    """Which entries of a dimension are new, broadcast against the tensor."""
    if dim not in change.sources:
        return torch.zeros([1] * change.new.dim(), dtype=torch.bool)
    return (change.sources[dim] == NEW).view([-1 if other == dim else 1 for other in range(change.new.dim())])


@BOTH
@pytest.mark.parametrize("name", ["resnet", "concatenation", "transposed", "shuffle of two groups", "embedding"])
def test_only_entries_between_new_and_old_units_are_written(name, settings):
    module, batch = network(name)
    growing = ExpandableNetwork(module, batch)
    module.train()
    next(module.parameters()).requires_grad_(False)
    fixed = regression(module, batch)

    def loss(module):
        return fixed(module) * (1 + 0.1 * torch.rand(()))  # draws from the global random state

    drawn, fitted, again = (prepared(growing, different_numbers(growing)) for _ in range(3))
    with untouched(module):
        fit_new_units(growing, fitted, settings, loss, batch)
        fit_new_units(growing, again, settings, loss, batch)
    written = 0
    for change, old, repeated in zip(fitted.changes, drawn.changes, again.changes, strict=True):
        assert torch.equal(change.new, repeated.new)
        assert change.new.requires_grad == old.new.requires_grad and change.new.grad is None
        layout, differs = growing.structure.tensors[change.name], change.new != old.new
        if differs.any():
            reads_new, is_new = (new_along(change, dim) for dim in (layout.in_dim, layout.out_dim))
            assert not differs[(reads_new == is_new).expand(differs.shape)].any()
            if settings.keeps_outputs:
                assert not differs[(reads_new & ~is_new).expand(differs.shape)].any()
        written += int(differs.sum())
    assert written or (name, settings.kind) == ("embedding", "tiny")  # least squares cannot be done on an embedding


@BOTH
def test_a_loss_that_cannot_be_used_or_fails_changes_nothing(settings):
    module, batch = built_in("mlp")
    growing, name = ExpandableNetwork(module, batch), "1"

    def failing(module):
        module(batch)
        raise RuntimeError("out of memory")

    with untouched(module):
        with pytest.raises(NetworkError, match=r"shape \(\) without gradients"):
            growing.widen(name, 2, initialization=settings, loss=lambda module: module(batch).detach().sum())
        with pytest.raises(NetworkError, match=r"shape \(6, 7\);"):
            growing.widen(name, 2, initialization=settings, loss=lambda module: module(batch))
        with pytest.raises(RuntimeError, match="out of memory"):
            growing.widen(name, 2, initialization=settings, loss=failing)


@BOTH
def test_units_without_a_gradient_keep_what_was_drawn(settings):
    torch.manual_seed(0)
    module, batch = (
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2)),
        batch_of((4,)),
    )
    growing = ExpandableNetwork(module, batch)
    with torch.no_grad():
        module[4].weight.zero_()
    drawn, fitted = prepared(growing, {"0": 3}), prepared(growing, {"0": 3})
    fit_new_units(growing, fitted, settings, regression(module, batch), None)
    assert all(torch.equal(new.new, old.new) for new, old in zip(fitted.changes, drawn.changes, strict=True))


# Gradient max


def captured(products, directions):
    """Share of the energy of M (outputs x inputs) along k directions (k x inputs), of the most that k can have."""
    basis = orthonormal_rows(directions)
    most = torch.linalg.svdvals(products.double())[: len(directions)].square().sum()
    return float((products.double() @ basis.T).square().sum() / most)


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


@pytest.mark.parametrize(("iterations", "share"), [(1, 0.85), (2, 0.95), (10, 0.985)])
@pytest.mark.parametrize("case", [linear_products, convolutional_products])
def test_gradient_max_finds_the_top_singular_vectors(case, iterations, share):
    shares = []
    for seed in range(4):
        module, inputs, loss, products = case(seed)
        growing, old = ExpandableNetwork(module, inputs), module[0].weight.detach().clone().flatten(1)
        growing.widen("0", 6, initialization=GradientMax(iterations=iterations, scale=0.5), loss=loss)
        new = module[0].weight.detach().flatten(1)[len(old) :]
        assert new.norm(dim=1).tolist() == pytest.approx([0.5 * old.norm(dim=1).square().mean().sqrt().item()] * 6)
        assert not module[2].weight[:, len(old) :].any()
        shares.append(captured(products, new))
    assert min(shares) > share


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


@pytest.mark.parametrize(("name", "group"), [("mlp", "0"), ("convnet", "0"), ("convnet", "3")])
def test_gradient_max_enlarges_the_gradient_behind_relus_and_norms(name, group):
    ratios = []
    for seed in range(5):
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


def test_orthonormal_rows_are_the_nearest_and_as_many_as_the_rank():
    torch.manual_seed(0)
    matrix = torch.randn(5, 8, dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.allclose(orthonormal_rows(matrix), left @ right)
    assert torch.allclose(orthonormal_rows(1e-30 * matrix), left @ right)
    deficient = torch.cat([torch.zeros(1, 8), matrix[:2], matrix[:2] * 2, torch.zeros(1, 8)])
    found = orthonormal_rows(deficient)
    kept = found.any(1)
    assert kept.sum() == 2 and not kept[0] and not kept[5]
    assert torch.allclose(found[kept] @ found[kept].T, torch.eye(2, dtype=torch.float64))
    for nothing in (torch.zeros(3, 4), torch.full((3, 4), torch.nan), torch.zeros(0, 4)):
        assert not orthonormal_rows(nothing).any()
    assert int(orthonormal_rows(torch.randn(9, 4)).any(1).sum()) == 4


# Tiny


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
