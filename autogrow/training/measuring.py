"""When samples are taken and on which examples: fixed for a whole run, equal numbers of train and validation."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.batches import BatchSource, stream_seed

SAMPLES_PER_RUN = 100
MAX_SAMPLE_EVERY = 100
SMALLEST_SAMPLE = 256
"""Predictions: of a text, two windows of 128 tokens say as much."""
TIMED_BATCH = 128
"""Training examples whose forward pass is timed for a limit of latency."""
FIXED_BATCH = 128
"""Training examples on which activations, norm statistics and output changes are measured."""


@dataclass(frozen=True)
class Measuring:
    """The measuring plan of one run. Indices are drawn once, so that successive samples can be compared."""

    sample_every: int
    """Steps between two samples; of the full-size network, where the run's length is compute and none are set."""
    train_indices: Tensor
    validation_indices: Tensor | None
    _shuffled_train: Tensor

    @classmethod
    def plan(
        cls,
        settings: TrainingSettings,
        num_steps: int,
        batch_size: int,
        train: BatchSource,
        validation: BatchSource | None,
        seed: int,
    ) -> "Measuring":
        """Defaults: about 100 samples per run, at least one every 100 steps (the thesis' interval), each on about half
        as many examples as were trained on since the last, so that measuring costs about a third of training."""
        every = settings.sample_every or sample_interval(num_steps)
        smallest = math.ceil(SMALLEST_SAMPLE / train.predictions_per_example)
        size = settings.sample_size or max(smallest, every * batch_size // 2)
        size = min(size, len(train), len(validation) if validation else len(train))
        shuffled = _permutation(train, seed, "train sample")
        chosen = _permutation(validation, seed, "validation sample")[:size] if validation else None
        return cls(every, shuffled[:size], chosen, shuffled)

    def first(self, number: int) -> Tensor:
        """The first `number` training examples, or all where there are fewer; the same ones throughout the run."""
        return self._shuffled_train[:number]

    def matched_train_indices(self, validation: BatchSource | None) -> Tensor:
        """As many training examples as there are validation examples; all where there is no validation."""
        return self._shuffled_train[: len(validation)] if validation else self._shuffled_train


def sample_interval(num_steps: int) -> int:
    """Steps between two samples where the settings leave it open."""
    return max(1, min(MAX_SAMPLE_EVERY, math.ceil(num_steps / SAMPLES_PER_RUN)))


def expected_samples(num_steps: int, sample_every: int | None) -> int:
    """How many samples a run of `num_steps` takes."""
    return math.ceil(num_steps / (sample_every or sample_interval(num_steps)))


def _permutation(examples: BatchSource, seed: int, stream: str) -> Tensor:
    generator = torch.Generator().manual_seed(stream_seed(seed, stream, 0))
    return torch.randperm(len(examples), generator=generator).to(examples.device)
