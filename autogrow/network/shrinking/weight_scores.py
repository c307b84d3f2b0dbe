"""Scores of units that look at no data: the size of their weights, and chance."""

import numpy as np
import torch
from torch import Tensor

from autogrow.network.new_units.unit_blocks import computing_dims, reading_dims, unit_entries
from autogrow.network.shrinking.request import Request
from autogrow.policy.unit_scores import Magnitude, UnitScore


def magnitude(request: Request[Magnitude]) -> dict[str, Tensor]:
    """Norm of the weights that compute each unit, and of those that read it where they count."""
    norm, structure = request.score.norm, request.network.structure
    tensors = dict(request.network.module.named_parameters())
    sums: dict[str, Tensor] = {}
    for name, layout in structure.tensors.items():
        if name not in tensors or not tensors[name].is_floating_point():
            continue
        dims = {*computing_dims(layout), *(reading_dims(layout) if request.score.readers else ())}
        for dim in dims:
            for group in request.groups:
                index = torch.from_numpy(unit_entries(layout.dims[dim], group, structure.widths))
                if index.numel():
                    powers = tensors[name].detach().cpu().double().abs().movedim(dim, 0).pow(norm)
                    of_units = powers.flatten(1).sum(1)[index].sum(1)
                    sums[group] = sums.get(group, 0.0) + of_units
    return {
        group: sums[group] ** (1 / norm) if group in sums else request.unreadable(group) for group in request.groups
    }


def random(request: Request[UnitScore]) -> dict[str, Tensor]:
    """Numbers from 0 to 1; those of a group do not depend on which others are measured."""
    structure = request.network.structure
    numbers = {name: number for number, name in enumerate(structure.widths)}
    found = {}
    for group in request.groups:
        generator = np.random.default_rng((request.seed, numbers[group]))
        found[group] = torch.from_numpy(generator.random(structure.widths[group]))
    return found
