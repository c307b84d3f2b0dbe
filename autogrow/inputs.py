"""What callers of `search`, `train`, `compare` and `evaluate` give, made into what these work with.

One way from a data set, a model, a device and training settings as a person gives them, on the command line or in
Python, to the opened data, the model's specification and complete settings. Nothing is trained here.
"""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autogrow.data.arrays import Layout
from autogrow.data.dataset import Dataset
from autogrow.data.locations import default_data_dir
from autogrow.data.opening import open_given
from autogrow.data.python_data import Examples
from autogrow.data.reopening import reopen_dataset
from autogrow.errors import UsageError, kind_of, shortened
from autogrow.models.building import AUTOMATIC, ModelSpec, automatic_model, check_fits_task, given_model
from autogrow.paths import is_npz_name, resolved
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.part import validated
from autogrow.policy.training_settings import TrainingSettings, text_training
from autogrow.tasks import TASKS

logger = logging.getLogger(__name__)
SMALL_TRAINING_SET = 10_000
FEWEST_STEPS_OF_AN_EPOCH = 8
SMALLEST_DEFAULT_BATCH = 8
EPOCHS_OF_SMALL_SETS = 15
EPOCHS_OF_LARGE_SETS = 10

ModelLike = str | ModelSpec | Callable[..., nn.Module] | nn.Module
"""A model in any form that `resolve_model` takes."""
DataLike = str | os.PathLike[str] | Dataset | tuple[Any, ...] | Examples
"""A data set in any form that `autogrow.data.opening.open_given` opens."""


def open_data(
    dataset: DataLike | None,
    data_dir: str | os.PathLike[str] | None,
    task: str | None = None,
    layout: Layout | None = None,
    before: Mapping[str, Any] | None = None,
) -> Dataset:
    """The data set that a caller gives; a file of their own is read as `task` and `layout` say, or else as `before`.

    Args:
        dataset: In any form that `autogrow.data.opening.open_given` opens; None is the data set of `before`.
        data_dir: Where the files of named data sets lie; None: the user's cache folder.
        task: What the targets of a user's own data are for; None: as before, or decided by them.
        layout: How their inputs lie; None: as before, or decided by their shape.
        before: What a policy was found with, or a network was trained with: ``found_by``, or ``config.json``.

    Raises:
        DataError: For data that are missing, damaged, inconsistent, or others than `before` says.
        UsageError: For what is no data set, and where none is given and `before` names none.
    """
    folder = resolve_data_dir(data_dir)
    if dataset is None:
        return reopen_dataset(before or {}, folder, task=task, layout=layout)
    name = _path_or_name(dataset)
    read = before if before is not None and name is not None and is_npz_name(name) else {}
    if task is None and not isinstance(dataset, Dataset):
        task = _chosen_before(before or {})
    return open_given(dataset, folder, task=task or read.get("task"), layout=layout or read.get("layout"))


def _chosen_before(record: Mapping[str, Any]) -> str | None:
    """The task of before, where no data set decides on it by itself."""
    task = record.get("task")
    return task if isinstance(task, str) and task in TASKS and TASKS[task].targets_are_inputs else None


def _path_or_name(dataset: DataLike | None) -> str | None:
    """What a data set goes by that is given by its name or path."""
    return os.fspath(dataset) if isinstance(dataset, str | os.PathLike) else None


def read_before(policy: GrowthPolicy, dataset: DataLike | None) -> Mapping[str, Any] | None:
    """How the search that found a policy read its data, where they are the same file, or no other is given."""
    found = policy.found_by or {}
    name = _path_or_name(dataset)
    same = name is not None and is_npz_name(name) and found.get("dataset") == str(resolved(name))
    return found if same or dataset is None else None


def resolve_data_dir(data_dir: str | os.PathLike[str] | None) -> Path:
    """Where data sets lie: the folder given, absolute, or the user's cache."""
    return default_data_dir() if data_dir is None else resolved(data_dir)


def resolve_device(device: str) -> str:
    """ "auto" is the GPU where PyTorch sees one. Raises `UsageError` for one that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.device(device)
    except RuntimeError:
        raise UsageError(f"device {shortened(device, 40)!r} is none: give 'auto', 'cpu' or 'cuda'") from None
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device {device!r}, but PyTorch sees no GPU here: leave it out to run on the CPU")
    return device


def resolve_model(model: ModelLike, dataset: Dataset, options: Mapping[str, Any] | None) -> ModelSpec:
    """The model that a caller gives: by name with options, the one that fits the data, or as an object of Python.

    Args:
        model: "auto", a name, ``package.module:factory``, a `ModelSpec`; a function, called for every seed with what it
            takes of `input_shape`, `num_outputs` and `options`; or an `nn.Module`, of which every run trains a copy
            with the weights that it has, whatever the seed (which is said: nothing guesses how to draw them anew).
        dataset: What the network is for.
        options: Keyword arguments of the model's factory.

    Raises:
        NetworkError: For an object that makes no network.
        UsageError: For what is no model, and options of a module that is there already.
    """
    if isinstance(model, nn.Module):
        if options:
            raise UsageError(f"model_options {dict(options)} are for a function that makes a network, not for a module")
        logger.warning(
            f"model: the {type(model).__name__} is used with the weights that it has, the same for every seed; give a "
            "function that makes one to draw them anew"
        )
    if isinstance(model, nn.Module) or callable(model):
        return given_model(model, dataset.input_shape, dataset.num_outputs, options)
    if not isinstance(model, str | ModelSpec):
        raise UsageError(f"model is {kind_of(model)}: give a name, a function that makes a network, or an nn.Module")
    if isinstance(model, ModelSpec):
        check_fits_task(model, dataset.task, dataset.name)
        return model.given_by_caller()
    spec = automatic_model(dataset.input_shape, dataset.task) if model == AUTOMATIC else ModelSpec(model)
    check_fits_task(spec, dataset.task, dataset.name)
    return ModelSpec(spec.name, {**spec.options, **(options or {})}).given_by_caller()


def training_settings(
    dataset: Dataset,
    base: TrainingSettings | None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
) -> TrainingSettings:
    """`base`, or the defaults for a data set of this size, with what was given in their place.

    `epochs` also stands in place of a number of steps in `base`.
    """
    if base is None and dataset.tokens is not None:
        base = text_training(dataset.num_train)
    elif base is None:
        base = TrainingSettings(
            epochs=EPOCHS_OF_SMALL_SETS if dataset.num_train < SMALL_TRAINING_SET else EPOCHS_OF_LARGE_SETS,
            batch_size=_default_batch_size(dataset.num_train),
        )
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    changes: dict[str, float | None] = {name: value for name, value in given.items() if value is not None}
    if epochs is not None:
        changes["steps"] = None
    return validated(TrainingSettings, {**base.model_dump(), **changes}, "training")


def _default_batch_size(num_examples: int) -> int:
    """Halved while an epoch has too few steps to learn anything by, on data sets of less than a thousand examples."""
    size: int = TrainingSettings().batch_size
    while size > SMALLEST_DEFAULT_BATCH and num_examples < FEWEST_STEPS_OF_AN_EPOCH * size:
        size //= 2
    return size
