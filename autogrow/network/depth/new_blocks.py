"""Making a block that a network does not have yet: a copy of another in the widths asked for, with fresh weights.

A fresh block can start as the identity, so that a network's function stays as it is: what ends a residual branch is
set to zero (Goyal et al. 2017, arXiv 1706.02677, section 5.1, for the gain of the last norm). What that is depends on
the block, and is found by experiment.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from autogrow.errors import NetworkError
from autogrow.network.resizing.initialization import make_initializer
from autogrow.network.resizing.prepared_resizing import prepare_resizing
from autogrow.network.running.copying import copied
from autogrow.network.running.model_input import ModelInput, run
from autogrow.network.running.undisturbed import undisturbed, undisturbed_training
from autogrow.network.structure.channel_groups import Structure
from autogrow.network.structure.layout import NEW
from autogrow.policy.initializations import ZeroFanOut

IDENTITY_TOLERANCE = 1e-5
"""Largest change of the stream, relative to its largest entry, at which a block counts as the identity."""

MAX_DRAWS = 5
"""Times that the weights of a block are drawn until it can start as the identity and learn."""


@dataclass(frozen=True)
class BlockCall:
    """What a block was called with, and what it returned; copies, as the network may write over its own."""

    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: Any

    @property
    def problem(self) -> str | None:
        """Why a block that is called so cannot stand in a row with itself."""
        stream = stream_of(self.output)
        if not self.inputs or not isinstance(self.inputs[0], Tensor) or stream is None:
            return "does not take a tensor first and return it, alone or before others"
        if self.inputs[0].shape != stream.shape:
            return f"changes the shape from {tuple(self.inputs[0].shape)} to {tuple(stream.shape)}"
        return None

    def next(self) -> "BlockCall":
        """The call of a block that follows: on the output, with the other arguments as they were."""
        return BlockCall((stream_of(self.output), *self.inputs[1:]), self.options, None)

    def of(self, block: nn.Module, stream: Tensor) -> Tensor | None:
        """What a block hands on when it is called so, on `stream`. A cache that it writes to stays as it is."""
        return stream_of(block(stream.clone(), *_copied(self.inputs[1:]), **_copied(self.options)))


def stream_of(output: Any) -> Tensor | None:
    """What a block hands on to the next one: its output, or the first of several; None if that is no tensor."""
    first = output[0] if isinstance(output, tuple | list) and output else output
    return first if isinstance(first, Tensor) else None


def record_calls(
    model: nn.Module, layers: Mapping[str, nn.Module], example_input: ModelInput
) -> dict[str, list[BlockCall]]:
    """The calls of some layers while `model` runs in eval mode, by the names given."""
    calls: dict[str, list[BlockCall]] = {name: [] for name in layers}
    started: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def enter(layer: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        started.append((_copied(inputs), _copied(options)))

    def leave(name: str, output: Any) -> None:
        calls[name].append(BlockCall(*started.pop(), _copied(output)))

    handles = []
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(layer.register_forward_hook(lambda layer, inputs, output, name=name: leave(name, output)))
        with undisturbed(model):
            run(model, example_input)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _copied(values: Any) -> Any:
    """The same with tensors of its own, and with its own of what holds some and is written to (caches)."""
    return tree_map(_own, values)


def _own(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if hasattr(value, "__dict__") and not callable(value) and not isinstance(value, type):
        return copied(value)
    return value


def fresh_block(
    template: nn.Module, layouts: Structure, widths: Mapping[str, int], generator: torch.Generator
) -> nn.Module:
    """A copy of `template` in the given widths, its weights drawn anew on the CPU from `generator`.

    Layers start by their `reset_parameters`; weights of linear layers and convolutions are then scaled to a root mean
    square of sqrt(2 / fan_in) (He et al. 2015, arXiv 1502.01852, equation 10), since how the network's author started
    them cannot be known, unless a `reset_parameters` of the block itself says it. Parameters that no layer resets (a
    layer scale) keep the template's values.

    Args:
        template: The block to copy, on the CPU.
        layouts: The structure of the template, see `block_structure`.
        widths: The width to give to each of its groups.
        generator: On the CPU. The global random state is left alone.
    """
    block = copied(template)
    present = {name: width for name, width in layouts.widths.items() if widths.get(name, width) != width}
    units = {
        name: np.concatenate([np.arange(min(old, widths[name])), np.full(max(0, widths[name] - old), NEW)])
        for name, old in present.items()
    }
    if units:
        prepare_resizing(block, layouts, units, make_initializer(ZeroFanOut()), generator).commit()
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for layer in reversed(list(block.modules())):  # a block's own reset comes after those of its layers
            reset = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)
            if callable(reset):
                reset()
            if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
                _scale_to_fan_in(layer)
    return block


def _scale_to_fan_in(layer: nn.Linear | nn.modules.conv._ConvNd) -> None:
    weight, inputs = layer.weight, layer.weight.shape[1]
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        inputs = layer.in_channels // layer.groups
    fan_in = inputs * weight[0, 0].numel()
    present = float(weight.square().mean().sqrt())
    if present > 0:
        weight.mul_(sqrt(2 / fan_in) / present)


def identity_block(draw: Callable[[], nn.Module], calls: Sequence[BlockCall]) -> nn.Module:
    """A drawn block that starts as the identity on these calls. Several are drawn, as a narrow one may be silent.

    Raises:
        NetworkError: None of them can.
    """
    for attempt in range(MAX_DRAWS):
        block = draw()
        try:
            start_as_identity(block, calls)
            break
        except NetworkError:
            if attempt == MAX_DRAWS - 1:
                raise
    return block


def start_as_identity(block: nn.Module, calls: Sequence[BlockCall]) -> None:
    """Set to zero what makes the block return its first argument, in eval and in train mode.

    Tried are gains (of norms and layer scales) from the last to the first, then weights with their biases in the same
    order; then all of these together, less the ones that are not needed (a block with two branches). What is set to
    zero must get a gradient, or it would stay zero: before a ReLU it does not.

    Raises:
        NetworkError: Nothing does. The block's values are as they were.
    """
    if _is_identity(block, calls):
        return
    values = [(parameter, parameter.detach().clone()) for parameter in block.parameters()]
    for zeroed in _candidates(block):
        _set_to_zero(zeroed)
        if _is_identity(block, calls) and _learns(block, zeroed, calls):
            return
        _restore(values)
    # The last ones in the block's own order; and matrices before gains, since the zero gain of a norm before a gated
    # hidden layer gets no gradient: both of the factors behind it are zero.
    for order in (values, sorted(values, key=lambda pair: not _is_vector(pair[0]))):
        needed = _needed_zeros(block, calls, order)
        if needed and _learns(block, needed, calls):
            return
        _restore(values)
    why = "cannot learn from there on" if needed else "does not exist"
    raise NetworkError(f"cannot start as the identity: a gain or weight whose zero makes it one {why}")


def _candidates(block: nn.Module) -> list[list[nn.Parameter]]:
    owners = [list(layer.parameters(recurse=False)) for layer in block.modules()]
    owners = [parameters for parameters in reversed(owners) if parameters]
    gains = [parameters for parameters in owners if all(map(_is_vector, parameters))]
    return [*gains, *(parameters for parameters in owners if not all(map(_is_vector, parameters)))]


def _is_vector(parameter: Tensor) -> bool:
    return parameter.numel() == max(parameter.shape, default=1)


def _needed_zeros(
    block: nn.Module, calls: Sequence[BlockCall], values: Sequence[tuple[nn.Parameter, Tensor]]
) -> list[nn.Parameter]:
    """Sets the fewest parameters to zero, the last ones where there is a choice; none where even all do not help."""
    _set_to_zero([parameter for parameter, _ in values])
    if not _is_identity(block, calls):
        return []
    needed = []
    for parameter, value in values:
        _restore([(parameter, value)])
        if not _is_identity(block, calls):
            _set_to_zero([parameter])
            needed.append(parameter)
    return needed


@torch.no_grad()
def _set_to_zero(parameters: Sequence[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.zero_()


@torch.no_grad()
def _restore(values: Sequence[tuple[nn.Parameter, Tensor]]) -> None:
    for parameter, value in values:
        parameter.copy_(value)


def _is_identity(block: nn.Module, calls: Sequence[BlockCall]) -> bool:
    """Whether the block returns what it is called with, in eval mode and, where it runs in that, in train mode."""
    with undisturbed(block):
        if not all(_passes_on(block, call) for call in calls):
            return False
    with undisturbed_training(block):
        try:
            return all(_passes_on(block, call) for call in calls)
        except Exception:  # noqa: BLE001  batch norms refuse a batch of one, say; eval mode has shown that it runs
            return True


def _passes_on(block: nn.Module, call: BlockCall) -> bool:
    stream = _stream(call)
    output = call.of(block, stream)
    if output is None or output.shape != stream.shape:
        return False
    return bool((output - stream).abs().max() <= IDENTITY_TOLERANCE * stream.abs().max())


def _stream(call: BlockCall) -> Tensor:
    """What arrives; ones where that is nothing but zeros, on which everything looks like the identity."""
    stream: Tensor = call.inputs[0]
    return stream if stream.any() else torch.ones_like(stream)


def _learns(block: nn.Module, zeroed: Sequence[nn.Parameter], calls: Sequence[BlockCall]) -> bool:
    """Whether a gradient reaches every layer that has some of these parameters, unless none of its are trained.

    Looked at in train mode, since in eval mode the fresh statistics of norms may happen to silence a small block.
    """
    chosen = set(zeroed)
    owners = [[each for each in layer.parameters(recurse=False) if each in chosen] for layer in block.modules()]
    for mode in (undisturbed_training, undisturbed):
        try:
            with mode(block), torch.enable_grad():
                reached = _with_gradient(block, calls, [each for each in zeroed if each.requires_grad])
        except Exception:  # noqa: BLE001  batch norms refuse a batch of one, say
            continue
        return all(any(each in reached or not each.requires_grad for each in owner) for owner in owners if owner)
    return False


def _with_gradient(
    block: nn.Module, calls: Sequence[BlockCall], parameters: Sequence[nn.Parameter]
) -> set[nn.Parameter]:
    """Those of the parameters that get a gradient from a random one of the output."""
    reached = set()
    random = torch.Generator().manual_seed(0)
    for call in calls:
        output = call.of(block, _stream(call))
        if parameters and output is not None and output.requires_grad:
            wanted = torch.randn(output.shape, generator=random).to(output)
            gradients = torch.autograd.grad(output, parameters, wanted, allow_unused=True)
            found = zip(parameters, gradients, strict=True)
            reached |= {parameter for parameter, gradient in found if gradient is not None and gradient.any()}
    return reached
