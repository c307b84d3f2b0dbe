"""What is held fixed after a growth event. The record only says what; `autogrow.network` does it.

Source: C. Lee's thesis (2017), section 4.2 and listing 4.1.
"""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, PlainSerializer

from autogrow.errors import PolicyError
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.registry import Registry


class Freezing(PolicyChoice):
    """Says which cohorts of entries train."""

    @abstractmethod
    def first_trained_cohort(self, num_events: int) -> int:
        """Entries of this cohort and later ones train after `num_events` events; earlier ones are held fixed."""


FREEZINGS: Registry[type[Freezing]] = Registry("freezing", PolicyError)


@FREEZINGS.register("none")
class NoFreezing(Freezing):
    kind: ClassVar[str] = "none"
    summary: ClassVar[str] = "everything keeps training"

    def first_trained_cohort(self, num_events: int) -> int:
        return 0


@FREEZINGS.register("old")
class FreezeOld(Freezing):
    kind: ClassVar[str] = "old"
    summary: ClassVar[str] = "entries older than the last growth event are held bit-identical (thesis, 4.2)"

    def first_trained_cohort(self, num_events: int) -> int:
        return num_events


parse_freezing = choice_parser(FREEZINGS)


def _dump(freezing: Freezing) -> dict[str, Any]:
    return freezing.describe()


AnyFreezing = Annotated[Freezing, BeforeValidator(parse_freezing), PlainSerializer(_dump)]
