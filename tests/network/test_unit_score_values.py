"""Unit scores against what their formulas give when they are computed another way."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.shrinking.request import Batch
from autogrow.network.shrinking.unit_scores import measure_unit_scores
from autogrow.policy.changes import Narrow
from autogrow.policy.unit_scores import parse_unit_score
from tests.network.networks import batch_of, user_network

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SCORES = ("activation_count", "activation_std", "fisher", "magnitude", "optimal_brain_damage", "optimal_brain_surgeon",
          "sensitivity", "taylor")  # fmt: skip


def scores(module, batch, name, groups=None, **settings):
    growing = ExpandableNetwork(module, batch)
    data = [Batch(batch, a_loss(batch))]
    groups = growing.widths if groups is None else groups
    return measure_unit_scores(parse_unit_score({"kind": name, **settings}), growing, groups, data)


def a_loss(batch):
    """The mean over examples of a loss of each example's own."""
    targets = torch.arange(len(batch)) % 3
    return lambda module: F.cross_entropy(module(batch), targets)


def three_layers(inputs=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 6), nn.GELU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def convolutions():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 3, stride=2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(3 * 9, 3)), batch_of((1, 7, 7), 5)


# Activations


def test_activations_are_read_behind_the_nonlinearity_with_all_columns_of_a_unit():
    module, batch = convolutions()
    with torch.no_grad():
        first, second = module[:2](batch), module[:3](batch)
    count, std = scores(module, batch, "activation_count"), scores(module, batch, "activation_std")
    assert torch.allclose(count["0"], (first > 0).double().mean((0, 2, 3)))
    assert count["2"].tolist() == [1, 1, 1]
    assert torch.allclose(std["0"], first.double().std((0, 2, 3), correction=0))
    assert torch.allclose(std["2"], second.double().std((0, 2, 3), correction=0))
    large = scores(module, batch, "activation_count", threshold=0.3)["2"]
    assert torch.allclose(large, (second.abs() > 0.3).double().mean((0, 2, 3))) and (large < 1).all()


def test_outliers_are_below_zero():
    torch.manual_seed(0)
    module, batch = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3)), batch_of((4,), 50)
    module[0].bias.data.zero_()[7] = -3.0
    share = scores(module, batch, "activation_count")["0"]
    found = scores(module, batch, "activation_outliers")["0"]
    assert torch.allclose(found, (share - share.mean()) / share.std(correction=0) + 2)
    assert (found < 0).nonzero().tolist() == [[7]]
    assert (share < share.mean() - 2 * share.std(correction=0)).nonzero().tolist() == [[7]]
    strict = scores(module, batch, "activation_outliers", deviations=0.0)["0"]
    assert torch.allclose(strict, found - 2)
    module[0].bias.data[:] = 100.0
    assert scores(module, batch, "activation_outliers")["0"].tolist() == [2] * 12


# Weights


def test_magnitude_is_that_of_the_weights_that_compute_the_unit():
    module, batch = convolutions()
    first, second = module[0].weight.double().detach(), module[2].weight.double().detach()
    assert torch.allclose(scores(module, batch, "magnitude")["0"], first.flatten(1).norm(dim=1))
    assert torch.allclose(scores(module, batch, "magnitude", norm=1)["0"], first.abs().sum((1, 2, 3)))
    both = first.square().sum((1, 2, 3)) + second.square().sum((0, 2, 3))
    assert torch.allclose(scores(module, batch, "magnitude", readers=True)["0"], both.sqrt())
    head = module[4].weight.double().detach().reshape(3, 3, 9)
    all_weights = second.abs().sum((1, 2, 3)) + head.abs().sum((0, 2))
    assert torch.allclose(scores(module, batch, "magnitude", norm=1, readers=True)["2"], all_weights)


# The loss


def activations_and_gradients(module, batch, layer):
    """What a layer is given, and the gradients with respect to it of each example's own loss."""
    given = module[:layer](batch).detach().requires_grad_()
    losses = F.cross_entropy(module[layer:](given), torch.arange(len(batch)) % 3, reduction="none")
    return given.detach().double(), torch.autograd.grad(losses.sum(), given)[0].double()


@pytest.mark.parametrize(("layer", "group"), [(2, "0"), (4, "2")])
def test_taylor_and_fisher_are_those_of_every_example_by_itself(layer, group):
    module, batch = three_layers(), batch_of((4,), 9)
    given, gradient = activations_and_gradients(module, batch, layer)
    products = given * gradient
    assert torch.allclose(scores(module, batch, "taylor")[group], products.abs().mean(0), atol=1e-7)
    assert torch.allclose(scores(module, batch, "fisher")[group], products.square().mean(0) / 2, atol=1e-7)


def test_positions_of_an_example_are_summed_before_the_absolute_value():
    module, batch = convolutions()
    given, gradient = activations_and_gradients(module, batch, 2)
    products = (given * gradient).sum((2, 3))
    assert torch.allclose(scores(module, batch, "taylor")["0"], products.abs().mean(0), atol=1e-7)
    assert torch.allclose(scores(module, batch, "fisher")["0"], products.square().mean(0) / 2, atol=1e-7)


def test_optimal_brain_damage_is_half_of_second_derivative_times_square():
    module, batch = three_layers(), batch_of((4,), 9)
    expected = 0
    for example, target in zip(batch, torch.arange(9) % 3, strict=True):
        loss = F.cross_entropy(module(example[None]), target[None])
        (gradient,) = torch.autograd.grad(loss, module[2].weight)
        expected = expected + (gradient * module[2].weight.detach()).double().square().sum(0) / 9 / 2
    assert torch.allclose(scores(module, batch, "optimal_brain_damage")["0"], expected, rtol=1e-4)


def test_of_a_shared_weight_its_positions_are_independent_ones():
    module, batch = convolutions()
    given, result = module[:2](batch).detach(), module[:3](batch).detach().requires_grad_()
    losses = F.cross_entropy(module[3:](result), torch.arange(5) % 3, reduction="none")
    delta = torch.autograd.grad(losses.sum(), result)[0].double().flatten(2)
    patches = F.unfold(given, 3, stride=2).reshape(5, 4, 9, 9).double()  # (examples, units, kernel, positions)
    weight = module[2].weight.detach().double().flatten(2)
    expected = torch.einsum("bcki,boi,ock->c", patches.square(), delta.square(), weight.square()) / 5 / 2
    assert torch.allclose(scores(module, batch, "optimal_brain_damage")["0"], expected, rtol=1e-4)


@pytest.mark.parametrize("network", ["convolutions", "concatenation", "depthwise", "transposed"])
def test_sensitivity_is_what_removing_the_unit_does(network):
    module, batch = convolutions() if network == "convolutions" else user_network(network)

    @torch.no_grad()
    def loss(module):
        return module(batch).square().mean()

    growing = ExpandableNetwork(module.eval(), batch)
    found = measure_unit_scores(parse_unit_score("sensitivity"), growing, growing.widths, [Batch(batch, loss)])
    absolute = parse_unit_score({"kind": "sensitivity", "absolute": True})
    size = measure_unit_scores(absolute, growing, growing.widths, [Batch(batch, loss)])
    for group, width in growing.widths.items():
        for unit in {0, width - 1}:
            twin = growing.twin()
            twin.apply([Narrow({group: [unit]})])
            change = float(loss(twin.module) - loss(module))
            assert found[group][unit] == pytest.approx(change, abs=1e-7) and abs(change) > 1e-6
            assert size[group][unit] == abs(found[group][unit])


# Optimal brain surgeon


def refit_error(inputs, weight, columns, constant):
    """Mean squared error, summed over outputs, of the best fit to inputs @ weight.T without some columns."""
    inputs, targets = inputs.double(), inputs.double() @ weight.double().T
    kept = [column for column in range(inputs.shape[1]) if column not in columns]
    design = torch.cat([inputs[:, kept], torch.ones(len(inputs), int(constant), dtype=torch.float64)], 1)
    # By the singular value decomposition: units that are always zero make the design singular.
    fitted = torch.linalg.lstsq(design, targets, driver="gelsd").solution
    return float((design @ fitted - targets).square().sum(1).mean())


@pytest.mark.parametrize("bias", [True, False])
def test_the_surgeons_error_is_that_of_a_refit(bias):
    torch.manual_seed(0)
    module, batch = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3, bias=bias)), batch_of((4,), 40)
    module[0].weight.data[2] = -1  # dead for some and alive for others
    found = scores(module, batch, "optimal_brain_surgeon", damping=1e-9)["0"]
    given, weight = module[:2](batch).detach(), module[2].weight.detach()
    expected = [refit_error(given, weight, {unit}, bias) for unit in range(6)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_units_that_stand_for_each_other_can_be_made_up_for():
    torch.manual_seed(0)
    module, batch = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), batch_of((4,), 40)
    for tensor in (module[0].weight, module[0].bias):
        tensor.data[4] = 2 * tensor.data[1]
    found = scores(module, batch, "optimal_brain_surgeon", damping=1e-9)["0"]
    assert found[[1, 4]].max() < 1e-6 < 1e-3 < found[[0, 2, 3, 5]].min()
    assert scores(module, batch, "taylor")["0"][[1, 4]].min() > 1e-3


READERS = {
    "strided": (lambda: nn.Conv2d(4, 3, 3, stride=2, padding=1), (1, 6, 6)),
    "dilated": (lambda: nn.Conv2d(4, 3, 2, dilation=2, bias=False), (1, 6, 6)),
    "same": (lambda: nn.Conv2d(4, 3, (1, 3), padding="same"), (1, 5, 5)),
    "in groups": (lambda: nn.Conv2d(6, 4, 3, groups=2, padding=1), (1, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1), (1, 4, 4)),
    "transposed in groups": (lambda: nn.ConvTranspose2d(6, 4, 2, groups=2), (1, 4, 4)),
    "over sequences": (lambda: nn.Conv1d(4, 3, 3, padding=2, padding_mode="circular"), (1, 8)),
}


class Between(nn.Module):
    def __init__(self, reader, dims):
        super().__init__()
        self.units = (nn.Conv1d if dims == 1 else nn.Conv2d)(1, reader.in_channels, 3, padding=1)
        self.reader = reader

    def forward(self, x):
        return self.reader(torch.relu(self.units(x)))


@pytest.mark.parametrize("name", READERS)
def test_the_surgeon_reads_patches_of_convolutions(name):
    torch.manual_seed(0)
    build, shape = READERS[name]
    module, batch = Between(build(), len(shape) - 1), batch_of(shape, 8)
    found = scores(module, batch, "optimal_brain_surgeon", ["units"], damping=1e-9)["units"]
    groups, width = module.reader.groups, len(found)
    assert width == module.reader.in_channels // groups
    expected = [
        brute_force(module, batch, {unit + width * number for number in range(groups)}) for unit in range(width)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-4) and min(expected) > 1e-4


@torch.no_grad()
def brute_force(module, batch, silenced):
    """The smallest error that any weights leave which do not read the silenced channels; their effects one by one."""
    reader, given = copy.deepcopy(module.reader), torch.relu(module.units(batch))
    targets = reader(given)
    for parameter in reader.parameters():
        parameter.zero_()
    effects = []
    for name, parameter in reader.named_parameters():
        for index in range(parameter.numel()):
            if name == "weight" and channel_of(reader, index) in silenced:
                continue
            parameter.view(-1)[index] = 1.0
            effects.append(reader(given).double().flatten())
            parameter.view(-1)[index] = 0.0
    design, goal = torch.stack(effects, 1), targets.double().flatten()
    error = design @ torch.linalg.lstsq(design, goal, driver="gelsd").solution - goal
    return float(error.square().sum()) * targets.shape[1] / targets.numel()


def channel_of(reader, index):
    """The input channel that an entry of a weight reads."""
    out_dim, in_dim = np.unravel_index(index, reader.weight.shape)[:2]
    if isinstance(reader, nn.ConvTranspose2d):
        return out_dim
    return out_dim // (reader.out_channels // reader.groups) * (reader.in_channels // reader.groups) + in_dim


# However the code is written


class Written(nn.Module):
    """Three layers, their second product written in one of many ways."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.way, self.first, self.second, self.head = way, nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        x, weight, bias = torch.relu(self.first(x)), self.second.weight, self.second.bias
        ways = {
            "layer": lambda: self.second(x),
            "by name": lambda: F.linear(input=x, weight=weight, bias=bias),
            "matmul": lambda: x @ weight.T + bias,
            "method": lambda: x.matmul(weight.transpose(0, 1)) + bias,
            "mm": lambda: torch.mm(x, weight.t()) + bias,
            "addmm": lambda: torch.addmm(bias, x, weight.t()),
            "weight on the left": lambda: (weight @ x.T).T + bias,
            "in two parts": lambda: torch.cat(
                [F.linear(x, weight[:2], bias[:2]), F.linear(x, weight[2:], bias[2:])], 1
            ),
            "scaled": lambda: F.linear(x, weight * 1.0, bias),
            "scaled sum": lambda: 2 * torch.addmm(bias, x, weight.t(), beta=0.5, alpha=0.5),
            "contiguous": lambda: x @ (weight * 1.0).T.contiguous() + bias,
        }
        return self.head(torch.relu(ways[self.way]()))


WAYS = ["by name", "matmul", "method", "mm", "addmm", "weight on the left", "in two parts", "scaled"]
WITHOUT_BIAS = {"matmul", "method", "mm", "weight on the left"}
"""Ways in which the bias is no part of the product, so that nothing takes up the mean of a unit."""


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("way", WAYS)
def test_scores_are_those_of_a_layer_however_the_code_is_written(way, name):
    batch = batch_of((4,), 9)
    expected, found = (scores(Written(each), batch, name, ["first"])["first"] for each in ("layer", way))
    if name == "optimal_brain_surgeon" and way in WITHOUT_BIAS:
        assert (found > expected + 1e-6).any() and (found >= expected - 1e-9).all()
    else:
        assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-7)


def test_where_a_reader_is_not_seen_activations_are_read_where_they_leave_their_layer():
    batch = batch_of((4,), 9)
    for way in ("contiguous", "scaled sum"):
        module = Written(way)
        found = scores(module, batch, "activation_std", ["first"])["first"]
        assert torch.allclose(found, module.first(batch).detach().double().std(0, correction=0))
    # What a ReLU lets through is the same before it.
    expected, found = (scores(Written(each), batch, "taylor", ["first"])["first"] for each in ("layer", "contiguous"))
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_normalized_weights_are_seen():
    torch.manual_seed(0)
    module, batch = three_layers(), batch_of((4,), 9)
    expected = {
        name: scores(module, batch, name)["0"] for name in ("activation_std", "taylor", "optimal_brain_surgeon")
    }
    nn.utils.parametrizations.weight_norm(module[2])
    for name, values in expected.items():
        assert scores(module, batch, name)["0"].tolist() == pytest.approx(values.tolist(), rel=1e-4)


class Sequences(nn.Module):
    """Steps first, examples first, or all steps of all examples as rows."""

    def __init__(self, order):
        super().__init__()
        torch.manual_seed(0)
        self.order, self.up, self.down = order, nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        batch, steps, _ = x.shape
        orders = {"examples": x, "steps": x.transpose(0, 1), "rows": x.reshape(batch * steps, -1)}
        y = self.down(F.gelu(self.up(orders[self.order])))
        return (y.transpose(0, 1) if self.order == "steps" else y.reshape(batch, steps, -1)).mean(1)


@pytest.mark.parametrize("order", ["steps", "rows"])
@pytest.mark.parametrize("name", ["taylor", "fisher", "optimal_brain_damage"])
def test_examples_are_found_wherever_they_stand(order, name):
    batch = batch_of((5, 4), 4)
    expected, found = (scores(Sequences(each), batch, name)["up"].tolist() for each in ("examples", order))
    assert found == pytest.approx(expected, rel=1e-4)


class TwoReaders(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.units, self.left, self.right = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.units(x))
        return self.left(x) + self.right(x)


def test_what_several_readers_make_of_a_unit_is_summed():
    batch, two = batch_of((4,), 9), TwoReaders()
    given = torch.relu(two.units(batch)).detach().requires_grad_()
    losses = F.cross_entropy(two.left(given) + two.right(given), torch.arange(9) % 3, reduction="none")
    products = (given * torch.autograd.grad(losses.sum(), given)[0]).detach().double()
    assert torch.allclose(scores(two, batch, "taylor")["units"], products.abs().mean(0), atol=1e-7)
    assert torch.allclose(scores(two, batch, "fisher")["units"], products.square().mean(0) / 2, atol=1e-7)
    assert torch.allclose(scores(two, batch, "activation_count")["units"], (given > 0).double().mean(0))
    by_reader = [
        [refit_error(given.detach(), reader.weight.detach(), {unit}, True) for unit in range(6)]
        for reader in (two.left, two.right)
    ]
    expected = [left + right for left, right in zip(*by_reader, strict=True)]
    assert scores(two, batch, "optimal_brain_surgeon", damping=1e-9)["units"].tolist() == pytest.approx(
        expected, rel=1e-5
    )


class Hidden(nn.Module):
    """A part of the pass has no gradient, so that nobody knows from it what its units are worth."""

    def __init__(self, hides):
        super().__init__()
        torch.manual_seed(0)
        self.hides = hides
        self.first, self.second, self.third, self.head = (
            nn.Linear(4, 6),
            nn.Linear(6, 5),
            nn.Linear(5, 5),
            nn.Linear(5, 3),
        )

    def forward(self, x):
        x = torch.relu(self.first(x))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.hides):
            x = torch.relu(self.second(x))
            x = torch.relu(self.third(x))
        return self.head(x)


@pytest.mark.parametrize("name", ["taylor", "fisher", "optimal_brain_damage"])
def test_units_whose_gradient_is_hidden_have_no_score(name):
    seen, hidden = (scores(Hidden(hides), batch_of((4,), 9), name) for hides in (False, True))
    assert all(values.isfinite().all() for values in seen.values())
    assert {group for group, values in hidden.items() if values.isnan().all()} == {"first", "second"}
    assert torch.allclose(hidden["third"], seen["third"])


def test_frozen_weights_have_scores_too():
    batch, trained, frozen = batch_of((4,), 9), three_layers(), three_layers().requires_grad_(False)
    for name in ("taylor", "fisher", "optimal_brain_damage", "sensitivity"):
        expected, found = scores(trained, batch, name), scores(frozen, batch, name)
        assert all(torch.allclose(found[group], expected[group]) for group in expected)
