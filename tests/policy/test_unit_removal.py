"""The order in which units are removed: from scores alone."""

import numpy as np
import pytest

from autogrow.errors import PolicyError
from autogrow.policy.unit_removal import RemovalOrder, removed_units

SCORES = {"a": np.array([4.0, 1.0, 3.0, 2.0]), "b": np.array([100.0, 300.0])}


def test_the_lowest_scores_go_first_relative_to_their_group():
    # Divided by their means: a 1.6, 0.4, 1.2, 0.8; b 0.5, 1.5. The best of each stays.
    assert RemovalOrder().order(SCORES) == [("a", 1), ("b", 0), ("a", 3), ("a", 2)]


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("none", [("a", 1), ("a", 3), ("a", 2), ("b", 0)]),
        ("largest", [("a", 1), ("b", 0), ("a", 3), ("a", 2)]),  # 0.25, 0.33, 0.5, 0.75
        ("standard_deviation", [("a", 1), ("b", 0), ("a", 3), ("a", 2)]),  # -1.34, -1, -0.45, 0.45
    ],
)
def test_scores_are_normalized_per_group(normalization, expected):
    assert RemovalOrder(normalization=normalization).order(SCORES) == expected


def test_a_budget_per_group_takes_the_same_share_of_all():
    order = RemovalOrder(budget="per_group").order({"a": np.arange(8.0), "b": np.arange(4.0) * 1000})
    for number in range(2, len(order)):
        removed = removed_units(order, number)
        shares = {name: len(units) / {"a": 8, "b": 4}[name] for name, units in removed.items()}
        assert max(shares.values()) - min(shares.values()) <= 0.25
    assert removed_units(order, len(order)) == {"a": [*range(7)], "b": [0, 1, 2]}


@pytest.mark.parametrize("budget", ["global", "per_group"])
def test_no_group_is_emptied(budget):
    for scores in (SCORES, {"a": np.zeros(3), "b": np.ones(1)}, {"a": -np.arange(5.0)}):
        removed = removed_units(RemovalOrder(budget=budget).order(scores), 10_000)
        for name, values in scores.items():
            assert len(removed.get(name, ())) == len(values) - 1
            assert int(np.argmax(values)) not in removed.get(name, ())


def test_a_share_that_stays():
    order = RemovalOrder(least_share=0.5).order(SCORES)
    assert removed_units(order, 99) == {"a": [1, 3], "b": [0]}
    assert RemovalOrder(least_share=1.0).order(SCORES) == []
    assert len(RemovalOrder(least_share=0.3).order({"a": np.arange(10.0)})) == 7  # 0.3 * 10 is 3.0000000000000004


def test_of_equals_the_last_goes_first():
    assert RemovalOrder().order({"a": np.ones(4)}) == [("a", 3), ("a", 2), ("a", 1)]


def test_a_group_that_cannot_be_scored_keeps_its_units():
    assert {name for name, _ in RemovalOrder().order({**SCORES, "a": np.full(4, np.nan)})} == {"b"}


def test_nothing_else_can_be_asked_for():
    with pytest.raises(PolicyError, match="normalization"):
        RemovalOrder(normalization="median")
    with pytest.raises(PolicyError, match="least_share"):
        RemovalOrder(least_share=1.5)


@pytest.mark.parametrize("normalization", ["mean", "largest", "standard_deviation", "none"])
@pytest.mark.parametrize("rest", [[1.0, 2.0, 0.5], [1.0, 1.0, 1.0], [np.inf, np.inf, np.inf]])
def test_infinite_scores_go_first_or_last(normalization, rest):
    order = RemovalOrder(normalization=normalization).order(
        {"a": np.array([np.inf, *rest]), "b": np.array([0.7, 3.0, -np.inf])}
    )
    assert order[0] == ("b", 2)
    assert len(set(order)) == 5
    assert np.isinf(rest).all() or ("a", 0) not in order  # the best of its group stays
