"""How many units of an order have to go until a network is as small as it is to be."""

from collections.abc import Sequence

from torch import nn

from autogrow.errors import NetworkError
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.footprint import footprint, paired_milliseconds
from autogrow.network.running.model_input import ModelInput
from autogrow.policy.changes import Narrow
from autogrow.policy.shrink_records import Target, shown
from autogrow.policy.unit_removal import removed_units


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


def num_to_remove(
    network: ExpandableNetwork,
    order: Sequence[tuple[str, int]],
    target: Target,
    batch: ModelInput,
) -> int:
    """The fewest units, from the start of an order, without which the network keeps to the target.

    Found by bisection on copies, for a network with fewer units is never larger. The network is left alone.

    Args:
        batch: See `size_of`.

    Raises:
        UnreachableError: The network would be larger without all units of the order; says how large.
    """
    if _size_without(network, order, 0, target, batch) <= target.value:
        return 0
    check_reachable(network, order, target, batch)
    too_few, enough = 0, len(order)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _size_without(network, order, middle, target, batch) <= target.value:
            enough = middle
        else:
            too_few = middle
    return enough


def check_reachable(
    network: ExpandableNetwork, order: Sequence[tuple[str, int]], target: Target, batch: ModelInput
) -> None:
    """Raises `UnreachableError` where the network is larger than the target without all units of the order."""
    smallest = _size_without(network, order, len(order), target, batch)
    if smallest > target.value:
        raise UnreachableError(
            f"{target} cannot be reached: without all units that may go the network has {shown(smallest)}; ask for "
            "that or more"
        )


def _size_without(
    network: ExpandableNetwork, order: Sequence[tuple[str, int]], number: int, target: Target, batch: ModelInput
) -> float:
    twin = network.twin()
    if number:
        twin.apply([Narrow(removed_units(list(order), number))])
    return size_of(twin.module, target.metric, batch)
