"""Reports and results of trials: as JSON between processes, in a trial's folder, and as files of before have them."""

import json
from pathlib import Path

import pytest

from autogrow.errors import RunFolderError
from autogrow.study.trial_result import (
    InterruptedTrial,
    StoppedTrial,
    TrialMetrics,
    read_trial_result,
    result_from_json,
    write_trial_result,
)
from autogrow.training.records import TrialFolder

from .made_results import METRICS, complete, failed, report, stopped

FORMER = Path(__file__).parents[1] / "fixtures" / "run-format-1" / "trials"
RESULTS = (
    complete({"latency_ms": 1.5, "forked_from": 3}, {"parameters": -0.5}),
    stopped(),
    failed("no luck", {"memory_bytes": 2**30, "parameters": None}),
)


@pytest.mark.parametrize("result", [*RESULTS, InterruptedTrial(reason="no space left")])
def test_a_result_travels_as_json(result):
    assert result_from_json(result.model_dump_json()) == result


@pytest.mark.parametrize("result", RESULTS)
def test_a_result_is_kept_in_the_folder(result, tmp_path):
    folder = TrialFolder(tmp_path)
    assert read_trial_result(folder) is None
    write_trial_result(folder, result)
    assert read_trial_result(folder) == result


def test_metrics_that_are_no_fields_are_among_the_others_and_found_by_name():
    metrics = TrialMetrics(**METRICS, latency_ms=1.5)
    assert metrics.others == {"latency_ms": 1.5}
    assert metrics.by_name() == {**METRICS, "latency_ms": 1.5}
    assert TrialMetrics(**METRICS, others={"latency_ms": 1.5}) == metrics


def test_files_of_before_are_read():
    trials = [
        read_trial_result(TrialFolder(path)) for path in sorted(FORMER.iterdir()) if (path / "result.json").exists()
    ]
    assert trials
    first = json.loads((FORMER / "00000" / "result.json").read_text())
    assert trials[0].metrics.validation_score == first["metrics"]["validation_accuracy"]
    assert trials[0].trial_seconds == first["trial_seconds"]


def test_a_stopped_one_of_before_had_its_progress_among_its_metrics(tmp_path):
    folder = TrialFolder(tmp_path)
    metrics = {**METRICS, "progress": 0.3, "may_grow": True, "trial_seconds": 2.0}
    folder.write_result({"status": "stopped", "metrics": metrics, "trial_seconds": 2.5})
    assert read_trial_result(folder) == StoppedTrial(metrics=METRICS, progress=0.3, trial_seconds=2.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "status is None, not one of complete, stopped and failed"),
        ({"status": "complete"}, "field 'metrics' is missing"),
        ({"status": "complete", "metrics": {"parameters": 3}}, "field 'metrics.validation_score' is missing"),
        ({"status": "complete", "metrics": {**METRICS, "compute": "much"}}, "metrics.compute is 'much'"),
        ({"status": "failed"}, "field 'reason' is missing"),
    ],
)
def test_what_is_no_result_is_one_line_that_names_the_file(content, message, tmp_path):
    folder = TrialFolder(tmp_path)
    folder.write_result(content)
    with pytest.raises(RunFolderError, match="result.json: ") as caught:
        read_trial_result(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trial_that_is_stopped_by_the_answer_to_a_report_ends_with_that():
    last = report(progress=0.4)
    assert StoppedTrial.after(last) == StoppedTrial(metrics=last.metrics, progress=0.4, trial_seconds=5.0)
