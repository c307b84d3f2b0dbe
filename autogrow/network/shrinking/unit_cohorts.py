"""Which growth event every unit came with: by it, units that are held frozen are told from those that train."""

import torch
from torch import Tensor

from autogrow.network.new_units.unit_blocks import computing_dims, unit_entries
from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.structure.channel_groups import Structure


def unit_cohorts(structure: Structure, cohorts: Cohorts) -> dict[str, Tensor]:
    """By group: (width,) the cohort of every unit, the oldest of the weights that compute it; 0 is the start."""
    found = {
        name: torch.full((width,), cohorts.num_events)
        for name, width in structure.widths.items()
        if name in structure.groups
    }
    for name, layout in structure.tensors.items():
        for dim in computing_dims(layout):
            for group in found:
                index = torch.from_numpy(unit_entries(layout.dims[dim], group, structure.widths))
                if index.numel():
                    born = cohorts.along(name, dim)
                    of_units = torch.full((len(index),), born) if isinstance(born, int) else born[index].amin(1)
                    found[group] = torch.minimum(found[group], of_units.to(found[group]))
    return found
