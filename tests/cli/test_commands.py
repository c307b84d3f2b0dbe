"""What commands print and where, and what they leave alone."""

import json
import os
import subprocess
import sys
import time

import pytest

from autogrow.cli.main import cli
from autogrow.metrics.objectives import OBJECTIVES, preferences
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.study_database import StudyDatabase

from ..study.finished_run import ENDINGS, FASTEST, KNEE, MOST_ACCURATE
from .conftest import contents

pytestmark = pytest.mark.slow

HEAVY = ("torch", "ray", "optuna", "numpy", "sklearn", "plotly", "matplotlib")
LOADED = f"print([name for name in {HEAVY} if name in sys.modules])"
COMMANDS = [[name] for name in cli.commands] + [["data", name] for name in cli.commands["data"].commands] + [[]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_says_what_a_command_does(command, autogrow):
    code, out, err = autogrow(*command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: {' '.join(['autogrow', *command])}")


def test_no_help_loads_what_is_heavy(workplace):
    code = f"import sys; from autogrow.cli.main import run; [run([*c, '--help']) for c in {COMMANDS!r}]; {LOADED}"
    assert loaded_by(code) == "[]"


def test_importing_autogrow_loads_nothing_heavy(workplace):
    assert loaded_by(f"import sys, autogrow; {LOADED}") == "[]"


def loaded_by(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def one_document(out):
    """The one JSON document that is all of `out`; NaN and the like are no JSON."""
    assert out.count("\n") == 1
    return json.loads(out, parse_constant=pytest.fail)


class TestJson:
    def test_dry_run_of_a_search(self, autogrow):
        code, out, _ = autogrow("search", "--dry-run", "--json", "--trials", 7, "--epochs", 3)
        plan = one_document(out)
        assert code == 0
        assert (plan["trials"], plan["training"]["epochs"], plan["dataset"]) == (7, 3, "digits")

    def test_status(self, autogrow, finished_run):
        code, out, _ = autogrow("status", finished_run.path, "--json")
        status = one_document(out)
        assert code == 0
        assert status["is_running"] is False
        assert sum(status["counts"].values()) == len(ENDINGS)
        assert status["best"]["accuracy"] == {"trial": MOST_ACCURATE, "value": 0.95}
        assert status["best"]["train_seconds"]["trial"] == FASTEST
        assert status["spending"]["train_seconds"] == 29.1

    def test_report(self, autogrow, finished_run, workplace):
        code, out, _ = autogrow("report", finished_run.path, "--json", "--html", "page.html")
        assert code == 0
        assert one_document(out)["html"] == str(workplace / "page.html")
        assert (workplace / "page.html").stat().st_size > 1000

    def test_export(self, autogrow, finished_run):
        code, out, _ = autogrow("export", finished_run.path, "--prefer", "knee", "--to", "knee.yaml", "--json")
        assert code == 0
        assert one_document(out)["found_by"]["trial"] == KNEE
        assert GrowthPolicy.load("knee.yaml").found_by["trial"] == KNEE

    def test_export_by_a_metric_that_was_not_measured(self, autogrow, finished_run):
        code, out, err = autogrow("export", finished_run.path, "--prefer", "latency", "--to", "policy.yaml")
        assert (code, out) == (2, "")
        assert "no trial of this study has measured latency_ms" in err
        assert err.count("\n") == 1

    @pytest.mark.usefixtures("one_thread")
    def test_train_and_evaluate(self, autogrow, policy_file):
        code, out, _ = autogrow("train", policy_file, "--dataset", "digits", "--out", "network", "--json")
        trained = one_document(out)
        assert code == 0
        code, out, _ = autogrow("evaluate", "network", "--dataset", "digits", "--json")
        assert code == 0
        assert one_document(out) == {key: trained[key] for key in ("test_score", "test_loss")}

    @pytest.mark.usefixtures("one_thread")
    def test_train_by_steps_says_which_of_how_many(self, autogrow, workplace):
        (workplace / "short.yaml").write_text("format: autogrow-policy/1\ntraining: {steps: 15, sample_every: 5}\n")
        code, _, err = autogrow("train", "short.yaml", "--dataset", "digits", "--out", "network")
        assert code == 0
        assert "step 5 of 15" in err
        assert json.loads((workplace / "network" / "config.json").read_text())["training"]["steps"] == 15

    def test_data_list(self, autogrow):
        code, out, _ = autogrow("data", "list", "--json")
        there = {entry["name"]: entry["present"] for entry in one_document(out)}
        assert code == 0
        assert there["digits"]
        assert not there["mnist"]


def test_help_and_lists_name_every_preference_and_objective(autogrow):
    named = "|".join([*preferences(), "knee", "smallest-within NUMBER"])
    assert f"[{named}]" in autogrow("export", "--help")[1]
    listed = autogrow("list", "objectives")[1].splitlines()[1:]
    assert [line.split()[0] for line in listed] == list(OBJECTIVES)
    assert any(line.endswith("minimize the latency (ms)") for line in listed)


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_dry_run_writes_nothing(more, autogrow, workplace):
    before = contents(workplace)
    assert autogrow("search", "--dry-run", *more)[0] == 0
    assert contents(workplace) == before


def test_a_dry_run_warns_of_runs_that_are_too_short(autogrow):
    _, out, err = autogrow("search", "--dry-run", "--epochs", 1, "--json")
    assert "takes only 8 measurements" in err
    assert one_document(out)["measurements_per_trial"] == 8


def test_a_dry_run_of_a_resumption_takes_the_settings_of_the_run(autogrow, finished_run):
    before = contents(finished_run.path)
    _, out, _ = autogrow("search", "--resume", "--name", "done", "--trials", 99, "--dry-run", "--json")
    assert (one_document(out)["trials"], one_document(out)["training"]["epochs"]) == (99, 4)
    assert contents(finished_run.path) == before


def test_looking_at_a_run_changes_nothing_in_it(autogrow, finished_run):
    before = contents(finished_run.path)
    for command in (["status"], ["report", "--html", "page.html"], ["export"]):
        assert autogrow(command[0], finished_run.path, *command[1:])[0] == 0
    assert contents(finished_run.path) == before


def test_a_run_is_found_by_its_name(autogrow, finished_run):
    code, out, _ = autogrow("status", "done")
    assert code == 0
    assert out.startswith("done")
    assert "5 complete, 1 pruned, 1 failed" in out


def test_a_run_that_is_done_is_not_searched_again(autogrow, finished_run):
    before = StudyDatabase.open(finished_run.database, ()).trials()
    assert autogrow("search", "--resume", "--name", "done", "--quiet", "--json")[0] == 0
    assert StudyDatabase.open(finished_run.database, ()).trials() == before
    assert not (finished_run.path / "lock").exists()


def test_a_run_in_use_is_left_alone_and_its_holder_named(autogrow, finished_run):
    hold = (
        "import sys, time; from pathlib import Path; from autogrow.study.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print(flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", hold, str(finished_run.path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=os.environ) as holder:
        holder.stdout.readline()
        started = time.monotonic()
        code, out, err = autogrow("search", "--resume", "--name", "done", "--quiet", "--trials", 99)
        seconds = time.monotonic() - started
        holder.kill()
    assert (code, out) == (3, "")
    assert f"in use by process {holder.pid} on " in err
    assert err.count("\n") == 1
    assert seconds < 2


def test_every_kind_that_can_be_named_is_listed(autogrow):
    _, everything, _ = autogrow("list")
    for kind in (*PARTS, "models", "objectives", "search-spaces"):
        assert f"\n{kind}:\n" in f"\n{everything}"
    for kind in ("models", "objectives", "search-spaces"):
        code, out, _ = autogrow("list", kind)
        assert code == 0
        assert out in everything
        assert out.count("\n") > 1
    assert "  quick                A few parameters" in everything


PARTS = (
    "triggers",
    "layer-selections",
    "initializations",
    "freezings",
    "depth-growths",
    "width-shrinkings",
    "unit-scores",
)


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("columns", [60, 200])
def test_a_kind_is_listed_with_formulas_sources_and_fields(autogrow, monkeypatch, kind, columns):
    from autogrow.cli.environment import part_kinds

    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = autogrow("list", kind)
    assert code == 0
    words = " ".join(out.split())
    for name, part in part_kinds()[kind].items():
        assert f"{name}: {part.summary}" in words
        assert f"source {part.source}" in words
        assert not part.formula or f"formula {part.formula}" in words
        for field, info in part.model_fields.items():
            assert f"{field}: " in words and " ".join(info.description.split()) in words


def test_fields_are_listed_with_defaults_and_limits(autogrow, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    _, out, _ = autogrow("list", "triggers")
    assert "  window: 5                    Samples in the moving average. (at least 1, at most 10000)\n" in out
    _, out, _ = autogrow("list", "depth-growths")
    assert (
        "  trigger: plateau " in out
        and "  stages: null " in out
        and "(one of all, round_robin)" in " ".join(out.split())
    )


def test_doctor_finds_the_machine(autogrow, data_dir):
    code, out, _ = autogrow("doctor")
    assert code == 0
    assert str(data_dir) in out
    assert "digits" in out


def test_the_version_is_printed(autogrow):
    from autogrow import __version__

    assert autogrow("--version") == (0, f"autogrow {__version__}\n", "")


@pytest.mark.parametrize(("task", "name"), [("classification", "validation accuracy"), ("regression", "validation R²")])
def test_an_exported_trial_is_described_in_the_words_of_its_task(task, name, autogrow, finished_run):
    config = finished_run.read_config()
    finished_run.write_config({**config, "task": task})
    code, out, err = autogrow("export", finished_run.path, "--trial", 3)
    assert code == 0, err
    assert f"trial 3, {name} " in out
