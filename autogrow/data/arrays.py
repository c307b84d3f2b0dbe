"""The decoded form of every dataset, and the checks that it must pass before anything is stored or trained on."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from autogrow.data.catalogue import Augmentation
from autogrow.data.tokenizers import TokenRecord
from autogrow.errors import DataError
from autogrow.reading.arrays import Array
from autogrow.reading.number_precision import check_finite
from autogrow.tasks import TASKS
from autogrow.tasks.labels import ClassName

Layout = Literal["features", "grey_images", "channels_first", "channels_last", "tokens"]
"""How the inputs of a file lie: (N, features), (N, H, W), (N, C, H, W) or (N, H, W, C); of text, a row of tokens."""
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedArrays:
    """One dataset in memory.

    `x_train`, `x_test`: (N, features) or (N, C, H, W), uint8, float32 or float64; of text (number,) tokens. `y_train`,
    `y_test`: stored as their task encodes them. Both test arrays are None where the dataset has no test split.
    """

    task: str
    x_train: Array
    y_train: Array | None = None
    """None for text, where the targets of windows are the next tokens, and where inputs are their own targets."""
    x_test: Array | None = None
    y_test: Array | None = None
    augmentation: Augmentation = "none"
    layout: Layout | None = None
    """How the inputs lay in a user's file; None: as they are here."""
    classes: tuple[ClassName, ...] | None = None
    """Names of the classes in the order of their numbers; None: the numbers themselves."""
    tokens: TokenRecord | None = None
    """Of text: what it was read with."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the file was read."""

    def named(self) -> Iterator[tuple[str, Array]]:
        """The arrays that are there, in a fixed order."""
        for name in ("x_train", "y_train", "x_test", "y_test"):
            array = getattr(self, name)
            if array is not None:
                yield name, array

    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over names, types, shapes and contents."""
        digest = hashlib.sha256()
        for name, array in self.named():
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        if self.classes is not None and list(self.classes) != list(range(len(self.classes))):
            digest.update(f"classes {self.classes!r}\n".encode(errors="backslashreplace"))
        if self.tokens is not None:
            digest.update(f"{self.tokens!r}\n".encode(errors="backslashreplace"))
        return digest.hexdigest()[:16]


def check_arrays(arrays: DecodedArrays, origin: str) -> int:
    """The number of outputs (classes, or width of the targets). Raises a `DataError` that names `origin`."""
    if arrays.tokens is not None:
        return arrays.tokens.num_tokens  # checked where they were read
    task = TASKS[arrays.task]
    if task.targets_are_inputs:
        task.refuse_inputs(arrays.x_train.shape[1:], origin)
        arrays = replace(arrays, y_train=arrays.x_train, y_test=arrays.x_test)
    assert arrays.y_train is not None
    _check_part(arrays.x_train, arrays.y_train, "train", origin)
    if (arrays.x_test is None) != (arrays.y_test is None):
        given, lacking = ("x_test", "y_test") if arrays.y_test is None else ("y_test", "x_test")
        raise DataError(f"{origin}: {given} without {lacking}: give both or neither")
    if arrays.x_test is not None and arrays.y_test is not None:
        _check_part(arrays.x_test, arrays.y_test, "test", origin)
        _check_same_form(arrays.x_train, arrays.x_test, "x", origin)
        _check_same_form(arrays.y_train, arrays.y_test, "y", origin)
    number = task.count_outputs(arrays.y_train, arrays.y_test, origin)
    if task.embeds_inputs:
        _check_tokens(arrays, number, origin)
    return number


def _check_tokens(arrays: DecodedArrays, num_tokens: int, origin: str) -> None:
    for name, inputs in (("x_train", arrays.x_train), ("x_test", arrays.x_test)):
        if inputs is not None and inputs.max() >= num_tokens:
            raise DataError(
                f"{origin}: {name} holds {inputs.max()}, and the targets go to {num_tokens - 1}: number both alike"
            )


def _check_part(x: Array, y: Array, part: str, origin: str) -> None:
    if x.size == 0 or y.size == 0:
        raise DataError(f"{origin}: x_{part} {x.shape} and y_{part} {y.shape}: empty, at least 1 example is needed")
    if len(x) != len(y):
        raise DataError(f"{origin}: {len(x)} inputs in x_{part} but {len(y)} labels in y_{part}: make them agree")
    for name, array in ((f"x_{part}", x), (f"y_{part}", y)):
        check_finite(array, name, origin)


def _check_same_form(train: Array, test: Array, letter: str, origin: str) -> None:
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise DataError(
            f"{origin}: one example is {train.dtype} {train.shape[1:]} in {letter}_train but "
            f"{test.dtype} {test.shape[1:]} in {letter}_test: shape and kind must agree"
        )
