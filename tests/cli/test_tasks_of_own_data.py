"""Several labels, numbers, and images alone: a user's own file through ``search``, ``confirm`` and ``compare``."""

import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "trials_here")]

POLICY = """format: autogrow-policy/1
initial_fraction: 0.25
chunk_fraction: 0.25
trigger: {kind: schedule, every: 1}
"""
SMALL = ("--model", "mlp", "--model-option", "hidden=[8]", "--epochs", "1")


def targets(task, sums):
    return (sums > 0).astype(np.uint8) if task == "multi_label" else (100 * sums[:, 0] + 7).astype(np.float32)


def arrays(task):
    random = np.random.default_rng(0)
    if task == "reconstruction":
        images = random.integers(0, 256, (200, 5, 5)).astype(np.uint8)
        return {"x_train": images[:150], "x_test": images[150:]}
    inputs = random.normal(size=(200, 6)).astype(np.float32)
    y = targets(task, inputs @ random.normal(size=(6, 3)))
    return {"x_train": inputs[:150], "y_train": y[:150], "x_test": inputs[150:], "y_test": y[150:]}


@pytest.fixture(
    params=[("multi_label", "F1", "F1"), ("regression", "R²", "R²"), ("reconstruction", "R²", "reconstruction R²")],
    ids=["labels", "numbers", "images"],
)
def own_data(request, workplace):
    """The task, its score's heading and title; data.npz and policy.yaml lie in the current folder."""
    np.savez(workplace / "data.npz", **arrays(request.param[0]))
    (workplace / "policy.yaml").write_text(POLICY)
    return request.param


def test_compare(autogrow, own_data):
    task, heading, _ = own_data
    code, out, _ = autogrow(
        "compare", "policy.yaml", "--dataset", "data.npz", "--task", task, *SMALL, "--seeds", 1, "--out", "out"
    )
    assert code == 0
    assert f"test {heading}" in out and "accuracy" not in out.lower()
    runs = json.loads((Path("out") / "compare.json").read_text())["runs"]
    assert {run["condition"] for run in runs} == {"grown", "full", "final", "same_compute", "small", "placebo"}
    assert all(np.isfinite(run["test_score"]) and np.isfinite(run["test_loss"]) for run in runs)


def test_search_and_confirm(autogrow, own_data):
    task, heading, title = own_data
    options = ("--dataset", "data.npz", "--task", task, *SMALL, "--trials", 4, "--name", "run", "--quiet")
    code, out, _ = autogrow("search", *options)
    assert code == 0 and heading in out
    code, out, err = autogrow("confirm", "results/run", "--top", 1, "--seeds", 2)
    assert code == 0 and f"validation {title} " in err and "accuracy" not in (out + err).lower()
    confirmed = json.loads((Path("results") / "run" / "confirmation" / "confirmation.json").read_text())
    assert confirmed["metric"] == "validation_score"
    assert all(np.isfinite(run["validation_score"]) and run["test_score"] is None for run in confirmed["runs"])
