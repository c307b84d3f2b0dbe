"""One autoencoder, trained in cycles, at whose ends units go: by a threshold as in the second thesis, or to a size."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autogrow.data.dataset import Dataset
from autogrow.errors import TrainingDivergedError
from autogrow.experiments.reproduction.removal_rules import units_to_remove
from autogrow.export.testing import plain
from autogrow.models.building import ModelSpec
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.footprint import footprint
from autogrow.policy.changes import Compensation, Narrow
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_records import Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_scores import UnitScore
from autogrow.training.assembly import fresh_network
from autogrow.training.batches import stream_seed
from autogrow.training.example_input import example_of
from autogrow.training.shrinking import Shrinker
from autogrow.training.training_data import TrainingData

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Lengths:
    """In passes over the training images."""

    cycles: int = 6
    """Each of one pass at a constant rate, at whose end units go."""
    last: int = 3
    """With a rate that falls to zero."""
    calibration_examples: int = 200
    """Of training, that units are scored on."""


@dataclass(frozen=True)
class Pruning:
    """What one condition does."""

    channels: tuple[int, ...]
    """That it begins with."""
    score: UnitScore | None = None
    """By what units go; None: all stay."""
    final_channels: tuple[int, ...] | None = None
    """A network whose FLOPs it is to come to, by equal factors at the ends of all cycles; None: those units go whose
    score is not above 0, as many as they are."""
    compensation: Compensation = "none"
    distortion: float = 0.0
    """As `Recovery` has it, at the start of every cycle."""
    activation_penalty: float = 0.0
    """As `Recovery` has it, in all cycles."""

    def to_dict(self) -> dict[str, Any]:
        score = None if self.score is None else self.score.describe()
        return {**vars(self), "score": score}


@dataclass(frozen=True)
class Cycle:
    """The state at the end of a cycle's training, before units went."""

    units: tuple[int, ...]
    """By layer, from the image on, but for the last, whose channels are the image's."""
    validation_loss: float | None


@dataclass(frozen=True)
class PrunedAutoencoder:
    """What a condition came to under one seed. Losses are None where the training has diverged."""

    units: tuple[int, ...]
    validation_loss: float | None
    validation_score: float | None
    """R² over all values."""
    parameters: int
    flops: float
    """Of one image's forward pass."""
    cycles: tuple[Cycle, ...]


class AutoencoderRun:
    """One condition under one seed.

    Args:
        data: With a validation split, on which networks are read and by which nothing is chosen.
        seed: Of the first weights, the order of batches, distortions and random scores.
    """

    def __init__(
        self, pruning: Pruning, dataset: Dataset, data: TrainingData, training: TrainingSettings, lengths: Lengths,
        seed: int,
    ) -> None:  # fmt: skip
        self._pruning, self._dataset, self._data = pruning, dataset, data
        self._training, self._lengths, self._seed = training, lengths, seed
        self._network = ExpandableNetwork(self._fresh(pruning.channels), example_of(dataset, CPU))

    def run(self) -> PrunedAutoencoder:
        cycles: list[Cycle] = []
        pruning = self._pruning
        constant = Recovery(
            epochs=1,
            warmup_share=0.0,
            decay_share=0.0,
            optimizer_state="reset",
            distortion=pruning.distortion,
            activation_penalty=pruning.activation_penalty,
        )
        sizes = self._sizes()
        try:
            for number, target in enumerate(sizes):
                shrinker = self._shrinker(number)
                shrinker.recover(constant)
                cycles.append(Cycle(self._units, plain(shrinker.metrics().loss)))
                self._remove(shrinker, target)
            shrinker = self._shrinker(len(sizes))
            shrinker.recover(
                Recovery(epochs=self._lengths.last, warmup_share=0.0, decay_share=1.0, optimizer_state="reset")
            )
        except TrainingDivergedError:
            taken = footprint(self._network.module, shrinker.inputs[:2])
            return PrunedAutoencoder(self._units, None, None, taken.parameters, taken.flops, tuple(cycles))
        taken, found = shrinker.footprint(), shrinker.metrics()
        return PrunedAutoencoder(
            units=self._units,
            validation_loss=plain(found.loss),
            validation_score=plain(found.score),
            parameters=taken.parameters,
            flops=taken.flops,
            cycles=tuple(cycles),
        )

    @property
    def _units(self) -> tuple[int, ...]:
        return tuple(self._network.widths.values())

    def _fresh(self, channels: tuple[int, ...]) -> nn.Module:
        return fresh_network(ModelSpec("autoencoder", {"channels": channels}), self._dataset, self._seed)

    def _sizes(self) -> list[Target | None]:
        """What is come to at the end of each cycle; None where no size is wanted."""
        final, cycles = self._pruning.final_channels, self._lengths.cycles
        if final is None:
            return [None] * cycles
        example = example_of(self._dataset, CPU)
        start, end = (footprint(module, example).flops for module in (self._network.module, self._fresh(final)))
        return [Target("flops", size) for size in Shrinking(cycles=cycles).sizes(start, end)]

    def _shrinker(self, number: int) -> Shrinker:
        """With an order of batches, and a distortion, of this cycle's own."""
        shrinking = Shrinking(
            **({} if self._pruning.score is None else {"score": self._pruning.score}),
            compensation=self._pruning.compensation,
            calibration_examples=self._lengths.calibration_examples,
        )
        seed = stream_seed(self._seed, "cycle", number)
        return Shrinker(self._network, self._data, shrinking, self._training, seed=seed, device=CPU)

    def _remove(self, shrinker: Shrinker, target: Target | None) -> None:
        if self._pruning.score is None:
            return
        if target is not None:
            shrinker.remove(target)
            return
        found = {
            name: units_to_remove(torch.from_numpy(scores), 0.0) for name, scores in shrinker.unit_scores().items()
        }
        removed = {name: sorted(units) for name, units in found.items() if units}
        if removed:
            self._network.apply([Narrow(removed, self._pruning.compensation)], calibration_input=shrinker.inputs)
