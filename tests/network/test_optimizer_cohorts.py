"""The hooks on one optimizer: what it holds after events, whole parameters, all or nothing, errors."""

import copy

import pytest
import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network import ExpandableNetwork
from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts
from autogrow.network.resizing.tensor_change import TensorChange
from autogrow.network.structure.layout import NEW
from tests.network.networks import built_in
from tests.network.optimizers import (
    LEARNING_RATE,
    OPTIMIZERS,
    WITH_DECAY,
    configured,
    everything,
    push,
    same,
    train,
    trained,
    values_of,
    widen_all,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_detached_optimizers_are_stock_again():
    growing, optimizer, batch = trained("adam")
    widen_all(growing, optimizer)
    control = growing.attach(optimizer)
    control.configure(new_unit_lr=0.5)
    control.freeze_before(1)
    control.detach()
    twin, state = copy.deepcopy((growing.module, optimizer.state_dict()))
    stock = OPTIMIZERS["adam"](list(twin.parameters()))
    stock.load_state_dict(state)
    train(growing.module, optimizer, batch, 2)
    train(twin, stock, batch, 2)
    assert same(dict(growing.module.state_dict()), dict(twin.state_dict()))


def test_parameters_of_another_group_are_left_alone():
    """Several parameter groups keep their members and settings."""
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    growing = ExpandableNetwork(module, torch.randn(2, 4), verify=False)
    optimizer = torch.optim.Adam([{"params": module[0].parameters()}, {"params": module[2].parameters(), "lr": 0.5}])
    groups = [group["params"] for group in optimizer.param_groups]
    growing.widen("0", 2, optimizer=optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 0.5]
    assert optimizer.param_groups[1]["params"][0] is module[2].weight
    assert all(now["params"] is then for now, then in zip(optimizer.param_groups, groups, strict=True))


def test_an_attached_optimizer_follows_also_where_it_is_not_named():
    growing, optimizer, batch = trained("adam")
    growing.widen(growing.groups[0], 2)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert held == [id(p) for p in growing.module.parameters()]
    train(growing.module, optimizer, batch, 1)


def test_a_detached_optimizer_is_left_alone():
    growing, optimizer, _ = trained("adam")
    before = list(optimizer.param_groups[0]["params"])
    growing.detach(optimizer)
    growing.widen(growing.groups[0], 2)
    assert all(now is then for now, then in zip(optimizer.param_groups[0]["params"], before, strict=True))


def test_steps_count_from_a_fresh_state():
    growing, optimizer, batch = trained("adam", steps=3)
    control = growing.attach(optimizer)
    assert control.steps == 3
    growing.detach(optimizer)
    train(growing.module, optimizer, batch, 2)
    assert growing.attach(optimizer).steps == 5
    widen_all(growing, optimizer, optimizer_state="reset")
    assert growing.attach(optimizer).steps == 0


def rows_added(module, name, count):
    """The change that gives a parameter `count` new rows."""
    old = dict(module.named_parameters())[name]
    owner, _, attribute = name.rpartition(".")
    new = nn.Parameter(torch.cat([old.detach(), torch.ones(count, *old.shape[1:])]), requires_grad=old.requires_grad)
    sources = {0: torch.tensor([*range(len(old)), *[NEW] * count])}
    return TensorChange(name, ((module.get_submodule(owner), attribute),), old, new, sources)


class Layers:
    """Two linear layers side by side, an optimizer of some of their parameters, and events made by hand."""

    def __init__(self, optimizer="adam", held=("a.weight", "a.bias", "b.weight", "b.bias")):
        torch.manual_seed(0)
        self.module = nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Linear(2, 2)})
        self.cohorts = Cohorts()
        parameters = dict(self.module.named_parameters())
        self.optimizer = OPTIMIZERS[optimizer]([parameters[name] for name in held])
        self.control = OptimizerCohorts(self.optimizer, self.module, self.cohorts)

    def grow(self, *names, reset=False):
        changes = [rows_added(self.module, name, 2) for name in names]
        states = self.control.prepare(changes, reset)
        numbers = self.cohorts.prepare(changes, grows=True)
        for change in changes:
            layer, attribute = change.owners[0]
            setattr(layer, attribute, change.new)
        self.cohorts.commit(numbers, grows=True)
        self.control.commit(changes, states, reset)

    def deepen(self):
        """A third layer like `b`, between the two."""
        layers = dict(self.module.items())
        new, like = nn.Linear(2, 2), layers["b"]
        self.module.clear()
        self.module.update({"a": layers["a"], "new": new, "b": like})
        self.cohorts.commit({}, grows=True)
        self.cohorts.add(["new.weight", "new.bias"])
        pairs = [(f"new.{key}", key) for key in ("weight", "bias")]
        self.control.add(
            {name: getattr(new, key) for name, key in pairs}, {name: getattr(like, key) for name, key in pairs}
        )
        self.control.commit([], {}, reset=False)
        return new


class TestErrors:
    def test_an_optimizer_of_something_else(self):
        module = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1)
        with pytest.raises(NetworkError, match="SGD optimizer holds none.*model.parameters()"):
            OptimizerCohorts(optimizer, module, Cohorts())
        assert not optimizer._optimizer_step_post_hooks and not optimizer._optimizer_step_pre_hooks

    def test_a_trained_parameter_that_is_in_no_optimizer(self):
        layers = Layers(held=("a.weight", "a.bias"))
        changes = [rows_added(layers.module, name, 1) for name in ("a.weight", "b.bias")]
        before = copy.deepcopy(layers.optimizer.state_dict())
        for reset in (False, True):
            with pytest.raises(NetworkError, match=r"'b.bias'.*Adam optimizer.*attach\(\)"):
                layers.control.prepare(changes, reset)
        assert same(layers.optimizer.state_dict(), before)
        assert layers.optimizer.param_groups[0]["params"][0] is layers.module["a"].weight

    def test_one_that_is_not_trained_may_change(self):
        layers = Layers(held=("a.weight", "a.bias"))
        layers.module["b"].requires_grad_(False)
        layers.grow("b.bias")
        assert layers.module["b"].bias.shape == (4,)

    def test_one_that_another_optimizer_looks_after(self):
        layers = Layers(held=("a.weight", "a.bias"))
        other = OptimizerCohorts(torch.optim.SGD(layers.module["b"].parameters(), 0.1), layers.module, layers.cohorts)
        changes = [rows_added(layers.module, "b.bias", 1)]
        assert layers.control.prepare(changes, False, elsewhere=other.parameters) == {}

    def test_a_new_parameter_whose_model_is_in_no_optimizer(self):
        layers = Layers(held=("a.weight", "a.bias"))
        new = nn.Linear(2, 2)
        with pytest.raises(NetworkError, match="'new.weight'"):
            layers.control.add({"new.weight": new.weight}, {"new.weight": layers.module["b"].weight})
        assert len(layers.optimizer.param_groups[0]["params"]) == 2


class TestWholeParameters:
    @pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "muon"])
    def test_they_train_from_the_next_step(self, name):
        layers = Layers(name)
        self.step(layers)
        new = layers.deepen()
        held = [id(p) for p in layers.optimizer.param_groups[0]["params"]]
        assert held == [id(p) for p in layers.module.parameters()]
        before = new.weight.detach().clone()
        self.step(layers)
        self.step(layers)
        assert not torch.equal(new.weight, before)

    def step(self, layers):
        def closure():
            for parameter in layers.module.parameters():
                parameter.grad = torch.full_like(parameter, 0.3)
            return torch.tensor(1.0)

        layers.optimizer.step(closure)

    def test_they_are_of_the_new_cohort(self):
        layers = Layers()
        push(layers.module, layers.optimizer, 0.3, steps=3)
        layers.control.configure(new_unit_lr=0.5)
        new = layers.deepen()
        before = values_of(layers.module)
        push(layers.module, layers.optimizer, 0.3)
        after = values_of(layers.module)
        assert torch.allclose(before["new.weight"] - after["new.weight"], torch.tensor(0.5 * LEARNING_RATE), rtol=1e-3)
        assert torch.allclose(before["a.weight"] - after["a.weight"], torch.tensor(LEARNING_RATE), rtol=1e-3)
        layers.control.freeze_before(1)
        push(layers.module, layers.optimizer, 0.3)
        assert torch.equal(layers.module["a"].weight, after["a.weight"])
        assert not torch.equal(new.weight, after["new.weight"])

    def test_they_grow_like_others(self):
        layers = Layers()
        push(layers.module, layers.optimizer, 0.3, steps=3)
        layers.deepen()
        push(layers.module, layers.optimizer, 0.3, steps=3)
        layers.grow("new.weight", "new.bias")
        before = values_of(layers.module)
        push(layers.module, layers.optimizer, 0.3)
        for key, value in values_of(layers.module).items():
            assert torch.allclose(before[key] - value, torch.tensor(LEARNING_RATE), rtol=1e-3)
        assert layers.control.state_dict()["births"] == {"new.weight": {2: 3}, "new.bias": {2: 3}}

    def test_removing(self):
        layers = Layers()
        push(layers.module, layers.optimizer, 0.3)
        layers.grow("b.weight", "b.bias")
        removed = layers.module.pop("b")
        layers.cohorts.remove(["b.weight", "b.bias"])
        layers.control.remove(list(removed.parameters()))
        assert layers.control.state_dict()["births"] == {}
        assert list(layers.optimizer.state) == list(layers.module.parameters())
        push(layers.module, layers.optimizer, 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("reset", [False, True])
def test_a_snapshot_undoes_an_event(name, reset):
    """After a failure everything is as before, down to the bits of what training does next."""
    runs = [trained(name) for _ in range(2)]
    for growing, optimizer, batch in runs:
        control = growing.attach(optimizer)
        control.configure(new_unit_lr=0.5, connection_ramp_steps=20)
        growing.widen(growing.groups[0], 2, optimizer=optimizer, initialization="xavier")
        control.freeze_before(1, 0.5)
        train(growing.module, optimizer, batch, 2)
    growing, optimizer, batch = runs[0]
    control = growing.attach(optimizer)
    groups, states = list(optimizer.param_groups), dict(optimizer.state)
    lists = [group["params"] for group in groups]
    tensors, before = dict(growing.module.named_parameters()), everything(growing, optimizer)
    restores = [growing.cohorts.snapshot(), control.snapshot()]

    changes = [rows_added(growing.module, key, 1) for key in tensors if key.endswith("weight")]
    prepared = control.prepare(changes, reset)
    growing.cohorts.commit(growing.cohorts.prepare(changes, grows=True), grows=True)
    for change in changes:
        setattr(*change.owners[0], change.new)
    control.commit(changes, prepared, reset)
    control.freeze_before(2)
    assert not same(control.state_dict(), before["control"])

    for change in changes:
        setattr(*change.owners[0], change.old)
    for restore in reversed(restores):  # in any order
        restore()
    assert all(now is then for now, then in zip(optimizer.param_groups, groups, strict=True))
    assert all(group["params"] is then for group, then in zip(optimizer.param_groups, lists, strict=True))
    assert [id(p) for p in lists[0]] == [id(p) for p in growing.module.parameters()]
    assert list(optimizer.state) == list(states)
    assert same(everything(growing, optimizer), before)
    for run, its_optimizer, _ in runs:
        train(run.module, its_optimizer, batch, 3)
        widen_all(run, its_optimizer)
        train(run.module, its_optimizer, batch, 3)
    assert same(everything(*runs[0][:2]), everything(*runs[1][:2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_DECAY)
@pytest.mark.parametrize("released", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rate", [0.5, "cohort"])
def test_a_resumed_run_is_bit_identical(name, released, rate, tmp_path):
    """Saved and loaded in the middle of a ramp and of a thaw, everything goes on as in the run that was not stopped."""
    make = WITH_DECAY[name]
    growing, optimizer, control, batch = configured(make, new_unit_lr=rate, connection_ramp_steps=9)
    for _ in range(2):
        widen_all(growing, optimizer, initialization="xavier")
        train(growing.module, optimizer, batch, 4)
    control.freeze_before(2, released)
    train(growing.module, optimizer, batch, 3)
    growing.module(batch * 3)  # moves statistics, before saving: held values are saved too
    torch.save({"widths": growing.widths, **everything(growing, optimizer)}, tmp_path / "run.pt")
    saved = torch.load(tmp_path / "run.pt", weights_only=True)

    resumed, its_optimizer, _, _ = configured(make, steps=0)
    resumed.set_widths(saved["widths"])
    resumed.detach(its_optimizer)
    its_optimizer = make(list(resumed.module.parameters()))
    its_control = resumed.attach(its_optimizer)
    resumed.module.load_state_dict(saved["network"])
    resumed.cohorts.load_state_dict(saved["cohorts"])
    its_optimizer.load_state_dict(saved["optimizer"])
    its_control.load_state_dict(saved["control"])
    assert same(everything(resumed, its_optimizer), {key: saved[key] for key in saved if key != "widths"})

    for run, steps in ((growing, optimizer), (resumed, its_optimizer)):
        train(run.module, steps, batch, 4)
        run.attach(steps).refresh_rates()
        train(run.module, steps, batch, 4)
        widen_all(run, steps)
        run.attach(steps).freeze_before(3, 0.9)
        train(run.module, steps, batch, 2)
    assert same(everything(resumed, its_optimizer), everything(growing, optimizer))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.gpu
@pytest.mark.parametrize("name", ["adam, fused", "adam, foreach", "adam", "sgd, momentum and decay"])
def test_no_step_waits_for_the_device(name):
    module, batch = built_in("resnet")
    growing, batch = ExpandableNetwork(module.cuda(), batch.cuda(), verify=False), batch.cuda()
    optimizer = OPTIMIZERS[name](list(module.parameters()))
    train(module, optimizer, batch, 3)
    control = growing.attach(optimizer)
    control.configure(new_unit_lr="cohort", connection_ramp_steps=10)
    widen_all(growing, optimizer)
    control.freeze_before(1, 0.5)
    train(module, optimizer, batch, 2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(15):
            optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
