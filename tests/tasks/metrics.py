"""The metrics of given outputs, read as those of a network are."""

import numpy as np
import torch
from torch import nn

from autogrow.data.preprocessing import Normalization
from autogrow.data.splits import TrainSplit
from autogrow.tasks import TASKS
from autogrow.training.batches import DeviceExamples
from autogrow.training.evaluation import evaluate


def metrics_of(task, outputs, targets, units=None):
    """Of a network that returns `outputs` for `targets`, which 1 of is so many `units`."""
    unit = Normalization(mean=(0.0,), std=(1.0,))
    places = torch.arange(len(outputs), dtype=torch.float32)[:, None]
    split = TrainSplit(places.numpy(), np.asarray(targets), np.arange(len(outputs)))
    examples = DeviceExamples(split, unit, torch.device("cpu"))
    examples.target_units = None if units is None else torch.tensor(units, dtype=torch.float64)
    return evaluate(TASKS[task], Outputs(torch.as_tensor(outputs)), examples)


class Outputs(nn.Module):
    """Given outputs, looked up by an example's number."""

    def __init__(self, outputs):
        super().__init__()
        self.register_buffer("outputs", outputs)

    def forward(self, places):
        return self.outputs[places[:, 0].long()]
