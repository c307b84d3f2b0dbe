"""Plain values of a network's own code that depend on depth: they follow when blocks come, go or move.

- Numbers that count the places of blocks (``layer_idx``, which says where in a cache a decoder layer writes).
- Other settings that differ from place to place (a rate of stochastic depth): each place has its author's.
- How many blocks there are, in the attribute or configuration of a module around them (``num_hidden_layers``, by which
  decoders slice their layers), and lists there with an entry per block (``layer_types``).

Values are replaced and never changed in place, so that they can be put back.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MAX_DEPTH = 3
"""Containers within containers that are looked into."""
COUNT_NAMES = re.compile(
    r"(n|num|number_of|_num|_n)_?(hidden|encoder|decoder|transformer)?_?(layers?|blocks?)|depth|nlayers?"
)
"""Names of attributes that say how many blocks there are."""
LISTS_BY_BLOCK = ("layer_types",)
"""Names of lists that have an entry per block."""

Undo = Callable[[], None]


@dataclass(frozen=True)
class Path:
    """Where a block's own code keeps a plain value."""

    layer: str
    """Dotted name within the block."""
    attribute: str
    keys: tuple[Any, ...] = ()
    """Through dictionaries, lists and tuples."""
    group: int | None = None
    """Of a number within a name: which one."""
    is_buffer: bool = False

    def __str__(self) -> str:
        name = ".".join(part for part in (self.layer, self.attribute) if part)
        return name + "".join(f"[{key!r}]" for key in self.keys)


@dataclass(frozen=True)
class PlaceNumber:
    """A number that is the place of its block plus an offset."""

    path: Path
    offset: int


def place_numbers(blocks: Mapping[int, nn.Module]) -> tuple[PlaceNumber, ...]:
    """The numbers that count the places of `blocks` (by place in the row).

    They are told by their values: whole numbers that go up by one from place to place, alone or within a name, and that
    are not sizes of the block's own tensors.
    """
    found = {place: dict(_numbers(block)) for place, block in blocks.items()}
    sizes = {place: {size for tensor in _tensors(block) for size in tensor.shape} for place, block in blocks.items()}
    numbers = []
    for path in found[max(found)]:
        places = [place for place in found if path in found[place]]
        offsets = {found[place][path] - place for place in places}
        is_size = all(found[place][path] in sizes[place] for place in places)
        if len(places) > 1 and len(offsets) == 1 and not is_size:
            numbers.append(PlaceNumber(path, offsets.pop()))
    return tuple(numbers)


def differing_settings(one: nn.Module, other: nn.Module, sizes: frozenset[tuple[str, str]]) -> dict[Path, Any]:
    """The plain settings of `other` that `one`, a block of the same form, has otherwise; `sizes` (layer, attribute) are
    left out."""
    here, there = dict(_settings(one)), dict(_settings(other))
    return {
        path: value
        for path, value in there.items()
        if path in here and here[path] != value and (path.layer, path.attribute) not in sizes
    }


def set_in(block: nn.Module, path: Path, value: Any) -> Undo:
    """Put a value where `path` says; returns what puts back the one of before."""
    layer = block.get_submodule(path.layer)
    if path.attribute not in (layer._buffers if path.is_buffer else vars(layer)):
        return lambda: None  # blocks of a row need not be alike
    if path.is_buffer:
        table: dict[str, Any] = layer._buffers
        before: Any = table[path.attribute]
        after: Any = torch.full_like(before, value)
    else:
        table, before = vars(layer), vars(layer)[path.attribute]
        after = _replaced(before, path.keys, path.group, value)
    table[path.attribute] = after

    def undo() -> None:
        table[path.attribute] = before

    return undo


def value_in(block: nn.Module, path: Path) -> int | None:
    """The number where `path` says; None where the block has none."""
    return next((value for found, value in _numbers(block) if found == path), None)


def set_all(block: nn.Module, settings: Mapping[Path, Any]) -> None:
    """Put values into a new block, which nobody needs to put back."""
    for path, value in settings.items():
        set_in(block, path, value)


def _replaced(value: Any, keys: tuple[Any, ...], group: int | None, new: Any) -> Any:
    """`value` with another entry at `keys`; containers on the way are copies."""
    if keys:
        entry = _replaced(value[keys[0]], keys[1:], group, new)
        if isinstance(value, dict):
            return {**value, keys[0]: entry}
        entries = [entry if index == keys[0] else each for index, each in enumerate(value)]
        return tuple(entries) if isinstance(value, tuple) else entries
    if group is None:
        return new
    spans = [match.span() for match in re.finditer(r"\d{1,9}", value)]
    first, last = spans[group]
    return f"{value[:first]}{new}{value[last:]}"


def _tensors(block: nn.Module) -> list[Tensor]:
    return [*block.parameters(), *block.buffers()]


def _is_own(layer: nn.Module) -> bool:
    """Whether a layer's class is not PyTorch's: those know no places."""
    return type(layer).__module__.partition(".")[0] != "torch"


def _numbers(block: nn.Module) -> Iterator[tuple[Path, int]]:
    """Whole numbers that a block's own code keeps, with where."""
    for name, layer in block.named_modules():
        if _is_own(layer):
            for buffer, tensor in layer._buffers.items():
                if tensor is not None and tensor.numel() == 1 and not tensor.is_floating_point():
                    yield Path(name, buffer, is_buffer=True), int(tensor)
            for attribute, value in vars(layer).items():
                if attribute not in _OF_MODULES:
                    yield from _numbers_in(value, name, attribute, ())


_OF_MODULES = frozenset(vars(nn.Module()))
"""What PyTorch keeps in every module."""


def _numbers_in(value: Any, layer: str, attribute: str, keys: tuple[Any, ...]) -> Iterator[tuple[Path, int]]:
    if type(value) is int:
        yield Path(layer, attribute, keys), value
    elif isinstance(value, str):
        for index, digits in enumerate(re.findall(r"\d{1,9}", value)):
            yield Path(layer, attribute, keys, index), int(digits)
    elif len(keys) < MAX_DEPTH and isinstance(value, dict | list | tuple):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers_in(entry, layer, attribute, (*keys, key))


def _settings(block: nn.Module) -> Iterator[tuple[Path, Any]]:
    for name, layer in block.named_modules():
        for attribute, value in vars(layer).items():
            is_plain = isinstance(value, bool | float | str) or (type(value) is int and _is_own(layer))
            if attribute not in _OF_MODULES and is_plain:
                yield Path(name, attribute), value


@dataclass(frozen=True)
class BlockCount:
    """Where it is said, outside of its blocks, how many a stage has, or something of each of them."""

    holder: str
    """Dotted name of the module that says it, or that holds the configuration."""
    configuration: str | None
    """The attribute with the configuration object; None where the module itself says it."""
    attribute: str
    entries: tuple[Any, ...] | None
    """Of a list with an entry per block: the author's; None for a number."""

    def set_in(self, model: nn.Module, number: int) -> Undo:
        """Say that there are so many blocks; returns what puts back the value of before."""
        holder: Any = model.get_submodule(self.holder)
        if self.configuration is not None:
            holder = getattr(holder, self.configuration)
        table = vars(holder)
        before = table[self.attribute]
        if self.entries is None:
            table[self.attribute] = number
        else:
            last = len(self.entries) - 1
            table[self.attribute] = type(before)(self.entries[min(place, last)] for place in range(number))

        def undo() -> None:
            table[self.attribute] = before

        return undo


def block_counts(model: nn.Module, container: str, number: int, others: int) -> tuple[BlockCount, ...]:
    """Where the modules around a container, or configurations that they hold, say that it has `number` blocks.

    They are told by name and value. `others` counts further rows of as many blocks: what two rows share follows
    neither, unless the module next to the container says it.
    """
    found: dict[tuple[int, str], BlockCount] = {}
    parts = container.split(".") if container else []
    around = [".".join(parts[:end]) for end in range(len(parts))]
    for name in reversed(around[-1:] if others else around):
        module = model.get_submodule(name)
        holders: list[tuple[str | None, Any]] = [(None, module)]
        holders += [(key, value) for key, value in vars(module).items() if is_configuration(value)]
        for key, holder in holders:
            for attribute, value in vars(holder).items():
                if attribute not in _OF_MODULES and _says(attribute, value, number):
                    entries = None if type(value) is int else tuple(value)
                    found.setdefault((id(holder), attribute), BlockCount(name, key, attribute, entries))
    return tuple(found.values())


def _says(attribute: str, value: Any, number: int) -> bool:
    if attribute in LISTS_BY_BLOCK:
        return isinstance(value, list | tuple) and len(value) == number
    return type(value) is int and value == number and COUNT_NAMES.fullmatch(attribute.lower()) is not None


def is_configuration(value: Any) -> bool:
    """Whether a value is an object of plain attributes, of somebody's own class."""
    if isinstance(value, nn.Module | Tensor | type) or callable(value) or not hasattr(value, "__dict__"):
        return False
    return type(value).__module__.partition(".")[0] not in ("torch", "builtins", "collections")
