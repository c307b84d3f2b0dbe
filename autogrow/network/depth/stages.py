"""Stages: rows of blocks that can be made longer or shorter. What is known of them; `stage_finding` finds them.

A stage is an ``nn.Sequential`` (or an ``nn.ModuleList``, or numbered children, that are run in order) of blocks that
hand on one tensor, of which those after the first keep its shape and can start as the identity. Network morphism (Wei
et al. 2016, arXiv 1603.01670) and AutoGrow (Wen et al. 2020, arXiv 1906.02909) deepen networks in these places.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from re import match

from torch import nn

from autogrow.errors import NetworkError
from autogrow.network.depth.place_settings import BlockCount, PlaceNumber
from autogrow.network.structure.channel_groups import Structure
from autogrow.policy.block_initializations import BlockInitialization
from autogrow.policy.history import Stage

Row = tuple[int | None, ...]
"""For every child of a container after a change the place where it is now; None for one that is drawn anew. A place
that comes again stands for a copy."""


@dataclass(frozen=True)
class StageDesign:
    """A stage as its author wrote it: what decides how the block at each place is made.

    A place that the author filled gets a copy of what stood there, so that a stage which was shortened grows back to
    the author's; a place after those gets a copy of the last block.
    """

    name: str
    keys: tuple[str, ...]
    """Names of the children in the container."""
    num_kept: int
    """Leading children that always stay, at least 1; the last of them is the first block."""
    templates: Mapping[int, nn.Module]
    """Copies, on the CPU, of the children that can be added again, by place; of the first block where that can be."""
    widths: Mapping[str, int]
    """Widths of the network's groups when the templates were taken."""
    numbers: tuple[PlaceNumber, ...] = ()
    """What in a block counts its place."""
    counts: tuple[BlockCount, ...] = ()
    """Where the network says how many children the container has."""

    @property
    def full_blocks(self) -> int:
        return self.num_blocks(len(self.keys))

    def num_blocks(self, num_children: int) -> int:
        return num_children - self.num_kept + 1

    def num_children(self, num_blocks: int) -> int:
        return num_blocks + self.num_kept - 1

    @property
    def unrepeatable_blocks(self) -> int:
        """Leading blocks that could not be added again, as they change the shape: 0 or 1."""
        return 0 if self.num_kept - 1 in self.templates else 1

    def row_of(self, blocks: Sequence[int]) -> Row:
        """What stands at each place when these blocks stay, by their numbers."""
        lead = self.num_kept - 1
        return (*range(lead), *(lead + block for block in blocks))

    def row(self, before: int, after: int, initialization: BlockInitialization | None) -> Row:
        """What stands at each place when the container goes from `before` children to `after`.

        Raises:
            NetworkError: New blocks are to be copies, but there is none to copy.
        """
        if after <= before or initialization is None:
            return (*range(min(before, after)), *[None] * (after - before))
        lead = self.num_kept - 1 + (self.unrepeatable_blocks if initialization.copies else 0)
        if before <= lead:
            raise NetworkError(
                f"stage {self.name!r}: its only block changes the shape, so that no copy can follow it: start with at "
                f"least {self.unrepeatable_blocks + 1} blocks, or draw new ones (initialization zero or random)"
            )
        order = initialization.order(before - lead, after - lead)
        present = dict.fromkeys(source for source in order if source is not None)
        if len(order) != after - lead or list(present) != list(range(before - lead)):
            raise NetworkError(
                f"initialization {initialization.kind!r} orders {before - lead} blocks as {order}: it must give "
                f"{after - lead} places, and each of the present ones in turn"
            )
        return (*range(lead), *(None if source is None else lead + source for source in order))

    def original(self, place: int) -> int:
        """The place, among those that the author filled, of the block that the one at `place` is a copy of."""
        return min(place, len(self.keys) - 1)

    def key(self, place: int) -> str:
        """The name of a child: the author's, or the last one counted on."""
        if place < len(self.keys):
            return self.keys[place]
        counted = match(r"(.*?)(\d+)$", self.keys[-1])
        added = place - len(self.keys) + 1
        return f"{counted[1]}{int(counted[2]) + added}" if counted else f"{self.keys[-1]}_{added + 1}"

    def prefix(self, place: int) -> str:
        """The dotted name of a child."""
        return f"{self.name}.{self.key(place)}" if self.name else self.key(place)


@dataclass(frozen=True)
class StageDesigns:
    """All stages of one network, and its structure with every block that its author wrote."""

    structure: Structure
    designs: Mapping[str, StageDesign]

    def with_design(self, design: StageDesign) -> "StageDesigns":
        """The same with one more stage, in place of those that it contains or that contain it."""
        apart = {name: other for name, other in self.designs.items() if not overlap(name, design.name)}
        return replace(self, designs={**apart, design.name: design})

    def num_children(self, model: nn.Module) -> dict[str, int]:
        return {name: len(model.get_submodule(name)._modules) for name in self.designs}

    def stages(self, model: nn.Module) -> tuple[Stage, ...]:
        """The stages of `model` as they are now, in the network's order."""
        present = self.num_children(model)
        order = [name for name, _ in model.named_modules() if name in self.designs]
        designs = [self.designs[name] for name in order]
        return tuple(
            Stage(each.name, each.num_blocks(present[each.name]), each.full_blocks, each.unrepeatable_blocks)
            for each in designs
        )

    def deepened(self, model: nn.Module, added_blocks: Mapping[str, int]) -> dict[str, int]:
        """The number of blocks after some are added; `NetworkError` where that is not at least one."""
        for name, number in added_blocks.items():
            if number < 1:
                raise NetworkError(f"stage {name!r}: cannot add {number} blocks, at least 1")
        return {name: self._present(model)[name] + number for name, number in added_blocks.items()}

    def fewer(self, model: nn.Module, removed_blocks: Mapping[str, int | Sequence[int]]) -> dict[str, tuple[int, ...]]:
        """The numbers of the blocks that stay after some are removed: the last ones, or those of the given numbers.

        Raises `NetworkError` where that leaves none, or removes none.
        """
        kept = {}
        for name, which in removed_blocks.items():
            present = self._present(model)[name]
            gone = range(present - which, present) if isinstance(which, int) else which
            if len(gone) == 0 or len(set(gone)) != len(gone) or not set(gone) < set(range(present)):
                raise NetworkError(
                    f"stage {name!r}: cannot remove {which if isinstance(which, int) else list(which)} of {present} "
                    f"blocks: give a number from 1 to {present - 1}, or the distinct numbers of blocks, from 0 to "
                    f"{present - 1}, not all"
                )
            kept[name] = tuple(block for block in range(present) if block not in set(gone))
        return kept

    def shallow(self, model: nn.Module, blocks: Mapping[str, int]) -> Mapping[str, int]:
        """`blocks` where they can be had by taking some away; `NetworkError` otherwise."""
        for name, number in blocks.items():
            present = self._present(model)[name]
            if not 1 <= number <= present:
                raise NetworkError(f"stage {name!r} cannot start with {number} blocks, from 1 to {present}")
        return blocks

    def resized(self, blocks: Mapping[str, int]) -> Mapping[str, int]:
        """`blocks` where they are possible at all; `NetworkError` otherwise."""
        for name, number in blocks.items():
            if number < 1:
                raise NetworkError(f"stage {name!r} cannot have {number} blocks, at least 1")
        return blocks

    def _present(self, model: nn.Module) -> dict[str, int]:
        return {stage.name: stage.num_blocks for stage in self.stages(model)}


def overlap(one: str, other: str) -> bool:
    """Whether one of two modules is the other, or lies within it."""
    return one == other or lies_within(one, other) or lies_within(other, one)


def lies_within(inner: str, outer: str) -> bool:
    return inner != outer and (outer == "" or inner.startswith(f"{outer}."))


def innermost_first(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: -len(name.split(".")) if name else 1)
