"""What autogrow and a static search compete on, and what is kept of what each found."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tests.benchmarks.best_so_far import Curve, best_so_far
from tests.benchmarks.retrained_policies import UNITS, Unit

SLOTS = 2
CONTROL = "static"
"""The role of autogrow's static control."""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One data set, and how long each side may search on it."""

    dataset: str
    train_size: int | None
    seconds: float
    num_seeds: int
    metric: Literal["accuracy", "loss"] = "accuracy"
    """What networks are compared by, on the validation split."""
    model_options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    """None: as long as autogrow trains where nobody says."""
    goal: float = 1 / 3
    """Share of the static search's time to its best by which autogrow is to have reached that."""
    goal_share: float | None = None
    """Share of searches in which it is to; None: in the median one."""
    num_training_seeds: int = 5
    """With so many seeds is trained again what was found."""
    confirmed: tuple[int, int] = (5, 5)
    """So many of the best policies of a search are confirmed, on so many seeds."""

    @property
    def unit(self) -> Unit:
        return UNITS[self.metric]

    @property
    def title(self) -> str:
        size = f" of {self.train_size:,} examples" if self.train_size else ""
        size += f", {self.epochs} epochs" if self.epochs else ""
        return f"{self.dataset}{size}, {self.seconds:g} s on {SLOTS} slots"

    @property
    def arguments(self) -> list[str]:
        """What both sides are told of it in the same words."""
        data_dir = os.environ.get("AUTOGROW_DATA")
        return [
            *("--dataset", self.dataset),
            *(["--train-size", str(self.train_size)] if self.train_size else []),
            *(["--data-dir", data_dir] if data_dir else []),
            *(["--epochs", str(self.epochs)] if self.epochs else []),
        ]


CONTESTS = (
    Contest(dataset="digits", train_size=None, seconds=60, num_seeds=3, num_training_seeds=10),
    Contest(dataset="mnist", train_size=2000, seconds=90, num_seeds=2, confirmed=(4, 3)),
    Contest(dataset="friedman", train_size=None, seconds=60, num_seeds=2, metric="loss", num_training_seeds=10),
)
TEXT = Contest(
    dataset="stdlib?mebibytes=1", train_size=None, seconds=600, num_seeds=5, metric="loss",
    model_options={"layers": 8, "width": 32}, epochs=1, goal=1 / 2, goal_share=0.8, confirmed=(0, 0),
)  # fmt: skip
"""Transformers that get deeper, against a search of depths: the space of autogrow's side is the one it takes itself."""
QUICK = tuple(
    Contest(
        dataset=each.dataset, train_size=500 if each.train_size else None, seconds=45, num_seeds=1, metric=each.metric,
        num_training_seeds=2, confirmed=(1, 1),
    )
    for each in CONTESTS
)  # fmt: skip
"""Only to see that it works."""
QUICK_TEXT = replace(
    TEXT, dataset="stdlib?mebibytes=1&context=32", train_size=200, seconds=45, num_seeds=1,
    model_options={"layers": 4, "width": 16},
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """How a trial ended. Only a complete one's score is of the whole validation split."""

    seconds: float
    """Since the process of its search was started."""
    state: str
    score: float | None
    trial_seconds: float | None
    """How long it ran on its worker."""
    role: str
    parameters: dict[str, Any]
    grows: bool = False
    """Whether its policy leaves the network anything to grow after the start."""


@dataclass(frozen=True)
class Found:
    """What one search found."""

    ready_seconds: float
    """From the start of its process until its first trial was proposed: Python, PyTorch and Ray were up by then."""
    trials: tuple[Trial, ...]
    policy: dict[str, Any] | None = None
    """The best that autogrow had found at the end, as its policy file has it."""
    confirmed: dict[str, Any] | None = None
    """What `autogrow confirm` chose."""
    confirmation: dict[str, Any] | None = None
    """What it said, and how long it took. None is chosen where no policy came through under every seed."""

    def curve(self, until_seconds: float, *, with_control: bool = False, growing_only: bool = False) -> Curve:
        """The best score so far; that of autogrow's static control, which is no growth policy, only if asked."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.score is not None]
        counted = [trial for trial in complete if with_control or trial.role != CONTROL]
        scores = [(trial.seconds, trial.score) for trial in counted if trial.grows or not growing_only]
        return best_so_far(scores, until_seconds)

    def best(self, until_seconds: float) -> Trial | None:
        """The first of the best trials that are complete."""
        complete = [trial for trial in self._ended("complete", until_seconds) if trial.score is not None]
        return max(complete, key=lambda trial: trial.score or 0, default=None)

    def num_ended(self, state: str, until_seconds: float) -> int:
        return len(self._ended(state, until_seconds))

    def seconds_of_complete_trials(self, until_seconds: float) -> list[float]:
        ended = self._ended("complete", until_seconds)
        return [trial.trial_seconds for trial in ended if trial.trial_seconds is not None]

    def _ended(self, state: str, until_seconds: float) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == state and trial.seconds <= until_seconds]


Pair = dict[str, Found]
"""What every side found with one seed."""
