"""How many of a thousand units the sum of two numbers takes: the second thesis' 2.7.1 and 2.8.1, and what does better.

The thesis removes units that are never active, in cycles, from a network that was trained as it is (vanilla), whose
weights are distorted before every cycle, or whose activations are penalized. Beside these the weakest 40 % of a cycle
go by other scores, as far down as the loss can still be had; at random; and, since a sceptic would, two units that are
all there are from the start. One unit with a bias can do it, and two without: relu(x) - relu(-x).
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autogrow.data.opening import open_dataset
from autogrow.experiments.conditions import Experiment
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.reproduction.base import KIND, REPRODUCTIONS, Reproduction, ReproductionReport, Request
from autogrow.experiments.reproduction.kept_runs import as_plain, kept_runs
from autogrow.experiments.reproduction.summation.cycles import (
    TRAINING,
    WANTED_LOSS,
    Cycle,
    Lengths,
    PrunedRun,
    Pruning,
    PruningRun,
    shortened,
)
from autogrow.experiments.tables import columns_of, markdown_page
from autogrow.metrics import numbers
from autogrow.metrics.numbers import MISSING
from autogrow.models.building import ModelSpec
from autogrow.policy.presets import static_policy
from autogrow.policy.unit_scores import ActivationCount, Magnitude, OptimalBrainSurgeon, Random
from autogrow.report.tables import Column, Table
from autogrow.study.settings import SPLIT_SEED
from autogrow.training.training_data import TrainingData

NUM_UNITS, QUICK_UNITS = 1000, 20
QUICK_STEPS, QUICK_SIZE = 200, 5000
MOST_UNITS = 2
"""What is wanted to be left, at most."""
SHARE = 0.4
PENALTY = 0.1
"""Of activations, summed over a thousand units. With a tenth of it next to no unit died, on another seed."""
PUBLISHED_UNITS = 50
"""Thesis, 2.8.1: about 950 of 1000 were removed by vanilla pruning, and more after distortion, to a single one."""


@dataclass(frozen=True)
class PruningCondition:
    """A way to take units away, and what tables call it."""

    title: str
    summary: str
    pruning: Pruning
    published: str = MISSING


def conditions(num_units: int = NUM_UNITS) -> Mapping[str, PruningCondition]:
    by_weights = Magnitude(readers=True)
    return {
        "vanilla": PruningCondition(
            "vanilla", "units that are never active go, until there is none", Pruning(num_units), str(PUBLISHED_UNITS)
        ),
        "distorted": PruningCondition(
            "distorted",
            "the same, the hidden layer's weights moved by rand (1 - var) before every cycle",
            Pruning(num_units, distorts=True),
            "1",
        ),
        "regularized": PruningCondition(
            "regularized",
            f"as vanilla, with {PENALTY:g} times the sum of activations in the loss of all cycles",
            Pruning(num_units, activation_penalty=PENALTY),
        ),
        "regularized_distorted": PruningCondition(
            "regularized and distorted",
            "both",
            Pruning(num_units, activation_penalty=PENALTY, distorts=True),
        ),
        "count": PruningCondition(
            "least active",
            "the least often active 40 % go in every cycle (Network Trimming's score)",
            Pruning(num_units, ActivationCount(), SHARE),
        ),
        "magnitude": PruningCondition(
            "smallest weights",
            "the 40 % with the smallest weights, in and out, go",
            Pruning(num_units, by_weights, SHARE),
        ),
        "surgeon": PruningCondition(
            "optimal brain surgeon",
            "the 40 % that others make up for best go, and are made up for by least squares",
            Pruning(num_units, OptimalBrainSurgeon(), SHARE, "least_squares"),
        ),
        "random": PruningCondition("random", "40 % go at random", Pruning(num_units, Random(), SHARE)),
        "two": PruningCondition("two units", "from the start, none goes", Pruning(MOST_UNITS, None)),
    }


class Summation(Reproduction):
    """Runs one after the other, on the CPU: a step of two units takes no longer there than on any other device."""

    name = "summation"
    summary = "Second thesis 2.8.1: how many of a thousand units are left of a sum of two numbers"

    def needed_data(self, device: str, *, full: bool = False) -> tuple[str, ...]:
        return ("summation",)

    def run(self, request: Request) -> ReproductionReport | None:
        dataset = open_dataset("summation", request.data_dir)
        train_size = QUICK_SIZE if request.quick else None
        data = TrainingData.of(
            dataset, *dataset.split(seed=SPLIT_SEED, train_size=train_size), standardizes_targets=False
        )
        lengths = shortened(Lengths(), QUICK_STEPS) if request.quick else Lengths()
        num_units = QUICK_UNITS if request.quick else NUM_UNITS
        wanted = conditions(num_units)
        network = ModelSpec("mlp", {"hidden": (num_units,), "batch_norm": False})
        experiment = Experiment(
            dataset, network, static_policy(), TRAINING, train_size, keeps_validation_apart=True,
            standardizes_targets=False,
        )  # fmt: skip
        recipes = {name: _recipe(each.pruning) for name, each in wanted.items()}
        settings = {**experiment.settings(), "lengths": asdict(lengths), "conditions": recipes}
        folder = ExperimentFolder(request.out, KIND)
        folder.check(settings)
        with folder.locked():
            folder.begin(settings)
            runs = kept_runs(
                folder,
                wanted,
                request,
                PrunedRun,
                lambda name, seed: PruningRun(wanted[name].pruning, dataset, data, lengths, seed).run(),
            )
            if runs is None:
                return None
            tables = (units_table(wanted, runs), cycles_table(wanted, runs))
            page = markdown_page(f"{request.out.name}: {self.summary}", tables, (found_in_words(wanted, runs),))
            results = {"trained_on": experiment.circumstances(), "runs": as_plain(runs)}
            folder.finish(settings, results, Pages(page))
        return ReproductionReport(
            self.summary, tables, folder.path, folder.written, (found_in_words(wanted, runs),),
            any(not run.has_diverged for run in runs["vanilla"]),
        )  # fmt: skip


def _recipe(pruning: Pruning) -> dict[str, Any]:
    score = None if pruning.score is None else pruning.score.describe()
    return {**asdict(pruning), "score": score}


def units_table(wanted: Mapping[str, PruningCondition], runs: Mapping[str, Sequence[PrunedRun]]) -> Table:
    """What is left, and how good it is, by condition."""
    titles = ("units left", "largest loss", "loss met", f"and by {MOST_UNITS} units", "steps", "thesis")
    rows = []
    for name, condition in wanted.items():
        of_condition = runs[name]
        rows.append(
            (
                condition.title,
                _range([run.units for run in of_condition]),
                _largest_loss(of_condition),
                f"{sum(run.met for run in of_condition)} of {len(of_condition)}",
                f"{sum(_is_wanted(run) for run in of_condition)} of {len(of_condition)}",
                numbers.count(statistics.mean(run.steps for run in of_condition)),
                condition.published,
            )
        )
    lines = "; ".join(f"{condition.title}: {condition.summary}" for condition in wanted.values())
    seeds = len(next(iter(runs.values())))
    note = (
        f"Units: median (range) of {seeds} seed{'s' if seeds > 1 else ''}; steps are means; losses are mean squared "
        "errors on test examples, the largest of all seeds, or of those that did not diverge. Met is one below "
        f"{WANTED_LOSS:g}, on validation examples, too. {lines}. Where a share goes, sizes are trained to the end from "
        "the smallest up, until one has that loss on validation examples, four at most; the steps of all of them count."
    )
    return Table("Units left", columns_of("condition", *titles), tuple(rows), note)


def cycles_table(wanted: Mapping[str, PruningCondition], runs: Mapping[str, Sequence[PrunedRun]]) -> Table:
    """The way down under the first seed: units and validation loss at the end of every cycle's training."""
    rows = tuple(
        (
            condition.title,
            ", ".join(_cycle_cell(cycle) for cycle in runs[name][0].cycles) or MISSING,
        )
        for name, condition in wanted.items()
    )
    note = "Before units went; the training to the end comes after the last of them."
    columns = (Column("condition"), Column("cycles", flexible=True))
    return Table("Units (validation loss) by cycle, first seed", columns, rows, note)


def found_in_words(wanted: Mapping[str, PruningCondition], runs: Mapping[str, Sequence[PrunedRun]]) -> str:
    """Which conditions come to what was wanted under every seed."""
    number = len(next(iter(runs.values())))
    always = [wanted[name].title for name, each in runs.items() if all(map(_is_wanted, each))]
    never = [wanted[name].title for name, each in runs.items() if not any(map(_is_wanted, each))]
    what = f"at most {MOST_UNITS} units at a loss below {WANTED_LOSS:g}"
    return (
        f"Of {number} seed{'s' if number > 1 else ''}, {what} under all: {', '.join(always) or 'none'}; under none: "
        f"{', '.join(never) or 'none'}."
    )


def _is_wanted(run: PrunedRun) -> bool:
    return run.met and run.units <= MOST_UNITS


def _largest_loss(runs: Sequence[PrunedRun]) -> str:
    """On test examples; of how many runs, where some have diverged."""
    losses = [run.test_loss for run in runs if run.test_loss is not None]
    if not losses:
        return "diverged"
    largest = numbers.significant(max(losses))
    return largest if len(losses) == len(runs) else f"{largest} of {len(losses)}"


def _cycle_cell(cycle: Cycle) -> str:
    return f"{cycle.units} ({MISSING if cycle.validation_loss is None else numbers.small(cycle.validation_loss)})"


def _range(values: Sequence[int]) -> str:
    middle = f"{statistics.median(values):g}"
    return middle if min(values) == max(values) else f"{middle} ({min(values)} to {max(values)})"


REPRODUCTIONS.register("summation")(Summation())
