"""Scores of units that look at no data: the size of their weights, and chance."""

import numpy as np
import torch
from torch import Tensor

from autogrow.network.new_units.unit_blocks import unit_entries
from autogrow.network.shrinking.request import Request
from autogrow.network.structure.channel_groups import TensorLayout
from autogrow.policy.unit_scores import Magnitude, UnitScore


def magnitude(request: Request[Magnitude]) -> dict[str, Tensor]:
    """Norm of the weights that compute each unit, and of those that read it where they count."""
    norm, structure = request.score.norm, request.network.structure
    tensors = dict(request.network.module.named_parameters())
    sums: dict[str, Tensor] = {}
    for name, layout in structure.tensors.items():
        if name not in tensors or not tensors[name].is_floating_point():
            continue
        for dim in _counted_dims(layout, request.score.readers):
            for group in request.groups:
                index = torch.from_numpy(unit_entries(layout.dims[dim], group, structure.widths))
                if index.numel():
                    powers = tensors[name].detach().cpu().double().abs().movedim(dim, 0).pow(norm)
                    of_units = powers.flatten(1).sum(1)[index].sum(1)
                    sums[group] = sums.get(group, 0.0) + of_units
    return {
        group: sums[group] ** (1 / norm) if group in sums else request.unreadable(group) for group in request.groups
    }


def _counted_dims(layout: TensorLayout, readers: bool) -> list[int]:
    """Dimensions of a weight along which a unit's entries count, once where both are the same (tied weights)."""
    wanted = {layout.out_dim, layout.in_dim} if readers else {layout.out_dim}
    return [dim for dim in sorted(layout.dims) if dim in wanted]


def random(request: Request[UnitScore]) -> dict[str, Tensor]:
    """Numbers from 0 to 1; those of a group do not depend on which others are measured."""
    structure = request.network.structure
    numbers = {name: number for number, name in enumerate(structure.widths)}
    found = {}
    for group in request.groups:
        generator = np.random.default_rng((request.seed, numbers[group]))
        found[group] = torch.from_numpy(generator.random(structure.widths[group]))
    return found
