"""How many of what may go have to go until a network is as small as it is to be."""

from torch import nn

from autogrow.errors import NetworkError
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.footprint import footprint, paired_milliseconds
from autogrow.network.running.model_input import ModelInput
from autogrow.policy.shrink_records import Target, shown
from autogrow.policy.unit_removal import Candidates


class UnreachableError(NetworkError):
    """A network cannot be as small as was asked for."""


def size_of(module: nn.Module, metric: str, batch: ModelInput) -> float:
    """What a network has of one of `METRICS`.

    Args:
        batch: Inputs; a latency is of all of them together, with all threads.
    """
    if metric == "latency_ms":
        return paired_milliseconds([module], batch)[0]
    return float(getattr(footprint(module, batch), metric))


def num_to_remove(network: ExpandableNetwork, candidates: Candidates, target: Target, batch: ModelInput) -> int:
    """The fewest units or blocks, the first to go first, without which the network keeps to the target.

    Found by bisection on copies, for a network with fewer of them is never larger. The network is left alone.

    Args:
        batch: See `size_of`.

    Raises:
        UnreachableError: The network would be larger without all that may go; says how large.
    """
    if _size_without(network, candidates, 0, target, batch) <= target.value:
        return 0
    check_reachable(network, candidates, target, batch)
    too_few, enough = 0, len(candidates)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _size_without(network, candidates, middle, target, batch) <= target.value:
            enough = middle
        else:
            too_few = middle
    return enough


def check_reachable(network: ExpandableNetwork, candidates: Candidates, target: Target, batch: ModelInput) -> None:
    """Raises `UnreachableError` where the network is larger than the target without all that may go."""
    smallest = _size_without(network, candidates, len(candidates), target, batch)
    if smallest > target.value:
        raise UnreachableError(
            f"{target} cannot be reached: without all that may go the network has {shown(smallest)}; ask for that or "
            "more"
        )


def _size_without(
    network: ExpandableNetwork, candidates: Candidates, number: int, target: Target, batch: ModelInput
) -> float:
    twin = network.twin()
    if changes := candidates.changes(number):
        twin.apply(changes)
    return size_of(twin.module, target.metric, batch)
