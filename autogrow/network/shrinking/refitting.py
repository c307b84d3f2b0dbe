"""What readers of removed units have to change so that they compute nearly what they did.

With Q the removed columns of a reader Y = X W^T + b, and k the others, a refit is a change D of W_k and a constant c
that is added to b, for which

    mean |Y - X_k (W_k + D)^T - b - c|^2 + s |D|^2

is smallest. X is what the reader is given once units are gone and the readers before it have made up for that, and Y
what it computed when all were there: so errors do not add up from layer to layer (He et al. 2017, arXiv 1707.06168,
section 3.2). All readers are solved for in one pass, each before the pass goes on. s is the damping of `optimal brain
surgeon` times the mean square of X, of all columns (centred where c is free).

A weight that is read several times in one pass cannot be solved for in passing. Its X is that of all calls when all
units were there: D = W_Q H_Qk (H_kk + s I)^-1, with H as in `reader_regression`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from autogrow.errors import NetworkError
from autogrow.network.growable import GrowableNetwork
from autogrow.network.running.copying import copied
from autogrow.network.running.model_input import ModelInput, run
from autogrow.network.running.undisturbed import same_random_numbers, undisturbed
from autogrow.network.shrinking.patches import from_weight_matrix, output_dim, output_rows, patches
from autogrow.network.shrinking.reader_regression import ReaderMoments, chosen_rows, measure_moments, part_of
from autogrow.network.shrinking.reads import Read
from autogrow.network.shrinking.unit_places import UnitPlaces
from autogrow.network.structure.layout import IntArray
from autogrow.policy.unit_scores import OptimalBrainSurgeon

DAMPING: float = OptimalBrainSurgeon.model_fields["damping"].default
"""The score's default, so that it says what is left."""

Key = tuple[Any, ...]
"""Of a reader: the part of a weight, and the bias that is added."""


@dataclass(frozen=True)
class Refit:
    """What a reader changes."""

    reader: ReaderMoments
    change: Tensor | None
    """D, (convolution's groups, outputs, features), zero for what is removed; None where the weight stays."""
    constant: Tensor
    """c, (all outputs,); zero where nothing takes it up."""

    def applied(self, read: Read, result: Tensor) -> Tensor:
        """What a read computes with the changes, of what it has computed without them."""
        if self.change is not None:
            result = result + read.product(read.inputs, from_weight_matrix(read, self.change).to(read.values))
        shape = [1] * result.dim()
        shape[output_dim(read, result)] = -1
        return result + self.constant.to(result).reshape(shape)


def refits(
    network: GrowableNetwork, units: Mapping[str, IntArray], calibration_input: ModelInput, *, weights: bool
) -> list[Refit]:
    """The refits of all readers of removed units; the network is left alone.

    Args:
        network: As it is before.
        units: By group, the old numbers of those that stay.
        calibration_input: Inputs, on the network's device.
        weights: Whether weights may change, or constants only.

    Raises:
        NetworkError: What a reader is given is not finite.
    """
    moments = measure_moments(network, units, [calibration_input])
    found: dict[Key, Refit] = {}
    for readers in _by_part(moments):
        found |= _joint_refits(network, readers, units, weights)
    in_order = _InOrder(network, found, units)
    in_order.solve(calibration_input)
    return list(in_order.refits.values())


def _by_part(moments: Iterable[ReaderMoments]) -> list[list[ReaderMoments]]:
    """Readers that share a weight (with another bias each) have to agree on its values."""
    found: dict[Key, list[ReaderMoments]] = {}
    for reader in moments:
        if not torch.isfinite(reader.sums).all():
            raise NetworkError(f"what {reader.read.weight!r} is given for the calibration input is not finite")
        found.setdefault(part_of(reader.read), []).append(reader)
    return list(found.values())


def _joint_refits(
    network: GrowableNetwork, readers: Sequence[ReaderMoments], units: Mapping[str, IntArray], weights: bool
) -> dict[Key, Refit]:
    first = readers[0]
    gone = _removed_features(first, units)
    layout = network.structure.tensors[first.read.weight]
    is_free = weights and first.products is not None and not first.read.is_computed
    change = None
    if is_free and layout.in_dim != layout.out_dim:
        rows = sum(reader.rows for reader in readers)
        moment = sum((reader.moment * (reader.rows / rows) for reader in readers), torch.zeros(()))
        cross = [
            each[:, mask] @ weight[:, mask].T for each, weight, mask in zip(moment, first.weight, gone, strict=True)
        ]
        change = _ridge(moment, cross, gone, _damping(moment))
    found = {}
    for reader in readers:
        lost = [
            weight[:, mask] @ mean[mask] for weight, mean, mask in zip(reader.weight, reader.mean, gone, strict=True)
        ]
        added = torch.zeros(()) if change is None else (change @ reader.mean[:, :, None])[..., 0]
        found[_key(reader.read)] = Refit(reader, change, _constant(reader, torch.stack(lost) - added))
    return found


class _InOrder:
    """Solves for readers while a pass goes through a network whose removed units are silent."""

    def __init__(self, network: GrowableNetwork, joint: Mapping[Key, Refit], units: Mapping[str, IntArray]) -> None:
        self.refits = dict(joint)
        self._network, self._units = network, units
        self._calls: dict[Key, int] = {}
        for refit in joint.values():
            part = part_of(refit.reader.read)
            self._calls[part] = self._calls.get(part, 0) + refit.reader.calls
        self._targets: list[Tensor] = []

    def solve(self, calibration_input: ModelInput) -> None:
        module = copied(self._network.module)
        with undisturbed(module), same_random_numbers(module):
            places = UnitPlaces(module, self._network.structure, self._units, lambda: run(module, calibration_input))

            def keep(read: Read, result: Tensor) -> Tensor:
                if places.columns(read) and read.is_regression:
                    self._targets.append(chosen_rows(output_rows(read, result)))
                return result

            def make_up(read: Read, result: Tensor) -> Tensor:
                return self._made_up(_silenced(read, places, self._units)) if places.columns(read) else result

            for on_result in (keep, make_up):
                with same_random_numbers(module), places.watching_reads(on_result=on_result):
                    run(module, calibration_input)

    def _made_up(self, read: Read) -> Tensor:
        """What a read of the units that stay computes, once its reader makes up for the others."""
        if not read.is_regression:
            return read.with_inputs(read.inputs)
        target, result, key = self._targets.pop(0), read.with_inputs(read.inputs), _key(read)
        if self._calls[part_of(read)] == 1:
            self.refits[key] = self._solved(self.refits[key], read, target - chosen_rows(output_rows(read, result)))
        return self.refits[key].applied(read, result)

    def _solved(self, refit: Refit, read: Read, missing: Tensor) -> Refit:
        reader, change = refit.reader, None
        if refit.change is not None:
            rows = chosen_rows(patches(read))
            centred, wanted = rows, missing
            if reader.takes_up_constants:
                centred, wanted = rows - rows.mean(1, keepdim=True), missing - missing.mean(1, keepdim=True)
            moment, cross = (centred.transpose(1, 2) @ each / rows.shape[1] for each in (centred, wanted))
            gone = _removed_features(reader, self._units)
            change = _ridge(moment, list(cross), gone, _damping(reader.moment))
            missing = missing - rows @ change.transpose(1, 2)
        return Refit(reader, change, _constant(reader, missing.mean(1)))


def _silenced(read: Read, places: UnitPlaces, units: Mapping[str, IntArray]) -> Read:
    inputs = read.inputs.clone()
    for group, index in places.columns(read).items():
        stays = torch.zeros(len(index), dtype=torch.bool)
        stays[torch.from_numpy(units[group])] = True
        inputs.index_fill_(read.column_dim, index[~stays].flatten().to(inputs.device), 0.0)
    return replace(read, arguments={**read.arguments, read.roles[0]: inputs})


def _removed_features(reader: ReaderMoments, units: Mapping[str, IntArray]) -> Tensor:
    """Mask, by the convolution's groups, of the features that belong to removed units."""
    mask = torch.zeros(reader.sums.shape, dtype=torch.bool)
    for group in reader.columns.keys() & units.keys():
        stays = torch.zeros(len(reader.columns[group]), dtype=torch.bool)
        stays[torch.from_numpy(units[group])] = True
        for conv_group in range(len(mask)):
            mask[conv_group, reader.features(group, conv_group)[~stays].flatten()] = True
    return mask


def _ridge(moment: Tensor, cross: Sequence[Tensor], gone: Tensor, damping: Tensor) -> Tensor:
    """D by the convolution's groups, of the moments of X (features, features) and of X with what is missing."""
    change = torch.zeros(len(moment), cross[0].shape[1], moment.shape[1], dtype=moment.dtype)
    for number, (mask, added) in enumerate(zip(gone, damping, strict=True)):
        if added > 0 and not mask.all():
            kept = moment[number][~mask][:, ~mask] + added * torch.eye(int((~mask).sum()), dtype=moment.dtype)
            change[number][:, ~mask] = torch.cholesky_solve(cross[number][~mask], torch.linalg.cholesky(kept)).T
    return change


def _damping(moment: Tensor) -> Tensor:
    """s, (convolution's groups,)."""
    return DAMPING * moment.diagonal(dim1=1, dim2=2).mean(1)


def _constant(reader: ReaderMoments, missing: Tensor) -> Tensor:
    """The constant that stands for what is missing, (convolution's groups, outputs), where something takes it up."""
    return missing.flatten() if reader.takes_up_constants else torch.zeros_like(missing.flatten())


def _key(read: Read) -> Key:
    return (*part_of(read), read.bias)
