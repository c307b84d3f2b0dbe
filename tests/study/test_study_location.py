"""Databases that drivers share: their URLs, servers that go away, and whose a trial is."""

import sqlite3

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from autogrow.errors import RunFolderError, UsageError
from autogrow.policy.presets import CONTROLS
from autogrow.study import study_location
from autogrow.study.planning import resume_settings
from autogrow.study.sampling import Proposer
from autogrow.study.study_database import Queued, StudyDatabase
from autogrow.study.study_location import (
    SharedStudy,
    open_storage,
    readable_errors,
    resolved_url,
    without_password,
)

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "not a database URL: write for example postgresql://"),
        ("studies.db", "not a database URL"),
        (f"postgres//me:{SECRET}@host/db", "not a database URL"),
        (f"postgresql://me:{SECRET}@host:port/db", "not a database URL"),
        (f"postgresql://me:{SECRET}@{SECRET}@host/db", "as %40"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
    ],
)
def test_what_is_no_url_is_refused_without_repeating_its_password(url, said):
    with pytest.raises(UsageError) as caught:
        resolved_url(url)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", [f"postgresql://me:{SECRET}@host/db", f"postgresql://host/db?password={SECRET}&user=me"]
)
def test_a_password_is_hidden_wherever_it_stands(url):
    shown = without_password(url)
    assert SECRET not in shown
    assert shown == url.replace(SECRET, "***")
    assert resolved_url(url) == url


def test_a_file_is_found_from_other_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolved_url("sqlite:///studies.db") == f"sqlite:///{tmp_path}/studies.db"


@pytest.mark.parametrize(
    ("url", "said"),
    [("postgres://host/db", "no such kind of database"), ("oracle://host/db", "driver is not installed")],
)
def test_a_database_that_cannot_be_talked_to(url, said):
    location = SharedStudy(url, "run")
    with pytest.raises(UsageError, match=said), readable_errors(location):
        open_storage(location)


@pytest.mark.parametrize("installed", ["psycopg", "psycopg2"])
def test_a_url_is_opened_by_the_driver_that_is_installed(installed, monkeypatch):
    monkeypatch.setattr(study_location, "find_spec", lambda name: name == installed or None)
    with_driver = study_location.with_driver(f"postgresql://me:{SECRET}@host/db")
    assert with_driver == f"postgresql+{installed}://me:{SECRET}@host/db"
    assert study_location.with_driver("postgresql+pg8000://host/db") == "postgresql+pg8000://host/db"


@pytest.fixture
def location(tmp_path):
    return SharedStudy(f"sqlite:///{tmp_path}/studies.db", "run")


@pytest.fixture
def driver(location, objectives):
    """A driver of the study, by its name."""

    def named(name, **options):
        return StudyDatabase.create(location, objectives, driver=name, experiment="one", **options)

    return named


class TestAServerThatIsAway:
    @pytest.fixture
    def away(self, monkeypatch):
        """Lets a database refuse so many connections; gives a list that grows by one for each."""
        monkeypatch.setattr(study_location, "RETRY_SECONDS", 0.01)

        def for_times(database, times):
            refused = []

            def connect(*_):
                if len(refused) < times:
                    refused.append(True)
                    raise sqlalchemy.exc.OperationalError("connect", {}, Exception("connection refused"))

            engine = database.study._storage._backend.engine
            sqlalchemy.event.listen(engine, "do_connect", connect)
            engine.dispose()
            return refused

        return for_times

    def test_is_waited_for(self, driver, away, caplog):
        database = driver("a")
        refused = away(database, 3)
        assert len(database.trials()) == len(CONTROLS)
        assert len(refused) == 3
        assert caplog.text.count("does not answer") == 1
        away(database, 1)
        assert database.claim(new=True) is not None
        assert caplog.text.count("does not answer") == 2

    def test_is_given_up_once(self, driver, away, monkeypatch):
        monkeypatch.setattr(study_location, "PATIENCE_SECONDS", 0.05)
        database = driver("a")
        refused = away(database, 10**6)
        with pytest.raises(RunFolderError, match="cannot be written: connection refused"):
            database.trials()
        before = len(refused)
        assert before > 1
        with pytest.raises(RunFolderError, match="connection refused"):
            database.trials()
        assert len(refused) == before + 1

    def test_that_goes_in_the_middle_of_reading_trials_is_waited_for(self, driver, caplog, monkeypatch):
        """Optuna then asks again in the same transaction, which a lost connection has made invalid."""
        monkeypatch.setattr(study_location, "RETRY_SECONDS", 0.01)
        database = driver("a")
        engine = database.study._storage._backend.engine
        lost = []

        def lose_the_connection(cursor, statement, parameters, context):
            if not lost and "trial_intermediate_values" in statement:
                lost.append(True)
                raise sqlite3.OperationalError("server closed the connection unexpectedly")

        def it_is_lost(context):
            context.is_disconnect = True

        sqlalchemy.event.listen(engine, "do_execute", lose_the_connection)
        sqlalchemy.event.listen(engine, "handle_error", it_is_lost)
        assert len(database.trials()) == len(CONTROLS)
        assert lost
        assert caplog.text.count("does not answer") == 1

    @pytest.mark.slow
    def test_a_trial_that_had_been_ended_stays_so(self, driver, monkeypatch):
        """The server went away after it had written, and before it could say so."""
        monkeypatch.setattr(study_location, "RETRY_SECONDS", 0.01)
        database = driver("a")
        trial = database.claim(new=True)
        lost = []
        dialect = database.study._storage._backend.engine.dialect
        commit = dialect.do_commit

        def commit_and_lose_the_answer(connection):
            commit(connection)
            if not lost:
                lost.append(True)
                raise sqlite3.OperationalError("connection lost")

        monkeypatch.setattr(dialect, "do_commit", commit_and_lose_the_answer)
        assert database.study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        assert lost
        assert database.trials()[trial.number].state == TrialState.FAIL


class TestWhoseATrialIs:
    def test_one_that_was_taken_and_not_yet_described_stays_its_drivers(self, driver, folder):
        ours, other = driver("a"), driver("b")
        taken = ours.claim(new=True)
        assert other.reconcile(folder) == 0
        assert other.trials()[taken.number].state == TrialState.RUNNING
        assert other.claim(new=True).number != taken.number
        assert ours.reconcile(folder) == 1
        assert ours.trials()[taken.number].state == TrialState.FAIL

    def test_of_two_that_want_it_one_gets_it(self, driver):
        taken = [driver(name).claim(new=True).number for name in ("a", "b", "c")]
        assert taken == [0, 1, 2]
        assert driver("d").claim(new=True) is None

    @pytest.mark.slow
    def test_a_point_that_another_driver_was_just_describing_is_learned(
        self, driver, propose, default_space, search_settings, monkeypatch
    ):
        other = driver("b", queue=[Queued("searched", "earlier")])
        ours = Proposer(driver("a", queue=[]), default_space, search_settings(), 100)
        describe = StudyDatabase.describe

        def propose_first(database, *arguments):
            monkeypatch.setattr(StudyDatabase, "describe", describe)
            ours.next()
            describe(database, *arguments)

        monkeypatch.setattr(StudyDatabase, "describe", propose_first)
        proposed = propose(other)
        assert len(other.trials()) == 2
        ours.next()
        described = other.trials()[proposed.number].params
        assert described
        assert [trial.params for trial in ours._memory.trials].count(described) == 1


def test_a_study_of_somebody_else_is_left_alone(location, driver, monkeypatch):
    monkeypatch.setattr("autogrow.study.new_study.JOIN_WAIT_SECONDS", 0.0)
    study = optuna.create_study(study_name="run", storage=location.url, directions=["maximize", "minimize", "minimize"])
    study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0, 3.0]))
    with pytest.raises(RunFolderError, match="was not made by autogrow: choose another --name"):
        driver("a")
    assert len(study.trials) == 1


def test_another_experiment_is_refused(location, driver, objectives):
    driver("a")
    for changes in ({"experiment": "two"}, {"objectives": objectives[:1]}):
        fields = {"objectives": objectives, "experiment": "one", **changes}
        with pytest.raises(RunFolderError, match="other settings .* or choose another --name"):
            StudyDatabase.create(location, fields["objectives"], experiment=fields["experiment"], driver="b")


def test_a_study_that_is_not_there(location, objectives):
    with pytest.raises(RunFolderError, match=r"study 'run' in sqlite:.* does not exist"):
        StudyDatabase.open(location, objectives)


class TestResuming:
    @pytest.fixture
    def resumed(self, folder, search_settings):
        """The storage of a run that goes on, whose study was in `before`."""

        def run(before, **changes):
            folder.write_config({**search_settings().model_dump(mode="json"), "storage": before})
            return resume_settings(folder, **changes)[0].storage

        return run

    def test_a_study_in_the_run_folder_stays_there(self, resumed, monkeypatch):
        monkeypatch.setenv("AUTOGROW_STORAGE", "postgresql://me:pw@host/db")
        assert resumed(None) is None
        with pytest.raises(UsageError, match="leave out --storage"):
            resumed(None, storage="postgresql://host/db")

    def test_the_password_comes_from_the_environment(self, resumed, monkeypatch):
        monkeypatch.delenv("AUTOGROW_STORAGE", raising=False)
        with pytest.raises(UsageError, match="with its password, in AUTOGROW_STORAGE"):
            resumed("postgresql://me:***@host/db")
        monkeypatch.setenv("AUTOGROW_STORAGE", "postgresql://me:pw@host/db")
        assert resumed("postgresql://me:***@host/db") == "postgresql://me:pw@host/db"

    def test_a_database_may_have_moved(self, resumed):
        assert resumed("postgresql://old/db", storage="postgresql://new/db") == "postgresql://new/db"
