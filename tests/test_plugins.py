"""What installed packages add: found by entry points, listed with where it is from, searched and trained with.

`plugin_package` is one such package, with one file for each extension. It is installed for these tests as an installer
would, without one: its modules and its ``.dist-info`` are put into a folder of the import path.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import autogrow
from autogrow.data.catalogue import PACKAGED
from autogrow.data.opening import open_dataset
from autogrow.data.tokenizers import TOKENIZERS, TokenRecord, tokenizer_of
from autogrow.errors import DataError, PolicyError, UsageError
from autogrow.metrics.objectives import OBJECTIVES
from autogrow.models import MODELS
from autogrow.network.shrinking.unit_scores import measure_unit_scores
from autogrow.policy.initializations import INITIALIZATIONS
from autogrow.policy.layer_selection import LAYER_SELECTIONS
from autogrow.policy.triggers import TRIGGERS
from autogrow.policy.unit_scores import UNIT_SCORES, parse_unit_score
from autogrow.tasks import TASKS

PACKAGE = Path(__file__).parent / "plugin_package"
FROM = "autogrow-example 1.2"
EXTENSIONS = {
    "triggers": (TRIGGERS, "twice"),
    "layer-selections": (LAYER_SELECTIONS, "narrowest"),
    "initializations": (INITIALIZATIONS, "quiet"),
    "unit-scores": (UNIT_SCORES, "thinnest"),
    "tasks": (TASKS, "absolute"),
    "datasets": (PACKAGED, "ramps"),
    "models": (MODELS, "funnel"),
    "objectives": (OBJECTIVES, "overfitting"),
    "tokenizers": (TOKENIZERS, "lower"),
}
POLICY = {
    "initial_fraction": 0.25,
    "chunk_fraction": 0.25,
    "trigger": "twice",
    "layer_selection": "narrowest",
    "initialization": "quiet",
}


def install(project, modules, place):
    """Put a package into a folder of the import path, with what an installer writes of it."""
    for source in modules:
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, place / source.name)
    name, version = project["name"], project["version"]
    record = place / f"{name.replace('-', '_')}-{version}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = project["entry-points"].items()
    lines = [[f"[{group}]", *(f"{name} = {value}" for name, value in points.items())] for group, points in groups]
    (record / "entry_points.txt").write_text("\n".join(line for group in lines for line in group) + "\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, the example among them."""
    place = tmp_path / "site"
    place.mkdir()
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    install(project, [PACKAGE / "autogrow_example"], place)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("PYTHONPATH", str(place), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield place
    for name in [name for name in sys.modules if name.split(".")[0] in ("autogrow_example", "broken_example")]:
        del sys.modules[name]


@pytest.fixture
def broken(site):
    """A second package, whose entries cannot be used."""
    (site / "broken_example.py").write_text("raise RuntimeError('made for another version')\n")
    (site / "broken_values.py").write_text("number = 3\n")
    points = {
        "autogrow.triggers": {"broken": "broken_example:Broken", "number": "broken_values:number"},
        "autogrow.models": {"gone": "no_such_module:model"},
        "autogrow.layer_selections": {"narrowest": "broken_values:number"},
    }
    install({"name": "broken-example", "version": "0.1", "entry-points": points}, [], site)
    sys.path.append(str(site / "none"))  # what is installed is read once for an import path
    yield
    sys.path.remove(str(site / "none"))


def test_names_are_known_without_importing_anything(site):
    for registry, name in EXTENSIONS.values():
        assert name in registry and name in list(registry) and registry.origin(name) == FROM
    assert TRIGGERS.origin("plateau") is None
    assert "autogrow_example" not in sys.modules


def test_without_the_package_nothing_is_known_of_it():
    for registry, name in EXTENSIONS.values():
        assert name not in registry and registry.origin(name) is None
        with pytest.raises((PolicyError, UsageError, DataError, autogrow.errors.NetworkError), match="unknown"):
            registry[name]


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_lists_say_which_package_an_entry_is_from(site, autogrow, kind):
    code, out, err = autogrow("list")
    assert code == 0 and err == ""
    entries = out[out.index(f"\n{kind}:") :] if kind != "triggers" else out
    line = next(line for line in entries.splitlines() if line.startswith(f"  {EXTENSIONS[kind][1]} "))
    assert line.endswith(f"[{FROM}]") and len(line.split()) > 4


@pytest.mark.slow
def test_data_sets_of_packages_are_listed_with_ours(site, autogrow, tmp_path):
    code, out, err = autogrow("data", "list", "--data-dir", str(tmp_path))
    assert code == 0 and err == ""
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["ramps"] == f"{'ramps':14} there    Sums of three numbers (made up).  [{FROM}]"
    assert "10 train" not in lines["ramps"] and " train " in lines["digits"]
    code, out, _ = autogrow("data", "list", "--data-dir", str(tmp_path), "--json")
    (listing,) = (each for each in json.loads(out) if each["package"])
    assert (listing["name"], listing["package"], listing["num_train"]) == ("ramps", FROM, None)


@pytest.mark.slow
def test_data_sets_of_a_broken_package_are_left_out_of_the_list(broken, autogrow, tmp_path, site, caplog):
    points = {"autogrow.datasets": {"unread": "broken_example:unread"}}
    install({"name": "unread-example", "version": "2", "entry-points": points}, [], site)
    sys.path.append(str(site / "unread"))
    try:
        code, out, _ = autogrow("data", "list", "--data-dir", str(tmp_path))
    finally:
        sys.path.remove(str(site / "unread"))
    assert code == 0 and "ramps" in out and "unread" not in out
    (said,) = (record.getMessage() for record in caplog.records)
    assert "unread-example 2" in said and "\n" not in said


def test_a_data_set_is_read_once_and_again_when_its_function_has_changed(site, tmp_path):
    dataset = open_dataset("ramps", tmp_path)
    assert (dataset.task, dataset.num_train, dataset.num_test) == ("absolute", 240, 60)
    assert open_dataset("ramps", tmp_path).arrays_folder == dataset.arrays_folder
    module = site / "autogrow_example" / "ramps.py"
    module.write_text(module.read_text() + "\n# edited\n")
    again = open_dataset("ramps", tmp_path)
    assert again.arrays_folder != dataset.arrays_folder and again.fingerprint == dataset.fingerprint
    assert open_dataset("ramps", tmp_path, task="regression").task == "regression"


@pytest.mark.slow
def test_a_network_is_trained_with_all_of_them(site, tmp_path, one_thread):
    policy = autogrow.GrowthPolicy.from_dict(POLICY)
    result = autogrow.train("funnel", "ramps", policy, epochs=6, device="cpu", out=tmp_path / "model")
    assert [event.trigger_reason for event in result.events][:1] == ["2 measurements taken"]
    assert result.events[0].added_units.keys() == {min(result.widths, key=result.widths.get)}
    assert all(event.largest_output_change < 1e-5 for event in result.events)
    assert result.test.score > 0
    assert autogrow.evaluate(tmp_path / "model").score == result.test.score
    policy.save(tmp_path / "policy.yaml")
    assert autogrow.GrowthPolicy.load(tmp_path / "policy.yaml") == policy


@pytest.mark.slow
def test_text_is_read_and_gone_on_with_by_its_tokenizer(site, tmp_path, one_thread):
    (tmp_path / "shouted.txt").write_text("LOUD AND Clear. " * 200)
    dataset = open_dataset(f"{tmp_path / 'shouted.txt'}?context=16&tokenizer=lower")
    assert bytes(dataset.training_arrays()[0][0]) == b"loud and clear. " and "each 16 bytes" in dataset.describe()
    policy = autogrow.GrowthPolicy(initial_fraction=1.0, chunk_fraction=1.0)
    network = autogrow.ModelSpec("gpt", {"layers": 1, "width": 8})
    autogrow.train(network, dataset, policy, epochs=1, device="cpu", out=tmp_path / "model")
    assert autogrow.generate(tmp_path / "model", "LOUD", num_tokens=3).startswith("loud")


def test_without_its_package_a_tokenizer_is_unknown(site, tmp_path):
    with pytest.raises(UsageError, match="unknown tokenizer 'louder'"):
        tokenizer_of(TokenRecord(context=16, tokenizer="louder", num_tokens=256), "here")


def test_a_tokenizer_that_gives_no_tokens_is_one_line(site, tmp_path):
    (tmp_path / "text.txt").write_text("abc " * 200)
    module = site / "autogrow_example" / "lower.py"
    whole = module.read_text()
    for wrong, message in (
        ("[300] * 900", "gives tokens from 300 to 300, and has 256"),
        ("[0.5]", "gives float64 .1,."),
    ):
        module.write_text(whole.replace("super().encode_file(content.lower(), where)", wrong))
        sys.modules.pop("autogrow_example.lower", None)
        TOKENIZERS._loaded.clear()
        with pytest.raises(DataError, match=message):
            open_dataset(f"{tmp_path / 'text.txt'}?context=16&tokenizer=lower")


def test_units_are_scored_by_it(site):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    module[2].weight.data[:] = torch.tensor([[0.5, -2.0, 0.1]])
    growing = autogrow.ExpandableNetwork(module, torch.ones(1, 2))
    found = measure_unit_scores(parse_unit_score("thinnest"), growing, ["0"], [])
    assert found["0"].tolist() == pytest.approx([0.5, 2.0, 0.1])


def test_a_broken_package_is_one_line_and_the_others_go_on(broken, autogrow, caplog):
    code, out, _ = autogrow("list")
    assert code == 0 and "twice" in out and "plateau" in out and "broken " not in out
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4 and all("broken-example 0.1" in line or "broken-example" in line for line in said)


@pytest.mark.parametrize(
    ("registry", "name", "message"),
    [
        (TRIGGERS, "broken", r"broken-example 0.1 \(entry point autogrow.triggers: broken_example:Broken\) cannot be "
         "imported: RuntimeError: made for another version; mend or uninstall it"),
        (TRIGGERS, "number", "is not a class below autogrow.policy.triggers.Trigger"),
        (MODELS, "gone", "cannot be imported: ModuleNotFoundError"),
        (LAYER_SELECTIONS, "narrowest", "is in .*autogrow-example 1.2.*: uninstall one of them"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_names_package_and_entry_point(broken, registry, name, message):
    with pytest.raises((PolicyError, autogrow.errors.NetworkError), match=message) as raised:
        registry[name]
    assert "\n" not in str(raised.value)


def test_a_package_cannot_take_the_place_of_what_is_ours(broken, site):
    points = {"autogrow.triggers": {"plateau": "broken_values:number"}}
    install({"name": "taker", "version": "1", "entry-points": points}, [], site)
    sys.path.append(str(site / "other"))
    try:
        assert TRIGGERS["plateau"].kind == "plateau" and TRIGGERS.origin("plateau") is None
    finally:
        sys.path.remove(str(site / "other"))


RAMPS = {
    "an exception": ("raise OSError('no network')", "cannot be loaded: OSError: no network"),
    "no arrays": ("return 3", "gives an int"),
    "an unknown entry": ("return {'x_trian': 1}", "unknown entry 'x_trian'.*did you mean 'x_train'"),
    "no targets": ("return {'x_train': [[1.0]]}", "gives no y_train"),
}


@pytest.mark.parametrize("wrong", RAMPS)
def test_a_data_set_that_gives_none_is_one_line(site, tmp_path, wrong):
    body, message = RAMPS[wrong]
    (site / "autogrow_example" / "ramps.py").write_text(f"def ramps(data_dir):\n    {body}\n")
    with pytest.raises(DataError, match=f"'ramps' of {FROM}.*{message}"):
        open_dataset("ramps", tmp_path)


SPACE = """
format: autogrow-space/1
policy:
  initial_fraction: 0.25
  chunk_fraction: {low: 0.2, high: 0.4}
  trigger: twice
  layer_selection: narrowest
  initialization: quiet
"""


@pytest.mark.slow
def test_a_search_through_ray_uses_all_of_them(site, tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    options = ["--dataset", "ramps", "--model", "funnel", "--space", "space.yaml", "--trials", "5", "--epochs", "3"]
    options += ["--objectives", "score,overfitting,sensitivity"]
    command = [sys.executable, "-m", "autogrow", "search", *options, "--name", "run", "--quiet"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr
    assert "failed" not in ended.stderr
    study = autogrow.Study.load(tmp_path / "results" / "run")
    assert study.result.complete + study.result.pruned == 5 and study.result.failed == 0
    assert study.best_policy() is not None and study.best_policy("overfitting") is not None
    assert study.run.settings().objectives == ("r2", "overfitting", "sensitivity")
    assert all(
        trial.user_attrs["sensitivity"] > 0 for trial in study.optuna_study.trials if trial.state.name == "COMPLETE"
    )
    searched = [trial for trial in study.optuna_study.trials if trial.user_attrs.get("role") == "searched"]
    assert searched
