"""A user's own data: one ``.npz`` file with `x_train`, `y_train` and, if there is a test split, `x_test`, `y_test`.

A task whose targets are the inputs needs, and takes, no `y_train` and `y_test`.

Inputs of 2 dimensions are features, of 3 grey images (N, H, W), of 4 images (N, C, H, W) or (N, H, W, C), see
`image_layout`. uint8 is kept; every other number becomes a float, see `number_precision`. What targets mean is said by
their task. Whole numbers in `x_train` (number,), without `y_train`, are tokens of text, see `text`.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from autogrow.data.arrays import DecodedArrays, Layout
from autogrow.data.image_layout import channels_first, decide_layout
from autogrow.data.sources import Source
from autogrow.data.text import LAYOUT, given_tokens
from autogrow.data.text_names import TextOptions, parse_text_name
from autogrow.errors import DataError
from autogrow.paths import place_and_query, resolved
from autogrow.reading.arrays import Array, read_npz
from autogrow.reading.number_precision import as_floats, num_constant_columns
from autogrow.tasks import TASKS
from autogrow.tasks.registry import decide_task
from autogrow.tasks.text import TEXT

_REQUIRED = ("x_train", "y_train")
_OPTIONAL = ("x_test", "y_test")


def find_npz(name: str, task: str | None = None, layout: Layout | None = None) -> Source:
    """The source for the path `name`, read for `task` and `layout` where they are given.

    Raises `DataError` when there is no such file.
    """
    path, options = resolved(place_and_query(name)[0]), parse_text_name(name)[1]
    if not path.is_file():
        raise DataError(f"no file {path}: give the path of an existing .npz file with x_train and y_train")
    variant = "" if task is None and layout is None else f"{task} {layout}"
    decode = partial(_decode, path, task, layout, options)
    return Source(options.of(str(path)), (path,), decode, variant)


def _decode(path: Path, task: str | None, layout: Layout | None, options: TextOptions) -> DecodedArrays:
    given = read_npz(path, (), (*_REQUIRED, *_OPTIONAL), DataError)
    inputs = given.get("x_train")
    if inputs is not None and inputs.ndim == 1 and inputs.dtype.kind in "iu" and "y_train" not in given:
        _refuse_other_forms(path, task, layout)
        if (rest := TextOptions(tokenizer=options.tokenizer, mebibytes=options.mebibytes).query) != "":
            raise DataError(f"{path} holds tokens, not text that becomes some: leave out {rest[1:]}")
        return given_tokens(inputs, given.get("x_test"), options.context, str(path))
    if options.query:
        raise DataError(f"{path} holds no row of tokens, x_train (number,) alone: leave out {options.query[1:]}")
    required = _REQUIRED if needs_targets(task) else _REQUIRED[:1]
    if any(name not in given for name in required):
        given = read_npz(path, required, _OPTIONAL, DataError)  # which says what is missing
    return decoded(given, str(path), task, layout)


def needs_targets(task: str | None) -> bool:
    """Whether data have to hold targets for a task, or for one that they decide."""
    return task is None or not TASKS[task].targets_are_inputs


def _refuse_other_forms(path: Path, task: str | None, layout: Layout | None) -> None:
    for what, wanted, own in (("task", task, TEXT), ("layout", layout, LAYOUT)):
        if wanted not in (None, own):
            raise DataError(f"{path} holds a row of tokens, with the {what} {own}, not {wanted}: leave out --{what}")


def decoded(given: Mapping[str, Array], origin: str, task: str | None, layout: Layout | None) -> DecodedArrays:
    """The decoded form of a user's own `x_train`, `y_train` and, if there is a test split, `x_test` and `y_test`.

    Raises `DataError` (naming `origin`) for what they cannot be.
    """
    if not needs_targets(task):
        given = {name: array for name, array in given.items() if name.startswith("x_")}
    _check_filled(given, origin)
    layout = decide_layout(given["x_train"].shape, layout, "x_train", origin)
    if task is None or needs_targets(task):
        task = decide_task(given["y_train"], task, origin)
    inputs = _tokens if TASKS[task].embeds_inputs else _inputs
    x_train = inputs(given["x_train"], "x_train", layout, origin)
    x_test = inputs(given["x_test"], "x_test", layout, origin, x_train) if "x_test" in given else None
    constant = num_constant_columns(x_train)
    kind = "feature" if layout == "features" else "channel"
    arrays = DecodedArrays(
        task=task,
        x_train=x_train,
        x_test=x_test,
        layout=layout,
        notes=(f"{constant} of {x_train.shape[1]} {kind}s never vary and say nothing",) if constant else (),
    )
    if not needs_targets(task):
        return arrays
    encoded = TASKS[task].encode(given["y_train"], given.get("y_test"), origin)
    return replace(arrays, y_train=encoded.y_train, y_test=encoded.y_test, classes=encoded.classes)


def _inputs(array: Array, name: str, layout: Layout, origin: str, train: Array | None = None) -> Array:
    """Inputs as they are stored, of the same kind as those of `train`."""
    decide_layout(array.shape, layout, name, origin)
    array = channels_first(array, layout)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    like = None if train is None or train.dtype == np.uint8 else train.dtype
    return as_floats(array, name, origin, like)


def _tokens(array: Array, name: str, layout: Layout, origin: str, train: Array | None = None) -> Array:
    """Whole numbers that networks embed, as int64. Raises `DataError` for any others."""
    decide_layout(array.shape, layout, name, origin)
    if array.dtype.kind not in "iu" or array.min() < 0:
        raise DataError(
            f"{origin}: {name} holds {array.dtype} from {array.min()}: give whole numbers from 0, which a "
            "network embeds"
        )
    return np.ascontiguousarray(channels_first(array, layout), dtype=np.int64)


def _check_filled(given: Mapping[str, Array], origin: str) -> None:
    """Raises `DataError` for arrays of no numbers, or without examples, which have no form to decide on."""
    for name, array in given.items():
        if array.dtype.kind not in ("buif" if name.startswith("x_") else "buifUS"):
            raise DataError(f"{origin}: {name} holds {array.dtype}, not numbers: convert it to integers or floats")
        if array.ndim == 0:
            raise DataError(f"{origin}: {name} has shape (), a single value: give one entry per example, (N, ...)")
        if array.size == 0:
            raise DataError(f"{origin}: {name} {array.shape} is empty, at least 1 example is needed")
