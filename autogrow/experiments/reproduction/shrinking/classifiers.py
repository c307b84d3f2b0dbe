"""The second thesis' classifiers (tables 2.3 and 2.4), shrunk by every score to three sizes.

The thesis names the networks and how they are trained, and has no numbers for them. All scores begin with the same
trained weights under every seed; beside them are chance and the untouched network, trained on as long. Units of all
layers are in one order, as autogrow puts them; biases take up what removed units are on average.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from autogrow.data.dataset import Dataset
from autogrow.experiments.conditions import Experiment
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.reproduction.base import KIND, REPRODUCTIONS, Reproduction, ReproductionReport, Request
from autogrow.experiments.reproduction.kept_runs import as_plain, kept_runs
from autogrow.experiments.reproduction.shrinking.cells import (
    difference,
    difference_cell,
    is_secure,
    mean_cell,
    units_cell,
)
from autogrow.experiments.reproduction.shrinking.shrunk_classifier import (
    COMPENSATION,
    SHARES,
    Lengths,
    ShrunkClassifier,
    Size,
    TrainedClassifier,
)
from autogrow.experiments.tables import columns_of, markdown_page
from autogrow.metrics import numbers
from autogrow.metrics.numbers import MISSING
from autogrow.models.building import ModelSpec
from autogrow.policy.presets import static_policy
from autogrow.policy.recovery import Recovery
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_scores import UNIT_SCORES, UnitScore
from autogrow.report.tables import Table
from autogrow.study.settings import SPLIT_SEED
from autogrow.training.training_data import TrainingData

UNTOUCHED, CHANCE = "untouched", "random"
SIZES = tuple(f"1/{round(1 / share)}" for share in SHARES)
BUILT_IN = (
    "activation_count", "activation_outliers", "activation_std", "magnitude", "optimal_brain_damage",
    "optimal_brain_surgeon", "fisher", "taylor", "sensitivity", CHANCE,
)  # fmt: skip
"""Scores, chance last; those of installed packages are not what is reproduced."""
Runs = Mapping[str, Sequence[ShrunkClassifier]]
"""By score, or `UNTOUCHED`, the runs of all seeds."""


@dataclass(frozen=True)
class ClassifierExperiment(Reproduction):
    """Runs one after the other, on the CPU, on which latencies are measured."""

    name: str
    summary: str
    datasets: tuple[str, ...]
    """The first one that is there is taken."""
    model: ModelSpec
    lengths: Lengths
    train_size: int
    scaled_down: str
    """How it is smaller than the thesis' experiment, in words."""
    quick_model: ModelSpec
    quick_size: int = 200
    default_seeds: int = 3

    def needed_data(self, device: str, *, full: bool = False) -> tuple[str, ...]:
        return (self.datasets[0],)

    def instead_of(self, dataset: str) -> str | None:
        place = self.datasets.index(dataset) + 1
        return self.datasets[place] if place < len(self.datasets) else None

    def run(self, request: Request) -> ReproductionReport | None:
        dataset = self.open(self.datasets[0], request.data_dir)
        lengths, model, train_size = self.lengths, self.model, self.train_size
        if request.quick:
            lengths, model, train_size = shortened(lengths), self.quick_model, self.quick_size
        data = TrainingData.of(dataset, *dataset.split(seed=SPLIT_SEED, train_size=train_size))
        scores = wanted_scores()
        experiment = Experiment(
            dataset, model, static_policy(), lengths.training, train_size, keeps_validation_apart=True
        )
        recipes = {name: None if score is None else score.describe() for name, score in scores.items()}
        settings = {
            **experiment.settings(),
            "recovery": lengths.recovery.model_dump(mode="json"),
            "calibration_examples": lengths.calibration_examples,
            "shares": list(SHARES),
            "compensation": COMPENSATION,
            "conditions": recipes,
        }
        folder = ExperimentFolder(request.out, KIND)
        folder.check(settings)

        @cache
        def trained(seed: int) -> TrainedClassifier:
            return TrainedClassifier(model, dataset, data, lengths, seed)

        with folder.locked():
            folder.begin(settings)
            runs = kept_runs(
                folder, scores, request, ShrunkClassifier, lambda name, seed: trained(seed).shrunk(scores[name])
            )
            if runs is None:
                return None
            tables = (scores_table(runs), sizes_table(runs))
            said = (_data_in_words(dataset), self.scaled_down, found_in_words(runs))
            page = markdown_page(f"{request.out.name}: {self.summary}", tables, said)
            results = {"trained_on": experiment.circumstances(), "runs": as_plain(runs)}
            folder.finish(settings, results, Pages(page))
        succeeded = any(run.sizes for name, each in runs.items() if name != UNTOUCHED for run in each)
        return ReproductionReport(self.summary, tables, folder.path, folder.written, said, succeeded)


def wanted_scores() -> dict[str, UnitScore | None]:
    return {UNTOUCHED: None, **{name: UNIT_SCORES[name]() for name in BUILT_IN}}


def shortened(lengths: Lengths) -> Lengths:
    """For `--quick`."""
    training = lengths.training.model_copy(update={"steps": 8, "batch_size": 20})
    return Lengths(training, lengths.recovery.model_copy(update={"length_share": 0.1}), 40)


def _data_in_words(dataset: Dataset) -> str:
    return f"Trained on {dataset.name}, {dataset.num_outputs} classes."


def scores_table(runs: Runs) -> Table:
    """The accuracy at each size, one row per score, and its difference from chance."""
    before = [run.sizes[0].validation_score for run in runs[UNTOUCHED] if run.sizes]
    rows = [
        (
            name.replace("_", " "),
            *(mean_cell(_scores(runs, name, place), 4) for place in range(len(SHARES))),
            *(
                MISSING if name == CHANCE else difference_cell(_scores(runs, name, place), _chance(runs, place), 4)
                for place in range(len(SHARES))
            ),
        )
        for name in runs
    ]
    titles = (*SIZES, *(f"{size} - random" for size in SIZES))
    seeds = len(next(iter(runs.values())))
    over = "of one seed" if seeds == 1 else f"means over {seeds} seeds, standard errors in brackets"
    note = (
        f"Accuracy on validation images, {over}; sizes: shares of the FLOPs, "
        f"each from the one before. At first {mean_cell(before, 4)}; untouched: that network, trained on as "
        "long, of full size in all columns. Nothing is chosen by these images, and the test split stays closed."
    )
    return Table("Accuracy by score", columns_of("score", *titles), tuple(rows), note)


def sizes_table(runs: Runs) -> Table:
    """What is left, and what it takes, one row per score and size."""
    rows = []
    for name in runs:
        for place, size in enumerate(SIZES):
            found = _sizes(runs, name, place)
            if found:
                shown = "1" if name == UNTOUCHED else size
                rows.append((name.replace("_", " "), shown, *_taken_cells(found)))
            if name == UNTOUCHED:
                break
    titles = ("of FLOPs", "before training on", "units left", "FLOPs", "ms", "of untouched", "bytes")
    note = (
        "Before training on: accuracy right after units went. Units: of every layer but the last. "
        "ms: a forward pass of 64 images, by turns with the untouched network."
    )
    return Table("What is left", columns_of("score", *titles), tuple(rows), note)


def _taken_cells(found: Sequence[Size]) -> tuple[str, ...]:
    milliseconds = statistics.mean(size.milliseconds for size in found)
    share = statistics.mean(size.milliseconds / size.milliseconds_untouched for size in found)
    return (
        mean_cell([size.score_before_recovery for size in found], 4),
        units_cell([size.units for size in found]),
        numbers.count(statistics.mean(size.flops for size in found)),
        numbers.significant(milliseconds),
        numbers.ratio(share),
        numbers.count(statistics.mean(size.bytes for size in found)),
    )


def found_in_words(runs: Runs) -> str:
    """Which scores are ahead of chance, or behind it, at which sizes."""
    seeds = len(next(iter(runs.values())))
    if seeds < 3:
        return f"{seeds} seed{'s' if seeds > 1 else ''}: too few to say which score is better than chance."
    ahead: list[str] = []
    behind: list[str] = []
    for name in runs:
        if name in (UNTOUCHED, CHANCE):
            continue
        found = [difference(_scores(runs, name, place), _chance(runs, place)) for place in range(len(SHARES))]
        for places, sign in ((ahead, 1), (behind, -1)):
            sizes = [
                size
                for size, each in zip(SIZES, found, strict=True)
                if each is not None and is_secure(each) and sign * each.mean > 0
            ]
            if sizes:
                places.append(f"{name.replace('_', ' ')} ({', '.join(sizes)})")
    return (
        f"More than two standard errors ahead of chance: {'; '.join(ahead) or 'none'}. Behind it: "
        f"{'; '.join(behind) or 'none'}."
    )


def _chance(runs: Runs, place: int) -> list[float | None]:
    return _scores(runs, CHANCE, place)


def _scores(runs: Runs, name: str, place: int) -> list[float | None]:
    """Of every seed, after a size; of the untouched network after as much training."""
    place += name == UNTOUCHED
    return [run.sizes[place].validation_score if place < len(run.sizes) else None for run in runs[name]]


def _sizes(runs: Runs, name: str, place: int) -> list[Size]:
    return [run.sizes[place] for run in runs[name] if place < len(run.sizes)]


MNIST_TRAINING = TrainingSettings(
    steps=300, batch_size=50, optimizer="rmsprop", learning_rate=1e-4, learning_rate_schedule="constant",
    sample_every=1000, sample_size=200,
)  # fmt: skip
RECOVERY = Recovery(epochs=1, length_share=0.8, optimizer_state="reset")
REPRODUCTIONS.register("mnist-classifier")(
    ClassifierExperiment(
        name="mnist-classifier",
        summary="Second thesis 2.7.3: the classifier of MNIST, shrunk by every score to three sizes",
        datasets=("mnist",),
        model=ModelSpec("convnet", {"kernel_size": 5, "hidden": 128}),
        lengths=Lengths(MNIST_TRAINING, RECOVERY, 100),
        train_size=2000,
        scaled_down="The thesis' network (table 2.3) and its RMSProp, rate 1e-4 and batch of 50; 300 steps on 2,000 "
        "images in place of 20,000 on 60,000, and 32 steps, with a falling rate, after each size.",
        quick_model=ModelSpec("convnet", {"channels": (8, 8), "kernel_size": 5, "hidden": 16}),
    )
)
CIFAR_TRAINING = TrainingSettings(
    steps=200, batch_size=50, learning_rate_schedule="constant", sample_every=1000, sample_size=200,
    brightness=63 / 255, contrast=0.8,
)  # fmt: skip
CIFAR_OPTIONS = {"kernel_size": 5, "pool_size": 3, "batch_norm": True, "crop": 24}
REPRODUCTIONS.register("cifar10-classifier")(
    ClassifierExperiment(
        name="cifar10-classifier",
        summary="Second thesis 2.7.4: the classifier of CIFAR-10, shrunk by every score to three sizes",
        datasets=("cifar10", "cifar100-coarse"),
        model=ModelSpec("convnet", {**CIFAR_OPTIONS, "channels": (64, 64), "hidden": (384, 192)}),
        lengths=Lengths(CIFAR_TRAINING, RECOVERY, 50),
        train_size=2000,
        scaled_down="The thesis' network (table 2.4), Adam at its default rate, and its crops, flips, brightness and "
        "contrast; 200 steps of 50 on 2,000 images, the thesis naming no length, and 32 steps, with a falling rate, "
        "after each size. Images are standardized by the channels of all, not each by itself as there, which would "
        "take brightness off again.",
        quick_model=ModelSpec("convnet", {**CIFAR_OPTIONS, "channels": (8, 8), "hidden": (16, 16)}),
    )
)
