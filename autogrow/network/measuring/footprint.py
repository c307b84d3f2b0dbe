"""What a finished network takes: parameters, FLOPs, bytes, and the time of its answers on this machine."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from autogrow.network.measuring.flops import forward_flops_per_example
from autogrow.network.running.model_input import ModelInput, run
from autogrow.network.running.undisturbed import evaluating
from autogrow.policy.shrink_records import Footprint, Latency

LATENCY_BATCHES = (1, 64)
MOST_ROUNDS, FEWEST_ROUNDS = 101, 5
"""Rounds of forward passes of which the median counts."""
SECONDS = 1.0
"""After which no more rounds than the fewest are taken: passes of large networks are many seconds in all."""
LEAST_SECONDS = 0.0002
"""A round is as many passes as take this long: short beside the few milliseconds for which a busy machine gives a core
to one process and then to others, so that most rounds have it for themselves."""
WARM_UP = 2
TRIALS = 7
"""Passes of which the quickest says how many make a round: one that the machine held up would make it a single one."""


def footprint(module: nn.Module, batch: ModelInput) -> Footprint:
    """What a network takes; FLOPs are those of `batch` divided by its size."""
    memories = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*module.parameters(), *module.buffers())
    }
    parameters = sum(parameter.numel() for parameter in module.parameters())
    flops, nonzero = forward_flops_per_example(module, batch), num_nonzero(module)
    return Footprint(parameters, flops, sum(memories.values()), nonzero)


def num_nonzero(module: nn.Module) -> int:
    """Parameters that are not zero. Biases and gains count as that: the first step of a training makes them so."""
    return sum(
        int(parameter.count_nonzero()) if parameter.dim() > 1 else parameter.numel()
        for parameter in module.parameters()
    )


def latencies(modules: Sequence[nn.Module], batch: ModelInput) -> list[tuple[Latency, ...]]:
    """For each module, its latencies with one thread and with all, for one example and for 64.

    Modules take turns within every round, so that what else the machine does falls on all of them alike.

    Args:
        batch: At least one example, on the modules' device; repeated to the size that is timed.
    """
    found: list[list[Latency]] = [[] for _ in modules]
    for threads in dict.fromkeys((1, torch.get_num_threads())):
        for size in LATENCY_BATCHES:
            inputs = _of_size(batch, size)
            with _threads(threads):
                for each, milliseconds in zip(found, paired_milliseconds(modules, inputs), strict=True):
                    each.append(Latency(milliseconds, size, threads))
    return [tuple(each) for each in found]


def paired_milliseconds(
    modules: Sequence[nn.Module], inputs: ModelInput, most_rounds: int = MOST_ROUNDS
) -> list[float]:
    """The median time of a pass of each module, in rounds in which they take turns, one first and then the other."""
    passes = [_passes_per_round(module, inputs) for module in modules]
    seconds: list[list[float]] = [[] for _ in modules]
    turns = list(zip(modules, passes, seconds, strict=True))
    started = time.perf_counter()
    for number in range(most_rounds):
        if number >= FEWEST_ROUNDS and time.perf_counter() - started > SECONDS:
            break
        # Were the order always the same, what comes and goes with the machine's own rounds would fall on one of them.
        for module, many, times in turns if number % 2 else reversed(turns):
            if many > 1:
                _timed(module, inputs, 1)  # the one before has filled the caches with its own
            times.append(_timed(module, inputs, many) / many)
    return [1000 * statistics.median(times) for times in seconds]


def _passes_per_round(module: nn.Module, inputs: ModelInput) -> int:
    _timed(module, inputs, WARM_UP)
    trials: list[float] = []
    while len(trials) < TRIALS and sum(trials) < SECONDS / TRIALS:
        trials.append(_timed(module, inputs, 1))
    quickest = min(trials)
    return max(1, round(LEAST_SECONDS / max(quickest, 1e-7)))


def _timed(module: nn.Module, inputs: ModelInput, number: int) -> float:
    is_on_gpu = any(isinstance(leaf, Tensor) and leaf.is_cuda for leaf in tree_leaves(inputs))
    with evaluating(module), torch.no_grad():
        started = time.perf_counter()
        for _ in range(number):
            run(module, inputs)
        if is_on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter() - started


def _of_size(batch: ModelInput, size: int) -> ModelInput:
    def repeated(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        times = -(-size // len(leaf))
        return leaf.repeat(times, *[1] * (leaf.dim() - 1))[:size]

    repeated_batch: ModelInput = tree_map(repeated, batch)
    return repeated_batch


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
