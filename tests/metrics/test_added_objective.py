"""An objective that somebody adds is one entry: search, report, page, ``export`` and ``confirm`` know it by that."""

import json
from dataclasses import replace
from io import StringIO

import pytest
import torch
from rich.console import Console

from autogrow.errors import NoSuccessfulTrialError, UsageError
from autogrow.experiments.confirmation import confirm_policies
from autogrow.export.policies import export_policy
from autogrow.metrics.metric import Metric
from autogrow.metrics.objectives import OBJECTIVES, Objective, metrics_to_measure, parse_objectives
from autogrow.report.html import html_report
from autogrow.report.summary import summarize
from autogrow.report.tables import best_and_controls, objectives_table
from autogrow.report.terminal import render
from autogrow.search_plans import plan_new_search
from autogrow.study.in_process_executor import InProcessExecutor
from autogrow.study.monitor import SearchMonitor
from autogrow.study.run_folder import RunFolder
from autogrow.study.search import run_search
from tests.report.conftest import MadeRun

pytestmark = pytest.mark.slow

OVERFITTING = Objective(
    "overfitting",
    "minimize",
    Metric(
        "overfitting",
        "validation loss minus train loss",
        "overfit",
        note="overfit: validation loss minus train loss",
        read=lambda metrics: metrics["validation_loss"] - metrics["train_loss"],
    ),
)


@pytest.fixture
def overfitting(monkeypatch):
    monkeypatch.setattr(OBJECTIVES, "_entries", dict(OBJECTIVES._entries))
    OBJECTIVES.register("overfitting")(OVERFITTING)


@pytest.fixture
def run(overfitting, tmp_path):
    """Controls, then trials that overfit by 0.3 and by 0.1, the first of them with the better score."""
    made = MadeRun(tmp_path / "run", objectives=("score", "overfitting"))
    for score, excess in ((0.90, 0.2), (0.88, 0.25), (0.86, 0.4), (0.95, 0.3), (0.80, 0.1)):
        made.complete(score, validation_loss=0.5, train_loss=0.5 - excess)
    return made


def test_the_study_has_its_values(run):
    assert run.database.study.metric_names == ["accuracy", "overfitting"]
    values = [trial.values[1] for trial in run.database.trials()]
    assert values == pytest.approx([0.2, 0.25, 0.4, 0.3, 0.1])


def test_tables_have_its_column_row_and_note(run):
    summary = summarize(run.folder)
    rows = {row[0]: row[1:] for row in objectives_table(summary).rows}
    assert rows["validation loss minus train loss"] == ("0.200", "0.250", "0.400", "0.100", "4", "-0.1")
    table = best_and_controls(summary)
    assert [column.title for column in table.columns] == [
        "what", "trial", "accuracy", "gap", "train s", "params", "overfit"
    ]  # fmt: skip
    best = next(row for row in table.rows if row[0] == "best overfit")
    assert (best[1], best[-1]) == ("4", "0.100")
    assert "overfit: validation loss minus train loss" in table.note


def test_terminal_and_page_show_it(run):
    shown = StringIO()
    Console(width=160, file=shown).print(render(summarize(run.folder)))
    assert "best overfit" in shown.getvalue()
    page = html_report(run.folder)
    assert page.count("overfit") >= 5
    assert "validation accuracy, validation loss minus train loss" in page


def test_its_best_policy_can_be_exported(run):
    assert export_policy(run.folder, prefer="overfitting").found_by["trial"] == 4
    assert export_policy(run.folder).found_by["trial"] == 3


def test_a_trial_without_what_it_is_made_of_has_no_value(overfitting):
    (objective,) = parse_objectives("overfitting")
    assert objective.value({"validation_loss": 0.5}) is None
    assert objective.value({"validation_loss": 0.5, "train_loss": None}) is None


def test_what_it_needs_is_measured():
    metric = Metric(
        "gigabytes", "memory in GB", read=lambda metrics: metrics["memory_bytes"] / 1e9, needs=("memory_bytes",)
    )
    objective = Objective("gb", "minimize", metric)
    assert metrics_to_measure([objective], memory=False, latency=False) == ("memory_bytes",)


def test_without_its_entry_a_run_says_what_is_missing(run, monkeypatch):
    monkeypatch.delitem(OBJECTIVES._entries, "overfitting")
    with pytest.raises(UsageError, match="unknown objective 'overfitting'"):
        summarize(run.folder)


class Phases(SearchMonitor):
    def __init__(self):
        self.begun = []

    def phase(self, what):
        self.begun.append(what)


@pytest.mark.usefixtures("overfitting", "one_thread")
def test_it_is_searched_for_and_the_best_by_it_confirmed(data_dir, tmp_path):
    options = {"model": "mlp", "model_options": {"hidden": (16,)}, "train_size": 60, "epochs": 2}
    plan = plan_new_search(
        "digits", data_dir=data_dir, trials=5, objectives="overfitting,score", executor=InProcessExecutor(), **options
    )
    assert plan.settings.objectives == ("overfitting", "accuracy")
    run = RunFolder(tmp_path / "run")
    phases = Phases()
    run_search(plan, run, resume=False, monitor=phases)
    assert "starting Ray" not in phases.begun
    rows = summarize(run).trials
    assert all(plan.objectives[0].value(row.metrics) is not None for row in rows if row.has_finished)
    best = min((row for row in rows if row.has_finished and row.role != "static"), key=overfitting_of)
    assert export_policy(run, prefer="overfitting").found_by["trial"] == best.number

    found = confirm_policies(run, top=1, num_seeds=1, prefer="overfitting", data_dir=data_dir)
    assert [column.title for column in found.confirmed.table().columns][3] == "overfit"
    written = json.loads(found.folder.result_file.read_text())
    assert (written["metric"], written["paired"]["objective"]) == ("overfitting", "overfitting")
    record = next(each for each in found.confirmed.results.runs if each.condition == found.confirmed.best)
    assert written["evidence"]["mean"] == pytest.approx(record.validation_loss - record.train_loss)
    assert "validation loss minus train loss" in " ".join(found.confirmed.findings())
    assert summarize(run).verdict.source == "confirmation"


def overfitting_of(row):
    return row.metrics["validation_loss"] - row.metrics["train_loss"]


def share_of_negative_weights(network, inputs):
    assert not network.training and len(inputs) > 1
    return sum((weight < 0).sum() for weight in network.parameters()) / sum(map(torch.numel, network.parameters()))


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(OBJECTIVES, "_entries", dict(OBJECTIVES._entries))
    metric = Metric("negative", "share of negative weights", measure=share_of_negative_weights)
    OBJECTIVES.register("negative")(Objective("negative", "minimize", metric))
    return metric


@pytest.mark.usefixtures("measured", "one_thread")
def test_one_that_measures_itself_is_one_entry_too(data_dir, tmp_path):
    options = {"model": "mlp", "model_options": {"hidden": (16,)}, "train_size": 60, "epochs": 2}
    plan = plan_new_search(
        "digits", data_dir=data_dir, trials=4, objectives="score,negative", executor=InProcessExecutor(), **options
    )
    run = RunFolder(tmp_path / "run")
    run_search(plan, run, resume=False)
    summary = summarize(run)
    finished = [row for row in summary.trials if row.has_finished]
    assert finished and all(0 < row.metrics["negative"] < 1 for row in finished)
    assert "share of negative weights" in [row[0] for row in objectives_table(summary).rows]
    assert export_policy(run, prefer="negative").found_by["metrics"]["negative"] > 0
    with pytest.raises(UsageError, match="unknown preference 'negative'"):
        confirm_policies(run, top=1, num_seeds=1, prefer="negative", data_dir=data_dir)


@pytest.mark.parametrize(("value", "reason"), [(float("nan"), "no finite number"), (None, "TypeError")])
@pytest.mark.usefixtures("one_thread")
def test_what_measures_nothing_fails_the_trial(measured, monkeypatch, data_dir, tmp_path, value, reason):
    broken = Objective("negative", "minimize", replace(measured, measure=lambda network, inputs: value))
    monkeypatch.setitem(OBJECTIVES._entries, "negative", broken)
    options = {"model": "mlp", "model_options": {"hidden": (4,)}, "train_size": 60, "epochs": 1}
    plan = plan_new_search(
        "digits", data_dir=data_dir, trials=1, objectives="negative", executor=InProcessExecutor(), **options
    )
    with pytest.raises(NoSuccessfulTrialError, match=reason):
        run_search(plan, RunFolder(tmp_path / "run"), resume=False)


def test_only_what_is_wanted_is_measured(measured):
    assert metrics_to_measure(parse_objectives("score"), memory=False, latency=True) == ("latency_ms",)
    assert metrics_to_measure(parse_objectives("negative"), memory=False, latency=False) == ("negative",)
