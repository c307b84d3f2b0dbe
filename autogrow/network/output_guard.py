"""Last checks of growth events, which must not change what a network computes, or not its outputs' shapes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from autogrow.errors import NetworkError
from autogrow.network.resizing.probe import OUTPUT_TOLERANCE, change_between
from autogrow.network.running.model_input import ModelInput, explained
from autogrow.network.running.outputs import difference, on_device_of, outputs_of
from autogrow.network.running.undisturbed import same_random_numbers, undisturbed, undisturbed_training
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
