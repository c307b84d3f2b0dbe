"""The training examples on which everything about growing is measured."""

from dataclasses import dataclass

from torch import Tensor, nn

from autogrow.network.running.undisturbed import evaluating
from autogrow.tasks import Task


@dataclass(frozen=True)
class FixedBatch:
    """A batch with its loss: the same examples throughout a run."""

    inputs: Tensor
    targets: Tensor
    task: Task

    def loss(self, module: nn.Module) -> Tensor:
        """The loss of `module` on the batch, with gradients where they are enabled."""
        return self.task.loss(module(self.inputs), self.targets)

    def read(self, module: nn.Module) -> tuple[Tensor, float]:
        """Outputs and loss in eval mode."""
        with evaluating(module):
            outputs: Tensor = module(self.inputs)
            return outputs, float(self.task.loss(outputs, self.targets))

    def loss_value(self, module: nn.Module) -> float:
        """The loss in eval mode."""
        return self.read(module)[1]
