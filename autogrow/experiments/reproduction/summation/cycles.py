"""Cycles of training, scoring and removing the units of one hidden layer, as in Network Trimming (Hu et al. 2016).

Source: Çallı 2017 (Optimizing Neural Networks for Mobile Devices), 2.8.1; Hu et al., arXiv 1607.03250. The training is
a plain loop, because what the thesis adds to it (distorted weights, a penalty on activations) is for this layer alone.
"""

import copy
import time
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from autogrow.data.dataset import Dataset
from autogrow.experiments.reproduction.removal_rules import units_to_remove
from autogrow.export.testing import plain, read_test_split
from autogrow.models.building import ModelSpec
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.shrinking.request import Batch
from autogrow.network.shrinking.unit_scores import measure_unit_scores
from autogrow.policy.changes import Compensation, Narrow
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_scores import ActivationCount, UnitScore
from autogrow.tasks import Task
from autogrow.training.assembly import fresh_network
from autogrow.training.batches import BatchOrder, stream_seed
from autogrow.training.evaluation import evaluate
from autogrow.training.example_input import example_of
from autogrow.training.optimizers import make_optimizer
from autogrow.training.training_data import TrainingData

TRAINING = TrainingSettings(
    epochs=10,
    batch_size=1000,
    optimizer="sgd",
    learning_rate=0.01,
    momentum=0.3,
    learning_rate_schedule="constant",
)
"""Thesis, 2.7.1, on a million examples."""
WANTED_LOSS = 1e-6
MOST_TRIED = 4
"""Sizes, the smallest first, that are trained to the end in search of one that has the wanted loss."""
FEW_UNITS = 3
"""Of which the weights are kept."""
SCORED_BATCHES = 20
"""Of training examples, on which units are scored."""


@dataclass(frozen=True)
class Lengths:
    """In training steps."""

    all_steps: int = 10_000
    """Ten passes over a million examples, as in the thesis; trying a larger size again adds to it."""
    cycle: int = 1000
    """Of one cycle in which units that are never active go."""
    short_cycle: int = 500
    """Of one cycle in which a share of the units goes."""


@dataclass(frozen=True)
class Pruning:
    """What one condition does."""

    num_units: int
    score: UnitScore | None = ActivationCount()
    """By what units go; None: all stay."""
    share: float = 0.0
    """Of the units that go in a cycle, those with the lowest scores; 0: those of score 0, until there is none. See
    `units_to_remove`."""
    compensation: Compensation = "none"
    """What the rest does for those that go, see `autogrow.policy.changes.Narrow`."""
    distorts: bool = False
    """Whether the hidden layer's weights are moved by ``rand * (1 - var)`` at the start of every cycle."""
    activation_penalty: float = 0.0
    """Times the mean over examples of the sum of activations, added to the loss in all cycles."""


@dataclass(frozen=True)
class Cycle:
    """The state at the end of a cycle's training, before units went."""

    steps: int
    units: int
    validation_loss: float | None
    """None where the training has diverged, as in the next record."""


@dataclass(frozen=True)
class PrunedRun:
    """What a condition came to under one seed."""

    units: int
    validation_loss: float | None
    test_loss: float | None
    steps: int
    train_seconds: float
    cycles: tuple[Cycle, ...]
    tried_units: tuple[int, ...] = ()
    """Sizes that were trained to the end and missed the wanted loss, the smallest first."""
    left: tuple[tuple[float, ...], ...] = ()
    """Of few units: for each the weights of the two standardized inputs, its bias, and the weight of what it gives."""

    @property
    def has_diverged(self) -> bool:
        return self.validation_loss is None or self.test_loss is None

    @property
    def met(self) -> bool:
        """Whether the loss is below the wanted one, on validation examples, by which sizes are chosen, and on test."""
        losses = self.validation_loss, self.test_loss
        return all(loss is not None and loss < WANTED_LOSS for loss in losses)


class PruningRun:
    """One condition under one seed.

    Args:
        dataset: Its test split is read once, at the end.
        data: Targets as they are, not standardized.
        seed: Of the first weights, the order of batches, distortions and random scores.
    """

    def __init__(self, pruning: Pruning, dataset: Dataset, data: TrainingData, lengths: Lengths, seed: int) -> None:
        assert data.validation is not None
        self._pruning, self._dataset, self._data, self._lengths, self._seed = pruning, dataset, data, lengths, seed
        model = ModelSpec("mlp", {"hidden": (pruning.num_units,), "batch_norm": False})
        self._module = fresh_network(model, dataset, seed)
        self._train = data.on(data.train, torch.device("cpu"))
        self._validation = data.on(data.validation, torch.device("cpu"))
        self._order = BatchOrder(len(self._train), TRAINING.batch_size, seed, torch.device("cpu"))
        self._scored_examples = torch.arange(min(SCORED_BATCHES * TRAINING.batch_size, len(self._train)))
        # Not the seed itself: the first weights are drawn from that, and would be moved by the very same numbers.
        self._random = torch.Generator().manual_seed(stream_seed(seed, "distortion", 0))
        self._steps = 0
        self._seconds = 0.0

    def run(self) -> PrunedRun:
        cycles, candidates = self._cycles()
        if cycles and cycles[-1].validation_loss is None:
            return PrunedRun(_width(self._module), None, None, self._steps, self._seconds, cycles)
        length = max(1, self._lengths.all_steps - self._steps)
        widths: list[int] = []
        for module in candidates[:MOST_TRIED]:
            self._train_on(module, length, penalty=0.0)
            widths.append(_width(module))
            loss = self._loss(module)
            if loss is not None and loss < WANTED_LOSS:
                break
        return PrunedRun(
            units=widths[-1],
            validation_loss=loss,
            test_loss=plain(read_test_split(module, self._dataset, self._data.normalization).loss),
            steps=self._steps,
            train_seconds=self._seconds,
            cycles=cycles,
            tried_units=tuple(widths[:-1]),
            left=_units_of(module) if widths[-1] <= FEW_UNITS else (),
        )

    def _cycles(self) -> tuple[tuple[Cycle, ...], list[nn.Module]]:
        """All cycles, and the networks that are trained to the end, the smallest first, until one has the loss."""
        pruning, lengths = self._pruning, self._lengths
        if pruning.score is None:
            return (), [self._module]
        length = lengths.short_cycle if pruning.share else lengths.cycle
        cycles: list[Cycle] = []
        larger: list[nn.Module] = []
        while _width(self._module) > 1 and self._steps + 2 * length <= lengths.all_steps:
            if pruning.distorts:
                self._distort()
            self._train_on(self._module, length, pruning.activation_penalty)
            loss = self._loss(self._module)
            cycles.append(Cycle(self._steps, _width(self._module), loss))
            removed = [] if loss is None else self._removed(pruning.score)
            if not removed:
                break
            if pruning.share:
                larger.append(copy.deepcopy(self._module))
            self._remove(removed)
        return tuple(cycles), [self._module, *reversed(larger)]

    def _removed(self, score: UnitScore) -> list[int]:
        """Numbers of the units that go, never all of them."""
        network = self._network()
        (group,) = network.groups
        scores = measure_unit_scores(score, network, [group.name], self._scored(), self._seed + self._steps)[group.name]
        return units_to_remove(scores, self._pruning.share)

    def _remove(self, units: list[int]) -> None:
        network = self._network()
        (group,) = network.groups
        inputs, _ = self._train.batch(self._scored_examples)
        network.apply([Narrow({group.name: sorted(units)}, self._pruning.compensation)], calibration_input=inputs)

    def _network(self) -> ExpandableNetwork:
        """Around the module, whose present width is its full one."""
        return ExpandableNetwork(self._module, example_of(self._dataset, torch.device("cpu")))

    def _scored(self) -> list[Batch]:
        """Training examples, the same in every cycle."""
        batches = []
        for part in self._scored_examples.split(TRAINING.batch_size):
            inputs, targets = self._train.batch(part)
            loss = partial(_loss_on, self._data.task, inputs, targets)
            batches.append(Batch(inputs, loss))
        return batches

    def _distort(self) -> None:
        """Thesis, 2.8.1: ``rand(weights.shape) * (1 - var(weights))`` is added, where the variance is below 1."""
        weight = _layers(self._module)[0].weight.detach()
        share = max(0.0, 1 - float(weight.var(correction=0)))
        weight += share * torch.rand(weight.shape, generator=self._random)

    def _train_on(self, module: nn.Module, num_steps: int, penalty: float) -> None:
        hidden, last = _layers(module)
        optimizer = make_optimizer(module, TRAINING)
        task, started = self._data.task, time.perf_counter()
        for step in range(self._steps, self._steps + num_steps):
            inputs, targets = self._train.batch(self._order.indices(step))
            activations = hidden(inputs).relu()
            loss = task.loss(last(activations), targets)
            if penalty:
                loss = loss + penalty * activations.sum(1).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        self._steps += num_steps
        self._seconds += time.perf_counter() - started

    def _loss(self, module: nn.Module) -> float | None:
        """On all validation examples; None where it is no number."""
        return plain(evaluate(self._data.task, module, self._validation).loss)


def _layers(module: nn.Module) -> tuple[nn.Linear, nn.Linear]:
    """The hidden layer and the last one."""
    hidden, last = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    return hidden, last


def _width(module: nn.Module) -> int:
    return _layers(module)[0].out_features


def _units_of(module: nn.Module) -> tuple[tuple[float, ...], ...]:
    hidden, last = _layers(module)
    rows = torch.cat([hidden.weight, hidden.bias[:, None], last.weight.T], 1).tolist()
    return tuple(tuple(float(f"{value:.4g}") for value in row) for row in rows)


def _loss_on(task: Task, inputs: Tensor, targets: Tensor, module: nn.Module) -> Tensor:
    return task.loss(module(inputs), targets)


def shortened(lengths: Lengths, num_steps: int) -> Lengths:
    """As many cycles in a shorter training, for a quick look."""
    share = num_steps / lengths.all_steps
    return replace(
        lengths,
        all_steps=num_steps,
        cycle=max(1, round(share * lengths.cycle)),
        short_cycle=max(1, round(share * lengths.short_cycle)),
    )
