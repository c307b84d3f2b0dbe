"""Groups are followed in train mode as well: what only training uses grows with the rest, and nothing of it is left."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from tests.network.untouched import untouched


class Auxiliary(nn.Module):
    """A head that only the training graph has; what it returns is joined as the case says."""

    def __init__(self, joined):
        super().__init__()
        self.stem, self.main, self.side, self.aux = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 5), nn.Linear(5, 3)
        self.joined = joined

    def forward(self, x):
        hidden = F.relu(self.stem(x))
        main = self.main(hidden)
        return self.joined(main, self.aux(F.relu(self.side(hidden)))) if self.training else main


JOINED = {
    "sum": lambda main, aux: main + 0.3 * aux,
    "tuple": lambda main, aux: (main, aux),
    "dict": lambda main, aux: {"out": main, "aux": [aux]},
}


def trains(module, batch):
    module.train()
    outputs = torch.utils._pytree.tree_leaves(module(batch))
    sum(leaf.square().mean() for leaf in outputs if isinstance(leaf, torch.Tensor)).backward()
    assert all(parameter.grad is not None for parameter in module.parameters() if parameter.requires_grad)


def batch_of(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("joined", JOINED.values(), ids=JOINED)
def test_a_head_of_training_alone_grows_with_what_it_reads(joined):
    torch.manual_seed(0)
    module, batch = Auxiliary(joined), batch_of(4, 6)
    growing = ExpandableNetwork(module, batch)
    assert growing.widths == {"stem": 8, "side": 5}
    assert {str(member) for member in growing.groups[0].members} == {"stem (out)", "main (in)", "side (in)"}
    reasons = {group.name: group.reason for group in growing.fixed}
    assert reasons.pop("main") == "it is the network's output"
    assert set(reasons.values()) <= {"it is the network's output in train mode"}
    growing.widen_groups({"stem": 2, "side": 3})
    assert module.side.weight.shape == (8, 10) and module.aux.weight.shape == (3, 8)
    trains(module, batch)


def test_an_output_of_training_alone_keeps_its_width():
    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            hidden = F.relu(self.stem(x))
            return (self.head(hidden), hidden) if self.training else self.head(hidden)

    growing = ExpandableNetwork(Features(), batch_of(4, 6))
    assert {group.name: group.reason for group in growing.fixed}["stem"] == "it is the network's output in train mode"


def test_code_of_training_that_counts_on_a_width_is_found():
    class Rigid(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x):
            hidden = F.relu(self.stem(x))
            return self.head(hidden * torch.ones(8)) if self.training else self.head(hidden)

    growing = ExpandableNetwork(Rigid(), batch_of(4, 6))
    assert growing.groups == ()
    assert "fails in train mode" in {group.name: group.reason for group in growing.fixed}["stem"]


class Disturbing(nn.Module):
    """Everything that a pass in train mode may leave behind."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.head = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.register_buffer("average", torch.zeros(8))
        self.passes, self.kept = 0, None

    def forward(self, x):
        hidden = F.dropout(F.relu(self.norm(self.stem(x))), 0.3, self.training)
        if self.training:
            self.passes += 1
            self.kept = hidden
            self.average = self.average + hidden.detach().mean(0)
            self.average += random.random() + np.random.random()
        return self.head(hidden + self.average)


def test_nothing_of_the_passes_is_left():
    module, batch = Disturbing(), batch_of(4, 6)
    before = random.getstate(), np.random.get_state()
    with untouched(module):
        ExpandableNetwork(module, batch)
    assert module.passes == 0 and module.kept is None and module.norm.num_batches_tracked == 0
    assert random.getstate() == before[0]
    assert all(np.array_equal(now, then) for now, then in zip(np.random.get_state(), before[1], strict=True))


def test_nothing_is_warned_of():
    """Checkpointing says that there are no gradients, which is so where nobody trains; warnings are errors in tests."""

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            hidden = self.stem(x)
            hidden = checkpoint(self.block, hidden, use_reentrant=True) if self.training else self.block(hidden)
            return self.head(F.relu(hidden))

    growing = ExpandableNetwork(Checkpointed(), batch_of(4, 6))
    assert growing.widths == {"stem": 8, "block": 8}


@pytest.mark.parametrize("draw", [lambda: torch.rand(()).item(), random.random, np.random.random])
def test_branches_that_training_takes_at_random_are_looked_for(draw):
    """Half of the passes take a branch that eval mode never does, so that four passes take both of them."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
            self.left, self.right = nn.Linear(8, 3), nn.Linear(8, 3)

        def forward(self, x):
            hidden = F.relu(self.stem(x))
            if not self.training:
                return self.head(hidden)
            return self.head(hidden) + (self.left if draw() < 0.5 else self.right)(hidden)

    growing = ExpandableNetwork(Branches(), batch_of(4, 6))
    members = {str(member) for member in growing.groups[0].members}
    assert members == {"stem (out)", "head (in)", "left (in)", "right (in)"}


def test_a_block_that_training_leaves_out_is_seen_in_eval_mode():
    class Dropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            hidden = F.relu(self.stem(x))
            return self.head(hidden if self.training else hidden + F.relu(self.block(hidden)))

    growing = ExpandableNetwork(Dropped(), batch_of(4, 6))
    assert {str(member) for member in growing.groups[0].members} == {
        "stem (out)", "block (in)", "block (out)", "head (in)"
    }  # fmt: skip


def test_a_norm_that_wants_more_than_one_example_gets_more():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    growing = ExpandableNetwork(module, batch_of(1, 6))
    assert growing.widths == {"0": 8}
    growing.widen("0", 2)
    trains(module, batch_of(4, 6))


class WithTargets(nn.Module):
    """Train mode asks for targets; whether another layer uses what the stem computes then, nobody can see."""

    def __init__(self, has_more):
        super().__init__()
        self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        if has_more:
            self.proposals = nn.Linear(8, 4)

    def forward(self, x, targets=None):
        if self.training and targets is None:
            raise ValueError("targets should not be none when in training mode")
        return self.head(F.relu(self.stem(x)))


def test_train_mode_that_cannot_run_is_left_out_where_eval_mode_has_seen_everything():
    assert ExpandableNetwork(WithTargets(has_more=False), batch_of(4, 6)).widths == {"stem": 8}


def test_train_mode_that_cannot_run_and_may_use_more_is_the_reason():
    growing = ExpandableNetwork(WithTargets(has_more=True), batch_of(4, 6))
    assert growing.groups == ()
    reasons = {group.name: group.reason for group in growing.fixed}
    assert "train mode fails" in reasons["stem"] and "targets should not be none" in reasons["stem"]
    assert "'proposals.bias'" in reasons["stem"] and "no pass uses it" in reasons["proposals"]
    with pytest.raises(NetworkError, match="train mode fails"):
        growing.widen("stem", 1)
