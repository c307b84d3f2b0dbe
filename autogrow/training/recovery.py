"""Training on a network that units were removed from: the usual trainer, under a policy that leaves its size alone."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.flops import forward_flops_per_example
from autogrow.network.optimizer.optimizer_state import OptimizerState
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.records import Sample
from autogrow.policy.recovery import Recovery
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.batches import stream_seed
from autogrow.training.ending import Signal, TrainingOutcome
from autogrow.training.records import TrialFolder
from autogrow.training.step_loss import Distillation, PenalizedActivations, PenalizedGains, StepLoss, TaskLoss
from autogrow.training.trainer import Trainer
from autogrow.training.training_data import TrainingData
from autogrow.training.zeroing import holding_zeros

STAYS_AS_IT_IS = GrowthPolicy(initial_fraction=1.0)


class RecoveryRun:
    """One recovery of one network, in place.

    Args:
        network: On `device`; its present widths are taken for its full ones.
        trained_with: The settings that the network was trained with before.
        teacher: What distillation learns from; needed where the recovery distils.
        holds_zeros: Whether weights that are zero stay so.
        optimizer_state: By parameter, what the optimizer of the training before has learnt; it goes on with that.
        seed: Of the order of batches, and of the distortion.
        folder: Where it goes on from, should it be interrupted.
    """

    def __init__(
        self,
        network: ExpandableNetwork,
        data: TrainingData,
        recovery: Recovery,
        trained_with: TrainingSettings,
        *,
        teacher: nn.Module | None = None,
        holds_zeros: bool = False,
        optimizer_state: OptimizerState | None = None,
        seed: int = 0,
        device: torch.device,
        folder: TrialFolder | None = None,
        on_sample: Callable[[Sample], Signal] | None = None,
        interrupted: Callable[[], bool] | None = None,
        execution: Execution = Execution(),
    ) -> None:
        assert teacher is not None or not recovery.distillation
        network.settle()
        hold = holding_zeros(network.module) if holds_zeros else None
        distort(network, recovery.distortion, seed)
        if hold is not None:
            hold()
        batch_size = min(trained_with.batch_size, len(data.train))
        self._trainer = Trainer(
            network,
            data,
            STAYS_AS_IT_IS,
            recovery.settings(trained_with, len(data.train) // batch_size, warms_up=not optimizer_state),
            seed=seed,
            device=device,
            folder=folder,
            on_sample=on_sample,
            interrupted=interrupted,
            execution=execution,
            step_loss=_step_loss(network, data, recovery, teacher),
            after_step=hold,
            optimizer_state=optimizer_state or None,
        )
        self.optimizer_state: OptimizerState = {}
        """By parameter, what the optimizer has learnt, once it has run."""
        self._teacher_flops = 0.0
        if recovery.distillation and teacher is not None:
            inputs = self._trainer.metrics.step_inputs
            self._teacher_flops = forward_flops_per_example(teacher, inputs[:2]) * len(inputs)

    def run(self) -> TrainingOutcome:
        """Train to the end, or until interrupted; FLOPs are those of the teacher's answers, too.

        Raises `TrainingDivergedError` when a metric is NaN or infinite.
        """
        outcome = self._trainer.run()
        self.optimizer_state = self._trainer.optimizer_state()
        self._trainer.network.detach(self._trainer.optimizer)
        return replace(outcome, training_flops=outcome.training_flops + self._teacher_flops * outcome.steps)


def distort(network: ExpandableNetwork, amount: float, seed: int) -> None:
    """Move every weight that computes units by ``amount * rand * (1 - var)``, with the variance of its tensor.

    Not those of units whose number is fixed, such as the network's outputs: none of these is to become useless. Thesis
    (E. Calli 2017), 2.8: weights that share a feature are driven apart, so that some become useless. A tensor whose
    variance is 1 or more is left alone.
    """
    if not amount:
        return
    # A stream of its own: with the seed itself, the draws would be those that the first weights came from.
    generator = torch.Generator().manual_seed(stream_seed(seed, "distortion", 0))
    parameters = dict(network.module.named_parameters())
    with torch.no_grad():
        for name, layout in network.structure.tensors.items():
            weight = parameters.get(name)
            if weight is None or layout.out_dim not in layout.dims or not weight.is_floating_point():
                continue
            share = 1 - float(weight.var(correction=0))
            if share > 0:
                weight.add_(torch.rand(weight.shape, generator=generator).to(weight), alpha=amount * share)


def _step_loss(
    network: ExpandableNetwork, data: TrainingData, recovery: Recovery, teacher: nn.Module | None
) -> StepLoss | None:
    if not recovery.changes_loss:
        return None
    loss: StepLoss = TaskLoss(data.task)
    if recovery.distillation and teacher is not None:
        loss = Distillation(data.task, teacher, recovery.distillation, recovery.temperature)
    if recovery.gain_penalty:
        loss = PenalizedGains(loss, lambda: gains_of(network), recovery.gain_penalty)
    if recovery.activation_penalty:
        loss = PenalizedActivations(loss, network, recovery.activation_penalty)
    return loss


def gains_of(network: ExpandableNetwork) -> list[Tensor]:
    """The parameters that units are multiplied with, such as the gains of norms: new units would have a 1 there."""
    parameters = dict(network.module.named_parameters())
    return [
        parameters[name]
        for name, layout in network.structure.tensors.items()
        if name in parameters and layout.out_dim is None and layout.in_dim is None and layout.fill == 1
    ]
