"""Where the tensors of a network are, looked up once for any number of resizings that are taken back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from autogrow.network.resizing.tensor_change import is_only_channels_last
from autogrow.network.structure.held_tensors import Place
from autogrow.network.structure.tracing import named_tensors
from autogrow.network.structure.unfit_tensors import Obstacles


@dataclass(frozen=True)
class TensorPlaces:
    """The modules, tensors and containers of one network, as they are now."""

    layers: Mapping[str, nn.Module]
    held: Mapping[str, Sequence[Place]]
    """By the first name of a parameter or buffer: the modules that it is registered in, then lists and the like."""
    obstacles: Obstacles
    """What keeps some of them from being replaced."""
    has_channels_last: bool
    """Whether the network's convolutions are stored so."""


def find_places(model: nn.Module) -> TensorPlaces:
    obstacles = Obstacles(model)
    held = {name: [*owners, *obstacles.places(getattr(*owners[0]))] for name, owners in named_tensors(model).items()}
    has_channels_last = any(is_only_channels_last(each) for each in model.parameters())
    return TensorPlaces(dict(model.named_modules()), held, obstacles, has_channels_last)
