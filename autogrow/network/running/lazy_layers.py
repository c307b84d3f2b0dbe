"""Layers whose sizes come with their first input (`nn.LazyLinear` and its like)."""

from torch import nn
from torch.nn.parameter import is_lazy

from autogrow.errors import RAISED_BY_OTHERS, NetworkError, one_line
from autogrow.network.running.copying import copied
from autogrow.network.running.model_input import ModelInput, run, shapes
from autogrow.network.running.undisturbed import evaluating, same_random_state


def give_sizes(model: nn.Module, example_input: ModelInput) -> None:
    """Let lazy layers take their sizes from one pass, in place, as the first pass of a training would.

    They draw their weights from PyTorch's random state, as they do in their first pass anywhere else. A network
    without such layers is not run.

    Raises:
        NetworkError: The pass fails, or does not come to all of them. Nothing has changed.
    """
    if not _lazy(model):
        return
    with same_random_state(model):
        _run(copied(model), example_input)
    _run(model, example_input)


def _run(model: nn.Module, example_input: ModelInput) -> None:
    try:
        with evaluating(model):
            run(model, example_input)
    except RAISED_BY_OTHERS as error:
        raise NetworkError(
            f"lazy layers cannot take their sizes from an input of {shapes(example_input)}: {one_line(error)[:300]}"
        ) from error
    left = _lazy(model)
    if left:
        raise NetworkError(
            f"lazy layers without sizes: {', '.join(map(repr, left))}: a pass in eval mode does not come to them; "
            "give them their sizes, or run the network once in the mode that does"
        )


def _lazy(model: nn.Module) -> list[str]:
    """Names of parameters and buffers without a size."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [name for name, tensor in tensors if is_lazy(tensor)]
