"""Growing itself: finding groups, widening, and what a step costs afterwards."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from autogrow.models.building import ModelSpec, build_model
from autogrow.network import ExpandableNetwork
from tests.benchmarks.table import Row
from tests.benchmarks.timing import measure, paired_ratio

IMAGES = torch.randn(128, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(128) % 100


def thesis_network() -> nn.Module:
    return build_model(ModelSpec("resnet", {"depth": 62}), (3, 32, 32), 100, seed=0)


def rows() -> list[Row]:
    torch.set_num_threads(1)  # two threads on two shared cores measure the neighbours
    return [finding_groups(), widening(), *step_ratios()]


def finding_groups() -> Row:
    module = thesis_network()
    seconds = measure(lambda: ExpandableNetwork(module, IMAGES[:2]), 7)
    return Row("find the groups of the 60-layer ResNet, verified", str(seconds), "under 1 s", seconds.median < 1)


def widening() -> Row:
    seconds = []
    for _ in range(7):
        growing = ExpandableNetwork(thesis_network(), IMAGES[:2], verify=False)
        growing.start_small({group.name: group.width // 2 for group in growing.groups})
        optimizer = torch.optim.Adam(growing.module.parameters())
        _step(growing.module, optimizer, 2)()
        added = {group.name: group.width for group in growing.groups}
        seconds.append(growing.widen_groups(added, optimizer=optimizer).seconds)
    middle = sorted(seconds)[3]
    text = f"{middle:.4g} s ({min(seconds):.4g} to {max(seconds):.4g}, n=7)"
    return Row("widen its 33 groups, Adam state carried", text, "under 0.1 s", middle < 0.1)


def step_ratios() -> list[Row]:
    """A step at full width, against the plain network with the same optimizer in a plain loop."""
    rows = []
    for name, batch, repeats in (("resnet, 20 layers, batch 128", 128, 20), ("resnet, 20 layers, batch 8", 8, 60)):
        plain = build_model(ModelSpec("resnet"), (3, 32, 32), 100, seed=0)
        expandable = copy.deepcopy(plain)
        growing = ExpandableNetwork(expandable, IMAGES[:2])
        optimizers = [torch.optim.Adam(module.parameters(), fused=True) for module in (expandable, plain)]
        growing.attach(optimizers[0])
        ratio = paired_ratio(_step(expandable, optimizers[0], batch), _step(plain, optimizers[1], batch), repeats)
        text = f"{ratio[0]:.3f} ({ratio[1]:.3f} to {ratio[2]:.3f}, n={repeats})"
        rows.append(Row(f"step at full width / plain: {name}", text, "at most 1.02", ratio[0] <= 1.02))
    rows.append(_grown_step())
    return rows


def _grown_step() -> Row:
    """The same after growing in quarters: what the ages of young entries cost (no goal in itself)."""
    plain = build_model(ModelSpec("resnet"), (3, 32, 32), 100, seed=0)
    growing = ExpandableNetwork(build_model(ModelSpec("resnet"), (3, 32, 32), 100, seed=0), IMAGES[:2])
    full = growing.widths
    growing.start_small({name: width // 4 for name, width in full.items()})
    optimizer = torch.optim.Adam(growing.module.parameters(), fused=True)
    for _ in range(3):
        _step(growing.module, optimizer, 8)()
        growing.widen_groups({name: width // 4 for name, width in full.items()}, optimizer=optimizer)
    plain_optimizer = torch.optim.Adam(plain.parameters(), fused=True)
    ratio = paired_ratio(_step(growing.module, optimizer, 128), _step(plain, plain_optimizer, 128), 12)
    text = f"{ratio[0]:.3f} ({ratio[1]:.3f} to {ratio[2]:.3f}, n=12)"
    return Row("step just after growing to full width / plain", text, "", None)


def _step(module: nn.Module, optimizer: torch.optim.Optimizer, batch: int) -> Callable[[], None]:
    module.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(module(IMAGES[:batch]), LABELS[:batch]).backward()
        optimizer.step()

    return step
