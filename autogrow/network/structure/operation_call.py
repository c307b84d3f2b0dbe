"""One executed operation as the tables of operations see it, and what several of them do with labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from autogrow.network.structure.unit_labels import DimLabels, IntArray, Tracked, UnitLabels


@dataclass
class Call:
    """One executed operation: its arguments, its tensor results, and the labels of everything."""

    name: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    """Arguments that were given by name."""
    outputs: list[Tensor]
    labels: UnitLabels
    alternative: bool
    """Whether a choice that this operation leaves open is to be taken the less usual way."""
    chosen: list[IntArray] = field(default_factory=list)
    """Labels that such a choice was made about."""
    sizes: list[tuple[int, IntArray]] = field(default_factory=list)
    """Sizes that the calling code may have had from an attribute of its module, and the labels they count."""
    parts: list[tuple[int, IntArray]] = field(default_factory=list)
    """The same for sizes that were given all at once, as a split takes them."""

    def tensors(self) -> list[Tensor]:
        """Tensor arguments, those in lists included."""
        found: list[Tensor] = []
        for argument in (*self.args, *self.options.values()):
            found += [entry for entry in as_list(argument) if isinstance(entry, Tensor)]
        return found

    def argument(self, index: int, default: Any = None) -> Any:
        return self.args[index] if index < len(self.args) else default

    def of(self, index: int) -> Tracked:
        return self.labels.of(self.args[index])

    def result(self, dims: Sequence[DimLabels], index: int = 0) -> None:
        is_weight = all(self.labels.of(tensor).is_weight for tensor in self.tensors())
        self.labels.set(self.outputs[index], dims, is_weight)


Handler = Callable[[Call], None]
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def aligned(call: Call, tensors: list[Tensor], shape: Sequence[int]) -> list[DimLabels]:
    """Labels of a result of `shape`, to which all tensors are broadcast."""
    result: list[DimLabels] = [None] * len(shape)
    for tensor in tensors:
        tracked = call.labels.of(tensor)
        offset = len(shape) - tensor.dim()
        for dim, labels in enumerate(tracked.dims):
            if labels is None:
                continue
            if tensor.shape[dim] != shape[offset + dim]:
                call.labels.fix(labels, "it is broadcast over a dimension of another size")
                continue
            if tracked.is_weight:
                call.labels.give_role(labels, "vector")
            result[offset + dim] = call.labels.relate(result[offset + dim], labels)
    return result


def fix_all(call: Call, reason: str) -> None:
    for tensor in call.tensors():
        for labels in call.labels.of(tensor).dims:
            call.labels.fix(labels, reason)


def slide(call: Call, dims: Sequence[DimLabels]) -> None:
    """Neighbouring entries of these dimensions are mixed."""
    for labels in dims:
        call.labels.fix(labels, f"{call.name!r} slides over its units")


def vector_dim(call: Call, vector: Tensor, units: DimLabels, fill: float | None, dim: int = 0) -> DimLabels:
    """A gain, bias or statistic with one entry per unit; its new entries hold `fill`, or values of old ones."""
    tracked = call.labels.of(vector)
    owner = call.labels.owner(tracked.dims[dim])
    if owner is not None and tracked.is_weight:
        call.labels.give_role(tracked.dims[dim], "vector")
        if fill is not None:
            call.labels.fills[owner.name] = fill
    return call.labels.relate(units, tracked.dims[dim])


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
