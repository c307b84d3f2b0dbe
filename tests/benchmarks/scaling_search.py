"""How the cost of a search grows with its trials, and with the slots that they run on."""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.orchestration import search, times
from tests.benchmarks.table import Row
from tests.benchmarks.timing import exponent

TRIALS = (10, 100, 1_000)
SLOTS = (1, 2, 4, 8, 16)
TRIALS_PER_SLOT_NUMBER = 80


def trial_rows() -> Iterator[Row]:
    """Searches whose trials train nothing, on two slots: seconds from the first proposal to the last end."""
    totals = []
    with tempfile.TemporaryDirectory() as folder:
        for number in TRIALS:
            place = Path(folder) / str(number)
            memory = search(place, number)["grown_bytes"] / 2**20
            begins, ends = times(place)
            totals.append(max(ends) - begins[0])
            last = statistics.median(_gaps(ends)[-max(5, number // 10) :])
            text = f"{totals[-1]:.3g} s, the last tenth {1000 * last:.0f} ms each; the driver grew by {memory:.0f} MiB"
            yield Row(f"{number:,} trials that train nothing, TPE, 2 slots", text, "", None)
    yield Row("seconds by number of trials: exponent", f"{exponent(TRIALS, totals):.2f}", "", None)


def slot_rows() -> Iterator[Row]:
    """The same by number of slots, on the cores that there are: what slots cost, not what they gain."""
    gaps = []
    with tempfile.TemporaryDirectory() as folder:
        for slots in SLOTS:
            place = Path(folder) / str(slots)
            search(place, TRIALS_PER_SLOT_NUMBER, "--slots", str(slots))
            begins, ends = times(place)
            # Early ones wait for their workers to import PyTorch.
            gaps.append(statistics.median(_gaps(ends)[TRIALS_PER_SLOT_NUMBER // 2 :]))
            text = (
                f"{1000 * gaps[-1]:.0f} ms from end to end; {max(ends) - begins[0]:.3g} s in all, workers' start in it"
            )
            yield Row(f"{TRIALS_PER_SLOT_NUMBER} trials that train nothing, {slots} slots", text, "", None)
    yield Row("milliseconds per trial by number of slots: exponent", f"{exponent(SLOTS, gaps):.2f}", "", None)


def _gaps(ends: Sequence[float]) -> list[float]:
    return [after - before for before, after in zip(ends, ends[1:], strict=False)]
