"""What compared contestants say, in words."""

from collections.abc import Sequence

from autogrow.experiments.reproduction.stacking.contestants import FULL, STACKED, Contestant
from autogrow.experiments.results import Results
from autogrow.report.judging import Yardstick, judge_seeds


def best_static(results: Results, statics: Sequence[Contestant]) -> str | None:
    """The depth throughout with the lowest mean loss; None where no run of any came through."""
    losses = {each.name: results.spread(each.name, results.loss_metric) for each in statics}
    means = {name: loss.mean for name, loss in losses.items() if loss is not None}
    return min(means, key=lambda name: means[name], default=None)


def findings(
    results: Results, statics: Sequence[Contestant], full: str = FULL, subject: str = STACKED
) -> tuple[str, ...]:
    """Growing against the best depth throughout at equal compute, and what it took to reach the full depth's loss."""
    best = best_static(results, statics)
    if best is None or not results.of_condition(subject):
        return ("Too many runs failed: nothing is compared.",)
    said = [
        compared(results, subject, best, "The best depth throughout"),
        compared(results, subject, full, "Full"),
    ]
    names = [each.name for each in results.design.conditions]
    if "stacked_shorter" in names:
        said += _shorter(results, full)
    return tuple(said)


def _shorter(results: Results, full: str) -> list[str]:
    shares = [results.spread("stacked_shorter", name) for name in ("compute", "train_seconds")]
    full_seconds = results.spread(full, "train_seconds")
    if shares[0] is None or shares[1] is None or full_seconds is None:
        return []
    seconds = shares[1].mean / full_seconds.mean
    return [
        f"{compared(results, 'stacked_shorter', full, 'Shorter')} That took {shares[0].mean:.2f} of the FLOPs and "
        f"{seconds:.2f} of the seconds."
    ]


def compared(results: Results, subject: str, control: str, what: str) -> str:
    """A difference of losses, in the words that every command has for it."""
    metric = results.loss_metric
    difference, loss = results.between(subject, control, metric), results.spread(control, metric)
    titles = results.design.title(subject), results.design.title(control)
    if difference is None or loss is None:
        return f"{what}: {titles[0]} and {titles[1]} cannot be compared."
    yardstick, floor = Yardstick(results.task, "loss"), results.floor_by_replicates(metric)
    judgement = judge_seeds(
        difference.mean, difference.standard_error, difference.num_seeds, loss.mean, yardstick, floor
    )
    return f"{what}: {titles[0]} is {judgement.compared_with(titles[1])}."
