"""The live display of a search, on stderr: phases, a bar, the best so far, the time left; plain lines where piped.

It is up before anything heavy is imported, so nothing heavy is imported here.
"""

import math
import time
from collections.abc import Callable
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.spinner import Spinner
from rich.table import Table

from autogrow.cli.time_left import TimeLeft, in_words
from autogrow.errors import shortened
from autogrow.metrics import numbers
from autogrow.printing import console
from autogrow.study.monitor import SearchMonitor

if TYPE_CHECKING:
    from autogrow.study.planning import SearchPlan
    from autogrow.study.sampling import Proposal
    from autogrow.study.trial_result import TrialMetrics, TrialReport, TrialResult

REFRESH_PER_SECOND = 4
LEAST_COLUMNS = 80
"""Lines are cut to the terminal's width, and to this where it is narrower or unknown."""


class ProgressDisplay(SearchMonitor):
    """Draws what the search tells it; with `quiet` only says why it stops."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = console(err=True)
        self._quiet = quiet
        self._live: Live | None = None
        self._bar = Progress(
            TextColumn("trials"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
        )
        self._task = self._bar.add_task("trials", total=None, note="")
        self._phases: list[tuple[str, float]] = []
        """What was begun, and when; the last one is going on."""
        self._is_in_phase = False
        self._spinner = Spinner("dots")
        self._slots = 0
        self._running: dict[int, tuple[str, TrialReport | None]] = {}
        """What is said of a trial, its role or the trial whose policy it trains again, and its last report."""
        self._replicates: set[int] = set()
        self._best: tuple[float, int, TrialMetrics] | None = None
        self._time_left: TimeLeft | None = None
        self._budget_left: Callable[[], float] = lambda: math.inf
        self._words: _TrialWords | None = None

    def __enter__(self) -> Self:
        if not self._quiet and self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=REFRESH_PER_SECOND, get_renderable=self._render)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._is_in_phase = False
            self._live.stop()

    def phase(self, what: str) -> None:
        self._phases.append((what, time.monotonic()))
        self._is_in_phase = True
        if self._live is not None:
            self._live.refresh()
        elif not self._quiet:
            self._console.print(f"{what} ...")

    def planned(self, plan: "SearchPlan") -> None:
        """What the search is for is known: its first objective is what is shown of trials."""
        self._words = _TrialWords(plan)

    def search_started(self, num_trials: int, num_done: int, slots: int, seconds_left: Callable[[], float]) -> None:
        from autogrow.study.driver import NUM_REPORTS

        self._time_left = TimeLeft(num_trials, num_done, 1 / NUM_REPORTS)
        self._budget_left = seconds_left
        self._slots = slots
        if not self._quiet:
            self._say(f"ready: {self._took()}; {slots} {'trial' if slots == 1 else 'trials'} at a time")
        self._bar.update(self._task, total=num_trials, completed=num_done)
        self.phase("starting the first trials")

    def trial_started(self, proposal: "Proposal") -> None:
        if proposal.replicate_of is not None:
            self._replicates.add(proposal.number)
        again = f"as trial {proposal.replicate_of}"
        self._running[proposal.number] = (proposal.role if proposal.replicate_of is None else again, None)

    def trial_reported(self, number: int, report: "TrialReport") -> None:
        self._is_in_phase = False
        if number in self._running:
            self._running[number] = (self._running[number][0], report)
        if self._time_left is not None:
            self._time_left.reported(number, report.progress, report.trial_seconds, time.monotonic())

    def trial_ended(self, number: int, result: "TrialResult") -> None:
        self._is_in_phase = False
        role, _ = self._running.pop(number, ("searched", None))
        if self._time_left is not None:
            progress = 1.0 if result.status == "complete" else result.progress if result.status == "stopped" else None
            self._time_left.ended(number, progress, time.monotonic())
        # One more seed of a policy is none of those that are compared by their first.
        if self._words is not None and number not in self._replicates:
            self._best = self._words.better(self._best, number, role, result)
        self._bar.advance(self._task)
        if not self._quiet and self._words is not None:
            self._say(f"{_head(number, role)} {self._words.of_ended(result)}")

    def cluster_lost(self, reason: str) -> None:
        self._running.clear()
        self._console.print(f"Ray has ended ({reason}): trials go on from their checkpoints in a new one")
        self._phases.clear()
        self.phase("starting Ray")

    def stopping(self, reason: str) -> None:
        self._console.print(f"{reason}: saving the trials that run")

    def _say(self, line: str) -> None:
        self._console.print(shortened(line, self._columns), soft_wrap=True)

    @property
    def _columns(self) -> int:
        return max(LEAST_COLUMNS, self._console.width) if self._live is not None else LEAST_COLUMNS

    def _took(self) -> str:
        """What the phases so far were about, with their seconds."""
        phases = [*self._phases, ("", time.monotonic())]
        return ", ".join(f"{what.split()[-1]} {end - start:.0f} s" for (what, start), (_, end) in pairwise(phases))

    def _note(self) -> str:
        """How many trials at a time, and the time until they are done or a budget is used up, whichever is sooner."""
        if self._bar.finished:
            return ""
        known = self._time_left.seconds(time.monotonic()) if self._time_left is not None else None
        left = min(math.inf if known is None else known, self._budget_left())
        rest = "estimating the time left" if math.isinf(left) else f"{in_words(left)} left"
        return f"{self._slots} at a time  {rest}"

    def _render(self) -> Table:
        grid = Table.grid()
        grid.add_column(no_wrap=True, overflow="ellipsis")
        if self._time_left is not None:
            self._bar.update(self._task, note=self._note())
            grid.add_row(self._bar)
        if self._best is not None and self._words is not None:
            grid.add_row(f"best  {self._words.objective(self._best[2])} (trial {self._best[1]})")
        for number, (role, report) in self._running.items():
            state = self._words.of_running(report) if report is not None and self._words is not None else "starting"
            grid.add_row(f"{_head(number, role)} {state}")
        if self._is_in_phase:
            what, start = self._phases[-1]
            self._spinner.update(text=f"{what}  {time.monotonic() - start:.0f} s")
            grid.add_row(self._spinner)
        return grid


class _TrialWords:
    """What one line says of a trial: the first objective of the search that trials report while they run, and sizes."""

    def __init__(self, plan: "SearchPlan") -> None:
        self._first = plan.objectives[0]

    def objective(self, metrics: "TrialMetrics") -> str:
        """The first objective's short name and value; nothing where it is measured at the end alone."""
        value = self._first.value(metrics.by_name())
        return "" if value is None else f"{self._first.metric.label} {self._first.metric.with_unit(value)}"

    def of_running(self, report: "TrialReport") -> str:
        return f"{report.progress:7.0%} {self._sizes(report.metrics)}"

    def of_ended(self, result: "TrialResult") -> str:
        if result.status == "failed":
            return f"failed: {result.reason}"
        if result.status == "interrupted":
            return "interrupted"
        state = "done" if result.status == "complete" else result.status
        return f"{state:>7} {self._sizes(result.metrics)}"

    def better(
        self, best: "tuple[float, int, TrialMetrics] | None", number: int, role: str, result: "TrialResult"
    ) -> "tuple[float, int, TrialMetrics] | None":
        """The better of the best so far and a trial that has ended, by the first objective. The static control is none,
        nor is a network above a limit."""
        if result.status != "complete" or role == "static":
            return best
        value = self._first.value(result.metrics.by_name())
        if value is None or any(excess > 0 for excess in result.constraints.values()):
            return best
        candidate = (self._first.sign * value, number, result.metrics)
        return candidate if best is None or candidate[0] > best[0] else best

    def _sizes(self, metrics: "TrialMetrics") -> str:
        events = metrics.num_events
        return (
            f"{self.objective(metrics):16}  {self._train_time(metrics.train_seconds):>7}  "
            f"{numbers.count(metrics.parameters):>5} params  {events} {'event' if events == 1 else 'events'}"
        )

    def _train_time(self, seconds: float | None) -> str:
        is_long = seconds is not None and seconds >= 10_000
        return in_words(seconds) if is_long else f"{numbers.seconds(seconds)} s"


def _head(number: int, role: str) -> str:
    return f"trial {number:<3} {role:11}"
