"""Removing units while what reads them makes up for them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.shrinking.refitting import DAMPING
from autogrow.network.shrinking.request import Batch
from autogrow.network.shrinking.unit_scores import measure_unit_scores
from autogrow.policy.changes import Freeze, Narrow, Widen
from autogrow.policy.unit_scores import OptimalBrainSurgeon
from tests.network.networks import batch_of, user_network, warmed_up
from tests.network.optimizers import everything, same, train
from tests.network.untouched import untouched

pytestmark = pytest.mark.usefixtures("one_thread")


def linear():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), batch_of((4,), 40)


def convolutional(padding=0, bias=True):
    layers = (
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 5, 3, stride=2, padding=padding, bias=bias),
    )
    rest = nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)
    return nn.Sequential(*layers, *rest), batch_of((1, 9, 9), 20)


def before_a_norm():
    layers = nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU()
    return warmed_up(nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3))), batch_of((1, 9, 9), 20)


class Products(nn.Module):
    """Readers written as functions: a bias within the product, and half of a weight each."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        x, weight, bias = torch.relu(self.first(x)), self.second.weight, self.second.bias
        x = torch.cat([torch.addmm(bias[:1], x, weight[:1].T), F.linear(x, weight[1:], bias[1:])], 1)
        return self.third(x)


class Twice(nn.Module):
    """One weight, read with two biases."""

    def __init__(self):
        super().__init__()
        self.first, self.one, self.other, self.last = nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 2)
        self.other.weight = self.one.weight

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.last(torch.relu(self.one(x)) + torch.relu(self.other(2 * x)))


NETWORKS = {
    "linear": linear,
    "flattened": lambda: (
        nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 3)),
        batch_of((1, 5, 5), 40),
    ),
    "convolution": convolutional,
    "before a norm": before_a_norm,
    "functions": lambda: (Products(), batch_of((4,), 40)),
    "weight read twice": lambda: (Twice(), batch_of((4,), 40)),
}


def growing_with_constant_unit(network, value=1.5):
    """The network, its first group's unit 2 constant for every input, and a batch."""
    torch.manual_seed(0)
    module, batch = NETWORKS[network]()
    growing = ExpandableNetwork(module, batch)
    first = growing.groups[0]
    layer = growing.module.get_submodule(first.name)
    layer.weight.data[2], layer.bias.data[2] = 0, value
    return growing, first.name, batch


@pytest.mark.parametrize("compensation", ["constants", "least_squares"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_constant_unit_is_absorbed_exactly(network, compensation):
    growing, group, batch = growing_with_constant_unit(network)
    other = batch + 0.3
    plain = growing.twin()
    plain.apply([Narrow({group: [2]})])
    growing.module.eval(), plain.module.eval()
    with torch.no_grad():
        before = growing.module(batch), growing.module(other)
        growing.apply([Narrow({group: [2]}, compensation)], calibration_input=batch)
        after = growing.module(batch), growing.module(other)
        lost = plain.module(batch)
    assert growing.widths[group] == 5
    assert all(torch.allclose(one, two, atol=1e-5, rtol=1e-5) for one, two in zip(before, after, strict=True))
    assert not torch.allclose(before[0], lost, atol=1e-2)


def test_a_norm_in_train_mode_loses_a_constant_by_itself():
    growing, group, batch = growing_with_constant_unit("before a norm")
    module = growing.module.train()
    expected = copy.deepcopy(module)(batch)
    bias = module[3].bias.clone()
    growing.apply([Narrow({group: [2]}, "constants")], calibration_input=batch)
    assert torch.allclose(copy.deepcopy(module)(batch), expected, atol=1e-5) and torch.equal(module[3].bias, bias)


@pytest.mark.parametrize("network", ["linear", "flattened", "convolution", "before a norm"])
def test_of_other_units_the_best_constant_is_taken(network):
    growing, group, batch = growing_with_constant_unit(network)
    module = growing.module.eval()
    reader = 3 if network == "flattened" else 2
    expected = module[: reader + 1](batch).detach()
    plain = growing.twin()
    plain.apply([Narrow({group: [0, 4]})])
    growing.apply([Narrow({group: [0, 4]}, "constants")], calibration_input=batch)
    assert torch.equal(module[reader].weight, plain.module[reader].weight)
    place = reader + 1 if network == "before a norm" else reader  # where a bias is taken out of
    error = module[: place + 1](batch).detach() - reference(growing, expected, place)
    dims = [dim for dim in range(error.dim()) if dim != 1]
    assert error.mean(dims).abs().max() < 1e-5  # a constant of its own would help no output any more
    assert (
        error.square().mean() < (plain.module[: place + 1](batch) - reference(plain, expected, place)).square().mean()
    )


def reference(growing, expected, place):
    """The reader's outputs before, or what the norm made of them: its statistics are those of a fresh copy."""
    norm = growing.module[place]
    if not isinstance(norm, nn.BatchNorm2d):
        return expected
    torch.manual_seed(0)
    return before_a_norm()[0].eval()[place](expected)


# Least squares


def outputs_of_reader(module, batch):
    with torch.no_grad():
        return module[:3](batch)


def test_least_squares_equals_a_reference_solve():
    torch.manual_seed(0)
    module, batch = linear()
    given = module[:2](batch).detach().double()
    weight, bias = module[2].weight.detach().double(), module[2].bias.detach().double()
    kept, gone = [0, 2, 3, 5], [1, 4]
    centred = given - given.mean(0)
    damping = DAMPING * centred.square().mean() * len(batch)
    # Ridge regression as least squares with rows that hold the changes.
    design = torch.cat([centred[:, kept], damping.sqrt() * torch.eye(4, dtype=torch.float64)])
    target = torch.cat([centred[:, gone] @ weight[:, gone].T, torch.zeros(4, 5, dtype=torch.float64)])
    change = torch.linalg.lstsq(design, target).solution.T
    growing = ExpandableNetwork(module, batch)
    growing.apply([Narrow({"0": gone}, "least_squares")], calibration_input=batch)
    assert torch.allclose(module[2].weight.double(), weight[:, kept] + change, atol=1e-5)
    constant = weight[:, gone] @ given.mean(0)[gone] - change @ given.mean(0)[kept]
    assert torch.allclose(module[2].bias.double(), bias + constant, atol=1e-5)


def test_later_readers_are_solved_for_what_earlier_ones_give_them():
    torch.manual_seed(0)
    module, batch = linear()
    growing = ExpandableNetwork(module, batch)
    with torch.no_grad():
        target = module(batch).double()
        weight, bias = module[4].weight.double(), module[4].bias.double()
        damping = DAMPING * module[:4](batch).double().var(0, correction=0).mean()
        kept = [1, 2, 4]
        growing.apply([Narrow({"0": [1, 4], "2": [0, 3]}, "least_squares")], calibration_input=batch)
        given = module[:4](batch).double()
        missing = target - given @ weight[:, kept].T - bias
        centred, wanted = given - given.mean(0), missing - missing.mean(0)
        moment = centred.T @ centred / len(batch) + damping * torch.eye(3, dtype=torch.float64)
        change = torch.linalg.solve(moment, centred.T @ wanted / len(batch)).T
        assert torch.allclose(module[4].weight.double(), weight[:, kept] + change, atol=1e-5)
        assert (module(batch).double() - target).mean(0).abs().max() < 1e-6


@pytest.mark.parametrize(
    "build", [linear, convolutional, lambda: convolutional(1), lambda: convolutional(1, bias=False)]
)
def test_each_compensation_leaves_less_than_the_one_before(build):
    torch.manual_seed(0)
    module, batch = build()
    growing = ExpandableNetwork(module, batch)
    expected, errors = outputs_of_reader(module, batch), []
    for compensation in ("none", "constants", "least_squares"):
        twin = growing.twin()
        twin.apply([Narrow({"0": [1, 3]}, compensation)], calibration_input=batch)
        errors.append(float((outputs_of_reader(twin.module, batch) - expected).square().mean()))
    assert errors[2] < 0.5 * errors[0] and errors[2] < errors[1]
    # Without a bias there is nothing that a constant could be put into.
    assert errors[1] == errors[0] if module[2].bias is None else errors[1] < errors[0]


def test_what_is_left_is_what_the_surgeons_score_says():
    torch.manual_seed(0)
    module, batch = linear()
    growing = ExpandableNetwork(module, batch)
    score = OptimalBrainSurgeon(damping=DAMPING)
    scores = measure_unit_scores(score, growing, ["0"], [Batch(batch, lambda module: module(batch).sum())])["0"]
    expected = outputs_of_reader(module, batch)
    for unit in range(6):
        twin = growing.twin()
        before = module[2].weight.detach()[:, [other for other in range(6) if other != unit]]
        twin.apply([Narrow({"0": [unit]}, "least_squares")], calibration_input=batch)
        error = (outputs_of_reader(twin.module, batch) - expected).square().sum(1).mean()
        given = module[:2](batch).detach()
        price = DAMPING * given.var(0, correction=0).mean() * (twin.module[2].weight - before).square().sum()
        assert float((error + price).detach()) == pytest.approx(float(scores[unit]), rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("network", ["concatenation", "depthwise", "transposed"])
def test_every_group_of_other_networks_is_made_up_for(network):
    module, batch = user_network(network)
    growing = ExpandableNetwork(module.eval(), batch)
    with torch.no_grad():
        expected = module(batch)
        for group in growing.widths:
            errors = []
            for compensation in ("none", "least_squares"):
                twin = growing.twin()
                twin.apply([Narrow({group: 1}, compensation)], calibration_input=batch)
                errors.append(float((twin.module(batch) - expected).square().mean()))
            assert errors[1] < errors[0], group


# All or nothing


def trained():
    torch.manual_seed(0)
    module, batch = linear()
    growing = ExpandableNetwork(module, batch)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    growing.attach(optimizer)
    train(module, optimizer, batch, 3)
    return growing, optimizer, batch


def test_optimizer_state_of_what_remains_is_carried():
    growing, optimizer, batch = trained()
    module, kept = growing.module, [0, 1, 2, 4, 5]
    weight, bias = (optimizer.state[each]["exp_avg"].clone() for each in (module[2].weight, module[2].bias))
    growing.apply([Narrow({"0": [3]}, "least_squares")], optimizer, calibration_input=batch)
    assert torch.equal(optimizer.state[module[2].weight]["exp_avg"], weight[:, kept])
    assert torch.equal(optimizer.state[module[2].bias]["exp_avg"], bias)
    assert sum(map(len, (group["params"] for group in optimizer.param_groups))) == 6
    train(module, optimizer, batch, 2)


REFUSED = {
    "no input": (Narrow({"0": 1}, "constants"), None, "'constants' goes by what units are on an input: give a calib"),
    "misspelt": (Narrow({"0": 1}, "constant"), "batch", "unknown compensation 'constant'.*did you mean 'constants'"),
    "another shape": (
        Narrow({"0": 1}, "constants"),
        torch.ones(2, 5),
        "fails on the calibration input: .*mat1 and mat2",
    ),
    "not finite": (
        Narrow({"0": 1}, "least_squares"),
        torch.full((4, 4), torch.nan),
        "'2.weight' is given .* is not finite",
    ),
    "a later change": (Narrow({"2": 9}), "batch", "cannot remove 9 of 5 units"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_failure_leaves_everything_as_it_was(case):
    growing, optimizer, batch = trained()
    change, given, message = REFUSED[case]
    before = everything(growing, optimizer)
    first = [Narrow({"0": [0]}, "least_squares")] if given == "batch" else []
    with untouched(growing.module), pytest.raises(NetworkError, match=message) as raised:
        growing.apply([*first, change], optimizer, calibration_input=batch if given == "batch" else given)
    assert "\n" not in str(raised.value)
    assert growing.widths == {"0": 6, "2": 5} and same(everything(growing, optimizer), before)
    train(growing.module, optimizer, batch, 1)


def test_frozen_entries_do_not_change():
    growing, optimizer, batch = trained()
    growing.apply([Widen({"0": 2}), Freeze(1)], optimizer)
    with (
        untouched(growing.module),
        pytest.raises(NetworkError, match="would change '2.weight', of which .* are frozen"),
    ):
        growing.apply([Narrow({"0": [0]}, "least_squares")], optimizer, calibration_input=batch)
    with untouched(growing.module), pytest.raises(NetworkError, match="would change '2.bias', of which .* are frozen"):
        growing.apply([Narrow({"0": [0]}, "constants")], optimizer, calibration_input=batch)
    growing.apply([Narrow({"0": [0]})], optimizer)
    growing.apply([Freeze(0), Narrow({"0": [0]}, "constants")], optimizer, calibration_input=batch)
    assert growing.widths["0"] == 6


def test_a_weight_that_is_computed_keeps_its_parameters():
    torch.manual_seed(0)
    module, batch = linear()
    nn.utils.parametrizations.weight_norm(module[2])
    growing = ExpandableNetwork(module, batch)
    direction = module[2].parametrizations.weight.original1.detach().clone()
    bias = module[2].bias.detach().clone()
    growing.apply([Narrow({"0": [3]}, "least_squares")], calibration_input=batch)
    assert torch.equal(module[2].parametrizations.weight.original1, direction[:, [0, 1, 2, 4, 5]])
    assert not torch.equal(module[2].bias, bias)


class Tied(nn.Module):
    """Tokens are read with the weights that they were written with."""

    def __init__(self):
        super().__init__()
        self.tokens, self.head = nn.Embedding(7, 6), nn.Linear(6, 7)
        self.head.weight = self.tokens.weight

    def forward(self, x):
        return self.head(torch.relu(self.tokens(x)))


def test_a_weight_that_holds_units_where_it_reads_them_keeps_its_values():
    torch.manual_seed(0)
    module, batch = Tied(), torch.randint(7, (9, 3))
    growing = ExpandableNetwork(module, batch, verify=False)
    weight, bias = module.tokens.weight.detach().clone(), module.head.bias.detach().clone()
    (group,) = growing.groups
    growing.apply([Narrow({group.name: [3]}, "least_squares")], calibration_input=batch)
    assert module.tokens.weight is module.head.weight
    assert torch.equal(module.head.weight, weight[:, [0, 1, 2, 4, 5]]) and not torch.equal(module.head.bias, bias)


class Experts(nn.Module):
    """Two matrices in one weight, each for its own inputs; and one that reads the same units."""

    def __init__(self):
        super().__init__()
        self.first, self.both = nn.Linear(4, 6), nn.Parameter(torch.randn(2, 6, 3))
        self.other = nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return (torch.stack([x, 2 * x]) @ self.both).sum(0) + self.other(x)


def test_a_reader_that_is_no_matrix_is_left_as_it_is():
    torch.manual_seed(0)
    module, batch = Experts(), batch_of((4,), 40)
    growing = ExpandableNetwork(module, batch)
    assert growing.widths == {"first": 6}
    data = [Batch(batch, lambda module: module(batch).square().mean())]
    assert measure_unit_scores(OptimalBrainSurgeon(), growing, ["first"], data)["first"].isnan().all()
    both, kept = module.both.detach().clone(), [0, 1, 2, 4, 5]
    growing.apply([Narrow({"first": [3]}, "least_squares")], calibration_input=batch)
    assert torch.equal(module.both, both[:, kept])


def test_of_a_reader_with_too_many_columns_only_the_mean_is_made_up_for(monkeypatch):
    monkeypatch.setattr("autogrow.network.shrinking.reader_regression.MAX_COLUMNS", 5)
    torch.manual_seed(0)
    module, batch = linear()
    growing = ExpandableNetwork(module, batch)
    score = OptimalBrainSurgeon()
    found = measure_unit_scores(score, growing, growing.widths, [Batch(batch, lambda module: module(batch).sum())])
    assert found["0"].isnan().all() and found["2"].isfinite().all()
    twin = growing.twin()
    twin.apply([Narrow({"0": [1]}, "constants")], calibration_input=batch)
    growing.apply([Narrow({"0": [1]}, "least_squares")], calibration_input=batch)
    assert all(torch.equal(one, two) for one, two in zip(module.parameters(), twin.module.parameters(), strict=True))
