"""Variance transfer: when a reader gets more inputs, its old weights shrink to the variance of the new fan-in.

Yuan et al. 2023, arXiv 2306.12700, section 3.2: W2 <- c W2 with c = sqrt(old fan-in / new fan-in), only where a batch
norm takes the scale out again; its running mean is scaled by c, its running variance and its eps by c^2, so that the
function stays exactly, in train and in eval mode. (With the eps left alone, a network of 60 layers moved by 4e-5.)
"""

from collections.abc import Mapping, Sequence
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from autogrow.network.resizing.companions import successor
from autogrow.network.resizing.tensor_change import TensorChange
from autogrow.network.structure.channel_groups import Structure
from autogrow.network.structure.held_tensors import Place
from autogrow.network.structure.layout import NEW

Places = Mapping[str, Sequence[Place]]


def with_rescaled_readers(
    model: nn.Module, structure: Structure, changes: Sequence[TensorChange], places: Places
) -> tuple[list[TensorChange], dict[str, float]]:
    """The changes, with the old weights of readers before a norm rescaled and what follows from it; eps by norm."""
    result = {change.name: change for change in changes}
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    new_eps: dict[str, float] = {}
    for name, norm in structure.norm_of.items():
        layout = structure.tensors.get(name)
        layer = model.get_submodule(norm)
        if layout is None or layout.in_dim is None or name not in result or not isinstance(layer, _NormBase):
            continue
        old, new = result[name].old.shape[layout.in_dim], result[name].new.shape[layout.in_dim]
        # The paper is about readers that get more inputs; one that gets none keeps its weights as they are.
        if new <= old:
            continue
        factor = sqrt(old / new)
        bias = name.removesuffix("weight") + "bias"
        for key, scale in (
            (name, factor), (bias, factor), (f"{norm}.running_mean", factor), (f"{norm}.running_var", factor**2)
        ):  # fmt: skip
            if key in tensors:
                if key not in result:
                    result[key] = unresized(key, tensors[key], places)
                _scale_old_entries(result[key], scale)
        new_eps[norm] = layer.eps * factor**2
    return list(result.values()), new_eps


def unresized(name: str, tensor: Tensor, places: Places) -> TensorChange:
    """A tensor that gets other values and keeps its size."""
    new = successor(name, tensor, tensor.detach().clone(), {})
    return TensorChange(name, tuple(places[name]), tensor, new, {})


@torch.no_grad()
def _scale_old_entries(change: TensorChange, factor: float) -> None:
    scaled = change.carry(change.old.detach() * factor, 0.0)
    change.new.copy_(torch.where(_is_old(change), scaled, change.new))


def _is_old(change: TensorChange) -> Tensor:
    """Mask, of the new shape, of the entries that were there before."""
    mask = torch.ones(change.new.shape, dtype=torch.bool, device=change.new.device)
    for dim, source in change.sources.items():
        shape = [-1 if other == dim else 1 for other in range(mask.dim())]
        mask &= (source != NEW).to(mask.device).view(shape)
    return mask
