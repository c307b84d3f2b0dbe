"""Readings of a network's activations, taken through hooks that are gone afterwards."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autogrow.network.growable import GrowableNetwork
from autogrow.network.new_units.unit_blocks import group_entries
from autogrow.network.running.layer_hooks import OnCall, evenly_spread, hooked
from autogrow.network.running.model_input import ModelInput, run
from autogrow.network.running.undisturbed import undisturbed
from autogrow.network.structure.channel_groups import Structure
from autogrow.network.structure.layout import dimension_size
from autogrow.network.structure.size_attributes import is_norm

RANK_ROWS = 2048
"""Rows (examples x positions) of activations that a rank is counted on; of more, evenly spread ones."""
RANK_TOLERANCE = 0.01
"""Singular values of activations above this times the root of the number of rows count (Maile et al. 2022)."""


def activation_std(network: GrowableNetwork, groups: Iterable[str], batch: ModelInput) -> dict[str, float]:
    """Standard deviation of each group's activations over `batch`, by group name.

    Measured over examples, positions and units at the outputs of the group's norms, or of the layers that hold its
    units where it has no norm, and averaged over those layers. He et al. (2016), figure 7, read their layer responses
    at the same place: after the norm, before the nonlinearity. NaN for a group whose units no layer returns.

    Args:
        network: It is run once, in eval mode, and left as it was.
        groups: What to measure. Of a layer that holds the units of several groups, only their own are read.
        batch: The input, on the network's device.
    """
    return _read(network, groups, batch, lambda rows: float(rows.std(correction=0)))


def rank(network: GrowableNetwork, groups: Iterable[str], batch: ModelInput) -> dict[str, float]:
    """Share of independent directions among each group's activations, by group name, from 0 to 1.

    The number of singular values of the activations H (n x width) above 0.01 sqrt(n), over the width: NORTH, Maile et
    al. 2022 (arXiv 2202.08539). A row of H is one position of one example, at the places where `activation_std` reads;
    at most `RANK_ROWS` rows are taken, so that of more units than that not all can count. Arguments as there.
    """
    return _read(network, groups, batch, _rank_share)


def _rank_share(rows: Tensor) -> float:
    chosen = rows[evenly_spread(len(rows), RANK_ROWS).to(rows.device)].cpu().double()
    if not torch.isfinite(chosen).all():
        return float("nan")
    # Eigenvalues of H^T H are squared singular values of H, and it is the smaller matrix.
    squares = torch.linalg.eigvalsh(chosen.T @ chosen)
    return float((squares > RANK_TOLERANCE**2 * len(chosen)).sum()) / chosen.shape[1]


def _read(
    network: GrowableNetwork,
    groups: Iterable[str],
    batch: ModelInput,
    statistic: Callable[[Tensor], float],
) -> dict[str, float]:
    """The mean, over layers and calls, of a statistic of the group's activations as (examples x positions, units)."""
    structure, layers = network.structure, dict(network.module.named_modules())
    readings: dict[str, list[float]] = {name: [] for name in groups}
    readers: dict[nn.Module, list[Callable[[Tensor], None]]] = {}
    for group, found in readings.items():
        for name in holders(structure, layers, group):
            channels = _channels(structure, name, group)
            readers.setdefault(layers[name], []).append(_reader(layers[name], channels, statistic, found))
    hooks = {layer: _all_of(entries) for layer, entries in readers.items()}
    with undisturbed(network.module), hooked(after=hooks):
        run(network.module, batch)
    return {name: sum(values) / len(values) if values else float("nan") for name, values in readings.items()}


def holders(structure: Structure, layers: Mapping[str, nn.Module], group: str) -> list[str]:
    """The layers at whose outputs a group's units are read: its norms, or else all that hold its units."""
    # A parameter of the network itself belongs to no layer.
    members = [member.layer for member in structure.groups[group].members if member.side == "out"]
    found = [name for name in members if name in layers]
    return [name for name in found if is_norm(layers[name])] or found


def _all_of(readers: list[Callable[[Tensor], None]]) -> OnCall:
    def read(inputs: Tensor, output: Any) -> None:
        if isinstance(output, Tensor):
            for reader in readers:
                reader(output)

    return read


def _reader(
    layer: nn.Module, channels: tuple[Tensor, int] | None, statistic: Callable[[Tensor], float], into: list[float]
) -> Callable[[Tensor], None]:
    def read(output: Tensor) -> None:
        rows = output.detach().movedim(channel_dim(layer, output), -1)
        rows = rows.reshape(-1, rows.shape[-1]).float()
        if channels is not None and channels[1] == rows.shape[1]:
            rows = rows.index_select(1, channels[0].to(rows.device))
        into.append(statistic(rows))

    return read


def channel_dim(layer: nn.Module, output: Tensor) -> int:
    """The dimension of a layer's output that holds its units."""
    if isinstance(layer, nn.modules.conv._ConvNd):
        return output.dim() - 1 - len(layer.kernel_size)
    return 1 if isinstance(layer, nn.modules.batchnorm._NormBase | nn.GroupNorm) else -1


def _channels(structure: Structure, layer: str, group: str) -> tuple[Tensor, int] | None:
    """Which of a layer's outputs are a group's units, and how many outputs there are."""
    for name, tensor in structure.tensors.items():
        for dim, layout in tensor.dims.items():
            if name.rpartition(".")[0] == layer and dim != tensor.in_dim:
                entries = torch.from_numpy(group_entries(layout, group, structure.widths))
                if len(entries):
                    return entries, dimension_size(layout, structure.widths)
    return None
