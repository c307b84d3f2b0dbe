"""Last checks of growth events, which must not change what a network computes, or not its outputs' shapes."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from autogrow.errors import NetworkError
from autogrow.network.resizing.prepared_resizing import Resizing, prepare_resizing
from autogrow.network.resizing.probe import OUTPUT_TOLERANCE, change_between
from autogrow.network.running.model_input import ModelInput, explained
from autogrow.network.running.outputs import difference, on_device_of, outputs_of
from autogrow.network.running.undisturbed import same_random_numbers, undisturbed, undisturbed_training
from autogrow.network.shrinking.unit_places import reader_weights
from autogrow.network.structure.channel_groups import Structure
from autogrow.network.structure.layout import IntArray
from autogrow.policy.initializations import Initialization, ZeroFanOut

GROSS_CHANGE = 1e-3
"""Relative change of outputs that is no rounding error. Groups were verified to 1e-5 with a zero fan-out before."""
ROUNDINGS = 16
"""Times the precision of a number format that outputs may differ by, where that is more: half precision is coarse."""


@contextmanager
def outputs_kept(
    model: nn.Module, example_input: ModelInput, settings: Initialization, groups: Iterable[str]
) -> Iterator[None]:
    """Raises `NetworkError` if what is done inside changes outputs although the initialization is an exact one.

    Every group can take new units that nothing reads yet. Not every one can take copies of units (`split`): where one
    tensor both computes and reads a group's units, or weights are rounded, the copies do not add up to the original.
    """
    if not settings.keeps_outputs:
        yield
        return
    batch = on_device_of(model, example_input)
    before = _evaluated(model, batch)
    yield
    change = change_between(before, _evaluated(model, batch))
    if not change <= GROSS_CHANGE:
        is_plain = settings.kind == ZeroFanOut().kind
        advice = "it has changed since its groups were found: build ExpandableNetwork anew" if is_plain else (
            "take 'zero_fan_out' there"
        )  # fmt: skip
        raise NetworkError(
            f"initialization {settings.kind!r} would change the outputs by {change:.1e} in group "
            f"{', '.join(map(repr, groups))}: {advice}"
        )


def check_removal(
    model: nn.Module,
    structure: Structure,
    units: Mapping[str, IntArray],
    resizing: Resizing,
    example_input: ModelInput,
) -> None:
    """Raise `NetworkError` where removing units does something else than silencing them, in eval mode.

    Groups were found by adding units at their ends. Where code tells units apart by their places (a split at a number
    that is written in `forward`), those behind a removed one would be taken for others.

    Args:
        units: By group, the old numbers of those that stay.
        resizing: What was prepared to remove the others; it is tried and taken back.
    """
    problem = _removal_problem(model, structure, units, resizing, on_device_of(model, example_input))
    if problem is not None:
        raise NetworkError(f"group {', '.join(map(repr, units))}: {problem}")


def inexact_removals(model: nn.Module, structure: Structure, example_input: ModelInput) -> dict[str, str]:
    """Groups whose first unit cannot be removed exactly, though units can be added at their ends; with the reason."""
    batch = on_device_of(model, example_input)
    found: dict[str, str] = {}
    for name, group in structure.groups.items():
        if group.width > 1:
            units = {name: np.arange(1, group.width)}
            resizing = prepare_resizing(model, structure, units)
            try:
                problem = _removal_problem(model, structure, units, resizing, batch)
            except NetworkError as error:
                problem = str(error)
            found |= {} if problem is None else {name: problem}
    return found


def _removal_problem(
    model: nn.Module, structure: Structure, units: Mapping[str, IntArray], resizing: Resizing, batch: ModelInput
) -> str | None:
    with _silenced(model, structure, units):
        expected = _evaluated(model, batch)
    resizing.commit()
    try:
        after = _evaluated(model, batch)
    finally:
        resizing.revert()
    if not all(torch.isfinite(each).all() for each in expected):
        return None  # nothing can be said of a network that has diverged
    precision = max((torch.finfo(each.dtype).eps for each in expected), default=0.0)
    change = change_between(expected, after)
    if change <= max(GROSS_CHANGE, ROUNDINGS * precision):
        return None
    return (
        f"outputs differ by {change:.1e} from those with the removed units silenced: something tells its units apart "
        "by their places, as a split at a number that is written in forward does"
    )


@contextmanager
def _silenced(model: nn.Module, structure: Structure, units: Mapping[str, IntArray]) -> Iterator[None]:
    """Inside, every weight that reads units other than these holds zeros for them."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    kept: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for (name, dim), columns in reader_weights(structure, units).items():
            tensor = tensors[name]
            kept.append((tensor, tensor.clone()))
            for group, index in columns.items():
                gone = np.setdiff1d(np.arange(len(index)), units[group])
                tensor.index_fill_(dim, index[gone].flatten().to(tensor.device), 0.0)
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in reversed(kept):  # one may stand there twice, the second time with zeros in it
                tensor.copy_(value)


def _evaluated(model: nn.Module, batch: ModelInput) -> list[Tensor]:
    """Outputs in eval mode, with the same random numbers every time for a network that draws some."""
    with explained("the network fails at this width"), same_random_numbers(model), undisturbed(model):
        return outputs_of(model, batch)


class OutputComparison:
    """The outputs of a network before a change of its depth, to compare with those after it.

    Where they need not be `exact`, shapes are all that is compared, in eval mode alone.
    """

    def __init__(self, model: nn.Module, example_input: ModelInput, exact: bool) -> None:
        self._model = model
        self._exact = exact
        self._input = on_device_of(model, example_input)
        self._evaluated = self._outputs_evaluated()
        self._trained = self._outputs_trained() if exact else None
        """None where train mode is random, or refuses the batch."""

    def check(self, stages: Iterable[str]) -> None:
        """Raise `NetworkError` where outputs have another shape, or other values if they must be exact."""
        modes = {"eval": (self._evaluated, self._outputs_evaluated())}
        if self._trained is not None:
            modes["train"] = (self._trained, self._outputs_trained() or [])
        what = "stage " + ", ".join(map(repr, stages))
        for mode, (before, after) in modes.items():
            if [tensor.shape for tensor in before] != [tensor.shape for tensor in after]:
                raise NetworkError(f"{what}: outputs take another shape in {mode} mode with more blocks")
            if self._exact and not (change := difference(before, after)) <= OUTPUT_TOLERANCE:
                raise NetworkError(f"{what}: outputs change by {change:.1e} in {mode} mode with more blocks")

    def _outputs_evaluated(self) -> list[Tensor]:
        with explained("the network fails at this depth"), undisturbed(self._model):
            return outputs_of(self._model, self._input)

    def _outputs_trained(self) -> list[Tensor] | None:
        with undisturbed_training(self._model):
            try:
                first, second = (outputs_of(self._model, self._input) for _ in range(2))
            except Exception:  # noqa: BLE001  batch norms refuse a batch of one, say
                return None
        return first if difference(first, second) <= OUTPUT_TOLERANCE else None
