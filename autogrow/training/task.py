"""What a network is trained for: the loss it descends and the metrics it is read by."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogrow.errors import NetworkError
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
    """In the user's unit, squared, for a regression."""
    score: float
    undefined: str | None = None
    """Why one of them is NaN, in words, where that is no fault of the network."""
    standardized_loss: float | None = None
    """The loss as it is trained on, where targets are standardized."""

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.score)


@dataclass(frozen=True)
class Task:
    """Classification (cross-entropy, share of right answers) or regression (mean squared error, R²).

    R² takes all outputs together, as they are trained on: standardized targets count alike, whatever their units.
    """

    kind: Literal["classification", "regression"]
    units: tuple[float, ...] | None = None
    """What 1 of every standardized target is in the user's unit: its standard deviation. None: targets as they are."""

    @property
    def score_name(self) -> str:
        return "accuracy" if self.kind == "classification" else "R²"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean over the batch, as it is trained on.

        outputs: (B, classes), (B, width) or, of a single target, (B,); targets: (B,) int64 or (B, width).
        Raises `NetworkError` for outputs of any other shape: nothing is ever broadcast.
        """
        if self.kind == "classification":
            if outputs.ndim != 2 or len(outputs) != len(targets):
                raise _wrong_shape(outputs, f"({len(targets)}, classes)")
            return F.cross_entropy(outputs, targets)
        return F.mse_loss(self.by_target(outputs, targets), targets)

    def by_target(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The outputs of a regression as (B, width); a single one may lack the second axis."""
        if outputs.ndim == 1 and targets.shape == (len(outputs), 1):
            return outputs.unsqueeze(1)
        if outputs.shape != targets.shape:
            raise _wrong_shape(outputs, tuple(targets.shape))
        return outputs

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
            outputs = self.by_target(outputs, targets)
            spread = (targets - targets.mean(0)).square().mean()
            accuracy = 1 - loss / spread.clamp(min=torch.finfo(torch.float32).tiny)
            # Of one example, or of equal targets, R² is not defined: what is left of the spread is rounding.
            accuracy = torch.where((targets == targets[0]).all(), torch.nan, accuracy)
        if self.units is None:
            return Metrics(*torch.stack([loss, accuracy]).tolist())
        units = torch.tensor(self.units, dtype=torch.float64, device=outputs.device)
        in_units = F.mse_loss(outputs.double() * units, targets.double() * units)
        in_units, accuracy, loss = torch.stack([in_units, accuracy.double(), loss.double()]).tolist()
        return Metrics(in_units, accuracy, standardized_loss=loss)


def _wrong_shape(outputs: Tensor, wanted: object) -> NetworkError:
    return NetworkError(f"the network returned {tuple(outputs.shape)} for targets that want {wanted}")
