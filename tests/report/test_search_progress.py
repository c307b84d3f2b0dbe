"""Hypervolumes worked out by hand, and by counting cells of a grid."""

import itertools
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from autogrow.metrics.objectives import parse_objectives
from autogrow.report import search_progress as module
from autogrow.report.search_progress import search_progress

TWO = parse_objectives("accuracy,train_seconds")
START = datetime(2026, 1, 1)


def trial(number, *values, objectives=TWO, role="searched", state=TrialState.COMPLETE, ended=None, constraints=None):
    metrics = {objective.metric.name: value for objective, value in zip(objectives, values, strict=True)}
    complete = state == TrialState.COMPLETE
    made = create_trial(
        state=state,
        values=list(values) if complete else None,
        user_attrs={"role": role, "metrics": metrics},
        constraints=constraints,
    )
    made.number = number
    made.datetime_complete = START + timedelta(seconds=number if ended is None else ended)
    return made


# The ranges are 0.5 and 10, so the reference point is (0.45, 12): in elevenths of the box, the three lie at (10, 0),
# (0, 10) and (5, 5) from the best values. Each dominates (11 - x)(11 - y) of the 121 parts.
CHEAP, ACCURATE, MIDDLE = trial(0, 0.5, 1.0), trial(1, 1.0, 11.0), trial(2, 0.75, 6.0)


def in_parts(progress):
    return [None if value is None else round(121 * value, 9) for value in progress.values]


def test_by_hand():
    progress = search_progress([CHEAP, ACCURATE, MIDDLE], TWO)
    assert progress.measure == "hypervolume"
    assert progress.reference == pytest.approx({"accuracy": 0.45, "train_seconds": 12.0})
    assert progress.ideal == {"accuracy": 1.0, "train_seconds": 1.0}
    assert in_parts(progress) == [11, 11 + 11 - 1, 36 + 2 * 11 - 2 * 6 - 1 + 1]
    assert progress.final == progress.values[-1]


def test_trials_count_in_the_order_in_which_they_finished():
    progress = search_progress([trial(0, 0.5, 1.0, ended=9), ACCURATE, MIDDLE], TWO)
    assert progress.trials == (1, 2, 0)
    assert in_parts(progress) == [11, 11 + 36 - 6, 46]


def test_static_and_infeasible_trials_add_nothing_and_stopped_ones_are_no_step():
    others = [
        trial(3, 1.0, 1.0, role="static"),
        trial(4, 1.0, 1.0, constraints={"max_parameters": 1.0}),
        trial(5, 1.0, 1.0, state=TrialState.PRUNED),
        trial(6, 1.0, 1.0, state=TrialState.FAIL),
    ]
    progress = search_progress([CHEAP, ACCURATE, MIDDLE, *others], TWO)
    assert progress.trials == (0, 1, 2, 3, 4)
    assert in_parts(progress) == [11, 21, 46, 46, 46]


def test_the_static_control_sets_the_reference_point_and_an_infeasible_trial_does_not():
    static, infeasible = trial(0, 0.1, 21.0, role="static"), trial(1, 0.0, 99.0, constraints={"limit": 0.5})
    progress = search_progress([static, infeasible, trial(2, 1.0, 1.0)], TWO)
    assert progress.reference == pytest.approx({"accuracy": 0.01, "train_seconds": 23.0})
    assert progress.values == (None, None, 1.0)


def test_an_objective_in_which_trials_do_not_differ_tells_none_apart():
    progress = search_progress([trial(0, 0.5, 2.0), trial(1, 0.7, 2.0)], TWO)
    assert progress.values == pytest.approx((1 / 11, 1.0))


@pytest.mark.parametrize(
    ("objective", "values", "best"),
    [("accuracy", (0.5, 0.4, 0.9), (0.5, 0.5, 0.9)), ("loss", (0.5, 0.7, -0.1), (0.5, 0.5, -0.1))],
)
def test_one_objective_shows_the_best_value_in_its_own_unit(objective, values, best):
    one = parse_objectives(objective)
    progress = search_progress([trial(n, value, objectives=one) for n, value in enumerate(values)], one)
    assert (progress.measure, progress.values) == ("best", best)


def test_nothing_has_finished():
    for trials in ([], [trial(0, 0.5, 1.0, role="static")], [trial(0, 0.5, 1.0, state=TrialState.PRUNED)]):
        progress = search_progress(trials, TWO)
        assert (progress.trials, progress.final, progress.reason) == ((), None, "No grown trial has finished.")


def test_too_many_trials_in_too_many_objectives_are_not_computed(monkeypatch):
    monkeypatch.setattr(module, "MANY_OBJECTIVES", 2)
    monkeypatch.setattr(module, "MOST_TRIALS", 2)
    progress = search_progress([CHEAP, ACCURATE, MIDDLE], TWO)
    assert progress.final is None
    assert progress.reason == "A hypervolume of 2 objectives is computed for up to 2 trials only."


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(2, 4).flatmap(lambda k: st.lists(st.tuples(*[st.integers(0, 10)] * k), min_size=1, max_size=8)))
def test_against_counting_cells(points):
    """On a grid whose best is 0 and whose worst is 10 the box has 11 cells a side, each dominated or not."""
    k = len(points[0])
    objectives = parse_objectives("generalization_gap,train_seconds,parameters,flops")[:k]
    corners = [trial(n, *[value] * k, objectives=objectives, role="static") for n, value in enumerate((0, 10))]
    trials = [trial(2 + n, *point, objectives=objectives) for n, point in enumerate(points)]
    values = search_progress([*corners, *trials], objectives).values[2:]
    cells = np.array(list(itertools.product(range(11), repeat=k)))
    dominated = np.zeros(len(cells), dtype=bool)
    for point, value in zip(points, values, strict=True):
        dominated |= (cells >= np.array(point)).all(axis=1)
        assert value == pytest.approx(dominated.mean())
