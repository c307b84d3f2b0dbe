"""What searches have found, trained again: with seeds that no search used, on its own data and on the other data.

On every data set five kinds of policy train on the same seeds: the untuned default policy, the full network from the
first step, what was found on this data, and what was found on each of the others, unchanged but for the number of
epochs, which is the data set's. Found policies bring the training settings that were searched with them, the default
policy and the static network train with the default ones: part of a difference may be that. Where several searches were
made of one data set, the seeds take turns among what they found; standard errors are over training seeds, not over
searches, of which there are few. Validation is kept apart in training; its whole split, and the
test split, which is opened once per run, are read at the end.
"""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from autogrow.api import resolve_data_dir, resolve_model, training_settings
from autogrow.data.opening import open_dataset
from autogrow.experiments.statistics import paired_difference, spread
from autogrow.export.retraining import train_policy
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import default_policy, static_policy
from autogrow.study.search_space import SEARCHABLE_TRAINING
from autogrow.training.task import Metrics
from tests.benchmarks.table import Row

FIRST_SEED = 1000
"""Searches, and the choice of what they try first, have seeds below it."""
DEFAULT, STATIC = "default policy", "static"


@dataclass(frozen=True)
class Unit:
    """How a metric is compared and shown. A score is better the higher it is."""

    metric: str
    sign: int
    form: str
    spread_form: str

    def score(self, value: float | None) -> float | None:
        return None if value is None else self.sign * value

    def shown(self, score: float) -> str:
        return "none" if abs(score) == float("inf") else format(self.sign * score, self.form)

    def shown_spread(self, value: float) -> str:
        return format(value, self.spread_form)

    def shown_difference(self, difference: float) -> str:
        """Of scores: above zero is better."""
        return format(difference, f"+{self.spread_form}")


UNITS = {"accuracy": Unit("accuracy", 1, ".2%", ".2%"), "loss": Unit("loss", -1, ".5f", ".5f")}


@dataclass(frozen=True)
class Finds:
    """What the searches of one data set have found."""

    dataset: str
    train_size: int | None
    unit: Unit
    policies: list[dict[str, Any]]
    """One of every search, with its training settings."""
    num_seeds: int
    """Training seeds on this data."""

    @property
    def title(self) -> str:
        return f"{self.dataset}, {self.num_seeds} other seeds"


@dataclass(frozen=True)
class Run:
    """One training run."""

    dataset: str
    train_size: int | None
    policy: dict[str, Any]
    seed: int


def retrained_rows(finds: Sequence[Finds], num_processes: int) -> list[Row]:
    """Train on all data what was found on any, and compare."""
    with ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn")) as pool:
        return [row for here in finds for row in _rows_of(here, finds, pool)]


def _rows_of(here: Finds, finds: Sequence[Finds], pool: ProcessPoolExecutor) -> list[Row]:
    own, others = _found_on(here.dataset), [_found_on(other.dataset) for other in finds if other is not here]
    kinds = {
        DEFAULT: [default_policy().recipe()],
        STATIC: [static_policy().recipe()],
        own: here.policies,
        **{_found_on(other.dataset): other.policies for other in finds if other is not here},
    }
    seeds = range(FIRST_SEED, FIRST_SEED + here.num_seeds)
    runs = {
        kind: [Run(here.dataset, here.train_size, policies[seed % len(policies)], seed) for seed in seeds]
        for kind, policies in kinds.items()
    }
    futures = {kind: [pool.submit(trained, run) for run in each] for kind, each in runs.items()}
    results = {kind: [future.result() for future in each] for kind, each in futures.items()}
    pairs = [(own, DEFAULT), (own, STATIC), *((other, DEFAULT) for other in others), *((o, own) for o in others)]
    rows = []
    for split, place in (("validation", 0), ("test", 1)):
        scores = {kind: [here.unit.score(_read(each[place], here.unit)) for each in results[kind]] for kind in results}
        rows += [_mean_row(here, split, kind, values) for kind, values in scores.items()]
        rows += [
            _difference_row(here, split, first, second, scores, is_goal=(first, second) == (own, DEFAULT))
            for first, second in pairs
        ]
    return rows


def _found_on(dataset: str) -> str:
    return f"found on {dataset}"


def _read(metrics: Metrics, unit: Unit) -> float:
    return float(getattr(metrics, unit.metric))


def _mean_row(here: Finds, split: str, kind: str, scores: list[float]) -> Row:
    found = spread(scores)
    deviation = "-" if found.std is None else here.unit.shown_spread(found.std)
    text = f"{here.unit.shown(found.mean)}, std {deviation}, n={found.num_seeds}"
    return Row(f"{here.title}: {split} {here.unit.metric}, {kind}", text, "", None)


def _difference_row(
    here: Finds, split: str, first: str, second: str, scores: dict[str, list[float]], *, is_goal: bool
) -> Row:
    """Above zero where the first is better, also where the metric is a loss."""
    found = paired_difference(scores[first], scores[second])
    error = float("nan") if found.standard_error is None else found.standard_error
    text = (
        f"{here.unit.shown_difference(found.mean)}, standard error {here.unit.shown_spread(error)}, n={found.num_seeds}"
    )
    what = f"{here.title}: {split} {here.unit.metric}, {first} better than {second} by"
    return Row(
        what, text, "more than 2 standard errors" if is_goal else "", found.mean > 2 * error if is_goal else None
    )


def trained(run: Run) -> tuple[Metrics, Metrics]:
    """Validation and test metrics of one run. Called in a process of its own."""
    torch.set_num_threads(1)
    dataset = open_dataset(run.dataset, resolve_data_dir(os.environ.get("AUTOGROW_DATA")))
    found = GrowthPolicy.from_dict(run.policy)
    settings = training_settings(dataset, None)
    if found.training is not None:
        chosen = {name: getattr(found.training, name) for name in SEARCHABLE_TRAINING}
        settings = settings.model_copy(update=chosen)
    result = train_policy(
        resolve_model("auto", dataset, None),
        dataset,
        GrowthPolicy.from_dict(found.recipe()),
        settings,
        seed=run.seed,
        train_size=run.train_size,
        hold_out_validation=True,
    )
    assert result is not None and result.validation is not None and result.test is not None
    return result.validation, result.test
