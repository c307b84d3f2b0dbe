"""How large a gradient new units could get in each group, for what they would cost."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from autogrow.network.growable import GrowableNetwork, LossOf
from autogrow.network.measuring.flops import added_training_flops
from autogrow.network.new_units.grown_twin import GrownTwin
from autogrow.network.new_units.subspace_iteration import SubspaceIteration, orthonormal_rows
from autogrow.network.resizing.initialization import make_initializer
from autogrow.network.resizing.prepared_resizing import prepare_resizing
from autogrow.network.running.model_input import ModelInput
from autogrow.network.structure.layout import NEW
from autogrow.policy.initializations import ZeroFanOut

SPARE_UNITS = 4
"""Candidates beyond the number asked for, so that random ones miss less: Halko et al. 2011 call it oversampling."""


def gradient_gain(
    network: GrowableNetwork,
    added_units: Mapping[str, int],
    loss: LossOf,
    batch: ModelInput,
    flops_of_added: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Sum of the top k squared singular values of M, over the training FLOPs that k units add; by group name.

    M is that of `subspace_iteration`: E[delta x^T] where the network is linear from fan-in to fan-out; elsewhere the
    slopes at random units are multiplied in. The sum is the largest squared gradient that the fan-out of k new units
    can get (GradMax: Evci et al. 2022, arXiv 2201.05125). It is measured as that of U M, where U is a basis of the rows
    of V M^T for random orthonormal V, which never gives more than the true sum (a randomized singular value
    decomposition: Halko et al. 2011). All groups are measured together on a copy in which all are widened: two forward
    and two backward passes, whatever their number.

    Args:
        network: The network, which is left alone.
        added_units: How many units (k) each group would get; these groups are measured.
        loss: The loss of a module on a fixed batch.
        batch: Inputs that FLOPs are counted on.
        flops_of_added: Training FLOPs per example that each group's units add; counted where it is None.

    Returns:
        NaN for a group without a weight that computes its units or one that reads them.
    """
    twin = _widened_twin(network, {name: number + SPARE_UNITS for name, number in added_units.items()})
    iteration = SubspaceIteration(twin, twin.groups, loss, scale=1.0)
    for rows in iteration.fan_in.values():
        rows.write(orthonormal_rows(rows.read()))
    gradients = iteration.fan_in_gradients(iteration.fan_out_gradients())
    if flops_of_added is None:
        flops_of_added = added_training_flops(network.module, network.structure, added_units, batch)
    return {
        name: _top_energy(gradients[name], number) / flops_of_added[name] if name in gradients else float("nan")
        for name, number in added_units.items()
    }


def _widened_twin(network: GrowableNetwork, added_units: Mapping[str, int]) -> GrownTwin:
    widths, initializer = network.structure.widths, make_initializer(ZeroFanOut())
    units = {
        name: np.concatenate([np.arange(widths[name]), np.full(number, NEW)]) for name, number in added_units.items()
    }
    generator = torch.Generator().manual_seed(0)
    twin = GrownTwin(network, prepare_resizing(network.module, network.structure, units, initializer, generator))
    twin.separate_new_units()
    return twin


def _top_energy(gradient: Tensor, count: int) -> float:
    """Sum of the `count` largest squared singular values; NaN if the gradient is not finite."""
    rows = gradient.detach().cpu().double()
    if not torch.isfinite(rows).all():
        return float("nan")
    return float(torch.linalg.eigvalsh(rows @ rows.T)[-count:].clamp(min=0).sum())
