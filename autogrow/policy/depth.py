"""How a network grows deeper: blocks added to its stages, how many, and when. Counts in, counts out.

A stage is a row of blocks whose later ones can stand in a row with themselves. Its full count is that of the network
as its author wrote it. How new blocks start is said by `block_initializations`.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from autogrow.errors import PolicyError
from autogrow.former_names import with_present_word
from autogrow.policy.block_initializations import AnyBlockInitialization, ZeroBlocks
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.policy.triggers import AnyTrigger, Plateau
from autogrow.registry import Registry

BlockState = Literal["carry", "fresh", "reset"]

DEPTH_GROWTHS: Registry[type[PolicyChoice]] = Registry("depth growth", PolicyError)


@DEPTH_GROWTHS.register("none")
class NoDepthGrowth(PolicyChoice):
    """Stands for no depth growth in policy files and search spaces; a policy's `depth` is None then."""

    kind: ClassVar[str] = "none"
    summary: ClassVar[str] = "every stage has all of its blocks from the start"
    source: ClassVar[str] = "the baseline"


@DEPTH_GROWTHS.register("blocks")
class DepthGrowth(PolicyChoice):
    """Residual blocks added to stages, by a trigger of their own."""

    kind: ClassVar[str] = "blocks"
    summary: ClassVar[str] = "residual blocks added to the stages of a network"
    formula: ClassVar[str] = (
        "an event gives a stage of k blocks max(k + blocks_per_event, round(growth_factor k)), up to "
        "round(max_fraction full); how new ones start: `autogrow list block-initializations`"
    )
    source: ClassVar[str] = "AutoGrow: Wen et al. 2020, arXiv 1906.02909; by factors: arXiv 2405.15319, 2605.13405"

    initial_fraction: float = Field(default=0.34, gt=0, le=1)
    """Share of every stage's blocks, as its author wrote it, at the start; at least one block."""
    initial_blocks: int | None = Field(default=None, ge=1, le=1000)
    """Blocks that every stage starts with, in place of `initial_fraction`; None goes by the fraction."""
    max_fraction: float = Field(default=1.0, gt=0, le=4)
    """Share of them that a stage can reach; above 1 it becomes deeper than written."""
    blocks_per_event: int = Field(default=1, ge=1, le=1000)
    """Blocks that one event adds to a chosen stage, at least."""
    growth_factor: float | None = Field(default=None, gt=1, le=16)
    """Times its present blocks that one event gives to a chosen stage: 2 doubles them. None adds `blocks_per_event`."""
    stages: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=1000)
    """Dotted names of the stages that grow; None takes those that are found."""
    stage_selection: Literal["all", "round_robin"] = "round_robin"
    """all: every stage at every event; round_robin: one, the stage that has got the fewest blocks so far."""
    trigger: AnyTrigger = Plateau()
    """When blocks are added, apart from when layers are widened."""
    initialization: AnyBlockInitialization = ZeroBlocks()
    """How new blocks start and where they come: see `autogrow list block-initializations`."""
    optimizer_state: Annotated[BlockState, BeforeValidator(with_present_word)] = "carry"
    """carry: copies take over the optimizer's state of the block that they are copies of; fresh: they start without
    one; reset: all parameters do. Blocks that are drawn anew never have one to carry."""
    max_blocks: int | None = Field(default=None, ge=1)
    """Blocks of all stages together that are never exceeded; None sets no such limit."""

    @model_validator(mode="after")
    def _fractions_in_order(self) -> Self:
        if self.initial_blocks is None and self.initial_fraction > self.max_fraction:
            raise ValueError(f"initial_fraction {self.initial_fraction} is above max_fraction {self.max_fraction}")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Policies that use none of these are written as before they existed: runs are recognized by what was written.
        written: dict[str, Any] = serialize(self)
        return {name: value for name, value in written.items() if _LATER.get(name, self) != value}

    @property
    def grows(self) -> bool:
        """Whether there is anything left to add after the start, as far as that can be said without a network."""
        return self.initial_blocks is not None or self.initial_fraction < self.max_fraction

    def blocks_at_start(self, full: int, unrepeatable: int = 0) -> int:
        """The number of blocks that a stage of `full` blocks starts with, at least 1.

        Where new blocks are to be copies, there must be one to copy: one more than are `unrepeatable`.
        """
        wanted = _share(self.initial_fraction, full) if self.initial_blocks is None else self.initial_blocks
        least = 1 + unrepeatable if self.initialization.copies else 1
        return min(max(wanted, least), max(least, self.max_blocks_of(full)), full)

    def max_blocks_of(self, full: int) -> int:
        """The number of blocks that a stage of `full` blocks can reach, the budget over all stages aside."""
        return _share(self.max_fraction, full)

    def added_blocks(self, blocks: Mapping[str, int], full: Mapping[str, int]) -> dict[str, int]:
        """The blocks that one event adds, by stage; empty once nothing can be added.

        Args:
            blocks: Blocks that every stage has now, in the network's order.
            full: Blocks of the same stages as the network's author wrote them.
        """
        room = {name: self.max_blocks_of(full[name]) - count for name, count in blocks.items()}
        growable = [name for name in blocks if room[name] > 0]
        if self.stage_selection == "round_robin" and growable:
            growable = [min(growable, key=lambda name: blocks[name] - self.blocks_at_start(full[name]))]
        budget = math.inf if self.max_blocks is None else self.max_blocks - sum(blocks.values())
        added: dict[str, int] = {}
        for name in growable:
            number = int(min(self._wanted(blocks[name]), room[name], budget))
            if number > 0:
                added[name] = number
                budget -= number
        return added

    def _wanted(self, present: int) -> int:
        """The blocks that one event adds to a stage of `present` blocks, maximum and budget aside."""
        grown = 0 if self.growth_factor is None else _share(self.growth_factor, present) - present
        return max(self.blocks_per_event, grown)


_LATER = {"initial_blocks": None, "growth_factor": None, "optimizer_state": "carry"}
"""Fields that are left out of files at these values."""


def _share(fraction: float, full: int) -> int:
    return max(1, math.floor(round(fraction * full, 9) + 0.5))


_parse_kind = choice_parser(DEPTH_GROWTHS)


def parse_depth(value: Any) -> DepthGrowth | None:
    """The depth growth of ``{kind: blocks, ...}``, of the same without a kind, or of its name; None for ``none``."""
    if value is None:
        return None
    if isinstance(value, Mapping) and "kind" not in value:
        value = {"kind": DepthGrowth.kind, **value}
    parsed = _parse_kind(value)
    return parsed if isinstance(parsed, DepthGrowth) else None


def _dump(depth: DepthGrowth | None) -> dict[str, Any] | None:
    return None if depth is None else depth.describe()


AnyDepth = Annotated[DepthGrowth | None, BeforeValidator(parse_depth), PlainSerializer(_dump)]
