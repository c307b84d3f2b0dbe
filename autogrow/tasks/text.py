"""The next token at every position of a window of tokens: cross-entropy in nats per token, and the share of right ones.

A token is a byte, a character or an entry of a tokenizer's vocabulary; what it stands for, the data set says.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from autogrow.errors import DataError
from autogrow.reading.arrays import Array
from autogrow.tasks.base import (
    EncodedTargets,
    StreamingScore,
    Task,
    WantedOutputs,
    distillation_of_classes,
    wrong_shape,
)
from autogrow.tasks.labels import ClassName
from autogrow.tasks.registry import TASKS

if TYPE_CHECKING:
    from torch import Tensor

TEXT = "text"
"""The task's name, for data sets that are text."""
MOST_TOKENS = 2**24
"""Of a vocabulary: far above any that is in use."""


class TokenAccuracy(StreamingScore):
    """The share of positions whose largest output is that of the token which follows."""

    def __init__(self) -> None:
        self._num_right: Tensor | None = None
        self._num_tokens = 0

    def update(self, outputs: "Tensor", targets: "Tensor") -> None:
        right = (outputs.argmax(-1) == targets).sum()
        self._num_right = right if self._num_right is None else self._num_right + right
        self._num_tokens += targets.numel()

    def compute(self) -> float:
        return float("nan") if self._num_right is None else int(self._num_right) / self._num_tokens


class Text(Task):
    """Inputs and targets are (N, T) whole numbers, targets the inputs one place on; outputs (B, T, tokens) logits."""

    score_name, score_title = "token_accuracy", "next-token accuracy"
    embeds_inputs = True
    grows_in_depth = True
    judges_chance_by = "loss"
    chance_answer = "naming tokens by how common they are (the unigram entropy)"
    default_objectives = ("loss", "generalization_gap", "train_seconds")

    def encode(self, y_train: Array, y_test: Array | None, origin: str) -> EncodedTargets:
        return EncodedTargets(
            _windows(y_train, "y_train", origin), None if y_test is None else _windows(y_test, "y_test", origin)
        )

    def count_outputs(self, y_train: Array, y_test: Array | None, origin: str) -> int:
        return 1 + max(int(targets.max()) for targets in (y_train, y_test) if targets is not None)

    def describe(self, num_outputs: int, classes: Sequence[ClassName]) -> str:
        return f"{num_outputs} tokens"

    def chance_level(self, targets: Array) -> float | None:
        return unigram_entropy(targets)

    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Cross-entropy in nats per token."""
        import torch.nn.functional as F

        if outputs.ndim != targets.ndim + 1 or outputs.shape[:-1] != targets.shape:
            raise wrong_shape(outputs, f"({', '.join(map(str, targets.shape))}, tokens)")
        return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())

    def distillation_loss(self, outputs: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
        return distillation_of_classes(outputs, taught, temperature)

    def new_score(self) -> StreamingScore:
        return TokenAccuracy()

    def wanted_outputs(self, targets: "Tensor", num_outputs: int | None) -> WantedOutputs:
        which = "the" if num_outputs is None else num_outputs
        return WantedOutputs(((*targets.shape, num_outputs),), f"a value for each of {which} tokens at every position")

    def answers(self, outputs: "Tensor", classes: Sequence[ClassName]) -> Array:
        """(N, T) int64, the likeliest next token at every position."""
        named: Array = outputs.argmax(-1).cpu().numpy()
        return named

    def probabilities(self, outputs: "Tensor") -> "Tensor":
        return outputs.softmax(-1)


def token_counts(tokens: Array) -> Array:
    """How often each token from 0 to the largest occurs."""
    return np.bincount(np.ascontiguousarray(tokens).reshape(-1))


def unigram_entropy(tokens: Array) -> float:
    """The loss of the best answer that looks at no input, in nats per token: -sum p log p over the tokens' shares."""
    counts = token_counts(tokens)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def bits_per_byte(loss: float, bytes_per_token: float) -> float:
    """A loss in nats per token as bits per byte of text: the same unit whatever the tokenizer."""
    return loss / math.log(2) / bytes_per_token


def _windows(array: Array, name: str, origin: str) -> Array:
    """Targets as (N, T) int64. Raises `DataError` for what are no tokens."""
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise DataError(
            f"{origin}: {name} is {array.dtype} {array.shape}, and --task text takes the next token at every position, "
            "(N, T) whole numbers; a text as one row of tokens goes into x_train alone"
        )
    if array.min() < 0 or array.max() >= MOST_TOKENS:
        raise DataError(f"{origin}: {name} holds {array.min()} to {array.max()}: tokens are numbered from 0")
    return np.ascontiguousarray(array, dtype=np.int64)


TASKS.register(TEXT)(Text())
