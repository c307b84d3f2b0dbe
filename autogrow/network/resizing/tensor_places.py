"""Where the tensors of a network are, looked up once for any number of resizings that are taken back."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autogrow.network.structure.held_tensors import Place, unregistered_places
from autogrow.network.structure.tracing import named_tensors


@dataclass(frozen=True)
class TensorPlaces:
    """The modules, tensors and containers of one network, as they are now."""

    layers: Mapping[str, nn.Module]
    registered: Mapping[str, Sequence[tuple[nn.Module, str]]]
    """By the first name of a parameter or buffer, the modules that it is registered in."""
    elsewhere: Mapping[int, Sequence[tuple[str, Place | None]]]
    """By identity of a tensor: the places that hold it beside those where it is registered, with words for each."""
    same_memory: Mapping[int, Sequence[tuple[str, Tensor]]]
    """By address, the tensors that start there."""
    has_channels_last: bool
    """Whether the network's convolutions are stored so."""


def find_places(model: nn.Module) -> TensorPlaces:
    elsewhere: dict[int, list[tuple[str, Place | None]]] = defaultdict(list)
    for where, tensor, place in unregistered_places(model):
        elsewhere[id(tensor)].append((where, place))
    same_memory: dict[int, list[tuple[str, Tensor]]] = defaultdict(list)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if type(tensor) in (Tensor, nn.Parameter):
            same_memory[tensor.data_ptr()].append((name, tensor))
    has_channels_last = any(is_only_channels_last(each) for each in model.parameters())
    return TensorPlaces(dict(model.named_modules()), named_tensors(model), elsewhere, same_memory, has_channels_last)


def is_only_channels_last(tensor: Tensor) -> bool:
    return tensor.dim() == 4 and not tensor.is_contiguous() and is_channels_last(tensor)


def is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)
