"""Run folders that earlier versions wrote are read and gone on with; what a later one wrote is refused in one line.

``tests/fixtures/run-format-1`` is what a search left that was interrupted after its sixth trial, as it was: four
trials are complete, one was stopped early, one waits with a checkpoint, one without. It is never written again; a
later format gets a folder of its own beside it.
"""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.candidates import Candidates
from autogrow.study.run_folder import CONFIG_FORMAT
from autogrow.study.trial_record import TrialRecord

from ..processes import check_ended

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[1] / "fixtures"
EARLIER = sorted(path.name for path in FIXTURES.glob("run-format-*"))


@pytest.fixture(params=EARLIER)
def old_run(request, workplace):
    """``results/run``, a copy that may be changed."""
    path = workplace / "results" / "run"
    shutil.copytree(FIXTURES / request.param, path)
    return path


def test_the_present_format_has_a_fixture():
    assert CONFIG_FORMAT.replace("autogrow-run/", "run-format-") in EARLIER


def test_it_can_be_looked_at(old_run, autogrow):
    code, out, err = autogrow("status", "run", "--json")
    assert (code, err) == (0, "")
    counts = json.loads(out)["counts"]
    assert {name: counts[name] for name in ("complete", "pruned", "waiting")} == {
        "complete": 4,
        "pruned": 1,
        "waiting": 2,
    }
    code, out, err = autogrow("report", "run", "--html", "page.html", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["dataset"] == "digits"
    assert "transferred" in Path("page.html").read_text()


def test_its_policies_can_be_taken(old_run, autogrow, workplace):
    assert autogrow("export", "run", "--to", "found.yaml")[0] == 0
    policy = GrowthPolicy.load(workplace / "found.yaml")
    assert policy == GrowthPolicy.load(old_run / "policy.yaml")
    assert policy.found_by["trial"] == 3
    code, out, err = autogrow("search", "--from", "run", "--dry-run", "--json")
    assert code == 0, err
    assert "run, trial 3" in [entry["origin"] for entry in json.loads(out)["warm_start"]]


def test_it_goes_on(old_run, search_here, records, data_dir):
    before = records.finished()
    assert len(before) == 5
    code, _, err = search_here("--resume", "--trials", 8, "--data-dir", data_dir, "--quiet")
    assert code == 0, err
    check_ended(records, 8)
    assert {number: records.finished()[number] for number in before} == before
    lines = {trial.user_attrs.get("root", trial.number): trial for trial in records.trials()}
    assert {trial.state.name for trial in lines.values()} <= {"COMPLETE", "PRUNED"}
    assert len(lines) == 8


def test_it_goes_on_with_a_race_over_seeds(old_run, search_here, records, data_dir):
    """Those who wrote it trained every policy once, and did not say on which seed."""
    before = records.finished()
    race = ("--trials", 10, "--seeds-per-policy", 2)
    code, _, err = search_here("--resume", *race, "--data-dir", data_dir, "--quiet")
    assert code == 0, err
    check_ended(records, 10)
    assert {number: records.finished()[number] for number in before} == before
    again = [each for each in Candidates(records.trials()).all if len(each.trials) > 1]
    assert again
    for each in again:
        assert TrialRecord(each.first).seed is None
        assert [TrialRecord(trial).seed for trial in each.trials[1:]] == [1]


def newer_configuration(run):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("autogrow-run/1", "autogrow-run/99"))


def newer_database(run):
    with sqlite3.connect(run / "study.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        connection.execute("UPDATE version_info SET schema_version = 99, library_version = '99.0.0'")
    connection.close()


NEWER = {
    newer_configuration: "config.yaml: format is 'autogrow-run/99', this autogrow reads 'autogrow-run/1'",
    newer_database: "study.db: the study database cannot be opened: ",
}


@pytest.mark.parametrize(("make_newer", "message"), NEWER.items())
@pytest.mark.parametrize("command", [["status", "run"], ["export", "run"], ["search", "--resume", "--name", "run"]])
def test_one_of_a_later_version_is_refused(make_newer, message, command, old_run, refused, data_dir):
    make_newer(old_run)
    data = ["--data-dir", data_dir, "--quiet"] if command[0] == "search" else []
    assert message in refused(*command, *data)
