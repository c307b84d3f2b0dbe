"""What a network returns, held against task and data before the first step: one line says what is wrong, and the fix.

The network is run on a few real examples, in eval and in training mode. It is left as it was: buffers (the statistics
of norms among them) are stood in for, every module's mode and the random state are restored.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from autogrow.errors import RAISED_BY_OTHERS, AutogrowError, NetworkError, one_line
from autogrow.network.running.undisturbed import same_random_numbers
from autogrow.tasks import Task
from autogrow.training.batches import BatchSource
from autogrow.training.training_data import TrainingData

EXAMPLES = 7
"""Few, and seldom a number of outputs, so that axes are not mistaken for each other."""
SAME_OUTPUTS = 1e-2
"""Share of the largest output by which an example's may differ between places in a batch: more than rounding."""


def check_outputs(
    module: nn.Module, data: TrainingData, examples: BatchSource | None = None, *, is_fresh: bool = True
) -> None:
    """Raises `NetworkError` for outputs that the task and the data cannot be trained on.

    Args:
        examples: The training examples on the network's device, where they are there already.
        is_fresh: Whether NaN and infinite outputs are refused, too: of a network in training, its samples tell.
    """
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise NetworkError("the network has no parameter that is trained: set requires_grad on those that are to learn")
    if examples is None:
        device = next(parameter.device for parameter in module.parameters())
        examples = data.on(data.train if data.train.streams else data.train.at(slice(EXAMPLES)), device)
    inputs, targets = examples.batch(torch.arange(min(EXAMPLES, len(examples)), device=examples.device))
    num_outputs = data.num_outputs
    modes = {child: child.training for child in module.modules()}
    try:
        module.train()
        trained = _checked(_run(module, inputs, "training", gradients=True), targets, data.task, num_outputs)
        if not trained.requires_grad:
            raise NetworkError(
                "no gradient reaches the network's parameters from what it returns: leave out detach() and no_grad()"
            )
        # Last without gradients: what a module keeps of its last pass must not be part of a graph.
        module.eval()
        outputs = _checked(_run(module, inputs, "eval"), targets, data.task, num_outputs)
        if is_fresh:
            _check_values(outputs)
        _check_places(module, inputs, outputs)
    finally:
        for child, mode in modes.items():
            child.training = mode


def _run(module: nn.Module, inputs: Tensor, mode: str, *, gradients: bool = False, seed: int = 0) -> object:
    """What the network returns, with copies in the place of its buffers, and noise of its own."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        with same_random_numbers(module, seed), torch.set_grad_enabled(gradients):
            return torch.func.functional_call(module, buffers, (inputs,))
    except AutogrowError:
        raise
    except RAISED_BY_OTHERS as error:
        raise NetworkError(
            f"the network fails in {mode} mode on inputs {tuple(inputs.shape)} of the data: {one_line(error)}"
        ) from error


def _checked(found: object, targets: Tensor, task: Task, num_outputs: int | None) -> Tensor:
    """The outputs, where their kind and shape are those that the loss takes."""
    wanted = task.wanted_outputs(targets, num_outputs)
    if not isinstance(found, Tensor):
        raise NetworkError(f"the network returned {_described(found)}, wanted is a tensor {wanted}; return that alone")
    shape = tuple(found.shape)
    if not found.is_floating_point():
        raise NetworkError(f"the network returned {found.dtype}, wanted are floating-point numbers {wanted}")
    if not wanted.fit(shape):
        count = len(targets)
        raise NetworkError(
            f"the network returned {shape} for {count} examples, wanted is {wanted}"
            f"{_fix(shape, count, num_outputs, len(wanted.shapes[0]))}"
        )
    return found


def _described(found: object) -> str:
    """A value that is no tensor, in a few words."""
    name = type(found).__name__
    if isinstance(found, Mapping):
        return f"a {name} of {', '.join(repr(str(key)[:30]) for key in list(found)[:4]) or 'nothing'}"
    if isinstance(found, tuple | list):
        return f"a {name} of {len(found)} {', '.join(type(entry).__name__ for entry in found[:3])}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _fix(shape: tuple[int, ...], count: int, num_outputs: int | None, num_axes: int) -> str:
    """What would mend outputs of a wrong shape, where the shape tells; `num_axes` is of the usual wanted one."""
    if not shape:
        return "; return a value per example, the loss is computed here"
    if shape[0] != count:
        return "; keep one row per example, in their order"
    if len(shape) > 2 and shape[1] == num_outputs and all(size == 1 for size in shape[2:]):
        return "; flatten the axes of length 1"
    if len(shape) > num_axes:
        return "; pool or flatten the other axes"
    if len(shape) > 2:
        return ""
    return f"; give its last layer {num_outputs} outputs" if num_outputs else ""


def _check_values(outputs: Tensor) -> None:
    wrong = int((~torch.isfinite(outputs)).sum())
    if wrong:
        raise NetworkError(
            f"{wrong} of {outputs.numel()} outputs of the fresh network are NaN or infinite on examples of the data: "
            "mend its layers or how its weights begin"
        )


def _check_places(module: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
    """Raises `NetworkError` where an example's outputs depend on its place among others, in a network without noise."""
    again = _run(module, inputs, "eval", seed=1)
    if not isinstance(again, Tensor) or not torch.equal(again, outputs) or len(inputs) < 2:
        return  # random in eval mode: nothing can be told
    turned = _run(module, inputs.flip(0), "eval")
    if not isinstance(turned, Tensor) or turned.shape != outputs.shape:
        return
    difference = (turned.flip(0) - outputs).abs().max()
    if difference > SAME_OUTPUTS * outputs.abs().max():
        raise NetworkError(
            "an example's outputs depend on its place in the batch, so rows and examples are mixed up: keep the first "
            "axis apart in views and reshapes"
        )
