"""What is written down of trials: plain values for people, mappings where other tools do not show them."""

import shutil

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from autogrow.errors import PolicyError, RunFolderError
from autogrow.metrics.objectives import parse_objectives
from autogrow.policy.presets import CONTROLS, default_policy
from autogrow.study.choosing import best_trial, policy_of
from autogrow.study.run_folder import RunFolder
from autogrow.study.study_database import StudyDatabase
from autogrow.study.study_location import FORMER_STUDY_NAME
from autogrow.study.trial_record import LABELS, TrialRecord

from .made_results import SECONDS, complete, failed, metrics, stopped

METRICS = {"validation_score": 0.9, "generalization_gap": 0.01, "train_seconds": 3.0, "parameters": 1234}
LONGEST_VALUE = 100
"""Characters of a user attribute: optuna-dashboard writes each in one line, however wide the page becomes."""


def names_in(path):
    return optuna.get_all_study_names(f"sqlite:///{path}")


@pytest.fixture
def finished(database, propose):
    """A study with controls, a searched trial, one that was stopped, one that failed, and one that goes on."""
    for number in range(4):
        database.tell_result(propose(database).number, complete({**METRICS, "train_seconds": 3.0 + number}))
    database.tell_result(propose(database).number, stopped(METRICS))
    size = {"memory_bytes": 2**30, "parameters": None}
    database.tell_result(propose(database).number, failed("no luck", size, trial_seconds=2.5))
    return database


@pytest.mark.slow
def test_all_that_other_tools_show_is_short_and_plain(finished):
    for trial in finished.trials():
        for name, value in trial.user_attrs.items():
            assert isinstance(value, str | int | float), (name, value)
            assert len(str(value)) <= LONGEST_VALUE, (name, value)


@pytest.mark.slow
def test_metrics_are_attributes_by_their_own_names(finished):
    trial = finished.trials()[3]
    assert {name: trial.user_attrs[name] for name in METRICS} == {**METRICS, "train_seconds": 6.0}
    known = metrics(**{**METRICS, "train_seconds": 6.0}).by_name()
    assert TrialRecord(trial).metrics == {**known, "trial_seconds": SECONDS}
    assert TrialRecord(finished.trials()[4]).metrics["progress"] == 0.3
    other = TrialRecord(finished.trials()[5])
    assert (other.reason, other.metrics) == ("no luck", {"memory_bytes": 2**30, "trial_seconds": 2.5})
    assert finished.trial_seconds() == 5 * SECONDS + 2.5


@pytest.mark.slow
def test_controls_are_labelled(finished):
    assert [trial.user_attrs.get("label") for trial in finished.trials()][:4] == [*map(LABELS.get, CONTROLS), None]
    assert set(LABELS) == set(CONTROLS)


@pytest.mark.slow
def test_a_trial_that_goes_on_takes_over_what_it_tries_and_not_how_the_other_ended(finished, folder, propose):
    lost = propose(finished)
    finished.note(lost.number, trial_seconds=7.0)
    assert finished.reconcile(folder) == 1
    record = TrialRecord(finished.trials()[-1])
    assert (record.root, record.resume_of, record.reason, record.metrics) == (lost.root, lost.number, None, {})
    assert (record.policy, record.training) == (lost.policy.recipe(), lost.training.model_dump())


def test_what_a_study_of_before_says_is_read():
    attributes = {"role": "default", "policy": default_policy().recipe(), "training": {"epochs": 3}, "root": 1}
    trial = create_trial(
        state=TrialState.PRUNED, user_attrs={**attributes, "metrics": {**METRICS, "may_grow": True}, "resume_of": 1}
    )
    trial.number = 5
    record = TrialRecord(trial)
    assert record.metrics == METRICS
    assert (record.role, record.policy, record.training["epochs"]) == ("default", attributes["policy"], 3)
    assert (record.root, record.resume_of, record.goes_on) == (1, 1, True)


@pytest.mark.slow
def test_a_trial_that_no_search_has_written_is_not_exported_as_the_default_policy(finished, folder, search_settings):
    finished.study.add_trial(create_trial(values=[0.99, 0.0, 1.0], user_attrs={**METRICS, "validation_score": 0.99}))
    added = best_trial(finished.trials(), parse_objectives("accuracy"), "accuracy")
    with pytest.raises(PolicyError, match="trial 6 has no growth policy in the study"):
        policy_of(added, folder, search_settings())


def test_an_objective_that_is_not_defined_is_the_reason_of_a_failure(database, propose):
    number = propose(database).number
    database.objectives = parse_objectives("accuracy,generalization_gap,latency_ms")
    database.tell_result(number, complete(METRICS))
    record = TrialRecord(database.trials()[number])
    assert (record.trial.state, record.reason) == (TrialState.FAIL, "the latency is not defined")


class TestTheNameOfTheStudy:
    """That of the run, whatever the file was called when it was made."""

    @pytest.mark.slow
    def test_a_study_is_named_after_its_run(self, tmp_path, objectives):
        for name in ("digits-1", "größe 2"):
            run = RunFolder(tmp_path / name)
            run.path.mkdir()
            assert StudyDatabase.create(run.database, objectives).study.study_name == name
            assert names_in(run.database) == [name]

    @pytest.mark.slow
    def test_a_run_that_was_renamed_or_copied_goes_on_with_its_study(self, tmp_path, objectives, propose):
        run = RunFolder(tmp_path / "before")
        run.path.mkdir()
        propose(StudyDatabase.create(run.database, objectives))
        shutil.copytree(run.path, tmp_path / "after")
        moved = tmp_path / "after" / "study.db"
        assert len(StudyDatabase.open(moved, objectives).trials()) == len(CONTROLS)
        assert len(StudyDatabase.create(moved, objectives).trials()) == len(CONTROLS)
        assert names_in(moved) == ["before"]

    def test_a_study_of_before_is_found_also_beside_one_of_the_user(self, tmp_path, objectives):
        storage = f"sqlite:///{tmp_path / 'study.db'}"
        for name in ("mine", FORMER_STUDY_NAME):
            optuna.create_study(study_name=name, storage=storage, directions=["maximize", "minimize", "minimize"])
        assert StudyDatabase.open(tmp_path / "study.db", objectives).study.study_name == FORMER_STUDY_NAME

    def test_of_several_studies_none_is_guessed(self, tmp_path, objectives):
        for name in ("mine", "yours"):
            optuna.create_study(study_name=name, storage=f"sqlite:///{tmp_path / 'study.db'}")
        with pytest.raises(RunFolderError, match="holds 2 studies and none named"):
            StudyDatabase.open(tmp_path / "study.db", objectives)
