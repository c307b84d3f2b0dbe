"""Passes through a network that find which units stand along every dimension of its parameters.

The passes run on a copy, one in eval and one in train mode: a head that only training uses grows with the rest. Every
operation that PyTorch executes is seen (`recording`), whatever the module's code looks like: layers, functional calls,
tensor methods, parameters used directly, modules used twice.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from autogrow.errors import RAISED_BY_OTHERS, NetworkError, as_line, message_of
from autogrow.network.running.copying import copied
from autogrow.network.running.model_input import ModelInput, run, shapes
from autogrow.network.running.undisturbed import (
    evaluating,
    random_position,
    same_random_numbers,
    same_random_state,
    undisturbed_training,
)
from autogrow.network.structure.recording import Guesses, Recorder
from autogrow.network.structure.size_attributes import SizeAttribute
from autogrow.network.structure.unit_labels import IntArray, UnitLabels

MAX_TRAINING_PASSES = 4
"""Passes in train mode, with other random numbers each, while some parameters have not been used by any."""


@dataclass
class Trace:
    """What the passes have found."""

    labels: UnitLabels
    attributes: list[SizeAttribute] = field(default_factory=list)
    choices: dict[int, IntArray] = field(default_factory=dict)
    """Operations (by number) that left something open, with the labels it was about."""
    norm_of: Mapping[str, str] = field(default_factory=dict)
    """Names of weights whose outputs go to one norm and nowhere else, with that norm's layer."""
    unused: frozenset[str] = frozenset()
    """Parameters that no pass has used."""
    training_input: ModelInput | None = None
    """A batch that train mode runs with: the example, or the example twice; None where it runs with neither."""
    training_problem: str = ""
    """Why it does not."""


class _TrainingFails(Exception):
    """Train mode does not run with a batch."""


def trace(model: nn.Module, example_input: ModelInput, guesses: Guesses | None = None) -> Trace:
    """Run a copy of `model` in eval and in train mode.

    Train mode may refuse the example (a batch norm wants more than one value per channel): then it is given the example
    twice in one batch, and is left out where that does not help (`Trace.training_problem`). Branches that training
    takes at random are looked for in `MAX_TRAINING_PASSES` passes. Random states are left as they were.

    Raises `NetworkError` when the model cannot be copied or run.
    """
    problem = ""
    for training_input in (example_input, _twice(example_input)):
        try:
            return _trace(model, example_input, training_input, guesses or Guesses())
        except _TrainingFails as error:
            problem = problem or str(error)
    found = _trace(model, example_input, None, guesses or Guesses())
    found.training_problem = problem
    return found


def _trace(model: nn.Module, example_input: ModelInput, training_input: ModelInput | None, guesses: Guesses) -> Trace:
    # Passes in train mode move running statistics, and a hook of the user's may keep tensors: all of that is the
    # copy's.
    twin = copied(model)
    found = Trace(UnitLabels(), training_input=training_input)
    for name, tensor in [*twin.named_parameters(), *twin.named_buffers()]:
        found.labels.register(name, tensor)
    recorder = Recorder(twin, found.labels, guesses)
    with _separate_operations(twin), same_random_state(twin):
        try:
            with evaluating(twin):
                _run(twin, example_input, recorder, "it is the network's output")
        except RAISED_BY_OTHERS as error:
            raise NetworkError(
                f"the network cannot be traced with an input of {shapes(example_input)}: {_line(error)}"
            ) from error
        if training_input is not None:
            try:
                _train(twin, training_input, recorder)
            except RAISED_BY_OTHERS as error:
                raise _TrainingFails(_line(error)) from error
    found.attributes, found.choices = recorder.attributes, recorder.choices
    found.norm_of, found.unused = recorder.norm_of(), frozenset(recorder.unused)
    return found


def _train(twin: nn.Module, batch: ModelInput, recorder: Recorder) -> None:
    """One pass in train mode, or some more where numbers are drawn and parameters wait for their turn."""
    with undisturbed_training(twin):
        for seed in range(MAX_TRAINING_PASSES):
            with same_random_numbers(twin, seed):
                before = random_position()
                _run(twin, batch, recorder, "it is the network's output in train mode")
                # Without a random number drawn, the next pass would be the same again.
                if not recorder.unused or random_position() == before:
                    return


def _run(twin: nn.Module, batch: ModelInput, recorder: Recorder, reason: str) -> None:
    with recorder.one_pass():
        outputs = run(twin, batch)
    for output in tree_leaves(outputs):
        if isinstance(output, Tensor):
            for units in recorder.labels.of(output).dims:
                recorder.labels.fix(units, reason)


def _twice(example_input: ModelInput) -> ModelInput:
    """The examples of a batch, and once more."""
    first = example_input[0] if isinstance(example_input, tuple) else example_input

    def doubled(value: Any) -> Any:
        is_batch = isinstance(value, Tensor) and value.dim() > 0 and len(value) == len(first)
        return torch.cat([value, value]) if is_batch else value

    twice: ModelInput = tree_map(doubled, example_input) if first.dim() > 0 else example_input
    return twice


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {as_line(message_of(error))[:300]}"


@contextmanager
def _separate_operations(model: nn.Module) -> Iterator[None]:
    """Attention and recurrent layers as separate operations, not as the single ones that PyTorch has for speed."""
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as undo:
        undo.callback(torch.backends.mha.set_fastpath_enabled, fast_attention)
        torch.backends.mha.set_fastpath_enabled(False)
        if any(isinstance(layer, nn.RNNBase) for layer in model.modules()):
            for library in (torch.backends.mkldnn, torch.backends.cudnn):
                undo.enter_context(_switched_off(library))
        yield


@contextmanager
def _switched_off(library: Any) -> Iterator[None]:
    before = library.enabled
    library.enabled = False
    try:
        yield
    finally:
        library.enabled = before


def named_tensors(model: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """Where every parameter and buffer is registered, by its first name; tied ones stand in several places."""
    names = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    places: dict[str, list[tuple[nn.Module, str]]] = {name: [] for name in names.values()}
    for module in model.modules():
        entries: Mapping[str, Tensor | None] = {**module._parameters, **module._buffers}
        for attribute, tensor in entries.items():
            if tensor is not None and id(tensor) in names:
                places[names[id(tensor)]].append((module, attribute))
    return places
