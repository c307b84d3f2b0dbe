"""One parameter or buffer on its way to a new size, and what its companions (moments, ages) need to follow."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autogrow.network.structure.layout import NEW

Sources = dict[int, Tensor]
"""For each dimension that changes: the old index that each new index comes from, `NEW` for none."""


@dataclass(frozen=True)
class TensorChange:
    """One parameter or buffer on its way to a new size."""

    name: str
    owners: tuple[tuple[nn.Module, str], ...]
    """The modules that hold it, each under the name of an attribute; several where it is tied."""
    old: Tensor
    new: Tensor
    sources: Sources

    def carry(self, companion: Tensor, new_value: float) -> Tensor:
        """A tensor of the old shape (a moment, an age) brought to the new one; new entries hold `new_value`."""
        return resize_tensor(companion, self.sources, new_value)

    def put(self, tensor: Tensor) -> None:
        for module, attribute in self.owners:
            if isinstance(module, torch.jit.ScriptModule):
                setattr(module, attribute, tensor)
                continue
            table = module._parameters if attribute in module._parameters else module._buffers
            table[attribute] = tensor  # type: ignore[assignment]


def resize_tensor(tensor: Tensor, sources: Sources, new_value: float) -> Tensor:
    """`tensor` with every dimension of `sources` gathered from its old indices; new entries hold `new_value`."""
    result = tensor
    for dim, source in sources.items():
        result = result.index_select(dim, source.clamp(min=0).to(tensor.device))
        new = (source == NEW).nonzero().flatten().to(tensor.device)
        if len(new):
            result.index_fill_(dim, new, new_value)
    return result
