"""What is taken where a command line says nothing: help, the newest run, the data set of before."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from autogrow.cli.main import cli
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.choosing import best_trial, policy_of
from autogrow.study.run_folder import RunFolder
from autogrow.study.study_database import StudyDatabase

from .conftest import contents

pytestmark = pytest.mark.slow

GROUPS = [[], *([name] for name, command in cli.commands.items() if hasattr(command, "commands"))]


class TestUsage:
    @pytest.mark.parametrize("group", GROUPS, ids=" ".join)
    def test_a_group_alone_shows_its_help(self, group, autogrow):
        assert ["data"] in GROUPS
        assert autogrow(*group) == autogrow(*group, "--help")
        code, out, err = autogrow(*group)
        assert (code, err) == (0, "")
        assert out.count("\n") > 5
        assert autogrow("--debug", *group) == (0, out, "")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("serach", "unknown command 'serach': known are search, .*; did you mean 'search'?"),
            ("data fech", r"unknown command 'fech': known are list, fetch; did you mean 'fetch'\?"),
            ("search --trails 3", r"unknown option '--trails'; did you mean '--trials'\?"),
            ("--versoin", r"unknown option '--versoin'; did you mean '--version'\?"),
            ("search extra", r"Got unexpected extra argument \(extra\); see autogrow search --help"),
            ("train", "Missing argument 'POLICY'; see autogrow train --help"),
            ("data fetch", "Missing argument 'NAME'; see autogrow data fetch --help"),
            ("search --early-stopping never", "'never' is not one of 'flops', .*; see autogrow search --help"),
            ("search --trials", "Option '--trials' requires an argument"),
            ("search --trials many", "Invalid value for '--trials': 'many' is not a valid integer"),
        ],
    )
    def test_what_cannot_be_read_is_one_line_with_the_nearest_name(self, line, message, refused):
        with pytest.raises(ValueError, match=message):
            raise ValueError(refused(*line.split()))


@pytest.fixture
def runs(finished_run):
    """Three runs in results: the newest is `done`, an older one is damaged, the oldest is not finished."""
    results = finished_run.path.parent
    for name in ("damaged", "unfinished"):
        shutil.copytree(finished_run.path, results / name)
    (results / "damaged" / "config.yaml").write_text("format: autogrow-run/9\n")
    unfinished = RunFolder(results / "unfinished")
    unfinished.write_config({**unfinished.read_config(), "trials": 50, "objectives": ["train_seconds", "accuracy"]})
    (results / "notes").mkdir()
    for age, name in enumerate(("done", "damaged", "unfinished")):
        os.utime(results / name / "config.yaml", (1e9 - age, 1e9 - age))
    return results


class TestRuns:
    def test_a_folder_of_runs_has_a_line_for_each(self, autogrow, runs):
        code, out, err = autogrow("status", "results")
        assert (code, err) == (0, "")
        lines = [line.rstrip() for line in out.splitlines()]
        assert [line.split()[:2] for line in lines[:2]] == [["run", "state"], ["done", "done"]]
        assert "7 of 7" in lines[1]
        assert lines[1].endswith("validation accuracy 95.00 % (trial 3)")
        assert lines[2].startswith("damaged")
        assert any(
            line.split() == "unfinished unfinished 7 of 50 train seconds 2.00 (trial 1)".split() for line in lines
        )
        assert "notes" not in out

    def test_as_json_too(self, autogrow, runs):
        code, out, _ = autogrow("status", "results", "--json")
        assert code == 0
        listed = json.loads(out)["runs"]
        assert [run["name"] for run in listed] == ["done", "damaged", "unfinished"]
        assert listed[0]["ended"] == listed[0]["trials"] == 7

    @pytest.mark.parametrize("command", [["status"], ["report"], ["export"], ["report", "--json"]], ids=" ".join)
    def test_the_newest_is_taken_where_none_is_named(self, command, autogrow, runs):
        code, out, err = autogrow(*command)
        assert code == 0
        assert err == f"autogrow: {runs / 'done'}, the newest run\n"
        assert "\n" in out

    def test_the_newest_is_the_one_that_was_started_or_resumed_last(self, autogrow, runs):
        os.utime(runs / "unfinished" / "config.yaml", (2e9, 2e9))
        assert f"{runs / 'unfinished'}, the newest run" in autogrow("status")[2]

    @pytest.mark.parametrize("command", ["status", "report", "export", "confirm"])
    def test_without_any_run_one_line_says_how_to_start_one(self, command, refused, workplace):
        message = refused(command)
        assert f"none in {workplace / 'results'}: start one with autogrow search" in message


@pytest.fixture
def found(finished_run):
    """The policy of the best trial of ``results/done``, as a file."""
    objectives = finished_run.settings().chosen_objectives
    trials = StudyDatabase.open(finished_run.database, objectives).trials()
    policy = policy_of(best_trial(trials, objectives, "accuracy"), finished_run, finished_run.settings())
    policy = policy.model_copy(update={"training": policy.training.model_copy(update={"epochs": 1})})
    policy.save("found.yaml")
    return policy


def altered(policy, **changes):
    policy.model_copy(update={"found_by": {**policy.found_by, **changes}}).save("found.yaml")


@pytest.mark.usefixtures("one_thread")
class TestData:
    def test_train_takes_those_of_the_policy_and_evaluate_those_of_the_network(self, autogrow, found):
        code, _, err = autogrow("train", "found.yaml", "--out", "network")
        assert code == 0
        assert err.splitlines()[0] == "autogrow: data set digits, which the policy was found with"
        assert json.loads(Path("network/config.json").read_text())["dataset"]["name"] == "digits"
        code, out, err = autogrow("evaluate", "network")
        assert (code, err) == (0, "autogrow: data set digits, which the network was trained with\n")
        assert out == autogrow("evaluate", "network", "--dataset", "digits")[1]

    def test_others_may_be_given(self, autogrow, found):
        code, _, err = autogrow("train", "found.yaml", "--dataset", "sine", "--out", "network", "--quiet")
        assert code == 0
        assert "which the policy was found with" not in err
        assert json.loads(Path("network/config.json").read_text())["dataset"]["name"] == "sine"

    @pytest.mark.parametrize("command", ["train", "compare"])
    def test_a_policy_that_names_none_needs_them_given(self, command, refused, found):
        altered(found, dataset=None)
        assert "no data set is given, and what was found or trained before names none" in refused(command, "found.yaml")

    def test_so_does_one_that_nobody_found(self, refused, policy_file):
        assert "give --dataset" in refused("train", policy_file)

    @pytest.mark.parametrize("command", ["train", "compare"])
    def test_data_that_have_changed_are_not_taken_for_those_of_before(self, command, refused, found):
        altered(found, fingerprint="0" * 16)
        message = refused(command, "found.yaml")
        assert "data set 'digits' has changed: its fingerprint was 0000000000000000" in message

    def test_a_file_is_found_from_anywhere_and_missed_where_it_has_moved(self, autogrow, workplace, monkeypatch):
        generator = np.random.default_rng(0)
        data = {"x_train": generator.normal(size=(300, 4)), "y_train": np.arange(300) % 3}
        np.savez(workplace / "mine.npz", **data, x_test=data["x_train"][:50], y_test=data["y_train"][:50])
        GrowthPolicy.from_dict({"training": {"epochs": 1}}).save("policy.yaml")
        assert autogrow("train", "policy.yaml", "--dataset", "mine.npz", "--out", "network", "--quiet")[0] == 0
        (workplace / "elsewhere").mkdir()
        monkeypatch.chdir(workplace / "elsewhere")
        assert autogrow("evaluate", "../network")[0] == 0
        (workplace / "mine.npz").rename(workplace / "moved.npz")
        before = contents(workplace)
        code, out, err = autogrow("evaluate", "../network")
        assert (code, out) == (2, "")
        assert str(workplace / "mine.npz") in err
        assert "name others with --dataset" in err
        assert contents(workplace) == before
        assert autogrow("evaluate", "../network", "--dataset", "../moved.npz")[0] == 0
