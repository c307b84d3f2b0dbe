"""How new blocks start, and where in a stage they come: counts in, an order out. `autogrow.network.depth` does it."""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, PlainSerializer

from autogrow.errors import PolicyError
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.registry import Registry, subclass_of

BlockOrder = tuple[int | None, ...]
"""For every place of a stage the present block that it gets, by its number; None: one that is drawn anew. Where a
number comes for the first time the block itself stands, and copies of it wherever it comes again."""


class BlockInitialization(PolicyChoice):
    """Says what new blocks are copies of, if of any, and how the others start."""

    notation: ClassVar[str] = (
        "a stage runs blocks F_0 ... F_(k-1) in a row and is to have n of them; block i of the n is F_s(i), a copy "
        "where s(i) has come before. Blocks that change the shape lead the row, and are no part of it"
    )
    keeps_outputs: ClassVar[bool]
    """Whether the network computes the same function right after growing."""
    copies: ClassVar[bool] = False
    """Whether new blocks are copies of present ones, so that there must be one that can stand in a row with itself."""

    @abstractmethod
    def order(self, present: int, wanted: int) -> BlockOrder:
        """What stands where in a stage of `wanted` blocks that has `present` now, at least 1 and fewer than wanted.

        Every present block comes, and they come in the order that they have.
        """


BLOCK_INITIALIZATIONS: Registry[type[BlockInitialization]] = Registry(
    "initialization of blocks",
    PolicyError,
    group="autogrow.block_initializations",
    accepts=subclass_of(BlockInitialization),
)


def _with_new_ones_last(present: int, wanted: int) -> BlockOrder:
    return (*range(present), *[None] * (wanted - present))


@BLOCK_INITIALIZATIONS.register("zero")
class ZeroBlocks(BlockInitialization):
    kind: ClassVar[str] = "zero"
    summary: ClassVar[str] = "new blocks at the end that start as the identity: what ends their branches is zero"
    formula: ClassVar[str] = "s(i) = i for i < k; the others are x + 0 * F(x), with fresh weights in F"
    source: ClassVar[str] = "Goyal et al. 2017, arXiv 1706.02677, 5.1; for growing: Wen et al. 2020, arXiv 1906.02909"
    keeps_outputs: ClassVar[bool] = True

    def order(self, present: int, wanted: int) -> BlockOrder:
        return _with_new_ones_last(present, wanted)


@BLOCK_INITIALIZATIONS.register("random")
class RandomBlocks(BlockInitialization):
    kind: ClassVar[str] = "random"
    summary: ClassVar[str] = "new blocks at the end that start as in a new network"
    formula: ClassVar[str] = "s(i) = i for i < k; the others are x + F(x), with fresh weights in F"
    source: ClassVar[str] = "AutoGrow: Wen et al. 2020, arXiv 1906.02909 (better there than zero, on CIFAR-100)"
    keeps_outputs: ClassVar[bool] = False

    def order(self, present: int, wanted: int) -> BlockOrder:
        return _with_new_ones_last(present, wanted)


@BLOCK_INITIALIZATIONS.register("stack")
class Stack(BlockInitialization):
    kind: ClassVar[str] = "stack"
    summary: ClassVar[str] = "the whole stage is repeated: its blocks, then copies of them in the same order"
    formula: ClassVar[str] = "s(i) = i mod k"
    source: ClassVar[str] = (
        "G_stack: Du et al. 2024, arXiv 2405.15319; Bu 2025, arXiv 2511.04981; factor 2: arXiv 2605.13405"
    )
    keeps_outputs: ClassVar[bool] = False
    copies: ClassVar[bool] = True

    def order(self, present: int, wanted: int) -> BlockOrder:
        return tuple(place % present for place in range(wanted))


@BLOCK_INITIALIZATIONS.register("interleave")
class Interleave(BlockInitialization):
    kind: ClassVar[str] = "interleave"
    summary: ClassVar[str] = "every block is followed by its copies"
    formula: ClassVar[str] = "s(i) = floor(i k / n)"
    source: ClassVar[str] = "compared with stacking by Du et al. 2024, arXiv 2405.15319, and Bu 2025, arXiv 2511.04981"
    keeps_outputs: ClassVar[bool] = False
    copies: ClassVar[bool] = True

    def order(self, present: int, wanted: int) -> BlockOrder:
        return tuple(place * present // wanted for place in range(wanted))


@BLOCK_INITIALIZATIONS.register("copy_last")
class CopyLast(BlockInitialization):
    kind: ClassVar[str] = "copy_last"
    summary: ClassVar[str] = "copies of the last block follow it"
    formula: ClassVar[str] = "s(i) = min(i, k - 1)"
    source: ClassVar[str] = "one of the copies that Bu 2025, arXiv 2511.04981, compares"
    keeps_outputs: ClassVar[bool] = False
    copies: ClassVar[bool] = True

    def order(self, present: int, wanted: int) -> BlockOrder:
        return tuple(min(place, present - 1) for place in range(wanted))


parse_block_initialization = choice_parser(BLOCK_INITIALIZATIONS)


def _dump(initialization: BlockInitialization) -> str | dict[str, Any]:
    # The bare name where nothing was set, as older versions wrote and read it.
    at_defaults = initialization == type(initialization)()
    return initialization.kind if at_defaults else initialization.describe()


AnyBlockInitialization = Annotated[
    BlockInitialization, BeforeValidator(parse_block_initialization), PlainSerializer(_dump)
]
