"""The conditions of an experiment, and how one seed's training run of each is made up.

A condition may depend on what others of the same seed came to: a control at equal compute needs to know the compute.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from autogrow.data.dataset import Dataset
from autogrow.experiments.records import RunRecord
from autogrow.models.building import ModelSpec
from autogrow.paths import plain_dataset_name
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.report.judging import Yardstick
from autogrow.study.settings import SPLIT_SEED, available_cores, versions
from autogrow.tasks import TASKS
from autogrow.training.placebo import Placebo


@dataclass(frozen=True)
class Experiment:
    """What all training runs of an experiment have in common."""

    dataset: Dataset
    model: ModelSpec
    policy: GrowthPolicy
    training: TrainingSettings
    train_size: int | None = None
    device: str = "cpu"
    execution: Execution = Execution()
    keeps_validation_apart: bool = False
    """Whether validation is kept apart even where the policy does not watch it: to read it along the way."""

    standardizes_targets: bool = True
    """Whether a regression trains on standardized targets, or on targets as they are, as the thesis did."""
    draws_splits: bool = False
    """Whether every seed has a validation split of its own, rather than all the same one."""

    @property
    def holds_out_validation(self) -> bool:
        """Whether validation is kept apart: for all conditions alike, so that all see the same examples."""
        return self.keeps_validation_apart or self.policy.watches_validation

    @property
    def dataset_name(self) -> str:
        """Without the place of a file."""
        return plain_dataset_name(self.dataset.name)

    @property
    def _scales_targets(self) -> bool:
        return self.standardizes_targets and TASKS[self.dataset.task].standardizes_targets

    def yardstick(self, split: Literal["test", "validation"], objective: str | None = None) -> Yardstick:
        """What results that are read on a split are compared by: what their task prefers, unless it is said."""
        objective = TASKS[self.dataset.task].preference if objective is None else objective
        if split == "test":
            number = self.dataset.num_test
        else:
            number = len(self.dataset.split(seed=SPLIT_SEED, train_size=self.train_size)[1])
        return Yardstick(
            self.dataset.task, objective, number, self.dataset.chance_level(), self.dataset.bytes_per_token
        )

    def settings(self) -> dict[str, Any]:
        """What decides the results, as plain data without paths."""
        return {
            "dataset": {
                "name": self.dataset_name,
                "fingerprint": self.dataset.fingerprint,
                "train_size": self.train_size,
            },
            "model": self.model.to_dict(),
            "policy": self.policy.recipe(),
            "training": self.training.model_dump(mode="json"),
            "holds_out_validation": self.holds_out_validation,
            "device": torch.device(self.device).type,
            "execution": self.execution.model_dump(mode="json"),
            **({"standardizes_targets": True} if self._scales_targets else {}),
            **({"draws_splits": True} if self.draws_splits else {}),
        }

    def circumstances(self, *, jobs: int = 1) -> dict[str, Any]:
        """Versions, and what train seconds depend on, `jobs` runs at a time; without names of hosts or places."""
        on_gpu = torch.device(self.device).type == "cuda"
        machine = {
            "architecture": platform.machine(),
            "cores": available_cores(),
            "threads": torch.get_num_threads(),
            "jobs": jobs,
            "processor": torch.backends.cpu.get_cpu_capability(),
            "gpu": torch.cuda.get_device_name(self.device) if on_gpu else None,
        }
        return {"versions": versions(), "machine": machine}


@dataclass(frozen=True)
class TrainingPlan:
    """One training run: which network, how it grows, how it trains."""

    model: ModelSpec | nn.Module
    policy: GrowthPolicy
    training: TrainingSettings
    placebo: Placebo | None = None
    """An event that adds nothing, if there is to be one."""


@dataclass(frozen=True)
class FixedPlan:
    """The same plan for every seed; what is None is the experiment's."""

    policy: GrowthPolicy
    model: ModelSpec | None = None
    training: TrainingSettings | None = None

    def of(self, experiment: Experiment, seed: int, finished: "Finished") -> TrainingPlan:
        """The run of any seed."""
        return TrainingPlan(self.model or experiment.model, self.policy, self.training or experiment.training)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without what is the experiment's."""
        return {
            "policy": self.policy.recipe(),
            **({"model": self.model.to_dict()} if self.model else {}),
            **({"training": self.training.model_dump(mode="json")} if self.training else {}),
        }


Split = Literal["test", "validation"]
Finished = Mapping[str, RunRecord]
"""The finished runs of one seed, by condition."""


@dataclass(frozen=True)
class Condition:
    """One of the things that an experiment compares."""

    name: str
    title: str
    summary: str
    """What it is, in one line under a table."""
    plan: Callable[[Experiment, int, Finished], TrainingPlan | str]
    """The run of a seed; or the condition of that seed whose run it is, too."""
    needs: tuple[str, ...] = ()
    """Conditions of the same seed that must be finished before, since `plan` looks at them."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What decides its runs besides the experiment's settings, as plain data."""
    copies: str | None = None
    """The condition that it is but for chance, so that the two show what chance alone does; None of all others."""

    @classmethod
    def fixed(cls, name: str, title: str, summary: str, plan: "FixedPlan") -> "Condition":
        """A condition that depends on nothing but its seed."""
        return cls(name, title, summary, plan.of, recipe=plan.to_dict())


@dataclass(frozen=True)
class Design:
    """What an experiment compares with what."""

    conditions: tuple[Condition, ...]
    """In the order in which every seed trains them."""
    subject: str
    """The condition that the others are compared with."""
    unit: str
    """The condition whose training FLOPs are the unit of compute, seed by seed."""
    split: Split = "test"
    """Where results are read. What is to be chosen by them is read on validation, and the test split stays closed."""
    keeps_curves: bool = False
    """Whether metrics along the way are kept, not only those of the end."""
    first_seed: int = 0
    """Seeds are counted from it."""
    is_open: bool = False
    """Whether a folder goes on with other conditions than it was begun with: their names say all of them, by a digest
    behind an @ where need be."""

    @property
    def controls(self) -> tuple[Condition, ...]:
        """What the subject is compared with: all others but the placebo."""
        return tuple(each for each in self.conditions if each.name != self.subject and each.copies is None)

    @property
    def placebo(self) -> Condition | None:
        """The condition that shows what chance alone does; None where there is none."""
        return next((condition for condition in self.conditions if condition.copies is not None), None)

    @property
    def without_placebo(self) -> "Design":
        """The same as it was before there were placebos."""
        return replace(self, conditions=tuple(each for each in self.conditions if each.copies is None))

    def title(self, condition: str) -> str:
        return next(each.title for each in self.conditions if each.name == condition)

    def recipes(self) -> dict[str, Any]:
        """What decides the runs of each condition besides the experiment's settings, as plain data."""
        return {condition.name: dict(condition.recipe) for condition in self.conditions if condition.recipe}
