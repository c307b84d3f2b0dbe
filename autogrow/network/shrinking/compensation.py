"""Letting what reads removed units make up for them; what is meant is said in `policy.changes.Compensation`.

`refitting` says what has to change. Where a batch norm follows a reader that has no bias, its running mean is lowered
by what would be added to one: in eval mode that is the same, and in train mode a norm takes constants out by itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

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
from autogrow.network.shrinking.reader_regression import part_of
from autogrow.network.shrinking.refitting import Refit, refits
from autogrow.network.structure.layout import IntArray
from autogrow.policy.changes import Compensation


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
        found = refits(network, units, calibration_input, weights=compensation == "least_squares")
    values = _NewValues(network)
    changed = set()
    for refit in found:
        part = part_of(refit.reader.read)
        if part not in changed:  # readers that share a weight change it alike
            values.change_weight(refit)
        changed.add(part)
        values.add_constant(refit)
    return values.put_into(resizing, is_frozen)


class _NewValues:
    """Tensors as they are to be, in double precision and before units are removed from them, by name."""

    def __init__(self, network: GrowableNetwork) -> None:
        self._places = find_places(network.module)
        self._tensors = dict([*network.module.named_parameters(), *network.module.named_buffers()])
        self._values: dict[str, Tensor] = {}

    def change_weight(self, refit: Refit) -> None:
        read = refit.reader.read
        if refit.change is not None:
            self._add(read.weight, read.values, read.weight_offset, from_weight_matrix(read, refit.change))

    def add_constant(self, refit: Refit) -> None:
        """Have what takes up constants behind a reader do so; a reader without is left as it is."""
        read, norm = refit.reader.read, refit.reader.norm
        if read.bias is not None and read.bias_values is not None:
            self._add(read.bias, read.bias_values, read.bias_offset, refit.constant)
        elif norm is not None:
            name = f"{norm}.running_mean"
            self._add(name, self._tensors[name], 0, -refit.constant)

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
