"""What a search optimizes: a name, a direction, and where the value stands in a finished trial's metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from autogrow.errors import UsageError
from autogrow.registry import Registry


@dataclass(frozen=True)
class Objective:
    name: str
    direction: Literal["maximize", "minimize"]
    metric: str
    """Key of the value in the metrics of a finished trial."""
    title: str

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction == "maximize" else -1


OBJECTIVES: Registry[Objective] = Registry("objective", UsageError)

for _objective in (
    Objective("accuracy", "maximize", "validation_accuracy", "validation accuracy"),
    Objective("generalization_gap", "minimize", "generalization_gap", "generalization gap"),
    Objective("train_seconds", "minimize", "train_seconds", "train seconds"),
):
    OBJECTIVES.register(_objective.name)(_objective)


def parse_objectives(names: str) -> tuple[Objective, ...]:
    """The objectives of a comma-separated list, in order. Raises `UsageError` for unknown or repeated names."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise UsageError(f"objectives {names!r} name none: give one or more of {', '.join(OBJECTIVES)}")
    if len(set(wanted)) != len(wanted):
        raise UsageError(f"objectives {names!r} name one twice: give each once")
    return tuple(OBJECTIVES[name] for name in wanted)


def objective_values(objectives: tuple[Objective, ...], metrics: Mapping[str, Any]) -> list[float]:
    return [float(metrics[objective.metric]) for objective in objectives]
