import math

import numpy as np
import pytest

from autogrow.policy.layer_selection import LAYER_SELECTIONS, Probe, Random, RoundRobin
from autogrow.policy.records import GroupStatistics

MEASURING = [name for name, selection in LAYER_SELECTIONS.items() if selection.statistic]
NAN = math.nan


def groups(values, **fields):
    return [GroupStatistics(f"g{i}", 4, 8, value=value, **fields) for i, value in enumerate(values)]


def select(selection, statistics, seed=0):
    return selection.select(statistics, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", list(LAYER_SELECTIONS))
@pytest.mark.parametrize("count", [1, 2, 7, 33])
class TestEverySelection:
    def test_chooses_some_of_the_groups_once_each(self, kind, count):
        chosen = select(LAYER_SELECTIONS[kind](), groups(range(count)))
        assert 1 <= len(chosen) == len(set(chosen)) <= count
        assert set(chosen) <= {f"g{i}" for i in range(count)}

    def test_is_a_function_of_its_arguments(self, kind, count):
        statistics = groups(range(count))
        assert select(LAYER_SELECTIONS[kind](), statistics) == select(LAYER_SELECTIONS[kind](), statistics)
        assert statistics == groups(range(count))

    def test_measures_some_of_the_groups_if_it_measures_anything(self, kind, count):
        measured = LAYER_SELECTIONS[kind]().to_measure(groups([None] * count))
        names = [f"g{i}" for i in range(count)]
        assert measured == [name for name in names if name in measured]
        assert bool(measured) == bool(LAYER_SELECTIONS[kind].statistic)

    def test_what_it_measures_is_enough_to_choose(self, kind, count):
        selection = LAYER_SELECTIONS[kind]()
        measured = selection.to_measure(groups([None] * count))
        values = [1.0 if f"g{i}" in measured else None for i in range(count)]
        assert select(selection, groups(values))

    def test_takes_its_fraction(self, kind, count):
        if kind == "all":
            assert "fraction" not in LAYER_SELECTIONS[kind].model_fields
        else:
            assert len(select(LAYER_SELECTIONS[kind](fraction=1.0), groups(range(count)))) == count
            assert len(select(LAYER_SELECTIONS[kind](fraction=1e-9), groups(range(count)))) == 1


@pytest.mark.parametrize("kind", MEASURING)
class TestEveryMeasuringSelection:
    def test_statistic_is_called_by_its_name(self, kind):
        assert LAYER_SELECTIONS[kind].statistic == kind

    def test_takes_the_largest_first(self, kind):
        assert select(LAYER_SELECTIONS[kind](fraction=0.5), groups([0.1, 3.0, -0.2, 2.0])) == ["g1", "g3"]

    def test_ties_keep_the_networks_order(self, kind):
        assert select(LAYER_SELECTIONS[kind](fraction=0.5), groups([1.0, 2.0, 2.0, 2.0, 1.0, 2.0])) == [
            "g1",
            "g2",
            "g3",
        ]

    @pytest.mark.parametrize("values", [[NAN, 1.0, NAN, -5.0], [NAN, 1.0, NAN, -math.inf], [NAN, math.inf, NAN, 0.0]])
    def test_what_is_not_a_number_comes_last(self, kind, values):
        assert select(LAYER_SELECTIONS[kind](fraction=1.0), groups(values)) == ["g1", "g3", "g0", "g2"]

    def test_the_statistic_must_have_been_measured(self, kind):
        with pytest.raises(ValueError, match=f"{kind} .*was? ?not measured|{kind} was not measured"):
            select(LAYER_SELECTIONS[kind](), groups([None]))


def test_which_selections_need_targets_and_a_loss():
    needing = [name for name, selection in LAYER_SELECTIONS.items() if selection.needs_batch]
    assert needing == ["gradient_gain", "sensitivity", "probe"]


@pytest.mark.parametrize(("fraction", "count", "expected"), [(0.2, 15, 3), (0.5, 5, 3), (0.01, 4, 1), (1.0, 4, 4)])
def test_fraction_is_rounded_up(fraction, count, expected):
    assert len(select(Random(fraction=fraction), groups([0] * count))) == expected


def test_random_selections_differ_between_events():
    assert len({tuple(select(Random(), groups([0] * 20), seed)) for seed in range(5)}) > 1


def test_round_robin_takes_those_that_waited_longest():
    last_events = {"a": 3, "b": 0, "c": 1, "d": 0, "e": 3}
    statistics = [GroupStatistics(name, 4, 8, last_event=event) for name, event in last_events.items()]
    assert select(RoundRobin(fraction=0.6), statistics) == ["b", "d", "c"]


def test_round_robin_gets_round():
    grew = dict.fromkeys("abcde", 0)
    for event in range(1, 6):
        statistics = [GroupStatistics(name, 4, 8, last_event=last) for name, last in grew.items()]
        for name in select(RoundRobin(fraction=0.4), statistics):
            grew[name] = event
    assert grew == {"a": 5, "b": 4, "c": 4, "d": 5, "e": 3}


class TestProbe:
    wide = [GroupStatistics("a", 8, 16), GroupStatistics("b", 4, 16), GroupStatistics("c", 2, 4)]

    def test_tries_the_narrowest_relative_to_their_full_width(self):
        assert Probe(candidates=1).to_measure(self.wide) == ["b"]
        assert Probe(candidates=2).to_measure(self.wide) == ["a", "b"]
        assert Probe(candidates=9).to_measure(self.wide) == ["a", "b", "c"]

    def test_among_equals_those_that_grew_longest_ago(self):
        equals = [GroupStatistics(name, 4, 8, last_event=event) for name, event in {"a": 2, "b": 1, "c": 1}.items()]
        assert Probe(candidates=1).to_measure(equals) == ["b"]

    def test_chooses_among_those_that_were_tried(self):
        assert select(Probe(fraction=1.0), groups([None, -0.5, None, -0.1])) == ["g3", "g1"]
