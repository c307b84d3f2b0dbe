"""The data that a policy was found with, or that a network was trained with, opened again from what their files say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autogrow.data.arrays import Layout
from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.errors import DataError, UsageError


def reopen_dataset(
    record: Mapping[str, Any], data_dir: Path, *, task: str | None = None, layout: Layout | None = None
) -> Dataset:
    """The data set of a policy's ``found_by`` or a saved network's configuration, read as it was read then.

    Raises `UsageError` where the record names none, and `DataError` where it has moved or has other contents now.
    """
    name = recorded_dataset(record)
    try:
        opened = open_dataset(name, data_dir, task=task or record.get("task"), layout=layout or record.get("layout"))
    except DataError as error:
        raise DataError(f"{error}; those are the data of before: name others with --dataset") from error
    fingerprint = _recorded_fingerprint(record)
    if fingerprint not in (None, opened.fingerprint):
        raise DataError(
            f"data set {name!r} has changed: its fingerprint was {fingerprint} and is {opened.fingerprint}; to take it "
            f"as it is now, name it with --dataset"
        )
    return opened


def recorded_dataset(record: Mapping[str, Any]) -> str:
    """The name or path of a record's data. Raises `UsageError` where it names none."""
    data = record.get("dataset")
    name = data.get("name") if isinstance(data, Mapping) else data
    if not isinstance(name, str):
        raise UsageError("no data set is given, and what was found or trained before names none: give --dataset")
    return name


def _recorded_fingerprint(record: Mapping[str, Any]) -> Any:
    data = record.get("dataset")  # a saved network keeps what it says of its data together
    return (data if isinstance(data, Mapping) else record).get("fingerprint")
