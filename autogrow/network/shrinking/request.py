"""What is known when scores of units are measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from autogrow.network.growable import GrowableNetwork, LossOf
from autogrow.network.running.model_input import ModelInput
from autogrow.policy.unit_scores import UnitScore

Score = TypeVar("Score", bound=UnitScore, covariant=True)


@dataclass(frozen=True)
class Batch:
    """Examples that scores are measured on."""

    inputs: ModelInput
    """On the network's device; examples along the first dimension."""
    loss: LossOf
    """The mean loss, a scalar, of a module on these examples; it runs the module on all of them in one call."""


@dataclass(frozen=True)
class Request(Generic[Score]):
    """One measurement."""

    score: Score
    network: GrowableNetwork
    groups: tuple[str, ...]
    batches: Sequence[Batch]
    """At least one, unless the score takes only weights."""
    seed: int

    def unreadable(self, group: str) -> Tensor:
        """The scores of a group whose units cannot be read."""
        return torch.full((self.network.structure.widths[group],), torch.nan, dtype=torch.float64)


Found = dict[str, list[Tensor]]
"""By group: the scores of its units, (units,) of each batch."""


def nothing_yet(request: Request[UnitScore]) -> Found:
    return {group: [] for group in request.groups}


def mean_over_batches(request: Request[UnitScore], found: Found) -> dict[str, Tensor]:
    """The mean of what batches gave; NaN for groups of which none gave anything."""
    return {
        group: torch.stack(values).mean(0) if values else request.unreadable(group) for group, values in found.items()
    }


def num_examples(batch: Batch) -> int:
    return len(batch.inputs[0] if isinstance(batch.inputs, tuple) else batch.inputs)
