"""What a network computes on an input, to be compared with what it computes after a change."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from autogrow.network.running.model_input import ModelInput, run


def outputs_of(model: nn.Module, example_input: ModelInput) -> list[Tensor]:
    leaves = tree_leaves(run(model, example_input))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def difference(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Largest change between tensors of equal shapes, relative to the largest entry of each; NaN where one is."""
    changes = [
        (new - old).abs().max().double().cpu() / old.abs().max().double().cpu().clamp(min=torch.finfo(old.dtype).tiny)
        for old, new in zip(before, after, strict=True)
        if old.numel()
    ]
    return float(torch.stack(changes).max()) if changes else 0.0


def on_device_of(model: nn.Module, example_input: ModelInput) -> Any:
    """The input on the network's device, to which it may have moved since it was traced."""
    tensor = next(iter([*model.parameters(), *model.buffers()]), None)
    return example_input if tensor is None else tree_map(lambda value: value.to(tensor.device), example_input)
