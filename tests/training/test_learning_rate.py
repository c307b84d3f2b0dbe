"""The learning rate that every single step takes."""

import math

import pytest

from tests.training.runs import data, policy, settings, trainer

pytestmark = pytest.mark.usefixtures("one_thread")

BASE = 0.01
STEPS = 24


def rates(schedule, constant_share=0.0, **fields):
    """The trainer, and the learning rate in the optimizer at each step. The share is left out where it is None."""
    found = []
    share = {} if constant_share is None else {"constant_share": constant_share}
    run = trainer(
        the_policy=policy(**fields),
        the_settings=settings(learning_rate_schedule=schedule, learning_rate=BASE, sample_every=2, **share),
        the_data=data(validation=False),
    )
    run.optimizer.register_step_pre_hook(lambda optimizer, *_: found.append(optimizer.param_groups[0]["lr"]))
    run.run()
    assert len(found) == STEPS
    return run, found


def cosine(first):
    return [BASE * 0.5 * (1 + math.cos(math.pi * (step - first) / (STEPS - first))) for step in range(first, STEPS)]


def test_constant():
    assert set(rates("constant")[1]) == {BASE}


@pytest.mark.parametrize("initial_fraction", [0.25, 1.0])
def test_cosine_takes_no_notice_of_growth(initial_fraction):
    run, found = rates("cosine", initial_fraction=initial_fraction)
    assert found == pytest.approx(cosine(0))
    assert run.samples[-1].learning_rate == pytest.approx(0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "ended"),
    [
        ({"chunk_fraction": 0.75, "trigger": {"kind": "schedule", "every": 3}}, 6),
        ({"trigger": {"kind": "schedule", "every": 3}, "grow_until": 0.3}, 8),
        ({"trigger": {"kind": "schedule", "every": 3}, "min_gain": 0.9}, 12),
        ({"trigger": {"kind": "schedule", "every": 3}, "limits": {"max_parameters": 1700}}, 12),
    ],
    ids=["everything has grown", "grow_until", "min_gain", "limit"],
)
def test_constant_then_cosine_begins_to_fall_when_growth_has_ended(fields, ended):
    run, found = rates("constant_then_cosine", **fields)
    assert run.growth.ended_step == ended
    assert found[:ended] == [BASE] * ended
    assert found[ended:] == pytest.approx(cosine(ended))
    assert [sample.learning_rate for sample in run.samples] == pytest.approx([*found[2::2], 0.0])


def test_constant_then_cosine_stays_constant_while_the_network_may_still_grow():
    run, found = rates("constant_then_cosine", trigger={"kind": "schedule", "every": 50})
    assert run.growth.ended_step is None
    assert set(found) == {BASE}


def test_constant_then_cosine_is_the_cosine_for_what_never_grows_where_no_share_is_constant():
    _, found = rates("constant_then_cosine", initial_fraction=1.0)
    assert found == pytest.approx(cosine(0))


@pytest.mark.slow
@pytest.mark.parametrize(("share", "first"), [(0.1, 6), (0.5, 12), (0.8, 19), (None, 18)])
def test_it_is_constant_for_a_share_of_the_run_also_where_growth_ends_sooner(share, first):
    fields = {"chunk_fraction": 0.75, "trigger": {"kind": "schedule", "every": 3}}
    run, found = rates("constant_then_cosine", share, **fields)
    assert run.growth.ended_step == 6
    assert found[:first] == [BASE] * first
    assert found[first:] == pytest.approx(cosine(first))


def test_what_never_grows_is_constant_for_that_share_too():
    _, found = rates("constant_then_cosine", 0.5, initial_fraction=1.0)
    assert found[:12] == [BASE] * 12
    assert found[12:] == pytest.approx(cosine(12))
