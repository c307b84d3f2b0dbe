import numpy as np
import pytest

from autogrow.policy.layer_selection import LAYER_SELECTIONS, ActivationStd, Random
from autogrow.policy.records import GroupStatistics


def groups(stds):
    return [GroupStatistics(f"g{i}", 4, 8, std) for i, std in enumerate(stds)]


@pytest.mark.parametrize("kind", list(LAYER_SELECTIONS))
@pytest.mark.parametrize("count", [1, 2, 7, 33])
class TestEverySelection:
    def chosen(self, kind, count, seed=0):
        return LAYER_SELECTIONS[kind]().select(groups(range(count)), np.random.default_rng(seed))

    def test_chooses_some_of_the_groups_once_each(self, kind, count):
        chosen = self.chosen(kind, count)
        assert 1 <= len(chosen) == len(set(chosen)) <= count
        assert set(chosen) <= {f"g{i}" for i in range(count)}

    def test_is_a_function_of_its_arguments(self, kind, count):
        assert self.chosen(kind, count) == self.chosen(kind, count)


def test_activation_std_takes_the_largest():
    chosen = ActivationStd(fraction=0.5).select(groups([0.1, 3.0, 0.2, 2.0]), np.random.default_rng(0))
    assert chosen == ["g1", "g3"]


def test_activation_std_must_have_been_measured():
    with pytest.raises(ValueError, match="not measured"):
        ActivationStd().select([GroupStatistics("a", 1, 1)], np.random.default_rng(0))


@pytest.mark.parametrize(("fraction", "count", "expected"), [(0.2, 15, 3), (0.5, 5, 3), (0.01, 4, 1), (1.0, 4, 4)])
def test_fraction_is_rounded_up(fraction, count, expected):
    assert len(Random(fraction=fraction).select(groups([0] * count), np.random.default_rng(0))) == expected


def test_random_selections_differ_between_events():
    chosen = {tuple(Random().select(groups([0] * 20), np.random.default_rng(seed))) for seed in range(5)}
    assert len(chosen) > 1
