"""The report's tables as text, once for the terminal and once for the page: captions, columns, cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autogrow.data.catalogue import Task
from autogrow.report import formats
from autogrow.report.summary import RunSummary, TrialRow
from autogrow.report.timeline import TimelineEvent

_PREFERENCE_TITLES = {"accuracy": "best accuracy", "gap": "best gap", "speed": "best speed", "knee": "knee of front"}
_CONTROL_TITLES = {"static": "static control", "default": "default policy", "thesis": "thesis policy"}


@dataclass(frozen=True)
class Column:
    """A column's heading, and how its cells are set."""

    title: str
    numeric: bool = False
    flexible: bool = False
    """Long text, which may be broken into lines where there is little room."""
    one_line: bool = False
    """Long text that is rather cut than broken, in the terminal."""


@dataclass(frozen=True)
class Table:
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    num_left_out: int = 0


def best_and_controls(summary: RunSummary) -> Table:
    """The best grown trial per preference, then the controls with their state where they have not finished."""
    rows: list[tuple[str, ...]] = []
    for preference, row in summary.best.items():
        if row is not None:
            rows.append((_PREFERENCE_TITLES[preference], *_metric_cells(row, summary.task)))
    for role, row in summary.controls.items():
        if row is not None:
            title = _CONTROL_TITLES[role] if row.state == "complete" else f"{role} ({row.state})"
            rows.append((title, *_metric_cells(row, summary.task)))
    columns = (Column("what"), *_metric_columns(summary.task))
    return Table("Best grown trials, and the controls", columns, tuple(rows), note=_units(summary.task))


def pareto_front_table(summary: RunSummary, limit: int | None = None) -> Table:
    """The Pareto front with every trial's policy, best accuracy first, at most `limit` rows."""
    shown = summary.front[:limit]
    rows = [summary.trial(number) for number in shown]
    cells = tuple((*_metric_cells(row, summary.task), row.policy) for row in rows)
    columns = (*_metric_columns(summary.task), Column("policy", flexible=True, one_line=True))
    objectives = ", ".join(name.replace("_", " ") for name in summary.objectives)
    note = f"No other finished grown trial is as good in all of {objectives}, and better in one of them."
    if len(summary.objectives) == 1:
        note = f"One objective, {objectives}: the front is the best trial."
    return Table("Pareto front", columns, cells, note, len(summary.front) - len(shown))


def timeline_table(summary: RunSummary) -> Table:
    """The growth events of the most accurate grown trial."""
    columns = (
        Column("step", numeric=True),
        Column("added", flexible=True),
        Column("params", numeric=True),
        Column("FLOPs", numeric=True),
        Column("change", numeric=True),
        Column("shock", numeric=True),
        Column("seconds", numeric=True),
        Column("before", numeric=True),
        Column("after", numeric=True),
        Column("trigger", flexible=True),
    )
    best, timeline = summary.best["accuracy"], summary.best_timeline
    events = timeline.events if timeline is not None else ()
    rows = tuple(_event_cells(event, summary.task) for event in events)
    note = (
        "Units added per channel group, or blocks per stage; params and training FLOPs per example after the event; "
        "change: the largest of any output on a fixed batch; shock: the largest rise of the loss there in the next 50 "
        f"steps; before, after: validation {summary.accuracy_name} at the samples around it."
    )
    return Table(f"Growth of trial {best.number}" if best else "Growth", columns, rows, note)


def failures_table(summary: RunSummary) -> Table:
    """Why trials failed."""
    columns = (Column("trials", numeric=True), Column("reason", flexible=True), Column("numbers", flexible=True))
    rows = tuple((str(entry.count), entry.reason, _numbers(entry.trials)) for entry in summary.failures)
    return Table("Failed trials", columns, rows)


def all_trials_table(summary: RunSummary) -> Table:
    """Every trial, oldest first."""
    columns = (
        *_metric_columns(summary.task),
        Column("role"),
        Column("state"),
        Column("policy", flexible=True, one_line=True),
    )
    rows = tuple(
        (*_metric_cells(row, summary.task), row.role, row.state, row.policy or formats.MISSING)
        for row in summary.trials
    )
    return Table("All trials", columns, rows, note="Metrics of pruned and running trials are those they had reached.")


def running_table(summary: RunSummary) -> Table:
    """Trials that run now, with what they have reached."""
    columns = (*_metric_columns(summary.task), Column("role"), Column("done", numeric=True))
    running = [row for row in summary.trials if row.state == "running"]
    rows = tuple((*_metric_cells(row, summary.task), row.role, _share(row)) for row in running)
    caption = "Running trials" if summary.is_running else "Trials that ran when the search was cut off"
    return Table(caption, columns, rows)


def _metric_columns(task: Task) -> tuple[Column, ...]:
    titles = ("trial", formats.accuracy_name(task), "gap", "train s", "compute", "params", "events")
    return tuple(Column(title, numeric=True) for title in titles)


def _metric_cells(row: TrialRow, task: Task) -> tuple[str, ...]:
    metrics = row.metrics
    formatted: Sequence[tuple[str, Callable[[float | None], str]]] = (
        ("validation_accuracy", lambda value: formats.accuracy(value, task)),
        ("generalization_gap", lambda value: formats.gap(value, task)),
        ("train_seconds", formats.seconds),
        ("compute", formats.ratio),
        ("parameters", formats.count),
        ("num_events", formats.count),
    )
    return (str(row.number), *(write(metrics.get(name)) for name, write in formatted))


def _units(task: Task) -> str:
    start = (
        "Validation accuracy in percent; gap: train minus validation accuracy in points"
        if task == "classification"
        else "R² on validation data; gap: train minus validation R²"
    )
    return f"{start}; compute: training FLOPs, 1 being a full-width run of equal length; events: growth events."


def _event_cells(event: TimelineEvent, task: Task) -> tuple[str, ...]:
    added = ", ".join(f"{formats.short_name(name)}: +{units}" for name, units in list(event.added_units.items())[:4])
    if len(event.added_units) > 4:
        total = sum(event.added_units.values())
        added = f"{len(event.added_units)} groups, +{total} in total"
    if event.added_blocks:
        added = ", ".join(f"{name}: +{blocks} blocks" for name, blocks in event.added_blocks.items())
    return (
        str(event.step),
        added,
        formats.count(event.parameters_after),
        formats.count(event.flops_after),
        formats.small(event.largest_output_change),
        formats.MISSING if event.shock is None else formats.percent(event.shock),
        formats.seconds(event.seconds),
        formats.accuracy(event.accuracy_before, task),
        formats.accuracy(event.accuracy_after, task),
        event.reason,
    )


def _share(row: TrialRow) -> str:
    return formats.percent(row.metrics["progress"]) if "progress" in row.metrics else formats.MISSING


def _numbers(trials: Sequence[int]) -> str:
    return ", ".join(map(str, trials[:12])) + (", …" if len(trials) > 12 else "")
