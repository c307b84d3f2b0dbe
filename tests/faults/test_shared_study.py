"""Several drivers work on one study in a PostgreSQL database: together, beside a dead one, over a restart of it."""

import json
import time
from collections import Counter

import optuna
import pytest
import yaml

from autogrow.policy.presets import CONTROLS
from autogrow.study.study_location import without_password
from autogrow.study.trial_record import SURPLUS
from tests.faults.killed_at import TRIALS_HERE
from tests.faults.kills import KILLED_AT, NEVER
from tests.faults.postgresql import PASSWORD, server
from tests.processes import LONG, Records, Search, check_nothing_left, wait_until

pytestmark = pytest.mark.slow
__all__ = ["server"]
TRIALS = 8
COMMON = ("--max-concurrent", 1, "--seeds-per-policy", 1, "--quiet")
AWAY_SECONDS = 3.0


@pytest.fixture
def storage(server):
    return server.new_database()


@pytest.fixture
def drive(start, workplace):
    """Starts a driver of the study in `storage`; its run is in a folder of its own."""

    def driver(out, storage, *arguments):
        return start("--out", out, "--storage", storage, *COMMON, *arguments)

    return driver


@pytest.fixture
def drive_without_ray(start, monkeypatch):
    """As `drive`, for what Ray has no part in."""
    monkeypatch.setenv(TRIALS_HERE, "1")

    def driver(out, storage, *arguments):
        return start("--out", out, "--storage", storage, *COMMON, *arguments, program=(KILLED_AT, *NEVER))

    return driver


@pytest.fixture
def drive_here(autogrow, workplace, trials_here):
    """Runs such a driver in this process, where it keeps no connection to a server; gives what `autogrow` does."""

    def driver(out, storage, *arguments):
        return autogrow("search", "--name", "run", "--out", out, "--storage", storage, *COMMON, *arguments)

    return driver


def records_of(workplace, out, storage):
    return Records(workplace / out / "run", storage)


def driver_of(run_folder):
    return yaml.safe_load((run_folder / "config.yaml").read_text())["driver"]


def lines(trials):
    """The last trial of every line, by root; without those that were given back because there were too many."""
    counted = [trial for trial in trials if trial.user_attrs.get("reason") != SURPLUS]
    return {trial.user_attrs.get("root", trial.number): trial for trial in counted}


def check_study(storage, num_trials):
    """What holds of a study that its drivers have finished, as a plain user of Optuna sees it; gives the lines."""
    study = optuna.load_study(study_name="run", storage=storage)
    trials = study.trials
    assert study.metric_names == ["accuracy", "generalization_gap", "train_seconds"]
    study._storage._backend.engine.dispose()
    assert not {"RUNNING", "WAITING"} & {trial.state.name for trial in trials}
    last = lines(trials)
    assert len(last) == num_trials
    assert {trial.state.name for trial in last.values()} <= {"COMPLETE", "PRUNED"}
    roles = Counter(trial.user_attrs["role"] for trial in last.values())
    assert {role: roles[role] for role in CONTROLS} == dict.fromkeys(CONTROLS, 1)
    points = [trial.params for trial in last.values() if trial.params]
    assert len(points) == num_trials - len(CONTROLS)
    assert all(point not in points[:number] for number, point in enumerate(points)), "a point was proposed twice"
    return last


def check_password_nowhere(workplace, *outputs):
    assert not any(PASSWORD in text for text in outputs)
    files = [path for path in workplace.rglob("*") if path.is_file()]
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []


def check_report_opens(run_folder, storage, num_trials, folder, monkeypatch):
    """Read from `folder`, where the password is only in the environment."""
    monkeypatch.setenv("AUTOGROW_STORAGE", storage)
    code, out, err = Search(["report", run_folder, "--json"], folder, folder).end()
    assert code == 0, err
    counts = json.loads(out)["counts"]
    assert counts["complete"] + counts["pruned"] == num_trials == sum(counts.values())
    assert (run_folder / "report.html").stat().st_size > 10_000


def test_two_drivers_at_once_try_what_was_asked_for_once(drive, storage, workplace, temporary, monkeypatch):
    """One by psycopg, one by psycopg2."""
    urls = {"a": storage, "b": storage.replace("postgresql://", "postgresql+psycopg2://")}
    searches = {out: drive(out, url, "--trials", TRIALS, *LONG, "--epochs", 40) for out, url in urls.items()}
    ends = {out: search.end() for out, search in searches.items()}
    assert [code for code, _, _ in ends.values()] == [0, 0], ends
    last = check_study(storage, TRIALS)
    drivers = {driver_of(workplace / out / "run"): workplace / out / "run" for out in urls}
    assert len(drivers) == 2
    assert {trial.user_attrs["driver"] for trial in last.values()} == drivers.keys()
    for root, trial in last.items():
        # Trained once, by the driver that it names.
        trained = [run_folder for run_folder in drivers.values() if (run_folder / "trials" / f"{root:05d}").exists()]
        assert trained == [drivers[trial.user_attrs["driver"]]]
    check_password_nowhere(workplace, *(text for _, out, err in ends.values() for text in (out, err)))
    for search in searches.values():
        check_nothing_left(search, temporary)
    for out, url in urls.items():
        check_report_opens(workplace / out / "run", url, TRIALS, temporary, monkeypatch)


def test_one_driver_is_killed_and_the_other_goes_on(drive, storage, workplace):
    arguments = ("--trials", TRIALS, *LONG, "--epochs", 60)
    killed, other = drive("a", storage, *arguments), drive("b", storage, *arguments)
    of_killed, of_other = (records_of(workplace, out, storage) for out in "ab")
    wait_until(lambda: of_killed.to_resume() and of_other.to_resume())
    checkpoints = of_killed.to_resume()
    killed.crash()
    finished = of_killed.finished()
    code, _, err = other.end()
    assert code == 0, err
    lost = [trial for trial in of_killed.trials() if trial.state.name == "RUNNING"]
    # Those of the dead driver are still its own: the other must not take what may be running elsewhere.
    assert lost
    assert {trial.user_attrs["driver"] for trial in lost} == {driver_of(of_killed.run)}
    assert checkpoints.keys() & {trial.number for trial in lost}
    code, _, err = drive("a", storage, "--resume").end()
    assert code == 0, err
    check_study(storage, TRIALS)
    after = of_killed.finished()
    assert {number: after[number] for number in finished} == finished
    assert {trial.number for trial in lost} <= {trial.user_attrs.get("root") for trial in after.values()}


def test_a_driver_with_another_experiment_is_refused(drive_without_ray, storage, workplace):
    arguments = ("--trials", len(CONTROLS), "--epochs", 3)
    code, _, err = drive_without_ray("a", storage, *arguments).end()
    assert code == 0, err
    before = records_of(workplace, "a", storage).trials()
    for changes in (("--dataset", "sine"), ("--model", "convnet"), ("--objectives", "accuracy")):
        code, out, err = drive_without_ray("b", storage, *arguments, *changes).end()
        assert (code, out) == (2, "")
        assert "belongs to a search with other settings" in err
        assert "give the same ones, or choose another --name" in err
        assert len(err.splitlines()) == 1 + ("note:" in err), err
        assert not (workplace / "b" / "run").exists()
    assert records_of(workplace, "a", storage).trials() == before


def test_the_server_is_away_at_start(drive_here, server, storage, workplace):
    server.control("stop", "-m", "fast")
    try:
        started = time.monotonic()
        code, out, err = drive_here("a", storage, "--trials", 3, "--epochs", 3)
        assert time.monotonic() - started < 60
    finally:
        server.control("start")
    assert (code, out) == (2, "")
    lines_of_errors = [line for line in err.splitlines() if "note:" not in line]
    assert len(lines_of_errors) == 1, err
    assert without_password(storage) in err
    assert "cannot be opened" in err
    assert not (workplace / "a" / "run").exists()
    check_password_nowhere(workplace, out, err)


def test_the_server_is_restarted_in_the_middle(drive, server, storage, workplace):
    search = drive("a", storage, "--trials", TRIALS, *LONG, "--epochs", 40)
    of_it = records_of(workplace, "a", storage)
    wait_until(lambda: len(of_it.finished()) >= 1)
    server.control("restart", "-m", "fast")
    before = len(of_it.finished())
    wait_until(lambda: len(of_it.finished()) > before)
    server.control("stop", "-m", "immediate")  # as it would crash
    time.sleep(AWAY_SECONDS)
    server.control("start")
    code, out, err = search.end()
    assert code == 0, err
    check_study(storage, TRIALS)
    check_password_nowhere(workplace, out, err)


def test_a_file_shared_by_its_url(drive_here, workplace, temporary, monkeypatch):
    (workplace / "shared").mkdir()
    for out in "ab":
        trials = {"a": 3, "b": 5}[out]
        code, _, err = drive_here(out, "sqlite:///shared/studies.db", "--trials", trials, "--epochs", 3)
        assert code == 0, err
    storage = f"sqlite:///{workplace / 'shared' / 'studies.db'}"
    check_study(storage, 5)
    check_report_opens(workplace / "a" / "run", storage, 5, temporary, monkeypatch)
