"""Which trials are stopped early: asynchronous successive halving over compute instead of epochs.

ASHA (Li et al. 2020, arXiv 1810.05934, algorithm 2): trials are compared when they have used up a rung's compute, and
those below the median of what was compared there before are stopped. A small network's epoch is cheap, so rungs
are at training FLOPs or at train seconds. What was compared is kept in the run folder: a search that goes on after a
kill decides as if it had never stopped.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autogrow.files import append_text, read_json_lines
from autogrow.policy.presets import CONTROLS

REDUCTION_FACTOR = 2
FIRST_RUNG = {"flops": 0.2, "train_seconds": 1.0, "none": math.inf}
"""Where trials are first compared, by resource: a share of the FLOPs that the run takes at full size, or seconds."""
RESOURCE_METRIC = {"flops": "compute", "train_seconds": "train_seconds", "none": "compute"}
METRIC = "validation_accuracy"


class SuccessiveHalving:
    """Decides after every report whether a trial goes on.

    The controls always run to their end. A policy is not judged before it has grown once.
    """

    def __init__(self, resource: str, record: Path) -> None:
        self._first = FIRST_RUNG[resource]
        self._resource = RESOURCE_METRIC[resource]
        self._record = record
        self._values: dict[int, dict[int, float]] = {}
        """What was compared, by rung and root."""
        self._stopped: set[int] = set()
        for entry in read_json_lines(record):
            self._remember(**entry)

    def goes_on(self, root: int, role: str, metrics: Mapping[str, Any]) -> bool:
        """Whether the trial is to go on, after it has reported these metrics."""
        value, used = metrics[METRIC], metrics[self._resource]
        if value is None or metrics["num_events"] == 0 or used < self._first:
            return True
        rung = int(math.log(used / self._first, REDUCTION_FACTOR) + 1e-9)
        others = self._values.get(rung, {})
        if root not in others:
            behind = bool(others) and value < np.quantile(list(others.values()), 1 - 1 / REDUCTION_FACTOR)
            entry = {"root": root, "rung": rung, "value": value, "stopped": bool(behind) and role not in CONTROLS}
            append_text(self._record, json.dumps(entry) + "\n")
            self._remember(**entry)
        return root not in self._stopped

    def _remember(self, root: int, rung: int, value: float, stopped: bool) -> None:
        self._values.setdefault(rung, {})[root] = value
        if stopped:
            self._stopped.add(root)
