"""When a network stops growing, what it says about it, and that no limit is ever exceeded."""

from dataclasses import replace

import pytest

from autogrow.errors import NetworkError
from autogrow.network.measuring.flops import training_flops_per_example
from autogrow.network.measuring.size import measure_size, training_memory_bytes
from autogrow.policy.initializations import INITIALIZATIONS
from autogrow.policy.limits import SizeLimits
from autogrow.policy.stopping import relative_gain
from autogrow.training.ending import Signal
from tests.training.runs import STAGED, policy, settings, trained, trainer

pytestmark = pytest.mark.usefixtures("one_thread")

EVERYTHING = SizeLimits(max_parameters=1, max_flops=1.0, max_memory_bytes=1, max_latency_ms=1.0)
"""Asks `measure_size` for all there is."""


@pytest.fixture(autouse=True)
def latency_by_parameters(monkeypatch):
    """A clock is not to be relied on: here a network takes a microsecond per parameter."""
    monkeypatch.setattr(
        "autogrow.network.measuring.size.latency_ms",
        lambda model, batch: sum(p.numel() for p in model.parameters()) / 1000,
    )


def size_of(run):
    return measure_size(run.model, run.metrics.step_inputs, EVERYTHING)


SOON = {"trigger": {"kind": "schedule", "every": 2}}
SHORT = settings(epochs=2)


def watched(policy_fields, **network):
    """A run of 12 steps that has ended, and the network's size at the start and after every event."""
    run = trainer(the_policy=policy(**SOON, **policy_fields), the_settings=SHORT, **network)
    sizes = [size_of(run)]

    def look(sample):
        if run.events and run.events[-1].step == sample.step:
            sizes.append(size_of(run))
        return Signal.CONTINUE

    run.on_sample = look
    return run, run.run(), sizes


@pytest.mark.slow
@pytest.mark.parametrize(("fraction", "widths"), [(1.0, (16, 12)), (0.5, (8, 6)), (1.5, (24, 18))])
def test_everything_is_at_its_maximum(fraction, widths):
    run = trainer(the_policy=policy(max_fraction=fraction, **SOON), the_settings=SHORT)
    outcome = run.run()
    assert tuple(outcome.shape.widths.values()) == widths
    assert outcome.growth_ended_by == "everything is at its maximum"
    assert run.growth.ended_step == run.events[-1].step


def test_there_is_nothing_to_grow():
    run = trainer(the_policy=policy(initial_fraction=1.0))
    assert run.growth.ended_step == 0
    assert run.run().growth_ended_by == "there is nothing to grow"


def test_a_run_that_ends_before_growth_does_says_nothing():
    assert trainer(the_settings=settings(epochs=1)).run().growth_ended_by == ""


def test_grow_until():
    run = trainer(the_policy=policy(grow_until=0.35))
    assert run.run().growth_ended_by == "grow_until of 0.35 of the run has passed"
    assert [event.step for event in run.events] == [4, 8]
    assert run.growth.ended_step == 9


def test_min_gain_ends_growth_for_good():
    """Even if what the last event has bought becomes enough after all."""
    run = trainer(
        the_policy=policy(min_gain=0.1, initialization="xavier", **SOON),
        the_settings=settings(epochs=8, learning_rate=0.01),
    )
    outcome = run.run()
    assert outcome.growth_ended_by == "the last event bought less than min_gain of 0.1"
    at_the_end = [sample for sample in run.samples if sample.step <= run.growth.ended_step]
    assert relative_gain(at_the_end, run.events) < 0.1 < relative_gain(run.samples, run.events)
    assert run.growth.ended_step < run.samples[-3].step


def test_without_min_gain_it_goes_on():
    assert len(trained(the_policy=policy(**SOON), the_settings=SHORT).events) == 3
    assert len(trained(the_policy=policy(**SOON, min_gain=0.5), the_settings=SHORT).events) == 1


LIMITS = {
    "max_parameters": (3000, "parameters"),
    "max_flops": (12_000.0, "flops"),
    "max_memory_bytes": (63_000, "memory_bytes"),
    "max_latency_ms": (3.0, "latency_ms"),
}
"""Between the sizes before and after the third and last event of the policy."""


@pytest.mark.slow
@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_cuts_the_last_event_down_and_ends_growth(limit):
    value, what = LIMITS[limit]
    run, outcome, sizes = watched({"limits": {limit: value}})
    measured = [getattr(size, what) for size in sizes]
    assert max(measured) <= value
    assert measured[-1] > 0.85 * value
    assert [bool(event.limited_by) for event in run.events] == [False, False, True]
    assert run.events[-1].limited_by.startswith(f"{limit} ")
    assert outcome.growth_ended_by.startswith(f"{limit} ")
    units = [sum(event.added_units.values()) for event in run.events]
    assert 0 < units[-1] < units[-2] == units[-3]
    unlimited = trained(the_policy=policy(**SOON), the_settings=SHORT)
    assert [replace(event, seconds=0.0) for event in run.events[:2]] == [
        replace(event, seconds=0.0) for event in unlimited.events[:2]
    ]


def test_the_first_limit_that_is_met_counts():
    _, outcome, sizes = watched({"limits": {"max_parameters": 2400, "max_latency_ms": 1.9}})
    assert outcome.growth_ended_by.startswith("max_latency_ms 1.9")
    assert max(size.parameters for size in sizes) <= 1900


@pytest.mark.slow
@pytest.mark.parametrize("initialization", ["paired", "tiny", "gradient_max"])
def test_initializations_keep_to_the_limit(initialization):
    run, _, sizes = watched({"limits": {"max_parameters": 2400}, "initialization": initialization})
    assert max(size.parameters for size in sizes) <= 2400
    multiple = INITIALIZATIONS[initialization].unit_multiple
    assert all(units % multiple == 0 for event in run.events for units in event.added_units.values())


@pytest.mark.slow
@pytest.mark.parametrize("selection", ["random", "round_robin", "probe", "activation_std"])
def test_some_groups_alone_keep_to_the_limit(selection):
    chosen = {"kind": selection, "fraction": 0.5, **({"steps": 1} if selection == "probe" else {})}
    _, outcome, sizes = watched({"limits": {"max_parameters": 1500}, "layer_selection": chosen})
    assert max(size.parameters for size in sizes) <= 1500
    assert outcome.growth_ended_by.startswith("max_parameters 1,500: would be ")


DEPTH = {"initial_fraction": 0.5, "stage_selection": "all", "trigger": {"kind": "schedule", "every": 2}}


@pytest.mark.slow
def test_blocks_are_left_out_until_the_rest_fits():
    """A block of the last stage has some 4,700 parameters, one of the first two some 300 and 1,200."""
    run, outcome, sizes = watched(
        {"initial_fraction": 1.0, "depth": DEPTH, "limits": {"max_parameters": 9000}}, **STAGED
    )
    assert [event.added_blocks for event in run.events] == [{"stages.0": 1, "stages.1": 1}]
    assert run.events[0].limited_by.startswith("max_parameters 9,000: would be ")
    assert outcome.growth_ended_by.startswith("max_parameters 9,000: would be ")
    assert 5000 < sizes[0].parameters < max(size.parameters for size in sizes) <= 9000


@pytest.mark.slow
def test_width_and_depth_together_keep_to_the_limit():
    run, _, sizes = watched(
        {"limits": {"max_parameters": 6000}, "depth": {**DEPTH, "stage_selection": "round_robin"}}, **STAGED
    )
    assert any(event.added_blocks for event in run.events) and any(event.added_units for event in run.events)
    assert max(size.parameters for size in sizes) <= 6000


@pytest.mark.slow
@pytest.mark.parametrize("limit", LIMITS)
def test_a_start_that_is_too_large_is_cut_down(limit):
    value, what = LIMITS[limit]
    _, outcome, sizes = watched({"initial_fraction": 0.9, "limits": {limit: value}})
    assert 0.7 * value < getattr(sizes[0], what) <= value
    assert max(getattr(size, what) for size in sizes) <= value
    assert outcome.growth_ended_by.startswith(f"{limit} ")


def test_a_static_network_is_cut_down_too():
    run, outcome, sizes = watched({"initial_fraction": 1.0, "limits": {"max_parameters": 1000}})
    assert 700 < sizes[0].parameters <= 1000
    assert run.events == []
    assert {size.parameters for size in sizes} == {sizes[0].parameters}
    assert outcome.growth_ended_by == "there is nothing to grow"


@pytest.mark.parametrize(
    ("limit", "value"),
    [("max_parameters", 100), ("max_flops", 50.0), ("max_memory_bytes", 1000), ("max_latency_ms", 0.1)],
)
def test_a_limit_below_one_unit_per_group_is_an_error(limit, value):
    with pytest.raises(NetworkError, match=f"too large even with one unit per group: {limit} .*: would be "):
        trainer(the_policy=policy(limits={limit: value}))


def test_a_limit_that_is_not_met_changes_nothing():
    free = trained(the_settings=SHORT)
    limits = {"max_parameters": 10**9, "max_latency_ms": 1e9}
    limited = trained(the_policy=policy(limits=limits), the_settings=SHORT)
    assert [event.widths for event in free.events] == [event.widths for event in limited.events]
    assert {event.limited_by for event in limited.events} == {None}


def test_sizes_are_of_the_batch_that_is_measured_on():
    """What the limits mean does not change between two events of equal size."""
    run = trainer(the_policy=policy(initial_fraction=1.0))
    inputs = run.growth.batch.inputs
    assert training_memory_bytes(run.model, inputs) > training_memory_bytes(run.model, inputs[:2])
    assert training_flops_per_example(run.model, inputs) == training_flops_per_example(run.model, inputs[:2])
