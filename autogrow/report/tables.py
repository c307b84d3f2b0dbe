"""The report's tables as text, once for the terminal and once for the page: captions, columns, cells."""

from collections.abc import Sequence
from dataclasses import dataclass

from autogrow.metrics import numbers
from autogrow.metrics.metric import BITS_PER_BYTE, Metric
from autogrow.metrics.numbers import MISSING
from autogrow.metrics.objectives import KNEE, Objective, preferences
from autogrow.metrics.scores import Score
from autogrow.policy.presets import STATIC
from autogrow.report.summary import COMPLETE, RunSummary, TrialRow

_CONTROL_TITLES = {"static": "static control", "default": "default policy", "thesis": "thesis policy"}
_ALWAYS = ("validation_score", "generalization_gap", "train_seconds", "parameters")
_WHERE_THERE_IS_ROOM = ("compute", "num_events")
"""Left out of narrow tables where the objectives need the columns."""
_WHEN_LIMITED = ("latency_ms", "memory_bytes")
"""Measured where a limit asks for it, too; then in the table of all trials."""


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


def objectives_table(summary: RunSummary) -> Table:
    """For every objective, the front's best value and the controls', and how far that is from the static one's.

    One row per objective.
    """
    front = [summary.policy(number) for number in summary.front]
    rows = []
    any_finished = front or any(row is not None and row.has_finished for row in summary.controls.values())
    for objective in summary.chosen_objectives if any_finished else ():
        controls = [_finished_value(row, objective) for row in summary.controls.values()]
        best = max(front, key=lambda row, o=objective: o.sign * (o.value(row.metrics) or 0.0), default=None)  # type: ignore[misc]
        value = objective.value(best.metrics) if best is not None else None
        rows.append(
            (
                objective.metric.titled,
                *(objective.metric.text(cell) for cell in (*controls, value)),
                str(best.number) if best is not None else MISSING,
                objective.metric.difference(value, controls[0]),
            )
        )
    titles = (*summary.controls, "best", "trial", "vs static")
    columns = (Column("objective"), *(Column(title, numeric=True) for title in titles))
    note = "best: of the feasible grown trials, with its number; vs static: its difference from the static control."
    note += _note_on_means(summary)
    return Table("Objectives", columns, tuple(rows), note)


def best_and_controls(summary: RunSummary) -> Table:
    """The best grown trial per objective and the knee, then the controls with their state where they did not finish."""
    metrics = _narrow_metrics(summary)
    titles = {name: each.of(summary.score).title_of_best for name, each in preferences().items()}
    titles = {**titles, summary.score.name: f"best {summary.score.title}", KNEE: "knee of front"}
    asked = {summary.score.name, *(name for name, each in preferences().items() if each.name in summary.objectives)}
    asked |= {KNEE} if len(summary.objectives) > 1 else set()
    rows: list[tuple[str, ...]] = []
    for preference, row in summary.best.items():
        if row is not None and preference in asked:
            rows.append((titles[preference], *_metric_cells(row, metrics), *_seeds_cell(summary, row)))
    for role, row in summary.controls.items():
        if row is not None:
            title = _CONTROL_TITLES[role] if row.state == COMPLETE else f"{role} ({row.state})"
            rows.append((title, *_metric_cells(row, metrics), *_seeds_cell(summary, row)))
    columns = (Column("what"), *_metric_columns(metrics), *_seeds_column(summary))
    note = _units(metrics, summary.score) + _note_on_means(summary)
    return Table("Best grown trials, and the controls", columns, tuple(rows), note)


def pareto_front_table(summary: RunSummary, limit: int | None = None) -> Table:
    """The Pareto front with every trial's policy, best accuracy first, at most `limit` rows."""
    metrics = _narrow_metrics(summary)
    shown = summary.front[:limit]
    rows = [summary.policy(number) for number in shown]
    cells = tuple((*_metric_cells(row, metrics), *_seeds_cell(summary, row), row.policy) for row in rows)
    columns = (*_metric_columns(metrics), *_seeds_column(summary), Column("policy", flexible=True, one_line=True))
    names = [summary.score.title if name == summary.score.name else name for name in summary.objectives]
    objectives = ", ".join(names).replace("_", " ")
    note = f"No other feasible grown trial is as good in all of {objectives}, and better in one of them."
    if len(summary.objectives) == 1:
        note = f"One objective, {objectives}: the front is the best trial."
    return Table("Pareto front", columns, cells, note + _note_on_means(summary), len(summary.front) - len(shown))


def differences_table(summary: RunSummary, limit: int | None = None) -> Table:
    """How far the other controls and the front's trials lie from the static control, in every objective."""
    static, objectives = summary.controls[STATIC], summary.chosen_objectives
    columns = (Column("what"), *(Column(entry.metric.heading, numeric=True) for entry in objectives))
    caption = "Differences from the static control"
    if static is None or not static.has_finished or not summary.front:
        return Table(caption, columns, ())
    shown = summary.front[:limit]
    rows = {_CONTROL_TITLES[role]: row for role, row in summary.controls.items() if role != STATIC and row is not None}
    others = [summary.policy(number) for number in shown]
    rows |= {f"trial {row.number}": row for row in others if row not in rows.values()}
    base = [_finished_value(static, objective) for objective in objectives]
    cells = tuple(
        (
            title,
            *(
                objective.metric.difference(_finished_value(row, objective), other)
                for objective, other in zip(objectives, base, strict=True)
            ),
        )
        for title, row in rows.items()
    )
    unit = summary.score.numbers.difference_unit
    in_points = [each.metric.heading for each in objectives if each.metric.unit in (unit, summary.score.numbers.unit)]
    points = f"{' and '.join(in_points)} in {unit}, costs in percent" if unit and in_points else "costs in percent"
    note = f"The Pareto front and the other controls. {points[:1].upper()}{points[1:]} of the static control's value."
    note += _note_on_means(summary)
    return Table(caption, columns, cells, note, len(summary.front) - len(shown))


def failures_table(summary: RunSummary) -> Table:
    """Why trials failed or are infeasible."""
    columns = (
        Column("trials", numeric=True),
        Column("state"),
        Column("reason", flexible=True),
        Column("numbers", flexible=True),
    )
    rows = tuple((str(entry.count), entry.state, entry.reason, _numbers(entry.trials)) for entry in summary.failures)
    return Table("Failed and infeasible trials", columns, rows)


def search_table(summary: RunSummary) -> Table:
    """What the search has spent and saved, and how good its front is in one number."""
    spending, saving = summary.spending, summary.saving
    rows = []
    if spending.trials:
        took = (
            f"{numbers.seconds(spending.train_seconds)} train seconds, {numbers.count(spending.training_flops)} FLOPs"
        )
        rows.append(("training", f"{took} in {_trials(spending.trials)}"))
    if saving is not None:
        share, flops = numbers.percent(saving.share), numbers.count(saving.saved_flops)
        rows.append(
            ("saved by stopping", f"at least {share} of what {_trials(saving.trials)} would have taken ({flops} FLOPs)")
        )
    rows += _progress_rows(summary)
    note = (
        "Saved, if stopped trials had kept the size they had; had they grown on, they would have taken more."
        if saving is not None
        else ""
    )
    return Table("The search", (Column("what"), Column("how much", flexible=True)), tuple(rows), note)


def _progress_rows(summary: RunSummary) -> list[tuple[str, str]]:
    progress = summary.progress
    if progress is None or progress.final is None:
        return []
    if progress.measure == "best":
        objective = summary.chosen_objectives[0]
        return [(f"best {objective.metric.titled}", objective.metric.text(progress.final))]
    return [("hypervolume", f"{progress.final:.3f} of 1, with {reference_point(summary)}")]


def reference_point(summary: RunSummary) -> str:
    """The reference point of the hypervolume in words."""
    assert summary.progress is not None
    values = [
        f"{objective.metric.heading} {objective.metric.text(summary.progress.reference[objective.name])}"
        for objective in summary.chosen_objectives
    ]
    return f"the reference point at {', '.join(values)}"


def all_trials_table(summary: RunSummary) -> Table:
    """Every trial, oldest first."""
    measured = [name for name in _WHEN_LIMITED if any(name in row.metrics for row in summary.trials)]
    metrics = tuple(summary.metrics[name] for name in (*measured, *_WHERE_THERE_IS_ROOM))
    metrics = tuple(dict.fromkeys((*_narrow_metrics(summary), *metrics)))
    columns = (
        *_metric_columns(metrics),
        Column("role"),
        *_own_seed_column(summary),
        Column("state"),
        Column("policy", flexible=True, one_line=True),
    )
    rows = tuple(
        (*_metric_cells(row, metrics), row.role, *_own_seed_cell(summary, row), row.state, _policy(row))
        for row in summary.trials
    )
    return Table("All trials", columns, rows, note="Metrics of trials that did not finish are those they had reached.")


def running_table(summary: RunSummary) -> Table:
    """Trials that run now, with what they have reached."""
    metrics = tuple(summary.metrics[name] for name in (*_ALWAYS, "num_events"))
    columns = (*_metric_columns(metrics), Column("role"), *_own_seed_column(summary), Column("done", numeric=True))
    running = [row for row in summary.trials if row.state == "running"]
    rows = tuple(
        (*_metric_cells(row, metrics), row.role, *_own_seed_cell(summary, row), _share(row)) for row in running
    )
    caption = "Running trials" if summary.is_running else "Trials that ran when the search was cut off"
    return Table(caption, columns, rows)


def _narrow_metrics(summary: RunSummary) -> tuple[Metric, ...]:
    """The metrics of tables that fit a narrow terminal: the usual ones and the objectives."""
    wanted = {*_ALWAYS, *(objective.metric.name for objective in summary.chosen_objectives)}
    if any(BITS_PER_BYTE.name in row.metrics for row in summary.trials):
        wanted |= {BITS_PER_BYTE.name}
    elif wanted == set(_ALWAYS):
        wanted |= set(_WHERE_THERE_IS_ROOM)
    return tuple(metric for name, metric in summary.metrics.items() if name in wanted)


def _finished_value(row: TrialRow | None, objective: Objective) -> float | None:
    """The value that a trial ended with; None for one that did not finish."""
    return objective.value(row.metrics) if row is not None and row.has_finished else None


def _metric_columns(metrics: Sequence[Metric]) -> tuple[Column, ...]:
    return tuple(Column(title, numeric=True) for title in ("trial", *(metric.heading for metric in metrics)))


def _metric_cells(row: TrialRow, metrics: Sequence[Metric]) -> tuple[str, ...]:
    return (str(row.number), *(metric.text(metric.value(row.metrics)) for metric in metrics))


def _has_replicates(summary: RunSummary) -> bool:
    return any(row.replicate_of is not None for row in summary.trials)


def _own_seed_column(summary: RunSummary) -> tuple[Column, ...]:
    """The seed of every trial, where they have several."""
    return (Column("seed", numeric=True),) if _has_replicates(summary) else ()


def _own_seed_cell(summary: RunSummary, row: TrialRow) -> tuple[str, ...]:
    own = summary.settings["seed"] if row.seed is None else row.seed
    return (str(own),) if _has_replicates(summary) else ()


def _policy(row: TrialRow) -> str:
    by_confirm = ", trained by confirm" if row.by_confirm else ""
    return row.policy or MISSING if row.replicate_of is None else f"that of trial {row.replicate_of}{by_confirm}"


def _seeds_column(summary: RunSummary) -> tuple[Column, ...]:
    """Of how many seeds a policy's values are the means, where there are several."""
    return (Column("seeds", numeric=True),) if summary.over_seeds is not None else ()


def _seeds_cell(summary: RunSummary, row: TrialRow) -> tuple[str, ...]:
    return (str(row.num_seeds),) if summary.over_seeds is not None else ()


def _note_on_means(summary: RunSummary) -> str:
    if summary.over_seeds is None:
        return ""
    return " Means over seeds; but for costs, drawn towards those of all policies, the more the fewer seeds say."


def _units(metrics: Sequence[Metric], score: Score) -> str:
    name, unit = score.title, score.numbers.difference_unit
    start = f"{name[:1].upper()}{name[1:]} on validation data; gap: train minus validation {name}"
    if unit:
        start = f"Validation {name} in percent; gap: train minus validation {name} in {unit}"
    return "; ".join([start, *(metric.note for metric in metrics if metric.note)]) + "."


def _share(row: TrialRow) -> str:
    return numbers.percent(row.metrics["progress"]) if "progress" in row.metrics else MISSING


def _trials(number: int) -> str:
    return f"{number} trial{'s' if number != 1 else ''}"


def _numbers(trials: Sequence[int]) -> str:
    return ", ".join(map(str, trials[:12])) + (", …" if len(trials) > 12 else "")
