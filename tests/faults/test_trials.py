"""What goes wrong in one trial is that trial's end, and the others go on."""

import json

import pytest

from autogrow.study.trial_record import TrialRecord
from tests.processes import check_ended, check_nothing_left

pytestmark = pytest.mark.slow
NETWORK = """
import json
import os
import signal
from pathlib import Path

import torch
from torch import nn


class Network(nn.Sequential):
    calls = 0

    def forward(self, inputs):
        outputs = super().forward(inputs)
        go_wrong = getattr(self, f"go_wrong_at_{self[1].out_features}", None)
        if self.training and go_wrong is not None:
            self.calls += 1
            return go_wrong(outputs)
        return outputs

METHODS

def network():
    NOTE
    return Network(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
"""
THESIS_UNITS = 3
"""Only the policy of the thesis starts with a tenth of 32 units; it is the third of the controls."""
KILLED = """
        folder = Path({run!r}) / "trials" / "00002"
        if self.calls >= 10 and list(folder.glob("checkpoint/*.pt")):
            with (Path({run!r}) / "deaths").open("a") as deaths:
                deaths.write((folder / "samples.jsonl").read_text().splitlines()[0] + "\\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return outputs
"""
LIKE_CTRL_C = """
        # With a default dtype that no other network could be trained in.
        os.environ["LEFT"] = "left"
        torch.set_default_dtype(torch.float16)
        raise KeyboardInterrupt("enough")
"""
CRASHED = "import ctypes; ctypes.string_at(0)"
# Pieces that are never written to: should nothing stop it, the machine keeps its memory.
TAKING_MORE_AND_MORE = "self.taken = [*getattr(self, 'taken', []), torch.empty(2**26)]; return outputs"
TAKING_ALL = "self.taken = [torch.empty(2**28) for _ in range(2**10)]; return outputs"


@pytest.fixture
def trials_of(start, records, workplace, temporary):
    """Searches with networks that go wrong at some widths; gives the trials that start with them, by width."""

    def run(wrongs, *arguments, note="pass"):
        methods = (
            f"    def go_wrong_at_{units}(self, outputs):\n        {each.strip()}\n" for units, each in wrongs.items()
        )
        (workplace / "mine.py").write_text(NETWORK.replace("METHODS", "\n".join(methods)).replace("NOTE", note))
        sources = {units: workplace / f"{units}.yaml" for units in wrongs if units != THESIS_UNITS}
        for units, path in sources.items():
            path.write_text(f"format: autogrow-policy/1\ninitial_fraction: {units / 32}\n")
        given = [argument for path in sources.values() for argument in ("--from", path)]
        model = ("--model", "mine:network", "--space", "quick", "--max-consecutive-failures", 20)
        search = start("--trials", 4 + len(sources), "--epochs", 20, *model, "--quiet", *given, *arguments)
        code, _, err = search.end()
        assert code == 0, err
        check_ended(records, 4 + len(sources))
        check_nothing_left(search, temporary)
        by_origin = {trial.user_attrs.get("origin"): trial for trial in records.trials()}
        wrong = {units: by_origin[str(path)] for units, path in sources.items()} | {THESIS_UNITS: records.trials()[2]}
        numbers = {trial.number for trial in wrong.values()}
        assert {trial.state.name for trial in wrong.values()} == {"FAIL"}
        assert "FAIL" not in {trial.state.name for trial in records.trials() if trial.number not in numbers}
        return wrong

    return run


def test_what_goes_wrong_in_a_trial_is_its_end_alone(trials_of, records, workplace):
    """Six kinds in one search. The two kinds of numbers that are none are one line each."""
    processes = workplace / "processes"
    processes.mkdir()
    trials = trials_of(
        {
            THESIS_UNITS: KILLED.format(run=str(records.run)),
            4: LIKE_CTRL_C,
            5: CRASHED,
            6: TAKING_MORE_AND_MORE,
            7: "return outputs * float('nan')",
            9: "return outputs * float('inf')",
        },
        "--memory-per-trial",
        "600M",
        note=f"Path({str(processes)!r}, os.environ.get('LEFT') or str(os.getpid())).touch()",
    )
    check_killed_three_times(trials[THESIS_UNITS], records)
    check_what_it_changed_is_no_concern_of_the_next(trials[4], records, processes)
    check_crashed(trials[5])
    check_out_of_memory(trials[6], records, limit="600 MiB")
    for units in (7, 9):
        check_not_finite(trials[units], records)


def check_killed_three_times(trial, records):
    assert "its process ended 3 times without a word" in trial.user_attrs["reason"]
    deaths = (records.run / "deaths").read_text().splitlines()
    assert len(deaths) == 3
    # The first sample names the seconds trained until then: the same one was gone on from every time.
    assert len(set(deaths)) == 1


def check_what_it_changed_is_no_concern_of_the_next(trial, records, processes):
    assert trial.user_attrs["reason"] == "KeyboardInterrupt: enough"
    assert list(processes.iterdir())
    assert not (processes / "left").exists()
    (warning,) = result_of(trial, records)["warnings"]
    assert "default dtype, environment (put back)" in warning


def check_crashed(trial):
    assert trial.user_attrs["reason"].startswith("its process crashed 3 times: Segmentation fault at line")
    assert trial.user_attrs["reason"].endswith("in string_at")


def check_out_of_memory(trial, records, limit=None):
    reason, size = trial.user_attrs["reason"], TrialRecord(trial).metrics
    assert reason.startswith("out of memory: ")
    assert "--max-memory" in reason
    assert size["parameters"] > 200
    assert size["memory_bytes"] > 256 * 2**20
    if limit:
        assert f"a trial may take {limit}" in reason
        assert size["memory_bytes"] < 2**30
    assert result_of(trial, records)["infeasible"].items() <= size.items()


def check_not_finite(trial, records):
    assert "the loss is nan at step" in trial.user_attrs["reason"]
    assert records.samples(trial.number) == []  # it ended at the sample that would have been the first


def result_of(trial, records):
    return json.loads((records.run / "trials" / f"{trial.number:05d}" / "result.json").read_text())


def test_a_trial_that_takes_the_memory_of_its_machine(trials_of, records):
    check_out_of_memory(trials_of({THESIS_UNITS: TAKING_ALL})[THESIS_UNITS], records)


OURS = """
from autogrow.cli.main import main
from autogrow.study import ray_executor

ray_executor.PROGRAM = ray_executor.PROGRAM.replace(
    "from autogrow.study.ray_process import main",
    "from autogrow.study.ray_process import main; from autogrow.study import ray_process; "
    "ray_process.RayTrial = ray_process.wrap_function(lambda config: config['nothing'])",
)
main()
"""
"""A search whose trials raise an error where no model has a part in it."""


def test_an_error_that_is_ours(start, records, temporary):
    each = start("--trials", 1, "--quiet", program=("-c", OURS))
    code, _, err = each.end()
    assert code == 1, err
    assert [trial.user_attrs["reason"] for trial in records.trials()] == ["KeyError: 'nothing'"]
    check_nothing_left(each, temporary)
