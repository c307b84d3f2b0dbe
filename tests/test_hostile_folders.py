"""Nothing that is read is executed, opened or connected to: hostile folders, put through everything that reads one.

Their ``config.yaml`` names code, a database and a cluster; whatever touches one of these leaves a mark.
"""

import ast
import json
import shutil
import sqlite3
from functools import cache
from pathlib import Path

import pytest
import yaml

import autogrow as package
from autogrow import api
from autogrow.cli.main import cli
from autogrow.errors import NetworkError, UsageError
from autogrow.experiments.confirmation import confirm_policies
from autogrow.export.policies import export_policy
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.report.html import html_report
from autogrow.report.summary import summarize
from autogrow.search_plans import plan_resumed_search
from autogrow.study import planning, ray_executor
from autogrow.study.finding_runs import find_run
from autogrow.study.packing import Packing
from autogrow.study.run_folder import RunFolder
from autogrow.study.trial_config import TrialConfig
from autogrow.study.warm_start import read_warm_start

pytestmark = pytest.mark.slow

SOURCES = Path(package.__file__).parent
FIXTURE = Path(__file__).parent / "fixtures" / "run-format-1"
EVIL = "evil_network:network"
CODE = """
from pathlib import Path
from torch import nn

Path({mark!r}).write_text("imported")

def network(num_outputs, touched=None):
    Path({mark!r}).write_text("called")
    if touched is not None:
        Path(touched).touch()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, num_outputs))
"""


@pytest.fixture
def mark(workplace, monkeypatch):
    """Exists once the code that the folders name was imported; that lies where it would be found."""
    path = workplace / "mark"
    (workplace / "evil_network.py").write_text(CODE.format(mark=str(path)))
    monkeypatch.syspath_prepend(workplace)
    monkeypatch.delitem(__import__("sys").modules, "evil_network", raising=False)
    # What is measured in other processes is as bad as what is built in this one.
    for module in (planning, ray_executor):
        monkeypatch.setattr(module, "device_problem", lambda share: None)
    monkeypatch.setattr(planning, "measure_packing", lambda *_, **__: path.touch() or Packing(1, 1.0))
    monkeypatch.setattr(
        ray_executor.socket, "create_connection", lambda *_, **__: path.touch() or pytest.fail("connected")
    )
    return path


@pytest.fixture
def elsewhere(workplace):
    """A database that is none of the run's."""
    return workplace / "elsewhere" / "study.db"


def hostile_run(workplace, **config):
    run = workplace / "results" / "run"
    shutil.copytree(FIXTURE, run)
    before = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**before, **config}))
    return run


@pytest.fixture
def coded(workplace, mark):
    """A run whose network is code that lies about, with an option that touches a file."""
    options = {"touched": str(mark.with_name("touched"))}
    return hostile_run(workplace, model=EVIL, model_options=options, working_directory=str(workplace))


@pytest.fixture
def stored(workplace, elsewhere):
    """A run whose study is said to be in a database elsewhere."""
    elsewhere.parent.mkdir()
    return hostile_run(workplace, storage=f"sqlite:///{elsewhere}")


@pytest.fixture
def saved(workplace, mark):
    """A trained network that says it was made by that code."""
    folder = workplace / "network"
    code = api.train("mlp", "digits", GrowthPolicy(), epochs=1, train_size=100, out=folder)
    assert code is not None
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model": {"name": EVIL, "options": {}}}))
    return folder


@pytest.fixture
def policy(workplace):
    """A policy that says it was found with that code."""
    path = workplace / "policy.yaml"
    GrowthPolicy(found_by={"model": EVIL, "model_options": {"touched": "touched"}}).save(path)
    return path


SHORT = ("--dataset", "digits", "--epochs", 1, "--train-size", 60)
RUN_COMMANDS = {
    "search": [
        ("--resume", "--name", "run", "--quiet"),
        ("--resume", "--name", "run", "--dry-run"),
        ("--resume", "--name", "run", "--dry-run", "--gpus-per-trial", "auto"),
        ("--from", "results/run", "--dry-run"),
    ],
    "status": [("run",), ("results/run", "--json")],
    "report": [("run",), ("run", "--json")],
    "export": [("run",), ("run", "--trial", 3)],
    "confirm": [("run", "--top", 1, "--seeds", 1, "--quiet")],
}
"""Every command that is given a run's folder, and how."""
OTHER_COMMANDS = {
    "train": ("policy.yaml", *SHORT, "--out", "out", "--quiet"),
    "compare": ("policy.yaml", *SHORT, "--seeds", 1, "--out", "out", "--quiet"),
    "evaluate": ("network", "--dataset", "digits"),
    "generate": ("network", "--prompt", "a"),
    "predict": ("network", "--text", "a"),
    "shrink": ("network", "--dataset", "digits", "--to-flops", 0.5, "--out", "out", "--quiet"),
}
"""Every command that is given a policy or a saved network."""
READ_NO_FOLDER = {"reproduce", "inspect", "data", "list", "doctor"}


def test_no_command_is_forgotten():
    assert set(cli.commands) == {*RUN_COMMANDS, *OTHER_COMMANDS, *READ_NO_FOLDER}


every_use = pytest.mark.parametrize(
    "command", [(name, *arguments) for name, uses in RUN_COMMANDS.items() for arguments in uses], ids=str
)


class TestCode:
    @every_use
    def test_no_command_runs_what_a_run_names(self, command, coded, mark, autogrow):
        code, _, err = autogrow(*command)
        assert not mark.exists() and not mark.with_name("touched").exists()
        builds = command[0] == "confirm" or "--resume" in command
        assert code == (2 if builds else 0)
        if builds:
            assert f"name it with --model {EVIL}" in err and err.count("autogrow: error: ") == 1

    @pytest.mark.parametrize("command", ["search", "confirm"])
    def test_another_name_is_refused(self, command, coded, mark, autogrow):
        given = ("--resume", "--name", "run", "--dry-run") if command == "search" else ("run",)
        code, _, err = autogrow(command, *given, "--model", "other_network:make")
        assert code == 2
        assert f"'{EVIL}', not 'other_network:make'" in err
        assert not mark.exists()

    @pytest.mark.parametrize("command", ["search", "confirm"])
    def test_named_again_it_runs_with_its_options(self, command, coded, mark, autogrow, monkeypatch):
        given = ("--resume", "--name", "run", "--dry-run") if command == "search" else ("run", "--top", 1, "--seeds", 1)
        monkeypatch.chdir(mark.parent)
        code, _, err = autogrow(command, *given, "--model", EVIL)
        assert mark.read_text() == "called"
        assert mark.with_name("touched").exists()
        assert code == 0, err

    def test_it_is_imported_from_here_not_from_where_the_folder_says(self, coded, mark, autogrow, monkeypatch):
        here = mark.parent / "here"
        here.mkdir()
        monkeypatch.setattr("sys.path", [path for path in __import__("sys").path if path != str(mark.parent)])
        monkeypatch.chdir(here)
        for given in (("search", "--resume", "--name", "run", "--out", coded.parent, "--dry-run"), ("confirm", coded)):
            code, _, err = autogrow(*given, "--model", EVIL)
            assert code == 2
            assert "cannot import 'evil_network'" in err and "change to the folder that it lies in" in err
        assert not mark.exists()

    @pytest.mark.parametrize("command", OTHER_COMMANDS)
    def test_nor_what_a_policy_or_a_network_names(self, command, saved, policy, mark, autogrow):
        code, _, err = autogrow(command, *OTHER_COMMANDS[command])
        assert not mark.exists() and not (mark.parent / "touched").exists()
        assert (code == 2) == (command in ("evaluate", "generate", "predict", "shrink")), err

    def test_nor_any_function(self, coded, saved, policy, mark, workplace):
        run = find_run("run")
        summarize(run), html_report(run), export_policy(run), read_warm_start(["run", str(policy)], {})
        refused = [
            lambda: api.search(name="run", resume=True),
            lambda: plan_resumed_search(run),
            lambda: plan_resumed_search(run, gpus_per_trial="auto"),
            lambda: confirm_policies(run, top=1, num_seeds=1),
            lambda: package.load(saved),
            lambda: package.evaluate(saved, "digits"),
            lambda: package.generate(saved, "a"),
            lambda: package.predict_text(saved, "a"),
            lambda: package.shrink(saved, "digits", workplace / "small", to_flops=0.5),
        ]
        for call in refused:
            with pytest.raises(NetworkError, match=f"name it with --model {EVIL}"):
                call()
        assert not mark.exists()

    def test_a_trial_is_not_made_of_what_nobody_named(self, coded):
        settings = RunFolder(coded).settings()
        with pytest.raises(NetworkError, match="runs only if its caller names it"):
            TrialConfig.of(settings, ModelSpec(settings.model, settings.model_options))


class TestDatabases:
    @every_use
    def test_no_command_opens_what_a_run_names(self, command, stored, elsewhere, autogrow):
        code, _, err = autogrow(*command)
        assert code == 2
        assert f"its study is in sqlite:///{elsewhere}" in err and "--storage" in err
        assert err.count("autogrow: error: ") == 1
        assert list(elsewhere.parent.iterdir()) == []

    @pytest.mark.parametrize("command", ["status", "report", "export"])
    @pytest.mark.parametrize("how", ["option", "variable"])
    def test_it_is_opened_where_the_caller_names_it(self, command, how, stored, elsewhere, autogrow, monkeypatch):
        url = f"sqlite:///{elsewhere}"
        with sqlite3.connect(stored / "study.db") as source, sqlite3.connect(elsewhere) as target:
            source.backup(target)
            target.execute("UPDATE studies SET study_name = 'run'")
        source.close(), target.close()
        if how == "variable":
            monkeypatch.setenv("AUTOGROW_STORAGE", url)
        code, _, err = autogrow(command, "run", *(["--storage", url] if how == "option" else []))
        assert code == 0, err

    def test_another_one_is_refused(self, stored, elsewhere, autogrow):
        code, _, err = autogrow("status", "run", "--storage", f"sqlite:///{elsewhere.parent}/other.db")
        assert code == 2 and f"its study is in sqlite:///{elsewhere}" in err
        assert list(elsewhere.parent.iterdir()) == []

    def test_one_in_the_folder_needs_no_word(self, workplace):
        run = hostile_run(workplace, storage=f"sqlite:///{workplace}/results/run/shared.db")
        assert str(RunFolder(run).study_location()) == f"study 'run' in sqlite:///{run}/shared.db"

    @pytest.mark.parametrize(
        "url",
        ["postgresql://host/db", "sqlite:///{run}/../../elsewhere/study.db", "sqlite:///{run}/link/study.db",
         "sqlite:///file:{run}/x.db?uri=true", "sqlite:///{run}/x.db?uri=true", "mysql://host/{run}"],
    )  # fmt: skip
    def test_what_only_looks_like_it_does(self, url, workplace, elsewhere):
        elsewhere.parent.mkdir()
        run = workplace / "results" / "run"
        hostile_run(workplace, storage=url.format(run=run))
        (run / "link").symlink_to(elsewhere.parent)
        with pytest.raises(UsageError, match="its study is in"):
            RunFolder(run).study_location()

    def test_a_link_in_the_place_of_its_own(self, workplace, elsewhere, autogrow):
        elsewhere.parent.mkdir()
        with sqlite3.connect(elsewhere) as database:
            database.execute("CREATE TABLE mine (value)")
        database.close()
        before = elsewhere.read_bytes()
        run = hostile_run(workplace)
        (run / "study.db").unlink()
        (run / "study.db").symlink_to(elsewhere)
        for command in ("status", "report", "export"):
            code, _, err = autogrow(command, run)
            assert code == 2 and "is a link out of the run's folder" in err
        assert elsewhere.read_bytes() == before


class TestClusters:
    def test_a_run_chooses_no_cluster(self, workplace, mark, autogrow):
        hostile_run(workplace, address="127.0.0.1:1")
        for more in ((), ("--dry-run",)):
            code, _, err = autogrow("search", "--resume", "--name", "run", "--quiet", *more)
            assert code == 2
            assert "ran on the Ray cluster at '127.0.0.1:1': name it again with --address 127.0.0.1:1" in err
            assert "--address local" in err
        assert not mark.exists()

    def test_it_goes_on_here_where_that_is_said(self, workplace):
        run = hostile_run(workplace, address="127.0.0.1:1")
        assert plan_resumed_search(RunFolder(run), address="local").settings.address is None


@cache
def sources():
    """The parsed modules of autogrow by their paths."""
    return {path.relative_to(SOURCES): ast.parse(path.read_text()) for path in sorted(SOURCES.rglob("*.py"))}


def calls(name):
    """Where a function or method of this name is called, as "path: function around it"."""
    found = []
    for path, tree in sources().items():
        for around in ast.walk(tree):
            if isinstance(around, ast.FunctionDef):
                for node in ast.walk(around):
                    if isinstance(node, ast.Call) and name in (
                        getattr(node.func, "id", ""),
                        getattr(node.func, "attr", ""),
                    ):
                        found.append(f"{path}: {around.name}")
    return found


def test_code_is_imported_at_one_place_behind_one_check():
    assert calls("_import_factory") == calls("handed_over") == ["models/building.py: _factory"]
    assert calls("_factory") == ["models/building.py: build_model"]
    assert "models/building.py: build_model" in calls("refuse_unnamed")


def test_only_what_a_caller_gives_counts_as_named():
    """A new place here needs a reason why no file can come that way."""
    assert calls("given_by_caller") == [
        "cli/inspection.py: inspect",  # the command's argument
        "inputs.py: resolve_model",  # an argument of the Python interface, or of the command line
        "inputs.py: resolve_model",
        "models/building.py: given_model",  # an argument of the Python interface
        "models/building.py: given_model",
        "models/building.py: named_again",  # an object that the caller gives again
        "models/building.py: named_again",  # after it was compared with what the caller says
        "study/trial.py: _train",  # a trial's configuration is made by `TrialConfig.of` alone, which refuses others
    ]
    sets = [
        f"{path}: {keyword.arg}"
        for path, tree in sources().items()
        for keyword in ast.walk(tree)
        if isinstance(keyword, ast.keyword) and keyword.arg == "named_by_caller"
    ]
    assert sets == ["models/building.py: named_by_caller"]
