"""Whatever is offered widens alone by any number and together with all others; groups tied to each other say so."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from autogrow.network.resizing.group_trials import NUMBERS, inexact_groups


class ToldProbe:
    """Stands for a network of which it is known which widenings are exact."""

    def __init__(self, is_exact):
        self._is_exact = is_exact
        self.trials = []

    def problem_with(self, added, in_train_mode=False):
        self.trials.append(dict(added))
        return None if self._is_exact({**added}) else "outputs change"


def names(count):
    return [f"g{number}" for number in range(count)]


class TestPlanOfTrials:
    @pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 33, 120])
    def test_any_two_groups_are_apart_in_some_trial_and_together_in_another(self, count):
        probe = ToldProbe(lambda added: True)
        assert inexact_groups(probe, names(count)) == {}
        for one in names(count):
            assert {trial[one] for trial in probe.trials if one in trial} >= set(NUMBERS)
            for other in names(count):
                if one != other:
                    assert any(one in trial and other not in trial for trial in probe.trials)
        assert any(len(trial) == count for trial in probe.trials)
        assert len(probe.trials) <= 2 + (6 if count <= 20 else 9)

    @pytest.mark.parametrize("count", [2, 5, 40])
    @pytest.mark.parametrize("ratio", [1, 2, 4])
    def test_two_groups_tied_by_any_ratio_are_found(self, count, ratio):
        first, second = names(count)[0], names(count)[-1]
        probe = ToldProbe(lambda added: added.get(first, 0) == ratio * added.get(second, 0))
        assert inexact_groups(probe, names(count)).keys() == {first, second}

    def test_three_groups_that_are_tied_name_each_other(self):
        tied = ["g1", "g4", "g6"]
        probe = ToldProbe(lambda added: len({added.get(name, 0) for name in tied}) == 1)
        reasons = inexact_groups(probe, names(9))
        assert reasons.keys() == set(tied)
        assert reasons["g4"] == "it is exact only together with 'g1', 'g6', by as many units"

    def test_two_ties_are_told_apart(self):
        pairs = [("g0", "g3"), ("g2", "g5")]
        probe = ToldProbe(lambda added: all(added.get(one, 0) == added.get(other, 0) for one, other in pairs))
        reasons = inexact_groups(probe, names(6))
        assert {name: reason.split("'")[1] for name, reason in reasons.items()} == {
            "g0": "g3", "g3": "g0", "g2": "g5", "g5": "g2"
        }  # fmt: skip

    def test_groups_at_fault_are_found_among_many_with_few_trials(self):
        probe = ToldProbe(lambda added: not {"g7", "g60"} & added.keys())
        assert inexact_groups(probe, names(120)) == {"g7": "outputs change", "g60": "outputs change"}
        assert len(probe.trials) < 60

    def test_a_group_that_grows_only_by_even_numbers_is_no_group(self):
        probe = ToldProbe(lambda added: added.get("g2", 0) % 2 == 0)
        assert inexact_groups(probe, names(5)).keys() == {"g2"}

    def test_groups_that_disturb_each_other_only_together_leave_one(self):
        probe = ToldProbe(lambda added: not {"g1", "g3"} <= added.keys())
        assert inexact_groups(probe, names(5)) == {"g3": "outputs change when it is widened together with 'g1'"}


class GroupedQueries(nn.Module):
    """Heads of queries that share keys and values, as in Llama, Mistral, Qwen and Phi."""

    def __init__(self, spread):
        super().__init__()
        self.stem = nn.Linear(12, 32)
        self.q, self.k, self.v, self.o = nn.Linear(32, 32), nn.Linear(32, 16), nn.Linear(32, 16), nn.Linear(32, 5)
        self.spread = spread

    def forward(self, x):
        x = self.stem(x)
        q, k, v = (each(x).unflatten(-1, (-1, 8)).transpose(1, 2) for each in (self.q, self.k, self.v))
        return self.o(self.spread(q, k, v).transpose(1, 2).flatten(2))


def repeated(q, k, v):
    times = q.shape[1] // k.shape[1]
    return F.scaled_dot_product_attention(q, k.repeat_interleave(times, 1), v.repeat_interleave(times, 1))


def expanded(q, k, v):
    batch, heads, length, size = k.shape
    times = q.shape[1] // heads
    k, v = (
        each[:, :, None].expand(batch, heads, times, length, size).reshape(batch, -1, length, size) for each in (k, v)
    )
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def by_option(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def written_out(q, k, v):
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
    return (q @ k.transpose(-1, -2) / 8**0.5).softmax(-1) @ v


@pytest.mark.slow
@pytest.mark.parametrize("spread", [repeated, expanded, by_option, written_out])
def test_heads_that_share_keys_and_values_are_one_group(spread):
    torch.manual_seed(0)
    module, batch = GroupedQueries(spread), torch.randn(2, 7, 12)
    growing = ExpandableNetwork(module, batch)
    heads = {group.name: group for group in growing.groups}["q"]
    assert heads.width == 2
    assert {str(each) for each in heads.members} == {"q (out)", "k (out)", "v (out)", "o (in)"}
    for number in NUMBERS:
        twin = growing.twin()
        twin.widen("q", number)
        assert twin.module.q.weight.shape[0] == 32 + 16 * number and twin.module.k.weight.shape[0] == 16 + 8 * number
        assert (twin.module(batch) - module(batch)).abs().max() <= 1e-5
        twin.module(batch).square().mean().backward()


def test_a_bias_per_head_grows_with_the_heads():
    class Biased(GroupedQueries):
        def __init__(self):
            super().__init__(self.attended)
            self.k, self.v, self.bias = nn.Linear(32, 32), nn.Linear(32, 32), nn.Parameter(torch.randn(4, 7, 7))

        def attended(self, q, k, v):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)

    torch.manual_seed(0)
    module, batch = Biased(), torch.randn(2, 7, 12)
    growing = ExpandableNetwork(module, batch)
    before = module(batch)
    (heads,) = [group.name for group in growing.groups if "q (out)" in map(str, group.members)]
    growing.widen(heads, 3)
    assert module.bias.shape == (7, 7, 7)
    assert (module(batch) - before).abs().max() <= 1e-5


def test_layers_tied_by_code_that_no_trace_follows_name_each_other():
    class Tied(nn.Module):
        """The sum over units needs as many of the one as of the other; `tolist` hides that."""

        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 2)
            self.d = nn.Linear(6, 2)

        def forward(self, x):
            a, b = torch.relu(self.a(x)), torch.relu(self.b(x))
            if a.shape[1] != b.shape[1]:
                raise ValueError(f"{a.shape[1]} beside {b.shape[1]}")
            return self.c(a) + self.d(b)

    growing = ExpandableNetwork(Tied(), torch.randn(3, 4))
    assert growing.groups == ()
    reasons = {group.name: group.reason for group in growing.fixed}
    assert reasons["a"] == "it is exact only together with 'b', by as many units"
    assert reasons["b"] == "it is exact only together with 'a', by as many units"


def test_what_breaks_after_the_groups_were_found_is_one_line_and_changes_nothing():
    class Strict(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.largest = nn.Linear(4, 6), nn.Linear(6, 2), 100

        def forward(self, x):
            hidden = self.a(x)
            if hidden.shape[1] > self.largest:
                raise RuntimeError("too wide")
            return self.b(hidden)

    module, batch = Strict(), torch.randn(3, 4)
    growing = ExpandableNetwork(module, batch)
    module.largest = 7
    parameters = list(module.parameters())
    with pytest.raises(NetworkError, match="the network fails at this width: RuntimeError: too wide"):
        growing.widen("a", 2, optimizer=torch.optim.Adam(module.parameters()))
    assert all(now is then for now, then in zip(module.parameters(), parameters, strict=True))
    assert growing.widths == {"a": 6} and module.a.out_features == 6
    with pytest.raises(NetworkError, match="the network fails on the calibration input: RuntimeError"):
        growing.widen("a", 1, calibration_input=torch.randn(3, 5))
    assert growing.widths == {"a": 6}
    growing.widen("a", 1)


def test_a_depthwise_weight_that_is_taken_apart_and_put_together_grows_with_its_channels():
    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv1d(3, 8, 1), nn.Conv1d(8, 4, 1)
            self.c = nn.Conv1d(8, 8, 3, padding=1, groups=8)

        def forward(self, x):
            hidden, weight = self.a(x), self.c.weight.squeeze(1)
            hidden = F.conv1d(hidden, weight.unsqueeze(1), self.c.bias, padding=1, groups=hidden.shape[1])
            return self.b(hidden.relu()).mean(-1)

    torch.manual_seed(0)
    module, batch = Squeezed(), torch.randn(2, 3, 10)
    growing = ExpandableNetwork(module, batch)
    assert {str(each) for each in growing.groups[0].members} == {"a (out)", "c (out)", "b (in)"}
    before = copy.deepcopy(module)(batch)
    growing.widen("a", 3)
    assert (module(batch) - before).abs().max() <= 1e-5
