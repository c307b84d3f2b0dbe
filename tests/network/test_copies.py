"""Networks that keep tensors of their last pass can be looked at and grown like others; what cannot is named."""

import copy
import threading
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from autogrow.network.measuring.gradient_gain import gradient_gain
from autogrow.network.measuring.sensitivity import sensitivity
from autogrow.network.running.copying import copied

BATCH = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0, 1, 2, 0])


class Keeps(nn.Module):
    """Keeps what it computed, in the way that the case says."""

    def __init__(self, keep=None):
        super().__init__()
        self.a, self.b, self.keep = nn.Linear(6, 8), nn.Linear(8, 3), keep

    def forward(self, x):
        hidden = F.relu(self.a(x))
        if self.keep is not None:
            self.keep(self, hidden)
        return self.b(hidden)


@dataclass
class Record:
    features: torch.Tensor
    inner: dict


class Listener:
    """Its method is registered as a hook, and keeps what the hook is given."""

    def __init__(self):
        self.seen = []

    def __call__(self, layer, inputs, output):
        self.seen.append(output)


def as_buffer(module, hidden):
    module.register_buffer("last", hidden.mean(0), persistent=False)


KINDS = {
    "attribute": lambda module, hidden: setattr(module, "seen", hidden),
    "list": lambda module, hidden: setattr(module, "seen", [hidden, hidden * 2]),
    "nested": lambda module, hidden: setattr(module, "seen", {"maps": [{"x": (hidden,)}]}),
    "object": lambda module, hidden: setattr(module, "seen", Record(hidden, {"y": hidden})),
    "partial": lambda module, hidden: setattr(module, "seen", partial(torch.add, hidden)),
    "child": lambda module, hidden: setattr(module.a, "seen", hidden),
    "buffer": as_buffer,
}


def used(keep):
    torch.manual_seed(0)
    module = Keeps(keep)
    F.cross_entropy(module(BATCH), CLASSES).backward()
    return module


def loss(module):
    return F.cross_entropy(module(BATCH), CLASSES)


@pytest.mark.parametrize("keep", KINDS.values(), ids=KINDS)
class TestKeptTensors:
    def test_pytorch_itself_refuses_to_copy_it(self, keep):
        with pytest.raises(RuntimeError, match="deepcopy"):
            copy.deepcopy(used(keep))

    @pytest.mark.slow
    def test_groups_are_found_and_grown(self, keep):
        module = used(keep)
        growing = ExpandableNetwork(module, BATCH)
        before = module(BATCH)
        optimizer = torch.optim.Adam(module.parameters())
        for initialization in ("zero_fan_out", "split", "gradient_max", "tiny"):
            loss(module).backward()
            optimizer.step()
            growing.widen("a", 2, initialization=initialization, optimizer=optimizer, loss=loss)
        assert growing.widths == {"a": 16} and before.shape == module(BATCH).shape
        loss(module).backward()

    def test_it_is_measured(self, keep):
        growing = ExpandableNetwork(used(keep), BATCH)
        loss(growing.module)
        assert gradient_gain(growing, {"a": 1}, loss, BATCH)["a"] > 0
        assert sensitivity(growing, ["a"], loss, noise=0.1, repeats=1, seed=0)["a"] > 0
        assert growing.twin().module is not growing.module


def test_values_are_copied_and_what_was_one_stays_one():
    module = used(lambda module, hidden: setattr(module, "seen", [hidden, {"again": hidden}]))
    other = copied(module)
    first, second = other.seen[0], other.seen[1]["again"]
    assert first is second and first is not module.seen[0]
    assert torch.equal(first, module.seen[0]) and first.grad_fn is None
    assert module.seen[0].grad_fn is not None
    assert all(torch.equal(one, two) for one, two in zip(module.parameters(), other.parameters(), strict=True))


def test_hooks_that_keep_tensors_are_no_hindrance():
    module = Keeps()
    listener = Listener()
    module.a.register_forward_hook(listener)
    loss(module).backward()
    growing = ExpandableNetwork(module, BATCH)
    assert len(listener.seen) == 1  # the hook of the copy keeps in a list of its own
    growing.widen("a", 1, initialization="tiny", loss=loss)


def test_what_cannot_be_copied_is_named_with_its_module():
    class Locked(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
            self.a.guard = threading.Lock()

        def forward(self, x):
            return self.b(F.relu(self.a(x)))

    with pytest.raises(NetworkError, match=r"cannot be copied: its attribute 'a.guard': TypeError: cannot pickle"):
        ExpandableNetwork(Locked(), BATCH)


class TestRandomInEvalMode:
    class Dropping(nn.Module):
        """`F.dropout` drops in eval mode too, unless told otherwise."""

        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.c(F.relu(self.b(F.dropout(F.relu(self.a(x)), 0.5))))

    def test_a_width_that_random_numbers_depend_on_is_fixed_with_that_reason(self):
        torch.manual_seed(0)
        reasons = {group.name: group.reason for group in ExpandableNetwork(self.Dropping(), BATCH).fixed}
        assert "random in eval mode (two equal passes differ" in reasons["a"]

    def test_others_grow(self):
        torch.manual_seed(0)
        module = self.Dropping()
        growing = ExpandableNetwork(module, BATCH)
        assert growing.widths == {"b": 8}
        state = torch.get_rng_state()
        growing.widen("b", 3)
        assert torch.equal(torch.get_rng_state(), state)
        loss(module.train()).backward()

    def test_a_network_that_counts_its_passes_says_that_they_differ(self):
        class Counting(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.passes = nn.Linear(6, 8), nn.Linear(8, 3), 0

            def forward(self, x):
                self.passes += 1
                return self.b(self.a(x)) * self.passes

        reasons = {group.name: group.reason for group in ExpandableNetwork(Counting(), BATCH).fixed}
        assert "two equal passes in eval mode differ" in reasons["a"]


class TestLazyLayers:
    def lazy(self):
        return nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3))

    def test_their_weights_are_those_of_a_first_pass(self):
        torch.manual_seed(5)
        module = self.lazy()
        growing = ExpandableNetwork(module, BATCH)
        torch.manual_seed(5)
        other = self.lazy()
        other.eval()(BATCH)
        assert growing.widths == {"0": 8} and module.training
        assert all(torch.equal(one, two) for one, two in zip(module.parameters(), other.parameters(), strict=True))

    def test_a_pass_that_fails_changes_nothing(self):
        module = nn.Sequential(nn.LazyLinear(8), nn.Linear(9, 3))
        state = torch.get_rng_state()
        with pytest.raises(NetworkError, match=r"lazy layers cannot take their sizes from an input of shape \(4, 6\)"):
            ExpandableNetwork(module, BATCH)
        assert type(module[0]) is nn.LazyLinear and torch.equal(torch.get_rng_state(), state)

    def test_layers_that_no_pass_comes_to_are_named(self):
        class Unused(Keeps):
            def __init__(self):
                super().__init__()
                self.extra = nn.LazyLinear(4)

        with pytest.raises(NetworkError, match="lazy layers without sizes: 'extra.weight', 'extra.bias'"):
            ExpandableNetwork(Unused(), BATCH)
