"""The display of a search: at once, phase by phase, a line for every trial that fits, what is optimized by its name."""

import io
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from autogrow.cli import progress
from autogrow.cli.progress import ProgressDisplay
from autogrow.metrics.objectives import OBJECTIVES, parse_objectives
from autogrow.metrics.scores import SCORES
from autogrow.policy.presets import CONTROLS
from autogrow.study.warm_start import TRANSFERRED
from autogrow.tasks import TASKS

from ..study.made_results import complete, failed, report, stopped

METRICS = {
    "validation_score": 0.97221,
    "validation_loss": 0.123456,
    "generalization_gap": 0.0123,
    "train_seconds": 123456.7,
    "parameters": 123_456_789,
    "num_events": 12,
    "flops": 123_456_789.0,
    "latency_ms": 1234.5678,
}
"""Of a trial whose every number is long."""
REPORT = report(METRICS, progress=0.5)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def shown(clock):
    """A display on a terminal of some columns, or piped; gives it and what it has written so far."""

    def make(*, is_terminal=False, columns=80, task="classification", objectives=("score",), quiet=False):
        display = ProgressDisplay(quiet=quiet)
        stream = io.StringIO()
        display._console = Console(
            file=stream, width=columns, force_terminal=is_terminal, markup=False, highlight=False
        )
        settings = SimpleNamespace(task=task)
        display.planned(SimpleNamespace(settings=settings, objectives=parse_objectives(objectives, TASKS[task].score)))
        return display, stream.getvalue

    return make


def rendered(display, columns=80):
    """The live part as it is drawn now."""
    stream = io.StringIO()
    Console(file=stream, width=columns, markup=False, highlight=False).print(display._render())
    return stream.getvalue()


def started(display, number=3, role="searched", replicate_of=None):
    display.trial_started(SimpleNamespace(number=number, role=role, replicate_of=replicate_of))


@pytest.mark.slow
def test_the_first_line_needs_nothing_heavy(workplace):
    code = (
        "import sys\nfor name in ('torch', 'ray', 'optuna', 'numpy'): sys.modules[name] = None\n"
        "from autogrow.cli.main import run\nrun(['search'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[0] == "loading PyTorch ..."


@pytest.mark.parametrize("flag", ["--quiet", "--json"])
def test_nothing_is_said_of_a_search_that_is_to_be_quiet(flag, autogrow):
    assert autogrow("search", "--dry-run", flag, "--epochs", 9)[2] == ""


def test_phases_of_a_piped_search(shown, clock):
    display, written = shown()
    for what, seconds in (("loading PyTorch", 3), ("reading data", 1), ("starting Ray", 4)):
        display.phase(what)
        clock.seconds += seconds
    display.search_started(20, 0, 2, lambda: float("inf"))
    assert written().splitlines() == [
        "loading PyTorch ...",
        "reading data ...",
        "starting Ray ...",
        "ready: PyTorch 3 s, data 1 s, Ray 4 s; 2 trials at a time",
        "starting the first trials ...",
    ]


def test_a_terminal_shows_the_seconds_of_the_phase(shown, clock):
    display, _ = shown(is_terminal=True)
    with display:
        display.phase("starting Ray")
        clock.seconds += 4.2
        assert rendered(display).split()[1:] == ["starting", "Ray", "4", "s"]
        display.search_started(20, 0, 1, lambda: float("inf"))
        assert "0/20 1 at a time  estimating the time left" in rendered(display)
        started(display)
        display.trial_reported(3, REPORT)
        assert "starting" not in rendered(display)


ROLES = (*CONTROLS, "searched", TRANSFERRED)
RESULTS = {
    "complete": complete(METRICS),
    "stopped": stopped(METRICS),
    "failed": failed("its process was killed or crashed 3 times: if by lack of memory, " * 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name not in SCORES])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_trial_is_one_line_that_fits(shown, is_terminal, objective, task):
    for role in ROLES:
        for result in RESULTS.values():
            display, written = shown(is_terminal=is_terminal, task=task, objectives=(objective,))
            display.search_started(1000, 0, 2, lambda: float("inf"))
            before = written()
            started(display, 999, role)
            display.trial_reported(999, REPORT)
            assert max(map(len, rendered(display).splitlines())) <= 80
            assert "…" not in rendered(display)
            display.trial_ended(999, result)
            (line,) = written().removeprefix(before).splitlines()
            assert len(line) <= 80
            assert line.startswith(f"trial 999 {role}")
            assert result.status == "failed" or line.endswith("123M params  12 events")


@pytest.mark.parametrize(
    ("task", "objectives", "said"),
    [
        ("classification", ("score", "loss"), "accuracy 97.22 %"),
        ("regression", ("score", "loss"), "R² 0.9722"),
        ("regression", ("loss", "score"), "loss 0.123"),
        ("classification", ("generalization_gap",), "gap +1.23 points"),
        ("classification", ("parameters",), "params 123M"),
    ],
)
def test_what_is_optimized_first_is_said_by_its_name(shown, task, objectives, said):
    display, written = shown(task=task, objectives=objectives)
    display.search_started(20, 0, 2, lambda: float("inf"))
    started(display)
    display.trial_reported(3, REPORT)
    assert f"50% {said} " in rendered(display)
    display.trial_ended(3, RESULTS["complete"])
    assert f"done {said} " in written()
    assert f"best  {said} (trial 3)" in rendered(display)


def test_the_best_is_the_best_of_the_first_objective_among_those_that_count(shown):
    display, _ = shown(objectives=("loss",))
    display.search_started(20, 0, 2, lambda: float("inf"))

    def ended(number, loss, role="searched", make=complete, replicate_of=None, **more):
        started(display, number, role, replicate_of)
        display.trial_ended(number, make({**METRICS, "validation_loss": loss}, **more))

    ended(1, 0.5)
    ended(2, 0.4)
    ended(3, 0.1, role="static")
    ended(4, 0.1, make=stopped)
    ended(5, 0.1, constraints={"parameters": 0.2})
    ended(6, 0.1, replicate_of=1)
    assert "best  loss 0.400 (trial 2)" in rendered(display)


def test_another_seed_of_a_policy_is_said_to_be_one(shown):
    display, written = shown()
    display.search_started(20, 0, 2, lambda: float("inf"))
    started(display, 13, replicate_of=4)
    assert "trial 13  as trial 4" in rendered(display)
    display.trial_ended(13, RESULTS["complete"])
    assert "trial 13  as trial 4" in written()


def test_the_time_left_is_that_of_the_trials_or_of_the_budget(shown, clock):
    display, _ = shown(is_terminal=True)
    budget = [float("inf")]
    display.search_started(2, 0, 1, lambda: budget[0])
    started(display, 0)
    for progress_so_far, seconds in ((1 / 12, 5 / 6), (0.5, 5.0)):
        clock.seconds = 100.0 + seconds
        display.trial_reported(0, report(METRICS, progress=progress_so_far, trial_seconds=seconds))
    assert "1 at a time  15 s left" in rendered(display)
    budget[0] = 7.0
    assert "1 at a time  7 s left" in rendered(display)


def test_a_quiet_one_says_only_why_it_stops(shown):
    display, written = shown(quiet=True)
    with display:
        display.phase("starting Ray")
        display.search_started(20, 0, 2, lambda: float("inf"))
        started(display)
        display.trial_ended(3, RESULTS["complete"])
        assert written() == ""
        display.stopping("interrupted")
    assert written() == "interrupted: saving the trials that run\n"
