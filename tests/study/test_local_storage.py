"""Several writes to a study in a file are one transaction."""

import optuna
import pytest
from sqlalchemy import event

from autogrow.metrics.objectives import OBJECTIVES
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import DEFAULT
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.local_storage import one_transaction
from autogrow.study.study_database import Queued, StudyDatabase
from autogrow.study.study_location import SharedStudy
from autogrow.study.trial_record import TrialRecord, proposed
from tests.study.made_results import complete

ACCURACY = (OBJECTIVES["accuracy"],)


@pytest.fixture
def database(tmp_path):
    return StudyDatabase.create(tmp_path / "study.db", ACCURACY, (Queued(DEFAULT),))


@pytest.fixture
def commits(database):
    """One entry for every transaction that was committed."""
    seen = []
    event.listen(database.study._storage._backend.engine, "commit", seen.append)
    return seen


def described(database):
    """The control, claimed and described."""
    trial = database.claim(new=True)
    attributes = proposed(DEFAULT, GrowthPolicy().recipe(), TrainingSettings(epochs=1).model_dump(), seed=0)
    database.describe(trial, {}, {}, attributes)
    return trial


def read_by_somebody_else(database):
    (trial,) = optuna.load_study(study_name=None, storage=str(database.study._storage._backend.url)).trials
    return trial


def test_what_a_trial_tries_and_how_it_ended_are_one_commit_each(database, commits):
    trial = database.claim(new=True)
    del commits[:]
    database.describe(trial, {}, {}, proposed(DEFAULT, {"format": "x"}, {"epochs": 1}, seed=0))
    assert len(commits) == 1
    database.tell_result(trial.number, complete({"validation_score": 0.5}))
    assert len(commits) == 2
    end = read_by_somebody_else(database)
    assert (end.state.name, end.values) == ("COMPLETE", [0.5])
    assert TrialRecord(end).metrics["validation_score"] == 0.5


def test_nobody_sees_half_of_it(database):
    trial = described(database)
    with one_transaction(database.study):
        database.study._storage.set_trial_user_attr(trial._trial_id, "a", 1)
        assert "a" not in read_by_somebody_else(database).user_attrs
        database.study._storage.set_trial_user_attr(trial._trial_id, "b", 2)
    seen = read_by_somebody_else(database).user_attrs
    assert (seen["a"], seen["b"]) == (1, 2)


def test_what_goes_wrong_leaves_nothing(database):
    trial = described(database)
    before = read_by_somebody_else(database)
    with pytest.raises(ZeroDivisionError), one_transaction(database.study):
        database.study._storage.set_trial_user_attr(trial._trial_id, "a", 1)
        raise ZeroDivisionError
    assert read_by_somebody_else(database).user_attrs == before.user_attrs
    database.tell_result(trial.number, complete({"validation_score": 0.25}))
    assert read_by_somebody_else(database).values == [0.25]


def test_a_database_that_several_share_writes_as_it_always_did(tmp_path):
    """Its storage asks a server that was away again, which half of a transaction would not survive."""
    place = SharedStudy(f"sqlite:///{tmp_path / 'shared.db'}", "run")
    database = StudyDatabase.create(place, ACCURACY, (Queued(DEFAULT),), driver="d")
    trial = described(database)
    with one_transaction(database.study):
        database.study._storage.set_trial_user_attr(trial._trial_id, "a", 1)
        assert read_by_somebody_else(database).user_attrs["a"] == 1
