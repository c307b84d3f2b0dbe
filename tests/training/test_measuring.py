import pytest

from autogrow.training.measuring import expected_samples, sample_interval


@pytest.mark.parametrize(("steps", "interval"), [(9, 1), (100, 1), (195, 2), (450, 5), (10_000, 100), (70_000, 100)])
def test_about_a_hundred_samples_and_the_thesis_interval_for_long_runs(steps, interval):
    assert sample_interval(steps) == interval


@pytest.mark.parametrize(("steps", "every", "samples"), [(100, None, 100), (450, None, 90), (45, 10, 5)])
def test_expected_samples(steps, every, samples):
    assert expected_samples(steps, every) == samples
