"""What operations that move entries about do to unit labels: reshapes, slices, concatenation and their like."""

from collections.abc import Sequence
from math import prod

import numpy as np

from autogrow.network.structure.operation_call import Call, aligned, as_list, fix_all, handles
from autogrow.network.structure.unit_labels import CONSTANT, DimLabels, IntArray


@handles("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", "view_copy")
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
        # Units of one dimension can be followed through a reshape; of two that are merged, every entry would belong to
        # one of each.
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
    # 64 channels seen as (2, 32): is the 2 the constant, or the 32? The last dimension mostly is what was counted
    # (heads x channels per head), and grows.
    kept = varying[0] if call.alternative else varying[-1]
    rows = np.moveaxis(entries, kept, -1).reshape(-1, entries.shape[kept])
    result[kept] = call.labels.couple(rows) if len(varying) > 1 else rows[0]
    return result


@handles("permute", "transpose", "t", "swapaxes", "movedim")
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


@handles("unsqueeze")
def _unsqueeze(call: Call) -> None:
    dims = list(call.of(0).dims)
    dims.insert(call.args[1] % (len(dims) + 1), None)
    call.result(dims)


@handles("squeeze")
def _squeeze(call: Call) -> None:
    inputs = call.args[0]
    given = call.argument(1)
    chosen = range(inputs.dim()) if given is None else [dim % max(inputs.dim(), 1) for dim in as_list(given)]
    dropped = [dim for dim in chosen if inputs.shape[dim] == 1]
    dims = call.of(0).dims
    for dim in dropped:
        call.labels.fix(dims[dim], "its dimension of one unit is dropped")
    call.result([labels for dim, labels in enumerate(dims) if dim not in dropped])


@handles("expand", "expand_copy", "broadcast_to")
def _expand(call: Call) -> None:
    call.result(aligned(call, [call.args[0]], call.outputs[0].shape))


@handles("repeat", "tile")
def _repeat(call: Call) -> None:
    inputs, output = call.args[0], call.outputs[0]
    offset = output.dim() - inputs.dim()
    dims: list[DimLabels] = [None] * output.dim()
    for dim, labels in enumerate(call.of(0).dims):
        if labels is not None:
            dims[offset + dim] = np.tile(labels, output.shape[offset + dim] // inputs.shape[dim])
    call.result(dims)


@handles("cat", "concat")
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


@handles("stack")
def _stack(call: Call) -> None:
    tensors = call.args[0]
    dims = aligned(call, tensors, tensors[0].shape)
    dims.insert(call.argument(1, 0) % (len(dims) + 1), None)
    call.result(dims)


@handles("slice")
def _slice(call: Call) -> None:
    inputs, output = call.args[0], call.outputs[0]
    dim = call.argument(1, 0) % inputs.dim()
    dims = list(call.of(0).dims)
    labels = dims[dim]
    if labels is not None and output.shape[dim] != inputs.shape[dim]:
        start, step = call.argument(2) or 0, call.argument(4, 1)
        start = start + len(labels) if start < 0 else start
        dims[dim] = labels[start::step][: output.shape[dim]]
        # A bound may have come from an attribute such as `self.half`, which then has to follow these labels.
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


@handles("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "split_copy", "tensor_split")
def _split(call: Call) -> None:
    dims = list(call.of(0).dims)
    dim = call.argument(2, 0) % len(dims)
    labels = dims[dim]
    start = 0
    if labels is not None:
        call.sizes.append((len(labels), labels))
    if labels is not None and len({output.shape[dim] for output in call.outputs}) == 1 and len(call.outputs) > 1:
        _couple_parts(call, labels, 0, call.outputs[0].shape[dim])
    for index, output in enumerate(call.outputs):
        if labels is not None:
            part = dims[dim] = labels[start : start + output.shape[dim]]
            call.parts.append((len(part), part))
            start += output.shape[dim]
        call.result(dims, index)
    call.sizes += call.parts


@handles("unbind", "select")
def _pick_one(call: Call) -> None:
    dims = call.of(0).dims
    dim = call.argument(1, 0) % len(dims)
    call.labels.fix(dims[dim], "single units of it are picked out")
    for index in range(len(call.outputs)):
        call.result([*dims[:dim], *dims[dim + 1 :]], index)


@handles("index_select")
def _index_select(call: Call) -> None:
    dims = list(call.of(0).dims)
    dim = call.args[1] % len(dims)
    call.labels.fix(dims[dim], "its units are picked by a fixed list of numbers")
    dims[dim] = None
    call.result(dims)


@handles("index")
def _index(call: Call) -> None:
    inputs, indices = call.args[0], call.args[1]
    given = [dim for dim, index in enumerate(indices) if index is not None]
    dims = call.of(0).dims
    for dim in given:
        call.labels.fix(dims[dim], "its units are picked by a fixed list of numbers")
    if len(given) == 1 and call.outputs[0].dim() == inputs.dim():
        call.result([None if dim in given else labels for dim, labels in enumerate(dims)])
    else:
        fix_all(call, "it is indexed by lists of numbers")


@handles("constant_pad_nd")
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


@handles("pixel_shuffle", "pixel_unshuffle")
def _pixel_shuffle(call: Call) -> None:
    dims, channels = list(call.of(0).dims), call.of(0).dims[-3]
    if channels is not None:
        area = call.args[1] ** 2
        if call.name == "pixel_shuffle":
            dims[-3] = call.labels.couple(channels.reshape(-1, area).T)
        else:
            dims[-3] = np.repeat(channels, area)
    call.result(dims)


@handles("channel_shuffle", "native_channel_shuffle")
def _channel_shuffle(call: Call) -> None:
    dims = list(call.of(0).dims)
    if dims[1] is not None:
        rows = dims[1].reshape(call.args[1], -1)
        call.labels.couple(rows)
        dims[1] = rows.T.reshape(-1)
    call.result(dims)


@handles("glu")
def _gated(call: Call) -> None:
    dims = list(call.of(0).dims)
    dim = call.argument(1, -1)
    labels = dims[dim]
    if labels is not None:
        dims[dim] = call.labels.couple(labels.reshape(2, -1))
    call.result(dims)
