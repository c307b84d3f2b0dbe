"""Widening copies of a network, to see whether its outputs stay."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isnan, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autogrow.errors import RAISED_BY_OTHERS, NetworkError, as_line, message_of
from autogrow.network.resizing.initialization import make_initializer
from autogrow.network.resizing.prepared_resizing import prepare_resizing
from autogrow.network.resizing.tensor_change import find_places
from autogrow.network.running.copying import copied
from autogrow.network.running.model_input import ModelInput, run
from autogrow.network.running.undisturbed import same_random_numbers, undisturbed, undisturbed_training
from autogrow.network.structure.channel_groups import Structure
from autogrow.network.structure.layout import NEW
from autogrow.policy.initializations import ZeroFanOut

OUTPUT_TOLERANCE = 1e-5
"""Largest change of an output, relative to the largest output, at which a group counts as growing exactly."""

ASLEEP = 1e-2
"""Share of a fresh layer's usual weight below which a layer passes on too little to judge what lies before it."""


class Probe:
    """A copy of a network whose every weight passes something on, to widen again and again.

    Every pass draws the same random numbers: a network that is random in eval mode can still be compared where the
    numbers do not depend on the width.

    Args:
        training_input: A batch that train mode runs with, or None to look at eval mode alone.

    Raises:
        NetworkError: The network returns no numbers.
    """

    def __init__(
        self, model: nn.Module, structure: Structure, example_input: ModelInput, training_input: ModelInput | None
    ) -> None:
        self._structure = structure
        self._input = example_input
        self._training_input = training_input
        self._twin = copied(model)
        wake(self._twin)
        # The copy is widened and put back dozens of times; where its tensors are does not change in between.
        self._places = find_places(self._twin)
        self._before = self._evaluated()
        self._unrepeatable, self._random = self._unlike(seed=0), self._unlike(seed=1)
        """By how much two equal passes in eval mode differ, with the same and with other random numbers."""
        self._trained_before = self._trained()
        self._is_train_mode_random = change_between(self._trained_before, self._trained(seed=1)) > OUTPUT_TOLERANCE

    def problem_with(self, added: Mapping[str, int], in_train_mode: bool = False) -> str | None:
        """What goes wrong when these groups get as many units more; None if nothing does.

        In train mode, which may be random, outputs need only have their shape where they are.
        """
        with self._widened(added):
            try:
                after = self._trained() if in_train_mode else self._evaluated()
            except RAISED_BY_OTHERS as error:  # whatever the user's code raises at another width
                mode = " in train mode" if in_train_mode else ""
                return f"the forward pass fails{mode} when it is wider: {as_line(message_of(error))[:120]}"
        before = self._trained_before if in_train_mode else self._before
        if [tensor.shape for tensor in before] != [tensor.shape for tensor in after]:
            return "the network's output takes its width"
        change = change_between(before, after)
        if change <= OUTPUT_TOLERANCE or (in_train_mode and self._is_train_mode_random):
            return None
        # Only now does it matter whether the network can be compared at all: where outputs stayed, it could.
        if self._unrepeatable:
            return f"two equal passes in eval mode differ by {self._unrepeatable:.1e}: outputs cannot be compared"
        if self._random:
            return (
                f"the network is random in eval mode (two equal passes differ by {self._random:.1e}) and its random "
                "numbers depend on this width: outputs cannot be compared"
            )
        return f"outputs change by {change:.1e} when it is widened{' in train mode' if in_train_mode else ''}"

    @contextmanager
    def _widened(self, added: Mapping[str, int]) -> Iterator[None]:
        groups = self._structure.groups
        units = {
            name: np.concatenate([np.arange(groups[name].width), np.full(number, NEW)])
            for name, number in added.items()
        }
        generator = torch.Generator().manual_seed(0)
        resizing = prepare_resizing(
            self._twin, self._structure, units, make_initializer(ZeroFanOut()), generator, places=self._places
        )
        resizing.commit()
        try:
            yield
        finally:
            resizing.revert()

    def _evaluated(self, seed: int = 0) -> list[Tensor]:
        with same_random_numbers(self._twin, seed), undisturbed(self._twin):
            outputs = run(self._twin, self._input)
        if not (numbers := _numbers(outputs)):
            leaves = tree_leaves(outputs)
            kinds = ", ".join(
                sorted({f"{leaf.dtype}" if isinstance(leaf, Tensor) else type(leaf).__name__ for leaf in leaves})
            )
            raise NetworkError(f"the network returns {kinds}, expected tensors of floating point numbers")
        return numbers

    def _trained(self, seed: int = 0) -> list[Tensor]:
        if self._training_input is None:
            return []
        with same_random_numbers(self._twin, seed), undisturbed_training(self._twin):
            return _numbers(run(self._twin, self._training_input))

    def _unlike(self, seed: int) -> float:
        """By how much another pass with random numbers of this seed differs from the first."""
        change = change_between(self._before, self._evaluated(seed))
        return 0.0 if change <= OUTPUT_TOLERANCE else change


def change_between(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Largest change of an entry, relative to the largest entry of its tensor; infinite for other shapes or NaN."""
    if [tensor.shape for tensor in before] != [tensor.shape for tensor in after]:
        return float("inf")
    largest = 0.0
    for old, new in zip(before, after, strict=True):
        if old.numel():
            change = float((new - old).abs().max() / old.abs().max().clamp(min=torch.finfo(old.dtype).tiny))
            largest = max(largest, float("inf") if isnan(change) else change)
    return largest


def _numbers(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def wake(model: nn.Module) -> None:
    """Give weights that are zero, or nearly, the scale of a fresh layer's, and norm gains of zero that of one.

    Behind them any change would stay unseen until they have learnt something else.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.rsplit(".", 1)[-1] == "bias":
                continue  # hides nothing
            usual = sqrt(parameter.shape[0] / max(1, parameter.numel())) if parameter.dim() > 1 else 1.0
            if parameter.abs().max() < ASLEEP * usual:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * usual)
