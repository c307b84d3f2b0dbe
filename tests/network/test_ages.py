"""Ages: every entry takes the updates that a fresh optimizer of its own would give it."""

import copy
import logging

import pytest
import torch
from torch import nn

from autogrow.network import ExpandableNetwork
from tests.network.optimizers import ADAMS, AGED, LEARNING_RATE, OPTIMIZERS, old_block, push

LONG_AGO = 20_000
pytestmark = pytest.mark.usefixtures("one_thread")


def network(name, dtype=torch.float32, decay=0.0):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).to(dtype)
    growing = ExpandableNetwork(module, torch.randn(2, 4, dtype=dtype), verify=False)
    optimizer = OPTIMIZERS[name](list(module.parameters()))
    for group in optimizer.param_groups:
        group["weight_decay"] = decay
    growing.attach(optimizer)
    return growing, optimizer


def make_old(optimizer, gradient):
    """As if there had been very many steps with the same gradient."""
    for state in optimizer.state.values():
        state["step"].fill_(LONG_AGO)
        state["exp_avg"].fill_(gradient)
        for key in {"exp_avg_sq", "max_exp_avg_sq"} & state.keys():
            state[key].fill_(gradient**2)


def first_updates(name, steps, gradient=0.3):
    """Updates of six new units of an old network, under a constant gradient."""
    growing, optimizer = network(name)
    push(growing.module, optimizer, gradient)
    make_old(optimizer, gradient)
    growing.widen("0", 6, optimizer=optimizer)
    weight = growing.module[0].weight
    updates = []
    for _ in range(steps):
        before = weight.detach().clone()
        push(growing.module, optimizer, gradient)
        updates.append((weight.detach() - before)[-6:])
    return torch.stack(updates)


@pytest.mark.parametrize("name", ADAMS)
def test_no_new_entry_moves_more_than_one_learning_rate(name):
    updates = first_updates(name, 15).abs()
    assert updates.max() <= 1.05 * LEARNING_RATE
    assert updates.min() >= (0.7 if "eps" in name else 0.95) * LEARNING_RATE


def test_tiny_gradients_get_full_updates_too():
    """Adam's eps counts by age as well: with the shared count it would weigh 32 times as much."""
    assert first_updates("adam", 3, gradient=1e-6).abs().min() >= 0.98 * LEARNING_RATE


def test_without_ages_they_would_move_more_than_three(monkeypatch):
    """The tests above can fail: a shared step count gives the factors 3.2 at once and over 6 later."""
    monkeypatch.setattr("autogrow.network.optimizer.ages.Ages.correct", lambda self, optimizer: None)
    updates = first_updates("adam", 15).abs()
    assert updates[0].max() == pytest.approx(3.16 * LEARNING_RATE, rel=0.05)
    assert updates.max() > 6 * LEARNING_RATE


class Fresh:
    """A parameter of its own for each cohort's entries, with a stock optimizer that starts with them."""

    def __init__(self, name, shape, dtype):
        self.parameter = nn.Parameter(torch.zeros(shape, dtype=dtype))
        self.optimizer = OPTIMIZERS[name]([self.parameter])
        self.optimizer.param_groups[0]["weight_decay"] = 0.0

    def update(self, gradient):
        before = self.parameter.detach().clone()
        self.parameter.grad = gradient
        self.optimizer.step()
        return self.parameter.detach() - before


@pytest.mark.slow
@pytest.mark.parametrize("name", AGED)
@pytest.mark.parametrize("entries", [8, 2**16])
def test_after_several_events_each_cohort_moves_as_if_alone(name, entries, monkeypatch):
    monkeypatch.setattr("autogrow.network.optimizer.cohorts.BLOCK_ENTRIES", entries)
    growing, optimizer = network(name, torch.float64)
    module = growing.module
    random = torch.Generator().manual_seed(3)
    shape = (12, 4)
    fresh = [Fresh(name, shape, torch.float64)]
    for event in range(4):
        if event:
            growing.widen("0", 2, optimizer=optimizer)
            fresh.append(Fresh(name, shape, torch.float64))
        weight = module[0].weight
        for step in range(7):
            gradient = torch.randn(shape, generator=random, dtype=torch.float64) * 10.0 ** -(step + event)
            for parameter in module.parameters():
                parameter.grad = torch.zeros_like(parameter)
            weight.grad = gradient[: len(weight)].clone()
            before = weight.detach().clone()
            optimizer.step()
            updates = weight.detach() - before
            numbers = growing.cohorts.of("0.weight", weight)
            for cohort, own in enumerate(fresh):
                expected = own.update(gradient)[: len(weight)]
                of_cohort = numbers == cohort
                assert (updates - expected)[of_cohort].abs().max() <= 1e-6 * LEARNING_RATE


@pytest.mark.parametrize("name", AGED)
def test_old_entries_move_as_if_nothing_had_grown(name):
    growing, optimizer = network(name, torch.float64, decay=0.1)
    push(growing.module, optimizer, 0.1, steps=6)
    module, state = copy.deepcopy((growing.module, optimizer.state_dict()))
    stock = OPTIMIZERS[name](list(module.parameters()))
    stock.load_state_dict(state)
    growing.widen("0", 5, optimizer=optimizer)
    for step in range(5):
        push(growing.module, optimizer, 0.1 * step)
        push(module, stock, 0.1 * step)
        for grown, plain in zip(growing.module.parameters(), module.parameters(), strict=True):
            assert (old_block(grown, plain.shape) - plain).abs().max() <= 1e-6 * LEARNING_RATE


@pytest.mark.slow
@pytest.mark.parametrize("name", AGED)
def test_a_step_without_a_gradient_makes_nobody_older(name):
    """The layer sits out 30 steps before and 30 after the event; its entries are as old as its own updates."""
    growing, optimizer = network(name, torch.float64)
    module = growing.module

    def sit_out():
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, 0.2)
        module[0].weight.grad = None
        optimizer.step()

    push(module, optimizer, 0.2, steps=5)
    for _ in range(30):
        sit_out()
    growing.widen("0", 2, optimizer=optimizer)
    weight = module[0].weight
    before = weight.detach().clone()
    for _ in range(30):
        sit_out()
    assert torch.equal(weight, before)
    fresh = Fresh(name, (2, 4), torch.float64)
    for gradient in (0.2, 0.5, -0.1):
        before = weight.detach().clone()
        push(module, optimizer, gradient)
        expected = fresh.update(torch.full((2, 4), gradient, dtype=torch.float64))
        assert ((weight - before)[-2:] - expected).abs().max() <= 1e-6 * LEARNING_RATE


def test_a_step_that_a_gradient_scaler_skips_changes_nothing():
    growing, optimizer = network("adam, fused")
    push(growing.module, optimizer, 0.2, steps=50)
    growing.widen("0", 2, optimizer=optimizer)
    push(growing.module, optimizer, 0.2)
    before = [parameter.detach().clone() for parameter in growing.module.parameters()]
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(()))
    for parameter in growing.module.parameters():
        parameter.grad = torch.full_like(parameter, float("inf"))
    scaler.step(optimizer)
    for parameter, expected in zip(growing.module.parameters(), before, strict=True):
        assert torch.equal(parameter, expected)
    push(growing.module, optimizer, 0.2)
    assert ((growing.module[0].weight - before[0])[-2:]).abs().max() <= 1.05 * LEARNING_RATE


def test_a_learning_rate_in_a_tensor():
    growing, optimizer = network("adam")
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(LEARNING_RATE)
    push(growing.module, optimizer, 0.2)
    make_old(optimizer, 0.2)
    growing.widen("0", 2, optimizer=optimizer)
    before = growing.module[0].weight.detach().clone()
    push(growing.module, optimizer, 0.2)
    updates = (growing.module[0].weight.detach() - before)[-2:]
    assert torch.allclose(updates, torch.full_like(updates, -LEARNING_RATE), rtol=0.05)


def test_grown_up_entries_cost_nothing_more():
    growing, optimizer = network("adam")
    control = growing.attach(optimizer)
    push(growing.module, optimizer, 0.2, steps=3)
    growing.widen("0", 2, optimizer=optimizer)
    control.refresh_rates()
    assert control.state_dict()["births"] == {"0.weight": {1: 3}, "0.bias": {1: 3}, "2.weight": {1: 3}}
    make_old(optimizer, 0.2)
    control.refresh_rates()
    assert control.state_dict()["births"] == {}


def test_an_event_before_the_first_step_makes_no_ages():
    growing, optimizer = network("adam")
    growing.widen("0", 2, optimizer=optimizer)
    assert growing.attach(optimizer).state_dict()["births"] == {}


def test_nadam_is_not_corrected_and_says_so(caplog):
    growing, optimizer = network("nadam")
    push(growing.module, optimizer, 0.2)
    with caplog.at_level(logging.WARNING):
        growing.widen("0", 2, optimizer=optimizer)
        growing.widen("0", 2, optimizer=optimizer)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["NAdam"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_grown_up_entries_are_left_to_the_stock_optimizer(name):
    """After a hundred updates their moments carry the correction: steady gradients move them as before."""
    growing, optimizer = network(name, torch.float64)
    push(growing.module, optimizer, 0.3, steps=40)
    growing.widen("0", 3, optimizer=optimizer)
    control, weight = growing.attach(optimizer), growing.module[0].weight
    fresh = Fresh(name, (3, 4), torch.float64)
    random = torch.Generator().manual_seed(1)
    for _ in range(400):
        gradient = 0.3 + 0.2 * torch.randn((3, 4), generator=random, dtype=torch.float64)
        for parameter in growing.module.parameters():
            parameter.grad = torch.full_like(parameter, 0.3)
        weight.grad[-3:] = gradient
        before = weight.detach().clone()
        optimizer.step()
        update, expected = (weight.detach() - before)[-3:], fresh.update(gradient)
        assert (update - expected).abs().max() <= 0.1 * LEARNING_RATE
    assert not control.has_young_entries


def test_handing_over_does_not_show_in_the_next_update():
    updates = first_updates("adam", 130)
    assert (updates[1:] - updates[:-1]).abs().max() <= 2e-3 * LEARNING_RATE
