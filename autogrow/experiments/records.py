"""What is kept of one training run of an experiment: numbers, and the shape of the network that came out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from autogrow.errors import RunFolderError
from autogrow.export.retraining import TrainResult
from autogrow.export.testing import plain
from autogrow.former_names import with_present_names
from autogrow.network.shape import NetworkShape
from autogrow.reading.typed import typed
from autogrow.training.evaluation import validation_problem

CURVE_COLUMNS = (
    "step", "train_loss", "validation_loss", "train_score", "validation_score", "train_seconds",
    "training_flops", "parameters",
)  # fmt: skip
"""What is kept of every measurement: train and validation of the same weights, at the same step."""


@dataclass(frozen=True)
class RunCurve:
    """A run's measurements, by `CURVE_COLUMNS`, and the steps after which the network grew."""

    columns: dict[str, list[float]]
    growth_steps: list[int]

    @classmethod
    def of(cls, result: TrainResult) -> Self:
        """The measurements of a finished run, to seven digits; without what was not measured (validation, perhaps)."""
        columns = {name: [getattr(sample, name) for sample in result.samples] for name in CURVE_COLUMNS}
        kept = {
            name: [float(f"{value:.7g}") for value in column] for name, column in columns.items() if None not in column
        }
        return cls(kept, [event.step for event in result.events])

    def last(self, column: str, number: int) -> list[float]:
        """The last `number` values; all where there are fewer."""
        return self.columns[column][-number:]


@dataclass(frozen=True)
class FailedRun:
    """A training run that came to nothing: it diverged, or what it is made from did."""

    seed: int
    condition: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "failed": True}


@dataclass(frozen=True)
class RunRecord:
    """One finished training run; train metrics are of all that was trained on.

    Where validation was kept apart, train metrics are over as many training examples as validation has.
    """

    seed: int
    condition: str
    test_score: float | None
    """None where results are read on validation, or where it is undefined."""
    test_loss: float | None
    train_score: float
    train_loss: float
    train_seconds: float
    training_flops: float
    steps: int
    parameters: int
    num_events: int
    growth_ended_by: str
    """Why the network grew no more, in words."""
    shape: NetworkShape
    validation_score: float | None = None
    """None where training took the validation examples too."""
    validation_loss: float | None = None
    largest_shock: float | None = None
    """Of all growth events: see `autogrow.policy.records.shock_of`. None where none was measured."""
    undefined: str | None = None
    """Why a metric that was to be read is not defined, in words."""
    same_run_as: str | None = None
    """The condition whose run this is, too: where both are the same network, trained alike."""
    trained_on: dict[str, Any] = field(default_factory=dict, compare=False)
    """Versions and machine, as `Experiment.circumstances` gives them."""
    curve: RunCurve | None = None
    """Metrics along the way, where the experiment keeps them."""
    first_growth: float | None = None
    """The share of the run (of its compute, where that is its length) that was behind it at its first growth event.
    None where it never grew, and in records of before."""
    flops: float | None = None
    """Training FLOPs of one example at the end; None in records of before."""

    @property
    def train_minus_test_score(self) -> float | None:
        """The gap, as long as nothing was decided on the test split."""
        return None if self.test_score is None else self.train_score - self.test_score

    @property
    def train_minus_validation_score(self) -> float | None:
        """The gap that training itself may see."""
        return None if self.validation_score is None else self.train_score - self.validation_score

    @classmethod
    def of(
        cls, seed: int, condition: str, result: TrainResult, trained_on: dict[str, Any], *, keeps_curve: bool = False
    ) -> Self:
        """The record of a finished run."""
        undefined = result.test.undefined if result.test else None
        if undefined is None and result.validation is not None and not result.validation.is_finite:
            undefined = validation_problem(result.validation)
        shocks = [event.shock for event in result.events if event.shock is not None]
        return cls(
            seed=seed,
            condition=condition,
            test_score=plain(result.test.score) if result.test else None,
            test_loss=plain(result.test.loss) if result.test else None,
            validation_score=plain(result.validation.score) if result.validation else None,
            validation_loss=plain(result.validation.loss) if result.validation else None,
            undefined=undefined,
            largest_shock=max(shocks, default=None),
            train_score=result.train.score,
            train_loss=result.train.loss,
            train_seconds=result.train_seconds,
            training_flops=result.training_flops,
            steps=result.steps,
            parameters=result.parameters,
            num_events=len(result.events),
            growth_ended_by=result.growth_ended_by,
            shape=result.shape,
            trained_on=trained_on,
            curve=RunCurve.of(result) if keeps_curve else None,
            first_growth=_first_growth(result),
            flops=result.flops,
        )

    def trial_metrics(self) -> dict[str, Any]:
        """What was measured by the names that trials of searches have for it."""
        return {**asdict(replace(self, curve=None)), "generalization_gap": self.train_minus_validation_score}

    def to_dict(self) -> dict[str, Any]:
        gaps = {name: getattr(self, name) for name in _GAPS}
        return {name: value for name, value in {**asdict(self), **gaps}.items() if name not in _OPTIONAL or value}


_GAPS = ("train_minus_test_score", "train_minus_validation_score")
_OPTIONAL = ("curve", "undefined", "first_growth", "flops")
"""Not written where there is none."""


def _first_growth(result: TrainResult) -> float | None:
    if not result.events:
        return None
    event = result.events[0]
    progress = result.samples[event.sample].progress
    return event.step / result.steps if progress is None else progress


Outcome = RunRecord | FailedRun


def read_outcome(values: Mapping[str, Any], where: str) -> Outcome:
    """What `to_dict` of either wrote. Raises `RunFolderError`, beginning with `where`, for what is neither."""
    kind: type[Outcome] = FailedRun if values.get("failed") else RunRecord
    return typed(kind, with_present_names(values), where, RunFolderError)
