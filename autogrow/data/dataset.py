"""`Dataset`: what the rest of autogrow knows of a dataset, and the only way to its training examples.

The test arrays lie in the same folder but are opened by `autogrow.data.test_split` alone.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from autogrow.data.array_store import ARRAY_FILES, StoredMeta, array_path, stored_arrays
from autogrow.data.arrays import Layout
from autogrow.data.catalogue import Augmentation
from autogrow.data.npz import find_npz, needs_targets
from autogrow.data.preprocessing import Normalization
from autogrow.data.python_data import DEFAULT_NAME, as_array, is_kept_here, kept, stacked
from autogrow.data.splits import TrainSplit, ValidationSplit, split_indices
from autogrow.data.text import find_text, given_tokens
from autogrow.data.text_names import DEFAULT_CONTEXT, text_options
from autogrow.data.tokenizers import TokenRecord
from autogrow.data.windows import num_windows, split_windows, windows_of
from autogrow.errors import DataError, UsageError
from autogrow.paths import place_and_query
from autogrow.reading.arrays import Array
from autogrow.removal import remove_written
from autogrow.tasks import TASKS
from autogrow.tasks.labels import ClassName

_SHOWN_TARGETS = 3
_LAYOUT_WORDS = {
    "grey_images": "grey",
    "channels_first": "channels x height x width, as in the file",
    "channels_last": "channels x height x width; channels last in the file",
}


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A decoded dataset. Small and picklable: the arrays stay on disk and are memory-mapped by every process."""

    name: str
    """As given to `open_dataset`."""
    task: str
    """Its name among `autogrow.tasks.TASKS`."""
    input_shape: tuple[int, ...]
    """Of one example: (features,) or (C, H, W)."""
    num_outputs: int
    """Classes, or the width of the targets of a regression."""
    num_train: int
    """Training examples before validation is taken off them."""
    num_test: int
    """0 where the dataset has no test split."""
    fingerprint: str
    """16 hexadecimal digits that identify the contents of all arrays."""
    layout: Layout
    """How the inputs lie in a user's file; here they are (features,) or (C, H, W) all the same."""
    classes: tuple[ClassName, ...]
    """Names of the classes in the order of the outputs; empty for a regression."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the file was read."""
    augmentation: Augmentation
    """What the published results on this dataset augment training images with."""
    arrays_folder: Path
    tokens: TokenRecord | None = None
    """Of text: what it was read with. Examples are then windows of it."""

    @classmethod
    def of_stored(cls, name: str, folder: Path, meta: StoredMeta) -> Self:
        """The data set whose decoded arrays lie in `folder`."""
        num_train, num_test = meta.shapes["x_train"][0], meta.shapes.get("x_test", (0,))[0]
        if meta.tokens is not None:
            num_train, num_test = (num_windows(number, meta.tokens.context) for number in (num_train, num_test))
        return cls(
            name=name,
            task=meta.task,
            input_shape=meta.shapes["x_train"][1:] if meta.tokens is None else (meta.tokens.context,),
            num_outputs=meta.num_outputs,
            num_train=num_train,
            num_test=num_test,
            fingerprint=meta.fingerprint,
            layout=meta.layout,
            classes=meta.classes,
            notes=meta.notes,
            augmentation=meta.augmentation,
            arrays_folder=folder,
            tokens=meta.tokens,
        )

    @classmethod
    def from_text(
        cls,
        path: str | os.PathLike[str],
        *,
        context: int = DEFAULT_CONTEXT,
        tokenizer: str = "bytes",
        data_dir: Path | None = None,
    ) -> Self:
        """A text to learn the next token of; its end is the test split.

        Args:
            path: Of a text, or of a folder of texts, which are read in the order of their paths; or "stdlib".
            context: Tokens of a window: what a network reads before each token that it names.
            tokenizer: A name of ``autogrow list tokenizers``, or the path of a ``tokenizer.json`` of the tokenizers
                library.
            data_dir: Where decoded arrays are kept; None: the user's cache folder.

        Raises:
            DataError: Where there is no text, it is shorter than windows need, or it cannot be read as characters.
            UsageError: For a context out of range, and a tokenizer file without its library.
        """
        name = text_options(context, tokenizer).of(os.fspath(path))
        source = find_text(name)
        return cls.of_stored(source.name, *stored_arrays(source, data_dir))

    @classmethod
    def from_tokens(
        cls,
        tokens: Any,
        test: Any = None,
        *,
        context: int = DEFAULT_CONTEXT,
        name: str = DEFAULT_NAME,
        data_dir: Path | None = None,
    ) -> Self:
        """Tokens given as numbers, kept in a file as `from_arrays` keeps arrays.

        Args:
            tokens: (number,) whole numbers from 0.
            test: The test split; None: the last tenth of `tokens`.
            context: Tokens of a window.
            name: What runs and reports call the data set.
            data_dir: Where the file lies; None: the user's cache folder.

        Raises:
            DataError: For what are no tokens, and too few of them.
        """
        given = {"x_train": tokens, "x_test": test}
        arrays = {key: as_array(value, key) for key, value in given.items() if value is not None}
        given_tokens(arrays["x_train"], arrays.get("x_test"), context, name)  # before anything is written
        path = text_options(context).of(str(kept(arrays, name, data_dir)))
        return cls.of_stored(path, *stored_arrays(find_npz(path), None))

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any = None,
        x_test: Any = None,
        y_test: Any = None,
        *,
        task: str | None = None,
        layout: Layout | None = None,
        name: str = DEFAULT_NAME,
        data_dir: Path | None = None,
    ) -> Self:
        """A data set of arrays, kept in a file so that trials, and runs that are resumed later, find it.

        The file lies at ``<data_dir>/autogrow-given/<digest>/<name>.npz`` and is read like any ``.npz`` of a user's
        own; equal arrays share one. `discard` deletes it. Without a test part nothing is split off for testing:
        `train` then says that there is no test split, and `compare`, which reads it, refuses.

        Args:
            x: Inputs (N, features), (N, H, W), (N, C, H, W) or (N, H, W, C): arrays, tensors, tables of numbers, lists.
            y: Targets (N,), (N, width) or one-hot rows: whole numbers, truth values and text are classes. Not looked at
                where the task's targets are the inputs.
            x_test: Inputs of the test split; it is read once, when nothing is left to decide.
            y_test: Its targets.
            task: What the targets are for; None: decided by them.
            layout: How the inputs lie; None: decided by their shape.
            name: What runs and reports call the data set.
            data_dir: Where the file lies; None: the user's cache folder. Trials on other machines must see it.

        Raises:
            DataError: For arrays of unequal lengths, of shapes or kinds that are no data, and for a full disk.
            UsageError: For a name that no file can have.
        """
        given = {"x_train": x, "x_test": x_test}
        if needs_targets(task):
            given = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
        arrays = {key: as_array(value, key) for key, value in given.items() if value is not None}
        for needed in ("x_train", "y_train"):
            if needed in given and needed not in arrays:
                raise DataError(f"{needed} is None: give inputs and targets")
        path = str(kept(arrays, name, data_dir))
        # Decoded arrays of a user's own file are kept in the cache, see `opening.open_dataset`.
        return cls.of_stored(path, *stored_arrays(find_npz(path, task, layout), None))

    @classmethod
    def from_examples(
        cls,
        examples: Any,
        test: Any = None,
        *,
        task: str | None = None,
        layout: Layout | None = None,
        name: str = DEFAULT_NAME,
        data_dir: Path | None = None,
    ) -> Self:
        """A data set of anything with ``__len__`` and ``__getitem__``, such as a map-style data set of PyTorch.

        Every example is read once and kept, see `from_arrays`, which has the other arguments: what is random in it,
        such as augmentation, is drawn once.

        Args:
            examples: Pairs (input, target) for training, all of one shape.
            test: The same for the test split.

        Raises:
            DataError: Where an example cannot be read, is no pair, or has another shape than the first.
            UsageError: For a name that no file can have.
        """
        x, y = stacked(examples, "examples")
        x_test, y_test = (None, None) if test is None else stacked(test, "test")
        return cls.from_arrays(x, y, x_test, y_test, task=task, layout=layout, name=name, data_dir=data_dir)

    def discard(self) -> None:
        """Delete the file of a data set that was given in Python, and its decoded arrays.

        Runs that were made on it can then be read, but not resumed, and not confirmed.

        Raises:
            UsageError: For any other data set: its files are the user's.
        """
        path = Path(place_and_query(self.name)[0])
        if not is_kept_here(path):
            raise UsageError(f"data set {self.name!r} was not given as arrays or examples: its files are yours")
        path.unlink(missing_ok=True)
        remove_written(self.arrays_folder, ARRAY_FILES)
        if path.parent.exists() and not any(path.parent.iterdir()):
            path.parent.rmdir()

    def describe(self, target_scale: Normalization | None = None) -> str:
        """How the data are read, in one line: numbers, shape, layout, task, classes, what targets are scaled by."""
        shape = " x ".join(map(str, self.input_shape))
        features = f"{shape} feature{'s' if self.input_shape != (1,) else ''}"
        what = features if self.layout == "features" else f"images of {shape} ({_LAYOUT_WORDS.get(self.layout)})"
        if self.tokens is not None:
            edition = f" ({self.tokens.edition})" if self.tokens.edition else ""
            what = f"each {shape} {self.tokens.unit}{edition}"
        targets = TASKS[self.task].describe(self.num_outputs, self.classes)
        if target_scale is not None:
            targets += f", standardized by {_shown(target_scale)}"
        numbers = f"{self.num_train} training and {self.num_test or 'no'} test examples"
        return "; ".join((f"{numbers}, {what}", f"{self.task} of {targets}", *self.notes))

    def training_arrays(self) -> tuple[Array, Array]:
        """All training inputs and targets, memory-mapped and read-only.

        inputs: (num_train, *input_shape) uint8, float32 or float64; targets: (num_train, ...) as their task
        stores them, or the inputs themselves. Of text both are windows of one row of tokens. Raises `DataError` when
        the folder has gone.
        """
        inputs = open_array(self.arrays_folder, "x_train")
        if self.tokens is not None:
            return windows_of(inputs, self.tokens.context)
        return inputs, inputs if TASKS[self.task].targets_are_inputs else open_array(self.arrays_folder, "y_train")

    def chance_level(self) -> float | None:
        """What the best answer that looks at no input has on the training examples; None where there is none."""
        _, targets = self.training_arrays()
        return TASKS[self.task].chance_level(targets)

    @property
    def bytes_per_token(self) -> float | None:
        """Of text, the mean; None where it is not known, and of other data."""
        return None if self.tokens is None else self.tokens.bytes_per_token

    def split(
        self, *, seed: int, validation_fraction: float | None = None, train_size: int | None = None
    ) -> tuple[TrainSplit, ValidationSplit]:
        """Divide the training set, stratified as its task says; equal arguments always give equal splits.

        `validation_fraction` defaults to 0.2 below 10,000 training examples, else to 0.1. `train_size` keeps that many
        of the remaining examples, and at most max(train_size // 2, 500, classes) validation examples. Both splits are
        copies in memory. Text is divided by position, whatever the seed: its end is validation, see
        `autogrow.data.windows`. Raises `UsageError` for arguments out of range (see `autogrow.data.splits` for the
        rule).
        """
        if self.tokens is not None:
            return split_windows(
                open_array(self.arrays_folder, "x_train"),
                self.tokens.context,
                validation_fraction=validation_fraction,
                train_size=train_size,
                origin=self.name,
            )
        inputs, targets = self.training_arrays()
        strata = TASKS[self.task].strata(targets)
        train, validation = split_indices(
            strata, seed=seed, validation_fraction=validation_fraction, train_size=train_size
        )
        everything = np.arange(len(inputs), dtype=np.int64)
        return (
            TrainSplit(inputs, targets, everything).at(train),
            ValidationSplit(inputs, targets, everything).at(validation),
        )


def open_array(folder: Path, name: str) -> Array:
    """Memory-map one array of a folder of decoded arrays. Raises `DataError` when it is not there."""
    try:
        array: Array = np.load(array_path(folder, name), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{array_path(folder, name)}: decoded array missing or damaged: open the dataset again on this host"
        ) from error
    return array


def _shown(scale: Normalization) -> str:
    """Means and standard deviations, of many targets the first."""
    pairs = [f"mean {mean:.4g} and deviation {std:.4g}" for mean, std in zip(scale.mean, scale.std, strict=True)]
    return "; ".join(pairs[:_SHOWN_TARGETS] + ["..."] * (len(pairs) > _SHOWN_TARGETS))
