"""Choosing where to grow by trying: train a copy of the run for every candidate a few steps, compare losses.

The loss right after growing misleads: for exact initializations it is the same everywhere (landscape-aware growing,
Karp et al. 2024, arXiv 2406.02469).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.running.copying import copied
from autogrow.policy.changes import Change


def probe_groups(
    network: ExpandableNetwork,
    optimizer: Optimizer,
    candidates: Mapping[str, Sequence[Change]],
    num_steps: int,
    first_step: int,
    change: Callable[[ExpandableNetwork, Optimizer, Sequence[Change]], None],
    train_step: Callable[[nn.Module, Optimizer, int], None],
    loss_value: Callable[[nn.Module], float],
    seed: int,
) -> dict[str, float]:
    """For each candidate minus the loss of a copy with its changes after `num_steps` training steps; larger is better.

    Every copy sees the batches that the run itself will see next. The network, its optimizer and the random state
    are left as they were.
    """
    values: dict[str, float] = {}
    for name, changes in candidates.items():
        twin, its_optimizer = _copied_run(network, optimizer)
        change(twin, its_optimizer, changes)
        devices = sorted({p.device.index or 0 for p in twin.module.parameters() if p.device.type == "cuda"})
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            twin.module.train()
            for step in range(first_step, first_step + num_steps):
                train_step(twin.module, its_optimizer, step)
        values[name] = -loss_value(twin.module)
    return values


def _copied_run(network: ExpandableNetwork, optimizer: Optimizer) -> tuple[ExpandableNetwork, Optimizer]:
    """An independent continuation: module and optimizer copied together, so that the copy trains the copy."""
    module, its_optimizer = copied((network.module, optimizer))
    twin = network.twin(module)
    twin.cohorts.load_state_dict(network.cohorts.state_dict())
    twin.attach(its_optimizer).load_state_dict(network.attach(optimizer).state_dict())
    return twin, its_optimizer
