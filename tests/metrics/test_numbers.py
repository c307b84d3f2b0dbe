"""Numbers as they are written everywhere."""

import pytest

from autogrow.metrics import numbers
from autogrow.metrics.numbers import COEFFICIENT, SHARE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999.7, "1.00k"),
        (26_634, "26.6k"),
        (303_114, "303k"),
        (999_900, "1.00M"),
        (1.735e9, "1.74G"),
    ],
)
def test_counts(value, text):
    assert numbers.count(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.4123, "0.412"), (6.8, "6.80"), (41.23, "41.2"), (1234.5, "1,234")])
def test_seconds(value, text):
    assert numbers.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4, "0.400"), (0.07042, "0.0704"), (123.4, "123"), (999.7, "1,000"), (1234.5, "1,234"), (None, "–")],
)
def test_losses_and_milliseconds(value, text):
    assert numbers.significant(value) == text


def test_shares_and_coefficients():
    assert SHARE.text(0.98958) == "98.96"
    assert SHARE.with_unit(0.98958) == "98.96 %"
    assert COEFFICIENT.text(-0.25) == COEFFICIENT.with_unit(-0.25) == "-0.2500"
    assert SHARE.signed(0.0104) == "+1.04"
    assert SHARE.signed(-0.00001) == "+0.00"
    assert (SHARE.amount(-0.0104), COEFFICIENT.amount(-0.25)) == ("1.04 points", "0.2500")
    assert SHARE.text(None) == COEFFICIENT.signed(None) == numbers.MISSING
