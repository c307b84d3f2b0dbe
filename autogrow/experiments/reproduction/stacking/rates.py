"""Every contestant's learning rate: the best of a few by validation, on seeds and lengths of its own."""

from collections.abc import Sequence

from autogrow.experiments.conditions import Design
from autogrow.experiments.reproduction.stacking.contestants import FULL, STACKED, Contestant, with_rate
from autogrow.experiments.results import Results
from autogrow.experiments.tables import columns_of
from autogrow.metrics import numbers
from autogrow.policy.training_settings import TrainingSettings
from autogrow.report.tables import Table

RATE_SEEDS, FIRST_RATE_SEED = 2, 1000
"""Seeds on which rates are chosen; the compared runs have others."""
RATE_LENGTH = 0.3
"""Share of the compute that a run has by which rates are chosen."""
Rates = dict[str, float]
"""By contestant."""


def rates_design(
    contestants: Sequence[Contestant], training: TrainingSettings, rates: Sequence[float], unit: str = FULL
) -> Design:
    """Every contestant that chooses a rate with every rate, read on validation."""
    assert training.steps is not None
    shorter = training.model_copy(update={"steps": max(1, round(RATE_LENGTH * training.steps))})
    choosing = [each for each in contestants if each.rate_of is None]
    conditions = tuple(each.at_rate(rate).condition(shorter, rate) for each in choosing for rate in rates)
    subject = next((each.name for each in choosing if each.name == STACKED), choosing[0].name)
    first = rates[0]
    return Design(
        conditions,
        subject=with_rate(subject, first),
        unit=with_rate(unit, first),
        split="validation",
        first_seed=FIRST_RATE_SEED,
    )


def best_rates(contestants: Sequence[Contestant], rates: Sequence[float], found: Results) -> Rates:
    """By contestant the rate with the lowest mean validation loss; a rate under which any run failed is none."""
    chosen: Rates = {}
    for each in contestants:
        if each.rate_of is None:
            losses = {rate: found.spread(with_rate(each.name, rate), "validation_loss") for rate in rates}
            means = {
                rate: loss.mean
                for rate, loss in losses.items()
                if loss is not None and loss.num_seeds == len(found.seeds)
            }
            chosen[each.name] = min(means, key=lambda rate: means[rate]) if means else rates[0]
    return chosen | {each.name: chosen[each.rate_of] for each in contestants if each.rate_of is not None}


def rates_table(contestants: Sequence[Contestant], rates: Sequence[float], chosen: Rates, found: Results) -> Table:
    """The chosen learning rates, and the validation losses by which they were chosen."""
    rows = []
    for each in contestants:
        losses = (found.spread(with_rate(each.name, rate), "validation_loss") for rate in rates)
        cells = (numbers.MISSING if loss is None else numbers.SIGNIFICANT.text(loss.mean) for loss in losses)
        rows.append((each.title, f"{chosen[each.name]:g}", *cells))
    note = (
        f"Validation loss under each rate, the mean of {len(found.seeds)} other seeds at {RATE_LENGTH:.0%} of the "
        f"compute; a rate under which a run failed is not chosen."
    )
    titles = ("chosen", *(f"at {rate:g}" for rate in rates))
    return Table("Learning rates", columns_of("condition", *titles), tuple(rows), note)
