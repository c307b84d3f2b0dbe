"""The Python interface, apart from what needs Ray."""

import pytest

import autogrow
from autogrow.api import plan_new_search, plan_resumed_search
from autogrow.errors import PolicyError, UsageError
from autogrow.study.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    """A run that was started with settings unlike the defaults."""
    plan = plan_new_search("digits", trials=50, epochs=30, seed=3, data_dir=tmp_path / "data", objectives=["accuracy"])
    folder = RunFolder(tmp_path / "results" / "run")
    folder.create(plan.settings.model_dump(mode="json"))
    return folder


def test_resuming_keeps_the_runs_own_settings(run):
    before = run.settings()
    assert plan_resumed_search(run).settings == before
    more = plan_resumed_search(run, trials=80, max_concurrent=1).settings
    assert more == before.model_copy(update={"trials": 80, "max_concurrent": 1})


@pytest.mark.parametrize("change", [{"seed": 4}, {"epochs": 2}, {"dataset": "sine"}, {"objectives": "accuracy"}])
def test_resuming_with_another_experiment_is_refused_and_changes_nothing(run, change):
    before = run.config_file.read_bytes()
    with pytest.raises(UsageError, match=f"{next(iter(change))} cannot change in a resumed run"):
        autogrow.search(name=run.name, out=run.path.parent, resume=True, **change)
    assert run.config_file.read_bytes() == before


def test_resuming_needs_a_name():
    with pytest.raises(UsageError, match="needs the name"):
        autogrow.search(resume=True)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".."])
def test_a_run_name_is_no_path(name, tmp_path):
    with pytest.raises(UsageError, match="is a path"):
        autogrow.search(name=name, out=tmp_path)


def test_trials_of_one_search_are_equally_long(tmp_path):
    space = {"format": "autogrow-space/1", "training": {"epochs": {"low": 2, "high": 20}}}
    with pytest.raises(PolicyError, match=r"training\.epochs cannot be searched"):
        plan_new_search("digits", space=space, data_dir=tmp_path)


def test_a_module_of_ones_own_is_trained_as_a_copy(tmp_path, one_thread):
    from torch import nn

    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))
    before = [parameter.clone() for parameter in module.parameters()]
    policy = autogrow.GrowthPolicy.from_dict({"trigger": {"kind": "schedule", "every": 5}})
    result = autogrow.train(module, "digits", policy, epochs=10, data_dir=tmp_path, device="cpu")
    assert result.test.accuracy > 0.7
    assert [layer.out_features for layer in result.module if isinstance(layer, nn.Linear)] == [40, 10]
    assert len(result.events) == 3
    assert all((now == then).all() for now, then in zip(module.parameters(), before, strict=True))
