"""Captures training steps on the CPU as a GPU would: what was recorded refers to fixed memory and to fixed numbers.

Whatever a step takes from Python anew (a learning rate, a count, a tensor that was replaced) is not seen by a replay,
so a run that depends on it ends differently from one that was not captured.
"""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}
"""Operations that make the host wait for the device, which a GPU refuses to capture."""
UPLOADS = {torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default}
"""Tensors made from numbers of the host: a copy from memory that is gone by the time of a replay."""


SILENT = {torch.ops.aten.native_batch_norm.default: slice(3, 5)}
"""Operations that write to arguments (running statistics) without their signature saying so."""


class RecorderOnCpu:
    """Takes the place of `autogrow.training.captured_step.CudaGraphs`."""

    def __init__(self):
        self.captures = self.replays = self.warm_ups = 0

    @contextmanager
    def warming_up(self):
        self.warm_ups += 1
        yield

    def record(self, action):
        with _Recording() as recording:
            action()
        recording.undo()
        self.captures += 1

        def replay():
            self.replays += 1
            recording.replay()

        return replay


class _Recording(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []
        self.before = []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        if operation in WAITS | UPLOADS:
            raise RuntimeError(f"{operation} is not permitted when a step is captured")
        options = options or {}
        written = _written(operation, arguments, options)
        silent = _tensors(arguments[SILENT[operation]]) if operation in SILENT else []
        self.before += [(tensor, tensor.clone()) for tensor in written + silent]
        result = operation(*arguments, **options)
        self.calls.append((operation, arguments, options, None if written else result))
        return result

    @torch.no_grad()
    def undo(self):
        """A capture executes nothing."""
        for tensor, value in reversed(self.before):
            tensor.copy_(value)

    @torch.no_grad()
    def replay(self):
        for operation, arguments, options, result in self.calls:
            again = operation(*arguments, **options)
            for place, value in zip(_tensors(result), _tensors(again) if result is not None else [], strict=True):
                place.copy_(value)


def _written(operation, arguments, options):
    names = [argument.name for argument in operation._schema.arguments]
    values = {**dict(zip(names, arguments, strict=False)), **options}
    return [
        tensor
        for argument in operation._schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
        for tensor in _tensors(values.get(argument.name))
    ]


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
