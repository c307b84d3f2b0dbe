"""An experiment's results as tables, for the terminal and as Markdown: formatted cells, nothing is printed."""

from collections.abc import Iterator, Sequence

from autogrow.experiments.conditions import Condition
from autogrow.experiments.results import Results
from autogrow.experiments.statistics import PairedDifference, Spread
from autogrow.metrics import numbers
from autogrow.metrics.metric import BITS_PER_BYTE, GAP, LOSS, SCORE, Metric
from autogrow.metrics.numbers import MISSING, NumberFormat
from autogrow.metrics.scores import Score
from autogrow.report.tables import Column, Table
from autogrow.tasks.text import bits_per_byte

UNDEFINED = "undefined"


def results_tables(results: Results) -> tuple[Table, ...]:
    """What was reached, what it took, and the paired differences."""
    return quality_table(results), training_cost_table(results), paired_differences_table(results)


def quality_table(results: Results) -> Table:
    """Held-out and train metrics, one row per condition; what no run has defined is called that."""
    score, split = results.score, results.design.split
    bits = [] if results.bytes_per_token is None else [BITS_PER_BYTE.heading]
    titles = (f"{split} {score.heading}", f"{split} loss", *bits, f"train {score.heading}", "gap")
    metrics = results.score_metric, results.loss_metric, "train_score", results.gap_metric
    rows = []
    for condition in results.design.conditions:
        held_out, loss, train, gap = (results.spread(condition.name, name) for name in metrics)
        absent = UNDEFINED if results.of_condition(condition.name) else MISSING
        cells = (
            absent if held_out is None else score_cell(held_out, score),
            absent if loss is None else loss_cell(loss),
            *([] if results.bytes_per_token is None else [bits_cell(loss, results.bytes_per_token)]),
            score_cell(train, score),
            absent if gap is None else gap_cell(gap, score),
        )
        rows.append((condition.title, *cells))
    caption = caption_of(f"On the {split} split", results)
    return Table(caption, columns_of("condition", *titles), tuple(rows), _note(results))


def training_cost_table(results: Results) -> Table:
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
        MISSING if steps is None else f"{steps.mean:,.0f}",
        MISSING if parameters is None else numbers.count(parameters.mean),
        MISSING if events is None else f"{events.mean:.1f}",
    )


def seconds_cell(spread: Spread | None) -> str:
    """Mean and deviation of seconds; a dash where every run failed, as in all cells."""
    if spread is None:
        return MISSING
    mean = numbers.seconds(spread.mean)
    digits = len(mean.partition(".")[2])
    return _with_spread(mean, None if spread.std is None else f"{spread.std:,.{digits}f}")


def paired_differences_table(results: Results) -> Table:
    """The subject minus every control, paired by seed; last, the placebo minus what it copies."""
    split, score = results.design.split, results.score
    unit = f" ({score.numbers.difference_unit})" if score.numbers.difference_unit else ""
    titles = (f"{split} {score.short}{unit}", "s.e.", "p", f"{split} loss", "s.e.", "p", "n")
    subject = results.design.title(results.design.subject)
    rows, notes = [], []
    for title, by_score, by_loss in _paired_differences(results):
        number = "0" if by_score is None else str(by_score.num_seeds)
        cells = (*difference_cells(by_score, score.numbers), *difference_cells(by_loss, numbers.SIGNIFICANT))
        rows.append((title, *cells, number))
        notes += [each.note for each in (by_score, by_loss) if each is not None and each.note]
    legend = "s.e.: standard error of the mean; p: two-sided paired t-test over n seeds, not corrected for several."
    if placebo := results.design.placebo:
        legend += f" {placebo.title.capitalize()} has a row of its own: what chance alone does to that network."
    note = " ".join([legend, *(f"–: {text}." for text in dict.fromkeys(notes))])
    return Table(
        f"{subject.capitalize()} minus control, paired by seed", columns_of("control", *titles), tuple(rows), note
    )


def _paired_differences(
    results: Results,
) -> Iterator[tuple[str, PairedDifference | None, PairedDifference | None]]:
    """Title, difference of the score and of the loss, of every row."""
    by_score, by_loss = results.metrics[:2]
    for control in results.design.controls:
        yield control.title, results.difference(control.name, by_score), results.difference(control.name, by_loss)
    placebo = results.design.placebo
    if placebo is not None and placebo.copies is not None:
        title = f"{placebo.title} minus {results.design.title(placebo.copies)}"
        yield title, results.placebo_difference(by_score), results.placebo_difference(by_loss)


def difference_cells(difference: PairedDifference | None, written: NumberFormat) -> tuple[str, str, str]:
    """A paired difference as every table has it: its mean, the standard error of that, and p; dashes for what is not.

    Args:
        written: How the metric is written that differs.
    """
    if difference is None:
        return MISSING, MISSING, MISSING
    error = written.text(difference.standard_error)
    return written.signed(difference.mean), error, numbers.p_value(difference.p_value)


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


def score_cell(spread: Spread | None, score: Score) -> str:
    """Mean and deviation of a score."""
    return metric_cell(spread, SCORE.of(score))


def gap_cell(spread: Spread | None, score: Score) -> str:
    """Mean and deviation of a difference of two scores, which has a sign."""
    return metric_cell(spread, GAP.of(score))


def loss_cell(spread: Spread | None) -> str:
    """Mean and deviation with three significant digits: losses span orders of magnitude."""
    return metric_cell(spread, LOSS)


def bits_cell(loss: Spread | None, bytes_per_token: float) -> str:
    """A loss of text in bits per byte, and its deviation."""
    if loss is None:
        return MISSING
    std = None if loss.std is None else bits_per_byte(loss.std, bytes_per_token)
    return metric_cell(Spread(bits_per_byte(loss.mean, bytes_per_token), std, loss.num_seeds), BITS_PER_BYTE)


def metric_cell(spread: Spread | None, metric: Metric) -> str:
    """Mean and deviation of a metric."""
    if spread is None:
        return MISSING
    return _with_spread(metric.text(spread.mean), None if spread.std is None else metric.deviation(spread.std))


def _numbers(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return MISSING
    return _with_spread(f"{spread.mean:.{digits}f}", None if spread.std is None else f"{spread.std:.{digits}f}")


def _with_spread(mean: str, std: str | None) -> str:
    return mean if std is None else f"{mean} ± {std}"
