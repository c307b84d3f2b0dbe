"""Groups that a trace would offer, but whose tensors or widths are kept in a way that growth would not follow.

- A tensor of another class (sharded, quantized, or a user's own) cannot be made anew in another size.
- The rank of an adapter stands in its settings, is saved with them and divides its scale, so that a grown adapter
  would not load again. Two plain layers around a narrow one are no adapter, whatever number their module keeps.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor, nn

from autogrow.network.structure.layout import Layout

_ADAPTER = "lora_"
"""What parts of low-rank adapters (Hu et al. 2021, arXiv 2106.09685) are called in loralib, peft and torchtune."""

_RANK = "it is the rank of a low-rank adapter, which is saved in its settings: a grown one would not load again"


def unfit_groups(model: nn.Module, layouts: Mapping[str, Mapping[int, Layout]]) -> dict[str, str]:
    """The groups that cannot grow for such a reason, with it; `layouts` by tensor and dimension."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    holders: dict[str, list[str]] = defaultdict(list)
    widths: dict[str, set[int]] = defaultdict(set)
    reasons: dict[str, str] = {}
    for name, dims in layouts.items():
        for dim, layout in dims.items():
            for group in {segment.group for segment in layout if segment.group is not None}:
                holders[group].append(name)
                widths[group].add(tensors[name].shape[dim] if name in tensors else 0)
                kind = type(tensors.get(name, Tensor()))
                if kind not in (Tensor, nn.Parameter, nn.Buffer):
                    reasons.setdefault(group, f"{name!r} is a {kind.__name__}, not a plain tensor")
    records = list(_recorded_widths(model))
    for group, names in holders.items():
        reason = _adapter_problem(names, widths[group], records)
        if reason is not None:
            reasons.setdefault(group, reason)
    return reasons


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
