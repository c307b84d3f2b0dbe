"""Initializations that look at data, in all sorts of networks. What each of them finds is tested in its own file."""

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from autogrow.network.fitting import fit_new_units
from autogrow.network.new_units.subspace_iteration import orthonormal_rows
from autogrow.network.structure.layout import NEW
from autogrow.policy.initializations import GradientMax, Tiny
from tests.network.fitting_cases import outputs, prepared, regression, value_of
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


def different_numbers(growing):
    return {group.name: 1 + index % 3 for index, group in enumerate(growing.groups)}


@pytest.mark.slow
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


@pytest.mark.slow
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
        with pytest.raises(NetworkError, match="RuntimeError: out of memory"):
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


def test_eigenvectors_that_do_not_converge_are_found_otherwise(monkeypatch):
    """In several threads, MKL was seen to give up on gradients of 256 units of which nine were alive."""

    def give_up(matrix):
        raise torch.linalg.LinAlgError("linalg.eigh: The algorithm failed to converge (error code: 40802).")

    torch.manual_seed(0)
    matrix = torch.zeros(20, 30, dtype=torch.float64)
    matrix[[3, 4, 11]] = torch.randn(3, 30, dtype=torch.float64)
    expected = orthonormal_rows(matrix)
    monkeypatch.setattr(torch.linalg, "eigh", give_up)
    assert torch.allclose(orthonormal_rows(matrix), expected)
    assert int(expected.any(1).sum()) == 3
