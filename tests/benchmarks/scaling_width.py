"""How the cost of training and growing a network grows with its width."""

import statistics
from collections.abc import Iterator

import torch

from autogrow.models.building import ModelSpec
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.measuring.flops import training_flops_per_example
from tests.benchmarks.growing import event_costs
from tests.benchmarks.setting import Setting
from tests.benchmarks.table import Row
from tests.benchmarks.timing import exponent, measure
from tests.benchmarks.training_runs import Run, first_network, full_module, image_data

FACTORS = (1, 2, 4)
FULL_WIDTH = 16
"""Channels of the first stage as the network's author wrote it."""


def rows(setting: Setting) -> Iterator[Row]:
    """The ResNet of 60 layers with its stages once, twice and four times as wide."""
    batch = setting.choose(cpu=16, gpu=128, quick=8)
    steps = setting.choose(cpu=4, gpu=20, quick=2)
    name, spec = first_network(setting)
    data = image_data(setting, "cifar100", 1024)
    found: dict[str, list[float]] = {
        "finding groups": [],
        "growth event": [],
        "step after it": [],
        "training FLOPs": [],
    }
    for factor in FACTORS:
        run = Run(ModelSpec(spec.name, {**spec.options, "width": FULL_WIDTH * factor}), data, setting.device)
        costs = event_costs(run, steps, batch)
        found["finding groups"].append(_finding_seconds(run))
        found["growth event"].append(statistics.median(cost.event for cost in costs))
        found["step after it"].append(costs[-1].usual_step)
        found["training FLOPs"].append(_training_flops(run))
        text = "; ".join(f"{what} {values[-1]:.3g}{_unit(what)}" for what, values in found.items())
        yield Row(f"{name}, width x{factor}, batch {batch}", text, "", None)
    text = "; ".join(f"{what} {exponent(FACTORS, values):.2f}" for what, values in found.items())
    yield Row(f"{name}, by width: exponents", text, "", None)


def _unit(what: str) -> str:
    return "" if what == "training FLOPs" else " s"


def _finding_seconds(run: Run) -> float:
    """Seconds to find the channel groups, on the CPU and with their verification: once per run."""
    module, inputs = full_module(run.spec, run.data), torch.from_numpy(run.data.train.inputs[:2]).float()
    return measure(lambda: ExpandableNetwork(module, inputs), 5).median


def _training_flops(run: Run) -> float:
    return training_flops_per_example(full_module(run.spec, run.data), torch.zeros(2, *run.data.train.inputs.shape[1:]))
