"""How long the rest of a search takes, from what its trials have done so far; Ray's start does not count."""

import math

FEWEST_TRIALS = 0.25
"""Trials' worth of training before anything is said: a quarter of one."""


class TimeLeft:
    """Estimates from the progress of trials, finished and running, in shares of a trial. Times are in seconds.

    The seconds per share are counted from when the first trial began to train. A trial that was resumed, or that began
    from another's fork, counts from where it began.
    """

    def __init__(self, num_trials: int, num_done: int, first_report: float) -> None:
        """`first_report` is the share of a trial before its first report: where it has begun is not reported."""
        self._left = num_trials - num_done
        self._first_report = first_report
        self._began: float | None = None
        self._now = 0.0
        self._began_at: dict[int, float] = {}
        self._reached: dict[int, float] = {}
        self._ended: list[float] = []
        self._done = 0.0

    def reported(self, number: int, progress: float, trial_seconds: float, now: float) -> None:
        """A running trial has reached `progress`, from 0 to 1, `trial_seconds` after it began."""
        if self._began is None:
            self._began = now - trial_seconds
        self._began_at.setdefault(number, max(0.0, progress - self._first_report))
        self._reached[number] = progress
        self._now = now

    def ended(self, number: int, progress: float | None, now: float) -> None:
        """A trial has ended, at `progress` of its full length; None: where it was last seen."""
        seen = self._reached.pop(number, 0.0)
        reached = seen if progress is None else progress
        self._done += max(0.0, reached - self._began_at.pop(number, 0.0))
        self._ended.append(reached)
        self._left -= 1
        self._now = now

    def seconds(self, now: float) -> float | None:
        """Until no trial is left; None while too little is known."""
        running = sum(reached - self._began_at[number] for number, reached in self._reached.items())
        done = self._done + running
        if self._began is None or done < FEWEST_TRIALS or self._now <= self._began:
            return None
        length = self._usual_length()
        waiting = max(0, self._left - len(self._reached)) * length
        left = waiting + sum(max(0.0, length - reached) for reached in self._reached.values())
        # Between reports the estimate only counts down: what has been done meanwhile is not known.
        return max(0.0, left * (self._now - self._began) / done - (now - self._now))

    def _usual_length(self) -> float:
        """How far trials come, of which some are stopped early."""
        return sum(self._ended) / len(self._ended) if self._ended and sum(self._ended) > 0 else 1.0


def in_words(seconds: float | None) -> str:
    """A time in the unit that a person reads it in."""
    if seconds is None or math.isinf(seconds):
        return "unknown"
    if seconds >= 90 * 60:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
