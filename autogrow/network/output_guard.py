"""A last check of growth events that must not change what a network computes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from autogrow.errors import NetworkError
from autogrow.network.depth.deepening import on_device_of, outputs_of
from autogrow.network.resizing.probe import change_between
from autogrow.network.running.model_input import ModelInput, explained
from autogrow.network.running.undisturbed import same_random_numbers, undisturbed
from autogrow.policy.initializations import Initialization, ZeroFanOut

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


def _evaluated(model: nn.Module, batch: ModelInput) -> list[Tensor]:
    """Outputs in eval mode, with the same random numbers every time for a network that draws some."""
    with explained("the network fails at this width"), same_random_numbers(model), undisturbed(model):
        return outputs_of(model, batch)
