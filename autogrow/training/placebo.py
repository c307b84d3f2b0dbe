"""An event that adds nothing: a run is disturbed as by a growth event, and its network keeps its size."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Placebo:
    """What happens to a run after one of its steps. Before it, the run is bit for bit the one that it copies.

    The order of the examples that are left of the epoch, that of all epochs after it, and the draws of augmentation are
    other ones; so the two runs end apart by what chance does from that step on. The learning rate stays the run's own.
    """

    step: int
    """Steps that are taken before it, at least 1."""
    resets_optimizer: bool = False
    """Whether the optimizer starts afresh there, as it does at the events of some policies."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
