"""Widening leaves the network's function as it is, for every built-in network and shapes that users have."""

import copy

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from autogrow.policy.initializations import INITIALIZATIONS
from tests.network.networks import BUILT_IN, USER_NETWORKS, Mixed, built_in, user_network

MODES = (False, True)
"""Eval and training."""
EXACT = [name for name, kind in INITIALIZATIONS.items() if kind.keeps_outputs]


def loss_on(batch):
    """A loss for the initializations that look at one."""
    return lambda module: module(batch).square().mean()


DEEP = "resnet of 60 layers"
"""Where nothing but the depth differs from "resnet", so that one test of exactness is enough."""
NETWORKS = [name for name in (*BUILT_IN, *USER_NETWORKS) if name != DEEP]


def network_and_batch(name):
    return built_in(name) if name in BUILT_IN else user_network(name)


def outputs(module, batch, training):
    """Outputs in train or eval mode; the running statistics are left as they were."""
    twin = copy.deepcopy(module).train(training)
    with torch.no_grad():
        return twin(batch)


def half_more(growing, multiple=1):
    return {group.name: multiple * max(1, group.width // (2 * multiple)) for group in growing.groups}


def largest_change(after, before):
    """Relative to the largest output where that is above 1, as rounding is."""
    return float((after - before).abs().max() / before.abs().max().clamp(min=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("initialization", EXACT)
class TestExactness:
    def test_all_groups_at_once(self, name, initialization):
        module, batch = network_and_batch(name)
        growing = ExpandableNetwork(module, batch)
        before = [outputs(module, batch, training) for training in MODES]
        added = half_more(growing, INITIALIZATIONS[initialization].unit_multiple)
        growing.widen_groups(added, initialization=initialization, calibration_input=batch, loss=loss_on(batch))
        for training, old in zip(MODES, before, strict=True):
            assert largest_change(outputs(module, batch, training), old) <= 1e-5, training

    def test_each_group_alone(self, name, initialization):
        module, batch = network_and_batch(name)
        before = [outputs(module, batch, training) for training in MODES]
        found = ExpandableNetwork(module, batch)
        names = list(found.widths)
        for group in names[:: max(1, len(names) // 6)]:
            growing = copy.deepcopy(found)
            number = 3 if INITIALIZATIONS[initialization].unit_multiple == 1 else 4
            growing.widen(group, number, initialization=initialization, loss=loss_on(batch))
            for training, old in zip(MODES, before, strict=True):
                assert largest_change(outputs(growing.module, batch, training), old) <= 1e-5, (group, training)


@pytest.mark.slow
def test_many_layers_widen_as_few_do():
    """Rounding does not add up over sixty layers, and every hidden layer is found."""
    module, batch = built_in(DEEP)
    growing = ExpandableNetwork(module, batch)
    before = {training: outputs(module, batch, training) for training in (False, True)}
    units = {member.layer for group in growing.groups for member in group.members if member.side == "out"}
    assert sum(isinstance(layer, nn.Conv2d) and key not in units for key, layer in module.named_modules()) == 0
    growing.widen_groups(half_more(growing))
    for training, old in before.items():
        assert largest_change(outputs(module, batch, training), old) <= 1e-5


@pytest.mark.parametrize("name", NETWORKS)
class TestEveryNetwork:
    @pytest.mark.slow
    def test_new_units_learn(self, name):
        """Every new weight matrix gets a gradient within two steps: exactness is not bought with dead units."""
        module, batch = network_and_batch(name)
        growing = ExpandableNetwork(module, batch)
        shapes = {key: value.shape for key, value in module.named_parameters()}
        growing.widen_groups(half_more(growing), calibration_input=batch)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
        before = {key: value.detach().clone() for key, value in module.named_parameters()}
        for _ in range(3):
            optimizer.zero_grad()
            module.train()(batch).square().mean().backward()
            optimizer.step()
        for key, value in module.named_parameters():
            grown = [dim for dim, (old, new) in enumerate(zip(shapes[key], value.shape, strict=True)) if new > old]
            if grown and value.dim() > 1 and "depthwise" not in key:
                moved = (value - before[key]).abs().flip(grown[0])[tuple([0] * grown[0])]
                assert moved.max() > 0, key

    @pytest.mark.slow
    def test_stays_plain(self, name):
        module, batch = network_and_batch(name)
        types = [type(layer) for layer in module.modules()]
        names = [key for key, _ in module.named_parameters()]
        growing = ExpandableNetwork(module, batch)
        growing.widen_groups(half_more(growing))
        assert growing.module is module
        assert [type(layer) for layer in module.modules()] == types
        assert [key for key, _ in module.named_parameters()] == names
        assert all(type(parameter) is nn.Parameter for parameter in module.parameters())
        assert torch.load(_saved(module), weights_only=True).keys() == module.state_dict().keys()

    @pytest.mark.slow
    def test_sizes_in_layers_agree_with_their_tensors(self, name):
        module, batch = network_and_batch(name)
        growing = ExpandableNetwork(module, batch)
        growing.widen_groups(half_more(growing))
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                assert layer.weight.shape == (layer.out_features, layer.in_features)
            if isinstance(layer, nn.Conv2d):
                assert layer.weight.shape[:2] == (layer.out_channels, layer.in_channels // layer.groups)
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean.shape == (layer.num_features,)

    @pytest.mark.slow
    def test_widening_then_narrowing_is_the_identity(self, name):
        module, batch = network_and_batch(name)
        before = {key: value.clone() for key, value in module.state_dict().items()}
        growing = ExpandableNetwork(module, batch)
        widths = growing.widths
        growing.widen_groups(half_more(growing))
        for group, width in widths.items():
            growing.keep_units(group, range(width))
        assert growing.widths == widths
        assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())

    @pytest.mark.slow
    def test_groups_cover_every_hidden_layer(self, name):
        """Nothing but the outputs is left at its width."""
        module, batch = network_and_batch(name)
        growing = ExpandableNetwork(module, batch)
        assert [group.reason for group in growing.fixed] == ["it is the network's output"]
        hidden = [
            key
            for key, layer in module.named_modules()
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d)
        ]
        units = {member.layer for group in growing.groups for member in group.members if member.side == "out"}
        assert set(hidden) - units == {group.name for group in growing.fixed}

    @pytest.mark.slow
    def test_output_size_is_kept(self, name):
        module, batch = network_and_batch(name)
        shape = module(batch).shape
        growing = ExpandableNetwork(module, batch)
        growing.widen_groups(half_more(growing))
        assert module(batch).shape == shape


def test_residual_stream_is_one_group():
    module, batch = built_in("resnet")
    stream = ExpandableNetwork(module, batch).groups[0]
    holders = {member.layer for member in stream.members if member.side == "out"}
    assert {"conv1", "bn1", "stages.0.0.conv2", "stages.0.1.conv2", "stages.0.1.bn2"} <= holders
    assert not any(layer.endswith(".conv1") and layer.startswith("stages") for layer in holders)


def test_units_are_inserted_where_their_branch_ends():
    module, batch = user_network("concatenation")
    old = module.reader.weight.detach().clone()
    ExpandableNetwork(module, batch).widen("left", 2)
    new = module.reader.weight.detach()
    assert new.shape[1] == 12
    assert torch.equal(new[:, [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]], old)
    assert torch.equal(new[:, 4:6], torch.zeros_like(new[:, 4:6]))


def test_a_flattened_channel_brings_all_its_pixels():
    module, batch = built_in("convnet")
    old = module[7].weight.detach().clone()
    ExpandableNetwork(module, batch).widen("3", 2)
    assert module[7].weight.shape[1] == 10 * 9
    assert torch.equal(module[7].weight[:, :72], old)


def test_what_cannot_grow_is_listed_with_its_reason():
    torch.manual_seed(0)
    growing = ExpandableNetwork(Mixed(), torch.randn(6, 4))
    reasons = {group.name: group.reason for group in growing.fixed}
    assert [group.name for group in growing.groups] == ["free", "reader"]
    assert reasons["normed"] == "norm (LayerNorm): statistics are taken over all its units"
    assert "softmax" in reasons["gated"]
    with pytest.raises(NetworkError, match="group 'normed' cannot change: norm .LayerNorm.: statistics"):
        growing.widen("normed", 1)


def test_tied_weights_stay_tied():
    torch.manual_seed(0)
    module, batch = Mixed(), torch.randn(6, 4)
    growing = ExpandableNetwork(module, batch)
    before = module(batch)
    growing.widen("reader", 3)
    assert module.tied_a.weight is module.tied_b.weight
    assert module.tied_a.weight.shape == (8, 8) and module.tied_b.in_features == 8
    assert (module(batch) - before).abs().max() <= 1e-5


class ReadTransposed(nn.Module):
    """An autoencoder whose decoder is its encoder's weight, transposed: a row computes a unit, and reads it."""

    def __init__(self):
        super().__init__()
        self.encoder, self.last = nn.Linear(12, 5), nn.Linear(12, 3)

    def forward(self, inputs):
        units = torch.relu(self.encoder(inputs))
        return self.last(torch.relu(nn.functional.linear(units, self.encoder.weight.t())))


@pytest.mark.parametrize("added", [1, 9, 40])
def test_a_weight_that_is_read_transposed_grows_on_both_sides_at_once(added):
    torch.manual_seed(0)
    network = ExpandableNetwork(ReadTransposed(), torch.randn(2, 12))
    (group,) = (group.name for group in network.groups if group.width == 5)
    before = network.module.encoder.weight.detach().clone()
    network.widen(group, added)
    grown = network.module.encoder.weight.detach()
    assert grown.shape == (5 + added, 12) and torch.equal(grown[:5], before)
    assert network.module(torch.randn(4, 12)).shape == (4, 3)


class Parts(nn.Module):
    """One layer's units taken apart by sizes that the module keeps, as in MambaOut and InceptionNeXt."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes, self.a, self.b = sizes, nn.Linear(8, 24), nn.Linear(16, 3)
        self.c, self.d = nn.Linear(8, 16), nn.Linear(8, 3)

    def forward(self, x):
        gate, left = torch.split(self.a(x), self.sizes, 1)
        return self.b(gate * self.c(x)) + self.d(left)


@pytest.mark.parametrize("kind", [tuple, list])
def test_sizes_of_parts_that_a_module_keeps_follow(kind):
    torch.manual_seed(0)
    module, batch = Parts(kind((16, 8))), torch.randn(3, 8)
    growing, before = ExpandableNetwork(module, batch), module(batch)
    assert growing.widths == {"c": 16, "a[16:24]": 8}
    growing.widen_groups({"c": 3, "a[16:24]": 2})
    assert module.sizes == kind((19, 10)) and module.a.weight.shape == (29, 8)
    assert (module(batch) - before).abs().max() <= 1e-5


def test_a_forward_pass_that_counts_on_its_width_is_fixed():
    class Rigid(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.b(self.a(x) * torch.ones(6))

    growing = ExpandableNetwork(Rigid(), torch.randn(3, 4))
    assert growing.groups == ()
    assert "forward pass fails when it is wider" in {g.name: g.reason for g in growing.fixed}["a"]


@pytest.mark.parametrize("gain", [0.0, 1e-6])
def test_a_group_behind_a_silent_head_is_not_mistaken_for_exact(gain):
    """A layer norm across the units changes the function; a head that starts at zero must not hide that."""

    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Linear(4, 6), nn.Linear(6, 2)
            self.head.weight.data.mul_(gain)
            self.head.bias.data.zero_()

        def forward(self, x):
            return self.head(nn.functional.layer_norm(self.a(x), self.a(x).shape[1:]))

    growing = ExpandableNetwork(Normed(), torch.randn(5, 4))
    assert growing.groups == ()


def test_a_slope_shared_by_all_units_keeps_its_size():
    torch.manual_seed(0)
    module, batch = nn.Sequential(nn.Linear(4, 6), nn.PReLU(), nn.Linear(6, 2)), torch.randn(5, 4)
    before = module(batch)
    ExpandableNetwork(module, batch).widen("0", 3)
    assert module[1].weight.shape == (1,)
    assert (module(batch) - before).abs().max() <= 1e-5


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        hidden = torch.relu(self.a(x))
        return self.c(torch.relu(self.b(hidden))), hidden


def test_every_output_is_kept():
    module, batch = Two(), torch.randn(3, 4)
    growing = ExpandableNetwork(module, batch)
    assert [group.name for group in growing.groups] == ["b"]
    assert {group.name: group.reason for group in growing.fixed}["a"] == "it is the network's output"
    before = module(batch)
    growing.widen("b", 3)
    assert all((now - then).abs().max() <= 1e-5 for now, then in zip(module(batch), before, strict=True))


def test_outputs_that_are_no_tensors_are_a_network_error():
    class Words(nn.Linear):
        def forward(self, x):
            return str(super().forward(x))

    with pytest.raises(NetworkError, match="returns str, expected tensors"):
        ExpandableNetwork(Words(4, 2), torch.randn(3, 4))


def test_several_inputs():
    class Join(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x, y):
            return self.c(torch.relu(self.a(x) + self.b(y)))

    module, inputs = Join(), (torch.randn(5, 4), torch.randn(5, 3))
    growing = ExpandableNetwork(module, inputs)
    before = module(*inputs)
    growing.widen("a", 3)
    assert module.b.out_features == 9
    assert (module(*inputs) - before).abs().max() <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda growing: growing.widen("stages.0.0.conv", 1), "did you mean 'stages.0.0.conv1'?"),
        (lambda growing: growing.widen("conv1", 0), "cannot add 0 units"),
        (lambda growing: growing.widen("fc", 1), "it is the network's output"),
        (lambda growing: growing.keep_units("conv1", []), "at least one"),
        (lambda growing: growing.keep_units("conv1", [0, 0]), "distinct numbers from 0 to 5"),
        (lambda growing: growing.keep_units("conv1", [6]), "distinct numbers from 0 to 5"),
    ],
)
def test_impossible_changes_are_refused_and_change_nothing(action, message):
    module, batch = built_in("resnet")
    growing = ExpandableNetwork(module, batch)
    before = module(batch)
    with pytest.raises(NetworkError, match=message.replace("?", r"\?")):
        action(growing)
    assert torch.equal(module(batch), before)


def test_a_network_that_cannot_run_is_a_network_error():
    with pytest.raises(NetworkError, match=r"cannot be traced with an input of shape \(2, 3\)"):
        ExpandableNetwork(nn.Linear(4, 2), torch.randn(2, 3))


def sizes(module):
    """All numbers that layers keep: their sizes, and whatever else a layer is told."""
    return {
        name: {key: value for key, value in vars(layer).items() if isinstance(value, int | float | tuple)}
        for name, layer in module.named_modules()
    }


@pytest.mark.parametrize("name", ["mlp", "convnet", "depthwise"])
def test_trying_out_groups_takes_sizes_in_layers_back(name):
    module, batch = network_and_batch(name)
    before = sizes(module)
    assert any("in_features" in numbers for numbers in before.values())
    assert ExpandableNetwork(module, batch).groups
    assert sizes(module) == before


def test_a_failure_after_the_change_takes_sizes_in_layers_back(monkeypatch):
    module, batch = built_in("convnet")
    growing = ExpandableNetwork(module, batch)
    before = sizes(module)
    found = []

    def fail(*arguments):
        found.append(sizes(module))
        raise RuntimeError("after the change")

    monkeypatch.setattr("autogrow.network.optimizer.cohorts.Cohorts.commit", fail)
    with pytest.raises(NetworkError, match="after the change"):
        growing.widen_groups(half_more(growing))
    assert found[0] != before  # it had been made
    assert sizes(module) == before


def test_a_failure_on_the_way_leaves_everything_as_it_was(monkeypatch):
    module, batch = built_in("resnet")
    growing = ExpandableNetwork(module, batch)
    optimizer = torch.optim.Adam(module.parameters())
    parameters, widths = list(module.parameters()), growing.widths

    def out_of_memory(*arguments):
        raise torch.OutOfMemoryError("no memory for the moments")

    monkeypatch.setattr("autogrow.network.optimizer.cohorts.Cohorts.prepare", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        growing.widen_groups(half_more(growing), optimizer=optimizer)
    assert growing.widths == widths
    assert all(now is then for now, then in zip(module.parameters(), parameters, strict=True))
    assert all(now is then for now, then in zip(optimizer.param_groups[0]["params"], parameters, strict=True))


def test_random_initialization_is_a_function_of_the_generator():
    weights = []
    for seed in (0, 0, 1):
        module, batch = built_in("convnet")
        growing = ExpandableNetwork(module, batch)
        growing.widen("3", 4, generator=torch.Generator().manual_seed(seed))
        weights.append(module[3].weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def _saved(module):
    import io

    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    return buffer
