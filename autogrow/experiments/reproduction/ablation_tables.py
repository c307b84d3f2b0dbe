"""What an ablation found, as a table and as sentences. Results in, text out."""

from dataclasses import replace

from autogrow.experiments.conditions import Condition
from autogrow.experiments.results import Results
from autogrow.experiments.statistics import PairedDifference
from autogrow.experiments.tables import caption_of, columns_of, difference_cells, loss_cell, score_cell, seconds_cell
from autogrow.metrics import numbers
from autogrow.metrics.numbers import MISSING
from autogrow.report.tables import Table

STATIC = "static"
"""The control that every ablation has, besides its alternatives."""
SIGNIFICANT = 0.05
Found = dict[str, Results]
"""Results by data set; all of the same conditions."""
NO_ROOM = ("train s", "events", "s.e.")
"""Columns that are left out in terminals."""


def ablation_table(found: Found) -> Table:
    """One row per data set and alternative: what was reached, what it took, and the difference from the baseline."""
    first = next(iter(found.values()))
    rows = [(dataset, *row) for dataset, results in found.items() for row in _rows(results)]
    summaries = "; ".join(f"{condition.title}: {condition.summary}" for condition in first.design.conditions)
    failures = "".join(
        f" On {dataset}, {first.design.title(failure.condition)} failed under seed {failure.seed}: {failure.reason}."
        for dataset, results in found.items()
        for failure in results.failures
    )
    columns = (*columns_of("data"), *columns_of("policy", *_titles(first)))
    note = f"{summaries}. {NOTE}{_note_on_placebo(first)}{failures}"
    return Table(caption_of("On the validation split", first), columns, tuple(rows), note)


def tables_by_dataset(found: Found) -> tuple[Table, ...]:
    """The same as one narrower table per data set, for terminals."""
    tables = []
    for dataset, results in found.items():
        columns = columns_of("policy", *_titles(results))
        shown = [place for place, column in enumerate(columns) if column.title not in NO_ROOM]
        tables.append(
            Table(
                caption_of(f"{dataset}, validation split", results),
                tuple(columns[place] for place in shown),
                tuple(tuple(row[place] for place in shown) for row in _rows(results)),
                "",
            )
        )
    return (*tables[:-1], replace(tables[-1], note=f"{NOTE}{_note_on_placebo(next(iter(found.values())))}"))


NOTE = (
    "Compute: training FLOPs, 1 being those of static; shock: rise of the loss within 50 steps after an event, of the "
    "worst event; p: two-sided paired t-test, not corrected."
)


def _note_on_placebo(results: Results) -> str:
    placebo = results.design.placebo
    if placebo is None or placebo.copies is None:
        return ""
    return f" The {placebo.title}'s difference is from {results.design.title(placebo.copies)}: what chance alone makes."


def _titles(results: Results) -> tuple[str, ...]:
    baseline = results.design.title(results.design.subject)
    return results.score.heading, "loss", "train s", "compute", "events", "shock", f"loss - {baseline}", "s.e.", "p"


def _rows(results: Results) -> list[tuple[str, ...]]:
    return [(condition.title, *_cells(results, condition)) for condition in results.design.conditions]


def _cells(results: Results, condition: Condition) -> tuple[str, ...]:
    name = condition.name
    spreads = {metric: results.spread(name, metric) for metric in results.metrics}
    compute, events, shock = (spreads[metric] for metric in ("compute", "num_events", "largest_shock"))
    difference = _difference(results, condition, results.loss_metric)
    return (
        score_cell(spreads[results.score_metric], results.score),
        loss_cell(spreads[results.loss_metric]),
        seconds_cell(spreads["train_seconds"]),
        MISSING if compute is None else f"{compute.mean:.3f}",
        MISSING if events is None else f"{events.mean:.1f}",
        MISSING if shock is None else numbers.percent(shock.mean),
        *difference_cells(difference, numbers.SIGNIFICANT),
    )


def _difference(results: Results, condition: Condition, metric: str) -> PairedDifference | None:
    """From the baseline; of the placebo from what it copies. None where there is nothing to say."""
    if condition.copies is not None:
        return results.placebo_difference(metric)
    return None if condition.name == results.design.subject else _minus_baseline(results, condition.name, metric)


def _minus_baseline(results: Results, condition: str, metric: str) -> PairedDifference | None:
    return results.between(condition, results.design.subject, metric)


def ablation_findings(found: Found) -> tuple[str, ...]:
    """A sentence per alternative: where it differs from the baseline, and where no difference was found."""
    first = next(iter(found.values()))
    if all(len(results.seeds) == 1 for results in found.values()):
        return ("One seed: no standard error and no test, so nothing is said of differences.",)
    said = [_finding(found, each) for each in first.design.controls]
    rule = f"A difference is one of the loss with p below {SIGNIFICANT:g} over {len(first.seeds)} seeds"
    if floors := _floors(found):
        limits = ", ".join(f"{limit:.3g} on {dataset}" for dataset, limit in floors.items())
        rule += f", and above what chance alone makes by the placebo ({limits})"
    return f"{rule}.", *said


def _floors(found: Found) -> dict[str, float]:
    """By data set, the size up to which the mean differences of the loss are level, where a placebo says so."""
    floors = {dataset: results.noise_floor(results.loss_metric) for dataset, results in found.items()}
    number = {dataset: len(results.seeds) for dataset, results in found.items()}
    return {dataset: floor.of_mean(number[dataset]) for dataset, floor in floors.items() if floor is not None}


def _finding(found: Found, condition: Condition) -> str:
    places: dict[str, list[str]] = {}
    for dataset, results in found.items():
        verdict, detail = _verdict(results, condition.name)
        places.setdefault(verdict, []).append(f"{dataset} ({detail})" if detail else dataset)
    baseline = _baseline_title(found)
    said = [f"{verdict.format(baseline)} on {', '.join(where)}" for verdict, where in places.items()]
    return f"{condition.title.capitalize()}: {'; '.join(said)}."


def _verdict(results: Results, condition: str) -> tuple[str, str]:
    """Words with a place for the baseline's title, and details."""
    difference = _minus_baseline(results, condition, results.loss_metric)
    if difference is None:
        return "not compared with {}, since runs failed,", ""
    if difference.p_value is None:
        return "not tested against {}", difference.note
    if difference.p_value >= SIGNIFICANT:
        return "no difference from {} found", ""
    floor = results.noise_floor(results.loss_metric)
    if floor is not None and floor.hides(difference.mean, difference.num_seeds):
        return "level with {}", "below the noise floor"
    return ("better than {}" if difference.mean < 0 else "worse than {}"), _how_much(results, condition)


def _how_much(results: Results, condition: str) -> str:
    """The loss' ratio to the baseline's and the difference of the score, over the seeds that both have."""
    losses, base = (results.by_seed(name, results.loss_metric) for name in (condition, results.design.subject))
    shared = [seed for seed in losses if seed in base]
    whole = sum(base[seed] for seed in shared)
    ratio = f"loss {sum(losses[seed] for seed in shared) / whole:.2f} times, " if whole else ""
    by_score = _minus_baseline(results, condition, results.score_metric)
    assert by_score is not None  # where there is a loss, there is a score
    return f"{ratio}{results.score.numbers.signed(by_score.mean)} {results.score.difference_unit}"


def _baseline_title(found: Found) -> str:
    design = next(iter(found.values())).design
    return design.title(design.subject)
