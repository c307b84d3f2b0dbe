"""What a search can optimize: the table of objectives, each one entry.

An objective that somebody adds is one entry as well, and may be made of what trials measure anyway:

    OBJECTIVES.register("overfitting")(Objective("overfitting", "minimize", Metric(
        "overfitting", "validation loss minus train loss",
        read=lambda metrics: metrics["validation_loss"] - metrics["train_loss"],
    )))
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from autogrow.errors import UsageError, unknown_name
from autogrow.metrics.metric import FLOPS, GAP, LATENCY, LOSS, PARAMETERS, SCORE, TRAIN_SECONDS, Metric
from autogrow.metrics.scores import SCORES, Score
from autogrow.registry import Registry, instance_of

SCORE_OF_ANY_TASK = "score"
"""Names the score of whatever task a search is for."""
KNEE = "knee"
"""A preference that is no single objective; see `autogrow.study.choosing`."""


SMALLEST_WITHIN = "smallest-within"
"""Begins a preference for a small network: `smallest-within 0.01`."""


@dataclass(frozen=True)
class Objective:
    """A metric that a search can optimize, and a trial can be preferred by."""

    name: str
    direction: Literal["maximize", "minimize"]
    metric: Metric
    preferred_as: str = ""
    """What ``--prefer`` calls it; empty: its name."""
    best_title: str = ""
    """What the best trial by it is called in tables; empty: ``best`` and the heading."""

    @property
    def preference(self) -> str:
        return self.preferred_as or self.name

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction == "maximize" else -1

    def value(self, metrics: Mapping[str, Any]) -> float | None:
        """The value among what a trial measured; None where it did not."""
        return self.metric.value(metrics)

    @property
    def title_of_best(self) -> str:
        """What tables call the best trial by it."""
        return self.best_title or f"best {self.metric.heading}"

    @property
    def summary(self) -> str:
        """One line for lists."""
        return f"{self.direction} the {self.metric.titled}"

    def of(self, score: Score) -> "Objective":
        """As it is called and written for a task with this score."""
        return replace(self, metric=self.metric.of(score))


_ANY_SCORE = Score(SCORE_OF_ANY_TASK, "score of the task")

OBJECTIVES: Registry[Objective] = Registry(
    "objective", UsageError, group="autogrow.objectives", accepts=instance_of(Objective)
)

for _score in (_ANY_SCORE, *(SCORES[_name] for _name in SCORES)):
    OBJECTIVES.register(_score.name)(Objective(_score.name, "maximize", SCORE.of(_score)))
for _objective in (
    Objective("generalization_gap", "minimize", GAP, "gap"),
    Objective("train_seconds", "minimize", TRAIN_SECONDS, "speed", "best speed"),
    Objective("loss", "minimize", LOSS),
    Objective("parameters", "minimize", PARAMETERS, "size", "smallest"),
    Objective("flops", "minimize", FLOPS, best_title="fewest FLOPs"),
    Objective("latency_ms", "minimize", LATENCY, "latency", "best latency"),
):
    OBJECTIVES.register(_objective.name)(_objective)


def objective_of(name: str, score: Score) -> Objective:
    """An objective of a search whose task has this score, by its own name where `name` is ``score``.

    Raises `UsageError` where there is none of the name, or it is the score of another task.
    """
    if name in (SCORE_OF_ANY_TASK, score.name):
        return Objective(score.name, "maximize", SCORE.of(score))
    if name in SCORES:
        raise UsageError(f"objective {name!r} is the score of another task: here it is {score.name!r}, or 'score'")
    return OBJECTIVES[name].of(score)


def own_names(names: Iterable[str], score: Score) -> tuple[str, ...]:
    """Names of objectives, any score among them as that of the task: runs of before say accuracy of a regression."""
    return tuple(score.name if name == SCORE_OF_ANY_TASK or name in SCORES else name for name in names)


def parse_objectives(names: str | Sequence[str], score: Score | None = None) -> tuple[Objective, ...]:
    """The objectives of a comma-separated list, in order; `score` is that of the task, where it is known.

    Raises `UsageError` for unknown or repeated names, and for the score of another task.
    """
    listed = names.split(",") if isinstance(names, str) else [str(name) for name in names]
    wanted = [name.strip() for name in listed if name.strip()]
    if not wanted:
        raise UsageError(f"objectives {names!r} name none: give one or more of {', '.join(OBJECTIVES)}")
    found = tuple(OBJECTIVES[name] if score is None else objective_of(name, score) for name in wanted)
    if len({objective.name for objective in found}) != len(wanted):
        raise UsageError(f"objectives {names!r} name one twice: give each once")
    return found


def preferences() -> dict[str, Objective]:
    """What a trial can be preferred by, but the knee: the task's score by its general name, then the others."""
    return {each.preference: each for name, each in OBJECTIVES.items() if name not in SCORES}


def tolerance_of(preference: str) -> float | None:
    """How far behind the best the smallest network may be, of a preference `smallest-within 0.01`; None for others.

    Raises `UsageError` where no number from 0 to 1 is said.
    """
    start, _, number = preference.replace("=", " ").strip().partition(" ")
    if start != SMALLEST_WITHIN:
        return None
    try:
        tolerance = float(number)
    except ValueError:
        tolerance = -1.0
    if not 0 <= tolerance <= 1:
        said = f"{number.strip()!r} is no number from 0 to 1" if number.strip() else "it does not say how far"
        raise UsageError(f"preference {preference!r}: {said}: write for example '{SMALLEST_WITHIN} 0.01'")
    return tolerance


def preferred(name: str, score: Score | None = None) -> Objective:
    """What a preference other than the knee goes by; a task's score may be called by its own name.

    Raises `UsageError` where there is none of the name, or it is the score of another task than the one given.
    """
    if name in SCORES or (score is not None and name == score.name):
        if score is not None and name != score.name:
            raise UsageError(f"{name!r} is the score of another task: prefer {score.name!r}, or 'score'")
        return OBJECTIVES[SCORE_OF_ANY_TASK]
    known = preferences()
    if name not in known:
        raise UsageError(unknown_name("preference", name, (*SCORES, *known, KNEE)))
    return known[name]


def metrics_to_measure(objectives: Iterable[Objective], *, memory: bool, latency: bool) -> tuple[str, ...]:
    """The metrics that a trial has to measure at its end because an objective asks for them, or else a limit.

    All others are known anyway; these take training steps or repeated forward passes.
    """
    wanted = {name for objective in objectives for name in (objective.metric.name, *objective.metric.needs)}
    limited = {"memory_bytes": memory, "latency_ms": latency}
    own = measured_metrics()
    return tuple(name for name in (*limited, *own) if name in wanted or limited.get(name))


def measured_metrics() -> dict[str, Metric]:
    """The metrics of objectives that say themselves how they are measured, by name."""
    return {each.metric.name: each.metric for _, each in OBJECTIVES.items() if each.metric.measure is not None}
