"""Least squares on what a linear or convolutional layer reads: moments of its inputs, and maps fitted to targets.

What layers read and compute is recorded during a pass, through hooks that are gone afterwards (`recorded_calls`).

A convolution is a linear layer on the patches of its input, so both are one case here. Layers of other kinds (in
groups, transposed, padded otherwise than with zeros) are not supported.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogrow.network.new_units.unit_blocks import WeightBlock
from autogrow.network.running.layer_hooks import OnCall, evenly_spread, hooked
from autogrow.network.structure.tracing import named_tensors

Regressed = nn.Linear | nn.Conv1d | nn.Conv2d
Calls = list[tuple[Tensor, Tensor]]
"""Inputs and outputs of a layer, call by call."""

MAX_ROWS = 16_384
"""Examples times positions that moments are taken over; of more, whole examples evenly spread."""
CHUNK_ENTRIES = 4_000_000
"""Entries of the patch matrix that are in memory at once."""
DAMPING = 1e-3
"""What is added to the diagonal of second moments, relative to its mean, so that they can be inverted."""


@dataclass(frozen=True)
class Moments:
    """Sums over rows of x x^T and x t^T, for inputs x and targets t, on the CPU in double precision."""

    second: Tensor
    """(features, features)"""
    cross: Tensor
    """(features, targets)"""

    def cholesky(self) -> Tensor:
        """L with L L^T = the damped second moments."""
        diagonal = self.second.diagonal()
        # Of dead inputs all moments are zero, and any damping does.
        damping = DAMPING * float(diagonal.mean()) or 1.0
        root: Tensor = torch.linalg.cholesky(self.second + damping * torch.eye(len(diagonal)).double())
        return root

    def solve(self) -> Tensor:
        """The map B (features, targets) with the smallest damped sum of squares of t - B^T x."""
        mapping: Tensor = torch.cholesky_solve(self.cross, self.cholesky())
        return mapping


def supported(layer: nn.Module) -> Regressed | None:
    """The layer, if it is of a kind that least squares can be done on."""
    kind = next((kind for kind in (nn.Linear, nn.Conv1d, nn.Conv2d) if isinstance(layer, kind)), None)
    if kind is None or type(layer).forward is not kind.forward:
        return None  # a subclass may compute anything
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        plain = layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        return layer if plain else None
    return layer if isinstance(layer, nn.Linear) else None


def channel_dim(layer: Regressed, values: Tensor) -> int:
    """The dimension of channels in inputs or outputs of a layer."""
    return values.dim() - 1 - (0 if isinstance(layer, nn.Linear) else len(layer.kernel_size))


def with_channels_last(layer: Regressed, values: Tensor) -> Tensor:
    """Inputs or outputs of a layer, or gradients of them, as (examples, *positions, channels)."""
    dim = channel_dim(layer, values)
    moved = values.movedim(dim, -1)
    return moved if dim > 0 else moved.unsqueeze(0)


def moments(layer: Regressed, inputs: Tensor, targets: Tensor, with_constant: bool = False) -> Moments:
    """Moments of what a layer reads; both tensors as `with_channels_last` gives them.

    Features are ordered as in the layer's weight, (channels, *kernel), and end with a constant 1 if `with_constant`.
    Of large batches only some whole examples are taken, evenly spread: at most `MAX_ROWS` rows.
    """
    positions = max(1, prod(targets.shape[1:-1]))
    entries = positions * inputs.shape[-1] * (1 if isinstance(layer, nn.Linear) else prod(layer.kernel_size))
    examples = evenly_spread(len(inputs), max(1, MAX_ROWS // positions)).to(inputs.device)
    parts = []
    for chosen in examples.split(max(1, CHUNK_ENTRIES // entries)):
        rows = _patches(layer, inputs[chosen]).float()
        if with_constant:
            rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
        wanted = targets[chosen].reshape(len(rows), targets.shape[-1]).float()
        parts.append(Moments((rows.T @ rows).cpu().double(), (rows.T @ wanted).cpu().double()))
    return total(parts)


def total(parts: Iterable[Moments]) -> Moments:
    """The moments of all rows together."""
    second, cross = zip(*((part.second, part.cross) for part in parts), strict=True)
    return Moments(torch.stack(second).sum(0), torch.stack(cross).sum(0))


def predictions(layer: Regressed, inputs: Tensor, mapping: Tensor, with_constant: bool = False) -> Tensor:
    """What a map of `Moments.solve` makes of all inputs, in the shape of the targets."""
    bias = mapping[-1].to(inputs) if with_constant else None
    features = (mapping[:-1] if with_constant else mapping).T.to(inputs)
    if isinstance(layer, nn.Linear):
        return F.linear(inputs, features, bias)
    weight = features.reshape(len(features), inputs.shape[-1], *layer.kernel_size)
    convolve = F.conv1d if isinstance(layer, nn.Conv1d) else F.conv2d
    options: Any = (layer.stride, layer.padding, layer.dilation)
    return convolve(inputs.movedim(-1, 1), weight, bias, *options).movedim(1, -1)


def _patches(layer: Regressed, inputs: Tensor) -> Tensor:
    """What each output reads, (examples x positions, features), of inputs with their channels last."""
    if isinstance(layer, nn.Linear):
        return inputs.reshape(-1, inputs.shape[-1])
    images = inputs.movedim(-1, 1)
    kernel, dilation, padding, stride = layer.kernel_size, layer.dilation, layer.padding, layer.stride
    assert not isinstance(padding, str)
    if isinstance(layer, nn.Conv1d):
        images = images.unsqueeze(-1)
        kernel, dilation, padding, stride = (*kernel, 1), (*dilation, 1), (*padding, 0), (*stride, 1)
    unfolded = F.unfold(images, kernel, dilation, padding, stride)
    return unfolded.movedim(1, -1).reshape(-1, unfolded.shape[1])


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
