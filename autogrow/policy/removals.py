"""What goes when a trained network is made smaller: units, blocks, both, or single weights, which become zeros."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, PlainSerializer

from autogrow.errors import PolicyError
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.registry import Registry

BlockScore = Literal["loss", "similarity"]
"""loss: what the loss rises by when the block is skipped; one pass for every block.
similarity: 1 - the cosine of what the block is given and what it hands on, averaged over examples, and over positions
where it hands on (examples, positions, features). Block influence: Men et al. 2024 (ShortGPT, arXiv 2403.03853).
"""


class Removal(PolicyChoice):
    """Says what is taken away, a piece at a time, until a size is kept to."""

    takes_units: ClassVar[bool] = False
    takes_blocks: ClassVar[bool] = False
    metric: ClassVar[str] = "flops"
    """The size that it makes smaller, of `autogrow.policy.shrink_records.METRICS`, where none is asked for."""


REMOVALS: Registry[type[Removal]] = Registry("removal", PolicyError)


@REMOVALS.register("units")
class RemoveUnits(Removal):
    kind: ClassVar[str] = "units"
    summary: ClassVar[str] = "units of channel groups, with the weights that compute and read them"
    source: ClassVar[str] = "filters: Li et al. 2017, arXiv 1608.08710; scores: see unit scores"
    takes_units: ClassVar[bool] = True


@REMOVALS.register("blocks")
class RemoveBlocks(Removal):
    """Scores of blocks are measured once for a step, and are compared between stages as they are.

    A stage keeps at least one block; blocks behind one that goes move up. Nothing makes up for a block but training on.
    """

    kind: ClassVar[str] = "blocks"
    summary: ClassVar[str] = "whole blocks of stages, such as transformer layers and residual blocks"
    formula: ClassVar[str] = (
        "loss: loss(block skipped) - loss; similarity: 1 - mean cosine of what the block is given and what it hands on"
    )
    source: ClassVar[str] = "similarity: ShortGPT, Men et al. 2024, arXiv 2403.03853; loss: the change itself"
    takes_blocks: ClassVar[bool] = True

    score: BlockScore = "loss"
    """By what blocks are told apart; those with the smallest go first."""


@REMOVALS.register("both")
class RemoveBoth(Removal):
    """How many blocks go is found by trying each number of them, with as many units as are still too many then."""

    kind: ClassVar[str] = "both"
    summary: ClassVar[str] = "as many blocks as leave the least loss once units have made up the size"
    formula: ClassVar[str] = (
        "argmin over n of the loss before training on, of scored training examples, without the n blocks of the "
        "smallest score and without the units that are too many then"
    )
    source: ClassVar[str] = "ours"
    takes_units: ClassVar[bool] = True
    takes_blocks: ClassVar[bool] = True

    score: BlockScore = "loss"
    """By what blocks are told apart."""


@REMOVALS.register("weights")
class RemoveWeights(Removal):
    """Unstructured: the network keeps its shape, and products with zeros take as long as any. The control for others.

    Of parameters of two dimensions and more, each a group; zeros stay zeros while it trains on.
    """

    kind: ClassVar[str] = "weights"
    summary: ClassVar[str] = "the smallest weights become zeros: sparser, but neither smaller nor faster"
    formula: ClassVar[str] = "|w|, compared between layers as it is; or the same share of each (per_group)"
    source: ClassVar[str] = (
        "Han et al. 2015, arXiv 1506.02626; global or per layer: Blalock et al. 2020, arXiv 2003.03033"
    )
    metric: ClassVar[str] = "nonzero"


parse_removal = choice_parser(REMOVALS)


def _dump(removal: Removal) -> dict[str, Any]:
    return removal.describe()


AnyRemoval = Annotated[Removal, BeforeValidator(parse_removal), PlainSerializer(_dump)]
