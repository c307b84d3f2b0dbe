"""What products with weights, attention and norms do to unit labels."""

import numpy as np
from torch import Tensor

from autogrow.network.structure.operation_call import Call, handles, slide, vector_dim
from autogrow.network.structure.unit_labels import DimLabels, Tracked

# Products with weights


@handles("convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution", "convolution_overrideable")
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
        out = vector_dim(call, bias, out, None)
    slide(call, dims[2:])
    call.result([None, out, *(None for _ in dims[2:])])


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
    one_each = weight.shape[0] == groups if transposed else weight.shape[1] == 1
    if first is None or (second is None and (transposed or not one_each)):
        for units in (first, second, channels):
            labels.fix(units, "it belongs to a convolution in groups whose weight is put together from parts")
        return None
    in_per_group = weight.shape[0] // groups if transposed else weight.shape[1]
    out_per_group = weight.shape[1] if transposed else weight.shape[0] // groups
    # With one channel per group there is only one way to grow; else the trace alone cannot tell which is meant.
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
    assert second is not None
    if transposed:
        labels.give_role(first, "in")
        if channels is not None:
            labels.relate(channels, first)
        return np.tile(second, groups)
    labels.give_role(second, "in")
    if channels is not None:
        labels.relate(labels.couple(channels.reshape(groups, -1)), second)
    return np.tile(rows, groups)


@handles("mm", "bmm", "matmul", "mv")
def _product(call: Call) -> None:
    call.result(_contract(call, call.args[0], call.args[1]))


@handles("addmm", "baddbmm", "addmv")
def _product_and_sum(call: Call) -> None:
    dims = _contract(call, call.args[1], call.args[2])
    bias = call.args[0]
    offset = len(dims) - bias.dim()
    for dim, labels in enumerate(call.labels.of(bias).dims):
        if labels is not None and bias.shape[dim] == call.outputs[0].shape[offset + dim]:
            dims[offset + dim] = vector_dim(call, bias, dims[offset + dim], None, dim)
    call.result(dims)


@handles("linear")
def _linear(call: Call) -> None:
    inputs, weight = call.of(0), call.of(1)
    call.labels.give_role(weight.dims[1], "in")
    call.labels.give_role(weight.dims[0], "out")
    call.labels.relate(_unit_reads(call, inputs.dims[-1], weight), weight.dims[1])
    out = weight.dims[0]
    if call.argument(2) is not None:
        out = vector_dim(call, call.args[2], out, 0.0)
    call.result([*inputs.dims[:-1], out])


def _contract(call: Call, first: Tensor, second: Tensor) -> list[DimLabels]:
    """Labels of first (..., n, k) times second (..., k, m): sums over the units of k."""
    labels = call.labels
    left, right = labels.of(first), labels.of(second)
    inner_right = right.dims[-2] if second.dim() > 1 else right.dims[-1]
    # Two activations, as in attention, or two weights that make a third: neither side is a weight that reads the other,
    # whose new entries could start at zero.
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


@handles("_weight_norm_interface")
def _weight_norm(call: Call) -> None:
    """Directions of weights, and a length for every entry of one dimension (Salimans and Kingma 2016).

    New entries that are zero leave the lengths of old rows as they are.
    """
    dims, along = list(call.of(0).dims), call.argument(2, 0)
    dims[along] = vector_dim(call, call.args[1], dims[along], None, along)
    call.result(dims)


@handles("_thnn_fused_lstm_cell", "_thnn_fused_gru_cell")
def _fused_cell(call: Call) -> None:
    """One step of a recurrent layer: gates of inputs and of the state before, that state, biases."""
    labels, (gates, state) = call.labels, (call.of(0).dims[1], call.of(2).dims[1])
    gates = labels.relate(gates, call.of(1).dims[1])
    for bias in call.args[3:5]:
        if isinstance(bias, Tensor):
            gates = vector_dim(call, bias, gates, None)
    count = 4 if "lstm" in call.name else 3
    units = state if gates is None else labels.relate(state, labels.couple(gates.reshape(count, -1)))
    for index in range(count // 2):
        labels.set(call.outputs[index], [None, units])


@handles("embedding")
def _embedding(call: Call) -> None:
    weight = call.of(0).dims
    call.labels.fix(weight[0], "it is the vocabulary of an embedding")
    call.labels.give_role(weight[1], "out")
    call.labels.set(call.outputs[0], [*(None for _ in call.args[1].shape), weight[1]])


@handles("embedding_renorm")
def _embedding_renorm(call: Call) -> None:
    call.labels.fix(call.of(0).dims[1], "rows of the embedding are scaled to a largest norm over all its units")


@handles("_embedding_bag", "_embedding_bag_forward_only")
def _embedding_bag(call: Call) -> None:
    """Sums, means or maxima over rows; the last result holds the places of the maxima, one per unit."""
    weight = call.of(0).dims
    call.labels.fix(weight[0], "it is the vocabulary of an embedding")
    call.labels.give_role(weight[1], "out")
    call.labels.set(call.outputs[0], [None, weight[1]])


def attention(call: Call) -> None:
    """Scores sum over the units of queries and keys; the values keep theirs. Heads are lined up, as are positions."""
    labels, (query, key, value) = call.labels, (list(call.of(index).dims) for index in range(3))
    for dims in (query, key):
        labels.fix(dims[-1], "its units are summed in the scores of an attention")
    joined = []
    for dim in range(len(query) - 2):
        keys_and_values = labels.relate(*(_as_many(each[dim], call, dim) for each in (key, value)))
        joined.append(labels.relate(query[dim], keys_and_values))
    joined += [query[-2], labels.relate(key[-2], value[-2])]
    masks = [entry for entry in (*call.args[3:], *call.options.values()) if isinstance(entry, Tensor)]
    for mask in masks:
        for dim, units in enumerate(labels.of(mask).dims, start=len(joined) - mask.dim()):
            _line_up_mask(call, mask, dim, units, joined)
    labels.set(call.outputs[0], [*joined[:-1], value[-1]])


def _as_many(units: DimLabels, call: Call, dim: int) -> DimLabels:
    """Labels of heads, each as often as there are queries to one (`enable_gqa`)."""
    heads = call.args[0].shape[dim]
    return units if units is None or len(units) == heads else np.repeat(units, heads // len(units))


def _line_up_mask(call: Call, mask: Tensor, dim: int, units: DimLabels, joined: list[DimLabels]) -> None:
    """A mask or bias that is computed from parameters has an entry per head, or is the same for all of them."""
    if units is None:
        return
    other = joined[dim]
    if other is not None and len(other) != len(units):
        call.labels.fix(units, "it is broadcast over a dimension of another size")
        return
    if call.labels.of(mask).is_weight:
        call.labels.give_role(units, "vector")
    joined[dim] = call.labels.relate(other, units)


# Norms


def batch_norm(call: Call) -> None:
    dims = list(call.of(0).dims)
    for index, fill in ((1, 1.0), (2, 0.0), (3, 0.0), (4, 1.0)):
        vector = call.argument(index)
        if isinstance(vector, Tensor):
            dims[1] = vector_dim(call, vector, dims[1], fill)
    call.result(dims)


@handles("native_layer_norm", "layer_norm", "_fused_rms_norm", "rms_norm")
def _layer_norm(call: Call) -> None:
    dims, count = list(call.of(0).dims), len(call.args[1])
    first = len(dims) - count
    for index, fill in ((2, 1.0), (3, 0.0)):
        vector = call.argument(index)
        if isinstance(vector, Tensor):
            for dim in range(count):
                dims[first + dim] = vector_dim(call, vector, dims[first + dim], fill, dim)
    for labels in dims[first:]:
        call.labels.fix(labels, "statistics are taken over all its units")
    call.result(dims)


@handles("native_group_norm", "group_norm")
def _group_norm(call: Call) -> None:
    groups = call.args[6] if call.name == "native_group_norm" else call.args[1]
    first = 1 if call.name == "native_group_norm" else 2
    dims = list(call.of(0).dims)
    for index, fill in ((first, 1.0), (first + 1, 0.0)):
        vector = call.argument(index)
        if isinstance(vector, Tensor):
            dims[1] = vector_dim(call, vector, dims[1], fill)
    if dims[1] is not None:
        if groups == 1:
            call.labels.fix(dims[1], "statistics are taken over all its units")
        else:
            # A whole group of the norm is added at a time, so that the statistics of the others stay.
            call.labels.couple(dims[1].reshape(groups, -1).T)
    call.result(dims)
