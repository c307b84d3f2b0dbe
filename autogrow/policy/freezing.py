"""What is held fixed after a growth event. The record only says what; `autogrow.network` does it.

Source: C. Lee's thesis (2017), section 4.2 and listing 4.1.
"""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer

from autogrow.errors import PolicyError
from autogrow.policy.part import PolicyChoice, choice_parser
from autogrow.registry import Registry


class Freezing(PolicyChoice):
    """Says which cohorts of entries train, and how much the older ones move."""

    @abstractmethod
    def first_trained_cohort(self, num_events: int) -> int:
        """Entries of this cohort and later ones train fully after `num_events` events; earlier ones may be held."""

    @abstractmethod
    def released_share(self, samples_since_event: int) -> float:
        """How much of their updates the earlier entries make: 0 is held bit-identical, 1 is trained fully."""


FREEZINGS: Registry[type[Freezing]] = Registry("freezing", PolicyError)


@FREEZINGS.register("none")
class NoFreezing(Freezing):
    kind: ClassVar[str] = "none"
    summary: ClassVar[str] = "everything keeps training"
    source: ClassVar[str] = "the baseline"

    def first_trained_cohort(self, num_events: int) -> int:
        return 0

    def released_share(self, samples_since_event: int) -> float:
        return 1.0


@FREEZINGS.register("old")
class FreezeOld(Freezing):
    kind: ClassVar[str] = "old"
    summary: ClassVar[str] = "entries older than the last growth event are held bit-identical"
    source: ClassVar[str] = "thesis (C. Lee 2017), 4.2 and listing 4.1"

    def first_trained_cohort(self, num_events: int) -> int:
        return num_events

    def released_share(self, samples_since_event: int) -> float:
        return 0.0


@FREEZINGS.register("thaw")
class Thaw(Freezing):
    """Held at first, so that the new units find their place, then let go little by little."""

    kind: ClassVar[str] = "thaw"
    summary: ClassVar[str] = "older entries are held for some measurements after an event, then released gradually"
    formula: ClassVar[str] = (
        "share of their updates = clip((measurements since the event - hold_samples) / release_samples, 0, 1)"
    )
    source: ClassVar[str] = (
        "thesis (C. Lee 2017), 4.2; released as in gradual unfreezing, Howard and Ruder 2018, arXiv 1801.06146"
    )

    hold_samples: int = Field(default=5, ge=0, le=100_000)
    """Samples after an event for which older entries are held bit-identical."""
    release_samples: int = Field(default=10, ge=0, le=100_000)
    """Samples over which they are released after that; 0 releases them at once."""

    def first_trained_cohort(self, num_events: int) -> int:
        return num_events

    def released_share(self, samples_since_event: int) -> float:
        released = samples_since_event - self.hold_samples
        if released < 0:
            return 0.0
        return 1.0 if released >= self.release_samples else released / self.release_samples


parse_freezing = choice_parser(FREEZINGS)


def _dump(freezing: Freezing) -> dict[str, Any]:
    return freezing.describe()


AnyFreezing = Annotated[Freezing, BeforeValidator(parse_freezing), PlainSerializer(_dump)]
