"""What every registered unit score must do on every network: one number for every unit, and no trace left."""

from functools import lru_cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autogrow.errors import NetworkError, PolicyError
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.new_units.unit_blocks import unit_entries
from autogrow.network.shrinking.request import Batch
from autogrow.network.shrinking.unit_scores import measure_unit_scores
from autogrow.policy.unit_scores import UNIT_SCORES, Sensitivity, UnitScore, parse_unit_score
from tests.network.networks import batch_of, built_in, user_network, warmed_up
from tests.network.untouched import untouched

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SCORES = [*UNIT_SCORES]
WITH_DATA = [name for name in SCORES if UNIT_SCORES[name].takes != "weights"]


def transformer():
    module = build_model(ModelSpec("gpt", {"layers": 1, "width": 8, "heads": 2}), (6,), num_outputs=7, seed=0)
    return module, torch.randint(7, (4, 6), generator=torch.Generator().manual_seed(1))


def normed_convnet():
    """In place, flattened, in train mode, with dropout: what scores must not stumble over."""
    torch.manual_seed(0)
    first = [nn.Conv2d(1, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    second = [nn.Conv2d(5, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5)]
    return warmed_up(nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(4 * 4, 3))), batch_of((1, 10, 10))


class Recurrent(nn.Module):
    """A layer that a recurrent one reads, whose products are not seen."""

    def __init__(self):
        super().__init__()
        self.embed, self.cells, self.head = nn.Linear(3, 5), nn.GRU(5, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.cells(torch.relu(self.embed(x)))[0][:, -1])


def recurrent():
    torch.manual_seed(0)
    return Recurrent(), batch_of((4, 3))


class Block(nn.Module):
    def __init__(self, stream, inner):
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(stream, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
        self.second, self.second_norm = nn.Conv2d(inner, stream, 1, bias=False), nn.BatchNorm2d(stream)

    def forward(self, x):
        inner = torch.relu(self.first_norm(self.first(x)))
        return F.relu(x + self.second_norm(self.second(inner)), inplace=True)


def residual():
    """Two blocks that add to one stream."""
    torch.manual_seed(0)
    stream = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Block(4, 3), Block(4, 5), nn.AdaptiveAvgPool2d(1))
    return warmed_up(nn.Sequential(stream, nn.Flatten(), nn.Linear(4, 3))), batch_of((1, 5, 5))


NETWORKS = {
    "mlp": lambda: built_in("mlp"),
    "convnet with batch norm": normed_convnet,
    "residual stream": residual,
    "transformer": transformer,
    "recurrent": recurrent,
    "concatenation": lambda: user_network("concatenation"),
    "depthwise": lambda: user_network("depthwise"),
    "transposed": lambda: user_network("transposed"),
}


UNREAD_OF_RECURRENT = {
    "optimal_brain_damage": {"embed", "cells"},
    "optimal_brain_surgeon": {"embed", "cells"},
    "sensitivity": set(),
}
"""Products inside of a recurrent layer are in nobody's sight, and what it returns is more than its units."""


def a_loss(batch):
    """Squares of the outputs minus numbers that depend on the example: every output has a gradient."""
    return lambda module: F.mse_loss(
        output := module(batch), torch.linspace(-1, 1, output.numel()).reshape(output.shape)
    )


def batches_of(batch):
    return [Batch(batch, a_loss(batch)), Batch(batch[:3], a_loss(batch[:3]))]


@lru_cache
def prepared(network):
    module, batch = NETWORKS[network]()
    return ExpandableNetwork(module, batch), batches_of(batch)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("network", NETWORKS)
def test_gives_every_unit_a_number_and_leaves_no_trace(network, name):
    growing, batches = prepared(network)
    growing.module.train()
    score = parse_unit_score(name)
    with untouched(growing.module):
        found = measure_unit_scores(score, growing, growing.widths, batches, seed=3)
    assert {group: tuple(values.shape) for group, values in found.items()} == {
        group: (width,) for group, width in growing.widths.items()
    }
    for values in found.values():
        assert values.dtype == torch.float64 and values.device.type == "cpu" and not values.requires_grad
        assert values.isfinite().all() or values.isnan().all()
    unread = {group for group, values in found.items() if values.isnan().all()}
    takes_data = network == "recurrent" and UNIT_SCORES[name].takes != "weights"
    assert unread == (UNREAD_OF_RECURRENT.get(name, {"cells"}) if takes_data else set())
    again = measure_unit_scores(score, growing, [*growing.widths][::-1], batches, seed=3)
    assert all(torch.equal(found[group], again[group]) for group in found.keys() - unread)


# Units that do nothing


SHOWS_SILENCE = ["optimal_brain_damage", "optimal_brain_surgeon", "fisher", "taylor"]
"""By these a unit that nobody reads comes last. Activations do not show it, and without others a loss may fall."""


def readers_of(growing, group):
    """The weights that read a group, with the dimension and the entries of its units."""
    for name, layout in growing.structure.tensors.items():
        if layout.in_dim in layout.dims:
            index = unit_entries(layout.dims[layout.in_dim], group, growing.widths)
            if index.size:
                yield growing.module.get_parameter(name), layout.in_dim, torch.from_numpy(index)


@pytest.mark.parametrize("name", SHOWS_SILENCE)
@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "recurrent"])
def test_a_unit_that_nobody_reads_comes_last(network, name):
    growing, batches = prepared(network)
    growing = growing.twin()
    for group, width in growing.widths.items():
        for weight, dim, index in readers_of(growing, group):
            weight.data.index_fill_(dim, index[width - 2], 0.0)
    for group, values in measure_unit_scores(parse_unit_score(name), growing, growing.widths, batches).items():
        assert values[-2].abs() < 1e-12 and (values >= values[-2]).all(), group
        assert (values > 1e-8).sum() > 1
    silent = measure_unit_scores(Sensitivity(), growing, growing.widths, batches)
    assert all(values[-2] == 0 for values in silent.values())


def never_active(network):
    """The network with one unit of its first group below zero for every input."""
    module, batch = network
    module[0].bias.data[1], module[0].weight.data[1] = -1.0, 0.0
    return ExpandableNetwork(module, batch), batches_of(batch)


@pytest.mark.parametrize("name", [name for name in WITH_DATA if name != "sensitivity"])
@pytest.mark.parametrize("network", ["linear", "convolutions"])
def test_a_unit_that_is_never_active_comes_last(network, name):
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), batch_of((6,), 12)
    convolutions = built_in("convnet")
    growing, batches = never_active({"linear": linear, "convolutions": convolutions}[network])
    values = measure_unit_scores(parse_unit_score(name), growing, ["0"], batches)["0"]
    assert values.argmin() == 1 and (values[1] < values[[0, *range(2, len(values))]]).all()
    assert name == "activation_outliers" or values[1].abs() < 1e-15


# What is refused, and what others add


def test_what_cannot_be_measured_is_one_line():
    growing, batches = prepared("mlp")
    taylor = parse_unit_score("taylor")
    with pytest.raises(NetworkError, match="group '7' cannot change: it is the network's output"):
        measure_unit_scores(taylor, growing, ["7"], batches)
    with pytest.raises(NetworkError, match="unknown channel group '44'.*did you mean '4'"):
        measure_unit_scores(taylor, growing, ["44"], batches)
    with pytest.raises(NetworkError, match="'taylor' takes loss: give at least one batch"):
        measure_unit_scores(taylor, growing, ["4"], [])
    with pytest.raises(NetworkError, match=r"the loss gave a tensor of shape \(6, 7\)"):
        measure_unit_scores(
            taylor, growing, ["4"], [Batch(batches[0].inputs, lambda module: module(batches[0].inputs))]
        )
    with untouched(growing.module), pytest.raises(NetworkError, match="'taylor' cannot be measured: .*mat1 and mat2"):
        measure_unit_scores(taylor, growing, ["4"], [Batch(batch_of((5,)), a_loss(batch_of((5,))))])


@pytest.mark.parametrize("surroundings", [torch.inference_mode, lambda: torch.autocast("cpu"), torch.no_grad])
@pytest.mark.parametrize("name", ["taylor", "optimal_brain_damage", "activation_std"])
def test_the_surroundings_of_the_caller_do_not_matter(name, surroundings):
    growing, batches = prepared("mlp")
    expected = measure_unit_scores(parse_unit_score(name), growing, ["4"], batches)["4"]
    with surroundings():
        found = measure_unit_scores(parse_unit_score(name), growing, ["4"], batches)["4"]
    assert torch.equal(found, expected)


class Alphabetical(UnitScore):
    kind, summary, takes = "alphabetical", "the first units stay", "weights"

    def make_measure(self):
        return lambda network, groups, batches, seed: {
            name: -torch.arange(network.structure.widths[name]) for name in groups
        }


def test_a_score_of_another_package_measures_by_itself():
    growing, _ = prepared("mlp")
    found = measure_unit_scores(Alphabetical(), growing, ["4"], [])
    assert found["4"].tolist() == [0, -1, -2, -3, -4, -5, -6, -7] and found["4"].dtype == torch.float64


@pytest.mark.parametrize(("given", "what"), [({"4": torch.ones(3)}, r"\(3,\)"), ({}, "a NoneType")])
def test_one_that_gives_something_else_is_named(given, what):
    class Wrong(Alphabetical):
        def make_measure(self):
            return lambda network, groups, batches, seed: given

    growing, _ = prepared("mlp")
    with pytest.raises(
        PolicyError, match=f"'alphabetical' gives {what} for group '4': give a tensor of shape \\(8,\\)"
    ):
        measure_unit_scores(Wrong(), growing, ["4"], [])


def test_random_scores_go_by_the_seed_and_by_nothing_else():
    growing, _ = prepared("mlp")
    score = parse_unit_score("random")
    both = measure_unit_scores(score, growing, ["1", "4"], [], seed=1)
    assert torch.equal(measure_unit_scores(score, growing, ["4"], [], seed=1)["4"], both["4"])
    assert not torch.equal(measure_unit_scores(score, growing, ["4"], [], seed=2)["4"], both["4"])
    assert not torch.equal(both["1"][:8], both["4"])


@pytest.mark.parametrize("name", [name for name in WITH_DATA if name != "optimal_brain_surgeon"])
def test_scores_are_averaged_over_batches(name):
    growing, batches = prepared("mlp")
    score = parse_unit_score(name)
    first, second = (measure_unit_scores(score, growing, ["4"], [batch])["4"] for batch in batches)
    both = measure_unit_scores(score, growing, ["4"], batches)["4"]
    if name == "activation_outliers":  # those of the mean share, which are not the mean of the outliers
        assert not torch.allclose(both, (first + second) / 2)
    else:
        assert torch.allclose(both, (first + second) / 2)
