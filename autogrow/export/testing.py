"""Reading a finished network on the test split: what is undefined there is NaN, in files null, with a word why."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from autogrow.data.dataset import Dataset
from autogrow.data.preprocessing import Normalization
from autogrow.data.test_split import open_test_split
from autogrow.data.tokenizers import TokenRecord
from autogrow.tasks import TASKS
from autogrow.tasks.text import bits_per_byte
from autogrow.training.evaluation import Metrics, evaluate
from autogrow.training.training_data import on_device


def read_test_split(
    module: nn.Module, dataset: Dataset, normalization: Normalization, target_scale: Normalization | None = None
) -> Metrics:
    """Metrics of a finished network on the test split: the only way to it, at the end of a run and of `evaluate`.

    One that is undefined is NaN, and `undefined` says why. Raises `DataError` where there is no test split.
    """
    task = TASKS[dataset.task]
    split, device = open_test_split(dataset), torch.device("cpu")
    examples = on_device(split, normalization, device, target_scale, dataset.num_outputs)
    found = evaluate(task, module, examples)
    if not found.has_finite_loss or math.isinf(found.score):
        return unread(f"the test loss is {found.loss:g}: inputs or targets of the test split are out of range")
    if math.isnan(found.score):
        number = len(examples)
        which = "of one test example" if number == 1 else f"of {number} test examples {task.undefined_for}"
        return Metrics(found.loss, math.nan, f"the {task.score_title} {which} is undefined")
    return found


def unread(reason: str) -> Metrics:
    """What stands for metrics that there are none of."""
    return Metrics(math.nan, math.nan, reason)


NOT_READ = unread("the test split was not read; autogrow evaluate reads it")
"""Of a network between its end and its test."""


def plain_test_metrics(test: Metrics, train: Metrics | None = None) -> dict[str, Any]:
    """Plain numbers for JSON, None for what is undefined, then with a word why.

    Args:
        train: For the gap; without it, there is none.
    """
    accuracy = plain(test.score)
    gap = {}
    if train is not None:
        gap = {"train_minus_test_score": None if accuracy is None else train.score - accuracy}
    why = {} if test.undefined is None else {"test_undefined": test.undefined}
    return {"test_score": accuracy, "test_loss": plain(test.loss), **gap, **why}


def bits_per_byte_of(metrics: Mapping[str, Any], tokens: TokenRecord | None) -> dict[str, float | None]:
    """Of every loss among the metrics of a text, the bits per byte; nothing where bytes are not known."""
    if tokens is None or tokens.bytes_per_token is None:
        return {}
    losses = {name: value for name, value in metrics.items() if name.endswith("_loss")}
    return {
        name.removesuffix("loss") + "bits_per_byte": None
        if loss is None
        else bits_per_byte(loss, tokens.bytes_per_token)
        for name, loss in losses.items()
    }


def plain(value: float) -> float | None:
    """A number as JSON can hold it: None for one that is undefined."""
    return value if math.isfinite(value) else None
