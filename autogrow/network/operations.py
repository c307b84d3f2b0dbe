"""What each PyTorch operation does to unit labels: how a convolution, a reshape or a sum lines units up.

Operations are those of ATen, the level below autograd, where every layer, functional call and tensor method of PyTorch
ends, so that no layer types need to be known here. An operation that stands in no table is taken to work entry by
entry where the shapes allow it; otherwise the units it touches cannot change.

Some operations leave open how their size would follow: a dimension of 64 viewed as 2 x 32 may be a constant 2 or a
constant 32. Such a choice is numbered; the first guess is what most networks mean, and whoever checks the result may
ask for the other (`Call.alternative`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autogrow.network.unit_labels import CONSTANT, DimLabels, IntArray, Tracked, UnitLabels


@dataclass
class Call:
    """One executed operation: its arguments, its tensor results, and the labels of everything."""

    name: str
    args: tuple[Any, ...]
    outputs: list[Tensor]
    labels: UnitLabels
    alternative: bool
    """Whether a choice that this operation leaves open is to be taken the less usual way."""
    chosen: list[IntArray] = field(default_factory=list)
    """Labels that such a choice was made about."""
    sizes: list[tuple[int, IntArray]] = field(default_factory=list)
    """Sizes that the calling code may have had from an attribute of its module, and the labels they count."""

    def tensors(self) -> list[Tensor]:
        """Tensor arguments, those in lists included."""
        found: list[Tensor] = []
        for argument in self.args:
            found += [entry for entry in _as_list(argument) if isinstance(entry, Tensor)]
        return found

    def argument(self, index: int, default: Any = None) -> Any:
        return self.args[index] if index < len(self.args) else default

    def of(self, index: int) -> Tracked:
        return self.labels.of(self.args[index])

    def result(self, dims: Sequence[DimLabels], index: int = 0) -> None:
        is_weight = all(self.labels.of(tensor).is_weight for tensor in self.tensors())
        self.labels.set(self.outputs[index], dims, is_weight)


Handler = Callable[[Call], None]
HANDLERS: dict[str, Handler] = {}


def propagate(call: Call) -> None:
    """Label the results of an operation, relating or fixing the units of its arguments."""
    if not call.outputs or not any(call.labels.knows(tensor) for tensor in call.tensors()):
        return
    name = call.name.rstrip("_")
    if "batch_norm" in name:
        _batch_norm(call)
    elif "scaled_dot_product" in name:
        _attention(call)
    elif "pool" in name:
        _pooling(call)
    else:
        HANDLERS.get(name, _entry_by_entry)(call)


def _handles(*names: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def _entry_by_entry(call: Call) -> None:
    """Operations on matching entries, with broadcasting; or ones that leave every labelled dimension as it is."""
    tensors = [tensor for tensor in call.tensors() if call.labels.knows(tensor)]
    for index, output in enumerate(call.outputs):
        if _broadcasts(call.tensors(), output):
            call.result(_aligned(call, tensors, output.shape), index)
        elif _keeps_labelled_dims(call, tensors, output):
            call.result(call.labels.of(tensors[0]).dims, index)
        else:
            _fix_all(call, f"it goes through the operation {call.name!r}")
            return


def _pooling(call: Call) -> None:
    """``avg_pool2d``, ``max_pool1d_with_indices`` and their like, over the last dimensions."""
    digits = [character for character in call.name if character.isdigit()]
    dims, count = list(call.of(0).dims), int(digits[0]) if digits else 1
    _slide(call, dims[-count:])
    for index in range(len(call.outputs)):
        call.result([*dims[:-count], *(None for _ in range(count))], index)


def _broadcasts(tensors: list[Tensor], output: Tensor) -> bool:
    try:
        return bool(torch.broadcast_shapes(*(tensor.shape for tensor in tensors)) == output.shape)
    except RuntimeError:
        return False


def _keeps_labelled_dims(call: Call, tensors: list[Tensor], output: Tensor) -> bool:
    """Whether the first tensor is the only one with labels and they can stay, as in pooling or interpolation."""
    first, others = tensors[0], tensors[1:]
    if any(labels is not None for other in others for labels in call.labels.of(other).dims):
        return False
    return first.dim() == output.dim() and all(
        labels is None or first.shape[dim] == output.shape[dim] for dim, labels in enumerate(call.labels.of(first).dims)
    )


def _aligned(call: Call, tensors: list[Tensor], shape: Sequence[int]) -> list[DimLabels]:
    """Labels of a result of `shape`, to which all tensors are broadcast."""
    result: list[DimLabels] = [None] * len(shape)
    for tensor in tensors:
        tracked = call.labels.of(tensor)
        offset = len(shape) - tensor.dim()
        for dim, labels in enumerate(tracked.dims):
            if labels is None:
                continue
            if tensor.shape[dim] != shape[offset + dim]:
                call.labels.fix(labels, "it is broadcast over a dimension of another size")
                continue
            if tracked.is_weight:
                call.labels.give_role(labels, "vector")
            result[offset + dim] = call.labels.relate(result[offset + dim], labels)
    return result


def _fix_all(call: Call, reason: str) -> None:
    for tensor in call.tensors():
        for labels in call.labels.of(tensor).dims:
            call.labels.fix(labels, reason)


# Products with weights


@_handles("convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution", "convolution_overrideable")
def _convolution(call: Call) -> None:
    inputs, weight, bias = call.args[:3]
    transposed, groups = (call.args[6], call.args[8]) if call.name.startswith(("conv", "_conv")) else (False, 1)
    labels, dims = call.labels, call.labels.of(inputs).dims
    tracked = labels.of(weight)
    if groups == inputs.shape[1] and tracked.dims[0] is None and tracked.dims[1] is None:
        # A constant filter applied to every channel by itself, made in the number that is needed.
        made = None if dims[1] is None else np.repeat(dims[1], call.outputs[0].shape[1] // groups)
        call.result([None, made, *(None for _ in dims[2:])])
        return
    channels = _unit_reads(call, dims[1], tracked)
    in_dim, out_dim = (0, 1) if transposed else (1, 0)
    labels.give_role(tracked.dims[out_dim], "out")
    if groups == 1:
        labels.give_role(tracked.dims[in_dim], "in")
        labels.relate(channels, tracked.dims[in_dim])
        out = tracked.dims[out_dim]
    else:
        out = _grouped(call, channels, weight, groups, transposed)
    if bias is not None:
        out = _vector(call, bias, out, 0.0)
    _slide(call, dims[2:])
    call.result([None, out, *(None for _ in dims[2:])])


def _slide(call: Call, dims: Sequence[DimLabels]) -> None:
    """Neighbouring entries of these dimensions are mixed."""
    for labels in dims:
        call.labels.fix(labels, f"{call.name!r} slides over its units")


def _unit_reads(call: Call, channels: DimLabels, weight: Tracked) -> DimLabels:
    """The labels that a weight reads; they cannot change where the weight is not made of parameters."""
    if not weight.is_weight or all(labels is None for labels in weight.dims):
        call.labels.fix(channels, "it is read by a weight that is no parameter of the network")
        for labels in weight.dims:
            call.labels.fix(labels, "a weight is computed from it")
    return channels


def _grouped(call: Call, channels: DimLabels, weight: Tensor, groups: int, transposed: bool) -> DimLabels:
    """Convolutions in groups grow in one of two ways: more groups of the same size, or larger groups.

    Few large groups are made larger (each gets a channel more); many small ones become more. A depthwise convolution
    is the case of groups of one channel.
    """
    labels, (first, second, *_) = call.labels, call.labels.of(weight).dims
    if first is None or second is None:
        return None
    in_per_group = weight.shape[0] // groups if transposed else weight.shape[1]
    out_per_group = weight.shape[1] if transposed else weight.shape[0] // groups
    if in_per_group > 1:
        call.chosen.append(first)
    if in_per_group == 1 or (in_per_group <= groups) != call.alternative:
        units = labels.couple(first.reshape(groups, -1).T)
        if channels is None:
            labels.fix(units, "a convolution in groups reads the network's input")
        else:
            labels.relate(units, labels.couple(channels.reshape(groups, -1).T))
        labels.give_role(first, "out")
        return np.repeat(units, out_per_group) if transposed else first
    rows = labels.couple(first.reshape(groups, -1))
    if transposed:
        labels.give_role(first, "in")
        if channels is not None:
            labels.relate(channels, first)
        return np.tile(second, groups)
    labels.give_role(second, "in")
    if channels is not None:
        labels.relate(labels.couple(channels.reshape(groups, -1)), second)
    return np.tile(rows, groups)


@_handles("mm", "bmm", "matmul", "mv")
def _product(call: Call) -> None:
    call.result(_contract(call, call.args[0], call.args[1]))


@_handles("addmm", "baddbmm", "addmv")
def _product_and_sum(call: Call) -> None:
    dims = _contract(call, call.args[1], call.args[2])
    bias = call.args[0]
    offset = len(dims) - bias.dim()
    for dim, labels in enumerate(call.labels.of(bias).dims):
        if labels is not None and bias.shape[dim] == call.outputs[0].shape[offset + dim]:
            dims[offset + dim] = _vector(call, bias, dims[offset + dim], 0.0, dim)
    call.result(dims)


@_handles("linear")
def _linear(call: Call) -> None:
    inputs, weight = call.of(0), call.of(1)
    call.labels.give_role(weight.dims[1], "in")
    call.labels.give_role(weight.dims[0], "out")
    call.labels.relate(_unit_reads(call, inputs.dims[-1], weight), weight.dims[1])
    out = weight.dims[0]
    if call.argument(2) is not None:
        out = _vector(call, call.args[2], out, 0.0)
    call.result([*inputs.dims[:-1], out])


def _contract(call: Call, first: Tensor, second: Tensor) -> list[DimLabels]:
    """Labels of first (..., n, k) times second (..., k, m): sums over the units of k."""
    labels = call.labels
    left, right = labels.of(first), labels.of(second)
    inner_right = right.dims[-2] if second.dim() > 1 else right.dims[-1]
    if left.is_weight == right.is_weight:
        for entry in (left.dims[-1], inner_right):
            labels.fix(entry, "its units are summed in a product of activations, as in attention")
    weight, others = (left, [inner_right]) if left.is_weight else (right, [left.dims[-1]])
    inner, outer = (left.dims[-1], left.dims[-2:-1]) if left.is_weight else (inner_right, right.dims[-1:])
    if inner is None:
        labels.fix(others[0], "it is read by a weight that is no parameter of the network")
    elif weight.is_weight:
        labels.give_role(inner, "in")
        for entry in outer:
            labels.give_role(entry, "out")
        labels.relate(inner, others[0])
    batch = [
        labels.relate(one, other) if first.shape[dim] == second.shape[dim] else (one if other is None else other)
        for dim, (one, other) in enumerate(zip(left.dims[:-2], right.dims[:-2], strict=False))
    ]
    return [*batch, *left.dims[-2:-1], *(right.dims[-1:] if second.dim() > 1 else ())]


def _vector(call: Call, vector: Tensor, units: DimLabels, fill: float, dim: int = 0) -> DimLabels:
    """A gain, bias or statistic with one entry per unit; its new entries hold `fill`."""
    tracked = call.labels.of(vector)
    owner = call.labels.owner(tracked.dims[dim])
    if owner is not None and tracked.is_weight:
        call.labels.give_role(tracked.dims[dim], "vector")
        call.labels.fills[owner.name] = fill
    return call.labels.relate(units, tracked.dims[dim])


@_handles("embedding")
def _embedding(call: Call) -> None:
    weight = call.of(0).dims
    call.labels.fix(weight[0], "it is the vocabulary of an embedding")
    call.labels.give_role(weight[1], "out")
    call.labels.set(call.outputs[0], [*(None for _ in call.args[1].shape), weight[1]])


def _attention(call: Call) -> None:
    """Scores sum over the units of queries and keys; the values keep theirs."""
    for index in (0, 1):
        call.labels.fix(call.of(index).dims[-1], "its units are summed in the scores of an attention")
    query, value = call.of(0).dims, call.of(2).dims
    call.labels.set(call.outputs[0], [*query[:-1], value[-1]])


# Norms


def _batch_norm(call: Call) -> None:
    dims = list(call.of(0).dims)
    for index, fill in ((1, 1.0), (2, 0.0), (3, 0.0), (4, 1.0)):
        vector = call.argument(index)
        if isinstance(vector, Tensor):
            dims[1] = _vector(call, vector, dims[1], fill)
    call.result(dims)


@_handles("native_layer_norm", "layer_norm", "_fused_rms_norm", "rms_norm")
def _layer_norm(call: Call) -> None:
    dims, count = list(call.of(0).dims), len(call.args[1])
    first = len(dims) - count
    for index, fill in ((2, 1.0), (3, 0.0)):
        vector = call.argument(index)
        if isinstance(vector, Tensor):
            for dim in range(count):
                dims[first + dim] = _vector(call, vector, dims[first + dim], fill, dim)
    for labels in dims[first:]:
        call.labels.fix(labels, "statistics are taken over all its units")
    call.result(dims)


@_handles("native_group_norm", "group_norm")
def _group_norm(call: Call) -> None:
    groups = call.args[6] if call.name == "native_group_norm" else call.args[1]
    first = 1 if call.name == "native_group_norm" else 2
    dims = list(call.of(0).dims)
    for index, fill in ((first, 1.0), (first + 1, 0.0)):
        vector = call.argument(index)
        if isinstance(vector, Tensor):
            dims[1] = _vector(call, vector, dims[1], fill)
    if dims[1] is not None:
        if groups == 1:
            call.labels.fix(dims[1], "statistics are taken over all its units")
        else:
            # A whole group of the norm is added at a time, so that the statistics of the others stay.
            call.labels.couple(dims[1].reshape(groups, -1).T)
    call.result(dims)


# Operations that mix the units of a dimension

_REDUCTIONS = (
    "mean", "sum", "amax", "amin", "max", "min", "prod", "std", "var", "std_mean", "var_mean", "norm", "argmax",
    "argmin", "median", "any", "all", "logsumexp", "linalg_vector_norm", "nansum", "count_nonzero",
)  # fmt: skip


@_handles(*_REDUCTIONS)
def _reduction(call: Call) -> None:
    position = 2 if call.name in ("linalg_vector_norm", "norm") else 1
    given = call.argument(position)
    inputs = call.args[0]
    if isinstance(given, Tensor):  # max(x, y) of matching entries
        _entry_by_entry(call)
        return
    reduced = {dim % max(inputs.dim(), 1) for dim in _as_list(given)} if given not in (None, []) else set(
        range(inputs.dim())
    )  # fmt: skip
    dims = call.of(0).dims
    for dim in reduced:
        call.labels.fix(dims[dim], f"its units are reduced to one by {call.name!r}")
    for index, output in enumerate(call.outputs):
        keeps = output.dim() == inputs.dim()
        kept = [None if dim in reduced else labels for dim, labels in enumerate(dims) if keeps or dim not in reduced]
        call.result(kept, index)


@_handles("_softmax", "_log_softmax", "softmax", "log_softmax", "cumsum", "cumprod", "flip", "sort")
def _along_one_dim(call: Call) -> None:
    dims = call.of(0).dims
    for dim in _as_list(call.argument(1, -1)):
        call.labels.fix(dims[dim], f"its units depend on each other through {call.name.strip('_')!r}")
    for index in range(len(call.outputs)):
        call.result(dims, index)


# Moving entries about


@_handles("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", "view_copy")
def _reshape(call: Call) -> None:
    dims = _reshaped(call, call.of(0).dims, call.args[0].shape, call.outputs[0].shape)
    call.sizes += [(len(labels), labels) for labels in dims if labels is not None]
    call.result(dims)


def _reshaped(call: Call, dims: Sequence[DimLabels], old: Sequence[int], new: Sequence[int]) -> list[DimLabels]:
    result: list[DimLabels] = []
    for before, after in _matching_blocks(old, new):
        sizes = [new[dim] for dim in after]
        if [old[dim] for dim in before] == sizes:
            result += [dims[dim] for dim in before]
            continue
        labelled = [dim for dim in before if dims[dim] is not None]
        if len(labelled) != 1 or not sizes:
            for dim in labelled:
                call.labels.fix(dims[dim], "a reshape merges it with other units")
            result += [None] * len(sizes)
            continue
        block = [old[dim] for dim in before]
        position = before.index(labelled[0])
        shape = [-1 if dim == position else 1 for dim in range(len(block))]
        along = dims[labelled[0]]
        assert along is not None
        result += _separated(call, np.broadcast_to(along.reshape(shape), block).reshape(sizes))
    return result


def _matching_blocks(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of dimensions with equal numbers of entries before and after, in order."""
    blocks: list[tuple[list[int], list[int]]] = []
    first = second = 0
    while first < len(old) or second < len(new):
        before, after = list(old[first : first + 1]), list(new[second : second + 1])
        while prod(before) != prod(after) or not (before and after):
            if first + len(before) < len(old) and (prod(before) <= prod(after) or second + len(after) == len(new)):
                before.append(old[first + len(before)])
            elif second + len(after) < len(new):
                after.append(new[second + len(after)])
            else:
                break
        blocks.append((list(range(first, first + len(before))), list(range(second, second + len(after)))))
        first, second = first + len(before), second + len(after)
    return blocks


def _separated(call: Call, entries: IntArray) -> list[DimLabels]:
    """Labels per dimension of an array of labels, coupling what cannot be told apart by one dimension."""
    result: list[DimLabels] = [None] * entries.ndim
    varying = [dim for dim in range(entries.ndim) if (entries != entries.take([0], axis=dim)).any()]
    if entries.ndim == 1:
        return [entries]
    if not varying:
        ones = [dim for dim in range(entries.ndim) if entries.shape[dim] == 1]
        if len(ones) == 1:
            result[ones[0]] = entries.reshape(-1)[:1]
        else:
            call.labels.fix(entries.reshape(-1)[:1], "a reshape hides its one unit")
        return result
    if len(varying) > 1:
        call.chosen.append(entries.reshape(-1))
    kept = varying[0] if call.alternative else varying[-1]
    rows = np.moveaxis(entries, kept, -1).reshape(-1, entries.shape[kept])
    result[kept] = call.labels.couple(rows) if len(varying) > 1 else rows[0]
    return result


@_handles("permute", "transpose", "t", "swapaxes", "movedim")
def _permute(call: Call) -> None:
    dims = call.of(0).dims
    if call.name.startswith("permute"):
        order = [dim % len(dims) for dim in call.args[1]]
    else:
        order = list(range(len(dims)))
        one, other = (call.args[1], call.args[2]) if len(call.args) > 2 else (0, len(dims) - 1)
        if dims:
            order[one], order[other] = order[other], order[one]
    call.result([dims[dim] for dim in order])


@_handles("unsqueeze")
def _unsqueeze(call: Call) -> None:
    dims = list(call.of(0).dims)
    dims.insert(call.args[1] % (len(dims) + 1), None)
    call.result(dims)


@_handles("squeeze")
def _squeeze(call: Call) -> None:
    inputs = call.args[0]
    given = call.argument(1)
    chosen = range(inputs.dim()) if given is None else [dim % max(inputs.dim(), 1) for dim in _as_list(given)]
    dropped = [dim for dim in chosen if inputs.shape[dim] == 1]
    dims = call.of(0).dims
    for dim in dropped:
        call.labels.fix(dims[dim], "its dimension of one unit is dropped")
    call.result([labels for dim, labels in enumerate(dims) if dim not in dropped])


@_handles("expand", "expand_copy", "broadcast_to")
def _expand(call: Call) -> None:
    call.result(_aligned(call, [call.args[0]], call.outputs[0].shape))


@_handles("repeat", "tile")
def _repeat(call: Call) -> None:
    inputs, output = call.args[0], call.outputs[0]
    offset = output.dim() - inputs.dim()
    dims: list[DimLabels] = [None] * output.dim()
    for dim, labels in enumerate(call.of(0).dims):
        if labels is not None:
            dims[offset + dim] = np.tile(labels, output.shape[offset + dim] // inputs.shape[dim])
    call.result(dims)


@_handles("cat", "concat")
def _concatenate(call: Call) -> None:
    tensors = [tensor for tensor in call.args[0] if tensor.numel() > 0 or tensor.dim() > 1]
    rank = call.outputs[0].dim()
    dim = call.argument(1, 0) % rank
    dims: list[DimLabels] = [None] * rank
    parts: list[IntArray] = []
    for tensor in tensors:
        tracked = call.labels.of(tensor).dims
        for other in range(rank):
            if other != dim:
                dims[other] = call.labels.relate(dims[other], tracked[other])
        along = tracked[dim]
        parts.append(along if along is not None else np.full(tensor.shape[dim], CONSTANT))
    joined = np.concatenate(parts)
    dims[dim] = joined if (joined != CONSTANT).any() else None
    call.result(dims)


@_handles("stack")
def _stack(call: Call) -> None:
    tensors = call.args[0]
    dims = _aligned(call, tensors, tensors[0].shape)
    dims.insert(call.argument(1, 0) % (len(dims) + 1), None)
    call.result(dims)


@_handles("slice")
def _slice(call: Call) -> None:
    inputs, output = call.args[0], call.outputs[0]
    dim = call.argument(1, 0) % inputs.dim()
    dims = list(call.of(0).dims)
    labels = dims[dim]
    if labels is not None and output.shape[dim] != inputs.shape[dim]:
        start, step = call.argument(2) or 0, call.argument(4, 1)
        start = start + len(labels) if start < 0 else start
        dims[dim] = labels[start::step][: output.shape[dim]]
        call.sizes += [(bound, labels[:bound]) for bound in (start, start + output.shape[dim]) if bound]
        _couple_parts(call, labels, start, output.shape[dim] if step == 1 else 0)
    call.result(dims)


def _couple_parts(call: Call, labels: IntArray, start: int, size: int) -> None:
    """A dimension cut into equal parts stays cut into equal parts: the parts grow together."""
    if size == 0 or len(labels) % size or start % size:
        return
    call.chosen.append(labels)
    if not call.alternative:
        call.labels.couple(labels.reshape(-1, size))


@_handles("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "split_copy", "tensor_split")
def _split(call: Call) -> None:
    dims = list(call.of(0).dims)
    dim = call.argument(2, 0) % len(dims)
    labels = dims[dim]
    start = 0
    if labels is not None:
        call.sizes += [(len(labels), labels), (call.outputs[0].shape[dim], labels[: call.outputs[0].shape[dim]])]
    if labels is not None and len({output.shape[dim] for output in call.outputs}) == 1 and len(call.outputs) > 1:
        _couple_parts(call, labels, 0, call.outputs[0].shape[dim])
    for index, output in enumerate(call.outputs):
        if labels is not None:
            dims[dim] = labels[start : start + output.shape[dim]]
            start += output.shape[dim]
        call.result(dims, index)


@_handles("unbind", "select")
def _pick_one(call: Call) -> None:
    dims = call.of(0).dims
    dim = call.argument(1, 0) % len(dims)
    call.labels.fix(dims[dim], "single units of it are picked out")
    for index in range(len(call.outputs)):
        call.result([*dims[:dim], *dims[dim + 1 :]], index)


@_handles("index_select")
def _index_select(call: Call) -> None:
    dims = list(call.of(0).dims)
    dim = call.args[1] % len(dims)
    call.labels.fix(dims[dim], "its units are picked by a fixed list of numbers")
    dims[dim] = None
    call.result(dims)


@_handles("index")
def _index(call: Call) -> None:
    inputs, indices = call.args[0], call.args[1]
    given = [dim for dim, index in enumerate(indices) if index is not None]
    dims = call.of(0).dims
    for dim in given:
        call.labels.fix(dims[dim], "its units are picked by a fixed list of numbers")
    if len(given) == 1 and call.outputs[0].dim() == inputs.dim():
        call.result([None if dim in given else labels for dim, labels in enumerate(dims)])
    else:
        _fix_all(call, "it is indexed by lists of numbers")


@_handles("constant_pad_nd")
def _pad(call: Call) -> None:
    dims = list(call.of(0).dims)
    for number in range(len(call.args[1]) // 2):
        before, after = call.args[1][2 * number : 2 * number + 2]
        dim = len(dims) - 1 - number
        labels = dims[dim]
        if labels is not None and (before or after):
            kept = labels[max(0, -before) : len(labels) - max(0, -after)]
            dims[dim] = np.pad(kept, (max(0, before), max(0, after)), constant_values=CONSTANT)
    call.result(dims)


@_handles("pixel_shuffle", "pixel_unshuffle")
def _pixel_shuffle(call: Call) -> None:
    dims, channels = list(call.of(0).dims), call.of(0).dims[-3]
    if channels is not None:
        area = call.args[1] ** 2
        if call.name == "pixel_shuffle":
            dims[-3] = call.labels.couple(channels.reshape(-1, area).T)
        else:
            dims[-3] = np.repeat(channels, area)
    call.result(dims)


@_handles("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(call: Call) -> None:
    dims = list(call.of(0).dims)
    if dims[1] is not None:
        rows = dims[1].reshape(call.args[1], -1)
        call.labels.couple(rows)
        dims[1] = rows.T.reshape(-1)
    call.result(dims)


@_handles("glu")
def _gated(call: Call) -> None:
    dims = list(call.of(0).dims)
    dim = call.argument(1, -1)
    labels = dims[dim]
    if labels is not None:
        dims[dim] = call.labels.couple(labels.reshape(2, -1))
    call.result(dims)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
