"""The test split: the only place that opens the test arrays.

For the end of `train`, `evaluate`, `compare` and `reproduce`. The search must not import this module, and
`autogrow.data` does not re-export it, so that an import rule can enforce that.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autogrow.data.dataset import Dataset, open_array
from autogrow.data.splits import Examples
from autogrow.data.windows import windows_of
from autogrow.errors import DataError
from autogrow.tasks import TASKS


@dataclass(frozen=True, eq=False)
class TestSplit(Examples):
    """The examples that are looked at once, when nothing is left to decide. Memory-mapped and read-only."""

    __test__: ClassVar[bool] = False  # pytest would take the name for a test case


def open_test_split(dataset: Dataset) -> TestSplit:
    """The whole test split. Raises `DataError` when the dataset has none."""
    if dataset.num_test == 0:
        raise DataError(f"dataset {dataset.name!r} has no test split: add x_test and y_test to its file")
    if dataset.tokens is not None:
        tokens, context = open_array(dataset.arrays_folder, "x_test"), dataset.tokens.context
        starts = np.arange(dataset.num_test, dtype=np.int64) * context
        return TestSplit(*windows_of(tokens, context), starts, (tokens,))
    inputs = open_array(dataset.arrays_folder, "x_test")
    return TestSplit(
        inputs=inputs,
        targets=inputs if TASKS[dataset.task].targets_are_inputs else open_array(dataset.arrays_folder, "y_test"),
        indices=np.arange(dataset.num_test, dtype=np.int64),
    )
