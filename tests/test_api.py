"""The Python interface, apart from what needs Ray."""

import numpy as np
import pytest

import autogrow
import autogrow.api
from autogrow.errors import NetworkError, PolicyError, RunFolderError, UsageError
from autogrow.policy.execution import Execution
from autogrow.policy.limits import SizeLimits
from autogrow.search_plans import plan_new_search, plan_resumed_search
from autogrow.study.run_folder import RunFolder
from autogrow.study.search import SearchResult

from .study.finished_run import KNEE, make_finished_run

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("change", [{"seed": 4}, {"epochs": 2}, {"dataset": "sine"}, {"objectives": "loss"}])
def test_resuming_with_another_experiment_is_refused_and_changes_nothing(run, change):
    before = run.config_file.read_bytes()
    with pytest.raises(UsageError, match=f"{next(iter(change))} cannot change in a resumed run"):
        autogrow.search(name=run.name, out=run.path.parent, resume=True, **change)
    assert run.config_file.read_bytes() == before


def test_resuming_with_what_the_run_was_started_with_is_no_change(run, tmp_path):
    before = run.settings()
    same = {
        "dataset": "digits", "model": "auto", "trials": 50, "epochs": 30, "seed": 3, "data_dir": tmp_path / "data",
        "objectives": ["accuracy"], "space": "default", "sampler": "tpe", "limits": {}, "batch_size": 128,
        "execution": {"precision": "auto"}, "early_stopping": "flops", "warm_start": (), "learning_rate": 1e-3,
    }  # fmt: skip
    assert plan_resumed_search(run, **same).settings == before
    for name, value in same.items():
        assert plan_resumed_search(run, **{name: value}).settings == before
    assert plan_resumed_search(run, model="mlp", objectives="accuracy", limits=SizeLimits()).settings == before


def test_a_search_takes_training_settings_and_what_is_given_beside_them_stands_in_their_place(tmp_path):
    training = autogrow.TrainingSettings(optimizer="sgd", epochs=9, sample_every=3)
    given = {"training": training, "epochs": 4, "batch_size": 50}
    plan = plan_new_search("digits", data_dir=tmp_path / "data", **given)
    assert plan.settings.training == training.model_copy(update={"epochs": 4, "batch_size": 50})
    folder = RunFolder(tmp_path / "run")
    folder.create(plan.settings.model_dump(mode="json"))
    assert plan_resumed_search(folder, **given).settings == plan.settings
    with pytest.raises(UsageError, match="training.epochs cannot change in a resumed run: it is 4, not 9"):
        plan_resumed_search(folder, training=training)


@pytest.mark.parametrize("training", ["x", {"epochs": 3}])
def test_training_settings_that_are_none(training):
    with pytest.raises(UsageError, match=r"training is .*: write TrainingSettings\("):
        plan_new_search("digits", training=training)


DIFFERENT = {
    "dataset": ("sine", "dataset .*: it is 'digits', not 'sine'"),
    "model": ("convnet", "model .*: it is 'mlp', not 'convnet'"),
    "model_options": ({"hidden": [5]}, r"model_options.hidden .*: it is None, not \[5\]"),
    "space": ("quick", "space .*: 'quick' is another"),
    "objectives": ("accuracy,loss", r"objectives .*: it is \['accuracy'\], not \['accuracy', 'loss'\]"),
    "limits": ({"max_parameters": 5}, "limits.max_parameters .*: it is None, not 5"),
    "execution": ({"compile": True}, "execution.compile .*: it is False, not True"),
    "warm_start": (["best.yaml"], r"warm_start .*: \['best.yaml'\] is another"),
    "learning_rate": (0.1, "training.learning_rate .*: it is 0.001, not 0.1"),
    "sampler": ("gp", "sampler .*: it is 'tpe', not 'gp'"),
}


@pytest.mark.parametrize(
    ("name", "value", "message"), [(name, *rest) for name, rest in DIFFERENT.items()], ids=DIFFERENT
)
def test_what_differs_is_said_with_both_values(run, tmp_path, monkeypatch, name, value, message):
    monkeypatch.chdir(tmp_path)
    autogrow.GrowthPolicy().save("best.yaml")
    with pytest.raises(UsageError, match=message):
        plan_resumed_search(run, **{name: value})


def test_the_sources_of_a_warm_start_are_compared_by_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    autogrow.GrowthPolicy().save("best.yaml")
    plan = plan_new_search("digits", data_dir=tmp_path / "data", warm_start=["best.yaml"])
    folder = RunFolder(tmp_path / "run")
    folder.create(plan.settings.model_dump(mode="json"))
    autogrow.GrowthPolicy(initial_fraction=0.5).save("best.yaml")
    assert plan_resumed_search(folder, warm_start=["best.yaml"]).settings == plan.settings
    with pytest.raises(UsageError, match="warm_start cannot change"):
        plan_resumed_search(folder, warm_start=())


def test_a_single_source_of_a_warm_start_is_given_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    autogrow.GrowthPolicy(initial_fraction=0.5).save("best.yaml")
    plan = plan_new_search("digits", data_dir=tmp_path / "data", warm_start="best.yaml")
    assert plan.settings == plan_new_search("digits", data_dir=tmp_path / "data", warm_start=["best.yaml"]).settings
    assert [entry.origin for entry in plan.settings.warm_start] == ["best.yaml"]
    folder = RunFolder(tmp_path / "run")
    folder.create(plan.settings.model_dump(mode="json"))
    assert plan_resumed_search(folder, warm_start="best.yaml").settings == plan.settings


def test_a_file_is_the_same_by_whatever_path(tmp_path, monkeypatch):
    data = tmp_path / "mine.npz"
    generator = np.random.default_rng(0)
    np.savez(data, x_train=generator.normal(size=(200, 5)), y_train=np.arange(200) % 2)
    plan = plan_new_search(str(data), data_dir=tmp_path / "data")
    folder = RunFolder(tmp_path / "run")
    folder.create(plan.settings.model_dump(mode="json"))
    monkeypatch.chdir(tmp_path)
    assert plan_resumed_search(folder, dataset="mine.npz").settings.dataset == plan.settings.dataset


def misspelt():
    def calls(tmp_path):
        run = RunFolder(tmp_path / "run")
        policy = autogrow.GrowthPolicy()
        study = autogrow.Study(SearchResult(run, 0, 0, 0, 0, False, 0.0))
        return {
            "trails": (lambda: autogrow.search("digits", trails=5), "trials"),
            "learning_rat": (lambda: autogrow.search("digits", learning_rat=5), "learning_rate"),
            "sampeler": (lambda: plan_new_search("digits", sampeler="tpe"), "sampler"),
            "trails ": (lambda: plan_resumed_search(run, trails=5), "trials"),
            "sede": (lambda: autogrow.train("mlp", "digits", policy, sede=5), "seed"),
            "seed": (lambda: autogrow.compare("mlp", "digits", policy, seed=5), "seeds"),
            "modle": (lambda: autogrow.load("model", modle="x"), "model"),
            "datadir": (lambda: autogrow.evaluate("model", "digits", datadir="x"), "data_dir"),
            "tops": (lambda: study.confirm(tops=3), "top"),
            "options_": (lambda: autogrow.ModelSpec("mlp", options_={}), "options"),
            "verifi": (lambda: autogrow.ExpandableNetwork(None, None, verifi=False), "verify"),
            "prefers": (lambda: study.best_policy(prefers="gap"), "prefer"),
        }

    return calls


@pytest.mark.parametrize(
    "name",
    [
        "trails",
        "learning_rat",
        "sampeler",
        "trails ",
        "sede",
        "seed",
        "modle",
        "datadir",
        "tops",
        "prefers",
        "options_",
        "verifi",
    ],
)
def test_an_unknown_argument_gets_the_nearest_name(tmp_path, name):
    call, nearest = misspelt()(tmp_path)[name]
    with pytest.raises(UsageError, match=f"unknown argument of .* '{name.strip()}': .*did you mean '{nearest}'"):
        call()


@pytest.mark.parametrize("name", ["fingerprint", "working_directory", "num_validation", "chance_level"])
def test_what_a_search_finds_out_by_itself_is_no_argument(name):
    with pytest.raises(UsageError, match=f"unknown argument of search\\(\\) '{name}'"):
        autogrow.search("digits", **{name: "x"})


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
    assert result.test.score > 0.7
    assert [layer.out_features for layer in result.module if isinstance(layer, nn.Linear)] == [40, 10]
    assert len(result.events) == 3
    assert all((now == then).all() for now, then in zip(module.parameters(), before, strict=True))


class TestStudy:
    @pytest.fixture
    def finished_run(self, tmp_path):
        return make_finished_run(tmp_path / "results" / "done", tmp_path / "data")

    @pytest.mark.parametrize("place", ["results/done", "done"])
    def test_a_run_is_opened_by_its_place(self, finished_run, place, monkeypatch):
        monkeypatch.chdir(finished_run.path.parents[1])
        study = autogrow.Study.load(place)
        assert study.run.path == finished_run.path
        assert (study.result.complete, study.result.pruned, study.result.failed) == (5, 1, 1)
        assert (study.result.waiting, study.result.interrupted, study.result.wall_seconds) == (0, False, None)
        assert study.best_policy("knee").found_by["trial"] == KNEE
        assert len(study.optuna_study.trials) == 7

    def test_one_that_is_not_there_is_an_error_at_once(self, tmp_path):
        with pytest.raises(RunFolderError, match="no run at"):
            autogrow.Study.load(tmp_path / "nothing")

    @pytest.mark.parametrize("given", ["results/done", None, 3])
    def test_the_constructor_opens_nothing_and_says_what_does(self, given):
        with pytest.raises(UsageError, match=r"opens nothing: write Study\.load\("):
            autogrow.Study(given)


class TestDataGivenInPython:
    """The end of the way of `tests/data/test_python_data.py`: what is trained, searched and gone on with."""

    X = np.random.default_rng(1).normal(size=(240, 6)).astype(np.float32)
    Y = (X[:, 0] > 0).astype(int)

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def test_a_search_is_planned_on_it_and_goes_on_with_it(self, tmp_path):
        plan = plan_new_search((self.X, self.Y))
        assert plan.settings.dataset == plan.dataset.name and plan.settings.dataset.endswith("arrays.npz")
        folder = RunFolder(tmp_path / "run")
        folder.create(plan.settings.model_dump(mode="json"))
        resumed = plan_resumed_search(folder, dataset=(self.X, self.Y))
        assert resumed.settings == plan.settings == plan_resumed_search(folder).settings
        with pytest.raises(UsageError, match="dataset cannot change in a resumed run"):
            plan_resumed_search(folder, dataset=(self.X + 1, self.Y))

    def test_trained_on_it_a_network_is_evaluated_on_it(self, tmp_path, one_thread):
        data = (self.X, self.Y, self.X[:40], self.Y[:40])
        result = autogrow.train("mlp", data, autogrow.GrowthPolicy(), epochs=2, out=tmp_path / "model", device="cpu")
        assert result.test is not None
        assert autogrow.evaluate(tmp_path / "model").score == result.test.score

    def test_without_a_test_part_that_is_said_and_nothing_is_split_off(self, caplog, one_thread):
        result = autogrow.train("mlp", (self.X, self.Y), autogrow.GrowthPolicy(), epochs=1, device="cpu")
        assert result.test is None
        assert "no test split" in caplog.text
        with pytest.raises(UsageError, match="has no test split"):
            autogrow.compare("mlp", (self.X, self.Y), autogrow.GrowthPolicy(), seeds=1, epochs=1, device="cpu")


class TestArgumentsOfASearch:
    """Named as the command line's options; wrong ones are one line."""

    @pytest.fixture
    def planned(self, monkeypatch, tmp_path):
        """Searches are planned and not run; gives the settings."""
        plans = []
        monkeypatch.setattr(
            "autogrow.api.studies.run_search", lambda plan, folder, **more: plans.append(plan) or RESULT
        )
        monkeypatch.chdir(tmp_path)

        def search(*data, **arguments):
            autogrow.search(*data, data_dir=tmp_path / "data", **arguments)
            return plans[-1].settings

        return search

    def test_limits_and_execution_and_times_have_the_options_names(self, planned):
        settings = planned(
            "digits", max_params=50_000, max_memory="1G", precision="float32", compile=False, time_budget="2m",
            compute_budget="1h", trial_timeout="none", memory_per_trial="2G", sampler="random", train_size=200,
        )  # fmt: skip
        assert (settings.limits.max_parameters, settings.limits.max_memory_bytes) == (50_000, 2**30)
        assert settings.execution.precision == "float32" and settings.train_size == 200
        assert (settings.time_budget_seconds, settings.compute_budget_seconds) == (120, 3600)
        assert (settings.trial_timeout_seconds, settings.memory_per_trial_bytes) == (0, 2**31)

    def test_an_option_stands_in_place_of_a_field_of_the_record(self, planned):
        settings = planned("digits", limits=SizeLimits(max_parameters=9, max_flops=1e9), max_params=50_000)
        assert (settings.limits.max_parameters, settings.limits.max_flops) == (50_000, 1e9)

    @pytest.mark.parametrize("name", ["search", "train", "compare"])
    def test_every_option_of_the_command_is_an_argument(self, name):
        """But what is for the terminal, a file's path in place of a record, and threads, which are the process's."""
        import inspect

        from autogrow.cli.main import cli

        elsewhere = {"model_options", "memory_per_trial_bytes", "dry_run", "as_json", "quiet", "policy_file", "threads"}
        elsewhere |= {"context", "tokenizer"}  # part of the name of a text
        options = {parameter.name for parameter in cli.commands[name].params} - elsewhere
        assert options <= set(inspect.signature(getattr(autogrow, name)).parameters)

    @pytest.mark.parametrize(("name", "called"), [("train", "train_policy"), ("compare", "compare_policy")])
    def test_train_and_compare_take_limits_precision_and_compilation_by_the_options_names(
        self, name, called, monkeypatch, tmp_path
    ):
        given = []
        monkeypatch.setattr(f"autogrow.api.networks.{called}", lambda *values, **more: given.append((values, more)))
        policy = autogrow.GrowthPolicy.from_dict({"limits": {"max_parameters": 9000}})
        execution = Execution(cuda_graphs=False, precision="bfloat16")
        getattr(autogrow, name)(
            "mlp", "digits", policy, precision="float32", compile=True, max_params=10_000, max_memory="1M",
            execution=execution, data_dir=tmp_path,
        )  # fmt: skip
        ((values, more),) = given
        used = (values[2], more["execution"]) if name == "train" else (values[0].policy, values[0].execution)
        assert used[0].limits == SizeLimits(max_parameters=9000, max_memory_bytes=2**20)
        assert used[1] == Execution(cuda_graphs=False, precision="float32", compile=True)
        for wrong in ({"precision": "float16"}, {"max_params": 0}, {"max_memory": "much"}):
            with pytest.raises((UsageError, PolicyError), match="16|parameters|much") as raised:
                getattr(autogrow, name)("mlp", "digits", policy, data_dir=tmp_path, **wrong)
            assert "\n" not in str(raised.value)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"trials": "3"}, r"search\(\): trials is '3', a str: give int \| None"),
            ({"trials": 2.5}, "trials is 2.5, a float"),
            ({"seed": None, "resume": "yes"}, "resume is 'yes', a str: give bool"),
            ({"time_budget": 30}, r"time_budget is 30, an int: give str \| None"),
            ({"objectives": 5}, "objectives is 5, an int"),
            ({"early_stopping": "never"}, "early_stopping is 'never'"),
            ({"dataset": 5}, "data set is an int"),
            ({"model": 5}, "model is an int"),
            ({"max_memory": "much"}, "max_memory 'much' is not a size"),
        ],
    )
    def test_a_wrong_type_is_one_line(self, planned, arguments, message):
        with pytest.raises(UsageError, match=message) as raised:
            planned(**arguments)
        assert "\n" not in str(raised.value)

    def test_numbers_of_numpy_are_numbers(self, planned):
        assert planned("digits", trials=np.int64(3), seed=np.int32(4)).seed == 4

    def test_a_missing_argument_is_one_line(self):
        with pytest.raises(UsageError, match=r"train\(\): missing a required argument: 'policy'"):
            autogrow.train("mlp", "digits")


RESULT = SearchResult(RunFolder("run"), 0, 0, 0, 0, False, 0.0)


class TestModelsGivenInPython:
    """The end of the way of `tests/models/test_given.py`."""

    X = np.random.default_rng(1).normal(size=(240, 6)).astype(np.float32)
    DATA = (X, (X[:, 0] > 0).astype(int), X[:60], (X[:60, 0] > 0).astype(int))

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    @staticmethod
    def factory(width=12):
        from torch import nn

        return lambda num_outputs: nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, num_outputs))

    def test_a_search_goes_on_with_the_same_alone(self, tmp_path):
        make = self.factory()
        plan = plan_new_search(self.DATA, make)
        folder = RunFolder(tmp_path / "run")
        folder.create(plan.settings.model_dump(mode="json"))
        assert plan_resumed_search(folder, model=make).settings == plan.settings
        with pytest.raises(NetworkError, match="given as an object of Python and is in no file"):
            plan_resumed_search(folder)
        with pytest.raises(UsageError, match="model cannot change in a resumed run"):
            plan_resumed_search(folder, model=self.factory(13))

    def test_on_a_cluster_it_is_refused(self, monkeypatch):
        monkeypatch.setattr("autogrow.study.ray_executor.address_problem", lambda address: None)
        with pytest.raises(UsageError, match="other machines of a cluster do not have"):
            plan_new_search(self.DATA, self.factory(), address="ray://there:1")

    def test_what_was_trained_is_loaded_with_the_object_again(self, tmp_path, one_thread):
        make = self.factory()
        policy = autogrow.GrowthPolicy()
        result = autogrow.train(make, self.DATA, policy, epochs=2, out=tmp_path / "model", device="cpu")
        assert autogrow.evaluate(tmp_path / "model", model=make).score == result.test.score
        with pytest.raises(NetworkError, match="given as an object of Python and is in no file"):
            autogrow.load(tmp_path / "model")

    def test_a_module_is_used_as_it_is_and_a_line_says_so(self, caplog, one_thread):
        module = self.factory()(2)
        results = autogrow.compare(module, self.DATA, autogrow.GrowthPolicy(), seeds=2, epochs=1, device="cpu")
        assert results is not None
        assert "the Sequential is used with the weights that it has, the same for every seed" in caplog.text


def test_a_search_through_ray_trains_a_lambda_on_arrays(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = TestModelsGivenInPython
    study = autogrow.search(
        given.DATA, given.factory(), trials=4, epochs=2, out=tmp_path / "results", space="quick", max_params=500
    )
    assert study.result.complete + study.result.pruned == 4
    assert study.run.settings().model.startswith("<given>:lambda-")
    assert study.run.name.startswith("arrays")
