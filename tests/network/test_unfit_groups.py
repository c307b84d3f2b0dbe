"""Groups that a trace would offer, but whose tensors or widths are kept in a way that growth would not follow."""

import pytest
import torch
from torch import nn

import autogrow

pytestmark = pytest.mark.usefixtures("one_thread")


class KeyedAdapter(nn.Module):
    """In the manner of peft: several adapters by name, and a dictionary for each setting."""

    def __init__(self, first="down", second="up", rank=4):
        super().__init__()
        self.base = nn.Linear(6, 5)
        self.r, self.scaling = {"default": rank}, {"default": 2.0}
        self.first, self.second = first, second
        setattr(self, first, nn.ModuleDict({"default": nn.Linear(6, rank, bias=False)}))
        setattr(self, second, nn.ModuleDict({"default": nn.Linear(rank, 5, bias=False)}))

    def forward(self, x):
        down, up = getattr(self, self.first)["default"], getattr(self, self.second)["default"]
        return self.base(x) + up(down(x)) * self.scaling["default"]


class BareAdapter(nn.Module):
    """In the manner of loralib: parameters of the layer itself."""

    def __init__(self, rank=4):
        super().__init__()
        self.base = nn.Linear(6, 5)
        self.r, self.scaling = rank, 8 / rank
        self.lora_A, self.lora_B = nn.Parameter(torch.randn(rank, 6)), nn.Parameter(torch.randn(5, rank))

    def forward(self, x):
        return self.base(x) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling


class Factors(nn.Module):
    """A weight of low rank, which is no adapter: nothing else states its rank."""

    def __init__(self, rank=4):
        super().__init__()
        self.rank, self.scale, self.settings = rank, 8 / rank, {"rank": rank, "default": 3}
        self.down, self.up = nn.Linear(6, rank, bias=False), nn.Linear(rank, 5)

    def forward(self, x):
        return self.up(self.down(x)) * self.scale


def growing(layer):
    torch.manual_seed(0)
    return autogrow.ExpandableNetwork(nn.Sequential(nn.Linear(3, 6), nn.Tanh(), layer, nn.Tanh(), nn.Linear(5, 2)),
                                      torch.randn(4, 3))  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "rank", "reason"),
    [
        (KeyedAdapter("lora_A", "lora_B"), "2.lora_A.default", "it is the rank of a low-rank adapter"),
        (BareAdapter(), "2", "it is the rank of a low-rank adapter"),
        (KeyedAdapter(), "2.down.default", r"2.r['default'] keeps its width and would not follow"),
    ],
)
def test_the_rank_of_an_adapter_is_fixed_and_the_rest_grows(layer, rank, reason):
    network = growing(layer)
    fixed = {group.name: group.reason for group in network.fixed}
    assert reason in fixed[rank], fixed
    assert set(network.widths) == {"0", "2.base"}
    batch = torch.randn(4, 3)
    before = network.module(batch)
    network.widen_groups({"0": 2, "2.base": 3})
    assert torch.allclose(network.module(batch), before, atol=1e-6)


def test_the_rank_of_plain_factors_grows():
    network = growing(Factors())
    assert "2.down" in network.widths
    network.widen("2.down", 2)


class Marked(nn.Parameter):
    """A user's own class, of which nobody knows how another is made."""


def test_a_tensor_of_another_class_is_fixed():
    module = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    module[2].bias = Marked(module[2].bias.detach())
    network = autogrow.ExpandableNetwork(module, torch.randn(4, 3))
    assert set(network.widths) == {"0"}
    assert {group.name: group.reason for group in network.fixed}[
        "2"
    ] == "'2.bias' cannot change its size: it is a Marked, not a plain tensor"
    network.widen("0", 2)
    assert type(module[2].bias) is Marked


class TiedTokens(nn.Module):
    """Tokens are read with the weights that they were written with, and nothing else holds their units."""

    def __init__(self):
        super().__init__()
        self.tokens, self.head = nn.Embedding(7, 6), nn.Linear(6, 7)
        self.head.weight = self.tokens.weight

    def forward(self, x):
        return self.head(torch.relu(self.tokens(x)))


def test_units_that_only_a_tied_weight_holds_are_listed_with_the_reason():
    growing = autogrow.ExpandableNetwork(TiedTokens(), torch.randint(7, (4, 3)))
    reasons = {group.name: group.reason for group in growing.fixed}
    assert growing.groups == () and "vocabulary" in reasons["tokens"]
    assert "outputs change" in reasons["tokens[0:6]"]
