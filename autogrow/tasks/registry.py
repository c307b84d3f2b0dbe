"""The table of tasks: what a network can be trained for, each under the name that files and commands use."""

from typing import Annotated

from pydantic import AfterValidator

from autogrow.errors import DataError, UsageError, unknown_name
from autogrow.reading.arrays import Array
from autogrow.reading.number_precision import check_finite
from autogrow.registry import Registry, instance_of
from autogrow.tasks.base import Task

TASKS: Registry[Task] = Registry("task", UsageError, group="autogrow.tasks", accepts=instance_of(Task))


def known_task(name: str) -> str:
    """The name, where there is such a task. Raises `ValueError` otherwise, as a field's check does."""
    if name not in TASKS:
        raise ValueError(unknown_name("task", name, TASKS))
    return name


TaskName = Annotated[str, AfterValidator(known_task)]
"""A task as files and records write it."""


def decide_task(y_train: Array, wanted: str | None, origin: str) -> str:
    """The name of the task that targets are for: `wanted`, else the first that recognizes them.

    Raises `DataError` for targets that are NaN or infinite, or that no task recognizes.
    """
    check_finite(y_train, "y_train", origin)
    if wanted is not None:
        return wanted
    for name, task in TASKS.items():
        if task.recognizes(y_train):
            return name
    raise DataError(f"{origin}: y_train {y_train.shape} of {y_train.dtype} fits no task: say which with --task")
