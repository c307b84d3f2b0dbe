"""The verdict: does the best grown trial beat the static control? Said as plainly when it does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from autogrow.data.catalogue import Task
from autogrow.report import formats

Outcome = Literal["better", "equal", "worse", "undecided"]
_NO_DIFFERENCE = 1e-9


@dataclass(frozen=True)
class Verdict:
    """The best grown trial beside the static control. Numbers are None where one of the two is missing."""

    outcome: Outcome
    """Of the grown trial's validation accuracy against the static control's."""
    headline: str
    details: tuple[str, ...]
    caveat: str
    grown: int | None = None
    static: int | None = None
    accuracy_difference: float | None = None
    """Grown minus static, in percentage points; for regression in R². The same units in `gap_difference`."""
    gap_difference: float | None = None
    train_seconds_ratio: float | None = None
    """Grown over static, as the other ratios; below 1 growing took less."""
    compute_ratio: float | None = None
    parameters_ratio: float | None = None


class _Row(Protocol):
    """The part of a `TrialRow` that is judged."""

    @property
    def number(self) -> int: ...
    @property
    def role(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def metrics(self) -> dict[str, Any]: ...
    @property
    def training_differences(self) -> dict[str, Any]: ...
    @property
    def has_finished(self) -> bool: ...


def judge(finished: Sequence[_Row], grown: _Row | None, static: _Row | None, task: Task, seed: int) -> Verdict:
    """Compare the best grown trial with the static control.

    finished: all complete, feasible trials; grown: the best of them that is not static; static: the static control, in
    whatever state it is. It may be infeasible and is compared with all the same.
    """
    early = f"One seed ({seed}) and validation data only."
    if grown is None:
        return Verdict("undecided", "No verdict yet: no grown trial has finished.", (), early)
    if static is None or not static.has_finished:
        state = f"is {static.state}" if static is not None else "was not tried"
        reached = f"trial {grown.number} reaches {_accuracy(grown, task)} {_validation(task)}"
        headline = f"No verdict: the static control {state}, so growing has nothing to be compared with."
        return Verdict("undecided", headline, (f"The best grown trial so far: {reached}.",), early, grown=grown.number)
    difference = grown.metrics["validation_accuracy"] - static.metrics["validation_accuracy"]
    gap = grown.metrics["generalization_gap"] - static.metrics["generalization_gap"]
    outcome = _outcome(difference)
    ratios = {name: _ratio(grown, static, name) for name in ("train_seconds", "training_flops", "parameters")}
    return Verdict(
        outcome=outcome,
        headline=_headline(outcome, grown, static, formats.in_points(difference, task), task),
        details=_details(finished, grown, static, gap, ratios, task),
        caveat=_caveat(len(finished), seed),
        grown=grown.number,
        static=static.number,
        accuracy_difference=formats.in_points(difference, task),
        gap_difference=formats.in_points(gap, task),
        train_seconds_ratio=ratios["train_seconds"],
        compute_ratio=ratios["training_flops"],
        parameters_ratio=ratios["parameters"],
    )


def _outcome(difference: float) -> Outcome:
    if abs(difference) < _NO_DIFFERENCE:
        return "equal"
    return "better" if difference > 0 else "worse"


def _headline(outcome: Outcome, grown: _Row, static: _Row, points: float, task: Task) -> str:
    who = {"better": "Growing is ahead", "equal": "Growing is level", "worse": "Growing is behind"}[outcome]
    reached = f"{who} on accuracy: trial {grown.number} reaches {_accuracy(grown, task)} {_validation(task)}"
    if outcome == "equal":
        return f"{reached}, as much as the static control."
    side = "above" if outcome == "better" else "below"
    return f"{reached}, {formats.difference(points, task)} {side} the static control ({_accuracy(static, task)})."


def _details(
    finished: Sequence[_Row], grown: _Row, static: _Row, gap: float, ratios: dict[str, float | None], task: Task
) -> tuple[str, ...]:
    taken = {"train_seconds": "train seconds", "training_flops": "compute (training FLOPs)", "parameters": "parameters"}
    costs = [f"{formats.ratio(ratios[name])} times the {title}" for name, title in taken.items()]
    details = [f"Against the static control it took {costs[0]} and {costs[1]}, and ended with {costs[2]}."]
    if static.state != "complete":
        details.append(f"The static control is {static.state}: it breaks a constraint that the grown trial keeps.")
    points = formats.in_points(gap, task)
    if abs(gap) < _NO_DIFFERENCE:
        details.append("The generalization gap is the same.")
    else:
        side = "smaller" if gap < 0 else "larger"
        details.append(f"Its generalization gap is {formats.difference(points, task)} {side}.")
    if grown.metrics["num_events"] == 0:
        details.append("It never grew: its trigger did not fire, so it is a smaller static network.")
    if grown.training_differences:
        settings = ", ".join(f"{name} {formats.plain(value)}" for name, value in grown.training_differences.items())
        details.append(f"It trained with {settings}, which the control did not: part of any difference may be that.")
    quicker = _quickest_as_accurate(finished, static)
    if quicker is not None and quicker.number != grown.number:
        seconds = formats.ratio(_ratio(quicker, static, "train_seconds"))
        compute = formats.ratio(_ratio(quicker, static, "training_flops"))
        details.append(
            f"Trial {quicker.number} is at least as accurate as the static control at {seconds} times its train "
            f"seconds and {compute} times its compute."
        )
    return tuple(details)


def _quickest_as_accurate(finished: Sequence[_Row], static: _Row) -> _Row | None:
    """The grown trial that matches the static control's accuracy in the least time, if that is less time."""
    limit = static.metrics
    matching = [
        row
        for row in finished
        if row.number != static.number
        and row.metrics["validation_accuracy"] >= limit["validation_accuracy"] - _NO_DIFFERENCE
        and row.metrics["train_seconds"] < limit["train_seconds"]
    ]
    return min(matching, key=lambda row: float(row.metrics["train_seconds"]), default=None)


def _caveat(num_finished: int, seed: int) -> str:
    return (
        f"One seed ({seed}) and validation data only, and the best of {num_finished} finished trials was picked by the "
        "same validation data, which flatters it. Differences of this size can be chance: "
        "repeat both with other seeds before you rely on it."
    )


def _ratio(row: _Row, other: _Row, metric: str) -> float | None:
    return row.metrics[metric] / other.metrics[metric] if other.metrics[metric] else None


def _accuracy(row: _Row, task: Task) -> str:
    return formats.accuracy_with_unit(row.metrics["validation_accuracy"], task)


def _validation(task: Task) -> str:
    return f"validation {formats.accuracy_name(task)}"
