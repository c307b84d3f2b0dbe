"""Which trials are stopped early: asynchronous successive halving over compute and over progress.

ASHA (Li et al. 2020, arXiv 1810.05934, algorithm 2): trials are compared when they reach a rung, and those in the worst
third of what was compared there before are behind. They are compared by validation loss: on few examples the score is
so coarse that good policies are stopped for an example more or less. Two ladders of rungs stand side by side. A small
network's epoch is cheap, so one ladder is of training FLOPs or train seconds; but at equal compute a large network has
hardly begun when a small one is at its end, so the other is of the share of the run. A trial is stopped where it is
behind on both: neither cheaper nor better than what it is compared with. What was compared is kept in the run folder: a
search that goes on after a kill decides as if it had never stopped.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from autogrow.errors import RunFolderError
from autogrow.files import append_text
from autogrow.policy.presets import CONTROLS
from autogrow.reading.json_files import read_json_lines
from autogrow.reading.typed import typed
from autogrow.study.trial_result import TrialReport

REDUCTION_FACTOR = 2
"""Of the places of two rungs, one after the other."""
KEPT = 2 / 3
"""Share of what was compared at a rung that a trial has to be among the best of."""
FEWEST_COMPARED = 8
"""Others at a rung without which no trial is behind there: of two, one is always the worse one. On tables of policies
by seeds (`autogrow reproduce racing`), half of any number, by score, stopped a fifth of the truly best three."""
METRIC = "validation_loss"
USAGE = "usage"
"""The ladder of compute or of seconds. Records of older versions know no other and do not name it."""
PROGRESS = "progress"
RUNG_ZERO = {"flops": 0.2, "train_seconds": 1.0}
"""Where rung 0 is, by resource: a share of the FLOPs that the run takes at full size, or seconds. Small networks are
compared at rungs below it."""
FIRST_PROGRESS = 1 / 6
"""Share of a run before which no trial is compared."""
LATEST_UNGROWN = 0.5
"""Share of a run before which a policy is not compared unless it has grown, or grows no more."""
LEAST_MULTIPLE = 2.0**-20


@dataclass(frozen=True)
class Comparison:
    """One line of the record: a trial that was compared at a rung."""

    root: int
    rung: int
    value: float
    """Larger is better."""
    stopped: bool
    ladder: str = USAGE
    behind: bool = False
    metric: str = "validation_score"
    """That was compared; older versions did not say which."""


class Ladders:
    """What trials had reached at the rungs of both ladders, and which of them are behind. Kept nowhere.

    Args:
        kept: Share of what was compared at a rung before that a trial has to be among the best of.
        fewest: Others that have to be compared before.
        metric: That is compared; what was compared by another says nothing here but which trials have stopped.
    """

    def __init__(self, kept: float = KEPT, fewest: int = FEWEST_COMPARED, metric: str = METRIC) -> None:
        self._kept, self._fewest, self._metric = kept, fewest, metric
        self._values: dict[tuple[str, int], dict[int, float]] = {}
        """What was compared, by ladder and rung, and root."""
        self._behind: dict[int, dict[str, bool]] = {}
        """Whether a root was behind where it was last compared, by ladder."""
        self._stopped: set[int] = set()

    def compare(
        self, root: int, value: float, multiple: float, progress: float, *, is_control: bool = False
    ) -> list[Comparison]:
        """Compare a trial at the rungs that it has come to and was not compared at; remembers that.

        Args:
            root: Number of the trial's line.
            value: What it reached; larger is better.
            multiple: What it has used, as a multiple of rung 0's place.
            progress: Share of its run.
            is_control: Whether it is to run to its end whatever it reaches.
        """
        rungs = {USAGE: _rung(multiple), PROGRESS: _rung(progress / FIRST_PROGRESS)}
        readings = {
            (ladder, rung): self._is_behind(ladder, rung, value)
            for ladder, rung in rungs.items()
            if root not in self._values.get((ladder, rung), {})
        }
        behind = {**self._behind.get(root, {}), **{ladder: is_behind for (ladder, _), is_behind in readings.items()}}
        stopped = not is_control and bool(readings) and all(behind.get(ladder) for ladder in (USAGE, PROGRESS))
        compared = [
            Comparison(root, rung, value, stopped, ladder, is_behind, self._metric)
            for (ladder, rung), is_behind in readings.items()
        ]
        for each in compared:
            self.remember(each)
        return compared

    def remember(self, seen: Comparison) -> None:
        """Take over what was compared before."""
        if seen.stopped:
            self._stopped.add(seen.root)
        if seen.metric == self._metric:
            self._values.setdefault((seen.ladder, seen.rung), {})[seen.root] = seen.value
            self._behind.setdefault(seen.root, {})[seen.ladder] = seen.behind

    def has_stopped(self, root: int) -> bool:
        return root in self._stopped

    def _is_behind(self, ladder: str, rung: int, value: float) -> bool:
        others = list(self._values.get((ladder, rung), {}).values())
        return len(others) >= self._fewest and bool(value < np.quantile(others, 1 - self._kept))


class SuccessiveHalving:
    """Decides after every report whether a trial goes on.

    The controls always run to their end. A policy that is still going to grow is not judged before it has done so once,
    or half of its run is over.
    """

    def __init__(self, resource: str, record: Path) -> None:
        self._resource = resource
        self._record = record
        self._ladders = Ladders()
        for number, fields in enumerate(read_json_lines(record, "record of comparisons", RunFolderError), 1):
            self._ladders.remember(typed(Comparison, fields, f"{record}: line {number}", RunFolderError))

    def goes_on(self, root: int, role: str, report: TrialReport) -> bool:
        """Whether the trial is to go on, after this report."""
        if not self._can_be_judged(report):
            return True
        used = report.metrics.compute if self._resource == "flops" else report.metrics.train_seconds
        compared = self._ladders.compare(
            root,
            -report.metrics.validation_loss,
            used / RUNG_ZERO[self._resource],
            report.progress,
            is_control=role in CONTROLS,
        )
        for comparison in compared:
            append_text(self._record, json.dumps(asdict(comparison)) + "\n")
        return not self._ladders.has_stopped(root)

    def _can_be_judged(self, report: TrialReport) -> bool:
        if self._resource == "none" or report.progress < FIRST_PROGRESS:
            return False
        return report.metrics.num_events > 0 or not report.may_grow or report.progress >= LATEST_UNGROWN


def _rung(multiple: float) -> int:
    """The rung at `multiple` times rung 0's place; nothing used, where FLOPs cannot be counted, is at the lowest."""
    return math.floor(math.log(max(multiple, LEAST_MULTIPLE), REDUCTION_FACTOR) + 1e-9)
