import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from autogrow.network import ExpandableNetwork
from autogrow.network.measuring.activations import activation_std, rank
from autogrow.network.measuring.flops import added_training_flops, training_flops_by_weight, training_flops_per_example
from autogrow.network.measuring.gradient_gain import gradient_gain
from autogrow.network.measuring.sensitivity import sensitivity
from autogrow.network.measuring.statistics import STATISTICS, measure_statistic
from autogrow.network.running.undisturbed import evaluating
from autogrow.policy.layer_selection import LAYER_SELECTIONS, Probe
from tests.network.networks import batch_of, built_in, user_network
from tests.network.untouched import untouched

MEASURED = {name: kind for name, kind in LAYER_SELECTIONS.items() if kind.statistic not in (None, "probe")}


def classification(batch, outputs=7):
    """A loss on fixed targets, of a batch that is a little different every time: it draws random numbers."""
    targets = torch.arange(len(batch)) % outputs
    return lambda module: F.cross_entropy(module(F.dropout(batch, 0.01)), targets)


def two_hidden_layers(first=6, second=6):
    torch.manual_seed(0)
    layers = [nn.Linear(4, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 7)]
    return nn.Sequential(*layers), batch_of((4,), 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("network", ["resnet", "convnet", "concatenation", "depthwise"])
def test_every_registered_statistic_is_measured_and_leaves_the_network_alone(name, network):
    module, batch = built_in(network) if network in ("resnet", "convnet") else user_network(network)
    growing = ExpandableNetwork(module, batch)
    module.train()
    next(module.children()).eval()
    first, last = list(module.parameters())[0], list(module.parameters())[-1]
    first.requires_grad_(False)
    last.grad = torch.ones_like(last)
    growable = {group.name: 1 + index % 2 for index, group in enumerate(growing.groups[1:])}
    loss = classification(batch, 2)
    with untouched(module):
        found = measure_statistic(MEASURED[name](), growing, growable, batch, loss, seed=3)
        again = measure_statistic(MEASURED[name](), growing, growable, batch, loss, seed=3)
    assert found == again
    assert found.keys() == growable.keys()
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    assert any(found.values())


@pytest.mark.parametrize("name", MEASURED)
def test_a_failure_leaves_the_network_alone(name):
    module, batch = built_in("mlp")
    growing, wrong = ExpandableNetwork(module, batch), batch_of((3,))

    def loss(module):
        module(batch)
        raise RuntimeError("out of memory")

    with untouched(module), pytest.raises(RuntimeError):
        measure_statistic(MEASURED[name](), growing, {growing.groups[0].name: 1}, wrong, loss, seed=0)


def test_statistics_that_can_be_named_can_be_measured():
    assert {kind.statistic for kind in MEASURED.values()} == set(STATISTICS)
    module, batch = two_hidden_layers()
    growing = ExpandableNetwork(module, batch)
    assert measure_statistic(LAYER_SELECTIONS["all"](), growing, {"0": 1}, batch, classification(batch), 0) == {}
    with pytest.raises(ValueError, match="'probe' is not measured on a network"):
        measure_statistic(Probe(), growing, {"0": 1}, batch, classification(batch), 0)


# Activations


def test_activation_std_is_read_at_the_norms():
    module, batch = built_in("mlp")
    growing = ExpandableNetwork(module, batch)
    measured = activation_std(growing, growing.widths, batch)
    with evaluating(module):
        first = module[2](module[1](batch.flatten(1)))
    assert measured["1"] == pytest.approx(first.std(correction=0).item(), rel=1e-5)
    assert measured.keys() == growing.widths.keys()


class TwoInputs(nn.Module):
    """Two groups that share a norm, and an input that is a tuple."""

    def __init__(self):
        super().__init__()
        self.left = nn.Linear(4, 3)
        self.right = nn.Linear(5, 4)
        self.norm = nn.BatchNorm1d(7)
        self.head = nn.Linear(7, 2)

    def forward(self, left, right):
        return self.head(torch.relu(self.norm(torch.cat([self.left(left), self.right(right)], 1))))


def test_of_a_layer_with_several_groups_each_reads_its_own_units():
    module, batch = TwoInputs().eval(), (batch_of((4,), 30), batch_of((5,), 30))
    growing = ExpandableNetwork(module, batch)
    assert growing.widths == {"left": 3, "right": 4}
    with torch.no_grad():
        module.norm.weight[3:] = 0
        normed = module.norm(torch.cat([module.left(batch[0]), module.right(batch[1])], 1))
    measured = activation_std(growing, ["left", "right"], batch)
    assert measured == {"left": pytest.approx(normed[:, :3].std(correction=0).item()), "right": 0}
    assert rank(growing, ["left", "right"], batch) == {"left": 1, "right": 0}


@pytest.mark.parametrize(("dead", "copies", "expected"), [(0, 0, 1.0), (2, 0, 4 / 6), (0, 3, 3 / 6), (6, 0, 0.0)])
def test_rank_counts_independent_units(dead, copies, expected):
    module, batch = two_hidden_layers(first=6)
    with torch.no_grad():
        module[0].weight[:dead] = 0
        module[0].bias[:dead] = 0
        module[0].weight[6 - copies :] = module[0].weight[0]
        module[0].bias[6 - copies :] = module[0].bias[0]
    growing = ExpandableNetwork(module, batch)
    # Four inputs and a constant span five dimensions at most.
    assert rank(growing, ["0"], batch)["0"] == pytest.approx(min(expected, 5 / 6))


def test_rank_takes_rows_of_every_position_up_to_a_limit():
    module, batch = built_in("convnet")
    growing = ExpandableNetwork(module, batch)
    full = rank(growing, growing.widths, batch)
    assert full.keys() == growing.widths.keys()
    assert all(0 < value <= 1 for value in full.values())
    assert full[growing.groups[0].name] == 1
    assert math.isnan(rank(growing, growing.widths, batch * math.nan)[growing.groups[0].name])


# Sensitivity


def test_sensitivity_is_zero_in_front_of_zeros_and_grows_with_the_noise():
    module, batch = two_hidden_layers()
    with torch.no_grad():
        module[4].weight[:] = 0
    growing, loss = ExpandableNetwork(module, batch), classification(batch)
    assert sensitivity(growing, ["0", "2"], loss, noise=0.1, repeats=2, seed=0) == {"0": 0, "2": 0}
    module, batch = two_hidden_layers()
    growing = ExpandableNetwork(module, batch)
    small, large = (sensitivity(growing, ["0", "2"], loss, noise=noise, repeats=3, seed=0) for noise in (0.001, 0.1))
    assert all(0 < small[name] < large[name] / 10 for name in small)


def test_sensitivity_is_that_of_a_disturbance_relative_to_the_weights():
    module, batch = two_hidden_layers()
    growing = ExpandableNetwork(module, batch)

    def first_moved(twin):
        return (twin[0].weight - module[0].weight).abs().sum() + 0 * twin(batch).sum()

    small = sensitivity(growing, ["0", "2"], first_moved, noise=0.1, repeats=50, seed=0)
    weight = module[0].weight
    expected = 0.1 * weight.square().mean().sqrt() * weight.numel() * math.sqrt(2 / math.pi)
    assert small == {"0": pytest.approx(expected.item(), rel=0.05), "2": 0}


def test_sensitivity_of_a_group_does_not_depend_on_what_else_is_measured():
    module, batch = two_hidden_layers()
    growing, loss = ExpandableNetwork(module, batch), classification(batch)
    both = sensitivity(growing, ["0", "2"], loss, noise=0.1, repeats=2, seed=5)
    assert sensitivity(growing, ["2"], loss, noise=0.1, repeats=2, seed=5) == {"2": both["2"]}
    assert sensitivity(growing, ["2"], loss, noise=0.1, repeats=2, seed=6) != {"2": both["2"]}


# Gradient gain


@pytest.mark.parametrize("count", [1, 4, 30])
def test_gradient_gain_is_nearly_the_energy_of_the_top_singular_values(count):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(30, 12), nn.Identity(), nn.Linear(12, 20))
    inputs, targets = torch.randn(200, 30) * torch.linspace(0.3, 2, 30), torch.randn(200, 20)
    outputs = module(inputs)
    delta = torch.autograd.grad(F.mse_loss(outputs, targets), outputs)[0]
    optimum = torch.linalg.svdvals(delta.T @ inputs)[:count].square().sum().item()
    growing = ExpandableNetwork(module, inputs)
    found = gradient_gain(growing, {"0": count}, lambda twin: F.mse_loss(twin(inputs), targets), inputs, {"0": 8.0})
    assert 0.75 * optimum < 8 * found["0"] < 1.001 * optimum
    if count == 30:
        assert 8 * found["0"] == pytest.approx(optimum, rel=1e-3)


def test_gradient_gain_is_zero_in_front_of_zeros_and_per_flop():
    module, batch = two_hidden_layers(second=12)
    loss, added = classification(batch), {"0": 2, "2": 2}
    growing = ExpandableNetwork(module, batch)
    counted = gradient_gain(growing, added, loss, batch)
    given = gradient_gain(growing, added, loss, batch, {"0": 1.0, "2": 1.0})
    flops = added_training_flops(module, growing.structure, added, batch)
    assert counted == {name: pytest.approx(given[name] / flops[name]) for name in added}
    with torch.no_grad():
        module[4].weight[:] = 0
    found = gradient_gain(growing, added, loss, batch)
    assert found["0"] == 0 < found["2"]  # the output layer itself still has a gradient


def test_gradient_gain_takes_two_passes_for_all_groups():
    module, batch = built_in("resnet")
    growing, calls = ExpandableNetwork(module, batch), []

    def loss(module):
        calls.append(module)
        return classification(batch)(module)

    found = gradient_gain(growing, {name: 1 for name in growing.widths}, loss, batch)
    assert len(calls) == 2
    assert all(value > 0 for value in found.values())


# FLOPs


@pytest.mark.parametrize("examples", [1, 3])
def test_flops_of_a_linear_network_are_those_of_its_products(examples):
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    forward = 2 * (8 * 16 + 16 * 4)
    weight_gradients, input_gradient = forward, 2 * 16 * 4
    counted = training_flops_per_example(module, torch.randn(examples, 8))
    assert counted == forward + weight_gradients + input_gradient


def test_counting_flops_leaves_gradients_and_mode_alone():
    module, batch = built_in("resnet")
    module.train()
    with untouched(module):
        training_flops_per_example(module, batch)
        training_flops_by_weight(module, batch)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet", "concatenation", "transposed"])
def test_added_flops_are_those_of_the_widened_network(name):
    module, batch = built_in(name) if name in ("mlp", "convnet", "resnet") else user_network(name)
    growing = ExpandableNetwork(module, batch)
    added = {group.name: 1 + index % 3 for index, group in enumerate(growing.groups)}
    before = training_flops_per_example(module, batch)
    found = added_training_flops(module, growing.structure, added, batch)
    for group, number in added.items():
        twin = growing.twin()
        twin.widen(group, number)
        assert found[group] == pytest.approx(training_flops_per_example(twin.module, batch) - before)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_added_flops_of_weights_that_are_computed_from_others_or_never_seen():
    computed, plain = (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)) for _ in range(2))
    nn.utils.parametrize.register_parametrization(computed[0], "weight", Doubled())
    batch = batch_of((4,))
    found, expected = (
        added_training_flops(module, ExpandableNetwork(module, batch).structure, {"0": 3}, batch)
        for module in (computed, plain)
    )
    assert found == expected == {"0": (2 * 2 * 4 + 3 * 2 * 2) * 3}
    module, batch = nn.Sequential(nn.Linear(4, 3), nn.GRU(3, 5, batch_first=True)), batch_of((2, 4))
    growing = ExpandableNetwork(module, batch)
    found = added_training_flops(module, growing.structure, dict.fromkeys(growing.widths, 1), batch)
    assert found and all(flops > 0 for flops in found.values())


# Modes and buffers


class Counting(nn.Module):
    """Counts its calls in a buffer, in eval mode too, and replaces another one."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("latest", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.latest = self.calls / 2
        return x


def test_buffers_that_a_pass_changes_are_put_back():
    module, batch = nn.Sequential(nn.Linear(4, 3), Counting(), nn.ReLU(), nn.Linear(3, 2)), batch_of((4,))
    growing = ExpandableNetwork(module, batch)
    with untouched(module):
        assert rank(growing, ["0"], batch) == {"0": 1}
        training_flops_by_weight(module, batch)


def test_evaluating_restores_every_modules_own_mode():
    module = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3))
    module.train()
    module[1].eval()
    with evaluating(module):
        assert not any(layer.training for layer in module.modules())
    assert [layer.training for layer in module.modules()] == [True, True, False]
