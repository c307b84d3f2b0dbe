"""What growing costs and saves (thesis, 5.4): MNIST's network for a thousand steps of 50 images.

The mechanism's overhead is that of a network which could grow but has its full size from the start, against a plain
loop on the same batches: both take turns, block by block, and ratios are of one block each, so that a busy machine
slows both. The saving is that of the thesis' growing network against the static one. Seconds are those of steps and
growth events; the readings between them, by which a policy decides, are left out of all.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.errors import RunFolderError
from autogrow.experiments.conditions import Experiment
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.reproduction.base import KIND, REPRODUCTIONS, Reproduction, ReproductionReport, Request
from autogrow.experiments.reproduction.mnist import NETWORK, QUICK_NETWORK, thesis_policy
from autogrow.experiments.statistics import spread
from autogrow.experiments.tables import columns_of, markdown_page, seconds_cell
from autogrow.former_names import with_present_names
from autogrow.metrics import numbers
from autogrow.metrics.numbers import MISSING, SHARE
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import static_policy
from autogrow.policy.records import Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.triggers import Schedule
from autogrow.reading.typed import typed
from autogrow.report.tables import Table
from autogrow.study.settings import SPLIT_SEED
from autogrow.training.assembly import assemble, fresh_network
from autogrow.training.batches import BatchOrder
from autogrow.training.ending import Signal
from autogrow.training.execution import autocast, channels_last
from autogrow.training.optimizers import make_optimizer
from autogrow.training.trainer import Trainer
from autogrow.training.training_data import TrainingData

NUM_STEPS, QUICK_STEPS = 1000, 40
BATCH_SIZE = 50
"""Of the tutorial that the thesis follows (5.2, reference 6): what it calls an epoch is a step."""
NUM_SAMPLES, QUICK_SAMPLES = 100, 20
WARM_UP_BLOCKS = 1
PUBLISHED_OVERHEAD, PUBLISHED_SAVING = 37.9 / 36.6, 11.9 / 36.6
"""Thesis, 5.4: seconds with the mechanism over those without, and of the growing network over the static one."""


@dataclass(frozen=True)
class GrownRun:
    """A training that grows, and how it compares with the static one of its round."""

    seconds: float
    seconds_ratio: float
    flops_ratio: float
    num_events: int
    width_share: float
    """The sum of all widths at the end, relative to full ones."""
    validation_score: float


@dataclass(frozen=True)
class Round:
    """One seed."""

    plain_seconds: float
    static_seconds: float
    overhead: float
    """Median over blocks of the seconds with the mechanism over those of the plain loop."""
    static_score: float
    on_stall: GrownRun
    on_schedule: GrownRun


@dataclass(frozen=True)
class _Bench:
    """What all runs have in common."""

    network: ModelSpec
    dataset: Dataset
    data: TrainingData
    settings: TrainingSettings
    device: torch.device
    request: Request

    def trainer(self, policy: GrowthPolicy, seed: int, **options: Any) -> Trainer:
        return assemble(
            fresh_network(self.network, self.dataset, seed),
            self.dataset,
            self.data,
            policy,
            self.settings,
            seed=seed,
            device=self.device,
            interrupted=self.request.interrupted,
            execution=self.request.execution,
            verifies=False,
            **options,
        )

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class PlainLoop:
    """The same network at full size, on the same batches, by an ordinary loop with nothing around it."""

    def __init__(self, bench: _Bench, seed: int) -> None:
        module = fresh_network(bench.network, bench.dataset, seed).to(bench.device)
        self.module = channels_last(module).train()
        self._task = bench.data.task
        self._train = bench.data.on(bench.data.train, bench.device)
        self._order = BatchOrder(len(self._train), BATCH_SIZE, seed, bench.device)
        self._optimizer = make_optimizer(self.module, bench.settings)
        self._bench = bench
        self._step = 0

    def block(self, num_steps: int) -> float:
        """Seconds that this number of steps takes."""
        self._bench.synchronize()
        started = time.perf_counter()
        for _ in range(num_steps):
            inputs, targets = self._train.batch(self._order.indices(self._step))
            self._optimizer.zero_grad(set_to_none=True)
            with autocast(self._bench.request.execution, self._bench.device):
                loss = self._task.loss(self.module(inputs), targets)
            loss.backward()
            self._optimizer.step()
            self._step += 1
        self._bench.synchronize()
        return time.perf_counter() - started


class Cost(Reproduction):
    """Measures alone, whatever number of jobs is asked for: seconds are what it is about."""

    name = "cost"
    summary = "Thesis 5.4: what the mechanism costs, and what growing saves, on MNIST"
    default_seeds = 1
    """Five minutes each: ratios are medians over a hundred blocks of one run."""

    def needed_data(self, device: str, *, full: bool = False) -> tuple[str, ...]:
        return ("mnist",)

    def run(self, request: Request) -> ReproductionReport | None:
        bench, experiment = prepare(request)
        settings = {
            **experiment.settings(),
            "holds_out_validation": True,
            "policy_on_schedule": _on_schedule(_num_samples(bench)).recipe(),
        }
        folder = ExperimentFolder(request.out, KIND)
        folder.check(settings)
        rounds: list[Round] = []
        with folder.locked():
            folder.begin(settings)
            for seed in range(request.num_seeds):
                kept = folder.part(f"{seed}-round")
                done = (
                    typed(Round, with_present_names(kept), f"round {seed} in {folder.path}", RunFolderError)
                    if kept
                    else _round(bench, seed)
                )
                if done is None:
                    return None
                folder.write_part(f"{seed}-round", asdict(done))
                rounds.append(done)
            table = mechanism_cost_table(rounds)
            pages = Pages(markdown_page(f"{request.out.name}: {self.summary}", (table,)))
            folder.finish(settings, rounds_as_dict(rounds, experiment.circumstances()), pages)
        return ReproductionReport(self.summary, (table,), folder.path, folder.written)


def prepare(request: Request) -> tuple[_Bench, Experiment]:
    num_steps = QUICK_STEPS if request.quick else NUM_STEPS
    num_samples = QUICK_SAMPLES if request.quick else NUM_SAMPLES
    dataset = open_dataset("mnist", request.data_dir)
    train, validation = dataset.split(seed=SPLIT_SEED, train_size=num_steps * BATCH_SIZE)
    settings = TrainingSettings(
        epochs=1,
        batch_size=BATCH_SIZE,
        learning_rate_schedule="constant",
        sample_every=num_steps // num_samples,
        sample_size=2 * BATCH_SIZE,
    )
    data = TrainingData.of(dataset, train, validation)
    device = torch.device(request.device)
    network = QUICK_NETWORK if request.quick else NETWORK
    bench = _Bench(network, dataset, data, settings, device, request)
    experiment = Experiment(
        dataset, network, thesis_policy(), settings, num_steps * BATCH_SIZE, request.device, request.execution
    )
    return bench, experiment


def _round(bench: _Bench, seed: int) -> Round | None:
    """A static training that takes turns with a plain loop, then two that grow; None when interrupted."""
    plain = PlainLoop(bench, seed)
    blocks: list[tuple[float, float]] = []
    seconds_before, steps_before = 0.0, 0

    def take_turns(sample: Sample) -> Signal:
        nonlocal seconds_before, steps_before
        mechanism = sample.train_seconds - seconds_before
        blocks.append((mechanism, plain.block(sample.step - steps_before)))
        seconds_before, steps_before = sample.train_seconds, sample.step
        return Signal.CONTINUE

    static = bench.trainer(static_policy(), seed, on_sample=take_turns)
    outcome = static.run()
    if outcome.signal is Signal.INTERRUPT or outcome.validation is None:
        return None
    grown = []
    for policy in (thesis_policy(), _on_schedule(_num_samples(bench))):
        trainer = bench.trainer(policy, seed)
        done = trainer.run()
        if done.signal is Signal.INTERRUPT or done.validation is None:
            return None
        widths = [(group.width, group.full_width) for group in trainer.network.groups]
        grown.append(
            GrownRun(
                seconds=done.train_seconds,
                seconds_ratio=done.train_seconds / outcome.train_seconds,
                flops_ratio=done.training_flops / outcome.training_flops,
                num_events=done.num_events,
                width_share=sum(width for width, _ in widths) / sum(full for _, full in widths),
                validation_score=done.validation.score,
            )
        )
    counted = blocks[WARM_UP_BLOCKS:]
    return Round(
        plain_seconds=sum(plain_seconds for _, plain_seconds in blocks),
        static_seconds=outcome.train_seconds,
        overhead=statistics.median(mechanism / plain_seconds for mechanism, plain_seconds in counted),
        static_score=outcome.validation.score,
        on_stall=grown[0],
        on_schedule=grown[1],
    )


def _num_samples(bench: _Bench) -> int:
    settings = bench.settings
    return settings.num_steps(len(bench.data.train) // BATCH_SIZE) // (settings.sample_every or 1)


def _on_schedule(num_samples: int) -> GrowthPolicy:
    """The thesis' tenths at equal intervals, so that a tenth of the run is left at full size."""
    return thesis_policy().model_copy(update={"trigger": Schedule(every=max(1, num_samples // 10))})


def mechanism_cost_table(rounds: Sequence[Round]) -> Table:
    """Seconds and ratios, by what was trained."""
    stall, schedule = [each.on_stall for each in rounds], [each.on_schedule for each in rounds]
    rows = (
        ("plain loop", seconds_cell(spread([each.plain_seconds for each in rounds])), *_missing(6)),
        (
            "static, could grow",
            seconds_cell(spread([each.static_seconds for each in rounds])),
            f"{_median([each.overhead for each in rounds], 3)} of the plain loop",
            "1.000",
            SHARE.text(statistics.mean(each.static_score for each in rounds)),
            "0",
            "100 %",
            f"{PUBLISHED_OVERHEAD:.3f}",
        ),
        ("grown on stall", *_grown_cells(stall), f"{PUBLISHED_SAVING:.3f}"),
        ("grown on schedule", *_grown_cells(schedule), MISSING),
    )
    titles = ("train s", "seconds, ratio", "FLOPs, ratio", "validation accuracy %", "events", "final width", "thesis")
    note = (
        f"Median (range) of {len(rounds)} seeds; growing ones as a share of the static one. The plain loop and the "
        "static network take turns; their ratio is the median over blocks of steps."
    )
    return Table("Cost of the mechanism and saving of growing", columns_of("training", *titles), rows, note)


def _grown_cells(runs: Sequence[GrownRun]) -> tuple[str, ...]:
    return (
        seconds_cell(spread([run.seconds for run in runs])),
        f"{_median([run.seconds_ratio for run in runs], 3)} of static",
        _median([run.flops_ratio for run in runs], 3),
        SHARE.text(statistics.mean(run.validation_score for run in runs)),
        f"{statistics.mean(run.num_events for run in runs):.1f}",
        numbers.percent(statistics.mean(run.width_share for run in runs)),
    )


def _median(values: Sequence[float], digits: int) -> str:
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _missing(number: int) -> tuple[str, ...]:
    return (MISSING,) * number


def rounds_as_dict(rounds: Sequence[Round], trained_on: dict[str, Any]) -> dict[str, Any]:
    """Plain data."""
    return {"trained_on": trained_on, "rounds": [asdict(each) for each in rounds]}


REPRODUCTIONS.register("cost")(Cost())
