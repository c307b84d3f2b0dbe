"""Letting what reads removed units make up for them; what is meant is said in `policy.changes.Compensation`.

With Q the removed columns of a reader Y = X W^T + b, k the others, and means over the rows of X:

    constants       b' = b + W_Q mean(X_Q)
    least_squares   W_k' = W_k + D,  b' = b + W_Q mean(X_Q) - D mean(X_k),  D = W_Q H_Qk (H_kk + s I)^-1

with H and s as in `reader_regression`. Where a batch norm follows instead of a bias, its running mean is lowered by
what would be added to b: in eval mode that is the same, and in train mode a norm takes every constant out by itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from autogrow.errors import NetworkError
from autogrow.network.growable import GrowableNetwork
from autogrow.network.resizing.companions import check_can_follow
from autogrow.network.resizing.prepared_resizing import Resizing
from autogrow.network.resizing.tensor_change import find_places, resize_tensor
from autogrow.network.resizing.variance_transfer import unresized
from autogrow.network.running.model_input import ModelInput, explained
from autogrow.network.running.undisturbed import same_random_state
from autogrow.network.shrinking.patches import from_weight_matrix
from autogrow.network.shrinking.reader_regression import ReaderMoments, measure_moments
from autogrow.network.structure.layout import IntArray
from autogrow.policy.changes import Compensation
from autogrow.policy.unit_scores import OptimalBrainSurgeon

DAMPING: float = OptimalBrainSurgeon.model_fields["damping"].default
"""The score's default, so that it says what is left."""


def with_compensation(
    network: GrowableNetwork,
    resizing: Resizing,
    units: Mapping[str, IntArray],
    compensation: Compensation,
    calibration_input: ModelInput,
    is_frozen: Callable[[str, Tensor], bool],
) -> Resizing:
    """A resizing that removes units, with the changes of readers that make up for them. Changes nothing.

    Args:
        network: As it is before.
        resizing: What was prepared for `units`: by group, the old numbers of those that stay.
        compensation: Not "none".
        calibration_input: Inputs, on the network's device.
        is_frozen: Whether the tensor of a name has entries that must keep their values.
    """
    with explained("the network fails on the calibration input"), same_random_state(network.module):
        moments = measure_moments(network, units, [calibration_input])
    values = _NewValues(network)
    for readers in _by_part(moments):
        gone = [_removed_features(readers[0], units, number) for number in range(len(readers[0].sums))]
        refits = compensation == "least_squares" and _can_be_refitted(network, readers[0])
        changes = _refitted(readers, gone) if refits else None
        if changes is not None:
            values.write_weight(readers[0], changes)
        for reader in readers:
            values.add_constant(reader, _constant(reader, gone, changes))
    return values.put_into(resizing, is_frozen)


def _by_part(moments: Iterable[ReaderMoments]) -> list[list[ReaderMoments]]:
    """Readers that share a weight (with another bias each) have to agree on its values."""
    found: dict[tuple[Any, ...], list[ReaderMoments]] = {}
    for reader in moments:
        if not torch.isfinite(reader.sums).all():
            raise NetworkError(f"what {reader.read.weight!r} is given for the calibration input is not finite")
        found.setdefault(reader.part, []).append(reader)
    return list(found.values())


def _removed_features(reader: ReaderMoments, units: Mapping[str, IntArray], conv_group: int) -> Tensor:
    """Mask of the features that belong to removed units."""
    mask = torch.zeros(reader.sums.shape[1], dtype=torch.bool)
    for group in reader.columns.keys() & units.keys():
        features = reader.features(group, conv_group)
        stays = torch.zeros(len(features), dtype=torch.bool)
        stays[torch.from_numpy(units[group])] = True
        mask[features[~stays].flatten()] = True
    return mask


def _can_be_refitted(network: GrowableNetwork, reader: ReaderMoments) -> bool:
    layout = network.structure.tensors[reader.read.weight]
    return reader.products is not None and not reader.read.is_computed and layout.in_dim != layout.out_dim


def _refitted(readers: Sequence[ReaderMoments], gone: Sequence[Tensor]) -> list[Tensor]:
    """D by the convolution's groups: (outputs, features), zero for removed ones."""
    rows = sum(reader.rows for reader in readers)
    moments = sum((reader.moment * (reader.rows / rows) for reader in readers), torch.zeros(()))
    changes = []
    for moment, weight, mask in zip(moments, readers[0].weight, gone, strict=True):
        change = torch.zeros_like(weight)
        added = DAMPING * float(moment.diagonal().mean())
        if added > 0 and not mask.all():
            kept = moment[~mask][:, ~mask] + added * torch.eye(int((~mask).sum()), dtype=moment.dtype)
            target = moment[~mask][:, mask] @ weight[:, mask].T
            change[:, ~mask] = torch.cholesky_solve(target, torch.linalg.cholesky(kept)).T
        changes.append(change)
    return changes


def _constant(reader: ReaderMoments, gone: Sequence[Tensor], changes: Sequence[Tensor] | None) -> Tensor:
    """What has to be added to each output so that its mean stays."""
    parts = []
    for number, (mean, weight, mask) in enumerate(zip(reader.mean, reader.weight, gone, strict=True)):
        lost = weight[:, mask] @ mean[mask]
        parts.append(lost if changes is None else lost - changes[number] @ mean)
    return torch.cat(parts)


class _NewValues:
    """Tensors as they are to be, in double precision and before units are removed from them, by name."""

    def __init__(self, network: GrowableNetwork) -> None:
        self._places = find_places(network.module)
        self._tensors = dict([*network.module.named_parameters(), *network.module.named_buffers()])
        self._values: dict[str, Tensor] = {}

    def write_weight(self, reader: ReaderMoments, changes: Sequence[Tensor]) -> None:
        read = reader.read
        self._add(read.weight, read.values, read.weight_offset, from_weight_matrix(read, torch.stack(list(changes))))

    def add_constant(self, reader: ReaderMoments, constant: Tensor) -> None:
        """Have what takes up constants behind a reader do so; a reader without is left as it is."""
        read = reader.read
        if read.bias is not None and read.bias_values is not None:
            self._add(read.bias, read.bias_values, read.bias_offset, constant)
        elif reader.norm is not None:
            name = f"{reader.norm}.running_mean"
            self._add(name, self._tensors[name], 0, -constant)

    def put_into(self, resizing: Resizing, is_frozen: Callable[[str, Tensor], bool]) -> Resizing:
        """The resizing with these values; `NetworkError` where that would change frozen entries."""
        changes = {change.name: change for change in resizing.changes}
        for name, values in self._values.items():
            if is_frozen(name, self._tensors[name]):
                raise NetworkError(
                    f"removing units with a compensation would change {name!r}, of which entries are frozen: thaw them "
                    "first, or remove units without compensation"
                )
            if name not in changes:
                check_can_follow(name, self._tensors[name], self._places.obstacles)
                changes[name] = unresized(name, self._tensors[name], self._places.held)
            with torch.no_grad():
                changes[name].new.copy_(resize_tensor(values, changes[name].sources, 0.0))
        return replace(resizing, changes=tuple(changes.values()))

    def _add(self, name: str, view: Tensor, offset: int, change: Tensor) -> None:
        """Add to the part of a tensor that a view (of a copy, which is laid out alike) shows."""
        if name not in self._values:
            self._values[name] = self._tensors[name].detach().cpu().double().clone()
        self._values[name].as_strided(view.shape, view.stride(), offset).add_(change.reshape(view.shape))
