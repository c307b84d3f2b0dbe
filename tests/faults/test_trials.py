"""What goes wrong in one trial is that trial's end, and the others go on."""

import json
import math

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
        if self.training and self[1].out_features == 3:  # only the policy of the thesis starts with a tenth of 32 units
            self.calls += 1
            return self.go_wrong(outputs)
        return outputs

    def go_wrong(self, outputs):
        {what}


def network():
    {note}
    return Network(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
"""
THESIS = 2
"""The number of the trial that goes wrong, the third of the controls."""
KILLED = """
        folder = Path({run!r}) / "trials" / "00002"
        if self.calls >= 10 and list(folder.glob("checkpoint/*.pt")):
            with (Path({run!r}) / "deaths").open("a") as deaths:
                deaths.write((folder / "samples.jsonl").read_text().splitlines()[0] + "\\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return outputs
"""


@pytest.fixture
def search(start, records, workplace, temporary):
    """A search in which the network of one trial goes wrong; checks that the others did not."""

    def run(what, *arguments, note="pass"):
        (workplace / "mine.py").write_text(NETWORK.format(what=what.strip(), note=note))
        model = ("--model", "mine:network", "--space", "quick")
        each = start("--trials", 4, "--epochs", 20, *model, "--quiet", *arguments)
        code, _, err = each.end()
        assert code == 0, err
        check_ended(records, 4)
        check_nothing_left(each, temporary)
        trials = records.trials()
        assert [trial.state.name for trial in trials if trial.number != THESIS].count("FAIL") == 0
        assert trials[THESIS].state.name == "FAIL"
        return trials[THESIS]

    return run


def test_a_worker_that_is_killed_three_times(search, records):
    trial = search(KILLED.format(run=str(records.run)))
    assert "its process ended 3 times without a word" in trial.user_attrs["reason"]
    deaths = (records.run / "deaths").read_text().splitlines()
    assert len(deaths) == 3
    # The first sample names the seconds trained until then: the same one was gone on from every time.
    assert len(set(deaths)) == 1


BAD_END = """
        raise KeyboardInterrupt("enough")
"""


def test_what_a_model_changes_is_no_concern_of_the_next_one(search, records, workplace):
    """It raises what looks like Ctrl-C, with a default dtype that no other network could be trained in."""
    processes = workplace / "processes"
    processes.mkdir()
    note = f"Path({str(processes)!r}, os.environ.get('LEFT') or str(os.getpid())).touch()"
    trial = search(f"os.environ['LEFT'] = 'left'; torch.set_default_dtype(torch.float16); {BAD_END.strip()}", note=note)
    assert trial.user_attrs["reason"] == "KeyboardInterrupt: enough"
    assert not (processes / "left").exists()
    (warning,) = json.loads((records.run / "trials" / "00002" / "result.json").read_text())["warnings"]
    assert "default dtype, environment (put back)" in warning


CRASH = "import ctypes; ctypes.string_at(0)"


def test_a_model_that_crashes(search):
    trial = search(CRASH)
    assert trial.user_attrs["reason"].startswith("its process crashed 3 times: Segmentation fault at line")
    assert trial.user_attrs["reason"].endswith("in string_at")


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


@pytest.mark.parametrize("limit", [[], ["--memory-per-trial", "600M"]])
def test_a_trial_that_takes_the_memory_of_its_machine(limit, search, records):
    """Pieces that are never written to: should nothing stop it, the machine keeps its memory."""
    trial = search(
        "self.taken = [*getattr(self, 'taken', []), torch.empty(2**26)]; return outputs"
        if limit
        else "self.taken = [torch.empty(2**28) for _ in range(2**10)]; return outputs",
        *limit,
    )
    reason, size = trial.user_attrs["reason"], TrialRecord(trial).metrics
    assert reason.startswith("out of memory: ")
    assert "--max-memory" in reason
    assert size["parameters"] > 200
    assert size["memory_bytes"] > 256 * 2**20
    if limit:
        assert "a trial may take 600 MiB" in reason
        assert size["memory_bytes"] < 2**30
    result = json.loads((records.run / "trials" / "00002" / "result.json").read_text())
    assert result["infeasible"].items() <= size.items()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(value, search, records):
    trial = search(f"return outputs * float('{value}')")
    assert "the loss is nan at step" in trial.user_attrs["reason"]
    assert records.samples(THESIS) == []  # it ended at the sample that would have been the first
