"""Groups that a trace would offer, but whose tensors or widths are kept in a way that growth would not follow.

- A tensor of another class (sharded, quantized, or a user's own) cannot be made anew in another size; what holds a
  tensor where it cannot be replaced, or shares its memory, would keep the old one.
- The rank of an adapter stands in its settings, is saved with them and divides its scale, so that a grown adapter
  would not load again. Two plain layers around a narrow one are no adapter, whatever number their module keeps.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autogrow.network.structure.held_tensors import Place, unregistered_places
from autogrow.network.structure.layout import Layout

_ADAPTER = "lora_"
"""What parts of low-rank adapters (Hu et al. 2021, arXiv 2106.09685) are called in loralib, peft and torchtune."""

_RANK = "it is the rank of a low-rank adapter, which is saved in its settings: a grown one would not load again"


def unfit_groups(model: nn.Module, layouts: Mapping[str, Mapping[int, Layout]]) -> dict[str, str]:
    """The groups that cannot grow for such a reason, with it; `layouts` by tensor and dimension."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    obstacles = Obstacles(model)
    holders: dict[str, list[str]] = defaultdict(list)
    widths: dict[str, set[int]] = defaultdict(set)
    reasons: dict[str, str] = {}
    for name, dims in layouts.items():
        problem = obstacles.of(tensors[name]) if name in tensors else None
        for dim, layout in dims.items():
            for group in {segment.group for segment in layout if segment.group is not None}:
                holders[group].append(name)
                widths[group].add(tensors[name].shape[dim] if name in tensors else 0)
                if problem is not None:
                    reasons.setdefault(group, f"{name!r} cannot change its size: {problem}")
    records = list(_recorded_widths(model))
    for group, names in holders.items():
        reason = _adapter_problem(names, widths[group], records)
        if reason is not None:
            reasons.setdefault(group, reason)
    return reasons


def obstacle(tensor: Tensor, is_replaced: bool = True) -> str | None:
    """What keeps another from taking the place of a parameter or buffer, and what to do; None where nothing does.

    Where it is not replaced but only a model for another, what it shares with others does not matter.
    """
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"it is a {type(tensor).__name__}, not a plain tensor"
    if tensor.layout is not torch.strided:
        return f"its layout is {tensor.layout}, not dense"
    if is_replaced and tensor.device.type == "cpu" and tensor.is_shared():
        return "it is in shared memory, where other processes may use it; grow before share_memory(), or give it a copy"
    if getattr(tensor, "_post_accumulate_grad_hooks", None):
        return (
            "it has a hook that runs after its gradient is accumulated and may know the parameter itself; remove the "
            "hook, and register it on the new parameter"
        )
    for attribute, value in tensor.__dict__.items():
        if any(isinstance(leaf, Tensor | nn.Module) for leaf in tree_leaves(value)):
            return (
                f"its attribute {attribute!r} holds a tensor or module that would stay as it is; take it off, and set "
                "it again afterwards"
            )
    return None


class Obstacles:
    """What keeps tensors of one module from being replaced, and where else they are held."""

    def __init__(self, model: nn.Module) -> None:
        self._places: dict[int, list[tuple[str, Place | None]]] = defaultdict(list)
        self._by_address: dict[int, list[tuple[str, Tensor]]] = defaultdict(list)
        for where, tensor, place in unregistered_places(model):
            self._places[id(tensor)].append((where, place))
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided and tensor.numel():
                self._by_address[tensor.data_ptr()].append((name, tensor))

    def places(self, tensor: Tensor) -> list[Place]:
        """Where modules hold the tensor besides registering it."""
        return [place for _, place in self._places.get(id(tensor), ()) if place is not None]

    def of(self, tensor: Tensor) -> str | None:
        """Why the tensor cannot be replaced; None where it can."""
        reason = obstacle(tensor)
        if reason is not None:
            return reason
        for where, place in self._places.get(id(tensor), ()):
            if place is None:
                return f"the attribute {where!r} holds it in a tuple, a set or a key; use a list"
        for name, other in self._by_address.get(tensor.data_ptr(), ()):
            if other is not tensor:
                return f"it shares its memory with {name!r}; tie them as one parameter"
        return None


def _adapter_problem(
    names: Iterable[str], widths: set[int], records: Iterable[tuple[str, str, str, int]]
) -> str | None:
    """Why the dimension that only these tensors have is one of an adapter's settings."""
    parts = [name.split(".") for name in names]
    if all(any(part.startswith(_ADAPTER) for part in path) for path in parts):
        return _RANK
    for layer, attribute, key, width in records:
        prefix = layer.split(".") if layer else []
        if widths == {width} and all(path[: len(prefix)] == prefix and key in path[len(prefix) :] for path in parts):
            return (
                f"{layer}.{attribute}[{key!r}] keeps its width and would not follow: a grown one would not load again"
            )
    return None


def _recorded_widths(model: nn.Module) -> Iterator[tuple[str, str, str, int]]:
    """Layer, attribute, key and number of every number that a module keeps for one of several named parts of it."""
    for name, layer in model.named_modules():
        for attribute, value in vars(layer).items():
            if type(value) is dict and not attribute.startswith("_"):
                yield from ((name, attribute, key, number) for key, number in value.items()
                            if isinstance(key, str) and type(number) is int)  # fmt: skip
