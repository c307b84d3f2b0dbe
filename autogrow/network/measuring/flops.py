"""Floating point operations of a network, counted by PyTorch on a real pass; and those that new units would add.

The FLOPs of a product with a weight are in proportion to its number of entries, whatever positions it is applied at. So
one pass that says how many each weight takes is enough for all groups: with f FLOPs for a weight of n entries that has
n' after the group has grown, the group adds f (n' - n) / n, summed over its weights. Products of two activations, as in
attention, are left out of that. A gradient pass counts as much as the forward one (`training_flops_per_example` has
more for convolutions in groups, whose weight gradient PyTorch counts as if there were no groups).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from autogrow.network.running.model_input import ModelInput, run
from autogrow.network.running.undisturbed import evaluating, undisturbed
from autogrow.network.structure.channel_groups import Structure, TensorLayout
from autogrow.network.structure.layout import dimension_size

Shape = Sequence[int]
BACKWARD_OVER_FORWARD = 2.0
"""FLOPs of a backward pass relative to its forward pass, where they cannot be counted."""
COUNTED_EXAMPLES = 2
"""Examples that the counting pass is made on."""
UNSEEN_FLOPS = 6
"""Per parameter, where PyTorch counts no products at all, as in recurrent layers: used once per example."""


def training_flops_per_example(model: nn.Module, batch: ModelInput) -> float:
    """FLOPs of one example's forward and backward pass (a multiplication and an addition are two).

    The count on `batch` is divided by its size. Matrix products, convolutions, attention and recurrent layers are
    counted; norms, activations and the optimizer are not (torch.utils.flop_counter, and `_CPU_PRODUCTS`).
    Gradients are left as they were.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    size = len(batch[0] if isinstance(batch, tuple) else batch)
    with evaluating(model), torch.enable_grad(), _counter() as counter:
        outputs = [leaf for leaf in tree_leaves(run(model, batch)) if isinstance(leaf, Tensor) and leaf.requires_grad]
        forward = counter.get_total_flops()
        try:
            if parameters and outputs:
                torch.autograd.grad([output.sum() for output in outputs], parameters, allow_unused=True)
        except RuntimeError:
            # PyTorch's counter cannot look into the backward pass of parametrized layers: the usual estimate stands in.
            return BACKWARD_OVER_FORWARD * float(forward) / size + float(forward) / size
    return float(counter.get_total_flops()) / size


def forward_flops_per_example(model: nn.Module, batch: ModelInput) -> float:
    """FLOPs of one example's forward pass in eval mode, counted as `training_flops_per_example` does."""
    size = len(batch[0] if isinstance(batch, tuple) else batch)
    with evaluating(model), _without_fused_attention(), torch.no_grad(), _counter() as counter:
        run(model, batch)
    return float(counter.get_total_flops()) / size


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Scores and their sums of values: two products for every head; masks and causality take nothing away."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_backward(_gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Scores once more, and the gradients of them, of queries, keys and values: as PyTorch counts it on GPUs."""
    return 2 * prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])


def _recurrence(inputs: Shape, of_inputs: Shape, of_state: Shape, *_: Any, **__: Any) -> int:
    """One layer in one direction: both of its weights at every position of every example."""
    return 2 * prod(inputs[:-1]) * (prod(of_inputs) + prod(of_state))


def _recurrence_backward(*arguments: Any, **_: Any) -> int:
    return int(BACKWARD_OVER_FORWARD) * _recurrence(*arguments)


_CPU_PRODUCTS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    torch.ops.aten.mkldnn_rnn_layer: _recurrence,
    torch.ops.aten.mkldnn_rnn_layer_backward: _recurrence_backward,
}
"""Operations that multiply as one on a CPU (attention, LSTMs), which PyTorch has no count of."""


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=_CPU_PRODUCTS)


@contextmanager
def _without_fused_attention() -> Iterator[None]:
    """Transformer layers of PyTorch compute all at once where nobody asks for gradients: nothing is counted then."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def added_training_flops(
    model: nn.Module, structure: Structure, added_units: Mapping[str, int], batch: ModelInput
) -> dict[str, float]:
    """Training FLOPs per example that each group adds when it alone gets its number of units."""
    per_weight = training_flops_by_weight(model, batch)
    seen, unseen = dict.fromkeys(added_units, 0.0), dict.fromkeys(added_units, 0.0)
    for name, parameter in model.named_parameters():
        layout = structure.tensors.get(name)
        touched = {segment.group for dim in layout.dims.values() for segment in dim} if layout is not None else set()
        for group in added_units.keys() & touched:
            assert layout is not None
            growth = _growth(layout, structure.widths, group, added_units[group])
            seen[group] += per_weight.get(name, 0.0) * growth
            unseen[group] += UNSEEN_FLOPS * parameter.numel() * growth
    return {group: flops or unseen[group] for group, flops in seen.items()}


def training_flops_by_weight(model: nn.Module, batch: ModelInput) -> dict[str, float]:
    """FLOPs per example of each parameter's products: forward, gradient of the weight, gradient of the input."""
    examples = tree_map(lambda leaf: leaf[:COUNTED_EXAMPLES] if isinstance(leaf, Tensor) else leaf, batch)
    with undisturbed(model), torch.enable_grad(), _WeightCounter(model) as counter:
        run(model, examples)
    size = len(examples[0] if isinstance(examples, tuple) else examples)
    return {name: flops / size for name, flops in counter.flops.items()}


def _growth(layout: TensorLayout, widths: Mapping[str, int], group: str, added: int) -> float:
    """By what share of its entries a weight grows with a group."""
    grown = {**widths, group: widths[group] + added}
    ratios = [dimension_size(dim, grown) / dimension_size(dim, widths) for dim in layout.dims.values()]
    return prod(ratios) - 1


class _WeightCounter(TorchDispatchMode):
    """Notes the FLOPs of every product with a parameter, a view of one, or what is computed from parameters alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: Counter[str] = Counter()
        self._names = {_address(tensor): name for name, tensor in model.named_parameters()}
        self._computed: list[Tensor] = []
        """Weights computed from others, kept so that no other tensor gets their memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        weights = [tensor for tensor in tensors if _address(tensor) in self._names]
        if not weights:
            return result
        largest = max(weights, key=Tensor.numel)
        name = self._names[_address(largest)]
        if len(weights) == len(tensors):
            computed = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            self._computed += computed
            self._names = {**{_address(tensor): name for tensor in computed}, **self._names}
        elif largest.dim() > 1 and (count := flop_registry.get(func._overloadpacket)) is not None:
            reads_gradients = any(tensor.requires_grad for tensor in tensors if _address(tensor) not in self._names)
            products = 1 + int(largest.requires_grad) + int(reads_gradients)
            self.flops[name] += products * count(*args, **(kwargs or {}), out_val=result)
        return result


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
