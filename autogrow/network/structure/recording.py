"""Looking on while a network runs: every operation that PyTorch executes, and the layer that it belongs to."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from autogrow.network.structure.operation_call import Call
from autogrow.network.structure.operations import propagate
from autogrow.network.structure.size_attributes import SizeAttribute, size_attributes
from autogrow.network.structure.unit_labels import IntArray, UnitLabels

_ORTHOGONAL: Any = getattr(parametrizations, "_Orthogonal", ())
"""What `orthogonal` registers. Its product with a base has the form of a weight that could get rows."""


@dataclass(frozen=True)
class Guesses:
    """How to understand code that a trace alone cannot."""

    alternatives: frozenset[int] = frozenset()
    """Operations (by number) at which the less usual choice is taken."""
    follow_attributes: bool = False
    """Whether whole numbers that a module keeps, and that a slice, split or view in it uses, follow the widths."""


class Recorder:
    """Passes labels on through all operations of one or more passes of a model, and notes what it sees on the way."""

    def __init__(self, model: nn.Module, labels: UnitLabels, guesses: Guesses) -> None:
        self.labels = labels
        self.attributes: list[SizeAttribute] = []
        self.choices: dict[int, IntArray] = {}
        """Operations (by number) that left something open, with the labels it was about."""
        self._layers = dict(model.named_modules())
        self._guesses = guesses
        self._unused = {id(parameter): name for name, parameter in model.named_parameters()}
        self._number = 0
        self._running: list[str] = []
        """The layers that are running, the innermost last."""
        self._called: set[str] = set()
        self._norms: list[_NormFinder] = []

    @property
    def unused(self) -> list[str]:
        """Parameters that no operation has been given yet."""
        return [*self._unused.values()]

    @property
    def layer(self) -> str:
        return self._running[-1] if self._running else ""

    def norm_of(self) -> dict[str, str]:
        """Weights whose outputs go, in every pass that uses them, to one norm and nowhere else, and that norm."""
        found: dict[str, set[str | None]] = {}
        for finder in self._norms:
            for weight in finder.uses:
                found.setdefault(weight, set()).add(finder.norm_of.get(weight))
        return {weight: norm for weight, norms in found.items() for norm in norms if norm and len(norms) == 1}

    @contextmanager
    def one_pass(self) -> Iterator[None]:
        """A pass of the model runs inside."""
        self._running.clear()
        self._norms.append(_NormFinder(self))
        with self._watching_layers(), _Operations(self):
            yield

    def operation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        self._number += 1
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        name = func._schema.name.split("::")[-1]
        call = Call(name, args, kwargs, outputs, self.labels, self._number in self._guesses.alternatives)
        for tensor in call.tensors():
            self._unused.pop(id(tensor), None)
            if (tracked := self.labels.of(tensor)).is_weight:
                self.labels.readers.append(
                    (tracked, f"{self.labels.place}: {name!r}" if self.labels.place else repr(name))
                )
        propagate(call)
        self._norms[-1].watch(call)
        if self._guesses.follow_attributes:
            self._note_attributes(call)
        if call.chosen:
            self.choices[self._number] = np.concatenate(call.chosen)

    def _note_attributes(self, call: Call) -> None:
        """Attributes of the running module whose value is a size that this operation was called with."""
        layer = self._layers[self.layer]
        for size, labels in call.sizes:
            for name, value in vars(layer).items():
                if type(value) is int and value == size:
                    self.attributes.append(SizeAttribute(self.layer, name, labels))
        sizes = [size for size, _ in call.parts]
        # A list of sizes, as `split` takes it: each place in the list follows a part of its own.
        for name, value in vars(layer).items() if sizes else ():
            if isinstance(value, tuple | list) and [*value] == sizes:
                self.attributes += [
                    SizeAttribute(self.layer, name, labels, index=index) for index, (_, labels) in enumerate(call.parts)
                ]

    @contextmanager
    def _watching_layers(self) -> Iterator[None]:
        """Name the layer in reasons, and note which attributes of layers state a number of units."""
        with ExitStack() as handles:
            for name, layer in self._layers.items():
                if isinstance(layer, torch.jit.ScriptModule):
                    continue  # takes no hooks
                enter = layer.register_forward_pre_hook(lambda layer, _, name=name: self._enter(name))
                leave = layer.register_forward_hook(
                    lambda layer, inputs, named, output, name=name: self._leave(name, layer, inputs, named, output),
                    with_kwargs=True,
                )
                handles.callback(enter.remove)
                handles.callback(leave.remove)
            yield

    def _enter(self, name: str) -> None:
        self._running.append(name)
        self._announce()

    def _leave(self, name: str, layer: nn.Module, inputs: Any, named: Mapping[str, Any], output: Any) -> None:
        if isinstance(layer, _ORTHOGONAL) and isinstance(output, Tensor):
            for units in self.labels.of(output).dims:
                self.labels.fix(units, "rows of an orthogonal weight depend on each other")
        self._running.pop()
        self._announce()
        # A layer that is used twice has one set of attributes; its first call says what they count.
        if name not in self._called:
            self._called.add(name)
            self.attributes += size_attributes(name, layer, [*inputs, *named.values()], output, self.labels)

    def _announce(self) -> None:
        self.labels.place = f"{self.layer} ({type(self._layers[self.layer]).__name__})" if self.layer else ""


class _Operations(TorchDispatchMode):
    """Executes every operation as it is and tells a recorder."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Never compiled, so PyTorch need not load its compiler for it: 1.4 s in a process that only plans a search."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._recorder.operation(func, tuple(args), kwargs or {}, result)
        return result


class _NormFinder:
    """Finds, in one pass, weights whose outputs are read by one batch norm alone: their scale does not matter."""

    def __init__(self, recorder: Recorder) -> None:
        self.norm_of: dict[str, str] = {}
        self.uses: Counter[str] = Counter()
        """Readers of each weight's outputs."""
        self._recorder = recorder
        self._weight_of = WeakTensorKeyDictionary()

    def watch(self, call: Call) -> None:
        for tensor in call.tensors():
            # The second reader takes the norm away again: what it reads would change with the weight's scale.
            weight = self._weight_of.get(tensor)
            if weight is not None:
                self.uses[weight] += 1
                self.norm_of.pop(weight, None)
                if "batch_norm" in call.name and tensor is call.args[0] and self.uses[weight] == 1:
                    self.norm_of[weight] = self._recorder.layer
        if call.name in ("convolution", "addmm", "mm"):
            labels = next((entry.dims for entry in map(call.labels.of, call.tensors()[1:]) if entry.is_weight), ())
            owner = call.labels.owner(labels[0]) if labels else None
            if owner is not None:
                self._weight_of[call.outputs[0]] = owner.name
