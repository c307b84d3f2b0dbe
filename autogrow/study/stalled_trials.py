"""Finds the trials that hang: their processes live, and nothing comes of them any more."""

import time
from collections.abc import Callable

MOST_SECONDS_BETWEEN_LOOKS = 10.0


class StalledTrials:
    """Looks after the running trials of a search.

    Args:
        timeout_seconds: How long a trial may show no sign of life; 0: for ever.
    """

    def __init__(self, timeout_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout_seconds
        self._clock = clock
        self._between_looks = min(MOST_SECONDS_BETWEEN_LOOKS, timeout_seconds / 10)
        self._next_look = clock()
        self._signs: dict[int, tuple[object, float]] = {}
        """The last sign of life of each trial, and when it was first seen."""

    @property
    def reason(self) -> str:
        """Why a trial that hangs fails."""
        seconds = self._timeout
        time_ = f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:g} seconds"
        return f"it took no step for {time_}, the limit (--trial-timeout): its process was ended"

    def started(self, number: int) -> None:
        """A trial has got a process; or a new one, when the one before died."""
        self._signs[number] = (None, self._clock())

    def ended(self, number: int) -> None:
        self._signs.pop(number, None)

    def found(self, signs_of_life: Callable[[int], object]) -> list[int]:
        """The trials that have reached the limit since the last time, each named once.

        signs_of_life: What a trial of that number has left until now; asked now and then.
        """
        now = self._clock()
        if not self._timeout or now < self._next_look:
            return []
        self._next_look = now + self._between_looks
        stalled = []
        for number, (last, since) in list(self._signs.items()):
            signs = signs_of_life(number)
            if signs != last:
                self._signs[number] = (signs, now)
            elif now - since >= self._timeout:
                stalled.append(number)
                self.ended(number)
        return stalled
