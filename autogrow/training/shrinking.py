"""Shrinking one network: score its units, remove the worst until a size is kept to, train on, see what that did."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.footprint import footprint, latencies
from autogrow.network.running.copying import copied
from autogrow.network.shrinking.request import Batch
from autogrow.network.shrinking.unit_scores import measure_unit_scores
from autogrow.policy.changes import Narrow
from autogrow.policy.execution import Execution
from autogrow.policy.records import Sample
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_records import Footprint, Latency, ShrinkStep, Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_removal import FloatArray, removed_units
from autogrow.training.batches import BatchSource, stream_seed
from autogrow.training.ending import Signal, TrainingOutcome
from autogrow.training.evaluation import Metrics, evaluate
from autogrow.training.fixed_batch import FixedBatch
from autogrow.training.records import TrialFolder
from autogrow.training.recovery import RecoveryRun
from autogrow.training.shrink_targets import UnreachableError, check_reachable, num_to_remove
from autogrow.training.training_data import TrainingData

NOT_TRAINED_ON = "training on made validation worse: left out"
CALIBRATION_BATCH = 128
"""Examples in one pass when units are scored."""


class Shrinker:
    """Takes the steps of shrinking one network, in place.

    Args:
        network: Trained; on `device`.
        data: With a validation split that the network has not learnt from.
        trained_with: The settings that it was trained with.
        teacher: What distillation learns from; None: the network as it is now.
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
        seed: int = 0,
        device: torch.device,
        execution: Execution = Execution(),
    ) -> None:
        assert data.validation is not None
        self.fixed = {group.name: group.reason for group in network.fixed} | network.inexact_removals()
        """Groups that no unit is taken from, and why."""
        self._groups = [group.name for group in network.groups if group.name not in self.fixed]
        if not self._groups:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in list(self.fixed.items())[:3])
            raise NetworkError(f"no group of the network can lose units ({reasons})")
        self._unscored: tuple[str, ...] = ()
        self.network = network
        self.shrinking, self.data = shrinking, data
        if teacher is None and shrinking.recovery.distillation:
            teacher = copied(network.module)
        self._trained_with, self._teacher = trained_with, teacher
        self._seed, self._device, self._execution = seed, device, execution
        self._train = data.on(data.train, device)
        self._validation = data.on(data.validation, device)
        self._calibration = _calibration(self._train, shrinking.calibration_examples, seed)

    @property
    def inputs(self) -> torch.Tensor:
        """Training inputs on which sizes and latencies are measured."""
        return self._train.batch(self._calibration[:64])[0]

    def footprint(self) -> Footprint:
        return footprint(self.network.module, self.inputs[:2])

    def latencies(self) -> tuple[Latency, ...]:
        return latencies([self.network.module], self.inputs)[0]

    def metrics(self) -> Metrics:
        """On all validation examples."""
        return evaluate(self.data.task, self.network.module, self._validation, execution=self._execution)

    def _judged(self) -> Metrics:
        """The same. Raises `NetworkError` where they say nothing."""
        found = self.metrics()
        if not (math.isfinite(found.loss) and math.isfinite(found.score)):
            raise NetworkError(
                f"validation score {found.score:g}, loss {found.loss:g} ({len(self._validation)} examples): the "
                "network cannot be judged by these; give other examples as --holdout, or mend its weights"
            )
        return found

    def before(self) -> ShrinkStep:
        """The network as it is, without a step."""
        metrics = self._judged()
        return ShrinkStep(
            "before", "", {}, self.network.widths, metrics.score, metrics.loss, self.footprint(), self.latencies()
        )

    def remove(self, target: Target) -> dict[str, int]:
        """Remove the worst units until the network keeps to the target; returns how many of each group.

        Raises `NetworkError` where it cannot be kept to; nothing is removed then.
        """
        order = self._order()
        number = num_to_remove(self.network, order, target, self._measured_on(target))
        removed = removed_units(order, number)
        if removed:
            change = Narrow(removed, self.shrinking.compensation)
            self.network.apply([change], calibration_input=self._train.batch(self._calibration)[0])
        return {name: len(units) for name, units in removed.items()}

    def check_reachable(self, target: Target) -> None:
        """Raises `UnreachableError` where not even all removals that are allowed come to the target."""
        order = self._order()
        try:
            check_reachable(self.network, order, target, self._measured_on(target))
        except UnreachableError as error:
            raise UnreachableError("; ".join([str(error), *self._unscored])) from None

    def _order(self) -> list[tuple[str, int]]:
        """The units in the order in which they go; notes which groups have no score."""
        scores = self.scores()
        names = [name for name, values in scores.items() if np.isnan(values).any()]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        kind = self.shrinking.score.kind
        self._unscored = (
            (f"no score by {kind}, so all units stay ('magnitude' may have one): {shown}",) if names else ()
        )
        return self.shrinking.order.order(scores)

    def _measured_on(self, target: Target) -> torch.Tensor:
        return self.inputs if target.metric == "latency_ms" else self.inputs[:2]

    def scores(self) -> dict[str, FloatArray]:
        """One per unit of every group that can lose some."""
        found = measure_unit_scores(self.shrinking.score, self.network, self._groups, self._batches(), self._seed)
        return {name: values.numpy() for name, values in found.items()}

    def step(
        self,
        name: str,
        target: Target,
        *,
        recovery: Recovery | None = None,
        folder: TrialFolder | None = None,
        on_sample: Callable[[Sample], Signal] | None = None,
        interrupted: Callable[[], bool] | None = None,
    ) -> ShrinkStep | None:
        """Remove, then recover; None when `interrupted` said so, and the recovery is saved in `folder`.

        A network that validation prefers as it was before it trained on stays so: one that has learnt its few training
        examples by heart gets worse of more.

        Raises `NetworkError` for a target that cannot be kept to, `TrainingDivergedError` when a metric is not finite.
        """
        started = time.perf_counter()
        removed = self.remove(target)
        removal_seconds = time.perf_counter() - started
        bare, bare_network = self.metrics(), self.network.twin()
        recovery = recovery or self.shrinking.recovery
        outcome = self.recover(recovery, folder, on_sample, interrupted)
        if outcome is not None and outcome.signal is Signal.INTERRUPT:
            return None
        metrics, notes = self._judged(), self._unscored
        if recovery.ends_settled and self._is_better(bare, metrics):
            self.network, metrics, notes = bare_network, bare, (*notes, NOT_TRAINED_ON)
            self.network.settle()
        return ShrinkStep(
            name=name,
            target=str(target),
            removed_units=removed,
            widths=self.network.widths,
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
        folder: TrialFolder | None = None,
        on_sample: Callable[[Sample], Signal] | None = None,
        interrupted: Callable[[], bool] | None = None,
    ) -> TrainingOutcome | None:
        """Train on; None where the recovery trains nothing."""
        if not recovery.trains:
            self.network.settle()
            return None
        return RecoveryRun(
            self.network,
            self.data,
            recovery,
            self._trained_with,
            teacher=self._teacher,
            seed=self._seed,
            device=self._device,
            folder=folder,
            on_sample=on_sample,
            interrupted=interrupted,
            execution=self._execution,
        ).run()

    def _batches(self) -> list[Batch]:
        fixed = [
            FixedBatch(*self._train.batch(part), self.data.task)
            for part in torch.split(self._calibration, CALIBRATION_BATCH)
        ]
        return [Batch(each.inputs, each.loss) for each in fixed]


def _calibration(examples: BatchSource, number: int, seed: int) -> torch.Tensor:
    """(number,) the training examples that scores are measured on."""
    generator = torch.Generator().manual_seed(stream_seed(seed, "calibration", 0))
    chosen = torch.randperm(len(examples), generator=generator)[:number]
    return chosen.to(examples.device)
