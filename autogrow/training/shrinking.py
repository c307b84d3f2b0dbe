"""Shrinking one network: remove what matters least until a size is kept to, train on, see what that did."""

import math
import time
from collections.abc import Callable

import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.footprint import footprint, latencies
from autogrow.network.optimizer.optimizer_state import OptimizerState, give_state
from autogrow.network.running.copying import copied
from autogrow.policy.execution import Execution
from autogrow.policy.records import Sample
from autogrow.policy.recovery import Recovery
from autogrow.policy.removals import RemoveWeights
from autogrow.policy.shrink_records import Footprint, Latency, ShrinkStep, Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_removal import FloatArray
from autogrow.training.batches import BatchSource, stream_seed
from autogrow.training.ending import Signal, TrainingOutcome
from autogrow.training.evaluation import Metrics, evaluate
from autogrow.training.optimizers import make_optimizer
from autogrow.training.records import TrialFolder
from autogrow.training.recovery import RecoveryRun
from autogrow.training.removing import Removed, Remover
from autogrow.training.training_data import TrainingData

NOT_TRAINED_ON = "training on made validation worse: left out"


class UnjudgedError(NetworkError):
    """Validation says nothing of a network: its loss or score is not finite."""


class Shrinker:
    """Takes the steps of shrinking one network, in place.

    Args:
        network: Trained; on `device`.
        data: With a validation split that the network has not learnt from.
        trained_with: The settings that it was trained with.
        teacher: What distillation learns from; None: the network as it is now.
        optimizer_state: By parameter, what the optimizer that trained it has learnt, where that is known.
        seed: Of the order of batches, and of whatever scores draw.

    Raises:
        NetworkError: Nothing of the network can be removed.
    """

    def __init__(
        self,
        network: ExpandableNetwork,
        data: TrainingData,
        shrinking: Shrinking,
        trained_with: TrainingSettings,
        *,
        teacher: nn.Module | None = None,
        optimizer_state: OptimizerState | None = None,
        seed: int = 0,
        device: torch.device,
        execution: Execution = Execution(),
    ) -> None:
        assert data.validation is not None
        self.network = network
        self.optimizer_state = optimizer_state or {}
        self.shrinking, self.data = shrinking, data
        if teacher is None and shrinking.recovery.distillation:
            teacher = copied(network.module)
        self._trained_with, self._teacher = trained_with, teacher
        self._seed, self._device, self._execution = seed, device, execution
        self._train = data.on(data.train, device)
        self._validation = data.on(data.validation, device)
        calibration = _calibration(self._train, shrinking.calibration_examples, seed)
        self._remover = Remover(shrinking, self._train, data.task, calibration, seed)
        self._remover.check(network)
        self.fixed = self._remover.fixed(network)
        """Groups that no unit is taken from, and why."""

    @property
    def inputs(self) -> torch.Tensor:
        """Training inputs on which sizes and latencies are measured."""
        return self._remover.inputs

    def footprint(self) -> Footprint:
        return footprint(self.network.module, self.inputs[:2])

    def latencies(self) -> tuple[Latency, ...]:
        return latencies([self.network.module], self.inputs)[0]

    def metrics(self) -> Metrics:
        """On all validation examples."""
        return evaluate(self.data.task, self.network.module, self._validation, execution=self._execution)

    def _judged(self) -> Metrics:
        """The same. Raises `UnjudgedError` where they say nothing."""
        found = self.metrics()
        if not (math.isfinite(found.loss) and math.isfinite(found.score)):
            raise UnjudgedError(
                f"validation score {found.score:g}, loss {found.loss:g} ({len(self._validation)} examples): the "
                "network cannot be judged by these; give other examples as --holdout, or mend its weights"
            )
        return found

    def before(self) -> ShrinkStep:
        """The network as it is, without a step."""
        metrics = self._judged()
        return ShrinkStep(
            name="before",
            target="",
            removed_units={},
            widths=self.network.widths,
            blocks=self.blocks,
            score=metrics.score,
            loss=metrics.loss,
            footprint=self.footprint(),
            latencies=self.latencies(),
        )

    def remove(self, target: Target) -> Removed:
        """Remove the worst of what may go until the network keeps to the target; returns what was removed.

        Raises `NetworkError` where it cannot be kept to; nothing is removed then.
        """
        optimizer = None
        if self.optimizer_state:  # it goes with its units
            optimizer = make_optimizer(self.network.module, self._trained_with)
            give_state(optimizer, self.network.module, self.optimizer_state)
        removed = self._remover.remove(self.network, target, optimizer)
        if optimizer is not None:
            self.optimizer_state = self.network.attach(optimizer).stock_state()
            self.network.detach(optimizer)
        return removed

    def unit_scores(self) -> dict[str, FloatArray]:
        """One per unit of every group that can lose some; larger stays."""
        return self._remover.scores(self.network)

    def check_reachable(self, target: Target) -> None:
        """Raises `UnreachableError` where not even all removals that are allowed come to the target."""
        self._remover.check_reachable(self.network, target)

    @property
    def blocks(self) -> dict[str, int]:
        """How many each stage has, where blocks can go."""
        return self.network.blocks if self.shrinking.remove.takes_blocks else {}

    def step(
        self,
        name: str,
        target: Target,
        *,
        recovery: Recovery | None = None,
        number: int = 0,
        folder: TrialFolder | None = None,
        on_sample: Callable[[Sample], Signal] | None = None,
        interrupted: Callable[[], bool] | None = None,
    ) -> ShrinkStep | None:
        """Remove, then recover; None when `interrupted` said so, and the recovery is saved in `folder`.

        `number` is the step's: each one trains on batches in an order of its own.
        A network that validation prefers as it was before it trained on stays so: one that has learnt its few training
        examples by heart gets worse of more.

        Raises `NetworkError` for a target that cannot be kept to, `TrainingDivergedError` when a metric is not finite.
        """
        started = time.perf_counter()
        removed = self.remove(target)
        removal_seconds = time.perf_counter() - started
        bare, bare_network, bare_state = self.metrics(), self.network.twin(), self.optimizer_state
        recovery = recovery or self.shrinking.recovery
        outcome = self.recover(recovery, number, folder, on_sample, interrupted)
        if outcome is not None and outcome.signal is Signal.INTERRUPT:
            return None
        metrics, notes = self._judged(), self._remover.unscored
        if recovery.ends_settled and self._is_better(bare, metrics):
            self.network, metrics, notes = bare_network, bare, (*notes, NOT_TRAINED_ON)
            self.network.settle()
            self.optimizer_state = bare_state
        return ShrinkStep(
            name=name,
            target=str(target),
            removed_units=removed.units,
            removed_blocks=removed.blocks,
            removed_weights=removed.weights,
            widths=self.network.widths,
            blocks=self.blocks,
            score=metrics.score,
            loss=metrics.loss,
            footprint=self.footprint(),
            latencies=self.latencies(),
            score_before_recovery=bare.score if math.isfinite(bare.score) else None,
            loss_before_recovery=bare.loss if math.isfinite(bare.loss) else None,
            removal_seconds=removal_seconds,
            train_seconds=outcome.train_seconds if outcome else 0.0,
            training_flops=outcome.training_flops if outcome else 0.0,
            notes=notes,
        )

    def _is_better(self, one: Metrics, other: Metrics) -> bool:
        """Whether validation prefers the one: by the score where the task is judged by that, otherwise by the loss."""
        by_score = self.data.task.prefers_score and one.score != other.score
        return one.score > other.score if by_score else one.loss < other.loss

    def recover(
        self,
        recovery: Recovery,
        number: int = 0,
        folder: TrialFolder | None = None,
        on_sample: Callable[[Sample], Signal] | None = None,
        interrupted: Callable[[], bool] | None = None,
    ) -> TrainingOutcome | None:
        """Train on; None where the recovery trains nothing."""
        if not recovery.trains:
            self.network.settle()
            return None
        carries = recovery.optimizer_state == "carry"
        run = RecoveryRun(
            self.network,
            self.data,
            recovery,
            self._trained_with,
            teacher=self._teacher,
            holds_zeros=isinstance(self.shrinking.remove, RemoveWeights),
            optimizer_state=self.optimizer_state if carries else None,
            # With the seed itself, every recovery would begin with the batches that training began with.
            seed=stream_seed(self._seed, "recovery", number),
            device=self._device,
            folder=folder,
            on_sample=on_sample,
            interrupted=interrupted,
            execution=self._execution,
        )
        outcome = run.run()
        self.optimizer_state = run.optimizer_state if carries else {}
        return outcome


def _calibration(examples: BatchSource, number: int, seed: int) -> torch.Tensor:
    """(number,) the training examples that scores are measured on."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "calibration", 0))
    chosen = torch.randperm(len(examples), generator=generator)[:number]
    return chosen.to(examples.device)
