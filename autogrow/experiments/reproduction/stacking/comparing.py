"""What contestants train, on what and how; and how they are compared, each with a learning rate of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autogrow.data.dataset import Dataset
from autogrow.experiments.conditions import Design, Experiment
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.reproduction.ablation import Workload
from autogrow.experiments.reproduction.base import KIND, Request
from autogrow.experiments.reproduction.stacking.contestants import (
    CONTESTANTS,
    DEFAULT,
    FULL,
    LAYERS,
    NUM_SAMPLES,
    STACKED,
    Contestant,
)
from autogrow.experiments.reproduction.stacking.rates import RATE_SEEDS, Rates, best_rates, rates_design, rates_table
from autogrow.experiments.results import Results
from autogrow.experiments.running import run_experiment
from autogrow.models.building import ModelSpec
from autogrow.policy.training_settings import TEXT_RECIPE, TrainingSettings
from autogrow.report.tables import Table

TEXT, QUICK_TEXT = "stdlib?mebibytes=2", "stdlib?context=32&mebibytes=1"
WIDTH, QUICK_WIDTH = 32, 16
NUM_STEPS, QUICK_STEPS = 3000, 20
"""Steps of the full depth, whose training FLOPs every run has."""
QUICK_SAMPLES = 8
COMPARED = "compared"
"""The folder of the main part."""
RATES = (2e-3, 4e-3, 8e-3)
QUICK_RATE = RATES[-1]
"""Few steps need large ones; no other is tried."""
TRAINING = TrainingSettings(steps=NUM_STEPS, batch_size=4, warmup_steps=50, sample_size=16, **TEXT_RECIPE)


@dataclass(frozen=True)
class Setting(Workload):
    """What contestants train, on what, and how; the steps of its training are those of the full depth."""

    num_samples: int = NUM_SAMPLES

    def experiment(self, dataset: Dataset, request: Request) -> Experiment:
        return Experiment(
            dataset, self.model, DEFAULT, self.training, train_size=self.train_size,
            device=request.device, execution=request.execution, keeps_validation_apart=True,
        )  # fmt: skip


MAIN = Setting(TEXT, ModelSpec("gpt", {"layers": LAYERS, "width": WIDTH}), TRAINING)
QUICK = Setting(
    QUICK_TEXT,
    ModelSpec("gpt", {"layers": LAYERS, "width": QUICK_WIDTH}),
    TRAINING.model_copy(update={"steps": QUICK_STEPS}),
    train_size=200,
    num_samples=QUICK_SAMPLES,
)


def design(rates: Rates, setting: Setting = MAIN, contestants: Sequence[Contestant] = CONTESTANTS) -> Design:
    """All contestants, each with its rate, read on test."""
    conditions = tuple(each.condition(setting.training, rates[each.name], setting.num_samples) for each in contestants)
    return Design(conditions, subject=STACKED, unit=FULL, keeps_curves=True)


def compare(
    setting: Setting,
    dataset: Dataset,
    request: Request,
    name: str,
    design: Design,
    pages: Callable[[Results, str], Pages] = lambda results, heading: Pages(None),
    earlier: str | None = None,
) -> Results | None:
    """Train a design on the request's seeds in a folder of that name; None when interrupted.

    earlier: The name of a folder whose runs are not trained again.
    """
    return run_experiment(
        setting.experiment(dataset, request),
        design,
        request.num_seeds,
        folder=ExperimentFolder(request.out / name, KIND),
        on_run=request.on_run,
        interrupted=request.interrupted,
        jobs=request.jobs,
        pages=pages,
        earlier=None if earlier is None else ExperimentFolder(request.out / earlier, KIND),
    )


def choose_rates(
    setting: Setting,
    contestants: Sequence[Contestant],
    rates: Sequence[float],
    dataset: Dataset,
    request: Request,
    name: str,
    unit: str = FULL,
) -> tuple[Rates, tuple[Table, ...]] | None:
    """Try the rates in a folder of that name: what is chosen, and the table of it; None when interrupted."""
    tried = rates_design(contestants, setting.training, rates, unit)
    found = compare(setting, dataset, replace(request, num_seeds=RATE_SEEDS), name, tried)
    if found is None:
        return None
    chosen = best_rates(contestants, rates, found)
    return chosen, (rates_table(contestants, rates, chosen, found),)
