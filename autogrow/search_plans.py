"""From what a caller gives for a search to a plan of it: every setting resolved and checked before anything is started.

Not for the data, the model and the training settings by themselves, which `autogrow.inputs` opens and resolves.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autogrow.data.arrays import Layout
from autogrow.data.dataset import Dataset
from autogrow.errors import UsageError, shortened
from autogrow.inputs import (
    DataLike,
    ModelLike,
    open_data,
    resolve_data_dir,
    resolve_model,
    training_settings,
)
from autogrow.keywords import refuses_unknown
from autogrow.metrics.objectives import parse_objectives
from autogrow.models.building import ModelSpec, build_model
from autogrow.models.given import hand_over
from autogrow.network.expandable import ExpandableNetwork
from autogrow.paths import resolved_dataset
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.executor import Executor
from autogrow.study.planning import SearchPlan, plan_search, resume_settings, with_measured_packing
from autogrow.study.resuming import RESUMABLE_SETTINGS, refuse_changes
from autogrow.study.run_folder import RunFolder
from autogrow.study.search_space import read_space
from autogrow.study.settings import DEFAULT_SEEDS_PER_POLICY, DEFAULT_TRIALS, SearchSettings
from autogrow.study.warm_start import read_warm_start
from autogrow.tasks import TASKS
from autogrow.training.example_input import example_of

AUTOMATIC_SPACE = "auto"


def settings_of_a_search() -> list[str]:
    """What `search` and `plan_new_search` take besides their own arguments."""
    decided_here = {"fingerprint", "working_directory", "num_validation", "chance_level", "bytes_per_token"}
    return [name for name in (*SearchSettings.model_fields, *_ARGUMENTS_OF_A_SEARCH) if name not in decided_here]


_ARGUMENTS_OF_A_SEARCH = ("model_options", "epochs", "batch_size", "learning_rate", "time_budget_seconds")


@refuses_unknown(settings_of_a_search)
def plan_resumed_search(folder: RunFolder, *, executor: Executor | None = None, **settings: Any) -> SearchPlan:
    """Check a run that is to go on. Raises `UsageError` for a setting that is not the run's own and would change it.

    The settings are those of `plan_new_search`; what is None is not given. Only `RESUMABLE_SETTINGS` may change.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    changes = {name: given.pop(name) for name in RESUMABLE_SETTINGS if name in given}
    before = folder.settings()
    if not isinstance(given.get("dataset", ""), str):
        given["dataset"] = open_data(given["dataset"], before.data_dir, before.task, before.layout).name
    if not isinstance(given.get("model", ""), str | ModelSpec):
        data = open_data(before.dataset, before.data_dir, before.task, before.layout)
        given["model"] = resolve_model(given["model"], data, given.get("model_options", before.model_options))
    refuse_changes(before, given)
    if "data_dir" in changes:
        changes["data_dir"] = str(resolve_data_dir(changes["data_dir"]))
    resumed = resume_settings(folder, given.get("model"), **changes)
    plan = _handed_over(plan_search(*resumed, executor=executor))
    return plan.telling_of_small_races() if {"trials", "seeds_per_policy"} & changes.keys() else plan


def space_for(dataset: Dataset, model: ModelSpec) -> tuple[str, tuple[str, ...]]:
    """The name of the space that is searched where none is given, and, where that is no matter of course, why.

    Depth where the task's networks grow in it and this one has stages, otherwise width.
    """
    if not TASKS[dataset.task].grows_in_depth:
        return "default", ()
    module = build_model(model, dataset.input_shape, dataset.num_outputs, 0)
    stages = ExpandableNetwork(module, example_of(dataset, torch.device("cpu"))).stages
    if not stages:
        return "default", ("space default, of widths: the network has no row of equal blocks that could get deeper",)
    rows = ", ".join(f"{stage.num_blocks} blocks in {stage.name}" for stage in stages)
    return "depth", (f"space depth: the network has {rows}; --space default searches widths",)


@refuses_unknown(settings_of_a_search)
def plan_new_search(
    dataset: DataLike,
    model: ModelLike = "auto",
    *,
    trials: int = DEFAULT_TRIALS,
    seeds_per_policy: int = DEFAULT_SEEDS_PER_POLICY,
    space: str | os.PathLike[str] | Mapping[str, Any] = AUTOMATIC_SPACE,
    model_options: Mapping[str, Any] | None = None,
    objectives: str | Sequence[str] | None = None,
    training: TrainingSettings | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    data_dir: str | Path | None = None,
    task: str | None = None,
    layout: Layout | None = None,
    warm_start: str | Sequence[str] = (),
    executor: Executor | None = None,
    **settings: Any,
) -> SearchPlan:
    """Resolve and check every setting of a new search.

    training: in place of the defaults for a data set of this size; `epochs`, `batch_size` and `learning_rate` stand in
        place of what it says.
    warm_start: runs, and policy files, to begin with.
    executor: what trials run on; Ray where it is None.
    """
    data_dir = resolve_data_dir(data_dir)
    if not isinstance(training, TrainingSettings | None):
        raise UsageError(f"training is {shortened(repr(training), 80)}: write TrainingSettings(...)")
    opened = open_data(dataset, data_dir, task, layout)
    spec = resolve_model(model, opened, model_options)
    why: tuple[str, ...] = ()
    if space == AUTOMATIC_SPACE:
        space, why = space_for(opened, spec)
    content = read_space(os.fspath(space) if isinstance(space, os.PathLike) else space)
    task_of_data = TASKS[opened.task]
    wanted = task_of_data.default_objectives if objectives is None else objectives
    fields = {
        "dataset": resolved_dataset(opened.name),
        "data_dir": str(data_dir),
        "fingerprint": opened.fingerprint,
        "task": opened.task,
        "layout": opened.layout,
        "standardizes_targets": task_of_data.standardizes_targets,
        "model": spec.name,
        "model_options": dict(spec.options),
        "space": content,
        "trials": trials,
        "seeds_per_policy": seeds_per_policy,
        "objectives": tuple(objective.name for objective in parse_objectives(wanted, task_of_data.score)),
        "training": training_settings(opened, training, epochs, batch_size, learning_rate),
        "working_directory": os.getcwd(),
        "warm_start": read_warm_start(warm_start, content, settings.get("storage")),
        **settings,
    }
    resolved, spec, notes = with_measured_packing(fields, "search", spec)
    return _handed_over(plan_search(resolved, spec, (*why, *notes), executor)).telling_of_small_races()


def _handed_over(plan: SearchPlan) -> SearchPlan:
    """The plan, after a network that was given as an object is put where its trials' processes find it.

    Raises `UsageError` where these may be on other machines.
    """
    given = plan.model.given
    if given is not None:
        if plan.settings.address is not None:
            raise UsageError(
                f"model {given.label!r} was given as an object, which other machines of a cluster do not have: give it "
                "as package.module:factory, or leave out address"
            )
        hand_over(plan.model.name, given)
    return plan
