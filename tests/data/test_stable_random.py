import numpy as np

from autogrow.data.stable_random import permutation, uniform


def test_a_permutation_is_one_and_is_pinned():
    assert sorted(permutation(1000, seed=5)) == list(range(1000))
    assert permutation(8, seed=0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert permutation(8, seed=1).tolist() != permutation(8, seed=0).tolist()


def test_every_first_place_is_about_equally_likely():
    first = np.bincount([permutation(5, seed=seed)[0] for seed in range(2000)])
    assert np.abs(first - 400).max() < 90  # 5 standard deviations


def test_uniform_numbers_fill_the_unit_interval():
    numbers = uniform(10_000, seed=0)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.015
