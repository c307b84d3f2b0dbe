"""What stands for an optimizer, and what optimizers keep in forms of their own: followed, or one line says what to do.

In the manner of accelerate, Lightning, apex, SAM, torchao and bitsandbytes, without these libraries.
"""

import copy
import logging

import pytest
import torch
from torch import nn

import autogrow
from autogrow.errors import NetworkError
from tests.network.optimizers import everything, same

pytestmark = pytest.mark.usefixtures("one_thread")


def network():
    torch.manual_seed(0)
    module, batch = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), torch.randn(4, 5)
    return module, batch, autogrow.ExpandableNetwork(module, batch)


def train(module, optimizer, batch):
    optimizer.zero_grad()
    module(batch).square().mean().backward()
    optimizer.step()


class BareWrapper(torch.optim.Optimizer):
    """A subclass that never calls its base's `__init__`, as accelerate's."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    param_groups = property(lambda self: self.optimizer.param_groups)
    state = property(lambda self: self.optimizer.state)

    def zero_grad(self):
        self.optimizer.zero_grad()

    def step(self, closure=None):
        self.optimizer.step(closure)


class Holder:
    """No optimizer by class; its list of groups is another one, with the same groups."""

    def __init__(self, optimizer):
        self._held, self.param_groups = optimizer, list(optimizer.param_groups)

    optimizer = property(lambda self: self._held)

    def zero_grad(self):
        self._held.zero_grad()

    def step(self):
        self._held.step()


@pytest.mark.parametrize("wrap", [BareWrapper, Holder, lambda inner: Holder(BareWrapper(inner))])
def test_wrappers_are_looked_through(wrap):
    found = []
    for each in (lambda inner: inner, wrap):
        module, batch, growing = network()
        stock = torch.optim.Adam(module.parameters(), 0.01)
        optimizer = each(stock)
        train(module, optimizer, batch)
        growing.widen("0", 2, optimizer=optimizer)
        growing.widen("0", 1)
        train(module, optimizer, batch)
        assert growing.attach(optimizer) is growing.attach(stock)
        found.append(everything(growing, stock))
        growing.detach(optimizer)
        assert not stock._optimizer_step_post_hooks
    assert same(*found)


class Masters:
    """Groups of its own, of copies in another format, as in mixed precision by hand."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.param_groups = [{"params": [p.detach().double() for g in optimizer.param_groups for p in g["params"]]}]


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (Masters, r"Masters is no torch.optim.Optimizer but has one: give its `\.optimizer`"),
        (lambda inner: object(), "object is no torch.optim.Optimizer: give the optimizer that takes the steps"),
        (lambda inner: inner.state, "defaultdict is no torch.optim.Optimizer"),
        (lambda inner: [inner, None], "NoneType is no torch.optim.Optimizer"),
    ],
)
def test_other_objects_are_refused_with_what_to_give(wrap, message):
    module, _, growing = network()
    stock = torch.optim.Adam(module.parameters(), 0.01)
    with pytest.raises(NetworkError, match=message):
        growing.widen("0", 2, optimizer=wrap(stock))
    assert growing.widths == {"0": 7} and not stock._optimizer_step_post_hooks


class TwoSteps(torch.optim.SGD):
    """In the manner of SAM: steps are taken by another optimizer on the same groups."""

    def __init__(self, parameters):
        super().__init__(parameters, 0.01)
        self.base_optimizer = torch.optim.Adam(self.param_groups)
        self.param_groups = self.base_optimizer.param_groups

    def step(self, closure=None):
        return self.base_optimizer.step(closure)


class Flat(torch.optim.SGD):
    def __init__(self, parameters):
        super().__init__(parameters, 0.01)
        self.order = {"all": [[each] for group in self.param_groups for each in group["params"]]}


class ByKey(Flat):
    def __init__(self, parameters):
        super().__init__(parameters)
        self.order = {each: 1 for group in self.param_groups for each in group["params"]}


@pytest.mark.parametrize(("kind", "place"), [(TwoSteps, "base_optimizer"), (Flat, "order"), (ByKey, "order")])
def test_optimizers_that_hold_parameters_elsewhere_are_refused(kind, place):
    module, batch, growing = network()
    optimizer = kind(module.parameters())
    train(module, optimizer, batch)
    before = [*module.parameters()]
    with pytest.raises(NetworkError, match=f"{kind.__name__} keeps parameters in '{place}' too"):
        growing.widen("0", 2, optimizer=optimizer)
    assert [*module.parameters()] == before


def test_the_advice_about_an_inner_optimizer_can_be_followed():
    module, batch, growing = network()
    optimizer = TwoSteps(module.parameters())
    train(module, optimizer, batch)
    growing.widen("0", 2, optimizer=optimizer.base_optimizer)
    train(module, optimizer, batch)
    assert set(optimizer.base_optimizer.state) == set(module.parameters())


class Quantized(torch.Tensor):
    """A state of another class, with whatever operations it pleases."""


class Kept(torch.optim.Optimizer):
    """An optimizer that makes whatever state it is told to, and uses none of it."""

    def __init__(self, parameters, make):
        super().__init__(parameters, {"lr": 0.01})
        self.make = make

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if not self.state[parameter]:
                    self.state[parameter] = {"step": 0, "moment": self.make(parameter)}
                self.state[parameter]["step"] += 1
                parameter.sub_(group["lr"] * parameter.grad)


@pytest.mark.parametrize(
    "make",
    [
        lambda parameter: torch.zeros_like(parameter).as_subclass(Quantized),
        lambda parameter: torch.zeros(()).as_subclass(Quantized),
        lambda parameter: torch.zeros(parameter.shape, dtype=torch.uint8),
        lambda parameter: torch.zeros_like(parameter).to_sparse(),
        lambda parameter: [torch.zeros_like(parameter)],
        lambda parameter: {"codes": torch.zeros_like(parameter)},
        lambda parameter: object(),
        lambda parameter: parameter.new_zeros(parameter.numel()).view(-1)[: parameter.numel() // 2],
    ],
    ids=["subclass", "scalar of a subclass", "codes", "sparse", "list", "dictionary", "object", "blocks"],
)
def test_state_that_cannot_follow_starts_afresh_with_a_word(make, caplog):
    module, batch, growing = network()
    optimizer = Kept(module.parameters(), make)
    train(module, optimizer, batch)
    with caplog.at_level(logging.WARNING):
        growing.widen("0", 2, optimizer=optimizer)
    assert "Kept keeps state that cannot follow a parameter to another shape" in caplog.text
    assert set(optimizer.state) == {module[2].bias}
    train(module, optimizer, batch)
    assert [optimizer.state[parameter]["step"] for parameter in module.parameters()] == [1, 1, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.complex64])
def test_state_of_any_number_format_is_carried(dtype, caplog):
    module, batch, growing = network()
    optimizer = Kept(module.parameters(), lambda parameter: torch.ones(parameter.shape, dtype=dtype))
    train(module, optimizer, batch)
    growing.widen("0", 2, optimizer=optimizer)
    moment = optimizer.state[module[0].weight]["moment"]
    assert moment.dtype == dtype and moment[:7].real.eq(1).all() and not moment[7:].real.any()
    assert not caplog.records


def test_a_gradient_scaler_goes_on():
    """Growth between unscaling and the step: what the scaler has found out about this optimizer still holds."""
    module, batch, growing = network()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    twin = copy.deepcopy(module)
    scaler.scale(module(batch).square().mean()).backward()
    scaler.unscale_(optimizer)
    growing.widen("0", 2, optimizer=optimizer)
    scaler.step(optimizer)
    scaler.update()
    train(twin, torch.optim.SGD(twin.parameters(), 0.1), batch)
    for parameter, expected in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter[tuple(slice(0, size) for size in expected.shape)], expected)
