"""Widths along a run: where they start, how they rise, and that they end exactly where they should."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autogrow.policy.growth_policy import GrowthPolicy

shares = st.floats(0.01, 1.0)
policies = st.builds(
    lambda initial, more, **fields: GrowthPolicy(
        initial_fraction=initial, max_fraction=min(4.0, initial + more), **fields
    ),
    initial=shares,
    more=st.floats(0.0, 1.5),
    chunk_fraction=shares,
    chunk_growth=st.one_of(st.just(1.0), st.floats(1.0, 4.0)),
    width_multiple=st.integers(1, 64),
    initialization=st.sampled_from(["zero_fan_out", "paired"]),
)


def widths_of(policy, full_width):
    """The widths of a group that takes part in every event."""
    widths = [policy.initial_width(full_width)]
    while added := policy.added_units(widths[-1], full_width):
        widths.append(widths[-1] + added)
        assert len(widths) <= 4 * full_width
    return widths


@given(policies, st.integers(1, 2000))
def test_growing_ends_exactly_at_the_maximum_in_a_bounded_number_of_events(policy, full_width):
    unit = policy.initialization.unit_multiple
    widths = widths_of(policy, full_width)
    assert widths[0] >= 1
    assert widths[-1] == policy.max_width(full_width)
    assert all(
        after > before and (after - before) % unit == 0 for before, after in zip(widths, widths[1:], strict=False)
    )
    assert len(widths) - 1 <= policy.num_width_events
    assert policy.max_width(full_width) == max(1, math.floor(round(policy.max_fraction * full_width, 9) + 0.5))


@pytest.mark.slow
@given(policies, st.integers(1, 2000), st.integers(1, 2000))
def test_from_any_width_growing_ends_less_than_one_unit_multiple_below_the_maximum(policy, full_width, width):
    maximum = policy.max_width(full_width)
    assume(width <= maximum)
    events = 0
    while added := policy.added_units(width, full_width):
        width += added
        events += 1
    assert 0 <= maximum - width < policy.initialization.unit_multiple
    assert events <= policy.num_width_events + 1


@given(policies, st.integers(1, 2000))
def test_chunks_are_as_large_as_the_policy_says(policy, full_width):
    widths = widths_of(policy, full_width)
    rounding = policy.width_multiple + 2 * policy.initialization.unit_multiple
    for event, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
        # Less than half a chunk left over may join an event. A narrow group may skip events, hence the later chunks.
        largest = policy.chunk_fraction * policy.chunk_growth ** (policy.num_width_events - 1)
        chunk = policy.chunk_fraction * policy.chunk_growth**event if len(widths) > policy.num_width_events else largest
        assert after - before <= 1.5 * chunk * full_width + rounding


@given(policies, st.data())
def test_groups_of_different_widths_that_grow_together_reach_their_maximum_together(policy, data):
    # As long as a chunk is at least two units (or pairs of them), so that no event can round to nothing.
    narrowest = math.ceil(2 * policy.initialization.unit_multiple / policy.chunk_fraction)
    for full_width in data.draw(st.lists(st.integers(narrowest, narrowest + 3000), min_size=1, max_size=3)):
        assume(not policy.widens or round(policy.max_fraction - policy.initial_fraction, 2) >= policy.chunk_fraction)
        assert len(widths_of(policy, full_width)) - 1 == policy.num_width_events


@pytest.mark.slow
@given(policies, st.integers(1, 5000))
def test_wide_groups_have_widths_that_are_multiples(policy, full_width):
    unit, multiple = policy.initialization.unit_multiple, policy.width_multiple
    step = math.lcm(multiple, unit)
    assume(full_width >= 8 * multiple and policy.chunk_fraction * full_width >= 2 * step)
    assume(policy.max_fraction - policy.initial_fraction > policy.chunk_fraction)
    widths = widths_of(policy, full_width)
    rest = widths[-1] % unit
    for width in widths[:-1]:
        assert width % step == rest or width < step


@pytest.mark.parametrize(
    ("full_width", "fields", "expected"),
    [
        (64, {}, [16, 32, 48, 64]),
        (63, {}, [16, 31, 47, 63]),  # below 8 multiples: left as it is
        (100, {}, [24, 48, 72, 100]),  # multiples on the way, and all of it at the end
        (100, {"width_multiple": 1}, [25, 50, 75, 100]),
        (512, {"width_multiple": 64}, [128, 256, 384, 512]),
        (500, {"width_multiple": 64}, [125, 250, 375, 500]),  # 500 is below 8 * 64
        (64, {"chunk_fraction": 0.1, "initial_fraction": 0.1}, [6, 13, 19, 26, 32, 38, 45, 51, 58, 64]),
        (512, {"max_fraction": 1.5}, [128, 256, 384, 512, 640, 768]),
        (1000, {"initial_fraction": 0.1, "chunk_fraction": 0.1, "chunk_growth": 2.0}, [96, 200, 400, 800, 1000]),
        (10, {"initialization": "paired"}, [2, 4, 8, 10]),
        (13, {"initialization": "paired"}, [3, 7, 9, 13]),
        (101, {"initialization": "paired"}, [25, 49, 73, 101]),
        (1, {"initialization": "paired"}, [1]),
        (2, {"initialization": "paired"}, [2]),
        (3, {"initialization": "paired"}, [1, 3]),
        (100, {"initial_fraction": 0.02}, [2, 24, 48, 80, 100]),
        (64, {"initial_fraction": 1.0}, [64]),
        (70, {"initial_fraction": 0.5, "max_fraction": 0.5}, [35]),
    ],
)
def test_widths_along_a_run(full_width, fields, expected):
    assert widths_of(GrowthPolicy(**fields), full_width) == expected


def test_chunks_grow_by_their_factor():
    policy = GrowthPolicy(initial_fraction=0.1, chunk_fraction=0.1, chunk_growth=1.2, width_multiple=1)
    widths = widths_of(policy, 10_000)
    chunks = [after - before for before, after in zip(widths, widths[1:], strict=False)]
    assert chunks[:4] == [1000, 1200, 1440, 1728]
    assert widths[-1] == 10_000


def test_half_a_chunk_left_over_is_an_event_of_its_own_and_less_joins_the_one_before():
    assert widths_of(GrowthPolicy(initial_fraction=0.3, chunk_fraction=0.2, width_multiple=1), 100)[-2:] == [90, 100]
    assert widths_of(GrowthPolicy(initial_fraction=0.35, chunk_fraction=0.2, width_multiple=1), 100)[-2:] == [75, 100]


@pytest.mark.parametrize("initialization", ["zero_fan_out", "paired"])
@pytest.mark.parametrize("chunk_growth", [1.0, 1.0000001, 1.5, 4.0])
@pytest.mark.parametrize("chunk_fraction", [1e-300, 1e-9, 1e-3])
def test_tiny_chunks_still_come_to_an_end(chunk_fraction, chunk_growth, initialization):
    policy = GrowthPolicy(
        chunk_fraction=chunk_fraction, chunk_growth=chunk_growth, initialization=initialization, width_multiple=1
    )
    assert widths_of(policy, 50)[-1] == 50
