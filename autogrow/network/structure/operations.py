"""What each PyTorch operation does to unit labels: how a convolution, a reshape or a sum lines units up.

Operations are those of ATen, the level below autograd, where every layer, functional call and tensor method of PyTorch
ends, so that no layer types need to be known here. An operation that stands in no table is taken to work entry by
entry where the shapes allow it; otherwise the units it touches cannot change.

Some operations leave open how their size would follow: a dimension of 64 viewed as 2 x 32 may be a constant 2 or a
constant 32. Such a choice is numbered; the first guess is what most networks mean, and whoever checks the result may
ask for the other (`Call.alternative`).
"""

import numpy as np
from torch import Tensor

from autogrow.network.structure import moving_operations  # noqa: F401  (registers its operations)
from autogrow.network.structure.operation_call import HANDLERS, Call, aligned, as_list, fix_all, handles, slide
from autogrow.network.structure.weight_operations import attention, batch_norm


def propagate(call: Call) -> None:
    """Label the results of an operation, relating or fixing the units of its arguments."""
    if not call.outputs or not any(call.labels.knows(tensor) for tensor in call.tensors()):
        return
    name = call.name.rstrip("_")
    if "batch_norm" in name:
        batch_norm(call)
    elif "scaled_dot_product" in name:
        attention(call)
    elif "pool" in name:
        _pooling(call)
    else:
        HANDLERS.get(name, _entry_by_entry)(call)


def _entry_by_entry(call: Call) -> None:
    """Operations on matching entries, with broadcasting; or ones that leave every labelled dimension as it is."""
    tensors = [tensor for tensor in call.tensors() if call.labels.knows(tensor)]
    for index, output in enumerate(call.outputs):
        if _broadcasts(call.tensors(), output):
            call.result(aligned(call, tensors, output.shape), index)
        elif _keeps_labelled_dims(call, tensors, output):
            call.result(call.labels.of(tensors[0]).dims, index)
        else:
            fix_all(call, f"it goes through the operation {call.name!r}")
            return


def _pooling(call: Call) -> None:
    """``avg_pool2d``, ``max_pool1d_with_indices`` and their like, over the last dimensions."""
    digits = [character for character in call.name if character.isdigit()]
    dims, count = list(call.of(0).dims), int(digits[0]) if digits else 1
    slide(call, dims[-count:])
    for index in range(len(call.outputs)):
        call.result([*dims[:-count], *(None for _ in range(count))], index)


def _broadcasts(tensors: list[Tensor], output: Tensor) -> bool:
    try:
        # NumPy's, because PyTorch's loads SymPy: half a second in a process that only plans a search.
        return np.broadcast_shapes(*(tensor.shape for tensor in tensors)) == tuple(output.shape)
    except ValueError:
        return False


def _keeps_labelled_dims(call: Call, tensors: list[Tensor], output: Tensor) -> bool:
    """Whether the first tensor is the only one with labels and they can stay, as in pooling or interpolation."""
    first, others = tensors[0], tensors[1:]
    if any(labels is not None for other in others for labels in call.labels.of(other).dims):
        return False
    return first.dim() == output.dim() and all(
        labels is None or first.shape[dim] == output.shape[dim] for dim, labels in enumerate(call.labels.of(first).dims)
    )


# Operations that mix the units of a dimension

_REDUCTIONS = (
    "mean", "sum", "amax", "amin", "max", "min", "prod", "std", "var", "std_mean", "var_mean", "norm", "argmax",
    "argmin", "median", "any", "all", "logsumexp", "linalg_vector_norm", "nansum", "count_nonzero",
)  # fmt: skip


@handles(*_REDUCTIONS)
def _reduction(call: Call) -> None:
    position = 2 if call.name in ("linalg_vector_norm", "norm") else 1
    given = call.argument(position)
    inputs = call.args[0]
    if isinstance(given, Tensor):  # max(x, y) of matching entries
        _entry_by_entry(call)
        return
    reduced = {dim % max(inputs.dim(), 1) for dim in as_list(given)} if given not in (None, []) else set(
        range(inputs.dim())
    )  # fmt: skip
    dims = call.of(0).dims
    for dim in reduced:
        call.labels.fix(dims[dim], f"its units are reduced to one by {call.name!r}")
    for index, output in enumerate(call.outputs):
        keeps = output.dim() == inputs.dim()
        kept = [None if dim in reduced else labels for dim, labels in enumerate(dims) if keeps or dim not in reduced]
        call.result(kept, index)


@handles("_softmax", "_log_softmax", "softmax", "log_softmax", "cumsum", "cumprod", "flip", "sort")
def _along_one_dim(call: Call) -> None:
    dims = call.of(0).dims
    for dim in as_list(call.argument(1, -1)):
        call.labels.fix(dims[dim], f"its units depend on each other through {call.name.strip('_')!r}")
    for index in range(len(call.outputs)):
        call.result(dims, index)
