"""Removing units by number does what silencing them does, or is refused."""

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.changes import Narrow
from tests.network.networks import BUILT_IN, USER_NETWORKS, batch_of, built_in, user_network
from tests.network.untouched import untouched

pytestmark = pytest.mark.usefixtures("one_thread")


class Split(nn.Module):
    """The first three units go another way; how many they are is written here."""

    def __init__(self):
        super().__init__()
        self.units, self.plain, self.head = nn.Linear(4, 8), nn.Linear(4, 6), nn.Linear(8, 2)
        self.left = nn.Linear(6, 2)

    def forward(self, x):
        units = self.units(x)
        units = torch.cat([torch.tanh(units[:, :3]), torch.relu(units[:, 3:])], 1)
        return self.head(units) + self.left(torch.relu(self.plain(x)))


@pytest.fixture
def split():
    torch.manual_seed(0)
    return ExpandableNetwork(Split(), batch_of((4,)))


def test_units_that_are_told_apart_by_their_places_go_only_where_nothing_else_moves(split):
    assert split.widths == {"units": 8, "plain": 6}
    for gone in ([0], [2, 5]):
        with (
            untouched(split.module),
            pytest.raises(NetworkError, match="group 'units': outputs differ by .* by their pl"),
        ):
            split.apply([Narrow({"units": gone})])
    split.apply([Narrow({"units": [4, 7], "plain": [0]})])
    assert split.widths == {"units": 6, "plain": 5}


def test_such_groups_are_listed(split):
    with untouched(split.module):
        found = split.inexact_removals()
    assert found.keys() == {"units"} and "written in forward" in found["units"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BUILT_IN, *USER_NETWORKS])
def test_of_other_networks_any_unit_can_go(name):
    module, batch = built_in(name) if name in BUILT_IN else user_network(name)
    growing = ExpandableNetwork(module, batch)
    assert growing.inexact_removals() == {}
    growing.apply([Narrow({group: [0, width - 2] for group, width in growing.widths.items() if width > 2})])


def test_a_network_that_has_diverged_can_lose_units_all_the_same(split):
    split.module.head.bias.data[0] = torch.nan
    split.apply([Narrow({"plain": [0]})])
    assert split.widths["plain"] == 5


def test_half_precision_is_no_hindrance():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)).bfloat16()
    growing = ExpandableNetwork(module, batch_of((4,)).bfloat16())
    growing.apply([Narrow({"0": [*range(0, 64, 3)], "2": [1, 5, 40]})])
    assert growing.widths == {"0": 42, "2": 61}


def test_a_pass_that_fails_at_the_new_width_is_one_line(split):
    split.module.plain.register_forward_hook(lambda layer, inputs, output: output.view(-1, 6))
    with (
        untouched(split.module),
        pytest.raises(NetworkError, match="the network fails at this width: .*shape") as raised,
    ):
        split.apply([Narrow({"plain": [0]})])
    assert "\n" not in str(raised.value) and split.widths["plain"] == 6
