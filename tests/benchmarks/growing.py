"""Whole trainings that grow beside static ones of as many steps, and what a single growth event costs.

Seconds are the trainer's: device synchronised, growth events included, measuring and start left out.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import default_policy, static_policy
from autogrow.policy.records import GrowthEvent, Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.triggers import Schedule
from autogrow.training.ending import Signal, TrainingOutcome
from tests.benchmarks.setting import Setting
from tests.benchmarks.table import Row
from tests.benchmarks.timing import in_words
from tests.benchmarks.training_runs import (
    BATCH,
    LARGE_NETWORK,
    Run,
    epochs_for,
    first_network,
    image_data,
    networks,
    training,
)

SAMPLES = 12
"""Of a whole training, where the policy does not ask for others."""
OVERHEAD = 1.15


@dataclass(frozen=True)
class Pair:
    """A growing training and a static one of the same length."""

    grown: TrainingOutcome
    static: TrainingOutcome
    events: list[GrowthEvent]
    width_share: float
    """The sum of all widths at the end, relative to full ones."""

    @property
    def seconds(self) -> float:
        return self.grown.train_seconds / self.static.train_seconds

    @property
    def flops(self) -> float:
        return self.grown.training_flops / self.static.training_flops


def rows(setting: Setting) -> Iterator[Row]:
    """Grown in quarters, at quarters of the run: the schedule does not depend on chance.

    On a CPU the large network would take a quarter of an hour.
    """
    num_steps, epochs = setting.choose(cpu=(36, 1), gpu=(351, 10), quick=(12, 1))
    data = image_data(setting, "cifar100", num_steps * BATCH)
    policy = in_quarters(SAMPLES // 4)
    for name, spec in reversed(networks(setting).items()) if setting.is_gpu else [first_network(setting)]:
        run = Run(spec, data, setting.device)
        pairs = _compared(run, policy, training(epochs, num_steps * epochs // SAMPLES), setting)
        what = f"{name} grown in quarters, {num_steps * epochs} steps: train seconds / static ones"
        overhead = statistics.median(pair.seconds / pair.flops for pair in pairs)
        has_goal = setting.is_gpu and name == LARGE_NETWORK
        goal = f"at most {OVERHEAD} times the share of FLOPs" if has_goal else ""
        yield Row(what, _described(pairs), goal, overhead <= OVERHEAD if has_goal else None)


def in_quarters(samples: int) -> GrowthPolicy:
    """From a quarter to full width, an event after every so many samples."""
    growing = {"initial_fraction": 0.25, "trigger": Schedule(every=samples), "grow_until": 1.0}
    return default_policy().model_copy(update=growing)


def _compared(run: Run, policy: GrowthPolicy, settings: TrainingSettings, setting: Setting) -> list[Pair]:
    """By turns: a static training, then a growing one; a few steps warm up."""
    run.trainer(static_policy(), settings, lambda sample: Signal.STOP).run()
    pairs = []
    for _ in range(setting.choose(cpu=2, gpu=2, quick=1)):
        static = run.trainer(static_policy(), settings).run()
        trainer = run.trainer(policy, settings)
        grown = trainer.run()
        widths = [(group.width, group.full_width) for group in trainer.network.groups]
        share = sum(width for width, _ in widths) / sum(full for _, full in widths)
        pairs.append(Pair(grown, static, trainer.events, share))
    return pairs


def _described(pairs: list[Pair]) -> str:
    seconds, flops = ([getattr(pair, name) for pair in pairs] for name in ("seconds", "flops"))
    overhead = [pair.seconds / pair.flops for pair in pairs]
    static = statistics.median(pair.static.train_seconds for pair in pairs)
    return (
        f"{in_words(seconds)} at {statistics.median(flops):.3f} of the FLOPs: {in_words(overhead)} times that share; "
        f"static {static:.3g} s; {len(pairs[0].events)} events, {pairs[0].width_share:.0%} of full width at the end"
    )


@dataclass(frozen=True)
class EventCost:
    """What one growth event cost a training run, in seconds."""

    event: float
    """As recorded: choosing, measuring, widening."""
    following: float
    """What the steps up to the next event took beyond the usual of their size: capturing, first kernels, compiling."""
    usual_step: float
    """Median of the later half of the steps after it."""


def event_rows(setting: Setting) -> Iterator[Row]:
    """Growth events in the middle of training, with what the first steps after them take longer than the others."""
    limit = 0.5 if setting.is_gpu else 0.1
    steps = setting.choose(cpu=4, gpu=20, quick=2)
    colours, digits = (image_data(setting, dataset, 1024) for dataset in ("cifar100", "mnist"))
    runs = {name: Run(spec, colours, setting.device) for name, spec in networks(setting).items()}
    runs["MNIST's convnet"] = Run(ModelSpec("convnet"), digits, setting.device)
    for name, run in runs.items():
        costs = event_costs(run, steps)
        # On a CPU nothing is captured, and single steps scatter by more than an event takes.
        seconds = [cost.event + (max(0.0, cost.following) if setting.is_gpu else 0.0) for cost in costs]
        usual = [cost.usual_step for cost in costs]
        details = f"; {_seconds([cost.event for cost in costs])} of it until the first step" if setting.is_gpu else ""
        text = f"{_seconds(seconds)}{details}; a usual step after it {_seconds(usual)}"
        what = f"growth event of {name}, batch {BATCH}{', first steps after it included' if setting.is_gpu else ''}"
        yield Row(what, text, f"under {limit:g} s", statistics.median(seconds) < limit)


def event_costs(run: Run, steps_between: int, batch_size: int = BATCH) -> list[EventCost]:
    """The costs of three events, from a quarter of the full width to all of it, with a sample at every step."""
    num_steps = 4 * steps_between + 1

    def watch(sample: Sample) -> Signal:
        return Signal.STOP if sample.step == num_steps else Signal.CONTINUE

    settings = training(epochs_for(num_steps + 1, run.data, batch_size), 1, batch_size)
    trainer = run.trainer(in_quarters(steps_between), settings, watch)
    trainer.run()
    return [_cost(event, trainer.samples, steps_between) for event in trainer.events]


def _cost(event: GrowthEvent, samples: list[Sample], steps_between: int) -> EventCost:
    """An event's seconds are in the train seconds of the sample after it, not in those of its own."""
    seconds = [after.train_seconds - before.train_seconds for before, after in pairwise(samples)]
    following = seconds[event.sample : event.sample + steps_between]
    usual = statistics.median(following[steps_between // 2 :])
    return EventCost(event.seconds, sum(following) - event.seconds - usual * len(following), usual)


def _seconds(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} s ({min(values):.3g} to {max(values):.3g}, n={len(values)})"
