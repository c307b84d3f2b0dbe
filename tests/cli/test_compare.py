"""``autogrow compare`` as a command: what it prints, writes, refuses and leaves to go on with."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import autogrow as package
from autogrow.errors import UsageError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SMALL = ("--model", "mlp", "--model-option", "hidden=[32, 24]")
QUICK = ("--dataset", "digits", *SMALL, "--train-size", 60, "--threads", 1)


def test_it_prints_a_line_per_run_and_the_tables(autogrow, policy_file, workplace):
    code, out, err = autogrow("compare", policy_file, *QUICK, "--seeds", 2)
    assert code == 0
    assert re.findall(r"seed (\d) \(\d of 2\)  (\w+)", err) == [
        (seed, name) for seed in "01" for name in ("grown", "full", "final", "same", "small", "placebo")
    ]
    assert "mean ± standard deviation of 2 seeds" in out
    assert "Grown minus control, paired by seed" in out
    assert "written to results/compare/policy-digits: compare.json, table.md, figure.svg" in out
    written = {path.name for path in (workplace / "results" / "compare" / "policy-digits").iterdir()}
    assert written == {"compare.json", "table.md", "figure.svg", "runs"}


def test_json_is_one_document_with_every_run(autogrow, policy_file):
    code, out, err = autogrow("compare", policy_file, *QUICK, "--seeds", 1, "--json", "--quiet", "--out", "mine")
    content = json.loads(out, parse_constant=pytest.fail)
    assert (code, err, out.count("\n"), content["out"]) == (0, "", 1, "mine")
    assert len(content["runs"]) == 6
    assert content["summary"]["grown_minus"]["full"]["test_score"]["p_value"] is None
    again = autogrow("compare", policy_file, *QUICK, "--seeds", 1, "--json", "--out", "mine")
    assert json.loads(again[1]) == content
    assert again[2].count("was there already") == 5
    assert "the same network, and run, as full" in again[2]  # nothing grew, so the placebo changed nothing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "seeds is 0, not between 1"),
        (["--seeds", "many"], "'many' is not a valid integer"),
        (["--dataset", "digit"], "did you mean 'digits'"),
        (["--model", "mpl"], "did you mean 'mlp'"),
        (["--model-option", "hiden=[9]"], "did you mean 'hidden'"),
        (["--epochs", "0"], "epochs is 0"),
        (["--train-size", "3"], "train_size 3 is not between 10"),
        (["--threads", "0"], "--threads 0"),
        (["--out", "policy.yaml"], "is a file"),
        (["--max-params", "5"], "5"),
    ],
)
def test_a_bad_value(arguments, message, refused, policy_file):
    dataset = [] if "--dataset" in arguments else ["--dataset", "digits"]
    assert message in refused("compare", policy_file, *dataset, *arguments)


def test_a_policy_that_is_not_there(refused):
    assert "absent.yaml" in refused("compare", "absent.yaml", "--dataset", "digits")


def test_a_policy_that_grows_nothing(refused, workplace):
    (workplace / "static.yaml").write_text("format: autogrow-policy/1\ninitial_fraction: 1.0\n")
    assert "grows nothing" in refused("compare", "static.yaml", "--dataset", "digits")


def test_data_without_a_test_split(autogrow, policy_file, workplace):
    np.savez(workplace / "mine.npz", x_train=np.ones((60, 4), np.float32), y_train=np.arange(60) % 3)
    code, out, err = autogrow("compare", policy_file, "--dataset", "mine.npz")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "has no test split" in err
    assert not (workplace / "results").exists()


def test_another_comparisons_folder(autogrow, refused, policy_file):
    assert autogrow("compare", policy_file, *QUICK, "--seeds", 1, "--quiet")[0] == 0
    message = refused("compare", policy_file, *QUICK, "--seeds", 1, "--epochs", 3)
    assert "results/compare/policy-digits holds results of other settings: choose another --out" in message


def test_the_grown_network_keeps_within_limits(autogrow, policy_file):
    code, out, _ = autogrow("compare", policy_file, *QUICK, "--seeds", 1, "--max-params", 1900, "--json", "--quiet")
    assert code == 0
    parameters = {run["condition"]: run["parameters"] for run in json.loads(out)["runs"]}
    assert parameters["small"] <= parameters["grown"] == parameters["final"] <= 1900 < parameters["full"]


def test_in_python(policy_file, digits_runs_quickly):
    results = package.compare(*digits_runs_quickly, policy_file, seeds=1, epochs=1, train_size=60, device="cpu")
    assert results.seeds == [0]
    assert len(results.of_condition("final")) == 1


def test_a_module_has_one_start_for_all_seeds(policy_file):
    from torch import nn

    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    results = package.compare(network, "digits", policy_file, seeds=2, epochs=1, train_size=60, device="cpu")
    assert results.seeds == [0, 1]
    with pytest.raises(UsageError, match="no channel group that can grow"):
        package.compare(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "digits", policy_file)


@pytest.fixture
def digits_runs_quickly():
    return package.ModelSpec("mlp", {"hidden": (16,)}), "digits"


def test_ctrl_c_and_the_same_command_again(policy_file, workplace):
    command = [sys.executable, "-m", "autogrow", "compare", policy_file, "--dataset", "digits", "--seeds", "2"]
    command += ["--epochs", "12", "--threads", "1"]
    runs = workplace / "results" / "compare" / "policy-digits" / "runs"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as first:
        while not list(runs.glob("*.json")):
            time.sleep(0.05)
            assert first.poll() is None
        first.send_signal(signal.SIGINT)
        printed = first.stderr.read()
    assert first.returncode == 130
    assert "the same command goes on from results/compare/policy-digits" in printed
    before = {path: path.read_bytes() for path in runs.glob("*.json")}
    second = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert second.returncode == 0
    assert second.stderr.count("was there already") == len(before)
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(runs.iterdir())) == 12


def test_the_real_command(autogrow, policy_file, workplace):
    code, _, _ = autogrow("compare", policy_file, "--dataset", "digits", "--seeds", 2, "--epochs", 3, "--threads", 1)
    assert code == 0
    content = json.loads((workplace / "results" / "compare" / "policy-digits" / "compare.json").read_text())
    assert content["settings"]["training"]["epochs"] == 3
    assert content["summary"]["conditions"]["full"]["test_score"]["mean"] > 0.9
