"""What can be done to a network while it trains: more units or fewer, more blocks or fewer, hold or let go.

A change is plain data. A policy decides on changes (`GrowthPolicy.decide`), and so may a person; the network makes
them, whole or not at all (`autogrow.network.expandable.ExpandableNetwork.apply`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

from autogrow.errors import NetworkError, unknown_name
from autogrow.policy.block_initializations import BlockInitialization, ZeroBlocks
from autogrow.policy.initializations import Initialization, ZeroFanOut

Compensation = Literal["none", "constants", "least_squares"]
"""What else changes where units are removed, by what they are on the calibration input.

constants: a bias of what reads them, or the running mean of the batch norm behind it, takes up their mean. Exact for
units that are constant there; the best constant for others, and for a convolution with padding, whose border reads
zeros. A reader that has neither is left as it is, and so is one that cannot be seen (in a recurrent layer).
least_squares: the weights of what reads them change, too, so that its outputs come closest to what they were: a ridge
regression for one reader after the other, each on what it is given once those before it have changed. Weights that are
computed from parameters, that hold units where they read them (tied ones), that are no matrix (but one for each of
several batches), or that read more than 8192 columns, keep their values.
"""


@dataclass(frozen=True)
class Widen:
    """Add units to channel groups."""

    added_units: Mapping[str, int]
    """At least 1, by group."""
    initialization: Initialization | str = ZeroFanOut()
    """How they start: a record with its settings, or the name of one."""
    optimizer_state: Literal["carry", "reset"] = "carry"
    """carry: moments of old entries survive; reset: the optimizer starts afresh."""


@dataclass(frozen=True)
class Narrow:
    """Remove units from channel groups, with every weight that computes or reads them; the others keep theirs.

    Refused where that does something else than silencing them, as code may tell units apart by their places.
    """

    removed_units: Mapping[str, int | Sequence[int]]
    """By group: how many, counted from its end, or their numbers. At least one unit stays."""
    compensation: Compensation = "none"
    """How what reads the units makes up for them; see `Compensation`. Needs a calibration input, but for "none"."""


@dataclass(frozen=True)
class Deepen:
    """Add residual blocks to stages, where and how their initialization says."""

    added_blocks: Mapping[str, int]
    """At least 1, by stage."""
    initialization: BlockInitialization | str = ZeroBlocks()
    """How they start and where they come: a record, or the name of one."""
    optimizer_state: Literal["carry", "fresh", "reset"] = "carry"
    """carry: copies take over the state of what they are copies of; fresh: they start without; reset: all do."""


@dataclass(frozen=True)
class Shorten:
    """Remove residual blocks from stages; those behind them move up, with their weights. At least one block stays."""

    removed_blocks: Mapping[str, int | Sequence[int]]
    """By stage: how many, counted from its end, or their numbers, the first block's being 0."""


@dataclass(frozen=True)
class Freeze:
    """Hold every entry of a cohort before `first_trained_cohort` at the value that it has."""

    first_trained_cohort: int
    """Cohort 0 is what the network started with; cohort n is what growth event number n added."""


@dataclass(frozen=True)
class Thaw:
    """Let what is held make a share of its updates again."""

    released_share: float = 1.0
    """Above 0; 1 lets it go for good."""


Change = Widen | Narrow | Deepen | Shorten | Freeze | Thaw
ShapeChange = Widen | Narrow | Deepen | Shorten
"""Those that make an event: they change what the network consists of."""


def check_changes(changes: Sequence[Any]) -> None:
    """Raise `NetworkError` where something is no change, or where changes cannot be made as one event."""
    for change in changes:
        if not isinstance(change, Change):
            names = ", ".join(kind.__name__ for kind in get_args(Change))
            raise NetworkError(f"{change!r} is no change of a network: give some of {names}")
        if isinstance(change, Narrow) and change.compensation not in get_args(Compensation):
            raise NetworkError(unknown_name("compensation", change.compensation, get_args(Compensation)))
    if sum(isinstance(change, Widen) for change in changes) > 1:
        raise NetworkError("an event widens once: put all groups that grow into one Widen")


def changes_shape(changes: Sequence[Change]) -> bool:
    """Whether a network is another after these changes, so that they make an event."""
    return any(isinstance(change, ShapeChange) for change in changes)


def recorded(changes: Sequence[Change]) -> dict[str, Any]:
    """What `autogrow.policy.records.GrowthEvent` holds of changes: fields by name."""
    added: dict[str, Any] = {"added_units": {}}
    for change in changes:
        match change:
            case Widen(units):
                added["added_units"] = dict(units)
            case Narrow(units):
                added["removed_units"] = dict(Counter(added.get("removed_units", {})) + _counted(units))
            case Deepen(blocks):
                added["added_blocks"] = dict(Counter(added.get("added_blocks", {})) + Counter(blocks))
            case Shorten(blocks):
                added["removed_blocks"] = dict(Counter(added.get("removed_blocks", {})) + _counted(blocks))
            case Freeze(cohort):
                added["first_trained_cohort"] = cohort
            case Thaw():
                pass  # what is held is said by the event that froze it
            case _:
                assert_never(change)
    return added


def _counted(removed: Mapping[str, int | Sequence[int]]) -> Counter[str]:
    return Counter({name: which if isinstance(which, int) else len(which) for name, which in removed.items()})
