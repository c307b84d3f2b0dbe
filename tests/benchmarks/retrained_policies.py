"""What searches have found, trained again: with seeds that no search used, on its own data and on the other data.

On every data set these train on the same seeds: the untuned default policy and the full network from the first step,
both at default training settings; what the search of static widths found, with the rates that it found; what autogrow
found, once the trial that was best in the search, once the policy that `autogrow confirm` chose; and what was
confirmed on each of the other data sets, unchanged but for the number of epochs, which is the data set's. The best
trials of both searches, chosen on one seed, are the equal pair; confirming takes more runs, outside of the search's
time. Where several searches were made of one data set, the seeds take turns among what they found; standard errors
are over training seeds, not over searches, of which there are few. Validation is kept apart in training; its whole
split, and the test split, which is opened once per run, are read at the end.
"""

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.experiments.statistics import paired_difference, spread
from autogrow.export.retraining import train_policy
from autogrow.export.testing import read_test_split
from autogrow.inputs import resolve_data_dir, resolve_model, training_settings
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import default_policy, static_policy
from autogrow.study.search_space import SEARCHABLE_TRAINING
from autogrow.study.settings import SPLIT_SEED
from autogrow.training.evaluation import Metrics, evaluate
from autogrow.training.training_data import TrainingData
from tests.benchmarks.static_networks import CPU, train_network
from tests.benchmarks.table import Row

FIRST_SEED = 1000
"""Searches, and the choice of what they try first, have seeds below it."""
DEFAULT, STATIC, WIDTHS, BEST = "default policy", "full network", "static widths found", "best in its search"


@dataclass(frozen=True)
class Unit:
    """How a metric is compared and shown. A score is better the higher it is."""

    metric: str
    field: str
    """What it is called in records."""
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


UNITS = {"accuracy": Unit("accuracy", "score", 1, ".2%", ".2%"), "loss": Unit("loss", "loss", -1, ".5f", ".5f")}


@dataclass(frozen=True)
class Finds:
    """What the searches of one data set have found: one of every search, in the same order."""

    dataset: str
    train_size: int | None
    unit: Unit
    num_seeds: int
    """Training seeds on this data."""
    confirmed: list[dict[str, Any]]
    """Policies with their training settings, as `autogrow confirm` chose them."""
    best: list[dict[str, Any]]
    """Those of the trials that were best in their searches."""
    static: list[dict[str, Any]]
    """Configurations of the search of static widths."""

    @property
    def title(self) -> str:
        return f"{self.dataset}, {self.num_seeds} other seeds"


@dataclass(frozen=True)
class Run:
    """One training run: of a policy on the automatic network, or of a configuration of a static one."""

    dataset: str
    train_size: int | None
    seed: int
    policy: dict[str, Any] | None = None
    widths: dict[str, Any] | None = None


def retrained_rows(finds: Sequence[Finds], num_processes: int) -> list[Row]:
    """Train on all data what was found on any, and compare."""
    with ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn")) as pool:
        return [row for here in finds for row in _rows_of(here, finds, pool)]


def _rows_of(here: Finds, finds: Sequence[Finds], pool: ProcessPoolExecutor) -> list[Row]:
    own, others = _found_on(here.dataset), [_found_on(other.dataset) for other in finds if other is not here]
    results = _train_all(here, _kinds(here, finds), pool)
    pairs = [
        (own, DEFAULT),
        (own, STATIC),
        (own, WIDTHS),
        (own, BEST),
        (BEST, DEFAULT),
        (BEST, WIDTHS),
        (WIDTHS, DEFAULT),
    ]
    pairs += [*((other, DEFAULT) for other in others), *((other, own) for other in others)]
    rows = []
    for split, place in (("validation", 0), ("test", 1)):
        scores = {kind: [here.unit.score(_read(each[place], here.unit)) for each in results[kind]] for kind in results}
        rows += [_mean_row(here, split, kind, values) for kind, values in scores.items()]
        rows += [
            _difference_row(here, split, first, second, scores, is_goal=(first, second) == (own, DEFAULT))
            for first, second in pairs
            if first in scores and second in scores
        ]
    return rows


def _kinds(here: Finds, finds: Sequence[Finds]) -> dict[str, list[dict[str, Any]]]:
    """What to train, by kind: the fields of a `Run` that say it, one or several by turns."""
    policies = {
        DEFAULT: [default_policy().recipe()],
        STATIC: [static_policy().recipe()],
        _found_on(here.dataset): here.confirmed,
        BEST: here.best,
        **{_found_on(other.dataset): other.confirmed for other in finds if other is not here},
    }
    kinds = {kind: [{"policy": policy} for policy in each] for kind, each in policies.items()}
    return {**kinds, **({WIDTHS: [{"widths": each} for each in here.static]} if here.static else {})}


def _train_all(
    here: Finds, kinds: dict[str, list[dict[str, Any]]], pool: ProcessPoolExecutor
) -> dict[str, list[tuple[Metrics, Metrics]]]:
    """Every kind on every seed; what two kinds have in common is trained once."""
    futures: dict[str, Future[tuple[Metrics, Metrics]]] = {}
    names: dict[str, list[str]] = {}
    for kind, fields in kinds.items():
        for seed in range(FIRST_SEED, FIRST_SEED + here.num_seeds):
            run = Run(here.dataset, here.train_size, seed, **fields[seed % len(fields)])
            name = json.dumps(asdict(run), sort_keys=True)
            if name not in futures:
                futures[name] = pool.submit(trained, run)
            names.setdefault(kind, []).append(name)
    return {kind: [futures[name].result() for name in each] for kind, each in names.items()}


def _found_on(dataset: str) -> str:
    return f"found on {dataset}"


def _read(metrics: Metrics, unit: Unit) -> float:
    return float(getattr(metrics, unit.field))


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
    return _grown(run, run.policy, dataset) if run.policy is not None else _static(run, run.widths or {}, dataset)


def _grown(run: Run, policy: dict[str, Any], dataset: Dataset) -> tuple[Metrics, Metrics]:
    found = GrowthPolicy.from_dict(policy)
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


def _static(run: Run, config: dict[str, Any], dataset: Dataset) -> tuple[Metrics, Metrics]:
    train, validation = dataset.split(seed=SPLIT_SEED, train_size=run.train_size)
    data = TrainingData.of(dataset, train, validation)
    shape = dataset.input_shape, dataset.num_outputs
    spec, settings = resolve_model("auto", dataset, None), training_settings(dataset, None)
    module = train_network(config, data, shape, spec, settings, run.seed, lambda *progress: None)
    held_out = evaluate(data.task, module, data.on(validation, CPU))
    return held_out, read_test_split(module, dataset, data.normalization, data.target_scale)
