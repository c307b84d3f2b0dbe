"""What is left of an autoencoder's channels: the second thesis' 2.7.2 and 2.8.2, and what comes smaller.

The thesis prunes 32, 64 and 32 channels by activations to 16, 64 and 22, and has no numbers for its other ways:
distorted weights, a penalty on activations, outliers (a count of activations below mean - 2 std), and all together. In
theory 4, 16 and 4 channels lose nothing: such a network is trained from the start beside, and autogrow's default way
(scores by Fisher, readers refitted) and chance are taken to its FLOPs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from autogrow.data.opening import open_dataset
from autogrow.experiments.conditions import Experiment
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.reproduction.base import KIND, REPRODUCTIONS, Reproduction, ReproductionReport, Request
from autogrow.experiments.reproduction.kept_runs import as_plain, kept_runs
from autogrow.experiments.reproduction.shrinking.cells import difference_cell, mean_cell, units_cell
from autogrow.experiments.reproduction.shrinking.pruned_autoencoder import (
    AutoencoderRun,
    Lengths,
    PrunedAutoencoder,
    Pruning,
)
from autogrow.experiments.tables import columns_of, markdown_page
from autogrow.metrics import numbers
from autogrow.metrics.numbers import MISSING
from autogrow.models.building import ModelSpec
from autogrow.policy.presets import static_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_scores import ActivationCount, ActivationOutliers, Fisher, Random
from autogrow.report.tables import Column, Table
from autogrow.study.settings import SPLIT_SEED
from autogrow.tasks import TASKS
from autogrow.training.training_data import TrainingData

FULL, THEORY = (32, 64, 32), (4, 16, 4)
TRAIN_SIZE, QUICK_SIZE = 2000, 200
"""Images; the thesis has 60,000, and does not say for how long it trains."""
TRAINING = TrainingSettings(
    batch_size=50, learning_rate=2e-3, learning_rate_schedule="constant", sample_every=1000, sample_size=200
)
QUICK_LENGTHS = Lengths(cycles=2, last=1, calibration_examples=50)
PENALTY = 0.1
"""As for the sum of two numbers. With a tenth of it no channel died, on another seed."""
UNTOUCHED = "untouched"


@dataclass(frozen=True)
class PruningCondition:
    """A way to take channels away, and what tables call it."""

    title: str
    summary: str
    pruning: Pruning
    published: str = MISSING


def conditions() -> Mapping[str, PruningCondition]:
    activation, outliers = Pruning(FULL, ActivationCount()), Pruning(FULL, ActivationOutliers())
    to_theory = Pruning(FULL, Fisher(), final_channels=THEORY, compensation="least_squares")
    shown = ", ".join(map(str, THEORY))
    return {
        UNTOUCHED: PruningCondition("untouched", "nothing goes", Pruning(FULL)),
        "activation": PruningCondition("activation", "channels that are never active go", activation, "16, 64, 22"),
        "distortion": PruningCondition(
            "distortion", "the same, weights moved by rand (1 - var) before every cycle",
            replace(activation, distortion=1.0),
        ),
        "regularizer": PruningCondition(
            "regularizer", f"as activation, with {PENALTY:g} times the sum of mean activations in the cycles' loss",
            replace(activation, activation_penalty=PENALTY),
        ),
        "outliers": PruningCondition(
            "outliers", "channels go that are active less often than their layer's mean - 2 std", outliers
        ),
        "together": PruningCondition(
            "all together", "outliers, distorted and penalized",
            replace(outliers, distortion=1.0, activation_penalty=PENALTY),
        ),
        "fisher": PruningCondition(
            "autogrow", f"the least by Fisher go, others are refitted, to the FLOPs of {shown} channels", to_theory
        ),
        "random": PruningCondition("random", "as autogrow, at random", replace(to_theory, score=Random())),
        "theory": PruningCondition("theory", f"{shown} channels from the start, none goes", Pruning(THEORY)),
    }  # fmt: skip


class Autoencoder(Reproduction):
    """Runs one after the other, on the CPU."""

    name = "autoencoder"
    summary = "Second thesis 2.8.2: how many channels are left of an autoencoder of MNIST"
    default_seeds = 3

    def needed_data(self, device: str, *, full: bool = False) -> tuple[str, ...]:
        return ("mnist",)

    def run(self, request: Request) -> ReproductionReport | None:
        task = next(name for name, task in TASKS.items() if task.targets_are_inputs)
        dataset = open_dataset("mnist", request.data_dir, task=task)
        train_size = QUICK_SIZE if request.quick else TRAIN_SIZE
        lengths = QUICK_LENGTHS if request.quick else Lengths()
        data = TrainingData.of(dataset, *dataset.split(seed=SPLIT_SEED, train_size=train_size))
        wanted = conditions()
        experiment = Experiment(
            dataset, ModelSpec("autoencoder", {"channels": FULL}), static_policy(), TRAINING, train_size,
            keeps_validation_apart=True,
        )  # fmt: skip
        recipes = {name: each.pruning.to_dict() for name, each in wanted.items()}
        settings = {**experiment.settings(), "lengths": asdict(lengths), "conditions": recipes}
        folder = ExperimentFolder(request.out, KIND)
        folder.check(settings)
        with folder.locked():
            folder.begin(settings)
            runs = kept_runs(
                folder,
                wanted,
                request,
                PrunedAutoencoder,
                lambda name, seed: AutoencoderRun(wanted[name].pruning, dataset, data, TRAINING, lengths, seed).run(),
            )
            if runs is None:
                return None
            tables = (channels_table(wanted, runs), cycles_table(wanted, runs))
            said = scaled_down(train_size, lengths)
            page = markdown_page(f"{request.out.name}: {self.summary}", tables, (said,))
            results = {"trained_on": experiment.circumstances(), "runs": as_plain(runs)}
            folder.finish(settings, results, Pages(page))
        succeeded = any(run.validation_loss is not None for run in runs["activation"])
        return ReproductionReport(self.summary, tables, folder.path, folder.written, (said,), succeeded)


def scaled_down(train_size: int, lengths: Lengths) -> str:
    """How this is smaller than the thesis' experiment."""
    return (
        f"The thesis' network on {train_size:,} of its 60,000 images: {lengths.cycles} cycles of one pass each, "
        f"at whose ends channels go, and {lengths.last} passes with a falling rate. Losses are "
        "of validation images, by which nothing is chosen; the test split stays closed."
    )


def channels_table(wanted: Mapping[str, PruningCondition], runs: Mapping[str, Sequence[PrunedAutoencoder]]) -> Table:
    """What is left, and how well it gives images back, by condition."""
    untouched = [run.validation_loss for run in runs[UNTOUCHED]]
    rows = []
    for name, condition in wanted.items():
        of_condition = runs[name]
        losses = [run.validation_loss for run in of_condition]
        rows.append(
            (
                condition.title,
                units_cell([run.units for run in of_condition]),
                mean_cell(losses, 4),
                MISSING if name == UNTOUCHED else difference_cell(losses, untouched, 4),
                mean_cell([run.validation_score for run in of_condition], 3),
                numbers.count(sum(run.flops for run in of_condition) / len(of_condition)),
                condition.published,
            )
        )
    titles = ("channels left", "loss", "loss - untouched", "R²", "FLOPs", "thesis")
    seeds = len(untouched)
    lines = "; ".join(f"{condition.title}: {condition.summary}" for condition in wanted.values())
    note = (
        f"Means over {seeds} seed{'s' if seeds > 1 else ''}, standard errors in brackets; channels of the two encoders "
        f"and the first decoder; loss: squared error per standardized value. {lines}."
    )
    return Table("Channels left", columns_of("condition", *titles), tuple(rows), note)


def cycles_table(wanted: Mapping[str, PruningCondition], runs: Mapping[str, Sequence[PrunedAutoencoder]]) -> Table:
    """The way down under the first seed."""
    rows = tuple(
        (
            condition.title,
            "; ".join(
                f"{', '.join(map(str, cycle.units))} "
                f"({MISSING if cycle.validation_loss is None else numbers.significant(cycle.validation_loss)})"
                for cycle in runs[name][0].cycles
            ),
        )
        for name, condition in wanted.items()
    )
    columns = (Column("condition"), Column("cycles", flexible=True))
    return Table("Channels (loss) by cycle, first seed", columns, rows, "Before channels went.")


REPRODUCTIONS.register("autoencoder")(Autoencoder())
