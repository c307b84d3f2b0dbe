import math
import os
import shutil
import sqlite3

import optuna
import pytest
from optuna.trial import TrialState

from autogrow.errors import RunFolderError
from autogrow.policy.presets import CONTROLS, default_policy, static_policy, thesis_policy
from autogrow.study import study_location
from autogrow.study.run_folder import RunFolder
from autogrow.study.study_database import Queued, StudyDatabase
from autogrow.study.trial_record import TrialRecord
from autogrow.study.trial_result import write_trial_result

from .made_results import SECONDS, complete, failed, stopped


def metrics(number, **changes):
    found = {"validation_score": 0.5 + number / 100, "generalization_gap": 0.1 - number / 200, "train_seconds": 3.0}
    return {**found, **changes}


def by_number(database):
    return {trial.number: trial for trial in database.trials()}


def states(database):
    return [trial.state for trial in database.trials()]


def ask_and_tell(database, propose, number):
    """So many proposals, each told a result that depends on its number alone."""
    proposals = []
    for _ in range(number):
        proposals.append(propose(database))
        database.tell_result(proposals[-1].number, complete(metrics(proposals[-1].number)))
    return proposals


def past_controls(database, propose):
    ask_and_tell(database, propose, len(CONTROLS))
    return propose(database)


def test_the_controls_are_proposed_first_and_in_order(database, propose):
    proposals = [propose(database) for _ in range(4)]
    assert [proposal.role for proposal in proposals] == ["static", "default", "thesis", "searched"]
    assert [proposal.policy for proposal in proposals[:3]] == [static_policy(), default_policy(), thesis_policy(100)]
    assert [proposal.number for proposal in proposals] == [proposal.root for proposal in proposals] == [0, 1, 2, 3]


@pytest.mark.slow
def test_every_number_has_a_point_of_its_own(database, propose):
    points = [(p.policy, p.training) for p in ask_and_tell(database, propose, 12)[3:]]
    assert all(point not in points[:index] for index, point in enumerate(points))


@pytest.mark.slow
def test_six_and_six_after_reopening_are_twelve_in_a_row(tmp_path, objectives, propose):
    in_a_row = ask_and_tell(StudyDatabase.create(tmp_path / "row.db", objectives), propose, 12)
    halves = [
        proposal
        for _ in range(2)
        for proposal in ask_and_tell(StudyDatabase.create(tmp_path / "halves.db", objectives), propose, 6)
    ]
    assert halves == in_a_row


@pytest.mark.slow
def test_another_seed_proposes_other_points(tmp_path, objectives, propose):
    policies = []
    for seed in (0, 1):
        database = StudyDatabase.create(tmp_path / f"{seed}.db", objectives)
        policies.append([propose(database, seed=seed).policy for _ in range(4)][3])
    assert policies[0] != policies[1]


def test_the_budget_ends_proposals(database, propose):
    assert [propose(database, num_trials=2) is None for _ in range(3)] == [False, False, True]
    assert propose(database, num_trials=3) is not None


def test_a_complete_trial_has_its_objectives_metrics_and_policy(database, propose, objectives):
    proposal = past_controls(database, propose)
    database.tell_result(proposal.number, complete(metrics(7, parameters=1234)))
    trial = by_number(database)[proposal.number]
    assert trial.state == TrialState.COMPLETE
    assert trial.values == pytest.approx([0.57, 0.065, 3.0])
    assert trial.user_attrs["parameters"] == 1234
    assert TrialRecord(trial).policy == proposal.policy.recipe()
    assert TrialRecord(trial).training == proposal.training.model_dump()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("result", "state"),
    [
        (complete(metrics(1)), TrialState.COMPLETE),
        (stopped(metrics(1)), TrialState.PRUNED),
        (failed(trial_seconds=SECONDS), TrialState.FAIL),
    ],
)
def test_every_ending_has_a_state_of_its_own(result, state, database, propose):
    number = past_controls(database, propose).number
    database.tell_result(number, result)
    trial = by_number(database)[number]
    assert trial.state == state
    reached = {} if state == TrialState.FAIL else result.metrics.by_name()
    more = {"progress": result.progress} if state == TrialState.PRUNED else {}
    assert TrialRecord(trial).metrics == {**reached, **more, "trial_seconds": SECONDS}
    assert trial.user_attrs.get("reason") == getattr(result, "reason", None)


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_trial_whose_objectives_are_not_finite_has_failed(value, database, propose):
    number = propose(database).number
    database.tell_result(number, complete(metrics(1, generalization_gap=value)))
    trial = by_number(database)[number]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["reason"] == f"the generalization gap is {value}"


def test_a_trial_is_told_only_once(database, propose):
    number = propose(database).number
    database.tell_result(number, complete(metrics(1)))
    with pytest.raises(Exception):  # noqa: B017  whatever Optuna raises: the record has to stand
        database.tell_failed(number, "late")
    assert by_number(database)[number].state == TrialState.COMPLETE


class TestReconcile:
    """What a dead driver leaves RUNNING."""

    def test_a_trial_with_a_result_is_told(self, database, folder, propose):
        for result in (complete(metrics(4)), stopped(metrics(4)), failed("diverged")):
            write_trial_result(folder.trial(propose(database).number), result)
        assert database.reconcile(folder) == 0
        assert states(database) == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
        assert database.trials()[2].user_attrs["reason"] == "diverged"

    @pytest.mark.slow
    def test_a_searched_trial_without_one_is_proposed_again(self, database, folder, propose):
        lost = past_controls(database, propose)
        assert database.reconcile(folder) == 1
        assert by_number(database)[lost.number].state == TrialState.FAIL
        again = propose(database)
        assert (again.role, again.policy, again.training) == (lost.role, lost.policy, lost.training)
        assert again.number != lost.number
        assert again.root == lost.number
        assert by_number(database)[again.number].params == by_number(database)[lost.number].params
        assert by_number(database)[again.number].user_attrs["resume_of"] == lost.number

    def test_a_control_without_one_is_proposed_again(self, database, folder, propose):
        for _ in CONTROLS:
            propose(database)
        assert database.reconcile(folder) == 3
        again = [propose(database) for _ in CONTROLS]
        assert [(proposal.role, proposal.root) for proposal in again] == [("static", 0), ("default", 1), ("thesis", 2)]

    @pytest.mark.slow
    def test_a_trial_that_is_lost_twice_keeps_its_root(self, database, folder, propose):
        lost = past_controls(database, propose)
        for _ in range(2):
            database.reconcile(folder)
            again = propose(database)
            assert (again.root, again.policy) == (lost.number, lost.policy)
        write_trial_result(folder.trial(lost.number), complete(metrics(1)))
        assert database.reconcile(folder) == 0
        assert by_number(database)[again.number].state == TrialState.COMPLETE

    @pytest.mark.slow
    def test_a_trial_that_goes_on_as_another_has_not_ended(self, database, folder, propose):
        finished = ask_and_tell(database, propose, 3)
        propose(database)
        assert database.num_ended() == len(finished) == 3
        database.reconcile(folder)  # the interrupted one has failed, and waits to be gone on with
        assert database.num_ended() == 3
        database.tell_failed(propose(database).number, "for good")
        assert database.num_ended() == 4

    @pytest.mark.slow
    def test_the_budget_counts_roots(self, database, folder, propose):
        for _ in range(4):
            propose(database, num_trials=4)
        database.reconcile(folder)
        assert database.num_proposed() == 4
        resumed = [propose(database, num_trials=4) for _ in range(5)]
        assert [proposal.root for proposal in resumed[:4]] == [0, 1, 2, 3]
        assert resumed[4] is None

    @pytest.mark.slow
    def test_nothing_is_running_or_changed_after_it(self, database, folder, propose):
        finished = ask_and_tell(database, propose, 4)
        before = [trial for trial in database.trials() if trial.state.is_finished()]
        propose(database)
        for _ in range(2):
            assert database.reconcile(folder) == 1
        assert TrialState.RUNNING not in states(database)
        assert [by_number(database)[proposal.number] for proposal in finished] == before

    @pytest.mark.slow
    def test_what_has_ended_keeps_no_checkpoint(self, database, folder, propose):
        """A driver may die between a trial's end and the removal of what it would have gone on from."""
        told, untold, lost = (propose(database).number for _ in range(3))
        for number in (told, untold, lost):
            folder.trial(number).checkpoints.mkdir(parents=True)
            (folder.trial(number).checkpoints / "step-0000000007.pt").write_bytes(b"its network")
        database.tell_result(told, complete(metrics(1)))
        write_trial_result(folder.trial(untold), complete(metrics(2)))
        assert database.reconcile(folder) == 1
        assert [path.parts[-3] for path in folder.trials.glob("*/*/*.pt")] == [f"{lost:05d}"]
        assert not folder.trial(told).checkpoints.exists()
        propose(database)
        assert database.reconcile(folder) == 1  # lost once more
        assert list(folder.trials.glob("*/*/*.pt"))
        again = propose(database)
        database.tell_result(again.number, complete(metrics(3)))
        assert (again.root, database.reconcile(folder)) == (lost, 0)
        assert not list(folder.trials.glob("*/*/*.pt"))

    def test_controls_are_not_queued_again_by_opening(self, database, folder, objectives, propose):
        propose(database)
        again = StudyDatabase.create(folder.database, objectives)
        roles = [trial.user_attrs["role"] for trial in again.trials()]
        assert sorted(roles) == sorted(CONTROLS)


@pytest.mark.slow
def test_plain_optuna_opens_the_study(database, folder, propose):
    ask_and_tell(database, propose, 5)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder.database}")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 5
    assert study.metric_names == ["accuracy", "generalization_gap", "train_seconds"]
    assert study.best_trials


def test_a_missing_database(tmp_path, objectives):
    with pytest.raises(RunFolderError, match=f"no study database at {tmp_path / 'study.db'}"):
        StudyDatabase.open(tmp_path / "study.db", objectives)
    assert not list(tmp_path.glob("study*"))


def corrupt(path):
    path.write_bytes(b"not a database, but long enough to look like one " * 100)


def truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def empty(path):
    path.write_bytes(b"")


def a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.slow
@pytest.mark.parametrize("damage", [corrupt, truncated, empty, a_folder])
def test_a_damaged_database_is_one_line_that_names_it(damage, database, folder, objectives):
    damage(folder.database)
    with pytest.raises(RunFolderError) as caught:
        StudyDatabase.open(folder.database, objectives)
    assert str(folder.database) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_cannot_be_made_is_one_line(tmp_path, objectives):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"cannot write .*file/study\.db"):
        StudyDatabase.create(tmp_path / "file" / "study.db", objectives)


def test_nobody_sees_a_database_that_is_half_made(tmp_path, objectives, monkeypatch):
    """An observer such as optuna-dashboard makes missing tables itself, which would break the search."""
    path, seen = tmp_path / "study.db", []
    create = optuna.create_study
    monkeypatch.setattr(optuna, "create_study", lambda **options: (create(**options), seen.append(path.exists()))[0])
    StudyDatabase.create(path, objectives)
    assert seen == [False]
    assert [entry.name for entry in tmp_path.iterdir()] == ["study.db"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_line(tmp_path, objectives):
    tmp_path.chmod(0o500)
    with pytest.raises(RunFolderError, match="cannot write"):
        StudyDatabase.create(tmp_path / "study.db", objectives)
    tmp_path.chmod(0o700)


def test_a_locked_database_is_one_line(database, folder, objectives, monkeypatch):
    monkeypatch.setattr(study_location, "LOCK_TIMEOUT_SECONDS", 0.1)
    holder = sqlite3.connect(folder.database)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RunFolderError, match="cannot be opened: database is locked"):
        StudyDatabase.create(folder.database, objectives)
    holder.close()


@pytest.mark.slow
@pytest.mark.parametrize("num_trials", [1, 2])
def test_a_small_budget_is_not_exceeded_by_a_resumption(tmp_path, objectives, propose, num_trials):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    database = StudyDatabase.create(folder.database, objectives, [Queued(role) for role in CONTROLS[:num_trials]])
    started = [propose(database, num_trials=num_trials) for _ in range(num_trials)]
    assert database.reconcile(folder) == num_trials
    resumed = [propose(database, num_trials=num_trials) for _ in range(num_trials)]
    assert [proposal.root for proposal in resumed] == [proposal.number for proposal in started]
    assert propose(database, num_trials=num_trials) is None


def test_a_failed_write_on_a_full_disk_names_the_file(tmp_path, objectives, propose, monkeypatch):
    path = tmp_path / "study.db"
    database = StudyDatabase.create(path, objectives)
    number = propose(database).number
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 0))
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE trial_user_attributes")
    with pytest.raises(RunFolderError, match=f"no space left to write {path}"):
        database.tell_failed(number, "x")
