"""What a network's blocks are worth: a number for every block of every stage, of which larger ones stay."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogrow.errors import NetworkError, unknown_name
from autogrow.network.depth.deepening import removable_blocks
from autogrow.network.depth.new_blocks import stream_of
from autogrow.network.depth.stages import StageDesigns
from autogrow.network.running.copying import copied
from autogrow.network.running.layer_hooks import OnCall, OnInput, hooked
from autogrow.network.running.model_input import explained, run
from autogrow.network.running.undisturbed import same_random_numbers, undisturbed
from autogrow.network.shrinking.loss_scores import loss_of
from autogrow.network.shrinking.request import Batch
from autogrow.policy.removals import BlockScore


def block_scores(
    score: BlockScore, module: nn.Module, known: StageDesigns, batches: Sequence[Batch], seed: int = 0
) -> dict[str, Tensor]:
    """A number for every block, in double precision on the CPU: (blocks,) by stage, averaged over batches.

    NaN for a block that cannot be removed: the only one, one that changes the shape, or one whose followers are not
    like it and cannot take its place. Passes run on a copy, in eval mode.

    Args:
        score: Which score.
        module: The network, with its stages (`known`).
        batches: What is measured on, at least one.
        seed: Of whatever the loss draws.

    Raises:
        NetworkError: An unknown score, no batches, or a network or loss that fails on them.
    """
    if score not in get_args(BlockScore):
        raise NetworkError(unknown_name("block score", score, get_args(BlockScore)))
    if not batches:
        raise NetworkError(f"block score {score!r} is measured on examples: give at least one batch")
    twin = copied(module)
    removable = removable_blocks(twin, known)
    blocks = {
        (name, number): twin.get_submodule(known.designs[name].prefix(known.designs[name].num_kept - 1 + number))
        for name, can_go in removable.items()
        for number in range(len(can_go))
        if can_go[number]
    }
    measure = _rises_of_loss if score == "loss" else _dissimilarities
    found = {name: torch.full((len(can_go),), torch.nan, dtype=torch.float64) for name, can_go in removable.items()}
    with explained(f"block score {score!r} cannot be measured"), undisturbed(twin):
        of_batches = [measure(twin, blocks, batch, seed) for batch in batches]
    for name, number in blocks:
        found[name][number] = sum(values[name, number] for values in of_batches) / len(batches)
    return found


_Key = tuple[str, int]
"""Stage and number of a block."""


def _rises_of_loss(module: nn.Module, blocks: Mapping[_Key, nn.Module], batch: Batch, seed: int) -> dict[_Key, float]:
    level = loss_of(module, batch, seed)
    found = {}
    for key, block in blocks.items():
        with _skipped(block):
            found[key] = loss_of(module, batch, seed) - level
    return found


def _skipped(block: nn.Module) -> AbstractContextManager[None]:
    """Inside, the block hands on what it is given; what else it returns stays."""
    given: list[Tensor] = []

    def keep(inputs: Tensor) -> Tensor:
        given.append(inputs)
        return inputs.clone()  # the block may write over what it is given

    def hand_on(inputs: Tensor, output: Any) -> Any:
        stream = given.pop()
        if isinstance(output, tuple):
            return (stream, *output[1:])
        return [stream, *output[1:]] if isinstance(output, list) else stream

    return hooked(before={block: keep}, after={block: hand_on})


def _dissimilarities(module: nn.Module, blocks: Mapping[_Key, nn.Module], batch: Batch, seed: int) -> dict[_Key, float]:
    given: dict[_Key, Tensor] = {}
    found: dict[_Key, list[float]] = {key: [] for key in blocks}

    def keeper(key: _Key) -> OnInput:
        def keep(inputs: Tensor) -> None:
            given[key] = inputs.clone()

        return keep

    def comparer(key: _Key) -> OnCall:
        def compare(inputs: Tensor, output: Any) -> None:
            stream = stream_of(output)
            assert stream is not None  # what hands on nothing is no block of a stage
            found[key].append(1 - _cosine(given.pop(key), stream))

        return compare

    before = {block: keeper(key) for key, block in blocks.items()}
    after = {block: comparer(key) for key, block in blocks.items()}
    with hooked(before, after), same_random_numbers(module, seed):
        run(module, batch.inputs)
    return {key: sum(values) / len(values) if values else math.nan for key, values in found.items()}


def _cosine(one: Tensor, other: Tensor) -> float:
    one, other = (each.double() if each.dim() == 3 else each.double().flatten(1) for each in (one, other))
    return float(F.cosine_similarity(one, other, dim=-1).mean())
