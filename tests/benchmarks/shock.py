"""The shock of a growth event: how far the loss rises in the 50 steps after it, for every exact initialization.

Losses are read on 512 training examples in eval mode, relative to the level right before the event. Beside the grown
network stands a fork of the same run that does not grow and sees the same batches: what it does would have happened
anyway.
"""

import copy
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from autogrow.data.opening import open_dataset
from autogrow.inputs import resolve_data_dir
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.running.undisturbed import evaluating
from autogrow.policy.initializations import INITIALIZATIONS
from tests.benchmarks.table import Row

SEEDS = range(5)
STEPS_BEFORE, STEPS_AFTER = 150, 50
READ_AT = (0, 1, 2, 5, 10, 20, 50)
GOAL = 0.01
NETWORKS = {
    "mlp with batch norm": ModelSpec("mlp", {"hidden": (128, 128)}),
    "mlp without norm": ModelSpec("mlp", {"hidden": (128, 128), "batch_norm": False}),
}
SETTINGS = {"": {}, ", ramp of 50 steps": {"connection_ramp_steps": 50}, ", new_unit_lr 0.3": {"new_unit_lr": 0.3}}


def rows() -> list[Row]:
    """One row per network and setting; xavier, which is not exact, for comparison."""
    torch.set_num_threads(1)
    exact = [name for name, kind in INITIALIZATIONS.items() if kind.keeps_outputs]
    found = []
    for network in NETWORKS:
        for name in (*exact, "xavier"):
            for words, options in SETTINGS.items() if name == "zero_fan_out" else [("", {})]:
                found.append(_row(network, name, words, options, goal=name in exact))
    return found


def _row(network: str, initialization: str, words: str, options: dict[str, object], goal: bool) -> Row:
    pairs = [_event(NETWORKS[network], initialization, options, seed) for seed in SEEDS]
    grown, still = (sorted(values) for values in zip(*pairs, strict=True))
    text = f"{median(grown):.2%} ({grown[0]:.2%} to {grown[-1]:.2%}); the fork that stays: {median(still):.2%}"
    aim = "at most 1 %" if goal else ""
    return Row(f"shock, {network}: {initialization}{words}", text, aim, median(grown) <= GOAL if goal else None)


def _event(spec: ModelSpec, initialization: str, options: dict[str, object], seed: int) -> tuple[float, float]:
    """Largest relative rise of the loss after growing from half to full width, and of a fork that does not grow."""
    dataset = open_dataset("digits", resolve_data_dir(None))
    train, _ = dataset.split(seed=0)
    inputs, targets = torch.from_numpy(train.inputs).float() / 16, torch.from_numpy(train.targets)
    module = build_model(spec, dataset.input_shape, dataset.num_outputs, seed)
    growing = ExpandableNetwork(module, inputs[:4])
    growing.start_small({group.name: group.width // 2 for group in growing.groups})
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    growing.attach(optimizer).configure(**options)  # type: ignore[arg-type]
    random = torch.Generator().manual_seed(seed)
    batches = torch.randint(len(inputs), (STEPS_BEFORE + STEPS_AFTER, 64), generator=random)
    loss = _loss(inputs[:512], targets[:512])
    for batch in batches[:STEPS_BEFORE]:
        _step(module, optimizer, inputs[batch], targets[batch])
    still, still_optimizer = copy.deepcopy((module, optimizer))
    with evaluating(module):
        before = float(loss(module))
    growing.widen_groups(
        growing.widths, initialization=initialization, optimizer=optimizer, calibration_input=inputs[:128],
        loss=_loss(inputs[:128], targets[:128]), generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    rises: tuple[list[float], list[float]] = ([], [])
    for after in range(STEPS_AFTER + 1):
        for (network, its_optimizer), into in zip(((module, optimizer), (still, still_optimizer)), rises, strict=True):
            if after:
                batch = batches[STEPS_BEFORE + after - 1]
                _step(network, its_optimizer, inputs[batch], targets[batch])
            if after in READ_AT:
                with evaluating(network):
                    into.append(float(loss(network)) / before - 1)
    return max(0.0, *rises[0]), max(0.0, *rises[1])


def _loss(inputs: Tensor, targets: Tensor) -> Callable[[nn.Module], Tensor]:
    return lambda module: F.cross_entropy(module(inputs), targets)


def _step(module: nn.Module, optimizer: Optimizer, inputs: Tensor, targets: Tensor) -> None:
    module.train()
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(module(inputs), targets).backward()
    optimizer.step()
