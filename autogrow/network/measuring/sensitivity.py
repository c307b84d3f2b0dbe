"""How much the loss ripples when the weights that compute a group's units are disturbed a little."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from autogrow.network.growable import GrowableNetwork, LossOf
from autogrow.network.new_units.unit_blocks import group_entries
from autogrow.network.running.copying import copied
from autogrow.network.running.undisturbed import same_random_state, undisturbed
from autogrow.network.structure.channel_groups import Structure


def sensitivity(
    network: GrowableNetwork, groups: Iterable[str], loss: LossOf, *, noise: float, repeats: int, seed: int
) -> dict[str, float]:
    """Mean over repeats of |loss(W + noise * rms(W) * N(0, 1)) - loss(W)|, by group name.

    W are the rows of every weight that computes the group's units, each weight with a root mean square of its own.
    Thesis (C. Lee 2017), addendum on ripples. Everything happens on a copy in eval mode, one pass per group and repeat.

    Args:
        network: The network, which is left alone.
        groups: What to measure.
        loss: The loss of a module on a fixed batch.
        noise: Standard deviation of the disturbance, relative to the root mean square of the weights.
        repeats: Disturbances that are averaged.
        seed: Of the disturbances; those of a group do not depend on which others are measured.
    """
    module, structure = copied(network.module), network.structure
    numbers = {name: number for number, name in enumerate(structure.groups)}
    tensors = dict(module.named_parameters())
    found = {}
    with undisturbed(module):
        level = _loss(module, loss)
        for name in groups:
            rows = _rows(structure, name, tensors)
            kept = [tensor.detach().clone() for tensor, _, _ in rows]
            generator = torch.Generator().manual_seed(seed + numbers[name])
            ripples = []
            for _ in range(repeats):
                for tensor, dim, index in rows:
                    _disturb(tensor, dim, index, noise, generator)
                ripples.append(abs(_loss(module, loss) - level))
                for (tensor, _, _), value in zip(rows, kept, strict=True):
                    tensor.copy_(value)
            found[name] = sum(ripples) / repeats
    return found


def _loss(module: nn.Module, loss: LossOf) -> float:
    with same_random_state(module):  # what the loss itself draws is the same every time
        return float(loss(module))


def _rows(structure: Structure, group: str, tensors: Mapping[str, Tensor]) -> list[tuple[Tensor, int, Tensor]]:
    """The weights that compute the group's units: dimension and indices of their rows."""
    found = []
    for name, layout in structure.tensors.items():
        dim = layout.out_dim
        if dim is not None and dim in layout.dims and name in tensors and tensors[name].is_floating_point():
            entries = group_entries(layout.dims[dim], group, structure.widths)
            if len(entries):
                found.append((tensors[name], dim, torch.from_numpy(entries)))
    return found


def _disturb(tensor: Tensor, dim: int, index: Tensor, noise: float, generator: torch.Generator) -> None:
    rows = tensor.index_select(dim, index.to(tensor.device))
    ripple = torch.randn(rows.shape, generator=generator).to(rows) * (noise * rows.square().mean().sqrt())
    tensor.index_add_(dim, index.to(tensor.device), ripple)
