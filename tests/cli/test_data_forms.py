"""How a user's own file is read is said before anything is done, can be overruled, and holds for what follows."""

import json

import numpy as np
import pytest

from autogrow.study.settings import SearchSettings, experiment_digest

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(120, 4))
THREE = np.arange(120) % 3
MODELS = """
from torch import nn

class Returning(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.layers, self.form = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), form

    def forward(self, inputs):
        return self.form(self.layers(inputs))

def good(): return Returning(lambda y: y)
def one(): return Returning(lambda y: y[:, :1])
def named(): return Returning(lambda y: {"logits": y})
def frozen(): return good().requires_grad_(False)
"""


@pytest.fixture
def file(workplace):
    def save(y, x=FEATURES, **arrays):
        np.savez(workplace / "mine.npz", x_train=x, y_train=y, **arrays)
        return "mine.npz"

    return save


@pytest.fixture
def planned(autogrow):
    """A dry run: its JSON, and what it says without."""

    def plan(name, *more):
        dry_run = ("search", "--dry-run", "--dataset", name, *more)
        code, out, err = autogrow(*dry_run, "--json")
        assert code == 0, err
        assert "data:" not in err
        return json.loads(out), autogrow(*dry_run)[2]

    return plan


def test_classes(file, planned):
    found, said = planned(file(THREE.astype(float) * 5))
    assert (found["task"], found["layout"], found["classes"], found["num_outputs"]) == (
        "classification", "features", [0, 5, 10], 3
    )  # fmt: skip
    line = "120 training and no test examples, 4 features; classification of 3 classes (0, 5, 10)"
    assert found["data"] == line and f"autogrow: data: {line} (--task and --layout overrule this)\n" in said
    assert found["target_scale"] is None


def test_a_regression(file, planned):
    targets = FEATURES[:, 0] * 1e5 + 3e5
    found, said = planned(file(targets))
    assert (found["task"], found["classes"], found["standardizes_targets"]) == ("regression", [], True)
    (std,) = found["target_scale"]["std"]
    assert std == pytest.approx(targets.std(), rel=0.2)
    assert std != pytest.approx(targets.std(), rel=1e-6)  # of the training split alone
    assert "regression of 1 target, standardized by mean" in said


def test_what_is_decided_can_be_overruled(file, planned, autogrow):
    images = RANDOM.normal(size=(120, 6, 8, 7))
    name = file(THREE, images)
    code, _, err = autogrow("search", "--dry-run", "--dataset", name)
    assert code == 2 and "say which with --layout" in err and err.count("\n") == 1
    found, said = planned(name, "--layout", "channels_last", "--task", "regression")
    assert (found["task"], found["layout"], found["input_shape"]) == ("regression", "channels_last", [7, 6, 8])
    assert "images of 7 x 6 x 8 (channels x height x width; channels last in the file)" in said
    again = SearchSettings.model_validate({key: found[key] for key in SearchSettings.model_fields if key in found}
                                          | {"space": {"format": "autogrow-space/1"}})  # fmt: skip
    assert (again.task, again.layout) == ("regression", "channels_last")
    code, out, _ = autogrow("inspect", "mlp", "--dataset", name, "--layout", "channels_first", "--json")
    assert code == 0 and json.loads(out)["input_shape"] == [6, 8, 7]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("one", "the network returned (7, 1) for 7 examples, wanted is (7, 3)"),
        ("named", "the network returned a dict of 'logits'"),
        ("frozen", "no parameter that is trained"),
    ],
)
@pytest.mark.parametrize("command", ["search", "train", "compare"])
def test_what_a_network_returns_is_refused_before_anything_is_done(command, factory, message, file, autogrow, workplace,
                                                                  monkeypatch):  # fmt: skip
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    (workplace / "returning_models.py").write_text(MODELS)
    (workplace / "p.yaml").write_text("format: autogrow-policy/1\ninitial_fraction: 0.5\n")
    name = file(THREE, x_test=FEATURES, y_test=THREE)
    how = ["search", "--dry-run"] if command == "search" else [command, "p.yaml"]
    code, out, err = autogrow(*how, "--dataset", name, "--model", f"returning_models:{factory}")
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1
    assert {path.name for path in workplace.iterdir()} == {"mine.npz", "p.yaml", "returning_models.py", "cache"}


def test_inspect_says_what_is_wrong_with_the_outputs(file, autogrow, workplace, monkeypatch):
    monkeypatch.syspath_prepend(str(workplace))
    (workplace / "returning_models.py").write_text(MODELS)
    name = file(THREE)
    for factory, expected in (("good", None), ("one", "the network returned (7, 1)")):
        arguments = ["inspect", f"returning_models:{factory}", "--dataset", name]
        code, out, _ = autogrow(*arguments, "--json")
        problem = json.loads(out)["problem_with_data"]
        assert code == 0 and (problem is None if expected is None else expected in problem)
        assert ("cannot be trained" in autogrow(*arguments)[1]) == (expected is not None)


def test_a_search_from_before_goes_on_with_targets_as_they_are(file, planned, workplace):
    found, _ = planned(file(FEATURES[:, 0] + 0.5))
    fields = {key: found[key] for key in SearchSettings.model_fields if key in found}
    settings = SearchSettings.model_validate(fields | {"space": {}})
    before = SearchSettings.model_validate(
        {key: value for key, value in fields.items() if key not in ("layout", "standardizes_targets")} | {"space": {}}
    )
    assert settings.standardizes_targets and not before.standardizes_targets and before.layout is None
    assert experiment_digest(settings) != experiment_digest(before)
