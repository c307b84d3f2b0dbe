"""What a network can be asked to become, and what is refused before anything is measured."""

import pytest

from autogrow.errors import UsageError
from autogrow.export.shrink_goal import Goal
from autogrow.export.shrinking import ShrinkOptions
from autogrow.policy.removals import RemoveUnits
from autogrow.policy.shrink_records import METRICS, Footprint, Latency, Target

INFINITY = float("inf")


@pytest.mark.parametrize("value", [0.0, -1.0, INFINITY, -INFINITY, float("nan")])
@pytest.mark.parametrize("metric", METRICS)
def test_sizes_that_no_network_has(metric, value):
    with pytest.raises(UsageError, match="cannot be had: give a number above 0"):
        Goal(Target(metric, value))


@pytest.mark.parametrize("keep", [-0.1, INFINITY, float("nan")])
def test_losses_that_are_no_limit(keep):
    with pytest.raises(UsageError, match="give 0 or more"):
        Goal(keep=keep)


@pytest.mark.parametrize("shares", [(0.0,), (1.0,), (INFINITY,), (float("nan"),), (0.5, 0.5), (0.25, 0.5)])
def test_shares_that_are_no_family(shares):
    with pytest.raises(UsageError, match="give shares between 0 and 1, each smaller than the one before"):
        Goal(family=shares)


def test_networks_of_a_family_have_names_of_their_own():
    with pytest.raises(UsageError, match=r"family has 0\.5 twice"):
        Goal(family=(0.5000001, 0.5))
    assert Goal(family=(0.51, 0.5, 1e-9)).family[-1] == 1e-9


@pytest.mark.parametrize(("value", "wanted"), [(1.0, 1000.0), (0.5, 500.0), (2.0, 2.0), (400.0, 400.0)])
def test_up_to_1_a_size_is_a_share(value, wanted):
    assert Goal(Target("flops", value)).target(Footprint(10, 1000.0, 40), RemoveUnits()) == Target("flops", wanted)


def test_milliseconds_are_never_a_share():
    assert Goal(Target("latency_ms", 0.5)).target(Footprint(10, 1000.0, 40), RemoveUnits()).value == 0.5


def test_a_result_that_is_slower_than_was_asked_for_says_so():
    times = (Latency(0.1, 1, 1), Latency(0.7, 64, 1))
    (note,) = Goal(Target("latency_ms", 0.5)).notes_on(times)
    assert "takes 0.7 ms at the end, not 0.5" in note
    assert Goal(Target("latency_ms", 0.7)).notes_on(times) == ()
    assert Goal(Target("flops", 0.5)).notes_on(times) == Goal(keep=0.1).notes_on(times) == ()


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_seeds_that_there_cannot_be(seed):
    with pytest.raises(UsageError, match=f"seed {seed} is not between 0 and 4294967295"):
        ShrinkOptions(seed=seed)
