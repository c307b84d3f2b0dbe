"""What the README says of measured differences is what the function says that judges them for reports and commands."""

import json
import re
from pathlib import Path

import pytest

from autogrow.report.judging import Yardstick, judge_seeds

ROOT = Path(__file__).parents[1]
ROWS = {"digits": "digits", "sine": "sine", "friedman": "friedman", "mnist": "MNIST, 2,000 images"}


@pytest.mark.parametrize("dataset", ROWS)
def test_the_default_policy_beside_full_size(dataset):
    study = json.loads((ROOT / "results" / "studies" / "default-policy" / dataset / "study.json").read_text())
    found = study["summary"]["from_half_minus"]["static"]["validation_loss"]
    task = "classification" if dataset in ("digits", "mnist") else "regression"
    full = study["summary"]["conditions"]["static"]["validation_loss"]["mean"]
    yardstick = Yardstick(task, objective="loss")
    judgement = judge_seeds(found["mean"], found["standard_error"], found["num_seeds"], full, yardstick)
    row = re.search(rf"^\| {re.escape(ROWS[dataset])} \|.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert row is not None
    assert row.group().split(" | ")[4] == judgement.kind


@pytest.mark.parametrize(
    ("condition", "title"), [("static_4", "4 layers, the best depth throughout"), ("static_8", "8 layers")]
)
def test_stacking_beside_depths_throughout(condition, title):
    content = json.loads((ROOT / "results" / "reproduce" / "stacking" / "compared" / "reproduce.json").read_text())
    found = content["summary"]["stacked_minus"][condition]["test_loss"]
    loss = content["summary"]["conditions"][condition]["test_loss"]["mean"]
    judgement = judge_seeds(
        found["mean"], found["standard_error"], found["num_seeds"], loss, Yardstick("text", objective="loss")
    )
    row = re.search(rf"^\| {re.escape(title)} \|.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert row is not None
    cells = row.group().strip("| ").split(" | ")
    assert cells[1] == f"{loss:.3f}"
    assert cells[2].startswith(f"{found['mean']:.3f} ({found['standard_error']:.3f})")
    assert cells[3] == judgement.kind
