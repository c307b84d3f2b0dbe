"""An experiment's results as tables, for the terminal and as Markdown: formatted cells, nothing is printed."""

from collections.abc import Sequence

from autogrow.data.catalogue import Task
from autogrow.experiments.conditions import Condition
from autogrow.experiments.results import Results
from autogrow.experiments.statistics import PairedDifference, Spread
from autogrow.report import formats
from autogrow.report.tables import Column, Table

UNDEFINED = "undefined"


def results_tables(results: Results) -> tuple[Table, ...]:
    """What was reached, what it took, and the paired differences."""
    return quality_table(results), cost_table(results), differences_table(results)


def quality_table(results: Results) -> Table:
    """Held-out and train metrics, one row per condition; what no run has defined is called that."""
    task, accuracy, split = results.task, _score_title(results.task), results.design.split
    titles = (f"{split} {accuracy}", f"{split} loss", f"train {accuracy}", "gap")
    metrics = results.score_metric, results.loss_metric, "train_score", results.gap_metric
    rows = []
    for condition in results.design.conditions:
        held_out, loss, train, gap = (results.spread(condition.name, name) for name in metrics)
        absent = UNDEFINED if results.of_condition(condition.name) else formats.MISSING
        cells = (
            absent if held_out is None else score_cell(held_out, task),
            absent if loss is None else loss_cell(loss),
            score_cell(train, task),
            absent if gap is None else score_cell(gap, task, signed=True),
        )
        rows.append((condition.title, *cells))
    caption = caption_of(f"On the {split} split", results)
    return Table(caption, columns_of("condition", *titles), tuple(rows), _note(results))


def cost_table(results: Results) -> Table:
    """Time, compute and size, one row per condition."""
    columns = columns_of("condition", "train s", "compute", "steps", "params", "events")
    return Table(
        caption_of("What it took", results),
        columns,
        tuple((condition.title, *_costs(results, condition)) for condition in results.design.conditions),
        f"compute: training FLOPs, 1 being those of {results.design.title(results.design.unit)} under the same seed.",
    )


def _costs(results: Results, condition: Condition) -> tuple[str, ...]:
    seconds, compute, steps, parameters, events = (
        results.spread(condition.name, name)
        for name in ("train_seconds", "compute", "steps", "parameters", "num_events")
    )
    return (
        seconds_cell(seconds),
        _numbers(compute, 3),
        formats.MISSING if steps is None else f"{steps.mean:,.0f}",
        formats.MISSING if parameters is None else formats.count(parameters.mean),
        formats.MISSING if events is None else f"{events.mean:.1f}",
    )


def seconds_cell(spread: Spread | None) -> str:
    """Mean and deviation of seconds; a dash where every run failed, as in all cells."""
    if spread is None:
        return formats.MISSING
    mean = formats.seconds(spread.mean)
    digits = len(mean.partition(".")[2])
    return _with_spread(mean, None if spread.std is None else f"{spread.std:,.{digits}f}")


def differences_table(results: Results) -> Table:
    """The subject minus every control, paired by seed."""
    accuracy = "accuracy (points)" if results.task == "classification" else "R²"
    split = results.design.split
    titles = (f"{split} {accuracy}", "s.e.", "p", f"{split} loss", "s.e.", "p", "n")
    subject = results.design.title(results.design.subject)
    rows, notes = [], []
    for control in results.design.controls:
        by_score, by_loss = (results.difference(control.name, name) for name in results.metrics[:2])
        number = "0" if by_score is None else str(by_score.num_seeds)
        rows.append((control.title, *_difference(by_score, results.task), *_difference(by_loss, None), number))
        notes += [each.note for each in (by_score, by_loss) if each is not None and each.note]
    legend = "s.e.: standard error of the mean; p: two-sided paired t-test over n seeds, not corrected for several."
    note = " ".join([legend, *(f"–: {text}." for text in dict.fromkeys(notes))])
    return Table(
        f"{subject.capitalize()} minus control, paired by seed", columns_of("control", *titles), tuple(rows), note
    )


def _difference(difference: PairedDifference | None, task: Task | None) -> tuple[str, str, str]:
    """Mean, standard error and p; of an accuracy where there is a task, of a loss where not."""
    if difference is None:
        return formats.MISSING, formats.MISSING, formats.MISSING
    error, p_value = difference.standard_error, difference.p_value
    if task is None:
        cells = f"{difference.mean:+.3g}", formats.significant(error)
    else:
        cells = formats.gap(difference.mean, task), formats.score(error, task)
    return *cells, formats.MISSING if p_value is None else p_value_cell(p_value)


def p_value_cell(value: float) -> str:
    """Three digits; a power of ten below a thousandth."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def markdown(results: Results, heading: str) -> str:
    """The tables as a Markdown page."""
    return markdown_page(heading, results_tables(results))


def markdown_page(heading: str, tables: Sequence[Table], paragraphs: Sequence[str] = ()) -> str:
    """A Markdown page: a heading, paragraphs, tables with their notes."""
    parts = [f"# {heading}\n", *(f"{paragraph}\n" for paragraph in paragraphs)]
    for table in tables:
        parts += [f"## {table.caption}\n", markdown_table(table), f"{table.note}\n"]
    return "\n".join(parts)


def markdown_table(table: Table) -> str:
    head = [column.title for column in table.columns]
    rules = ["---:" if column.numeric else "---" for column in table.columns]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in (head, rules, *table.rows))


def columns_of(first: str, *numeric: str) -> tuple[Column, ...]:
    return Column(first), *(Column(title, numeric=True) for title in numeric)


def caption_of(what: str, results: Results) -> str:
    number = len(results.seeds)
    return f"{what}: one seed" if number == 1 else f"{what}: mean ± standard deviation of {number} seeds"


def _note(results: Results) -> str:
    """What the conditions are, and which of them are one run."""
    lines = "; ".join(f"{condition.title}: {condition.summary}" for condition in results.design.conditions)
    for name, (other, seeds) in results.repeated().items():
        which = "every seed" if seeds == results.seeds else "seeds " + ", ".join(map(str, seeds))
        one, same = results.design.title(name).capitalize(), results.design.title(other)
        lines += f". {one} is the same run as {same} under {which}: both are one network"
    for run in results.runs:
        if run.undefined is not None:
            lines += f". {results.design.title(run.condition).capitalize()} under seed {run.seed}: {run.undefined}"
    for failure in results.failures:
        title = results.design.title(failure.condition).capitalize()
        lines += f". {title} failed under seed {failure.seed} and counts for nothing: {failure.reason}"
    return f"{lines}."


def _score_title(task: Task) -> str:
    return "accuracy %" if task == "classification" else "R²"


def score_cell(spread: Spread | None, task: Task, *, signed: bool = False) -> str:
    """Mean and deviation of an accuracy, or of a gap, which has a sign."""
    if spread is None:
        return formats.MISSING
    mean = formats.gap(spread.mean, task) if signed else formats.score(spread.mean, task)
    return _with_spread(mean, None if spread.std is None else formats.score(spread.std, task))


def loss_cell(spread: Spread | None) -> str:
    """Mean and deviation with three significant digits: losses span orders of magnitude."""
    if spread is None:
        return formats.MISSING
    return _with_spread(
        formats.significant(spread.mean), None if spread.std is None else formats.significant(spread.std)
    )


def _numbers(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return formats.MISSING
    return _with_spread(f"{spread.mean:.{digits}f}", None if spread.std is None else f"{spread.std:.{digits}f}")


def _with_spread(mean: str, std: str | None) -> str:
    return mean if std is None else f"{mean} ± {std}"
