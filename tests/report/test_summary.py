"""What is counted, who is best, what failed, and that reading a run leaves it alone."""

import json
import math
import subprocess
import sys

import pytest
from optuna.trial import create_trial

from autogrow.errors import RunFolderError
from autogrow.report.figure_records import trial_points
from autogrow.report.snapshot import read_snapshot
from autogrow.report.summary import status_content, summarize
from autogrow.report.tables import best_and_controls
from autogrow.study.run_folder import RunFolder
from autogrow.study.trial_result import CompleteTrial
from autogrow.tasks import TASKS
from tests.report.conftest import FULL_FLOPS, metrics_of

pytestmark = pytest.mark.slow


def total(summary):
    return sum(summary.counts.values())


def test_counts_and_roles(full_summary):
    summary = full_summary
    assert summary.counts == {
        "complete": 23,
        "pruned": 1,
        "failed": 3,
        "running": 0,
        "waiting": 0,
        "superseded": 0,
        "infeasible": 0,
    }
    assert total(summary) == len(summary.trials)
    assert [summary.controls[role].number for role in ("static", "default", "thesis")] == [0, 1, 2]
    assert summary.trial(3).role == "searched"
    assert not summary.is_running


def test_the_best_are_grown_trials_and_agree_with_the_verdict(full_summary):
    summary = full_summary
    assert summary.preferred_trial.number == 22
    assert summary.preferred_trial.metrics["validation_score"] == pytest.approx(0.9165)
    assert summary.verdict.kind == "higher"
    assert summary.verdict.grown == 22
    assert [event.step for event in summary.best_timeline.events] == [30, 60]


def test_growing_behind(make_run):
    run = make_run()
    run.controls(static=0.95, default=0.9, thesis=0.8)
    assert summarize(run.folder).verdict.kind == "lower"


def test_a_pruned_trial_is_neither_best_nor_on_the_front(make_run):
    run = make_run()
    run.controls()
    pruned = run.prune(0.99, gap=0.0, seconds=0.1)
    summary = summarize(run.folder)
    assert summary.trial(pruned).state == "pruned"
    assert pruned not in summary.front
    assert pruned not in {row.number for row in summary.best.values()}


def test_the_static_control_is_not_on_the_front(make_run):
    run = make_run()
    run.controls(static=0.99)
    assert 0 not in summarize(run.folder).front


def test_a_trial_that_breaks_a_constraint_is_infeasible(make_run):
    run = make_run()
    run.controls()
    feasible = run.complete_infeasible(0.92, {"max_parameters": 0.0, "max_flops": -3.0})
    broken = run.complete_infeasible(0.99, {"max_parameters": 1500.0, "max_flops": -3.0}, gap=0.0, seconds=0.1)
    run.complete_infeasible(0.98, {"max_parameters": 200.0})
    summary = summarize(run.folder)
    assert (summary.trial(feasible).state, summary.trial(broken).state) == ("complete", "infeasible")
    assert (summary.counts["complete"], summary.counts["infeasible"]) == (4, 2)
    assert broken not in summary.front
    assert summary.preferred_trial.number == feasible
    assert [(entry.state, entry.reason, entry.count) for entry in summary.failures] == [
        ("infeasible", "constraint max_parameters exceeded by 1500", 2)
    ]
    assert total(summary) == len(run.database.trials())


def test_an_infeasible_static_control_is_still_what_growing_is_compared_with(make_run):
    run = make_run()
    run.complete_infeasible(0.9, {"max_parameters": 5.0}, num_events=0)
    run.complete(0.92)
    summary = summarize(run.folder)
    assert summary.controls["static"].state == "infeasible"
    assert summary.verdict.kind == "higher"
    assert any("static control is infeasible" in detail for detail in summary.verdict.details)


@pytest.mark.parametrize("measured", [{}, {"latency_ms": 2.5}])
def test_the_best_are_given_for_what_was_measured(make_run, measured):
    run = make_run()
    run.controls()
    run.complete(0.95, **measured)
    expected = {"accuracy", "gap", "speed", "loss", "size", "flops", "knee", *(["latency"] if measured else [])}
    assert set(summarize(run.folder).best) == expected


def test_trials_of_an_earlier_run_are_like_any_other(make_run):
    run = make_run()
    run.controls()
    study = run.database.study
    parameters = {"chunk_fraction": 0.2, "initialization": "xavier", "training.learning_rate": 0.001}
    study.enqueue_trial(parameters, user_attrs={"role": "transferred"})
    number = run.complete(0.97)
    summary = summarize(run.folder)
    assert summary.trial(number).role == "transferred"
    assert summary.preferred_trial.number == number
    json.dumps(summary.to_dict(), allow_nan=False)


def test_a_finished_trial_without_records_or_metrics_is_shown_and_on_no_front(make_run):
    """As an Optuna study may hold, to which trials were added by hand."""
    run = make_run()
    run.controls()
    run.database.study.add_trial(create_trial(values=[0.99, 0.0, 1.0]))
    summary = summarize(run.folder)
    assert summary.counts["complete"] == 4
    assert 3 not in summary.front
    assert summary.preferred_trial.number == 1


def test_what_was_spent_and_saved(make_run):
    run = make_run()
    run.controls()  # 10 train seconds each, 1.0, 0.6 and 0.6 of the full FLOPs
    run.prune(0.5)  # 3 of 10 epochs at 0.06 each
    interrupted = run.start()
    run.write_records(interrupted.root, 0.9, num_samples=2)  # 2 train seconds
    run.fail("RuntimeError: it never began")
    summary = summarize(run.folder)
    assert summary.spending.trials == 5
    assert summary.spending.train_seconds == pytest.approx(35.0)
    assert summary.spending.training_flops == pytest.approx((2.2 + 0.18 + 0.12) * FULL_FLOPS)
    assert summary.saving.trials == 1
    assert summary.saving.saved_flops == pytest.approx(0.42 * FULL_FLOPS)
    assert summary.saving.share == pytest.approx(0.7)


def test_status_names_the_best_per_objective_and_what_runs(make_run):
    run = make_run(objectives=("accuracy", "parameters"))
    run.controls()
    small, good = run.complete(0.7, parameters=10), run.complete(0.95, parameters=999_999)
    running = run.start().number
    content = status_content(summarize(run.folder, with_progress=False))
    assert content["running"] == [running]
    assert content["best"] == {
        "accuracy": {"trial": good, "value": 0.95},
        "parameters": {"trial": small, "value": 10},
    }
    assert content["spending"]["trials"] == 5
    assert content["saving"] is None


def test_status_before_anything_has_finished(make_run):
    content = status_content(summarize(make_run().folder, with_progress=False))
    assert set(content["best"].values()) == {None}
    assert content["spending"] == {"trials": 0, "train_seconds": 0, "training_flops": 0}


def test_states_that_do_not_say_it_themselves_are_explained_once_where_they_occur(make_run):
    run = make_run()
    run.controls()
    assert summarize(run.folder).legend == ""
    run.prune(0.5)
    run.complete_infeasible(0.9, {"max_parameters": 1.0})
    run.start()
    run.database.reconcile(run.folder)
    assert summarize(run.folder).legend == (
        "pruned: stopped early, because it was behind others at equal cost; infeasible: trained to its end, and breaks "
        "a limit; superseded: interrupted, and resumed as another trial."
    )


def test_front_has_the_most_accurate_first(full_summary):
    summary = full_summary
    accuracies = [summary.trial(number).metrics["validation_score"] for number in summary.front]
    assert len(accuracies) > 1
    assert accuracies == sorted(accuracies, reverse=True)


def test_no_complete_trial(make_run):
    run = make_run()
    run.fail("RuntimeError: broken")
    summary = summarize(run.folder)
    assert summary.counts["complete"] == 0
    assert summary.counts["waiting"] == 2
    assert set(summary.best.values()) == {None}
    assert summary.front == ()
    assert summary.best_timeline is None
    assert summary.verdict.kind == "undecided"


def test_only_the_static_control_has_finished(make_run):
    run = make_run()
    run.complete(0.9)
    summary = summarize(run.folder)
    assert summary.controls["static"].state == "complete"
    assert summary.controls["default"].state == "waiting"
    assert summary.verdict.kind == "undecided"


def test_reasons_that_differ_in_numbers_are_one(full_summary):
    first, second = full_summary.failures
    assert (first.count, second.count) == (2, 1)
    assert first.reason == "TrainingDivergedError: the loss is nan at step 20 of 100"
    assert first.trials == (24, 25)
    assert second.reason == "RuntimeError: CUDA out of memory"


def test_a_resumed_trial_is_not_a_failure(make_run):
    run = make_run()
    run.complete(0.9)
    run.complete(0.8)
    interrupted = run.start()
    run.database.reconcile(run.folder)
    resumed = run.start()
    run.write_records(interrupted.root, 0.93)
    run.database.tell_result(resumed.number, CompleteTrial(metrics=metrics_of(0.93)))
    summary = summarize(run.folder)
    assert summary.counts["failed"] == 0
    assert summary.counts["superseded"] == 1
    assert summary.failures == ()
    assert summary.trial(resumed.number).root == interrupted.number
    assert summary.controls["thesis"].number == resumed.number
    assert len(summary.best_timeline.events) == 2
    assert total(summary) == len(run.database.trials())


def test_a_running_trial_shows_its_last_sample(make_run):
    run = make_run()
    proposal = run.start()
    run.write_records(proposal.root, 0.8, grows=False)
    metrics = summarize(run.folder).trial(proposal.number).metrics
    assert metrics["validation_score"] == pytest.approx(0.8)
    assert metrics["progress"] == pytest.approx(1.0)


def test_says_whether_a_search_holds_the_run(make_run):
    run = make_run()
    with run.folder.locked():
        assert summarize(run.folder).is_running
        assert (run.folder.path / "lock").exists()
    assert not summarize(run.folder).is_running
    (run.folder.path / "lock").write_text("{}")  # left by a process that died
    assert not summarize(run.folder).is_running


def test_policy_in_one_line(full_summary):
    summary = full_summary
    assert summary.trial(0).policy == "100 % of full width throughout"
    assert summary.trial(1).policy == (
        "50 % to 100 % by 25 %, plateau (train_loss window 5 patience 5), all, zero_fan_out"
    )
    assert "learning_rate 0.00" in summary.trial(3).policy
    assert set(summary.trial(3).training_differences) == {"learning_rate"}


def test_to_dict_is_json(full_summary):
    content = json.loads(json.dumps(full_summary.to_dict(), allow_nan=False))
    assert content["format"] == "autogrow-report/2"
    assert content["best"]["accuracy"]["number"] == 22
    assert content["best_timeline"]["events"][0]["added_units"] == {"features.0": 8, "features.3": 4}
    assert len(content["trials"]) == 27


def test_one_objective(make_run):
    run = make_run(objectives=("accuracy",))
    run.controls()
    best = run.complete(0.95)
    assert summarize(run.folder).front == (best,)


def test_the_task_names_the_score(make_run):
    assert summarize(make_run(dataset="sine").folder).score.title == "R²"
    assert summarize(make_run(dataset="digits").folder).score.title == "accuracy"


def test_reading_changes_nothing(full_run):
    def files():
        return {path: path.read_bytes() for path in full_run.folder.path.rglob("*") if path.is_file()}

    before = files()
    summarize(full_run.folder)
    assert files() == before


def test_errors_of_one_line(tmp_path, make_run):
    with pytest.raises(RunFolderError, match="no run at"):
        summarize(RunFolder(tmp_path / "missing"))
    run = make_run()
    run.folder.database.write_bytes(b"not a database")
    with pytest.raises(RunFolderError, match="cannot be opened") as caught:
        read_snapshot(run.folder)
    assert "\n" not in str(caught.value)


def test_reports_import_neither_ray_nor_torch():
    names = ("summary", "terminal", "html", "search_figures", "training_figures")
    modules = ", ".join(f"autogrow.report.{name}" for name in names)
    check = f"import sys, {modules}; sys.exit(any(name in sys.modules for name in ('ray', 'torch')))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_of_text_losses_are_told_per_byte_and_beside_chance(make_run):
    run = make_run(dataset="book.txt", objectives=TASKS["text"].default_objectives)
    run.controls()
    summary = summarize(run.folder)
    row = next(row for row in summary.trials if row.has_finished)
    assert row.metrics["bits_per_byte"] == pytest.approx(row.metrics["validation_loss"] / math.log(2) / 2)
    assert summary.chance == (
        "naming tokens by how common they are (the unigram entropy) has loss 3.00 nats per token, 2.16 bits per byte"
    )
    table = best_and_controls(summary)
    assert "bits/byte" in [column.title for column in table.columns]
    assert table.rows[0][0] == "best loss" and summary.judged_by.title == "validation loss"
    points = trial_points(summary)
    assert {point.value for point in points} == {0.4}
