"""What a search tells its observer while it runs. The command line draws it; the default says nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # observers are there before Optuna is imported
    from autogrow.study.sampling import Proposal
    from autogrow.study.trial_result import TrialReport, TrialResult


class SearchMonitor:
    """Called from the driver's thread; must return quickly."""

    def phase(self, what: str) -> None:
        """Something begins that takes seconds, in which no trial runs: "reading data", "starting Ray"."""

    def search_started(self, num_trials: int, num_done: int, slots: int, seconds_left: Callable[[], float]) -> None:
        """The cluster is up: `num_done` of `num_trials` have ended already, `slots` can run at a time.

        `seconds_left` is the wall time that the budgets of time and compute leave; infinite where there is none.
        """

    def trial_started(self, proposal: "Proposal") -> None:
        pass

    def trial_reported(self, number: int, report: "TrialReport") -> None:
        pass

    def trial_ended(self, number: int, result: "TrialResult") -> None:
        pass

    def cluster_lost(self, reason: str) -> None:
        """Ray has ended for this reason. The trials that ran start again, from their checkpoints, in a new one."""

    def stopping(self, reason: str) -> None:
        """No more trials are started; those that run are being saved."""
