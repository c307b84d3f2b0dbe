"""Optimal brain surgeon for units: the error that is left in what reads a unit when the other units make up for it."""

from torch import Tensor

from autogrow.network.shrinking.reader_regression import errors_without_units, measure_moments
from autogrow.network.shrinking.request import Request
from autogrow.policy.unit_scores import OptimalBrainSurgeon


def optimal_brain_surgeon(request: Request[OptimalBrainSurgeon]) -> dict[str, Tensor]:
    """Smallest mean squared change of what the readers compute without each unit, summed over readers and outputs."""
    found: dict[str, Tensor] = {}
    moments = measure_moments(request.network, request.groups, [batch.inputs for batch in request.batches])
    for reader in moments:
        for group in reader.columns:
            errors = errors_without_units(reader, group, request.score.damping)
            found[group] = found[group] + errors if group in found else errors
    return {group: found.get(group, request.unreadable(group)) for group in request.groups}
