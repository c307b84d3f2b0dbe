"""Stages are found where blocks can be added and taken off, and only there."""

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from tests.network.networks import batch_of
from tests.network.staged_networks import (
    EXPECTED_STAGES,
    PreAct,
    Residual,
    assert_close,
    every_network,
    outputs,
    staged_network,
)


class TestFinding:
    @pytest.mark.slow
    @every_network
    def test_stages_of_networks_that_have_them(self, name):
        growing = ExpandableNetwork(*staged_network(name))
        stages = {stage.name: stage.num_blocks for stage in growing.stages}
        assert list(stages.items()) == list(EXPECTED_STAGES[name].items())
        assert all(stage.full_blocks == stage.num_blocks for stage in growing.stages)

    @pytest.mark.slow
    @every_network
    def test_leaves_the_network_and_the_random_state_alone(self, name):
        module, batch = staged_network(name)
        growing = ExpandableNetwork(module, batch, verify=False)
        for layer in list(module.children())[:1]:
            layer.eval()
        modes = [layer.training for layer in module.modules()]
        tensors = [(tensor, tensor.detach().clone()) for tensor in [*module.parameters(), *module.buffers()]]
        random = torch.get_rng_state()
        assert growing.stages
        assert torch.equal(torch.get_rng_state(), random)
        assert [layer.training for layer in module.modules()] == modes
        assert all(torch.equal(now, then) for now, then in tensors)
        assert all(not layer._forward_hooks and not layer._forward_pre_hooks for layer in module.modules())

    def test_is_not_done_before_it_is_needed(self, monkeypatch):
        def fail(*arguments):
            raise AssertionError("stages were looked for")

        monkeypatch.setattr("autogrow.network.deepenable.find_stages", fail)
        growing = ExpandableNetwork(*staged_network("preact"))
        growing.widen_groups(dict.fromkeys(growing.widths, 1))
        with pytest.raises(AssertionError, match="looked for"):
            assert growing.stages

    def test_the_network_itself_can_be_one(self):
        module = nn.Sequential(Residual(4, 5), Residual(4, 5))
        growing = ExpandableNetwork(module, torch.randn(3, 4))
        assert growing.blocks == {"": 2}
        growing.deepen("")
        growing.widen("2.f.0", 2)
        assert len(module) == 3 and module[2].f[0].out_features == 7

    def test_the_innermost_of_nested_rows_is_found_and_the_outer_one_can_be_named(self):
        def row():
            return nn.Sequential(Residual(4, 5), Residual(4, 5))

        torch.manual_seed(0)
        module, batch = nn.Sequential(nn.Linear(3, 4), nn.Sequential(row(), row()), nn.Linear(4, 2)), torch.randn(5, 3)
        growing = ExpandableNetwork(module, batch)
        assert growing.blocks == {"1.0": 2, "1.1": 2}
        before = outputs(module, batch)
        assert [(stage.name, stage.num_blocks) for stage in growing.add_stages(["1"])] == [("1", 2)]
        assert growing.blocks == {"1": 2}
        growing.deepen("1")
        assert [len(each) for each in module[1]] == [2, 2, 2]
        assert_close(outputs(module, batch), before)
        with pytest.raises(NetworkError, match="'1.0' cannot become a stage: '1' is one, and has changed its depth"):
            growing.add_stages(["1.0"])


class Plain(nn.Module):
    def __init__(self, width, after=None):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU())
        self.after = after

    def forward(self, x):
        y = self.body(x)
        return y if self.after is None else self.after(x + y)


class Ended(Plain):
    """The ReLU before the sum kills the gradient of whatever is zero before it."""

    def forward(self, x):
        return x + self.body(x)


class Listed(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.blocks = nn.ModuleList([Residual(4, 5), Residual(4, 5)])
        self.others = nn.ModuleList([nn.Identity(), nn.Identity()])
        self.run = run

    def forward(self, x):
        return self.run(self, x)


def _zipped(module, x):
    for block, other in zip(module.blocks, module.others, strict=False):
        x = block(other(x))
    return x


def _summed(module, x):
    total = 0
    for block in module.blocks:
        x = block(x)
        total = total + x
    return total


def _counted(module, x):
    return module.blocks[1](module.blocks[0](x))


class _Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.b1, self.b2 = Residual(4, 5), Residual(4, 5)

    def forward(self, x):
        return self.b2(self.b1(x))


class ByName(nn.Module):
    """Numbered blocks that are run by their names, not in turn."""

    def __init__(self):
        super().__init__()
        self.row, self.out = _Pair(), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.row(x))


SHARED = Residual(4, 5)
NO_STAGES = {
    "plain layers": (nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))), "0", "is a single layer"),
    "not residual": (nn.Sequential(nn.Sequential(Plain(4), Plain(4))), "0", "zero makes it one does not exist"),
    "norm last": (nn.Sequential(nn.Sequential(*(Plain(4, nn.LayerNorm(4)) for _ in "ab"))), "0", "does not exist"),
    "dead": (nn.Sequential(nn.Sequential(Ended(4), Ended(4))), "0", "cannot learn from there on"),
    "shared": (nn.Sequential(nn.Sequential(SHARED, SHARED)), "0", "shares parameters"),
    "shape": (nn.Sequential(nn.Sequential(PreAct(3, 4), PreAct(4, 6))), "0", r"changes the shape from \(6, 4, 8, 8\)"),
    "zip": (Listed(_zipped), "blocks", "a block that is added is not called"),
    "sum": (Listed(_summed), "blocks", "its place in the row matters"),
    "count": (Listed(_counted), "blocks", "without its later blocks the network fails: IndexError"),
    "unused": (Listed(lambda module, x: x + module.blocks[0](x)), "blocks", "is not called"),
    "by name": (ByName(), "row", "without its later blocks the network fails: AttributeError"),
    "no row": (Residual(4, 5), "f.0", "it is a Linear, not an nn.Sequential"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NO_STAGES)
def test_what_is_no_stage_is_not_found_and_named_with_its_reason(name):
    module, stage, reason = NO_STAGES[name]
    batch = batch_of((3, 8, 8) if name == "shape" else (4,))
    growing = ExpandableNetwork(module, batch, verify=False)
    assert growing.stages == ()
    with pytest.raises(NetworkError, match=f"{stage!r} is no stage: .*{reason}"):
        growing.add_stages([stage])
