"""What has a search's trials run: the one interface, whatever they run on. A new executor is a file in this folder.

An `Executor` asks its `TrialSource` (the driver) for one trial after another, has each run by
`autogrow.study.trial.run_trial`, here or elsewhere, and tells how it went on and ended. There are two:
`autogrow.study.ray_executor`, for searches, and `autogrow.study.in_process_executor`, for tests and for a debugger. A
search is given one by `autogrow.search(..., executor=...)`.

Asking, telling, budgets, early stopping, finding trials that hang and resuming are the source's. An executor decides
where trials run and how many at a time, and sees to it that none of them runs any more when `run` returns or raises.
All of them pass the same tests: tests/study/test_every_executor.py.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from autogrow.study.settings import SearchSettings
from autogrow.study.trial_config import TrialConfig
from autogrow.study.trial_result import TrialReport, TrialResult


@dataclass(frozen=True)
class Host:
    """What an executor knows of the machine that a trial is going to run on."""

    memory_bytes: int | None = None
    """The trial's share of its memory; None where that is not known."""
    scratch: str | None = None
    """A folder that goes when the executor does, on the machine of the driver; a trial elsewhere does not find it."""


class TrialSource(Protocol):
    """What an executor asks for trials and tells of their ends; `autogrow.study.driver` is one."""

    def stopping(self) -> bool:
        """Whether no more trials are to be started; running ones have been asked to save themselves."""

    def out_of_patience(self) -> bool:
        """Whether running trials have had long enough for that."""

    def cluster_started(self, slots: int) -> None:
        """The executor is ready, and runs up to `slots` trials at a time."""

    def cluster_lost(self, reason: str, goes_on: bool) -> None:
        """What trials ran on has ended, and so have they, without a result and without ever giving one.

        goes_on: Whether the executor is going to start it anew.
        """

    def next_trial(self, host: Host) -> TrialConfig | None:
        """What to run next on that machine; None when there is nothing more."""

    def started(self, config: TrialConfig) -> None:
        """The trial has got what it runs in; or something new, where what it ran in before has died."""

    def reported(self, config: TrialConfig, report: TrialReport) -> bool:
        """Whether the trial goes on."""

    def found_hanging(self) -> dict[int, str]:
        """The numbers of started trials that have shown no sign of life for too long, with the reason; each once.

        An executor that can ends what they run in, and tells of their ends as failed for that reason.
        """

    def ended(self, config: TrialConfig, result: TrialResult) -> None:
        """A trial has ended, or saved itself to be gone on with."""


@runtime_checkable
class Executor(Protocol):
    """Runs the trials of a search."""

    preparation: str | None
    """What it does before the first trial, in words: "starting Ray". None where that takes no time."""

    def check(self, settings: SearchSettings) -> None:
        """Raise `UsageError` where it could run no trial of such a search; before anything is begun, or written."""

    def run(self, source: TrialSource) -> None:
        """Run trials until `source` has no more, or is stopping and those that run have saved themselves.

        Raises whatever `source` raises, `UsageError` where there is nothing to run trials on, and `ClusterError`
        where that is lost. No process and no folder is left behind.
        """
