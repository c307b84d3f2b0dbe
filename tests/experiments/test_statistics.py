"""Means and paired differences against numbers computed by hand."""

import math

import pytest

from autogrow.experiments.statistics import paired_difference, spread


def test_mean_and_standard_deviation_of_the_sample():
    found = spread([1.0, 2.0, 6.0])
    assert (found.mean, found.num_seeds) == (3.0, 3)
    assert found.std == pytest.approx(math.sqrt((4 + 1 + 9) / 2))


def test_one_seed_has_no_deviation():
    assert spread([0.9]).std is None


def test_a_paired_difference_by_hand():
    # Differences 1, 2 and 6: mean 3, deviation sqrt(7), t = 3 / sqrt(7 / 3) = 1.9640 with 2 degrees of freedom, for
    # which the two-sided p is 1 - t / sqrt(2 + t^2) (the distribution has a closed form there).
    found = paired_difference([11.0, 22.0, 36.0], [10.0, 20.0, 30.0])
    t = 3 / math.sqrt(7 / 3)
    assert (found.mean, found.num_seeds, found.note) == (3.0, 3, "")
    assert found.standard_error == pytest.approx(math.sqrt(7 / 3))
    assert found.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_two_seeds_by_hand():
    # One degree of freedom: Cauchy's distribution, p = 1 - 2 / pi * atan(t). Differences 1 and 3: t = 2 / 1.
    found = paired_difference([2.0, 4.0], [1.0, 1.0])
    assert (found.mean, found.standard_error) == (2.0, pytest.approx(1.0))
    assert found.p_value == pytest.approx(1 - 2 / math.pi * math.atan(2))


def test_the_sign_follows_the_order():
    assert paired_difference([1.0, 2.0], [2.0, 4.0]).mean == -1.5


def test_one_seed_says_so():
    found = paired_difference([0.9], [0.8])
    assert (found.mean, found.standard_error, found.p_value) == (pytest.approx(0.1), None, None)
    assert found.note == "one seed: no standard error, no test"


@pytest.mark.parametrize("other", [[0.9, 0.8, 0.7], [0.8, 0.7, 0.6]])
def test_equal_differences_have_no_test(other):
    found = paired_difference([0.9, 0.8, 0.7], other)
    assert (found.standard_error, found.p_value) == (0.0, None)
    assert found.note == "the same difference for every seed: no test"


def test_rounding_is_no_variance():
    assert paired_difference([0.9 + 1e-8, 0.8, 0.7], [0.8, 0.7, 0.6]).p_value is None
    assert paired_difference([0.9 + 1e-5, 0.8, 0.7], [0.8, 0.7, 0.6]).p_value is not None
