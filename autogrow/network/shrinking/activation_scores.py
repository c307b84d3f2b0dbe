"""Scores of units by their activations: how often they are active, and how much they vary."""

from collections.abc import Callable

import torch
from torch import Tensor

from autogrow.network.running.copying import copied
from autogrow.network.running.model_input import run
from autogrow.network.running.undisturbed import undisturbed
from autogrow.network.shrinking.request import Found, Request, mean_over_batches, nothing_yet
from autogrow.network.shrinking.unit_places import Passing, UnitPlaces
from autogrow.policy.unit_scores import ActivationCount, ActivationOutliers, UnitScore


def activation_count(request: Request[ActivationCount]) -> dict[str, Tensor]:
    """Share of positions and examples at which each unit is active."""
    return _shares(request, request.score.threshold)


def activation_outliers(request: Request[ActivationOutliers]) -> dict[str, Tensor]:
    """The shares, standardized over the units of each group, above the limit of outliers."""
    shares = _shares(request, request.score.threshold)
    return {group: _standardized(values) + request.score.deviations for group, values in shares.items()}


def activation_std(request: Request[UnitScore]) -> dict[str, Tensor]:
    """Standard deviation of each unit over positions and examples of a batch."""
    return _over_batches(request, lambda rows: rows.std(0, correction=0))


def _shares(request: Request[UnitScore], threshold: float) -> dict[str, Tensor]:
    def share(rows: Tensor) -> Tensor:
        # NaN is above no threshold, but the units of a network that has diverged are not ones that are never active.
        return torch.where(rows.isnan(), rows, (rows.abs() > threshold).double()).mean(0)

    return _over_batches(request, share)


def _standardized(values: Tensor) -> Tensor:
    spread = values.std(correction=0)
    return (values - values.mean()) / torch.where(spread == 0, torch.ones_like(spread), spread)


def _over_batches(request: Request[UnitScore], statistic: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The mean, over batches, readers and calls, of a statistic of units: (positions, units) to (units,)."""
    found = nothing_yet(request)
    module = copied(request.network.module)
    with undisturbed(module):
        first = request.batches[0]
        places = UnitPlaces(module, request.network.structure, request.groups, lambda: run(module, first.inputs))
        for batch in request.batches:
            readings = nothing_yet(request)

            def on_units(passing: Passing, readings: Found = readings) -> None:
                for group in passing.columns:
                    readings[group].append(statistic(passing.rows(group).double()).cpu())

            with places.watched(on_units):
                run(module, batch.inputs)
            for group, values in readings.items():
                found[group] += [torch.stack(values).mean(0)] if values else []
    return mean_over_batches(request, found)
