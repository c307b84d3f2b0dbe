"""Everything that decides a search: validated once, written to the run's config.yaml, and enough to repeat it."""

import hashlib
import json
import os
import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from autogrow.errors import UsageError, shortened
from autogrow.former_names import with_former_settings
from autogrow.metrics.objectives import Objective, objective_of, own_names
from autogrow.policy.execution import Execution
from autogrow.policy.limits import SizeLimits
from autogrow.policy.part import PolicyPart
from autogrow.policy.training_settings import TrainingSettings
from autogrow.reading.fields import MOST_BYTES, MOST_SECONDS, Count, PlainTable, Seconds
from autogrow.tasks import TASKS
from autogrow.tasks.registry import TaskName

DEFAULT_TRIALS = 20
DEFAULT_SEEDS_PER_POLICY = 5
"""Of new searches: on tables of policies by seeds (`autogrow reproduce racing`) no worse than 8, and better than 3."""
FEWEST_TRIALS_OF_RACE = 8
"""Training runs without which no policy is trained on another seed: controls and a few policies take them all."""
LOCAL = "local"
"""In place of a Ray cluster's address: one that is started on this machine."""
DEFAULT_OBJECTIVES = ("score", "generalization_gap", "train_seconds")
SPLIT_SEED = 0
"""The validation split has a seed of its own, so that searches with other seeds can be compared."""


class FirstPolicy(PolicyPart):
    """A policy to try first: where it comes from, its fields, and its point in the search space, if it has one."""

    origin: str
    policy: PlainTable
    params: PlainTable = {}


class SearchSettings(PolicyPart):
    """The resolved settings of a run. Names of data set, model and objectives have been checked before."""

    dataset: str
    data_dir: str
    fingerprint: str
    """Of the data set's contents; a resumed search refuses other data."""
    task: TaskName
    layout: Literal["features", "grey_images", "channels_first", "channels_last", "tokens"] | None = None
    """How the inputs lie in a user's file; None in runs from before it was recorded."""
    standardizes_targets: bool = False
    """Whether a regression trains on standardized targets: new searches do, those from before go on as they began."""
    model: str
    model_options: PlainTable = {}
    space: PlainTable
    """The search space's content, so that a run does not depend on its file."""
    trials: int = Field(default=DEFAULT_TRIALS, ge=1, le=100_000)
    """Training runs, those of one policy on several seeds included."""
    seeds_per_policy: int = Field(default=1, ge=1, le=100)
    """The most seeds that one policy is trained on: of those that look good, more than one, to tell merit from luck.
    One in a run of before, which did not say."""
    time_budget_seconds: Seconds | None = None
    compute_budget_seconds: Seconds | None = None
    """Core-seconds of all trials together, GPU-seconds where trials run on GPUs."""
    max_consecutive_failures: int = Field(default=5, ge=1, le=100_000)
    """Failures in a row after which the search stops: the cause is then not in the policies."""
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    sampler: str = "tpe"
    early_stopping: Literal["flops", "train_seconds", "none"] = "flops"
    """What trials have to have used when they are compared, and the worst third stopped."""
    warm_start: tuple[FirstPolicy, ...] = ()
    """Policies to try first, as `warm_start.read_warm_start` found them."""
    training: TrainingSettings = TrainingSettings()
    train_size: Count | None = None
    num_validation: Count | None = None
    """Validation examples that trials are read on; None in a run of before, which did not say."""
    chance_level: float | None = Field(default=None, ge=0)
    """Of the training examples, as their task says it. None for a regression, and in a run of before."""
    bytes_per_token: float | None = Field(default=None, gt=0)
    """Of text, the mean, by which losses are told in bits per byte."""
    limits: SizeLimits = SizeLimits()
    """Sizes that no network of the search may exceed, controls included."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    execution: Execution = Execution()
    gpus_per_trial: float = Field(default=0.0, ge=0, le=64)
    cpus_per_trial: int = Field(default=1, ge=1, le=1024)
    max_concurrent: int | None = Field(default=None, ge=1, le=10_000)
    fork_at_growth: bool = True
    """Whether trials that start alike share what they train before they first grow; see `autogrow.training.forks`."""
    memory_per_trial_bytes: int | None = Field(default=None, ge=2**20, le=MOST_BYTES)
    """What a trial may take of its machine; None: an equal share of what is available when the search starts."""
    trial_timeout_seconds: float = Field(default=1800.0, ge=0, le=10**7)
    """How long a trial may go without a step before it fails; 0: for ever."""
    address: str | None = None
    """A Ray cluster to join; None starts one on this machine."""
    storage: str | None = None
    """URL of a database that several drivers share; None is the run's own file."""
    working_directory: str
    """Where the search was started: a user's own model is imported from there."""

    @field_validator("address")
    @classmethod
    def _is_elsewhere(cls, address: str | None) -> str | None:
        return None if address == LOCAL else address

    @field_validator("objectives")
    @classmethod
    def _by_the_name_of_the_score(cls, objectives: tuple[str, ...], others: ValidationInfo) -> tuple[str, ...]:
        # Runs of before say accuracy of a regression, too; `parse_objectives` refuses it of new ones.
        return own_names(objectives, TASKS[others.data["task"]].score) if "task" in others.data else objectives

    @property
    def chosen_objectives(self) -> tuple[Objective, ...]:
        """What is optimized. Raises `UsageError` for an objective that is not registered here."""
        return tuple(objective_of(name, TASKS[self.task].score) for name in self.objectives)

    @property
    def most_seeds(self) -> int:
        """Seeds that one policy may be trained on: from the run's own to the last that there is."""
        return min(self.seeds_per_policy, 2**32 - self.seed)

    @property
    def has_race(self) -> bool:
        """Whether some policies are trained on several seeds."""
        return self.most_seeds > 1 and self.trials >= FEWEST_TRIALS_OF_RACE

    @property
    def defaults_to_depth(self) -> bool:
        """Whether the default policy beside the searched ones grows depth: where the task does, and the space too."""
        return TASKS[self.task].grows_in_depth and bool(dict(self.space.get("policy") or {}).get("depth"))

    @field_validator("training")
    @classmethod
    def _goes_by_epochs(cls, training: TrainingSettings) -> TrainingSettings:
        # What is shown and estimated of trials goes by epochs.
        if training.steps is not None:
            raise ValueError(
                f"training.steps is {training.steps}: trials of a search go by epochs, set training.epochs"
            )
        return training


SAME_EXPERIMENT = (
    "fingerprint", "task", "model", "model_options", "space", "objectives", "training", "train_size", "limits", "seed"
)  # fmt: skip
"""Settings without which trials cannot be compared."""


def experiment_digest(settings: SearchSettings) -> str:
    """Equal for searches whose trials can be compared: drivers that share a study must agree in it."""
    content = settings.model_dump(mode="json", include=set(SAME_EXPERIMENT))
    content["training"] = with_former_settings(content["training"])
    content["objectives"] = ["accuracy" if name == "r2" else name for name in settings.objectives]  # as it was called
    if settings.standardizes_targets and TASKS[settings.task].standardizes_targets:
        content["standardizes_targets"] = True  # not in searches from before, whose digest stays what it was
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def parse_duration(text: str) -> float:
    """Seconds of a duration such as ``90s``, ``30m``, ``2h`` or ``1h30m``; a bare number is seconds."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    if not text.strip() or match is None:
        raise UsageError(f"duration {text!r} cannot be read: write for example 90s, 30m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total <= 0:
        raise UsageError(f"duration {text!r} is not above zero: write for example 90s, 30m or 1h30m")
    if total > MOST_SECONDS:
        raise UsageError(f"duration {shortened(text, 40)!r} is more than {MOST_SECONDS / 3600:.0f}h, ten years")
    return total


def parse_timeout(text: str) -> float:
    """The same, 0 seconds meaning none: ``none`` or ``0``."""
    return 0.0 if text.strip().lower() in ("none", "0") else parse_duration(text)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    """As they are when they are first asked for: what is imported stays, and every policy.yaml names them."""
    found = {"python": platform.python_version()}
    for package in ("autogrow", "torch", "ray", "optuna", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
