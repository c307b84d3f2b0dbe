"""Growing a transformer deeper by stacking copies of its blocks, beside the same network at every depth throughout.

All runs spend the same training FLOPs, those of the full depth for a number of steps, under a constant rate that decays
at the end. Each condition has the rate that is best for it on other seeds, read on validation; the test split is opened
by the compared runs alone. Besides what all compute comes to, one run asks how little of it reaches the full depth's.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.experiments.conditions import Condition, Design, Experiment, FixedPlan, Split
from autogrow.experiments.drawing import CurvePicture, draw_curves
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.reproduction.base import KIND, REPRODUCTIONS, Reproduction, ReproductionReport, Request
from autogrow.experiments.results import Results
from autogrow.experiments.running import run_experiment
from autogrow.experiments.tables import columns_of, markdown_page, results_tables
from autogrow.files import write_text_atomically
from autogrow.metrics import numbers
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import default_depth_policy, static_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.report.judging import Yardstick, judge_seeds
from autogrow.report.tables import Table
from autogrow.tasks.text import TEXT as TEXT_TASK

TEXT, QUICK_TEXT = "stdlib?mebibytes=2", "stdlib?context=32&mebibytes=1"
LAYERS, WIDTH = 8, 32
NUM_STEPS, QUICK_STEPS = 3000, 20
"""Steps of the full depth, whose training FLOPs every run has."""
NUM_SAMPLES, QUICK_SAMPLES = 40, 8
RATES = (2e-3, 4e-3, 8e-3)
QUICK_RATE = RATES[-1]
"""Few steps need large ones; no other is tried."""
RATE_SEEDS, FIRST_RATE_SEED = 2, 1000
"""Seeds on which rates are chosen; the compared runs have others."""
RATE_LENGTH = 0.5
"""Share of the compute that a run has by which rates are chosen."""
SHORTER = 0.6
"""Share of the full depth's compute at which growing is to reach its loss."""
TRAINING = TrainingSettings(
    steps=NUM_STEPS,
    length="compute",
    batch_size=4,
    optimizer="adamw",
    learning_rate_schedule="constant_then_decay",
    warmup_steps=50,
    weight_decay=0.1,
    decays="matrices",
    betas=(0.9, 0.95),
    max_gradient_norm=1.0,
    sample_size=16,
)
STACKED, FULL = "stacked", f"static_{LAYERS}"


@dataclass(frozen=True)
class Contestant:
    """A way to spend the compute."""

    name: str
    title: str
    summary: str
    policy: GrowthPolicy
    """Full width throughout; the depth as it says."""
    compute: float = 1.0
    """Share of the full depth's compute that it has."""
    rate_of: str | None = None
    """The contestant whose learning rate it takes; None chooses its own."""

    def training(self, rate: float, num_steps: int, num_samples: int = NUM_SAMPLES) -> TrainingSettings:
        """With a learning rate, for its share of the compute of `num_steps` at full depth."""
        steps = max(1, round(self.compute * num_steps))
        every = max(1, steps // num_samples)
        return TRAINING.model_copy(update={"learning_rate": rate, "steps": steps, "sample_every": every})


def _in_depth(**fields: Any) -> GrowthPolicy:
    return GrowthPolicy.from_dict({**static_policy().recipe(), "depth": {"kind": "blocks", **fields}})


def _static(layers: int) -> Contestant:
    share = layers / LAYERS
    return Contestant(
        f"static_{layers}",
        f"{layers} layer{'s' if layers > 1 else ''}",
        f"{layers} of {LAYERS} layers throughout",
        _in_depth(initial_fraction=share, max_fraction=share),
    )


def _stacked(initial: int, *shares: float) -> GrowthPolicy:
    return _in_depth(
        initial_blocks=initial,
        growth_factor=2,
        initialization="stack",
        stage_selection="all",
        trigger={"kind": "compute_shares", "shares": shares},
    )


STATICS = tuple(_static(layers) for layers in (1, 2, 4, LAYERS))
DEFAULT = default_depth_policy()
CONTESTANTS = (
    *STATICS,
    Contestant("stacked_once", "4-8 layers", "one jump at 40 % of the compute", _stacked(4, 0.4)),
    Contestant("stacked_twice", "2-4-8 layers", "jumps at 20 and 50 %", _stacked(2, 0.2, 0.5)),
    Contestant(STACKED, "1-2-4-8 layers", "the default: jumps at 7.5, 20 and 50 %", DEFAULT),
    Contestant("stacked_shorter", "shorter", f"the default with {SHORTER:g} of the compute", DEFAULT, SHORTER, STACKED),
)


@dataclass(frozen=True)
class Stacking(Reproduction):
    """One text; rates are chosen first, then all contestants are compared."""

    name: str = "stacking"
    summary: str = "Depth by stacking: a transformer that is doubled as it trains, beside every depth throughout"
    text: str = TEXT
    pictures: dict[str, CurvePicture] = field(
        default_factory=lambda: {
            "validation-loss": CurvePicture(
                "training_flops", "validation_loss", "validation loss", "training FLOPs", logarithmic=True
            )
        }
    )

    def needed_data(self, device: str) -> tuple[str, ...]:
        return (self.text,)

    def run(self, request: Request) -> ReproductionReport | None:
        dataset = open_dataset(QUICK_TEXT if request.quick else self.text, request.data_dir)
        chosen = self._choose_rates(dataset, request)
        if chosen is None:
            return None
        rates, tables = chosen
        folder = ExperimentFolder(request.out / "compared", KIND)
        results = run_experiment(
            self._experiment(dataset, request),
            design(rates, *((QUICK_STEPS, QUICK_SAMPLES) if request.quick else (NUM_STEPS, NUM_SAMPLES))),
            request.num_seeds,
            folder=folder,
            on_run=request.on_run,
            interrupted=request.interrupted,
            jobs=request.jobs,
            pages=lambda results, heading: Pages(None, self._figures(results, heading), {"rates": rates}),
        )
        if results is None:
            return None
        said, tables = findings(results), (*tables, *results_tables(results))
        page = request.out / "table.md"
        write_text_atomically(page, markdown_page(f"{request.out.name}: {self.summary}", tables, said))
        succeeded = bool(results.of_condition(STACKED))
        return ReproductionReport(self.summary, tables, request.out, (page, *folder.written), said, succeeded)

    def _choose_rates(self, dataset: Dataset, request: Request) -> tuple[dict[str, float], tuple[Table, ...]] | None:
        """Every contestant's learning rate, and the table of how it was chosen; None when interrupted."""
        if request.quick:
            return dict.fromkeys((each.name for each in CONTESTANTS), QUICK_RATE), ()
        found = run_experiment(
            self._experiment(dataset, request),
            rates_design(NUM_STEPS),
            RATE_SEEDS,
            folder=ExperimentFolder(request.out / "rates", KIND),
            on_run=request.on_run,
            interrupted=request.interrupted,
            jobs=request.jobs,
            pages=lambda results, heading: Pages(None),
        )
        if found is None:
            return None
        rates = best_rates(found)
        return rates, (rates_table(rates, found),)

    def _experiment(self, dataset: Dataset, request: Request) -> Experiment:
        subject = next(each for each in CONTESTANTS if each.name == STACKED)
        network = ModelSpec("gpt", {"layers": LAYERS, "width": 16 if request.quick else WIDTH})
        return Experiment(
            dataset, network, subject.policy, TRAINING, train_size=200 if request.quick else None,
            device=request.device, execution=request.execution, keeps_validation_apart=True,
        )  # fmt: skip

    def _figures(self, results: Results, heading: str) -> dict[str, str]:
        if not results.runs:
            return {}
        return {name: draw_curves(results, picture, heading) for name, picture in self.pictures.items()}


def rates_design(num_steps: int) -> Design:
    """Every contestant that chooses a rate with every rate, read on validation."""
    length = max(1, round(RATE_LENGTH * num_steps))
    conditions = tuple(
        _condition(_at_rate(each, rate), rate, length) for each in CONTESTANTS if each.rate_of is None for rate in RATES
    )
    unit = _with_rate(FULL, RATES[0])
    return _design(conditions, _with_rate(STACKED, RATES[0]), unit, "validation", first_seed=FIRST_RATE_SEED)


def best_rates(found: Results) -> dict[str, float]:
    """By contestant the rate with the lowest mean validation loss; a rate under which any run failed is none."""
    rates: dict[str, float] = {}
    for each in CONTESTANTS:
        if each.rate_of is None:
            losses = {rate: found.spread(_with_rate(each.name, rate), "validation_loss") for rate in RATES}
            means = {
                rate: loss.mean
                for rate, loss in losses.items()
                if loss is not None and loss.num_seeds == len(found.seeds)
            }
            rates[each.name] = min(means, key=lambda rate: means[rate]) if means else RATES[0]
    return rates | {each.name: rates[each.rate_of] for each in CONTESTANTS if each.rate_of is not None}


def design(rates: dict[str, float], num_steps: int, num_samples: int = NUM_SAMPLES) -> Design:
    """All contestants, each with its rate, read on test."""
    conditions = tuple(_condition(each, rates[each.name], num_steps, num_samples) for each in CONTESTANTS)
    return _design(conditions, STACKED, FULL, "test", keeps_curves=True)


def _design(conditions: tuple[Condition, ...], subject: str, unit: str, split: Split, **options: Any) -> Design:
    return Design(conditions, subject=subject, unit=unit, split=split, **options)


def _condition(contestant: Contestant, rate: float, num_steps: int, num_samples: int = NUM_SAMPLES) -> Condition:
    plan = FixedPlan(contestant.policy, None, contestant.training(rate, num_steps, num_samples))
    return Condition.fixed(contestant.name, contestant.title, contestant.summary, plan)


def _at_rate(contestant: Contestant, rate: float) -> Contestant:
    return replace(contestant, name=_with_rate(contestant.name, rate), title=f"{contestant.title} at {rate:g}")


def _with_rate(name: str, rate: float) -> str:
    return f"{name}@{rate:g}"


def rates_table(rates: dict[str, float], found: Results) -> Table:
    """The chosen learning rates, and the validation losses by which they were chosen."""
    rows = []
    for each in CONTESTANTS:
        losses = (found.spread(_with_rate(each.name, rate), "validation_loss") for rate in RATES)
        cells = (numbers.MISSING if loss is None else numbers.SIGNIFICANT.text(loss.mean) for loss in losses)
        rows.append((each.title, f"{rates[each.name]:g}", *cells))
    note = (
        f"Validation loss under each rate, the mean of {len(found.seeds)} other seeds at {RATE_LENGTH:.0%} of the "
        f"compute; a rate under which a run failed is not chosen."
    )
    titles = ("chosen", *(f"at {rate:g}" for rate in RATES))
    return Table("Learning rates", columns_of("condition", *titles), tuple(rows), note)


def findings(results: Results) -> tuple[str, ...]:
    """Growing against the best depth throughout at equal compute, and what it took to reach the full depth's loss."""
    losses = {each.name: results.spread(each.name, "test_loss") for each in STATICS}
    means = {name: loss.mean for name, loss in losses.items() if loss is not None}
    if not means or not results.of_condition(STACKED):
        return ("Too many runs failed: nothing is compared.",)
    best = min(means, key=lambda name: means[name])
    said = [_compared(results, STACKED, best, "The best depth throughout"), _compared(results, STACKED, FULL, "Full")]
    shares = [results.spread("stacked_shorter", name) for name in ("compute", "train_seconds")]
    full_seconds = results.spread(FULL, "train_seconds")
    if shares[0] is not None and shares[1] is not None and full_seconds is not None:
        seconds = shares[1].mean / full_seconds.mean
        said.append(
            f"{_compared(results, 'stacked_shorter', FULL, 'Shorter')} That took {shares[0].mean:.2f} of the FLOPs and "
            f"{seconds:.2f} of the seconds."
        )
    return tuple(said)


def _compared(results: Results, subject: str, control: str, what: str) -> str:
    """A difference of test losses, in the words that every command has for it."""
    difference, loss = results.between(subject, control, "test_loss"), results.spread(control, "test_loss")
    titles = results.design.title(subject), results.design.title(control)
    if difference is None or loss is None:
        return f"{what}: {titles[0]} and {titles[1]} cannot be compared."
    judgement = judge_seeds(
        difference.mean, difference.standard_error, difference.num_seeds, loss.mean, Yardstick(TEXT_TASK, "loss")
    )
    return f"{what}: {titles[0]} is {judgement.compared_with(titles[1])}."


REPRODUCTIONS.register("stacking")(Stacking())
