"""Datasets as memory-mapped numpy arrays with fixed, honest splits.

Nothing here imports torch, and nothing here opens the test arrays: that is `autogrow.data.test_split`, which the search
may not import and which this package therefore does not re-export. Names are loaded when they are first used, so that
``import autogrow.data`` costs no numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers only; at run time __getattr__ below does the same
    from autogrow.data.catalogue import DATASET_NAMES
    from autogrow.data.dataset import Dataset
    from autogrow.data.fetching import FetchResult, fetch_dataset
    from autogrow.data.listing import DatasetListing, list_datasets
    from autogrow.data.locations import default_data_dir
    from autogrow.data.opening import open_dataset
    from autogrow.data.preprocessing import Normalization, measure_normalization
    from autogrow.data.splits import TrainSplit, ValidationSplit, merge_splits

__all__ = [
    "DATASET_NAMES",
    "Dataset",
    "DatasetListing",
    "FetchResult",
    "Normalization",
    "TrainSplit",
    "ValidationSplit",
    "default_data_dir",
    "fetch_dataset",
    "list_datasets",
    "measure_normalization",
    "merge_splits",
    "open_dataset",
]

_MODULE_OF = {
    "DATASET_NAMES": "catalogue",
    "Dataset": "dataset",
    "DatasetListing": "listing",
    "FetchResult": "fetching",
    "Normalization": "preprocessing",
    "TrainSplit": "splits",
    "ValidationSplit": "splits",
    "default_data_dir": "locations",
    "fetch_dataset": "fetching",
    "list_datasets": "listing",
    "measure_normalization": "preprocessing",
    "merge_splits": "splits",
    "open_dataset": "opening",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
