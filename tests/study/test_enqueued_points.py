"""Points that users of Optuna, or of its dashboard, enqueue: what can be tried is, any other fails by itself."""

import math
import warnings

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from autogrow.study.sampling import Proposer
from autogrow.study.search_space import SearchSpace
from autogrow.study.study_database import StudyDatabase
from autogrow.study.study_location import SharedStudy

from .made_results import complete

pytestmark = pytest.mark.slow

SPACE = {
    "format": "autogrow-space/1",
    "policy": {
        "initial_fraction": {"low": 0.2, "high": 0.6},
        "chunk_fraction": {"low": 0.25, "high": 0.75, "step": 0.25},
        "initialization": ["zero_fan_out", "xavier"],
        "layer_selection": [{"kind": "all"}, {"kind": "random", "fraction": {"low": 0.2, "high": 0.9}}],
        "trigger": {"kind": "schedule", "every": {"low": 8, "high": 25}},
        "limits": {"max_parameters": [None, 100_000]},
    },
    "training": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
}


@pytest.fixture
def search(tmp_path, objectives, search_settings):
    """A study without controls, and what proposes its trials."""
    chosen = search_settings(space=SPACE, trials=20, sampler="random")
    database = StudyDatabase.create(tmp_path / "study.db", objectives, [])
    refused = []
    proposer = Proposer(
        database, SearchSpace(SPACE, "space"), chosen, 100, refused=lambda number, reason: refused.append(reason)
    )
    return database, proposer, refused


def enqueue(database, point):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        database.study.enqueue_trial(point)
    database._known = None


GOOD = {
    "partly": {"initial_fraction": 0.25},
    "nothing": {},
    "an end of a range": {"initial_fraction": 0.6},
    "a whole number as a browser writes it": {"trigger.schedule.every": 9.0},
    "no limit": {"limits.max_parameters": None},
    "of a kind that is not chosen": {"layer_selection.kind": "all", "layer_selection.random.fraction": 0.5},
    "of a kind that is": {"layer_selection.kind": "random", "layer_selection.random.fraction": 0.5},
    "training": {"training.learning_rate": 0.001},
}
BAD = {
    "unknown category": ({"layer_selection.kind": "nonsense"}, "layer_selection.kind is 'nonsense', not one of all"),
    "category of another type": ({"initialization": 3}, "initialization is 3, not one of zero_fan_out, xavier"),
    "category that is a list": ({"initialization": ["xavier"]}, r"initialization is \['xavier'\], not one of"),
    "below": ({"initial_fraction": -0.5}, "initial_fraction is -0.5, not between 0.2 and 0.6"),
    "within what a policy may have": ({"initial_fraction": 0.9}, "initial_fraction is 0.9, not between 0.2 and 0.6"),
    "off a step": ({"chunk_fraction": 0.3}, "chunk_fraction is 0.3, no step of 0.25 from 0.25"),
    "a word": ({"initial_fraction": "abc"}, "initial_fraction is 'abc', not between"),
    "a number as a word": ({"initial_fraction": "0.3"}, "initial_fraction is '0.3', not between"),
    "true": ({"initial_fraction": True}, "initial_fraction is True, not between"),
    "nothing": ({"initial_fraction": None}, "initial_fraction is None, not between"),
    "a mapping": ({"initial_fraction": {"low": 0.2}}, "initial_fraction is {'low': 0.2}, not between"),
    "not a number": ({"initial_fraction": math.nan}, "initial_fraction is nan, not between"),
    "infinite": ({"training.learning_rate": math.inf}, "training.learning_rate is inf, not between"),
    "half a whole number": ({"trigger.schedule.every": 9.5}, "trigger.schedule.every is 9.5, not a whole number"),
    "an infinite whole number": ({"trigger.schedule.every": math.inf}, "every is inf, not a whole number"),
    "a misspelt name": ({"inital_fraction": 0.3}, "no parameter 'inital_fraction' .*did you mean 'initial_fraction'"),
    "one of two": ({"initial_fraction": 0.3, "chunk_fraction": 7}, "chunk_fraction is 7, not between"),
}


@pytest.mark.parametrize("point", GOOD.values(), ids=GOOD)
def test_a_point_of_the_space_is_tried(search, point):
    database, proposer, refused = search
    enqueue(database, point)
    number = proposer.next().number
    tried = database.trials()[number]
    assert refused == []
    assert all(tried.params[name] == value for name, value in point.items() if name in tried.params)
    assert "initial_fraction" in tried.params


@pytest.mark.parametrize(("point", "reason"), BAD.values(), ids=BAD)
def test_any_other_fails_with_its_reason_and_the_search_goes_on(search, point, reason):
    database, proposer, refused = search
    enqueue(database, point)
    enqueue(database, {"initial_fraction": 0.5})
    proposal = proposer.next()
    assert (proposal.number, proposal.policy.initial_fraction) == (1, 0.5)
    failed = database.trials()[0]
    assert failed.state == TrialState.FAIL
    assert refused == [failed.user_attrs["reason"]]
    with pytest.raises(ValueError, match=reason):
        raise ValueError(refused[0])
    assert [proposer.next().number for _ in range(3)] == [2, 3, 4]


def test_it_takes_one_of_the_trials_of_the_budget(search):
    database, proposer, _ = search
    for _ in range(3):
        enqueue(database, {"initial_fraction": 2})
    assert sum(proposer.next() is not None for _ in range(30)) == 17
    assert database.num_proposed() == 20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(sorted({name for point in GOOD.values() for name in point})) | st.text()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(point=st.dictionaries(NAMES, JSON, max_size=4))
def test_whatever_is_enqueued_the_search_goes_on(memory_study, point):
    database, proposer, refused = memory_study()
    enqueue(database, point)
    number = proposer.next().number
    assert (number, len(refused)) in ((0, 0), (1, 1))


@pytest.fixture
def memory_study(tmp_path, objectives, search_settings):
    """The same without a file, which would take most of the time."""

    def make():
        study = optuna.create_study(directions=[each.direction for each in objectives])
        database = StudyDatabase(study, objectives, tmp_path / "study.db")
        refused = []
        chosen = search_settings(space=SPACE, trials=20, sampler="random")
        proposer = Proposer(
            database, SearchSpace(SPACE, "space"), chosen, 100, refused=lambda number, reason: refused.append(reason)
        )
        return database, proposer, refused

    return make


def test_one_that_was_added_with_its_parameters_is_tried_by_them(search):
    database, proposer, _ = search
    given = {"params": {"initial_fraction": 0.3}, "distributions": {"initial_fraction": FloatDistribution(0.2, 0.6)}}
    database.study.add_trial(create_trial(state=TrialState.WAITING, **given))
    database._known = None
    assert proposer.next().policy.initial_fraction == 0.3


@pytest.mark.parametrize(
    "attributes",
    [
        {"policy": {"initial_fraction": 7}, "training": {}},
        {"policy": {"initial_fraction": 0.5}},
        {"policy": 3, "training": {}},
        {"role": "transferred", "given_policy": {"initial_fraction": 7}, "origin": "x"},
        {"role": "transferred", "given_policy": {}},
        {"role": "transferred", "given_policy": [1], "origin": "x"},
    ],
)
def test_attributes_that_are_no_policy_fail_alike(search, attributes):
    database, proposer, refused = search
    database.study.enqueue_trial({}, user_attrs=attributes)
    database._known = None
    assert proposer.next().number == 1
    assert len(refused) == 1
    assert database.trials()[0].state == TrialState.FAIL


def test_what_could_not_be_tried_before_does_not_change_what_is_proposed_after(tmp_path, objectives, search_settings):
    """A search that was interrupted after it and one that was not go on alike."""
    chosen = search_settings(space=SPACE, trials=8)
    points = {}
    for name, is_interrupted in (("whole", False), ("parts", True)):
        database = StudyDatabase.create(tmp_path / f"{name}.db", objectives, [])
        enqueue(database, {"initial_fraction": 7})
        proposer = Proposer(database, SearchSpace(SPACE, "space"), chosen, 100)
        points[name] = []
        for _ in range(7):
            if is_interrupted:
                database = StudyDatabase.create(tmp_path / f"{name}.db", objectives, [])
                proposer = Proposer(database, SearchSpace(SPACE, "space"), chosen, 100)
            proposal = proposer.next()
            metrics = {"validation_score": proposal.policy.initial_fraction}
            database.tell_result(proposal.number, complete(metrics))
            points[name].append(database.trials()[proposal.number].params)
    assert points["whole"] == points["parts"]


def test_in_a_shared_study_the_driver_that_takes_it_has_it_fail(tmp_path, objectives, search_settings):
    location = SharedStudy(f"sqlite:///{tmp_path / 'shared.db'}", "shared")
    chosen = search_settings(space=SPACE, trials=20, sampler="random")
    drivers = [StudyDatabase.create(location, objectives, [], driver=name, experiment="e") for name in ("a", "b")]
    proposers = [Proposer(each, SearchSpace(SPACE, "space"), chosen, 100) for each in drivers]
    for point in ({"initial_fraction": 7}, {"initial_fraction": 0.5}, {"initialization": 1}):
        enqueue(drivers[0], point)
    assert [proposer.next().number for proposer in proposers] == [1, 3]
    ended = {trial.number: trial.user_attrs["driver"] for trial in drivers[0].trials() if trial.state.is_finished()}
    assert ended == {0: "a", 2: "b"}


def test_a_driver_that_dies_after_taking_it_leaves_it_to_fail(search, folder, monkeypatch):
    database, proposer, refused = search
    enqueue(database, {"initial_fraction": 7})
    monkeypatch.setattr(StudyDatabase, "tell_failed", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        proposer.next()
    monkeypatch.undo()
    assert database.reconcile(folder) == 1
    assert proposer.next().number == 2
    assert [trial.user_attrs["reason"] for trial in database.trials()[:2]] == ["interrupted", *refused]
