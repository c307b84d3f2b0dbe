"""How fast a static training is: the trainer beside a plain loop and beside the best step that we can build by hand.

Everything that is compared takes turns (A B C A B C), each turn the same number of steps on the same device, with as
many threads as PyTorch takes by itself. Ratios are of one round each; medians and ranges are reported.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from autogrow.models.building import ModelSpec
from autogrow.network import ExpandableNetwork
from autogrow.policy.presets import static_policy
from autogrow.policy.records import Sample
from autogrow.training.ending import Signal
from autogrow.training.example_input import example_input
from autogrow.training.training_data import TrainingData
from tests.benchmarks.setting import Setting, available_cores
from tests.benchmarks.static_steps import HandBuiltStep, PlainLoop
from tests.benchmarks.table import Row
from tests.benchmarks.timing import in_words, measure
from tests.benchmarks.training_runs import (
    BATCH,
    THESIS_NETWORK,
    Run,
    epochs_for,
    full_module,
    image_data,
    networks,
    training,
)

TRAINER = "autogrow"
PLAIN = "plain loop"
BY_HAND = "by hand"
Contender = TypeVar("Contender", PlainLoop, HandBuiltStep)


@dataclass(frozen=True)
class Turn:
    """So many examples trained on in so many seconds, the device synchronised at both ends."""

    examples: int
    seconds: float

    @property
    def rate(self) -> float:
        """Examples per second."""
        return self.examples / self.seconds


@dataclass(frozen=True)
class Rounds:
    """The turns of each contender, round by round."""

    turns: dict[str, list[Turn]] = field(default_factory=dict)

    def add(self, name: str, turn: Turn) -> None:
        self.turns.setdefault(name, []).append(turn)

    def counted(self, name: str) -> list[Turn]:
        """All but the first, which warms up."""
        return self.turns[name][1:]

    def rate(self, name: str) -> str:
        """Median and range of examples per second, in words."""
        rates = [turn.rate for turn in self.counted(name)]
        return f"{name} {statistics.median(rates):.4g} images/s ({min(rates):.4g} to {max(rates):.4g})"

    def ratios(self, first: str, second: str) -> list[float]:
        """How many times as fast `first` was in each round."""
        return [a.rate / b.rate for a, b in zip(self.counted(first), self.counted(second), strict=True)]


def step_rows(setting: Setting) -> Iterator[Row]:
    """A step of a network whose optimizer is looked after, against the plain module, in one and the same plain loop.

    A second plain module shows by how much two equal things differ here.
    """
    batch = setting.choose(cpu=16, gpu=BATCH, quick=4)
    repeats = setting.choose(cpu=40, gpu=40, quick=2)
    for name, spec in networks(setting).items():
        data = image_data(setting, "cifar100", 1024)
        steps = []
        for is_expandable in (True, False, False):
            module = full_module(spec, data).to(setting.device)
            optimizer = torch.optim.Adam(module.parameters(), fused=True)
            if is_expandable:
                shape = data.train.inputs.shape[1:]
                ExpandableNetwork(module, example_input(shape, setting.device)).attach(optimizer)
            steps.append(_plain_step(module, optimizer, data, batch, setting))
        expandable, plain, other = _rotated(steps, repeats)
        ratios, control = (
            [first / second for first, second in zip(each, plain, strict=True)] for each in (expandable, other)
        )
        text = f"{in_words(ratios)}; a second plain module: {in_words(control)}"
        reached = round(statistics.median(ratios), 2) <= 1
        yield Row(f"step at full width / plain: {name}, batch {batch}", text, "at most 1.00", reached)


def _rotated(actions: list[Callable[[], None]], repeats: int) -> list[list[float]]:
    """Seconds of each action round by round; each round begins with another one, and the first is not counted."""
    seconds: list[list[float]] = [[] for _ in actions]
    for index in range(repeats + 1):
        for place in range(len(actions)):
            number = (index + place) % len(actions)
            elapsed = measure(actions[number], 1).median
            if index:
                seconds[number].append(elapsed)
    return seconds


def _plain_step(
    module: nn.Module, optimizer: torch.optim.Optimizer, data: TrainingData, batch: int, setting: Setting
) -> Callable[[], None]:
    inputs = torch.from_numpy(data.train.inputs[:batch]).to(setting.device) / 255
    targets = torch.from_numpy(data.train.targets[:batch]).to(setting.device)
    module.train()
    steps = setting.choose(cpu=1, gpu=10, quick=1)

    def run() -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(module(inputs), targets).backward()
            optimizer.step()
        setting.synchronize()

    return run


def throughput_rows(setting: Setting) -> Iterator[Row]:
    """Three rows per network: images per second of all three, and the trainer's against each of the others."""
    data = image_data(setting, "cifar100", setting.choose(cpu=None, gpu=None, quick=256))
    steps = setting.choose(cpu=4, gpu=200, quick=1)
    rounds = setting.choose(cpu=4, gpu=3, quick=1)
    for name, spec in networks(setting).items():
        plain = fastest_loop(spec, data, setting)
        by_hand = fastest_step(spec, data, setting)
        found = measure_rounds(Run(spec, data, setting.device), plain, by_hand, steps, rounds, setting)
        hand_format = str(by_hand.memory_format).removeprefix("torch.")
        rates = "; ".join(found.rate(each) for each in (TRAINER, PLAIN, BY_HAND))
        note = f"{plain.num_workers} workers; by hand: {hand_format}"
        yield Row(f"{name}, batch {BATCH}, turns of {steps} steps", f"{rates} ({note})", "", None)
        yield _against_plain_loop(name, found.ratios(TRAINER, PLAIN), setting)
        ratios = found.ratios(TRAINER, BY_HAND)
        reached = statistics.median(ratios) >= 0.9
        yield Row(f"{name}: autogrow / best static step by hand", in_words(ratios), "at least 0.9", reached)


def _against_plain_loop(name: str, ratios: list[float], setting: Setting) -> Row:
    goal = (3.0 if name == THESIS_NETWORK else None) if setting.is_gpu else 1.3
    reached = statistics.median(ratios) >= goal if goal else None
    words = f"at least {goal:g}" if goal else ""
    return Row(f"{name}: autogrow / plain loop with a DataLoader", in_words(ratios), words, reached)


def measure_rounds(
    run: Run, plain: PlainLoop, by_hand: HandBuiltStep, steps: int, rounds: int, setting: Setting
) -> Rounds:
    """The trainer's turns are what it trains between two samples; the others take theirs while it waits there."""
    found = Rounds()
    batch = min(BATCH, len(run.data.train))
    trained_steps, trained_seconds = 0, 0.0

    def take_turns(sample: Sample) -> Signal:
        nonlocal trained_steps, trained_seconds
        examples = (sample.step - trained_steps) * batch
        found.add(TRAINER, Turn(examples, sample.train_seconds - trained_seconds))
        trained_steps, trained_seconds = sample.step, sample.train_seconds
        # What workers have prepared meanwhile is used up first: in a loop of its own there would be no such pause.
        prepared = 2 * plain.num_workers if setting.is_gpu else 0
        take_turn(plain.step, prepared, setting)
        found.add(PLAIN, take_turn(plain.step, steps, setting))
        found.add(BY_HAND, take_turn(by_hand.step, steps, setting))
        return Signal.STOP if len(found.turns[TRAINER]) > rounds else Signal.CONTINUE

    settings = training(epochs_for((rounds + 2) * steps, run.data), steps, read_examples=1)
    run.trainer(static_policy(), settings, take_turns).run()
    return found


def take_turn(step: Callable[[], int], steps: int, setting: Setting) -> Turn:
    """Steps of a contender that is no trainer."""
    setting.synchronize()
    started = time.perf_counter()
    examples = sum(step() for _ in range(steps))
    setting.synchronize()
    return Turn(examples, time.perf_counter() - started)


def fastest_loop(spec: ModelSpec, data: TrainingData, setting: Setting) -> PlainLoop:
    """With as many worker processes as suit the machine best."""
    cores = available_cores()

    def build(num_workers: int) -> PlainLoop:
        return PlainLoop(full_module(spec, data), data, BATCH, setting.device, num_workers)

    return _fastest([partial(build, number) for number in ((0, cores) if cores <= 2 else (4, 8, cores))], setting)


def fastest_step(spec: ModelSpec, data: TrainingData, setting: Setting) -> HandBuiltStep:
    """In the memory format that suits the network best."""

    def build(memory_format: torch.memory_format) -> HandBuiltStep:
        return HandBuiltStep(full_module(spec, data), data, BATCH, setting.device, memory_format)

    return _fastest([partial(build, each) for each in (torch.channels_last, torch.contiguous_format)], setting)


def _fastest(candidates: list[Callable[[], Contender]], setting: Setting) -> Contender:
    """A fresh one of what was fastest in a few steps, after some that warm up.

    What was tried is gone then: a loop's worker processes, and its thread that pins memory, which no capture of a CUDA
    graph may have beside it. Those of the fresh loop start with its first step.
    """
    warm_up, counted = setting.choose(cpu=(1, 2), gpu=(50, 100), quick=(1, 1))
    rates = []
    for build in candidates:
        contender = build()
        take_turn(contender.step, warm_up, setting)
        rates.append(take_turn(contender.step, counted, setting).rate)
        del contender
        gc.collect()
    return candidates[rates.index(max(rates))]()
