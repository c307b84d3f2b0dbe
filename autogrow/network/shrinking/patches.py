"""A read as a product of two matrices: what a reader is given at each position, times its weight."""

from collections.abc import Sequence
from itertools import product as all_of
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autogrow.network.shrinking.reads import Read


def patches(read: Read) -> Tensor:
    """What is read at each position: (convolution's groups, positions, columns x entries of the kernel)."""
    inputs = read.inputs.detach()
    if not read.is_convolution:
        moved = inputs.movedim(read.column_dim, -1)
        return moved.reshape(1, -1, moved.shape[-1])
    inputs = inputs if read.column_dim else inputs[None]
    size, dilation = read.values.shape[2:], _setting(read, "dilation", 1)
    stride = _setting(read, "stride", 1)
    if read.is_transposed:
        # The same as a convolution with the turned kernel over inputs that are pulled apart.
        inputs = _pulled_apart(inputs, stride)
        reach = [(length - 1) * step for length, step in zip(size, dilation, strict=True)]
        cut, extra = _setting(read, "padding", 0), _setting(read, "output_padding", 0)
        padding = [(r - c, r - c + e) for r, c, e in zip(reach, cut, extra, strict=True)]
        stride = [1] * len(size)
    else:
        padding = _padding(read, size, dilation)
    inputs = F.pad(inputs, [amount for pair in reversed(padding) for amount in pair])
    lengths = [
        (whole - (length - 1) * apart - 1) // step + 1
        for whole, length, apart, step in zip(inputs.shape[2:], size, dilation, stride, strict=True)
    ]
    entries = []
    for offsets in all_of(*map(range, size)):
        part = inputs
        for dim, (offset, apart, step, length) in enumerate(zip(offsets, dilation, stride, lengths, strict=True), 2):
            part = part.narrow(dim, offset * apart, (length - 1) * step + 1)[
                (slice(None),) * dim + (slice(None, None, step),)
            ]
        entries.append(part.flatten(2))
    stacked = torch.stack(entries, 2)  # (examples, columns, entries of the kernel, positions)
    groups = int(read.arguments.get("groups", 1))
    batch, columns, kernel, positions = stacked.shape
    split = stacked.reshape(batch, groups, columns // groups, kernel, positions)
    return split.permute(1, 0, 4, 2, 3).reshape(groups, batch * positions, columns // groups * kernel)


def weight_matrix(read: Read, values: Tensor) -> Tensor:
    """Values of the weight that are multiplied with patches: (groups, outputs of one, columns x kernel's entries)."""
    if not read.is_convolution:
        moved = values.movedim(read.summed_dim, -1)
        return moved.reshape(1, -1, moved.shape[-1])
    groups = int(read.arguments.get("groups", 1))
    if read.is_transposed:
        turned = values.flip(list(range(2, values.dim())))
        return turned.reshape(groups, -1, *values.shape[1:]).transpose(1, 2).flatten(2)
    return values.reshape(groups, -1, prod(values.shape[1:]))


def output_dim(read: Read, result: Tensor) -> int:
    """The dimension of what a read has computed that holds the weight's outputs."""
    if read.is_convolution:
        return read.column_dim
    return result.dim() - 1 if read.weight_is_right else max(result.dim() - 2, 0)


def output_rows(read: Read, result: Tensor) -> Tensor:
    """What a read has computed, as the product of patches and weight: (groups, positions, outputs of one)."""
    moved = result.detach().movedim(output_dim(read, result), -1)
    groups = int(read.arguments.get("groups", 1))
    return moved.reshape(-1, groups, moved.shape[-1] // groups).transpose(0, 1)


def from_weight_matrix(read: Read, matrix: Tensor) -> Tensor:
    """The other way round: the weight, of the shape that it has, that gives this matrix."""
    shape = read.values.shape
    if not read.is_convolution:
        moved = read.values.movedim(read.summed_dim, -1)
        return matrix.reshape(moved.shape).movedim(-1, read.summed_dim)
    if read.is_transposed:
        split = matrix.reshape(len(matrix), shape[1], -1, *shape[2:]).transpose(1, 2)
        return split.reshape(shape).flip(list(range(2, len(shape))))
    return matrix.reshape(shape)


def num_features(read: Read) -> int:
    """Columns of `weight_matrix`."""
    return read.inputs.shape[read.column_dim] // int(read.arguments.get("groups", 1)) * kernel_entries(read)


def kernel_entries(read: Read) -> int:
    return prod(read.values.shape[2:]) if read.is_convolution else 1


def _setting(read: Read, name: str, default: int) -> list[int]:
    value = read.arguments.get(name, default)
    dims = read.values.dim() - 2
    given = [value] * dims if isinstance(value, int) else list(value)
    return given * dims if len(given) == 1 else given


def _padding(read: Read, size: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    given: Any = read.arguments.get("padding", 0)
    if given == "valid":
        return [(0, 0)] * len(size)
    if given == "same":
        reach = [(length - 1) * step for length, step in zip(size, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in reach]
    return [(amount, amount) for amount in _setting(read, "padding", 0)]


def _pulled_apart(inputs: Tensor, stride: Sequence[int]) -> Tensor:
    """Zeros between neighbours, so that these are `stride` apart."""
    lengths = [(length - 1) * step + 1 for length, step in zip(inputs.shape[2:], stride, strict=True)]
    apart = inputs.new_zeros((*inputs.shape[:2], *lengths))
    apart[(slice(None), slice(None), *(slice(None, None, step) for step in stride))] = inputs
    return apart
