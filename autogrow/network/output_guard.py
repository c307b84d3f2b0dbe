"""A last check of growth events that must not change what a network computes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from autogrow.errors import NetworkError
from autogrow.network.depth.deepening import beside, difference, outputs_of
from autogrow.network.running.evaluating import evaluating
from autogrow.network.running.model_input import ModelInput
from autogrow.policy.initializations import Initialization

GROSS_CHANGE = 1e-3
"""Relative change of outputs that is no rounding error. Groups were verified to 1e-5 with a zero fan-out before."""


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
    batch = beside(model, example_input)
    with evaluating(model):
        before = outputs_of(model, batch)
    yield
    with evaluating(model):
        change = difference(before, outputs_of(model, batch))
    if not change <= GROSS_CHANGE:
        names = ", ".join(map(repr, groups))
        raise NetworkError(
            f"initialization {settings.kind!r} would change the outputs by {change:.1e} in group {names}: take "
            "'zero_fan_out' there"
        )
