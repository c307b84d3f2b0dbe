"""The scores of units that `autogrow.policy.unit_scores` names, measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autogrow.errors import NetworkError, PolicyError, kind_of
from autogrow.network.growable import GrowableNetwork
from autogrow.network.resizing.unit_changes import growable
from autogrow.network.running.model_input import explained
from autogrow.network.running.plain_mode import plain_mode
from autogrow.network.running.undisturbed import same_random_state
from autogrow.network.shrinking import activation_scores, loss_scores, surgeon_scores, weight_scores
from autogrow.network.shrinking.request import Batch, Request
from autogrow.policy.unit_scores import UnitScore

Measure = Callable[[GrowableNetwork, Sequence[str], Sequence[Batch], int], Mapping[str, Tensor]]
"""What `UnitScore.make_measure` gives: a function of network, groups, batches and seed."""

_MEASURES: Mapping[str, Callable[[Any], dict[str, Tensor]]] = {
    "activation_count": activation_scores.activation_count,
    "activation_outliers": activation_scores.activation_outliers,
    "activation_std": activation_scores.activation_std,
    "fisher": loss_scores.fisher,
    "magnitude": weight_scores.magnitude,
    "optimal_brain_damage": loss_scores.optimal_brain_damage,
    "optimal_brain_surgeon": surgeon_scores.optimal_brain_surgeon,
    "random": weight_scores.random,
    "sensitivity": loss_scores.sensitivity,
    "taylor": loss_scores.taylor,
}


def measure_unit_scores(
    score: UnitScore, network: GrowableNetwork, groups: Iterable[str], batches: Sequence[Batch], seed: int = 0
) -> dict[str, Tensor]:
    """One number for every unit of these groups; larger stays. The network and all random states are left as they were.

    Units are read where they are used: behind the nonlinearity and whatever else lies between a unit and the weights
    that read it. All columns of a unit (a flattened image has one for each position) and all of its readers are one
    reading. Of a group with a reader that cannot be seen (in a recurrent layer or `nn.MultiheadAttention`), activations
    are read at the outputs of its norms, or of the layers that hold its units. Everything is in eval mode.

    Args:
        score: Which score, with its settings.
        network: What is measured; passes run on a copy.
        groups: Names of the groups, which must be ones that can change.
        batches: What is measured on; scores are averaged over them. May be empty for a score that takes only weights.
        seed: Of random scores, and of whatever the loss draws.

    Returns:
        By group, in double precision on the CPU: (width,). All NaN for a group whose units cannot be read.

    Raises:
        NetworkError: An unknown or fixed group, no batches for a score that takes inputs, or a network or loss that
            fails on them.
    """
    names = tuple(growable(network.structure, name).name for name in groups)
    if score.takes != "weights" and not batches:
        raise NetworkError(f"unit score {score.kind!r} takes {score.takes}: give at least one batch")
    request = Request(score, network, names, batches, seed)
    # Neither inference mode nor autocast of the caller's: gradients are needed, and a loss may set its own.
    with plain_mode(), explained(f"unit score {score.kind!r} cannot be measured"), same_random_state(network.module):
        found = _MEASURES[score.kind](request) if score.kind in _MEASURES else _by_others(request)
    return {name: found[name].detach().to("cpu", torch.float64) for name in names}


def _by_others(request: Request[UnitScore]) -> Mapping[str, Tensor]:
    """What the measure of an installed package gives, checked."""
    measure: Measure = request.score.make_measure()
    found = measure(request.network, request.groups, request.batches, request.seed)
    for name in request.groups:
        scores, width = found.get(name), request.network.structure.widths[name]
        if not isinstance(scores, Tensor) or tuple(scores.shape) != (width,):
            given = tuple(scores.shape) if isinstance(scores, Tensor) else kind_of(scores)
            raise PolicyError(
                f"unit score {request.score.kind!r} gives {given} for group {name!r}: give a tensor of shape ({width},)"
            )
    return found
