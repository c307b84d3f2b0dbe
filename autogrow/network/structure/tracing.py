"""One pass through a network that finds which units stand along every dimension of its parameters.

The pass runs on a copy, in eval mode. Every operation that PyTorch executes is seen (`TorchDispatchMode`), whatever the
module's code looks like: layers, functional calls, tensor methods, parameters used directly, modules used twice.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from autogrow.errors import NetworkError
from autogrow.network.running.evaluating import evaluating
from autogrow.network.running.model_input import ModelInput, run, shapes
from autogrow.network.structure.operation_call import Call
from autogrow.network.structure.operations import propagate
from autogrow.network.structure.size_attributes import SizeAttribute, size_attributes
from autogrow.network.structure.unit_labels import IntArray, UnitLabels


@dataclass
class Trace:
    """What one pass has found."""

    labels: UnitLabels
    attributes: list[SizeAttribute] = field(default_factory=list)
    choices: dict[int, IntArray] = field(default_factory=dict)
    """Operations (by number) that left something open, with the labels it was about."""
    layer: str = ""
    """The layer that is running."""
    norm_of: dict[str, str] = field(default_factory=dict)
    """Names of weights whose outputs go to one norm and nowhere else, with that norm's layer."""


@dataclass(frozen=True)
class Guesses:
    """How to understand code that a trace alone cannot."""

    alternatives: frozenset[int] = frozenset()
    """Operations (by number) at which the less usual choice is taken."""
    follow_attributes: bool = False
    """Whether whole numbers that a module keeps, and that a slice, split or view in it uses, follow the widths."""


def trace(model: nn.Module, example_input: ModelInput, guesses: Guesses | None = None) -> Trace:
    """Run a copy of `model` once.

    Raises `NetworkError` when the model cannot be copied or run.
    """
    try:
        twin = copy.deepcopy(model)
    except Exception as error:
        raise NetworkError(f"the network cannot be copied: {type(error).__name__}: {_line(error)}") from error
    found = Trace(UnitLabels())
    for name, tensor in [*twin.named_parameters(), *twin.named_buffers()]:
        found.labels.register(name, tensor)
    try:
        with (
            evaluating(twin),
            _plain_attention(),
            _watching_layers(twin, found),
            _Recorder(twin, found, guesses or Guesses()),
        ):
            outputs = run(twin, example_input)
    except Exception as error:
        raise NetworkError(
            f"the network cannot be traced with an input of {shapes(example_input)}: {type(error).__name__}: "
            f"{_line(error)}"
        ) from error
    for output in tree_leaves(outputs):
        if isinstance(output, Tensor):
            for units in found.labels.of(output).dims:
                found.labels.fix(units, "it is the network's output")
    return found


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


class _Recorder(TorchDispatchMode):
    """Executes every operation as it is and passes on the labels of its arguments."""

    def __init__(self, model: nn.Module, trace: Trace, guesses: Guesses) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._trace = trace
        self._guesses = guesses
        self._layers = dict(model.named_modules())
        self._number = 0
        self._norms = _NormFinder(trace)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Never compiled, so PyTorch need not load its compiler for it: 1.4 s in a process that only plans a search."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._number += 1
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        name = func._schema.name.split("::")[-1]
        call = Call(name, tuple(args), outputs, self._trace.labels, self._number in self._guesses.alternatives)
        propagate(call)
        self._norms.watch(call)
        if self._guesses.follow_attributes:
            self._note_attributes(call)
        if call.chosen:
            self._trace.choices[self._number] = np.concatenate(call.chosen)
        return result

    def _note_attributes(self, call: Call) -> None:
        """Attributes of the running module whose value is a size that this operation was called with."""
        layer = self._layers[self._trace.layer]
        for size, labels in call.sizes:
            for name, value in vars(layer).items():
                if type(value) is int and value == size:
                    self._trace.attributes.append(SizeAttribute(self._trace.layer, name, labels))


class _NormFinder:
    """Finds weights whose outputs are read by one batch norm alone: their scale does not matter."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._weight_of = WeakTensorKeyDictionary()
        self._uses: Counter[str] = Counter()

    def watch(self, call: Call) -> None:
        for tensor in call.tensors():
            weight = self._weight_of.get(tensor)
            if weight is not None:
                self._uses[weight] += 1
                self._trace.norm_of.pop(weight, None)
                if "batch_norm" in call.name and tensor is call.args[0] and self._uses[weight] == 1:
                    self._trace.norm_of[weight] = self._trace.layer
        if call.name in ("convolution", "addmm", "mm"):
            labels = next((entry.dims for entry in map(call.labels.of, call.tensors()[1:]) if entry.is_weight), ())
            owner = call.labels.owner(labels[0]) if labels else None
            if owner is not None:
                self._weight_of[call.outputs[0]] = owner.name


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention layers as separate operations, not as the one that PyTorch has for inference."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _watching_layers(model: nn.Module, trace: Trace) -> Iterator[None]:
    """Name the layer in reasons, and note which attributes of layers state a number of units."""
    stack: list[str] = []
    layers = dict(model.named_modules())
    seen: set[str] = set()

    def enter(name: str, layer: nn.Module) -> None:
        stack.append(name)
        announce(name, layer)

    def announce(name: str, layer: nn.Module) -> None:
        trace.layer = name
        trace.labels.place = f"{name} ({type(layer).__name__})" if name else ""

    def leave(name: str, layer: nn.Module, inputs: Any, named: Mapping[str, Any], output: Any) -> None:
        stack.pop()
        outer = stack[-1] if stack else ""
        announce(outer, layers[outer])
        if name not in seen:
            seen.add(name)
            trace.attributes += size_attributes(name, layer, [*inputs, *named.values()], output, trace.labels)

    with ExitStack() as handles:
        for name, layer in layers.items():
            if isinstance(layer, torch.jit.ScriptModule):
                continue  # takes no hooks
            enter_handle = layer.register_forward_pre_hook(lambda layer, _, name=name: enter(name, layer))
            leave_handle = layer.register_forward_hook(
                lambda layer, inputs, named, output, name=name: leave(name, layer, inputs, named, output),
                with_kwargs=True,
            )
            handles.callback(enter_handle.remove)
            handles.callback(leave_handle.remove)
        yield


def named_tensors(model: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """Where every parameter and buffer stands, by its first name; tied ones stand in several places."""
    names = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    places: dict[str, list[tuple[nn.Module, str]]] = {name: [] for name in names.values()}
    for module in model.modules():
        entries: Mapping[str, Tensor | None] = {**module._parameters, **module._buffers}
        for attribute, tensor in entries.items():
            if tensor is not None and id(tensor) in names:
                places[names[id(tensor)]].append((module, attribute))
    return places
