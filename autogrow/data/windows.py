"""A row of tokens as examples: windows of equal length, the next token at every place being the target.

Splits are by position, with a gap of a window between them: no window crosses a border, and none begins with what
another split ends with. Windows that are trained on are shifted, see `autogrow.training.token_windows`; here they lie
side by side.
"""

import numpy as np

from autogrow.data.splits import (
    LARGE_VALIDATION_FRACTION,
    SMALL_TRAINING_SET,
    SMALL_VALIDATION_FRACTION,
    TrainSplit,
    ValidationSplit,
)
from autogrow.errors import DataError, UsageError
from autogrow.reading.arrays import Array

TEST_FRACTION = 0.1
"""Of a text that has no test split of its own: its end."""


def num_windows(num_tokens: int, context: int) -> int:
    """Windows side by side in a row of tokens; the last token is only a target."""
    return max(0, (num_tokens - 1) // context)


def windows_of(tokens: Array, context: int) -> tuple[Array, Array]:
    """Inputs and targets (N, context) as views of (number,) tokens."""
    number = num_windows(len(tokens), context)
    return (
        tokens[: number * context].reshape(number, context),
        tokens[1 : number * context + 1].reshape(number, context),
    )


def split_end(tokens: Array, fraction: float, context: int, what: str, origin: str) -> tuple[Array, Array]:
    """The tokens before and after a gap of `context`, the end being `fraction` of all.

    Raises `DataError` (naming `origin`) where either would not hold a window.
    """
    num_end = int(len(tokens) * fraction)
    start = len(tokens) - num_end - context
    smallest = min(num_end, start)
    if smallest <= context:
        fits = min(num_end - 1, (len(tokens) - num_end - 1) // 2)
        shorter = "" if fits < 2 else f", or a context of at most {fits}"
        raise DataError(
            f"{origin}: {len(tokens)} tokens are too few for windows of {context}: their {what} split would have "
            f"{num_end}; give a longer text{shorter}"
        )
    return tokens[:start], tokens[len(tokens) - num_end :]


def split_windows(
    tokens: Array, context: int, *, validation_fraction: float | None, train_size: int | None, origin: str
) -> tuple[TrainSplit, ValidationSplit]:
    """Training and validation windows: validation is the end; of training, `train_size` windows of the beginning.

    Raises `DataError` where a split would hold no window, `UsageError` for arguments out of range.
    """
    if validation_fraction is None:
        is_small = num_windows(len(tokens), context) < SMALL_TRAINING_SET
        validation_fraction = SMALL_VALIDATION_FRACTION if is_small else LARGE_VALIDATION_FRACTION
    elif not 0 < validation_fraction < 1:
        raise UsageError(f"validation_fraction {validation_fraction} is not between 0 and 1: give for example 0.2")
    train, validation = split_end(tokens, validation_fraction, context, "validation", origin)
    start = len(tokens) - len(validation)
    if train_size is not None:
        largest = num_windows(len(train), context)
        if not 1 <= train_size <= largest:
            raise UsageError(
                f"train_size {train_size} is not between 1 and {largest}, the windows that validation leaves of "
                f"{num_windows(len(tokens), context)}: give a size within these limits"
            )
        train = train[: train_size * context + 1]
    return (
        TrainSplit(*windows_of(train, context), _starts(train, context), (train,)),
        ValidationSplit(*windows_of(validation, context), start + _starts(validation, context), (validation,)),
    )


def _starts(tokens: Array, context: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return np.arange(num_windows(len(tokens), context), dtype=np.int64) * context
