"""Changes with a sign: several are one event, what stays keeps its records, and a failure leaves nothing behind."""

import pytest
import torch

from autogrow.errors import NetworkError
from autogrow.policy.changes import Deepen, Freeze, Narrow, Shorten, Thaw, Widen
from tests.network.optimizers import everything, same, train
from tests.network.staged_networks import growing_network

FIRST = {"stages.0": 1}


@pytest.fixture
def grown():
    """A residual network with an optimizer that has taken steps, grown once before."""
    growing, batch = growing_network("resnet")
    growing.start_small({group.name: group.width // 2 for group in growing.groups})
    optimizer = torch.optim.Adam(growing.module.parameters(), 0.01)
    growing.attach(optimizer).configure(connection_ramp_steps=4)
    train(growing.module, optimizer, batch, 3)
    growing.apply([Widen({growing.groups[0].name: 1}), Freeze(1)], optimizer)
    train(growing.module, optimizer, batch, 3)
    return growing, optimizer, batch


def state(growing, optimizer):
    """The objects and the values that a failure must not touch."""
    tensors = [*growing.module.parameters(), *growing.module.buffers()]
    return tensors, growing.widths, growing.blocks, growing.num_events, everything(growing, optimizer)


GOOD = {
    "widen": lambda group: Widen({group.name: 2}),
    "narrow": lambda group: Narrow({group.name: 1}),
    "deepen": lambda group: Deepen(FIRST),
    "shorten": lambda group: Shorten(FIRST),
    "freeze": lambda group: Freeze(2),
    "thaw": lambda group: Thaw(0.5),
}
BAD = {
    "an unknown group": Widen({"nowhere": 1}),
    "more units than there are": Narrow({"stem.0": 10_000}),
    "no such stage": Deepen({"nowhere": 1}),
    "every block": Shorten({"stages.0": 99}),
    "a negative cohort": Freeze(-1),
    "no share": Thaw(0.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("second", BAD)
@pytest.mark.parametrize("first", GOOD)
def test_what_comes_before_a_failure_is_taken_back(grown, first, second):
    growing, optimizer, batch = grown
    tensors, *before = state(growing, optimizer)
    with pytest.raises(NetworkError):
        growing.apply([GOOD[first](growing.groups[1]), BAD[second]], optimizer)
    after, *now = state(growing, optimizer)
    assert len(after) == len(tensors) and all(one is other for one, other in zip(after, tensors, strict=True))
    assert now[:3] == before[:3]
    assert same(now[3], before[3])
    train(growing.module, optimizer, batch, 1)  # parameters that were put back still take gradients
    growing.apply([GOOD[first](growing.groups[1])], optimizer)


def test_several_changes_are_one_event(grown):
    growing, optimizer, batch = grown
    wide, narrow = growing.groups[1], growing.groups[2]
    changes = [Narrow({narrow.name: 1}), Deepen(FIRST), Widen({wide.name: 2}), Freeze(2)]
    before, blocks = growing.widths, growing.blocks
    growing.apply(changes, optimizer)
    assert growing.num_events == 2
    assert growing.blocks == {**blocks, "stages.0": blocks["stages.0"] + 1}
    assert growing.widths[wide.name] == before[wide.name] + 2
    assert growing.widths[narrow.name] == before[narrow.name] - 1
    newest = {name: int(growing.cohorts.of(name, tensor).max()) for name, tensor in growing.module.named_parameters()}
    assert set(newest.values()) <= {0, 1, 2} and 2 in newest.values()
    train(growing.module, optimizer, batch, 2)


def test_what_is_left_after_narrowing_keeps_weights_moments_and_ages(grown):
    growing, optimizer, _ = grown
    name, group = next(
        (name, layout.dims[0][0].group) for name, layout in growing.structure.tensors.items()
        if name.endswith("weight") and list(layout.dims) == [0] and len(layout.dims[0]) == 1
    )  # fmt: skip
    kept = [unit for unit in range(growing.widths[group]) if unit != 1]
    parameter = growing.module.get_parameter(name)
    moments, cohorts = optimizer.state[parameter]["exp_avg"].clone(), growing.cohorts.of(name, parameter)
    values = parameter.detach().clone()
    growing.apply([Narrow({group: [1]})], optimizer)
    parameter = growing.module.get_parameter(name)
    assert torch.equal(parameter, values[kept])
    assert torch.equal(optimizer.state[parameter]["exp_avg"], moments[kept])
    assert torch.equal(growing.cohorts.of(name, parameter), cohorts[kept])


def test_events_are_counted_whatever_the_sign(grown):
    growing, optimizer, _ = grown
    group = growing.groups[1].name
    for number, change in enumerate([Narrow({group: 1}), Widen({group: 1}), Shorten(FIRST), Deepen(FIRST)], 2):
        growing.apply([change], optimizer)
        assert growing.num_events == number
    growing.apply([Thaw(0.5)], optimizer)
    growing.apply([Thaw()], optimizer)
    assert growing.num_events == 5
    assert growing.attach(optimizer).first_trained_cohort == 0


def test_what_cannot_be_done_is_said_in_one_line():
    growing, _ = growing_network("resnet")
    group = growing.groups[0].name
    for changes, message in (
        ([Freeze(1)], "without an optimizer"),
        ([Widen({group: 1}), Widen({group: 1})], "an event widens once"),
        (["widen"], "is no change of a network: give some of Widen, Narrow"),
        ([Narrow({group: [0, 0]})], "cannot remove \\[0, 0\\] of"),
    ):
        with pytest.raises(NetworkError, match=message):
            growing.apply(changes)
    assert growing.num_events == 0
