"""Where the tensors of a network are, and one of them on its way to a new size.

Where they are is looked up once for any number of resizings that are taken back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autogrow.network.structure.held_tensors import Place
from autogrow.network.structure.layout import NEW
from autogrow.network.structure.tracing import named_tensors
from autogrow.network.structure.unfit_tensors import Obstacles

Sources = dict[int, Tensor]
"""For each dimension that changes: the old index that each new index comes from, `NEW` for none."""


@dataclass(frozen=True)
class TensorChange:
    """One parameter or buffer on its way to a new size."""

    name: str
    owners: tuple[Place, ...]
    """Where it is held: modules with the name of an attribute (several where it is tied), lists and dictionaries."""
    old: Tensor
    new: Tensor
    sources: Sources

    def carry(self, companion: Tensor, new_value: float) -> Tensor:
        """A tensor of the old shape (a moment, an age) brought to the new one; new entries hold `new_value`."""
        return resize_tensor(companion, self.sources, new_value)

    def put(self, tensor: Tensor) -> None:
        for holder, key in self.owners:
            # A scripted module has its tables in C++. Of others the table itself is written, past any `__setattr__` of
            # the user's.
            if isinstance(holder, torch.jit.ScriptModule):
                setattr(holder, key, tensor)
            elif isinstance(holder, nn.Module):
                table = holder._parameters if key in holder._parameters else holder._buffers
                table[key] = tensor  # type: ignore[assignment]
            else:
                holder[key] = tensor


def resize_tensor(tensor: Tensor, sources: Sources, new_value: float) -> Tensor:
    """`tensor` with every dimension of `sources` gathered from its old indices; new entries hold `new_value`."""
    result = tensor
    for dim, source in sources.items():
        # `NEW` is no index: entry 0 stands in for it until it is overwritten.
        result = result.index_select(dim, source.clamp(min=0).to(tensor.device))
        new = (source == NEW).nonzero().flatten().to(tensor.device)
        if len(new):
            result.index_fill_(dim, new, new_value)
    return result


def is_only_channels_last(tensor: Tensor) -> bool:
    """Whether images are stored channels last and in no other way; of one channel or pixel both are the same."""
    return tensor.dim() == 4 and not tensor.is_contiguous() and is_channels_last(tensor)


def is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


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
