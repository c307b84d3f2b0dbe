"""What tests of initializations that look at data share: losses, resizings that are not made yet, and a measure."""

import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_leaves

from autogrow.network.new_units.subspace_iteration import orthonormal_rows
from autogrow.network.resizing.initialization import make_initializer
from autogrow.network.resizing.prepared_resizing import prepare_resizing
from autogrow.network.resizing.unit_changes import more_units
from autogrow.network.running.undisturbed import evaluating
from autogrow.policy.initializations import ZeroFanOut


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
    units = more_units(growing.structure, added)
    generator = torch.Generator().manual_seed(seed)
    return prepare_resizing(growing.module, growing.structure, units, make_initializer(ZeroFanOut()), generator)


def captured(products, directions):
    """Share of the energy of M (outputs x inputs) along k directions (k x inputs), of the most that k can have."""
    basis = orthonormal_rows(directions)
    most = torch.linalg.svdvals(products.double())[: len(directions)].square().sum()
    return float((products.double() @ basis.T).square().sum() / most)
