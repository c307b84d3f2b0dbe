"""The conditions of an experiment, and how one seed's training run of each is made up.

A condition may depend on what others of the same seed came to: a control at equal compute needs to know the compute.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autogrow.data.dataset import Dataset
from autogrow.experiments.fresh_networks import build_in_shape
from autogrow.experiments.records import RunRecord
from autogrow.models.building import ModelSpec
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import static_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.settings import available_cores, versions

GROWN, FULL, FINAL, SAME_COMPUTE, SMALL = "grown", "full", "final", "same_compute", "small"
NEVER = 1e-12
"""Share of a run that is over before its first sample."""


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

    @property
    def holds_out_validation(self) -> bool:
        """Whether validation is kept apart: for all conditions alike, so that all see the same examples."""
        return self.policy.watches_validation

    def settings(self) -> dict[str, Any]:
        """What decides the results, as plain data without paths."""
        name = self.dataset.name
        return {
            "dataset": {
                "name": Path(name).name if name.endswith(".npz") else name,
                "fingerprint": self.dataset.fingerprint,
                "train_size": self.train_size,
            },
            "model": self.model.to_dict(),
            "policy": self.policy.recipe(),
            "training": self.training.model_dump(mode="json"),
            "holds_out_validation": self.holds_out_validation,
            "device": torch.device(self.device).type,
            "execution": self.execution.model_dump(mode="json"),
        }

    def circumstances(self) -> dict[str, Any]:
        """Versions, and what train seconds depend on; without names of hosts or places."""
        on_gpu = torch.device(self.device).type == "cuda"
        machine = {
            "architecture": platform.machine(),
            "cores": available_cores(),
            "threads": torch.get_num_threads(),
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


def plan_grown(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan:
    """The policy itself."""
    return TrainingPlan(experiment.model, experiment.policy, experiment.training)


def plan_full(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan:
    """Full size from the first step."""
    return TrainingPlan(experiment.model, static_policy(), experiment.training)


def plan_final(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan | str:
    """The shape that the grown network ended with, from fresh weights."""
    grown, full, dataset = finished[GROWN], finished[FULL], experiment.dataset
    if (grown.shape.widths, grown.parameters) == (full.shape.widths, full.parameters):
        return FULL
    module = build_in_shape(experiment.model, dataset.input_shape, dataset.num_outputs, grown.shape, seed)
    return TrainingPlan(module, static_policy(), experiment.training)


def plan_same_compute(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan:
    """Full size, as many steps as the grown network's training FLOPs pay for: within half a step of them."""
    grown, full = finished[GROWN], finished[FULL]
    steps = max(1, round(grown.training_flops / full.training_flops * full.steps))
    training = experiment.training.model_copy(update={"steps": steps})
    return TrainingPlan(experiment.model, static_policy(), training)


def plan_small(experiment: Experiment, seed: int, finished: Finished) -> TrainingPlan:
    """The network that the policy starts with, its limits included, and no growth event."""
    policy = experiment.policy.model_copy(update={"grow_until": NEVER})
    return TrainingPlan(experiment.model, policy, experiment.training)


@dataclass(frozen=True)
class Design:
    """What an experiment compares with what."""

    conditions: tuple[Condition, ...]
    """In the order in which every seed trains them."""
    subject: str
    """The condition that the others are compared with."""
    unit: str
    """The condition whose training FLOPs are the unit of compute, seed by seed."""

    @property
    def controls(self) -> tuple[Condition, ...]:
        """The conditions that are not the subject."""
        return tuple(condition for condition in self.conditions if condition.name != self.subject)

    def title(self, condition: str) -> str:
        return next(each.title for each in self.conditions if each.name == condition)


GROWN_AND_CONTROLS = (
    Condition(GROWN, "grown", "by the policy", plan_grown),
    Condition(FULL, "full", "full size from the first step", plan_full),
    Condition(FINAL, "final", "the grown network's last shape, from fresh weights", plan_final),
    Condition(
        SAME_COMPUTE, "same compute", "full size, as many steps as the grown run's FLOPs pay for", plan_same_compute
    ),
    Condition(SMALL, "small", "the policy's small start, never grown", plan_small),
)
"""Grown first, since the others' runs depend on it."""

COMPARISON = Design(GROWN_AND_CONTROLS, subject=GROWN, unit=FULL)
