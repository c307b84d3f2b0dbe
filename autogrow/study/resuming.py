"""Going on with a run: its budget and where it runs may change; any other setting must be the run's own, if given."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autogrow.data.opening import full_name, open_dataset
from autogrow.errors import UsageError
from autogrow.metrics.objectives import parse_objectives
from autogrow.models.building import ModelSpec, automatic_model
from autogrow.policy.part import validated
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.search_space import read_space
from autogrow.study.settings import SearchSettings
from autogrow.study.warm_start import POLICY_SUFFIXES, each_source, read_warm_start
from autogrow.tasks import TASKS

RESUMABLE_SETTINGS = (
    "trials", "time_budget_seconds", "compute_budget_seconds", "max_consecutive_failures", "trial_timeout_seconds",
    "address", "storage", "max_concurrent", "cpus_per_trial", "gpus_per_trial", "memory_per_trial_bytes", "data_dir",
    "fork_at_growth", "seeds_per_policy",
)  # fmt: skip
"""What may change when a run goes on: its budget, and where it runs."""
_ARGUMENTS_OF_TRAINING = ("epochs", "batch_size", "learning_rate")
"""What stands in place of a field of the training settings, where both are given."""
_LENGTHY = ("space", "warm_start")
"""Settings too long to be shown, of which only what was given is."""


def refuse_changes(before: SearchSettings, given: Mapping[str, Any]) -> None:
    """Raise `UsageError` for the first of the `given` settings that is not, once resolved, what the run has.

    They are given as a new search takes them: a space by its name, "auto" for a model. Of mappings (`limits`,
    `execution`, `model_options`) only what is named is compared.
    """
    own = before.model_dump(mode="json")
    for name, value in given.items():
        fields = _resolved(name, value, before, given)
        changed = validated(SearchSettings, {**own, **fields}, "resume").model_dump(mode="json")
        for path, now, was in _differences(changed, own):
            difference = f"{value!r} is another" if path in _LENGTHY else f"it is {was!r}, not {now!r}"
            raise UsageError(f"{path} cannot change in a resumed run: {difference}; leave it out, or start a new run")


def _resolved(name: str, value: Any, before: SearchSettings, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that one argument of a new search decides."""
    if name == "dataset":
        return {"dataset": full_name(value)}
    if name == "model":
        spec = _resolved_model(value, before)
        options = {**before.model_options, **spec.options, **(given.get("model_options") or {})}
        return {"model": spec.name, "model_options": options}
    if name == "space":
        return {"space": read_space(value)}
    if name == "objectives":
        return {"objectives": tuple(objective.name for objective in parse_objectives(value, TASKS[before.task].score))}
    if name == "warm_start":
        return {} if _names_the_same(value, before) else {"warm_start": read_warm_start(value, before.space)}
    if name == "training" and isinstance(value, TrainingSettings):
        named = {each: given[each] for each in _ARGUMENTS_OF_TRAINING if each in given}
        return {"training": {**value.model_dump(), **named}}
    if name in _ARGUMENTS_OF_TRAINING:
        return {"training": {**before.training.model_dump(), name: value}}
    if name in ("limits", "execution", "model_options") and isinstance(value, Mapping):
        return {name: {**before.model_dump()[name], **value}}
    return {name: value}


def _resolved_model(model: str | ModelSpec, before: SearchSettings) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    if model != "auto":
        return ModelSpec(model)
    dataset = open_dataset(before.dataset, Path(before.data_dir), task=before.task, layout=before.layout)
    return automatic_model(dataset.input_shape, dataset.task)


def _names_the_same(sources: Any, before: SearchSettings) -> bool:
    """Whether the run began with these policy files and runs, whatever has become of them since."""
    origins = {entry.origin.rpartition(", trial ")[0] or entry.origin for entry in before.warm_start}
    names = {str(each) if Path(each).suffix in POLICY_SUFFIXES else Path(each).name for each in each_source(sources)}
    return names == origins


def _differences(now: Any, before: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where plain data differ: the path, and the values now and before."""
    if isinstance(now, dict) and isinstance(before, dict) and path not in _LENGTHY:
        for name in now:
            yield from _differences(now[name], before.get(name), f"{path}.{name}" if path else name)
    elif now != before:
        yield path, now, before
