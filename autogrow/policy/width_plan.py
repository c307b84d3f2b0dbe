"""The widths that a channel group passes through: pure arithmetic, without a memory of past events.

After n events that a group took part in, it has reached the share

    r(n) = initial + chunk * (1 + growth + ... + growth^(n-1))        (growth: Yuan et al. 2023, arXiv 2306.12700)

of its full width, and after the last one exactly `maximum`; less than half a chunk left over joins that last event.
Rounding is done on the share reached and not on the chunk, so that groups of different widths that grow together
also reach their maximum together (as long as a chunk is at least one unit, or one pair of them).
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

MULTIPLES_TO_ROUND = 8
"""A group is wide enough to be rounded if its full width is at least this number of multiples."""
MOST_EVENTS = 2**62
"""Above any number of events that happen; keeps the arithmetic within what `range` can count."""


@dataclass(frozen=True)
class WidthPlan:
    """Shares of the full width, and what the widths in between are multiples of."""

    initial: float
    chunk: float
    growth: float
    maximum: float
    multiple: int
    """Widths on the way are multiples of this, in groups wide enough; odd widths run slower on GPUs."""
    unit_multiple: int
    """Units are added in multiples of this."""

    def num_events(self) -> int:
        """Events from the initial to the maximum share."""
        if self.initial >= self.maximum:
            return 0
        chunks, rate = min((self.maximum - self.initial) / self.chunk, MOST_EVENTS), self.growth - 1
        # Solved for the smallest n at which less than half of chunk n is left; rounding noise must not add an event.
        if rate == 0:
            events = math.floor(round(chunks + 0.5, 9))
        else:
            steps = (math.log1p(chunks * rate) - math.log1p(1.5 * rate)) / math.log1p(rate)
            events = math.floor(round(steps, 9)) + 2
        return max(1, min(events, MOST_EVENTS))

    def max_width(self, full_width: int) -> int:
        """The number of units that a group can reach, never rounded to a multiple."""
        return max(1, math.floor(round(self.maximum * full_width, 9) + 0.5))

    def width_after(self, num_events: int, full_width: int) -> int:
        """The units of a group that took part in `num_events` events."""
        last, maximum = self.num_events(), self.max_width(full_width)
        if num_events >= last:
            return maximum
        target = self._reached(num_events) * full_width
        # Widths must differ from the maximum by whole unit multiples, or it could not be reached.
        offset = maximum % self.unit_multiple
        step = self._step(full_width, maximum, last)
        if target <= offset + step / 2:  # the multiple would round a narrow start to nothing
            step = self.unit_multiple
        width = offset + step * _round_half_down((target - offset) / step)
        return min(maximum, max(offset or self.unit_multiple, width))

    def added_units(self, width: int, full_width: int, removed: int = 0) -> int:
        """The units that one event adds to a group that has `width` now; 0 once it is at its maximum.

        The chunk goes by all units that the group was ever given, `removed` ones too, so that a narrowing does not
        turn the plan back; a group that came to the end of its plan and lost units again gets the last chunk once
        more. A rest smaller than the unit multiple is never added.
        """
        left = self.max_width(full_width) - width
        if left < self.unit_multiple:
            return 0
        # Of a group that had everything: what stood right before its last chunk.
        given = min(width + removed, self.max_width(full_width) - self.unit_multiple)
        events = bisect_right(range(self.num_events()), given, key=lambda n: self.width_after(n, full_width))
        if width + removed > given:
            given = self.width_after(events - 1, full_width) if events > 0 else width
        wanted = self.width_after(events, full_width) - given
        return self.unit_multiple * min(left // self.unit_multiple, math.ceil(wanted / self.unit_multiple))

    def _reached(self, num_events: int) -> float:
        rate = self.growth - 1
        chunks = num_events if rate == 0 else math.expm1(num_events * math.log1p(rate)) / rate
        return self.initial + self.chunk * chunks

    def _step(self, full_width: int, maximum: int, last: int) -> int:
        """What widths on the way are rounded to: the multiple, unless the group or its chunks are too narrow for it.

        A chunk narrower than the multiple would make events that add nothing, and the group would be at its maximum
        before the others. (A last event may be half as large as a chunk: hence the 2.)
        """
        step = math.lcm(self.multiple, self.unit_multiple)
        narrowest = min(self.chunk * full_width, 2 * (maximum - self._reached(last - 1) * full_width))
        fits = full_width >= MULTIPLES_TO_ROUND * self.multiple and step <= round(narrowest, 9)
        return step if fits else self.unit_multiple


def _round_half_down(value: float) -> int:
    # Down, so that half a chunk before the maximum is not rounded up to it.
    return math.ceil(round(value, 9) - 0.5)
