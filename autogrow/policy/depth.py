"""How a network grows deeper: residual blocks added to its stages, and when. Counts in, counts out.

A stage is an ``nn.Sequential`` of blocks whose later ones can stand in a row with themselves. Its full count is that
of the network as its author wrote it.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from autogrow.errors import PolicyError
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.policy.triggers import AnyTrigger, Plateau
from autogrow.registry import Registry

DEPTH_GROWTHS: Registry[type[PolicyChoice]] = Registry("depth growth", PolicyError)


@DEPTH_GROWTHS.register("none")
class NoDepthGrowth(PolicyChoice):
    """Stands for no depth growth in policy files and search spaces; a policy's `depth` is None then."""

    kind: ClassVar[str] = "none"
    summary: ClassVar[str] = "every stage has all of its blocks from the start"
    source: ClassVar[str] = "the baseline"


@DEPTH_GROWTHS.register("blocks")
class DepthGrowth(PolicyChoice):
    """Residual blocks added at the end of stages, by a trigger of their own."""

    kind: ClassVar[str] = "blocks"
    summary: ClassVar[str] = "residual blocks added to the stages of a network"
    formula: ClassVar[str] = "zero: x + gain * F(x) with gain 0 is x, so the new block starts as the identity"
    source: ClassVar[str] = "AutoGrow: Wen et al. 2020, arXiv 1906.02909 (there random starts were better on CIFAR-100)"

    initial_fraction: float = Field(default=0.34, gt=0, le=1)
    """Share of every stage's blocks, as its author wrote it, at the start; at least one block."""
    max_fraction: float = Field(default=1.0, gt=0, le=4)
    """Share of them that a stage can reach; above 1 it becomes deeper than written."""
    blocks_per_event: int = Field(default=1, ge=1, le=1000)
    """Blocks that one event adds to a chosen stage."""
    stages: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=1000)
    """Dotted names of the stages that grow; None takes those that are found."""
    stage_selection: Literal["all", "round_robin"] = "round_robin"
    """all: every stage at every event; round_robin: one, the stage that has got the fewest blocks so far."""
    trigger: AnyTrigger = Plateau()
    """When blocks are added, apart from when layers are widened."""
    initialization: Literal["zero", "random"] = "zero"
    """zero: the gain of the block's last norm is 0; random: as the network's author starts it."""
    max_blocks: int | None = Field(default=None, ge=1)
    """Blocks of all stages together that are never exceeded; None sets no such limit."""

    @model_validator(mode="after")
    def _fractions_in_order(self) -> Self:
        if self.initial_fraction > self.max_fraction:
            raise ValueError(f"initial_fraction {self.initial_fraction} is above max_fraction {self.max_fraction}")
        return self

    @property
    def grows(self) -> bool:
        """Whether there is anything left to add after the start."""
        return self.initial_fraction < self.max_fraction

    def initial_blocks(self, full: int) -> int:
        """The number of blocks that a stage of `full` blocks starts with, at least 1."""
        return _share(self.initial_fraction, full)

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
            growable = [min(growable, key=lambda name: blocks[name] - self.initial_blocks(full[name]))]
        budget = math.inf if self.max_blocks is None else self.max_blocks - sum(blocks.values())
        added: dict[str, int] = {}
        for name in growable:
            number = int(min(self.blocks_per_event, room[name], budget))
            if number > 0:
                added[name] = number
                budget -= number
        return added


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
