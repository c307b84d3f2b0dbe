"""The live display of a search, on stderr: a bar, the best so far, the time left; plain lines without a terminal."""

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from autogrow.printing import console
from autogrow.study.monitor import SearchMonitor
from autogrow.study.sampling import Proposal

REFRESH_PER_SECOND = 4


class ProgressDisplay(SearchMonitor):
    """Draws what the search tells it; with `quiet` only says why it stops."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = console(err=True)
        self._quiet = quiet
        self._live: Live | None = None
        self._progress = Progress(
            TextColumn("trials"), BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
        )
        self._task = self._progress.add_task("trials", total=None, note="starting Ray ...")
        self._running: dict[int, tuple[str, Mapping[str, Any]]] = {}
        self._best: tuple[float, int] | None = None
        self._started = time.monotonic()
        self._ended_before = 0
        self._budget_left: Callable[[], float] = lambda: math.inf

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=REFRESH_PER_SECOND, get_renderable=self._render)
            self._live.start()
        elif not self._quiet:
            self._console.print("starting Ray ...")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def search_started(self, num_trials: int, num_done: int, slots: int, seconds_left: Callable[[], float]) -> None:
        self._started = time.monotonic()
        self._budget_left = seconds_left
        self._ended_before = num_done
        self._progress.update(self._task, total=num_trials, completed=num_done, note=f"{slots} at a time")

    def trial_started(self, proposal: Proposal) -> None:
        self._running[proposal.number] = (proposal.role, {})

    def trial_reported(self, number: int, metrics: Mapping[str, Any]) -> None:
        if number in self._running:
            self._running[number] = (self._running[number][0], dict(metrics))

    def trial_ended(self, number: int, result: Mapping[str, Any]) -> None:
        role, _ = self._running.pop(number, ("searched", {}))
        metrics = result.get("metrics", {})
        if result["status"] == "complete" and role != "static":
            candidate = (metrics["validation_accuracy"], number)
            self._best = max(self._best or candidate, candidate, key=lambda entry: entry[0])
        self._progress.advance(self._task)
        self._progress.update(self._task, note=f"{self._time_left()} left")
        if not self._quiet:
            self._console.print(_line(number, role, result, metrics), soft_wrap=True)

    def cluster_lost(self, reason: str) -> None:
        self._running.clear()
        self._console.print(f"Ray has ended ({reason}): trials go on from their checkpoints in a new one")

    def stopping(self, reason: str) -> None:
        self._console.print(f"{reason}: saving the trials that run")

    def _time_left(self) -> str:
        """Until the trials are done or a budget is used up, whichever is sooner."""
        task = self._progress.tasks[0]
        ended = task.completed - self._ended_before
        left = (task.total or 0) - task.completed
        trials = (time.monotonic() - self._started) / ended * left if ended > 0 else math.inf
        seconds = min(trials, self._budget_left())
        if math.isinf(seconds):
            return "unknown"
        return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"

    def _render(self) -> Table:
        grid = Table.grid()
        grid.add_row(self._progress)
        if self._best is not None:
            grid.add_row(f"best grown: {self._best[0]:.4f} (trial {self._best[1]})")
        for number, (role, metrics) in self._running.items():
            state = "starting"
            if metrics:
                state = (
                    f"{metrics['progress']:4.0%}  accuracy {metrics['validation_accuracy']:.4f}  "
                    f"{metrics['parameters']:,} parameters  {metrics['num_events']} growth events"
                )
            grid.add_row(f"  trial {number:<4} {role:9} {state}")
        return grid


def _line(number: int, role: str, result: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """One line for a trial that has ended."""
    if result["status"] == "failed":
        return f"trial {number:<4} {role:9} failed: {result.get('reason', 'unknown')}"
    return (
        f"trial {number:<4} {role:9} {result['status']:9} accuracy {metrics['validation_accuracy']:.4f}  "
        f"gap {metrics['generalization_gap']:+.4f}  {metrics['train_seconds']:6.1f} s  "
        f"{metrics['parameters']:>10,} parameters  {metrics['num_events']:>2} events"
    )
