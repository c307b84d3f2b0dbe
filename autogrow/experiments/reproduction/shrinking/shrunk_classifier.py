"""One classifier, shrunk by every score from the same trained weights: sizes one after the other, each trained on."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from autogrow.data.dataset import Dataset
from autogrow.errors import TrainingDivergedError
from autogrow.export.testing import plain
from autogrow.models.building import ModelSpec
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.footprint import footprint, paired_milliseconds
from autogrow.network.running.copying import copied
from autogrow.policy.changes import Compensation
from autogrow.policy.presets import static_policy
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_records import Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_scores import Random, UnitScore
from autogrow.training.assembly import assemble, fresh_network
from autogrow.training.evaluation import Metrics
from autogrow.training.shrinking import Shrinker
from autogrow.training.training_data import TrainingData

COMPENSATION: Compensation = "constants"
"""Biases take up what removed units are on average. Refitted by least squares, autogrow's default, scores
are hardly told apart (docs/negatives.md, 2026-11-28), and this is about scores."""
SHARES = (1 / 2, 1 / 4, 1 / 8)
"""Of the untouched network's FLOPs, one after the other."""


@dataclass(frozen=True)
class Lengths:
    """How long is trained, and what scores are measured on."""

    training: TrainingSettings
    recovery: Recovery
    """After each size."""
    calibration_examples: int


@dataclass(frozen=True)
class Size:
    """A network after one removal and the training that followed; of the untouched one, after that training alone."""

    units: tuple[int, ...]
    """By layer, from the image on."""
    score_before_recovery: float | None
    """On validation examples, as the next two; None where a number is none."""
    validation_score: float | None
    validation_loss: float | None
    parameters: int
    flops: float
    """Of one example's forward pass."""
    bytes: int
    milliseconds: float
    """Of a forward pass of 64 examples: the median of rounds in which all sizes and the untouched one took turns."""
    milliseconds_untouched: float


@dataclass(frozen=True)
class ShrunkClassifier:
    """What one score came to under one seed."""

    sizes: tuple[Size, ...]
    """By `SHARES`; of the untouched network also the one before it was trained on, which comes first. Fewer where
    training on diverged."""


@dataclass(frozen=True)
class _Reached:
    """A network, and what validation says of it."""

    module: nn.Module
    units: tuple[int, ...]
    score_before_recovery: float
    validation: Metrics


class TrainedClassifier:
    """The network of one seed, trained when it is first asked for, and shrunk by any score.

    Args:
        data: With a validation split, on which networks are read and by which nothing is chosen.
        seed: Of the first weights, the order of batches, which examples scores are measured on, and random scores.
    """

    def __init__(self, model: ModelSpec, dataset: Dataset, data: TrainingData, lengths: Lengths, seed: int) -> None:
        self._model, self._dataset, self._data, self._lengths, self._seed = model, dataset, data, lengths, seed
        self._device = torch.device("cpu")

    @cached_property
    def _trained(self) -> ExpandableNetwork:
        module = fresh_network(self._model, self._dataset, self._seed)
        trainer = assemble(
            module, self._dataset, self._data, static_policy(), self._lengths.training,
            seed=self._seed, device=self._device,
        )  # fmt: skip
        trainer.run()
        trainer.network.detach(trainer.optimizer)
        return trainer.network

    def shrunk(self, score: UnitScore | None) -> ShrunkClassifier:
        """By a score; None: the untouched network, trained on as long as the others."""
        network = self._trained.twin()
        shrinking = Shrinking(
            score=score or Random(),
            compensation=COMPENSATION,
            recovery=self._lengths.recovery,
            calibration_examples=self._lengths.calibration_examples,
        )
        shrinker = Shrinker(
            network, self._data, shrinking, self._lengths.training, seed=self._seed, device=self._device
        )
        reached = [] if score is not None else [_reached(shrinker, shrinker.metrics().score)]
        full = shrinker.footprint().flops
        for share in SHARES:
            if score is not None:
                shrinker.remove(Target("flops", share * full))
            before = shrinker.metrics().score
            try:
                shrinker.recover(shrinking.recovery)
            except TrainingDivergedError:
                break
            reached.append(_reached(shrinker, before))
        return ShrunkClassifier(self._sizes(reached, shrinker))

    def _sizes(self, reached: list[_Reached], shrinker: Shrinker) -> tuple[Size, ...]:
        """The networks, measured by turns."""
        modules = [each.module for each in reached]
        untouched, *times = paired_milliseconds([self._trained.module, *modules], shrinker.inputs)
        sizes = []
        for each, milliseconds in zip(reached, times, strict=True):
            taken = footprint(each.module, shrinker.inputs[:2])
            sizes.append(
                Size(
                    units=each.units,
                    score_before_recovery=plain(each.score_before_recovery),
                    validation_score=plain(each.validation.score),
                    validation_loss=plain(each.validation.loss),
                    parameters=taken.parameters,
                    flops=taken.flops,
                    bytes=taken.bytes,
                    milliseconds=milliseconds,
                    milliseconds_untouched=untouched,
                )
            )
        return tuple(sizes)


def _reached(shrinker: Shrinker, before: float) -> _Reached:
    """The network as it is now, which goes on to the next size."""
    network = shrinker.network
    return _Reached(copied(network.module), tuple(network.widths.values()), before, shrinker.metrics())
