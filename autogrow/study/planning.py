"""What a search is going to do, once everything that could fail has been checked, before anything is started."""

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.data.preprocessing import Normalization
from autogrow.errors import UsageError
from autogrow.metrics.objectives import Objective
from autogrow.models.building import AUTOMATIC, ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.part import validated
from autogrow.policy.presets import CONTROLS
from autogrow.study.executor import Executor
from autogrow.study.packing import MOST_TRIALS, measure_packing
from autogrow.study.ray_executor import RayExecutor
from autogrow.study.run_folder import RunFolder
from autogrow.study.sampling import SAMPLERS
from autogrow.study.search_space import SearchSpace
from autogrow.study.settings import FEWEST_TRIALS_OF_RACE, LOCAL, SPLIT_SEED, SearchSettings, available_cores
from autogrow.study.study_location import SharedStudy, resolved_url
from autogrow.study.trial import device_problem
from autogrow.tasks import TASKS
from autogrow.training.batches import BatchOrder
from autogrow.training.checkpoint import check_checkpoints
from autogrow.training.example_input import example_of
from autogrow.training.measuring import TIMED_BATCH, expected_samples
from autogrow.training.output_check import check_outputs
from autogrow.training.size_fitting import FittingSizes
from autogrow.training.training_data import TrainingData, refuse_unlearnable

LEAST_ROOM = 1
"""Trials besides controls and first policies, without which nothing is trained on several seeds."""
FEWEST_SAMPLES = 30
"""A run with fewer samples is too short for most triggers."""


@dataclass(frozen=True)
class SearchPlan:
    """A search whose settings, data and network have been checked."""

    settings: SearchSettings
    model: ModelSpec
    """Of the settings, as the caller has named it."""
    dataset: Dataset
    target_scale: Normalization | None
    """Of a regression's standardized targets."""
    space: SearchSpace
    objectives: tuple[Objective, ...]
    num_samples: int
    """Measurements that one trial is going to take."""
    num_groups: int
    num_parameters: int
    warnings: tuple[str, ...]
    executor: Executor
    """What its trials run on."""

    def telling_of_small_races(self) -> Self:
        """The plan with a warning where its trials are too few for any policy to be trained on a second seed."""
        settings = self.settings
        taken = len(CONTROLS) + len(settings.warm_start) + len(self.space.first_points)
        fewest = max(FEWEST_TRIALS_OF_RACE, taken + LEAST_ROOM)
        if settings.most_seeds == 1 or settings.trials >= fewest:
            return self
        few = (
            f"{settings.trials} trials are too few to train a policy on a second seed (controls and first policies "
            f"take {min(taken, settings.trials)} of them): all are trained on seed {settings.seed} alone; from "
            f"--trials {fewest} on, the best are trained again"
        )
        return replace(self, warnings=(*self.warnings, few))


def with_measured_packing(
    fields: dict[str, Any], where: str, model: ModelSpec
) -> tuple[SearchSettings, ModelSpec, tuple[str, ...]]:
    """Settings of which `gpus_per_trial` may be "auto": the share by which a GPU trains most. With a note of that."""
    if fields.get("gpus_per_trial") != AUTOMATIC:
        return validated(SearchSettings, fields, where), model, ()
    settings = validated(SearchSettings, {**fields, "gpus_per_trial": 1.0}, where)
    if settings.address is not None:
        raise UsageError(
            "--gpus-per-trial auto measures on this machine, not on the cluster at --address: give a number"
        )
    if (problem := device_problem(1.0)) is not None:
        raise UsageError(problem.replace("--gpus-per-trial 1", "--gpus-per-trial auto"))
    packing = measure_packing(settings, model, most=min(MOST_TRIALS, available_cores() // settings.cpus_per_trial))
    return settings.model_copy(update={"gpus_per_trial": packing.share}), model, (str(packing),)


def plan_search(
    settings: SearchSettings, model: ModelSpec, notes: tuple[str, ...] = (), executor: Executor | None = None
) -> SearchPlan:
    """Open the data, build and trace the network, read the space: whatever could fail, before anything is started.

    model: That of the settings, as the caller has named it.
    executor: What trials are to run on; Ray, as the settings say, where it is None.
    """
    if executor is not None and settings.address is not None:
        raise UsageError("address is that of a Ray cluster: leave it out, or leave out executor")
    executor = executor or RayExecutor.of(settings)
    executor.check(settings)
    SAMPLERS[settings.sampler]
    if settings.storage is not None:
        settings = settings.model_copy(update={"storage": resolved_url(settings.storage)})
    space = SearchSpace(settings.space, "search space")
    objectives = settings.chosen_objectives
    dataset = open_dataset(settings.dataset, Path(settings.data_dir), task=settings.task, layout=settings.layout)
    train, validation = dataset.split(seed=SPLIT_SEED, train_size=settings.train_size)
    for part in (train, validation):
        refuse_unlearnable(TASKS[dataset.task], part)
    read_on = {
        "num_validation": len(validation),
        "chance_level": dataset.chance_level(),
        "bytes_per_token": dataset.bytes_per_token,
    }
    settings = settings.model_copy(update=read_on)
    module = build_model(model, dataset.input_shape, dataset.num_outputs, settings.seed)
    check_checkpoints(module)
    network = ExpandableNetwork(module, example_of(dataset, torch.device("cpu")))
    data = TrainingData.of(dataset, train, validation, standardizes_targets=settings.standardizes_targets)
    check_outputs(network.module, data)
    _check_growable(network, settings)
    limits = settings.limits
    if limits.is_set:
        batch = example_of(dataset, torch.device("cpu"), settings.training.batch_size)
        timed = example_of(dataset, torch.device("cpu"), TIMED_BATCH)
        fitting = FittingSizes(network, GrowthPolicy().within(limits), batch, timed)
        fitting.start({group.name: 1 for group in network.groups})
    order = BatchOrder(len(train), settings.training.batch_size, 0, torch.device("cpu"))
    num_steps = settings.training.num_steps(order.steps_per_epoch)
    num_samples = expected_samples(num_steps, settings.training.sample_every)
    if num_samples < FEWEST_SAMPLES:
        few = (
            f"a trial takes only {num_samples} measurements, too few for most triggers: raise --epochs or --train-size"
        )
        notes = (*notes, few)
    return SearchPlan(
        settings,
        model,
        dataset,
        data.target_scale,
        space,
        objectives,
        num_samples,
        len(network.groups),
        network.num_parameters,
        notes,
        executor,
    )


def _check_growable(network: ExpandableNetwork, settings: SearchSettings) -> None:
    """Raises `UsageError` for a network in which there is nothing of what the search is to grow."""
    if settings.defaults_to_depth and not network.stages:
        raise UsageError(
            f"the search space grows depth, and model {settings.model!r} has no row of equal blocks that could get "
            "deeper: leave out --space, or search widths with --space default"
        )
    if not settings.defaults_to_depth and not network.groups:
        reasons = "; ".join(f"{group.name}: {group.reason}" for group in network.fixed)
        raise UsageError(f"model {settings.model!r} has no channel group that can grow ({reasons})")


def resume_settings(
    folder: RunFolder, model: str | ModelSpec | None = None, **changes: Any
) -> tuple[SearchSettings, ModelSpec, tuple[str, ...]]:
    """The settings that a run was started with; `changes` may be its budget and where it runs, None changing nothing.

    A time budget counts from the resumption, so the old one does not hold. A shared database may have moved, but a
    study in the run folder stays there: raises `UsageError` for a `storage` then.

    A folder chooses neither what code is run nor what is connected to: `model` names a network of the user's own again
    (raises `NetworkError` otherwise), which is imported from where they are now, and a Ray cluster and a database
    elsewhere are named again, too.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    before = folder.settings()
    spec = ModelSpec.from_dict({"name": before.model, "options": before.model_options}).named_again(model, folder.place)
    if before.address is not None and "address" not in given:
        raise UsageError(
            f"{folder.place} ran on the Ray cluster at {before.address!r}: name it again with --address "
            f"{shlex.quote(before.address)}, or go on on this machine with --address {LOCAL}"
        )
    if "storage" not in given:
        location = folder.study_location()
        given["storage"] = location.url if isinstance(location, SharedStudy) else None
    elif before.storage is None:
        database = folder.place_of(folder.database)
        raise UsageError(f"the study of {folder.place} is in {database}: leave out --storage to go on with it")
    fields = {**before.model_dump(), "time_budget_seconds": None, "working_directory": os.getcwd(), **given}
    return with_measured_packing(fields, str(folder.config_file), spec)
