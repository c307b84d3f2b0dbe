"""Whatever a user gets wrong is said in one line, with exit code 2, before anything is written."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from autogrow.cli.main import run
from autogrow.errors import AutogrowError
from autogrow.policy.growth_policy import GrowthPolicy

UNKNOWN_NAMES = {
    "dataset": (["search", "--dataset", "digit"], "known are cifar10,", "did you mean 'digits'"),
    "dataset of train": (["train", "policy.yaml", "--dataset", "mnis"], "known are cifar10,", "did you mean 'mnist'"),
    "dataset to fetch": (["data", "fetch", "cifar1000"], "known are cifar10,", "did you mean 'cifar100'"),
    "model": (
        ["search", "--model", "resnet-18"],
        "known are autoencoder, convnet, gpt, mlp,",
        "did you mean 'resnet18'",
    ),
    "model of train": (
        ["train", "policy.yaml", "--dataset", "digits", "--model", "mpl"],
        "known are autoencoder, convnet, gpt, mlp,",
        "did you mean 'mlp'",
    ),
    "model option": (
        ["search", "--model", "mlp", "--model-option", "hiden=[9]"],
        "known are hidden, batch_norm",
        "did you mean 'hidden'",
    ),
    "user's module": (["search", "--model", "no_such_module:net"], "cannot import 'no_such_module'", "No module named"),
    "user's factory": (["search", "--model", "collections:OrderdDict"], "known are", "did you mean 'OrderedDict'"),
    "no module": (["search", "--model", ":factory"], "model ':factory'", ""),
    "space": (
        ["search", "--space", "defalt"],
        "shipped are block, default, depth, grow-then-shrink, methods",
        "did you mean 'default'",
    ),
    "space file": (
        ["search", "--space", "quik.yaml"],
        "shipped are block, default, depth, grow-then-shrink, methods",
        "did you mean 'quick'",
    ),
    "objective": (["search", "--objectives", "acuracy"], "known are accuracy, f1, flops", "did you mean 'accuracy'"),
    "flag": (["search", "--epoch", "3"], "unknown option '--epoch'", "did you mean '--epochs'?"),
    "command": (["serch"], "known are search, status", "did you mean 'search'"),
    "list kind": (
        ["list", "trigers"],
        "known are block-initializations, datasets, depth-growths",
        "did you mean 'triggers'",
    ),
}


@pytest.mark.parametrize(("arguments", "known", "nearest"), UNKNOWN_NAMES.values(), ids=UNKNOWN_NAMES.keys())
def test_an_unknown_name_says_what_exists_and_the_nearest(arguments, known, nearest, refused, policy_file):
    message = refused(*arguments)
    assert known in message
    assert nearest in message


BAD_VALUES = {
    "storage": (["--storage", "postgresql//me:secret@host/db"], "--storage is not a database URL: write for example"),
    "trials 0": (["--trials", "0"], "trials is 0: give a whole number from 1 to 100000"),
    "trials in words": (["--trials", "many"], "'many' is not a valid integer"),
    "epochs 0": (["--epochs", "0"], "epochs is 0"),
    "negative batch size": (["--batch-size", "-1"], "batch_size is -1"),
    "learning rate 0": (["--learning-rate", "0"], "learning_rate is 0.0"),
    "learning rate NaN": (["--learning-rate", "nan"], "learning_rate is nan"),
    "negative seed": (["--seed", "-1"], "seed is -1"),
    "no CPU": (["--cpus-per-trial", "0"], "cpus_per_trial is 0"),
    "negative GPUs": (["--gpus-per-trial", "-1"], "gpus_per_trial is -1"),
    "none at a time": (["--max-concurrent", "0"], "max_concurrent is 0"),
    "time budget in words": (["--time-budget", "soon"], "write for example 90s, 30m or 1h30m"),
    "time budget 0": (["--time-budget", "0"], "not above zero: write for example 90s"),
    "time budget backwards": (["--time-budget", "30m1h"], "duration '30m1h' cannot be read"),
    "negative time budget": (["--time-budget=-5m"], "duration '-5m' cannot be read"),
    "train size too small": (["--train-size", "5"], "train_size 5 is not between 10"),
    "train size too large": (["--train-size", "1439"], "and 1150 (what validation leaves of 1438)"),
    "no objective": (["--objectives", ","], "name none: give one or more of score, accuracy"),
    "objective twice": (["--objectives", "accuracy,accuracy"], "name one twice"),
    "option without a value": (["--model", "mlp", "--model-option", "hidden"], "is not NAME=VALUE"),
    "option of another type": (["--model", "mlp", "--model-option", "hidden=wide"], "cannot be built with"),
    "model for other data": (["--model", "resnet", "--dataset", "sine"], "model 'resnet'"),
    "resume without a name": (["--resume"], "--resume needs the --name"),
    "resume of nothing": (["--resume", "--name", "absent"], "no run at"),
    "data folder is a file": (["--data-dir", "policy.yaml"], "is a file"),
    "out below a file": (["--out", "policy.yaml/runs"], "policy.yaml is a file, not a folder: choose another --out"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "message"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_a_bad_value_of_search(arguments, message, refused, policy_file):
    assert message in refused("search", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "epochs is 0"),
        (["--train-size", "3"], "train_size 3 is not between 10"),
        (["--threads", "0"], "--threads 0 is below 1: leave it out for all cores"),
        (["--seed", "-1"], "seed -1 is not between 0 and 4294967295: leave it out for 0"),
        (["--device", "gpu"], "'gpu' is not one of"),
        (["--model", "convnet", "--model-option", "kernel=3"], "known are channels, hidden, kernel_size"),
    ],
)
def test_a_bad_value_of_train(arguments, message, refused, policy_file):
    assert message in refused("train", policy_file, "--dataset", "digits", *arguments)


def test_a_dry_run_refuses_the_places_that_the_search_would(refused, workplace):
    (workplace / "results" / "mine").mkdir(parents=True)
    (workplace / "results" / "mine" / "notes.txt").write_text("mine")
    (workplace / "astray").symlink_to("nowhere")
    assert "exists and is not a run folder" in refused("search", "--dry-run", "--name", "mine")
    assert "astray is a link that leads nowhere" in refused("search", "--dry-run", "--out", "astray")


@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_link_that_leads_nowhere_is_no_folder(command, refused, policy_file, workplace):
    (workplace / "astray").symlink_to("nowhere")
    message = refused(command, policy_file, "--dataset", "digits", "--out", "astray/deep")
    assert "astray is a link that leads nowhere: choose another --out" in message
    assert not (workplace / "nowhere").exists()


@pytest.mark.parametrize(("given", "meant"), [("--epoch", "--epochs"), ("--outdir", "--out"), ("--overwrite", None)])
def test_an_option_that_is_like_none_gets_no_name(given, meant, refused, policy_file):
    message = refused("train", policy_file, given, "1")
    assert ("did you mean" in message) == (meant is not None)
    assert meant is None or f"did you mean {meant!r}" in message


class TestPolicyFiles:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("format: autogrow-policy/1\nchunk_fracton: 0.2", "unknown field 'chunk_fracton'; known are"),
            ("format: autogrow-policy/1\ntrigger: {kind: plateau, windw: 3}", "unknown field 'windw'"),
            ("format: autogrow-policy/2\nchunk_fraction: 0.2", "newer than 'autogrow-policy/1'"),
            ("format: autogrow-space/1\npolicy: {}", "expected 'autogrow-policy/1'"),
            ("format: autogrow-policy/1\nchunk_fraction: 1.5", "chunk_fraction is 1.5"),
            ("format: autogrow-policy/1\nchunk_fraction: true", "chunk_fraction is True: write a number"),
            ("format: autogrow-policy/1\nmin_gain: true", "min_gain is True: write a number"),
            ("format: autogrow-policy/1\nlimits: {max_parameters: true}", "max_parameters is True: write a number"),
            ("format: autogrow-policy/1\ntrigger: {kind: plateau, window: true}", "window is True: write a number"),
            ("format: autogrow-policy/1\nmodel: os:system", "unknown field 'model'"),
            ("format: !!python/object/apply:os.system ['touch pwned']", "YAML tags (!name) are not read"),
        ],
    )
    def test_one_that_cannot_be_used(self, content, message, refused, workplace):
        path = workplace / "mine.yaml"
        path.write_text(content)
        error = refused("train", path, "--dataset", "digits")
        assert message in error
        assert str(path) in error

    @pytest.mark.parametrize("path", ["absent.yaml", "."])
    def test_one_that_is_not_there(self, path, refused, workplace):
        assert str(workplace / path) in refused("train", path, "--dataset", "digits")


class TestSpaceFiles:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ("chunk_fraction: {low: 0.5, high: 0.1}", "chunk_fraction: low 0.5 is not below high 0.1"),
            ("chunk_fraction: {low: 0.5, high: 1.1}", "chunk_fraction is 1.1"),
            ("chunk_fraction: 0.5", "nothing to search"),
            ("trigger: {kind: platau, window: {low: 1, high: 2}}", "did you mean 'plateau'"),
        ],
    )
    def test_one_that_cannot_be_used(self, fields, message, refused, workplace):
        path = workplace / "mine.yaml"
        path.write_text(f"format: autogrow-space/1\npolicy:\n  {fields}\n")
        error = refused("search", "--space", path)
        assert message in error
        assert str(path) in error or "search space" in error


FEATURES = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
LABELS = np.arange(60) % 3


class TestData:
    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"x_train": FEATURES, "y_train": LABELS[:50]}, "60 inputs in x_train but 50 labels in y_train"),
            ({"x_train": np.where(FEATURES > 2, np.nan, FEATURES), "y_train": LABELS}, "NaN or infinite values"),
            (
                {"x_train": FEATURES, "y_train": LABELS * 0},
                "a single class, 0 in all 60 examples, at least 2 are needed: check the data",
            ),
            ({"x_train": np.zeros((60, 3, 5, 4)), "y_train": LABELS}, "say which with --layout"),
        ],
    )
    def test_an_npz_file_that_cannot_be_used(self, arrays, message, refused, workplace):
        np.savez(workplace / "mine.npz", **arrays)
        error = refused("search", "--dataset", "mine.npz")
        assert message in error
        assert "mine.npz" in error

    def test_files_that_are_missing(self, refused, workplace):
        (workplace / "empty").mkdir()
        error = refused("search", "--dataset", "mnist", "--data-dir", "empty")
        assert str(workplace / "empty") in error
        assert "fetch mnist" in error

    @pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08 not what was published"])
    def test_files_that_are_truncated_or_of_another_checksum(self, content, refused, workplace):
        names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        folder = workplace / "data" / "MNIST" / "raw"
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}-ubyte.gz").write_bytes(content)
        assert "train-images-idx3-ubyte.gz" in refused("search", "--dataset", "mnist", "--data-dir", "data")


class TestRuns:
    def test_one_that_exists_is_not_started_again(self, refused, finished_run):
        message = refused("search", "--name", "done")
        assert f"run folder {finished_run.path} exists" in message
        assert "--resume" in message

    def test_a_folder_of_something_else(self, refused, workplace):
        (workplace / "results" / "mine").mkdir(parents=True)
        (workplace / "results" / "mine" / "notes.txt").write_text("mine")
        assert "is not a run folder" in refused("search", "--name", "mine", "--quiet")

    @pytest.mark.parametrize("flag", [["--epochs", "9"], ["--seed", "1"], ["--model", "resnet"], ["--space", "thesis"]])
    def test_settings_do_not_change_in_a_resumed_run(self, flag, refused, finished_run):
        assert f"{flag[0].removeprefix('--')} cannot change in a resumed run" in refused(
            "search", "--resume", "--name", "done", *flag
        )

    def test_nor_does_its_network(self, refused, finished_run):
        message = refused("search", "--resume", "--name", "done", "--model", "resnet")
        assert "model cannot change in a resumed run: it is 'mlp', not 'resnet'" in message

    def test_a_resumed_run_refuses_other_data(self, refused, finished_run):
        finished_run.write_config({**finished_run.read_config(), "fingerprint": "0" * 16})
        message = refused("search", "--resume", "--name", "done", "--quiet")
        assert "was searched on data 0000000000000000" in message

    @pytest.mark.parametrize("command", ["status", "report", "export"])
    def test_one_that_does_not_exist_names_those_that_do(self, command, refused, finished_run):
        assert "runs in" in refused(command, finished_run.path.parent / "don")
        assert "done" in refused(command, finished_run.path.parent / "don")

    @pytest.mark.parametrize("damage", [b"", b"format: autogrow-run/9", b"[1"])
    @pytest.mark.parametrize("command", ["status", "report", "export"])
    def test_a_damaged_one(self, command, damage, refused, finished_run):
        finished_run.config_file.write_bytes(damage)
        assert "config.yaml" in refused(command, finished_run.path)

    @pytest.mark.parametrize("command", ["status", "report", "export"])
    def test_one_whose_study_is_not_a_database(self, command, refused, finished_run):
        finished_run.database.write_bytes(b"no database " * 1000)
        assert "study.db" in refused(command, finished_run.path)


class TestExport:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--trial", "1", "--prefer", "knee"], "--trial 1 and --prefer knee both choose the trial"),
            (["--prefer", "acuracy"], "did you mean 'accuracy'"),
            (["--trial", "99"], "trial 99 has not finished or does not exist: finished are 0, 1, 2, 3, 4, 5"),
            (["--trial", "6"], "trial 6 has not finished"),
            (["--trial", "two"], "'two' is not a valid integer"),
        ],
    )
    def test_a_trial_that_cannot_be_chosen(self, arguments, message, refused, finished_run):
        assert message in refused("export", finished_run.path, *arguments)

    def test_a_file_that_exists(self, refused, finished_run, policy_file):
        assert "--overwrite" in refused("export", finished_run.path, "--to", policy_file)

    def test_a_run_in_which_nothing_has_finished(self, refused, finished_run):
        finished_run.database.unlink()
        assert "study.db" in refused("export", finished_run.path)


class TestTrainAndEvaluate:
    @pytest.fixture
    def network(self, autogrow, policy_file, workplace):
        code, _, _ = autogrow(
            "train", policy_file, "--dataset", "digits", "--out", "network", "--quiet", "--threads", 1
        )
        assert code == 0
        return workplace / "network"

    @pytest.mark.slow
    def test_training_into_what_is_taken(self, network, refused, policy_file, workplace):
        train = ("train", policy_file, "--dataset", "digits", "--out")
        assert "network holds a trained network" in refused(*train, "network")
        (network / "config.json").unlink()
        assert "holds a trained network" in refused(*train, "network")
        (network / "model.safetensors").unlink()
        (network / "notes.txt").write_text("mine")
        assert "network is not empty" in refused(*train, "network")
        assert "is a file" in refused(*train, policy_file)

    @pytest.mark.slow
    def test_data_of_another_shape(self, network, refused):
        message = refused("evaluate", network, "--dataset", "sine")
        assert "inputs of shape (1, 8, 8) with 10 outputs" in message
        assert "'sine' has regression" in message

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("file", "damage", "message"),
        [
            ("model.safetensors", lambda content: content[:-100], "the weights do not load"),
            ("model.safetensors", lambda content: b"", "the weights do not load"),
            ("config.json", lambda content: content[:-100], "is not JSON"),
            ("config.json", lambda content: b"[]", "it holds a list, not an object"),
            ("config.json", lambda content: content.replace(b"network/1", b"network/2"), "autogrow-network/2"),
            ("config.json", lambda content: content.replace(b'"widths"', b'"width"'), "widths"),
            ("config.json", lambda content: content.replace(b'"preprocessing"', b'"processing"'), "preprocessing"),
        ],
    )
    def test_a_damaged_network(self, file, damage, message, network, refused):
        path = network / file
        path.write_bytes(damage(path.read_bytes()))
        error = refused("evaluate", network, "--dataset", "digits")
        assert message in error
        assert str(path) in error

    def test_a_network_that_is_not_there(self, refused, workplace):
        assert f"no network at {workplace / 'absent'}" in refused("evaluate", "absent", "--dataset", "digits")

    @pytest.mark.slow
    def test_a_saved_network_chooses_no_code(self, network, refused, workplace):
        (workplace / "evil.py").write_text("open('pwned', 'w')\n")
        config = json.loads((network / "config.json").read_text())
        config["model"]["name"] = "evil:network"
        (network / "config.json").write_text(json.dumps(config))
        assert "name it with --model evil:network" in refused("evaluate", network, "--dataset", "digits")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_does_not_start_ray(workplace):
    code = "import sys; from autogrow.cli.main import run; print(run(sys.argv[1:]), 'ray' in sys.modules)"
    arguments = ["search", "--gpus-per-trial", "1", "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=os.environ)
    assert done.stdout == "2 False\n"
    assert done.stderr.startswith("autogrow: error: --gpus-per-trial 1, but PyTorch sees no GPU here")
    assert not list(workplace.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_training_on_a_gpu_that_is_not_there(refused, policy_file):
    assert "sees no GPU" in refused("train", policy_file, "--dataset", "digits", "--device", "cuda")


def test_debug_shows_the_traceback(workplace):
    with pytest.raises(AutogrowError):
        run(["--debug", "search", "--dataset", "digit"])


def test_the_policy_file_of_these_tests_is_a_good_one(policy_file):
    assert GrowthPolicy.load(policy_file).initial_fraction == 0.5


def test_a_full_disk_is_said_before_anything_is_written(refused, monkeypatch, tmp_path):
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    assert "no space left to write" in refused("search", "--name", "full", "--quiet")
