"""When a search ends: after its trials, its time, or the core- or GPU-seconds of all trials, whichever comes first."""

import time
from collections.abc import Callable

from autogrow.study.settings import SearchSettings


class Budget:
    """What a search may use. The budget of trials is the sampler's; here is that of time and of compute.

    Args:
        started: Of this search, on the monotonic clock; a time budget counts anew when a search is resumed.
        used_trial_seconds: Of all trials before, by `StudyDatabase.trial_seconds`; a compute budget does not.
    """

    def __init__(
        self,
        settings: SearchSettings,
        started: float,
        used_trial_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = 1
        self._clock = clock
        self._started = started
        self._seconds = settings.time_budget_seconds or float("inf")
        self._deadline = started + self._seconds
        self._compute = settings.compute_budget_seconds or float("inf")
        self._units = settings.gpus_per_trial or settings.cpus_per_trial
        """GPUs, or cores, that a trial holds while it runs."""
        self._ended = used_trial_seconds
        self._running: dict[int, float] = {}

    def reported(self, number: int, trial_seconds: float) -> None:
        """A running trial has lasted so long."""
        self._running[number] = trial_seconds

    def ended(self, number: int, trial_seconds: float | None) -> None:
        """A trial has ended after so long; None where its process died without a word."""
        last = self._running.pop(number, 0.0)
        self._ended += last if trial_seconds is None else trial_seconds

    @property
    def used_seconds(self) -> float:
        """Core-seconds, or GPU-seconds, of all trials until now."""
        return self._units * (self._ended + sum(self._running.values()))

    @property
    def exhausted(self) -> str | None:
        """What is used up, in words."""
        if self._clock() > self._deadline:
            return "the time budget is used up"
        if self.used_seconds >= self._compute:
            return "the compute budget is used up"
        return None

    def share_used(self) -> float:
        """Share of the time or of the compute, whichever is larger; 0 where there is no budget of either."""
        return max((self._clock() - self._started) / self._seconds, self.used_seconds / self._compute)

    def seconds_left(self) -> float:
        """Wall time until one of them is used up with all slots busy; infinite where there is neither."""
        compute = (self._compute - self.used_seconds) / (self._units * self.slots)
        return max(0.0, min(self._deadline - self._clock(), compute))
