"""What a policy wants to know and decides on, of records alone: for every trigger and every layer selection."""

import dataclasses

import pytest

from autogrow.policy.changes import Deepen, Freeze, Narrow, Shorten, Thaw, Widen, changes_shape, recorded
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.history import History, Stage
from autogrow.policy.layer_selection import LAYER_SELECTIONS
from autogrow.policy.records import GroupStatistics, GrowthEvent
from autogrow.policy.triggers import TRIGGERS
from tests.policy.samples import samples

FLAT = samples([1.0] * 60)
FALLING = samples([2.0 ** -(n / 3) for n in range(60)])
STAGES = (Stage("first", 1, 3), Stage("second", 2, 3))


def groups(*widths):
    return tuple(GroupStatistics(f"g{number}", width, 64) for number, width in enumerate(widths))


def event(sample, **changed):
    return GrowthEvent(
        index=1, step=sample + 1, sample=sample, parameters_before=1, parameters_after=2, flops_before=1.0,
        flops_after=2.0, trigger_value=0.0, trigger_reason="", largest_output_change=0.0, seconds=0.0,
        **{"widths": {}, "added_units": {}, **changed},
    )  # fmt: skip


def history(measured=FLAT, events=(), widths=(16, 16, 16), **fields):
    return History(measured, events, groups(*widths), **{"num_steps": 100, "num_events": len(events), **fields})


def policy(**fields):
    return GrowthPolicy.from_dict(fields)


def taken(the_policy, the_history):
    """Measurements as a trainer would take them."""
    wanted = the_policy.wants(the_history)
    return {request.statistic: {name: float(len(name)) for name in request.candidates} for request in wanted}


def decided(the_policy, the_history):
    return the_policy.decide(the_history, taken(the_policy, the_history))


@pytest.mark.parametrize("trigger", list(TRIGGERS))
@pytest.mark.parametrize("selection", list(LAYER_SELECTIONS))
class TestEveryPolicy:
    def test_wants_nothing_and_changes_nothing_before_it_is_time(self, trigger, selection):
        early = history(FLAT[:1])
        the_policy = policy(trigger=trigger, layer_selection=selection)
        assert the_policy.wants(early) == ()
        assert the_policy.decide(early, {}).changes == ()
        assert not the_policy.acts(early)

    def test_wants_what_its_selection_measures_when_it_is_time(self, trigger, selection):
        the_policy = policy(trigger=trigger, layer_selection=selection)
        wanted = the_policy.wants(history())
        statistic = LAYER_SELECTIONS[selection].statistic
        assert [request.statistic for request in wanted] == ([statistic] if statistic else [])
        for request in wanted:
            assert set(request.added_units) == set(request.candidates) <= {"g0", "g1", "g2"}
            for name, changes in request.candidates.items():
                assert changes == (Widen({name: 16}, the_policy.initialization),)

    def test_widens_some_groups_and_says_why(self, trigger, selection):
        decision = decided(policy(trigger=trigger, layer_selection=selection), history())
        (change,) = decision.changes
        assert isinstance(change, Widen) and set(change.added_units.values()) == {16}
        assert decision.trigger_reason and not decision.growth_ended_by
        assert policy(trigger=trigger, layer_selection=selection).acts(history())

    def test_is_a_function_of_its_arguments(self, trigger, selection):
        the_policy = policy(trigger=trigger, layer_selection=selection)
        assert decided(the_policy, history(seed=3)) == decided(the_policy, history(seed=3))

    def test_does_nothing_once_growth_has_ended(self, trigger, selection):
        the_policy, ended = policy(trigger=trigger, layer_selection=selection), history(has_ended=True)
        assert the_policy.wants(ended) == () and the_policy.decide(ended, {}).changes == ()
        assert not the_policy.acts(ended)


@pytest.mark.parametrize("selection", [name for name, kind in LAYER_SELECTIONS.items() if kind.statistic])
def test_a_measurement_that_is_missing_is_an_error(selection):
    with pytest.raises(ValueError, match="was not measured"):
        policy(layer_selection=selection).decide(history(), {})


def test_a_metric_that_improves_gives_no_reason_to_grow():
    improving = policy(trigger={"kind": "plateau", "max_wait": None}, layer_selection="rank")
    assert improving.wants(history(FALLING)) == ()
    assert decided(improving, history(FALLING)).changes == ()


@pytest.mark.parametrize(
    ("fields", "events", "reason"),
    [
        ({"grow_until": 0.1}, (), "grow_until of 0.1 of the run has passed"),
        (
            {"min_gain": 0.5, "layer_selection": "rank"},
            (event(20, added_units={"g0": 8}),),
            "less than min_gain of 0.5",
        ),
    ],
)
def test_growth_ends_with_its_reason_and_nothing_is_measured(fields, events, reason):
    the_policy = policy(**fields)
    assert the_policy.wants(history(events=events)) == ()
    decision = the_policy.decide(history(events=events), {})
    assert reason in decision.growth_ended_by
    assert decision.changes == ()


DEPTH = {"initial_fraction": 0.34, "trigger": {"kind": "schedule", "every": 5}}


def test_depth_grows_when_widths_keep_still():
    the_policy = policy(trigger={"kind": "schedule", "every": 1000}, depth=DEPTH)
    decision = the_policy.decide(history(stages=STAGES), {})
    assert decision.changes == (Deepen({"first": 1}),)
    assert the_policy.can_grow(history(widths=(64, 64, 64), stages=STAGES))
    assert not the_policy.can_grow(history(widths=(64, 64, 64), stages=(Stage("first", 3, 3),)))


class TestHolding:
    def test_what_is_old_is_held_from_the_event_on(self):
        changes = decided(policy(freeze="old"), history()).changes
        assert [type(change) for change in changes] == [Widen, Freeze]
        assert changes[1] == Freeze(1)

    def test_probed_forks_are_held_alike(self):
        (wanted,) = policy(freeze="old", layer_selection="probe").wants(history())
        assert {changes[-1] for changes in wanted.candidates.values()} == {Freeze(1)}

    @pytest.mark.parametrize(("since", "share"), [(2, None), (4, 0.25), (5, 0.5), (7, 1.0), (9, 1.0)])
    def test_what_is_held_is_let_go_little_by_little(self, since, share):
        thawing = policy(
            freeze={"kind": "thaw", "hold_samples": 3, "release_samples": 4}, trigger={"kind": "schedule", "every": 50}
        )
        events = (event(59 - since, added_units={"g0": 8}),)
        decision = thawing.decide(history(events=events, first_trained_cohort=1), {})
        assert decision.changes == (() if share is None else (Thaw(share),))
        assert not decision.changes_shape
        ended = thawing.decide(history(events=events, first_trained_cohort=1, has_ended=True), {})
        assert ended.changes == decision.changes

    def test_nothing_is_done_twice(self):
        thawing = policy(freeze={"kind": "thaw", "hold_samples": 3, "release_samples": 4}, grow_until=0.01)
        events = (event(54, added_units={"g0": 8}),)
        held = {"first_trained_cohort": 1, "released_share": 0.5}
        assert thawing.decide(history(events=events, **held), {}).changes == ()


class TestNarrowing:
    """Events are counted; what was taken away does not turn a plan back."""

    def test_a_group_that_lost_units_gets_the_chunk_after_its_last(self):
        growing = policy(initial_fraction=0.25, chunk_fraction=0.125, chunk_growth=2.0, trigger="schedule")
        after_two = [growing.added_units(width, 64) for width in (16, 24, 40)]
        assert after_two == [8, 16, 24]
        lost = (event(1, added_units={"g0": 24}), event(2, removed_units={"g0": 12}))
        (change,) = decided(growing, history(events=lost, widths=(28,))).changes
        assert change.added_units == {"g0": 24}

    def test_a_group_at_the_end_of_its_plan_gets_the_last_chunk_again(self):
        growing = policy(initial_fraction=0.25, chunk_fraction=0.25)
        assert growing.added_units(64, 64) == 0
        assert growing.added_units(40, 64, removed=24) == 16
        assert growing.added_units(60, 64, removed=4) == 4


def test_a_record_of_an_event_says_what_was_changed():
    changes = [
        Thaw(0.5), Narrow({"a": 2, "b": [0, 3, 4]}), Widen({"c": 8}), Shorten({"s": 1}), Deepen({"t": 2}), Freeze(3)
    ]  # fmt: skip
    assert recorded(changes) == {
        "removed_units": {"a": 2, "b": 3}, "added_units": {"c": 8}, "removed_blocks": {"s": 1},
        "added_blocks": {"t": 2}, "first_trained_cohort": 3,
    }  # fmt: skip
    assert recorded([Freeze(1)]) == {"added_units": {}, "first_trained_cohort": 1}
    assert changes_shape(changes) and not changes_shape([Freeze(1), Thaw()])


@pytest.mark.parametrize("change", [Widen({}), Narrow({}), Deepen({}), Shorten({}), Freeze(1), Thaw()])
def test_changes_are_frozen(change):
    for field in dataclasses.fields(change):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(change, field.name, getattr(change, field.name))


def test_records_of_events_hold_only_what_was_changed():
    plain = event(3, added_units={"a": 1})
    assert not {"removed_units", "removed_blocks", "first_trained_cohort"} & plain.to_dict().keys()
    narrowed = event(3, removed_units={"a": 1})
    assert GrowthEvent.from_dict(narrowed.to_dict()) == narrowed
