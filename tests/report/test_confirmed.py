"""A confirmation beside a run leads its report, and only the run's own does."""

import io
import json
from dataclasses import asdict, replace

import pytest
from rich.console import Console

from autogrow.report.confirmed import FILE
from autogrow.report.html import html_report
from autogrow.report.summary import summarize
from autogrow.report.terminal import render
from autogrow.study.trial_record import TrialRecord

from .test_verdict import PAIRED

pytestmark = pytest.mark.slow


@pytest.fixture
def confirmed_run(make_run):
    """A run with a function that writes its confirmation, of its trial 3."""
    run = make_run()
    run.controls()
    best = run.complete(0.95)

    def confirm(**changes):
        recipe = TrialRecord(run.database.trials()[best]).policy
        content = {
            "settings": {"dataset": {"fingerprint": run.settings.fingerprint}},
            "paired": asdict(replace(PAIRED, trial=best, title=f"trial {best}")),
            "recipe": recipe,
            **changes,
        }
        path = run.folder.path / FILE
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return summarize(run.folder)

    confirm.run = run
    return confirm


def test_it_leads_in_every_form(confirmed_run):
    summary = confirmed_run()
    said = "Over 5 other seeds, growing (trial 3) is ahead of the full network by 1.00 points"
    assert summary.verdict.headline.startswith(said)
    assert summary.search_verdict.kind == "higher"
    assert summary.to_dict()["verdict"]["kind"] == "ahead"
    console = Console(file=io.StringIO(), width=160)
    console.print(render(summary))
    for text in (console.file.getvalue(), html_report(confirmed_run.run.folder)):
        assert said in text
        assert "The search itself: Trial 3 has 95.00 % validation accuracy, the static control 90.00 %." in text
        assert text.index(said) < text.index("The search itself")


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": {"initial_fraction": 0.9}},
        {"recipe": None},
        {"settings": {"dataset": {"fingerprint": "another"}}},
        {"settings": [1]},
        {"paired": None},
        {"paired": {"trial": 3}},
        {"paired": [3]},
        {"paired": {**asdict(PAIRED), "trial": 99}},
        {"paired": {**asdict(PAIRED), "mean": "high"}},
    ],
)
def test_what_is_not_of_this_run_or_damaged_says_nothing(confirmed_run, changes):
    assert confirmed_run(**changes).verdict.source == "search"


def test_a_file_that_is_no_confirmation_says_nothing(confirmed_run):
    confirmed_run()
    (confirmed_run.run.folder.path / FILE).write_text("{")
    assert summarize(confirmed_run.run.folder).verdict.source == "search"
