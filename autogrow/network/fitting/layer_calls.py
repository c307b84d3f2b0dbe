"""What layers read and compute during a pass, seen through hooks that are gone afterwards."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autogrow.network.fitting.layer_regression import Regressed, channel_dim, supported, with_channels_last
from autogrow.network.fitting.unit_blocks import WeightBlock
from autogrow.network.running.layer_hooks import OnCall, hooked
from autogrow.network.structure.tracing import named_tensors

Calls = list[tuple[Tensor, Tensor]]
"""Inputs and outputs of a layer, call by call."""


@dataclass(frozen=True)
class LayerBlock:
    """A block of new units in the weight of a layer that least squares can be done on: (units, inputs, *kernel)."""

    block: WeightBlock
    layer: Regressed

    def old_inputs(self, inputs: Tensor) -> Tensor:
        return _select(with_channels_last(self.layer, inputs), self.block.kept.get(1))

    def new_inputs(self, inputs: Tensor) -> Tensor:
        """What the layer reads of the block's new units alone, unit by unit."""
        return _select(with_channels_last(self.layer, inputs), self.block.new.flatten())

    def old_outputs(self, outputs: Tensor) -> Tensor:
        return _select(with_channels_last(self.layer, outputs), self.block.kept.get(0))

    def with_fixed_old_inputs(self, inputs: Tensor) -> Tensor:
        """The same inputs, with gradients for the block's new units alone."""
        dim = channel_dim(self.layer, inputs)
        is_new = torch.zeros(inputs.shape[dim], dtype=torch.bool)
        is_new[self.block.new.flatten()] = True
        shape = [-1 if other == dim else 1 for other in range(inputs.dim())]
        return torch.where(is_new.to(inputs.device).view(shape), inputs, inputs.detach())


def layer_blocks(module: nn.Module, blocks: Iterable[WeightBlock]) -> list[LayerBlock]:
    """The blocks that are in weights of layers which least squares can be done on, and in no others."""
    places = named_tensors(module)
    found = []
    for block in blocks:
        (owner, attribute), *others = places[block.name]
        layer = supported(owner)
        if layer is not None and attribute == "weight" and not others:
            found.append(LayerBlock(block, layer))
    return found


@contextmanager
def recorded_calls(layers: Iterable[nn.Module]) -> Iterator[dict[nn.Module, Calls]]:
    """The calls of these layers inside."""
    calls: dict[nn.Module, Calls] = {layer: [] for layer in layers}

    def recorder(found: Calls) -> OnCall:
        def note(inputs: Tensor, output: Tensor) -> Tensor:
            found.append((inputs.detach(), output))
            return output.clone()  # what follows may change it in place

        return note

    with hooked(after={layer: recorder(found) for layer, found in calls.items()}):
        yield calls


def _select(values: Tensor, index: Tensor | None) -> Tensor:
    return values if index is None else values.index_select(-1, index.to(values.device))
