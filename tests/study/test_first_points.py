"""Points that a space has tried before any is drawn."""

import pytest
from optuna.trial import FixedTrial

from autogrow.errors import PolicyError
from autogrow.policy.presets import CONTROLS
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.sampling import Proposer
from autogrow.study.search import first_trials
from autogrow.study.search_space import FORMAT, SearchSpace
from autogrow.study.study_database import StudyDatabase

SPACE = {
    "format": FORMAT,
    "policy": {
        "chunk_fraction": {"low": 0.1, "high": 0.5, "step": 0.1},
        "trigger": [{"kind": "plateau"}, {"kind": "schedule", "every": {"low": 4, "high": 20}}],
    },
    "training": {"learning_rate": {"low": 1.0e-4, "high": 1.0e-2, "log": True}},
}
POINT = {"chunk_fraction": 0.2, "trigger.kind": "schedule", "trigger.schedule.every": 7}


def space_with(*points):
    return SearchSpace({**SPACE, "first": list(points)}, "space")


def test_points_are_kept_as_they_are():
    assert space_with(POINT, {"trigger.kind": "plateau"}).first_points == (POINT, {"trigger.kind": "plateau"})
    assert SearchSpace(SPACE, "space").first_points == ()


BAD_POINTS = {
    "no list": ({"chunk_fraction": 0.2}, "first is a list of points"),
    "empty point": ([{}], "first is a list of points"),
    "unknown parameter": ([{"chunk_fracton": 0.2}], "point 1: there is no parameter 'chunk_fracton'"),
    "of another choice": (
        [POINT, {"trigger.kind": "plateau", "trigger.schedule.every": 7}],
        "point 2: there is no parameter 'trigger.schedule.every'",
    ),
    "beyond the range": ([{"training.learning_rate": 1.0}], "training.learning_rate is 1.0, not between"),
    "between the steps": ([{"chunk_fraction": 0.25}], "chunk_fraction is 0.25, no step of 0.1"),
    "no choice": ([{"trigger.kind": "slope"}], "trigger.kind is 'slope', not one of plateau, schedule"),
    "no whole number": (
        [{"trigger.kind": "schedule", "trigger.schedule.every": 7.5}],
        "trigger.schedule.every is 7.5, not a whole number",
    ),
    "a word for a number": ([{"chunk_fraction": "small"}], "chunk_fraction is 'small'"),
}


@pytest.mark.parametrize(("points", "message"), BAD_POINTS.values(), ids=BAD_POINTS.keys())
def test_a_bad_point_is_refused_in_one_line(points, message):
    with pytest.raises(PolicyError) as caught:
        SearchSpace({**SPACE, "first": points}, "space")
    assert message in str(caught.value)
    assert str(caught.value).startswith("space: first")
    assert "\n" not in str(caught.value)


def test_they_are_tried_after_the_default_policy_and_the_sampler_learns_of_them(tmp_path, objectives, search_settings):
    space = space_with(POINT, {"trigger.kind": "plateau"})
    settings = search_settings(space=space.content, trials=30)
    database = StudyDatabase.create(tmp_path / "study.db", objectives, first_trials(settings, space))
    proposer = Proposer(database, space, settings, 100)
    default, first, second, drawn = (proposer.next() for _ in range(4))
    assert [proposal.role for proposal in (default, first, second, drawn)] == ["default", *["searched"] * 3]
    assert (first.policy.chunk_fraction, first.policy.trigger.every) == (0.2, 7)
    assert second.policy.trigger.kind == "plateau"
    params = database.trials()[first.number].params
    assert {**params, **POINT} == params
    assert space.suggest(FixedTrial(params), TrainingSettings())[0] == first.policy


def test_controls_go_before_points_where_trials_are_few(search_settings):
    space = space_with(POINT, POINT)
    settings = search_settings(space=space.content, trials=4)
    assert [queued.role for queued in first_trials(settings, space)] == [*CONTROLS, "searched"]
