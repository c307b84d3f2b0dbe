"""What is done next while a network is shrunk: from the record of steps alone."""

import json
from dataclasses import replace

import pytest

from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_plans import LEAST_GAIN, MOST_REJECTED, Family, KeepScore, ToSize
from autogrow.policy.shrink_records import Footprint, Latency, ShrinkStep, Target
from autogrow.policy.shrinking import Shrinking
from autogrow.reading.typed import typed

BEFORE = ShrinkStep("before", "", {}, {"a": 8}, 0.9, 0.1, Footprint(1000, 2000.0, 4000), (Latency(1.5, 64, 2),))


def take(plan, outcome, steps=(BEFORE,)):
    """All steps of a plan, each with what `outcome` makes of its target; the names and FLOPs that were asked for."""
    steps = list(steps)
    while (action := plan.next(steps)) is not None:
        step = replace(
            BEFORE, name=action.name, target=str(action.target), footprint=Footprint(1, action.target.value, 1)
        )
        steps.append(plan.judged(steps, outcome(step), action))
    return steps


def test_a_size_is_come_to_in_geometric_progression():
    plan = ToSize(Shrinking(cycles=3), Target("flops", 250.0), 2000.0)
    steps = take(plan, lambda step: step)
    assert [step.footprint.flops for step in steps] == pytest.approx([2000, 1000, 500, 250])
    assert steps[-1].footprint.flops == 250.0  # and exactly so
    assert all(step.is_kept for step in steps)


class TestKeepingTheScore:
    def test_it_goes_on_while_it_is_held_and_comes_back_to_the_last_that_held_it(self):
        def outcome(step):
            return replace(step, score=0.9 if step.footprint.flops >= 600 else 0.8)

        steps = take(KeepScore(Shrinking(), 0.05, by_loss=False), outcome)
        kept = [step.footprint.flops for step in steps if step.is_kept]
        assert kept == sorted(kept, reverse=True)
        assert 600 <= kept[-1] < 600 / 0.93
        assert [step.is_kept for step in steps[-MOST_REJECTED:]] == [False] * MOST_REJECTED
        assert "the validation score fell by 0.1, more than 0.05: taken back" in steps[-1].notes
        for step, following in zip(steps, steps[1:], strict=False):
            if not step.is_kept and not following.is_kept:
                assert following.footprint.flops > step.footprint.flops

    def test_where_nothing_holds_it_the_network_stays(self):
        steps = take(KeepScore(Shrinking(), 0.0, by_loss=False), lambda step: replace(step, score=0.1))
        assert [step.is_kept for step in steps] == [True] + [False] * MOST_REJECTED

    def test_steps_that_are_hardly_any_are_not_tried(self):
        def outcome(step):  # every other step is one too far, so that no three in a row are
            number = int(step.name.removeprefix("step "))
            return replace(step, score=0.9 if number % 2 else 0.8, removed_units={"a": 2})

        steps = take(KeepScore(Shrinking(), 0.05, by_loss=False), outcome)
        asked = [
            step.footprint.flops / before.footprint.flops
            for before, step in zip(steps, steps[1:], strict=False)
            if before.is_kept
        ]
        assert max(asked) <= 1 - LEAST_GAIN and len(steps) < 12

    def test_less_than_one_unit_is_not_tried(self):
        def outcome(step):
            return replace(step, score=0.1, removed_units={"a": 1})

        steps = take(KeepScore(Shrinking(), 0.05, by_loss=False), outcome)
        assert [step.is_kept for step in steps] == [True, False]

    def test_of_weights_it_is_those_that_are_not_zero_that_go(self):
        first = replace(BEFORE, footprint=replace(BEFORE.footprint, nonzero=800))
        action = KeepScore(Shrinking(remove="weights"), 0.05, by_loss=False).next([first])
        assert action.target == Target("nonzero", 600.0)

    def test_by_loss_a_rise_is_what_counts(self):
        better = replace(BEFORE, loss=0.05, score=0.0)
        plan = KeepScore(Shrinking(), 0.02, by_loss=True)
        assert plan.judged([BEFORE], better, plan.next([BEFORE])).is_kept
        assert plan.judged([BEFORE], replace(better, loss=0.12), plan.next([BEFORE])).is_kept
        assert not plan.judged([BEFORE], replace(better, loss=0.121), plan.next([BEFORE])).is_kept


def test_a_family_comes_off_one_trunk():
    recovery = Recovery(epochs=10, decay_share=0.4, distortion=0.5)
    steps = take(Family(Shrinking(recovery=recovery), 2000.0, (0.5, 0.25)), lambda step: step)
    assert [step.name for step in steps] == ["before", "trunk of 0.5", "0.5", "trunk of 0.25", "0.25"]
    assert [step.is_kept for step in steps] == [True, True, False, True, False]  # the next begins with the trunk
    assert [step.footprint.flops for step in steps[1:]] == [1000, 1000, 500, 500]
    plan = Family(Shrinking(recovery=recovery), 2000.0, (0.5,))
    trunk, member = plan.next(steps[:1]), plan.next(steps[:2])
    assert (trunk.recovery.decay_share, trunk.recovery.length_share) == (0.0, 0.6)
    assert (member.recovery.decay_share, member.recovery.length_share) == (1.0, 0.4)
    assert (trunk.recovery.distortion, member.recovery.distortion) == (0.5, 0.0)
    assert (trunk.member, member.member) == (None, "0.5")


def test_off_a_trunk_the_rate_falls_after_the_last_removal_alone():
    falls = {}
    for is_off_trunk in (False, True):
        plan = ToSize(Shrinking(cycles=3), Target("flops", 250.0), 2000.0, is_off_trunk)
        actions = [plan.next([BEFORE] * number) for number in (1, 2, 3)]
        falls[is_off_trunk] = [action.recovery.ends_settled for action in actions]
    assert falls == {False: [True] * 3, True: [False, False, True]}


@pytest.mark.parametrize(
    "plan",
    [
        ToSize(Shrinking(cycles=4), Target("flops", 100.0), 2000.0),
        KeepScore(Shrinking(), 0.05, by_loss=False),
        Family(Shrinking(), 2000.0, (0.5, 0.25, 0.1)),
    ],
    ids=["size", "keep", "family"],
)
def test_a_record_that_was_read_again_goes_on_alike(plan):
    def outcome(step):
        return replace(step, score=0.9 if step.footprint.flops >= 300 else 0.7).noting("seen")

    whole = take(plan, outcome)
    for number in range(1, len(whole) + 1):
        read = [
            typed(ShrinkStep, json.loads(json.dumps(step.to_dict())), "step", AssertionError) for step in whole[:number]
        ]
        assert take(plan, outcome, read) == whole
