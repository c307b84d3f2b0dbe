"""Deepening leaves the network's function as it is; what was added widens, trains, is saved, and is taken back."""

import copy
import io
import math
import types

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from autogrow.policy.limits import SizeLimits
from tests.network.networks import warmed_up
from tests.network.optimizers import push, train
from tests.network.staged_networks import (
    EXPECTED_STAGES,
    InTurn,
    Residual,
    assert_close,
    described,
    every_network,
    growing_network,
    one_more,
    outputs,
    staged_network,
)

LEARNING_RATE = 0.01


@pytest.mark.slow
@every_network
class TestEveryNetwork:
    @pytest.mark.parametrize("widths", [1.0, 0.5], ids=["full width", "half width"])
    def test_outputs_stay_and_widening_does_too(self, name, widths):
        growing, batch = growing_network(name, widths)
        before = outputs(growing.module, batch)
        for number in (1, 2):
            parameters = growing.num_parameters
            deepening = growing.deepen_stages(dict.fromkeys(growing.blocks, number), calibration_input=batch)
            assert deepening.parameters_before == parameters < deepening.parameters_after == growing.num_parameters
            assert_close(outputs(growing.module, batch), before)
        assert growing.blocks == {stage: number + 3 for stage, number in EXPECTED_STAGES[name].items()}
        assert growing.cohorts.num_events == 2
        growing.widen_groups({group.name: 2 for group in growing.groups}, calibration_input=batch)
        assert_close(outputs(growing.module, batch), before)
        for group in growing.groups[::3]:
            growing.keep_units(group, range(group.width - 2))
        assert_close(outputs(growing.module, batch), before)

    def test_the_structure_is_that_of_a_network_written_so(self, name):
        growing, batch = growing_network(name)
        growing.deepen_stages(one_more(growing))
        traced = ExpandableNetwork(copy.deepcopy(growing.module), batch, verify=False)
        assert described(growing.structure) == described(traced.structure)
        assert growing.blocks == traced.blocks

    def test_every_new_group_widens_alone(self, name):
        growing, batch = growing_network(name)
        old = set(growing.widths)
        growing.deepen_stages(one_more(growing))
        push(growing.module, torch.optim.SGD(growing.module.parameters(), LEARNING_RATE), 1.0)
        before = outputs(growing.module, batch)
        new = [group for group in growing.groups if group.name not in old]
        assert len({group.name for group in new}) == len(new) > 0
        for group in new:
            growing.widen(group, 3)
            assert_close(outputs(growing.module, batch), before)

    def test_removing_and_adding_again_gives_the_same_structure(self, name):
        growing, batch = growing_network(name)
        full, blocks, keys = described(growing.structure), growing.blocks, list(growing.module.state_dict())
        growing.start_shallow(dict.fromkeys(blocks, 1))
        short = described(growing.structure)
        traced = ExpandableNetwork(copy.deepcopy(growing.module), batch, verify=False)
        found = [group[1:] for group in described(traced.structure)["groups"]]
        assert [group[1:] for group in short["groups"] if group[1:] not in found] == []
        growing.widen_groups(dict.fromkeys(growing.widths, 1))
        for group in growing.groups:
            growing.keep_units(group, range(group.width - 1))
        growing.deepen_stages({stage: number - 1 for stage, number in blocks.items() if number > 1})
        assert described(growing.structure) == full
        assert list(growing.module.state_dict()) == keys
        growing.deepen_stages(one_more(growing))
        growing.set_blocks(blocks)
        assert described(growing.structure) == full

    def test_new_blocks_learn(self, name):
        growing, batch = growing_network(name)
        old = set(growing.module.state_dict())
        optimizer = torch.optim.SGD(growing.module.parameters(), LEARNING_RATE)
        growing.deepen_stages(one_more(growing), optimizer=optimizer, calibration_input=batch)
        train(growing.module, optimizer, batch, 1)
        assert self.with_gradient(growing.module) - old
        train(growing.module, optimizer, batch, 2)
        matrices = {key for key, value in growing.module.named_parameters() if value.dim() > 1}
        assert matrices - old <= self.with_gradient(growing.module)

    @staticmethod
    def with_gradient(module):
        return {key for key, value in module.named_parameters() if value.grad is not None and value.grad.any()}

    def test_saved_networks_load(self, name):
        growing, batch = growing_network(name)
        growing.start_small({group.name: math.ceil(0.6 * group.width) for group in growing.groups})
        growing.deepen_stages(one_more(growing))
        growing.widen_groups({group.name: index % 3 + 1 for index, group in enumerate(growing.groups)})
        saved = io.BytesIO()
        torch.save(growing.module.state_dict(), saved)
        saved.seek(0)
        loaded, _ = growing_network(name)
        loaded.set_blocks(growing.blocks)
        loaded.set_widths(growing.widths)
        loaded.module.load_state_dict(torch.load(saved, weights_only=True))
        assert described(loaded.structure) == described(growing.structure)
        for one, other in zip(outputs(loaded.module, batch), outputs(growing.module, batch), strict=True):
            assert torch.equal(one, other)

    def test_copies_are_independent(self, name):
        growing, batch = growing_network(name)
        growing.deepen_stages(one_more(growing))
        blocks, before = growing.blocks, outputs(growing.module, batch)
        for other in (copy.deepcopy(growing), growing.twin()):
            assert other.blocks == blocks
            other.deepen_stages(one_more(other), initialization="random")
        assert growing.blocks == blocks
        assert_close(outputs(growing.module, batch), before)


class TestNewBlocks:
    def test_stay_plain(self):
        growing, _ = growing_network("resnet")
        growing.deepen("stages.1")
        block = growing.module.stages[1][-1]
        assert type(block) is type(growing.module.stages[1][0])
        assert all(type(parameter) is nn.Parameter for parameter in block.parameters())
        assert block.training
        growing.module.eval()
        growing.deepen("stages.1")
        assert not any(layer.training for layer in growing.module.modules())

    @pytest.mark.parametrize(
        ("name", "stage", "zero"),
        [
            ("resnet", "stages.1", ["bn2.bias", "bn2.weight"]),
            ("preact", "body.stages.1", ["bn1.bias", "bn2.bias", "conv2.weight"]),
            ("convnext", "body.stages.0", ["norm.bias", "scale"]),
            ("residual mlp", "trunk.0", ["f.2.bias", "f.2.weight"]),
            ("gated mlp", "1", ["gate"]),
            ("attention in a list", "blocks",
             ["attention.in_proj_bias", "attention.out_proj.bias", "attention.out_proj.weight", "mlp.2.bias",
              "mlp.2.weight", "norm1.bias", "norm2.bias"]),
        ],
    )  # fmt: skip
    def test_are_zero_where_a_branch_ends(self, name, stage, zero):
        growing, _ = growing_network(name)
        growing.deepen(stage)
        block = list(growing.module.get_submodule(stage).children())[-1]
        assert set(zero) - {"bn1.bias"} <= {key for key, value in block.named_parameters() if not value.any()}
        assert {key for key, value in block.named_parameters() if not value.any()} <= {*zero, "bn1.bias"}

    def test_start_with_the_variance_that_their_width_asks_for(self):
        growing, _ = growing_network("resnet18")
        growing.widen_groups(dict.fromkeys(growing.widths, 30))
        growing.deepen("stages.1")
        weight = growing.module.stages[1][-1].conv1.weight
        assert weight.std().item() == pytest.approx(math.sqrt(2 / weight[0].numel()), rel=0.05)

    def test_are_as_wide_as_the_block_before(self):
        growing, _ = growing_network("resnet")
        growing.start_shallow({"stages.1": 1})
        growing.start_small({"stages.1.0.conv1": 5, "stages.1.0.conv2": 7})
        growing.deepen("stages.1", 2)
        assert [block.conv1.out_channels for block in growing.module.stages[1]] == [5, 5, 5]
        assert [block.conv2.out_channels for block in growing.module.stages[1]] == [7, 7, 7]
        assert growing.structure.groups["stages.1.2.conv1"].full_width == 12

    def test_return_in_the_form_that_stood_there(self):
        """Blocks that are not alike: a place that was filled gets its own block, later ones copies of the last."""
        growing, _ = growing_network("different widths")
        growing.start_shallow({"1": 1})
        growing.deepen("1", 3)
        row = growing.module[1]
        assert [block.f[0].out_features for block in row] == [9, 4, 7, 7]
        assert [hasattr(block, "gate") for block in row] == [False, False, True, True]

    def test_random_ones_change_the_outputs_and_depend_on_the_generator_alone(self):
        found = []
        for seed, glob in ((0, 1), (0, 2), (3, 1)):
            growing, batch = growing_network("bottleneck")
            before = outputs(growing.module, batch)
            torch.manual_seed(glob)
            state = torch.get_rng_state()
            generator = torch.Generator().manual_seed(seed)
            growing.deepen("body.stages.0", initialization="random", generator=generator, calibration_input=batch)
            assert torch.equal(torch.get_rng_state(), state)
            after = outputs(growing.module, batch)
            assert not torch.allclose(after[0], before[0], atol=1e-3)
            found.append(after)
        assert torch.equal(found[0][0], found[1][0])
        assert not torch.equal(found[0][0], found[2][0])

    def test_norms_start_with_measured_statistics(self):
        growing, batch = growing_network("preact")
        growing.module.eval()
        arriving = []
        growing.deepen("body.stages.1", calibration_input=batch)
        block = growing.module.body.stages[1][-1]
        handle = block.register_forward_pre_hook(lambda layer, inputs: arriving.append(inputs[0]))
        growing.module(batch)
        handle.remove()
        assert torch.allclose(block.bn1.running_mean, arriving[0].mean((0, 2, 3)), atol=1e-6)
        assert not torch.equal(block.bn2.running_var, torch.ones(6))

    def test_randomness_in_training_is_no_hindrance(self):
        torch.manual_seed(0)
        row = nn.Sequential(*(nn.Sequential(Residual(6, 9), nn.Dropout(0.5)) for _ in range(1)), Residual(6, 9))
        module, batch = nn.Sequential(nn.Linear(5, 6), row, nn.Linear(6, 3)), torch.randn(4, 5)
        growing = ExpandableNetwork(module, batch)
        state = torch.get_rng_state()
        growing.deepen("1")
        assert torch.equal(torch.get_rng_state(), state)
        assert len(row) == 3

    def test_follow_the_network_to_other_number_formats(self):
        growing, _ = growing_network("residual mlp")
        assert growing.blocks
        growing.module.double()
        growing.deepen("trunk.0")
        assert {parameter.dtype for parameter in growing.module.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda growing: growing.deepen("stages.3"), r"unknown stage 'stages.3'.*did you mean 'stages.\d'"),
        (lambda growing: growing.deepen("fc"), "'fc' is no stage: it is a Linear"),
        (lambda growing: growing.deepen("stages"), "'stages' is no stage: its last block '2' changes the shape"),
        (lambda growing: growing.deepen("stages.0", 0), "stage 'stages.0': cannot add 0 blocks, at least 1"),
        (lambda growing: growing.deepen("stages.0", initialization="zeros"), "did you mean 'zero'"),
        (
            lambda growing: growing.start_shallow({"stages.0": 3}),
            "stage 'stages.0' cannot start with 3 blocks, from 1 to 2",
        ),
        (
            lambda growing: growing.start_shallow({"stages.0": 0}),
            "stage 'stages.0' cannot start with 0 blocks, from 1 to 2",
        ),
        (lambda growing: growing.set_blocks({"stages.0": 0}), "stage 'stages.0' cannot have 0 blocks, at least 1"),
        (
            lambda growing: growing.deepen("stages.0", optimizer=torch.optim.SGD(growing.module.fc.parameters(), 0.1)),
            "parameter 'stages.0.2.conv1.weight' .* not in the SGD optimizer",
        ),
    ],
)
def test_impossible_changes_are_refused_and_change_nothing(action, message):
    growing, batch = growing_network("resnet")
    before = outputs(growing.module, batch)
    with pytest.raises(NetworkError, match=message):
        action(growing)
    assert growing.blocks == EXPECTED_STAGES["resnet"]
    assert all(torch.equal(now, then) for now, then in zip(outputs(growing.module, batch), before, strict=True))


def test_limits_hold():
    growing, batch = growing_network("resnet")
    growing.limits = SizeLimits(max_parameters=growing.num_parameters + 100)
    with pytest.raises(NetworkError, match="the network would exceed"):
        growing.deepen("stages.2")
    assert growing.blocks == EXPECTED_STAGES["resnet"]


def test_a_block_that_has_stopped_being_the_identity_is_refused():
    """A stage that was exact when it was found need not be so on what arrives later: it is checked at every event."""
    growing, batch = growing_network("resnet")
    assert growing.stages
    last = growing.module.stages[0][-1]
    last.forward = types.MethodType(lambda self, x: type(self).forward(self, x) - 1, last)
    with pytest.raises(NetworkError, match="stage 'stages.0': a new block cannot start as the identity"):
        growing.deepen("stages.0")
    assert growing.blocks == EXPECTED_STAGES["resnet"]


def test_an_input_of_one_example_is_enough():
    module, batch = staged_network("resnet")
    growing = ExpandableNetwork(module, batch[:1])
    before = outputs(module, batch)
    growing.deepen_stages(one_more(growing))
    assert_close(outputs(module, batch), before)


def test_several_inputs():
    class Masked(InTurn):
        def forward(self, x, mask):
            return super().forward(x * mask)

    class Scaled(Residual):
        def forward(self, x, scale):
            return x + scale * self.f(x)

    torch.manual_seed(0)
    module = warmed_up(Masked(Scaled(8, 5), Scaled(8, 5)))
    inputs = (torch.randn(6, 3, 5), torch.ones(6, 3, 1))
    growing = ExpandableNetwork(module, inputs)
    before = module(*inputs)
    growing.deepen("blocks", 2)
    assert (module(*inputs) - before).abs().max() <= 1e-5
