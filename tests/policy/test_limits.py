import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogrow.policy.limits import NetworkSize, SizeLimits, largest_fitting

SIZE = NetworkSize(parameters=1000, flops=5e6, memory_bytes=2_000_000, latency_ms=1.5)
AT_THE_LIMIT = {"max_parameters": 1000, "max_flops": 5e6, "max_memory_bytes": 2_000_000, "max_latency_ms": 1.5}


def test_without_limits_every_size_will_do():
    assert not SizeLimits().is_set
    assert SizeLimits().exceeded(NetworkSize(10**12, 1e18)) is None


@pytest.mark.parametrize("name", AT_THE_LIMIT)
class TestEveryLimit:
    def test_a_size_at_the_limit_is_within_it(self, name):
        limits = SizeLimits(**{name: AT_THE_LIMIT[name]})
        assert limits.is_set
        assert limits.exceeded(SIZE) is None

    def test_a_size_above_it_is_named_in_one_line(self, name):
        sizes = {"max_parameters": 999, "max_flops": 4.9e6, "max_memory_bytes": 1_999_999, "max_latency_ms": 1.4}
        message = SizeLimits(**{name: sizes[name]}).exceeded(SIZE)
        assert message is not None and message.startswith(f"{name} ") and "\n" not in message

    def test_only_what_is_dear_and_asked_for_needs_measuring(self, name):
        limits = SizeLimits(**{name: AT_THE_LIMIT[name]})
        assert limits.needs_memory == (name == "max_memory_bytes")
        assert limits.needs_latency == (name == "max_latency_ms")


def test_of_two_limits_the_smaller_one_holds():
    first = SizeLimits(max_parameters=10, max_flops=3.0, max_memory_bytes=5)
    second = SizeLimits(max_parameters=20, max_flops=2.0, max_latency_ms=1.0)
    both = SizeLimits(max_parameters=10, max_flops=2.0, max_memory_bytes=5, max_latency_ms=1.0)
    assert first.tightened(second) == second.tightened(first) == both
    assert first.tightened(SizeLimits()) == first


def test_a_message_gives_limit_and_value():
    assert SizeLimits(max_parameters=100_000).exceeded(NetworkSize(120_500, 0.0)) == (
        "max_parameters 100,000: would be 120,500"
    )


@pytest.mark.parametrize("name", ["max_memory_bytes", "max_latency_ms"])
def test_a_limit_whose_value_was_not_measured_is_a_mistake(name):
    with pytest.raises(ValueError, match=f"{name} is set, but .* was not measured"):
        SizeLimits(**{name: 1}).exceeded(NetworkSize(1, 1.0))


@given(st.floats(-0.5, 1.5))
def test_the_largest_share_that_fits_is_found(limit):
    asked = []

    def fits(share):
        asked.append(share)
        return share <= limit

    found = largest_fitting(fits)
    if limit >= 1:
        assert found == 1 and asked == [1]
    elif limit < 0:
        assert found is None and len(asked) == 2
    else:
        assert found in asked and limit - 1 / 256 <= found <= limit
        assert len(asked) == 10
