"""What a network is trained for: the loss it descends and the metrics it is read by."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogrow.network.running.evaluating import evaluating
from autogrow.policy.execution import Execution
from autogrow.training.batches import DeviceExamples
from autogrow.training.execution import autocast

EVALUATION_BATCH = 1000
"""Examples per forward pass when metrics are read; bounds memory."""


@dataclass(frozen=True)
class Metrics:
    """Loss and accuracy on some examples; see `autogrow.policy.records.Sample` for what they mean per task."""

    loss: float
    accuracy: float
    undefined: str | None = None
    """Why one of them is NaN, in words, where that is no fault of the network."""

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.accuracy)


@dataclass(frozen=True)
class Task:
    """Classification (cross-entropy, share of right answers) or regression (mean squared error, R²)."""

    kind: Literal["classification", "regression"]

    @property
    def accuracy_name(self) -> str:
        return "accuracy" if self.kind == "classification" else "R²"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over the batch. outputs: (B, classes) or (B, width); targets: (B,) int64 or (B, width)."""
        if self.kind == "classification":
            return F.cross_entropy(outputs, targets)
        return F.mse_loss(outputs, targets)

    def evaluate(
        self,
        model: nn.Module,
        examples: DeviceExamples,
        indices: Tensor | None = None,
        execution: Execution = Execution(precision="float32"),
    ) -> Metrics:
        """Metrics in eval mode, without augmentation, on all examples or those at `indices`.

        Waits for the device once, at the end.
        """
        if indices is None:
            indices = torch.arange(len(examples), device=examples.device)
        outputs, targets = [], []
        with evaluating(model), torch.inference_mode(), autocast(execution, examples.device):
            for part in torch.split(indices, EVALUATION_BATCH):
                inputs, target = examples.batch(part)
                outputs.append(model(inputs).float())
                targets.append(target)
            return self._metrics(torch.cat(outputs), torch.cat(targets))

    def _metrics(self, outputs: Tensor, targets: Tensor) -> Metrics:
        loss = self.loss(outputs, targets)
        if self.kind == "classification":
            accuracy = (outputs.argmax(1) == targets).float().mean()
        else:
            spread = (targets - targets.mean(0)).square().mean()
            accuracy = 1 - loss / spread.clamp(min=torch.finfo(torch.float32).tiny)
            # Of one example, or of equal targets, R² is not defined: what is left of the spread is rounding.
            accuracy = torch.where((targets == targets[0]).all(), torch.nan, accuracy)
        return Metrics(*torch.stack([loss, accuracy]).tolist())
