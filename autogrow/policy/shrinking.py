"""How a network is shrunk: what goes, in which order, what is done for what stays, and in how many cycles."""

from pydantic import Field

from autogrow.policy.changes import Compensation
from autogrow.policy.part import PolicyPart
from autogrow.policy.recovery import Recovery
from autogrow.policy.removals import AnyRemoval, RemoveUnits
from autogrow.policy.unit_removal import RemovalOrder
from autogrow.policy.unit_scores import AnyUnitScore, Fisher


class Shrinking(PolicyPart):
    """Cycles of scoring units or blocks, removing the worst, and training on."""

    remove: AnyRemoval = RemoveUnits()
    """What is removed."""
    only: tuple[str, ...] = ()
    """Groups that may lose units, and stages that may lose blocks: their names, those of modules around them, or
    patterns such as `layer*.conv1`. None: all."""
    score: AnyUnitScore = Fisher()
    """By what the units of a group are told apart; larger stays."""
    order: RemovalOrder = RemovalOrder()
    """How units of different groups are put into one order."""
    compensation: Compensation = "least_squares"
    """What is done for the units that stay when others go; see `autogrow.policy.changes.Narrow`."""
    cycles: int = Field(default=1, ge=1, le=1000)
    """Removals on the way to a size, each followed by a recovery. Sizes on the way are in geometric progression."""
    recovery: Recovery = Recovery()
    """The training after each removal."""
    calibration_examples: int = Field(default=512, ge=1, le=1_000_000)
    """Training examples that scores and compensations are measured on, always the same."""

    def sizes(self, start: float, end: float) -> list[float]:
        """The sizes that the cycles come to, the last one `end`; `start` is the size before the first."""
        return [start * (end / start) ** (cycle / self.cycles) for cycle in range(1, self.cycles)] + [end]
