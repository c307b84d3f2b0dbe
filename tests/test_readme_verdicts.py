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
