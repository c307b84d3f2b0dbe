"""What a search optimizes: a name, a direction, and where the value stands in a finished trial's metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from autogrow.data.catalogue import Task
from autogrow.errors import UsageError
from autogrow.policy.limits import SizeLimits
from autogrow.registry import Registry


@dataclass(frozen=True)
class Objective:
    """One thing that a search can optimize; what it is called in tables and figures belongs to it."""

    name: str
    direction: Literal["maximize", "minimize"]
    metric: str
    """Key of the value in the metrics of a finished trial."""
    title: str
    unit: str = ""
    """In which tables give the value; empty for counts, for a loss, and where the title says it."""
    is_share: bool = False
    """A share of right answers, or a difference of two; for regression the same of R², which has no unit."""
    is_cost: bool = False
    """Always above zero, so that differences are told in percent of the other's value."""

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction == "maximize" else -1

    def title_of(self, task: Task) -> str:
        """What it is called for a task: R² takes the place of accuracy in regression."""
        return self.title.replace("accuracy", "R²") if task == "regression" else self.title

    def unit_of(self, task: Task) -> str:
        return "" if self.is_share and task == "regression" else self.unit

    @property
    def summary(self) -> str:
        """One line for lists."""
        return f"{self.direction} the {self.title}" + (f" ({self.unit})" if self.unit else "")


OBJECTIVES: Registry[Objective] = Registry("objective", UsageError)

for _objective in (
    Objective("accuracy", "maximize", "validation_score", "validation accuracy", "%", is_share=True),
    Objective("generalization_gap", "minimize", "generalization_gap", "generalization gap", "points", is_share=True),
    Objective("train_seconds", "minimize", "train_seconds", "train seconds", is_cost=True),
    Objective("loss", "minimize", "validation_loss", "validation loss"),
    Objective("parameters", "minimize", "parameters", "parameters", is_cost=True),
    Objective("flops", "minimize", "flops", "training FLOPs per example", is_cost=True),
    Objective("latency_ms", "minimize", "latency_ms", "latency", "ms", is_cost=True),
):
    OBJECTIVES.register(_objective.name)(_objective)


def parse_objectives(names: str | Sequence[str]) -> tuple[Objective, ...]:
    """The objectives of a comma-separated list, in order. Raises `UsageError` for unknown or repeated names."""
    listed = names.split(",") if isinstance(names, str) else [str(name) for name in names]
    wanted = [name.strip() for name in listed if name.strip()]
    if not wanted:
        raise UsageError(f"objectives {names!r} name none: give one or more of {', '.join(OBJECTIVES)}")
    if len(set(wanted)) != len(wanted):
        raise UsageError(f"objectives {names!r} name one twice: give each once")
    return tuple(OBJECTIVES[name] for name in wanted)


def metrics_to_measure(objectives: tuple[Objective, ...], limits: SizeLimits) -> tuple[str, ...]:
    """The metrics that a trial has to measure at its end because an objective or a limit asks for them.

    All others are known anyway; these take training steps or repeated forward passes.
    """
    wanted = {objective.metric for objective in objectives}
    costly = {
        "memory_bytes": limits.needs_memory or "memory_bytes" in wanted,
        "latency_ms": limits.needs_latency or "latency_ms" in wanted,
    }
    return tuple(name for name, is_wanted in costly.items() if is_wanted)
