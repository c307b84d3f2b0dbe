"""State of every stock optimizer across growth: old entries keep theirs, new ones start as the class starts."""

import copy
import logging

import pytest
import torch
from torch import nn

from autogrow.network import ExpandableNetwork
from autogrow.network.optimizer.optimizer_state import carried_state, give_state, insert_parameters, remove_parameters
from autogrow.network.resizing.tensor_change import TensorChange
from autogrow.network.structure.layout import NEW
from tests.network.networks import batch_of
from tests.network.optimizers import LEARNING_RATE, OPTIMIZERS, old_block, train, trained, values_of, widen_all

CANNOT_FOLLOW = ("adafactor", "lbfgs")
STARTS = {"rprop": {"step_size": LEARNING_RATE}, "adagrad, fused": {"sum": 0.1}}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", OPTIMIZERS)
class TestEveryClass:
    @pytest.mark.slow
    def test_old_entries_keep_their_state_and_new_ones_start_afresh(self, name):
        growing, optimizer, _ = trained(name)
        before = [copy.deepcopy(optimizer.state[p]) for p in growing.module.parameters()]
        shapes = [p.shape for p in growing.module.parameters()]
        widen_all(growing, optimizer)
        checked = 0
        for parameter, state, shape in zip(growing.module.parameters(), before, shapes, strict=True):
            now = optimizer.state.get(parameter, {})
            assert now.keys() == state.keys() or name in CANNOT_FOLLOW
            for key in now:
                value = state[key]
                if not isinstance(value, torch.Tensor) or value.dim() == 0:
                    assert now[key] == value
                elif value.shape == shape:
                    assert torch.equal(old_block(now[key], shape), value)
                    start = STARTS.get(name, {}).get(key, 0.0)
                    expected = torch.full_like(now[key], start)
                    old_block(expected, shape).copy_(value)
                    assert torch.equal(now[key], expected)
                    checked += now[key].shape != shape
        # SGD without momentum has no state, and LBFGS none that can follow.
        assert checked > 0 or name in ("sgd", "lbfgs")

    @pytest.mark.slow
    def test_training_goes_on(self, name):
        growing, optimizer, batch = trained(name)
        widen_all(growing, optimizer)
        held = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert held == [id(p) for p in growing.module.parameters()]
        before = values_of(growing.module)
        train(growing.module, optimizer, batch, 3)
        assert {id(p) for p in optimizer.state} <= set(held)
        assert all(torch.isfinite(p).all() for p in growing.module.parameters())
        assert any((value != before[key]).any() for key, value in growing.module.named_parameters())

    @pytest.mark.slow
    def test_a_reset_forgets_everything(self, name):
        growing, optimizer, batch = trained(name)
        widen_all(growing, optimizer)
        train(growing.module, optimizer, batch, 2)
        widen_all(growing, optimizer, optimizer_state="reset")
        for state in optimizer.state.values():  # Adagrad makes its state in advance
            assert state["step"] == 0
        fresh = OPTIMIZERS[name](list((twin := copy.deepcopy(growing.module)).parameters()))
        train(growing.module, optimizer, batch, 2)
        train(twin, fresh, batch, 2)
        for parameter, expected in zip(growing.module.parameters(), twin.parameters(), strict=True):
            assert torch.equal(parameter, expected)

    @pytest.mark.slow
    def test_unused_optimizers_grow_too(self, name):
        growing, optimizer, batch = trained(name, steps=0)
        widen_all(growing, optimizer)
        train(growing.module, optimizer, batch, 2)


@pytest.mark.parametrize("name", CANNOT_FOLLOW)
def test_what_cannot_follow_starts_afresh_with_one_warning(name, caplog):
    growing, optimizer, batch = trained(name)
    weight = growing.groups[0].name
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            growing.widen(weight, 2, optimizer=optimizer)
            assert optimizer.state.get(dict(growing.module.named_parameters())[f"{weight}.weight"], {}) == {}
            train(growing.module, optimizer, batch, 2)
    assert [record.getMessage().split()[0].lower() for record in caplog.records] == [name]


def test_adafactors_vectors_follow():
    growing, optimizer, _ = trained("adafactor")
    bias = next(p for p in growing.module.parameters() if p.dim() == 1)
    before = optimizer.state[bias]["variance"].clone()
    widen_all(growing, optimizer)
    bias = next(p for p in growing.module.parameters() if p.dim() == 1)
    assert torch.equal(optimizer.state[bias]["variance"][: len(before)], before)


def test_a_factor_that_looks_like_its_parameter_is_not_carried():
    old, new = nn.Parameter(torch.randn(1, 1)), nn.Parameter(torch.randn(1, 2))
    optimizer = torch.optim.Adafactor([old])
    old.grad = torch.ones_like(old)
    optimizer.step()
    assert optimizer.state[old]["row_var"].shape == optimizer.state[old]["col_var"].shape == old.shape
    change = TensorChange("weight", (), old, new, {1: torch.tensor([0, NEW])})
    assert carried_state(optimizer, optimizer.param_groups[0], change) is None


def test_state_has_the_memory_layout_of_its_parameter():
    """Fused kernels go through memory in order, whatever the strides say."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1), nn.Flatten())
    module = module.append(nn.Linear(5 * 36, 2)).to(memory_format=torch.channels_last)
    batch = batch_of((3, 6, 6)).to(memory_format=torch.channels_last)
    growing = ExpandableNetwork(module, batch, verify=False)
    optimizer = torch.optim.Adam(module.parameters(), LEARNING_RATE, fused=True)
    train(module, optimizer, batch, 4)
    growing.widen_groups({"0": 2, "2": 3}, optimizer=optimizer)
    assert not module[2].weight.is_contiguous()
    for parameter in module.parameters():
        assert all(optimizer.state[parameter][key].stride() == parameter.stride() for key in ("exp_avg", "exp_avg_sq"))
    # And the same is learnt as with a kernel that goes by indices.
    twin = copy.deepcopy(module)
    plain = torch.optim.Adam(twin.parameters(), LEARNING_RATE, foreach=False)
    plain.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in plain.param_groups:
        group["fused"] = False
    growing.detach(optimizer)
    train(module, optimizer, batch, 3)
    train(twin, plain, batch, 3)
    for parameter, expected in zip(module.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(parameter, expected, atol=1e-6)


class TestWholeParameters:
    def parameters(self, count):
        return [nn.Parameter(torch.zeros(2)) for _ in range(count)]

    def test_they_join_the_group_of_their_model_in_the_networks_order(self):
        a, b, c, new = self.parameters(4)
        optimizer = torch.optim.SGD([{"params": [a, c]}, {"params": [b], "lr": 0.5}], lr=0.1)
        insert_parameters(optimizer, {new: a}, named=dict(zip([new, a, b, c], "nabc", strict=True)))
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(new), id(a), id(c)]
        assert optimizer.param_groups[1]["params"] == [b]

    def test_they_follow_their_model_where_the_group_has_an_order_of_its_own(self):
        a, b, c, new = self.parameters(4)
        optimizer = torch.optim.SGD([c, a, b], lr=0.1)
        insert_parameters(optimizer, {new: a}, named=dict(zip([new, a, b, c], "nabc", strict=True)))
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(c), id(a), id(new), id(b)]

    def test_removing_takes_their_state_along(self):
        a, b = self.parameters(2)
        optimizer = torch.optim.Adagrad([a, b])
        remove_parameters(optimizer, [a])
        assert optimizer.param_groups[0]["params"] == [b]
        assert list(optimizer.state) == [b]


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in CANNOT_FOLLOW])
def test_a_fresh_optimizer_goes_on_with_the_state_of_another(name):
    growing, optimizer, batch = trained(name)
    twin = copy.deepcopy(growing.module)
    fresh = OPTIMIZERS[name](list(twin.parameters()))
    states = growing.attach(optimizer).stock_state()
    if states:
        give_state(fresh, twin, states)
    train(growing.module, optimizer, batch, 2)
    train(twin, fresh, batch, 2)
    for parameter, expected in zip(twin.parameters(), growing.module.parameters(), strict=True):
        assert torch.equal(parameter, expected)


def test_a_given_state_is_a_copy_and_settings_stay_those_of_the_optimizer():
    growing, optimizer, batch = trained("adam")
    states = growing.attach(optimizer).stock_state()
    before = copy.deepcopy(states)
    fresh = torch.optim.Adam(growing.module.parameters(), 0.5, betas=(0.1, 0.2))
    give_state(fresh, growing.module, states)
    assert (fresh.param_groups[0]["lr"], fresh.param_groups[0]["betas"]) == (0.5, (0.1, 0.2))
    train(growing.module, fresh, batch, 2)
    train(growing.module, optimizer, batch, 2)
    for name, state in before.items():
        assert all(torch.equal(value, states[name][key]) for key, value in state.items())


def test_young_entries_move_on_as_if_they_had_come_of_age():
    """Once all entries are of one age for the optimizer, it moves them as it would have with ages."""
    growing, optimizer, batch = trained("adam", steps=30)
    growing.widen(growing.groups[0], 4, optimizer=optimizer, initialization="xavier")
    train(growing.module, optimizer, batch, 3)
    twin = copy.deepcopy(growing.module)
    fresh = OPTIMIZERS["adam"](list(twin.parameters()))
    give_state(fresh, twin, growing.attach(optimizer).stock_state())
    before = values_of(twin)
    train(growing.module, optimizer, batch, 1)
    train(twin, fresh, batch, 1)
    for name, parameter in twin.named_parameters():
        moved = (dict(growing.module.named_parameters())[name] - before[name]).abs()
        own = (parameter - before[name]).abs().sum().item()
        assert own == pytest.approx(moved.sum().item(), rel=0.15), name
