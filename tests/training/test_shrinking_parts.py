"""Only the frozen, only the thawed, or only named units go while a network trains; what is held stays bit for bit."""

import numpy as np
import pytest
import torch

from autogrow.errors import NetworkError
from autogrow.network.shrinking.unit_cohorts import unit_cohorts
from autogrow.policy.changes import Narrow, Widen
from autogrow.policy.width_shrinking import UnitShrinking
from autogrow.training.ending import Signal
from tests.training.runs import RESNET, policy, settings, trainer

pytestmark = pytest.mark.usefixtures("one_thread")
SCHEDULE = {"kind": "schedule", "every": 2}


def run_of(shrink, network=None, **fields):
    """Grows twice, to 12 and 9 units of which the last half is new, then shrinks once a sample."""
    return trainer(
        the_policy=policy(
            initial_fraction=0.25, chunk_fraction=0.25, max_fraction=0.75, trigger=SCHEDULE, initialization="xavier",
            shrink={"score": "random", "fraction": 0.1, "final_fraction": 0.5, "shrink_until": 1.0,
                    "trigger": {"kind": "schedule", "every": 1}, **shrink},
            **fields,
        ),
        the_settings=settings(optimizer="sgd", momentum=0.9),
        **(network or {}),
    )  # fmt: skip


def born(run):
    return {
        name: cohorts.tolist() for name, cohorts in unit_cohorts(run.network.structure, run.network.cohorts).items()
    }


@pytest.mark.slow
def test_every_unit_is_of_the_event_it_came_with():
    run = trainer(the_policy=policy(initial_fraction=0.25))
    network = run.network
    first, second = network.widths
    start = network.widths
    network.apply([Widen({first: 2})])
    network.apply([Widen({first: 1, second: 3})])
    assert born(run) == {first: [0] * start[first] + [1, 1, 2], second: [0] * start[second] + [2] * 3}
    network.apply([Narrow({first: [0, start[first]]})])
    assert born(run)[first] == [0] * (start[first] - 1) + [1, 2]
    network.apply([Narrow({first: [*range(start[first] - 1)]})])  # of the second group no column is old any more
    assert born(run)[second] == [0] * start[second] + [2] * 3


@pytest.mark.slow
@pytest.mark.parametrize("network", [None, RESNET], ids=["mlp", "resnet"])
@pytest.mark.parametrize("part", ["frozen", "thawed"])
def test_only_units_of_the_part_go_and_what_is_held_stays(part, network):
    run = run_of({"part": part}, network, freeze="old")
    counts, held = [], []

    def look(sample):
        first = run.network.attach(run.optimizer).first_trained_cohort
        if first and run.events[-1].removed_units:
            cohorts = unit_cohorts(run.network.structure, run.network.cohorts)
            frozen = sum(int((each < first).sum()) for each in cohorts.values())
            counts.append((frozen, sum(map(len, cohorts.values())) - frozen))
            entries = [
                tensor[run.network.cohorts.of(name, tensor) < first]
                for name, tensor in run.network.module.named_parameters()
            ]
            held.append((run.events[-1].index, torch.cat([each.detach().clone() for each in entries])))
        return Signal.CONTINUE

    run.on_sample = look
    run.run()
    frozen, thawed = (np.array(each) for each in zip(*counts, strict=True))
    shrinks, stays = (frozen, thawed) if part == "frozen" else (thawed, frozen)
    assert len(counts) > 3 and shrinks[-1] < shrinks[0] and (stays == stays[0]).all()
    for (event, before), (later, after) in zip(held, held[1:], strict=False):
        if event == later:
            assert torch.equal(before, after)


@pytest.mark.slow
def test_where_nothing_is_held_no_frozen_unit_goes():
    run = run_of({"part": "frozen"})
    run.run()
    assert [event for event in run.events if event.removed_units] == []


@pytest.mark.slow
def test_only_named_groups_lose_units():
    run = run_of({"only": ["4"]})
    run.run()
    removed = [event.removed_units for event in run.events if event.removed_units]
    assert removed and all(set(units) == {"4"} for units in removed)


def test_a_name_that_nothing_has_is_refused_before_a_step():
    with pytest.raises(NetworkError, match="unknown group 'layer7'"):
        run_of({"only": ["layer7"]})


def test_units_outside_of_the_part_stay_whatever_their_scores():
    scores, is_held = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, True, False, False])
    for part, left in (("all", [0, 1, 2]), ("frozen", [0, 1]), ("thawed", [2])):  # the best that trains stays
        shrinking = UnitShrinking(part=part)
        narrow = shrinking.removal({"a": shrinking.within_part(scores, is_held)}, 9, is_held=True)
        assert narrow == Narrow({"a": left}, "none")
    shrinking = UnitShrinking(part="frozen")
    assert shrinking.removal({"a": shrinking.within_part(scores, ~is_held & is_held)}, 9, is_held=False) is None
