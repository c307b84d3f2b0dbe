"""The statistics that layer selections ask for by name, measured. What they mean is said in `autogrow.policy`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from autogrow.network.growable import GrowableNetwork, LossOf
from autogrow.network.measuring.activations import activation_std, rank
from autogrow.network.measuring.gradient_gain import gradient_gain
from autogrow.network.measuring.sensitivity import sensitivity
from autogrow.network.running.model_input import ModelInput
from autogrow.network.running.norm_statistics import measure_new_statistics
from autogrow.policy.layer_selection import LayerSelection, Sensitivity

__all__ = ["STATISTICS", "measure_new_statistics", "measure_statistic"]


@dataclass(frozen=True)
class _Request:
    """What is known when a statistic is measured; each uses its part of it."""

    selection: LayerSelection
    network: GrowableNetwork
    growable: Mapping[str, int]
    batch: ModelInput
    loss: LossOf
    seed: int


def _activation_std(request: _Request) -> dict[str, float]:
    return activation_std(request.network, request.growable, request.batch)


def _rank(request: _Request) -> dict[str, float]:
    return rank(request.network, request.growable, request.batch)


def _sensitivity(request: _Request) -> dict[str, float]:
    settings = cast(Sensitivity, request.selection)
    return sensitivity(
        request.network,
        request.growable,
        request.loss,
        noise=settings.noise,
        repeats=settings.repeats,
        seed=request.seed,
    )


def _gradient_gain(request: _Request) -> dict[str, float]:
    return gradient_gain(request.network, request.growable, request.loss, request.batch)


STATISTICS: Mapping[str, Callable[[_Request], dict[str, float]]] = {
    "activation_std": _activation_std,
    "gradient_gain": _gradient_gain,
    "rank": _rank,
    "sensitivity": _sensitivity,
}
"""By the names that `LayerSelection.statistic` may have. `probe` trains copies of a run, which a network cannot."""


def measure_statistic(
    selection: LayerSelection,
    network: GrowableNetwork,
    growable: Mapping[str, int],
    batch: ModelInput,
    loss: LossOf,
    seed: int,
) -> dict[str, float]:
    """The statistic that a layer selection asks for, of every group that can grow; larger grows first.

    The network is left exactly as it was, and so are all random states.

    Args:
        selection: Names the statistic and has its settings.
        network: What is measured.
        growable: Units that one event would add, by name of the groups to measure.
        batch: Inputs, on the network's device.
        loss: The loss of a module on a fixed batch with targets.
        seed: For statistics that draw something.

    Returns:
        A value by group name, NaN where a group has none; empty for a selection that asks for no statistic.

    Raises:
        ValueError: The statistic is not one that can be read off a network.
    """
    if selection.statistic is None:
        return {}
    if selection.statistic not in STATISTICS:
        raise ValueError(
            f"{selection.statistic!r} is not measured on a network; those that are: {', '.join(sorted(STATISTICS))}"
        )
    return STATISTICS[selection.statistic](_Request(selection, network, growable, batch, loss, seed))
