"""What came out of an experiment: every run, means over seeds, and paired differences."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from autogrow.experiments.conditions import Design
from autogrow.experiments.records import FailedRun, Outcome, RunRecord
from autogrow.experiments.statistics import PairedDifference, Spread, paired_difference, spread
from autogrow.metrics.metric import Metric, metrics_of
from autogrow.metrics.objectives import OBJECTIVES
from autogrow.metrics.scores import Score
from autogrow.report.judging import Yardstick
from autogrow.report.noise_floor import NoiseFloor
from autogrow.tasks import TASKS

TRAIN_METRICS = (
    "train_score", "train_loss", "train_seconds", "training_flops", "compute", "steps", "parameters", "num_events",
    "largest_shock",
)  # fmt: skip


@dataclass(frozen=True)
class Results:
    """What came out of every condition over the same seeds. Runs that failed count for no mean and no difference."""

    task: str
    design: Design
    runs: tuple[RunRecord, ...]
    failures: tuple[FailedRun, ...] = ()
    bytes_per_token: float | None = None
    """Of text; None where it is not known, and of other data."""

    @classmethod
    def of(
        cls, task: str, design: Design, outcomes: Sequence[Outcome], *, bytes_per_token: float | None = None
    ) -> Self:
        """Results of what came out of all runs."""
        runs = tuple(outcome for outcome in outcomes if isinstance(outcome, RunRecord))
        failures = tuple(outcome for outcome in outcomes if isinstance(outcome, FailedRun))
        return cls(task, design, runs, failures, bytes_per_token)

    @property
    def score(self) -> Score:
        """How the score is called and written."""
        return TASKS[self.task].score

    @property
    def score_metric(self) -> str:
        """The score that conditions are judged by, and so on."""
        return f"{self.design.split}_score"

    @property
    def loss_metric(self) -> str:
        return f"{self.design.split}_loss"

    def metric_against_chance(self, yardstick: Yardstick) -> str:
        """What says whether a condition has learned anything."""
        return self.loss_metric if yardstick.judges_chance_by == "loss" else self.score_metric

    @property
    def gap_metric(self) -> str:
        return f"train_minus_{self.design.split}_score"

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that is summarized over seeds."""
        return self.score_metric, self.loss_metric, self.gap_metric, *TRAIN_METRICS

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs} | {failure.seed for failure in self.failures})

    def of_condition(self, condition: str) -> list[RunRecord]:
        """The runs of a condition that did not fail, in the order of seeds."""
        return sorted((run for run in self.runs if run.condition == condition), key=lambda run: run.seed)

    def by_seed(self, condition: str, metric: str) -> dict[int, float]:
        """A metric of a condition's runs, as far as it was measured."""
        runs = self.of_condition(condition)
        if metric != "compute":
            read = {run.seed: self._read(run, metric) for run in runs}
            return {seed: float(value) for seed, value in read.items() if value is not None}
        units = {run.seed: run.training_flops for run in self.of_condition(self.design.unit)}
        return {run.seed: run.training_flops / units[run.seed] for run in runs if run.seed in units}

    def _read(self, run: RunRecord, metric: str) -> float | None:
        """A metric by the name that records have for it, or by that of a trial's."""
        if metric in self.metrics:
            value: float | None = getattr(run, metric)
            return value
        return self.trial_metrics[metric].value(run.trial_metrics())

    @property
    def trial_metrics(self) -> dict[str, Metric]:
        """What trials of searches are measured by, and optimized for, by name."""
        added = (each.of(self.score).metric for _, each in OBJECTIVES.items())
        return {**{metric.name: metric for metric in added}, **metrics_of(self.score)}

    def values(self, condition: str, metric: str) -> list[float]:
        """A metric of a condition, one per seed, in the order of seeds."""
        return list(self.by_seed(condition, metric).values())

    def spread(self, condition: str, metric: str) -> Spread | None:
        """Mean and standard deviation over seeds; None where every run failed."""
        values = self.values(condition, metric)
        return spread(values) if values else None

    def difference(self, control: str, metric: str) -> PairedDifference | None:
        """The subject minus a control; see `between`."""
        return self.between(self.design.subject, control, metric)

    def between(self, first: str, second: str, metric: str) -> PairedDifference | None:
        """One condition minus another, paired by the seeds on which neither failed; None where there is none."""
        ours, theirs = (self.by_seed(name, metric) for name in (first, second))
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds:
            return None
        return paired_difference([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])

    def placebo_difference(self, metric: str) -> PairedDifference | None:
        """The placebo minus the condition that it copies; None where there is none, or where nothing ever grew.

        Seeds under which the subject never grew have no placebo.
        """
        pairs = self._placebo_pairs(metric)
        return paired_difference(*zip(*pairs, strict=True)) if pairs else None

    def noise_floor(self, metric: str) -> NoiseFloor | None:
        """What chance alone does to the differences of a metric; None where no placebo says so."""
        return NoiseFloor.of_placebo([own - copied for own, copied in self._placebo_pairs(metric)])

    def floor_by_replicates(self, metric: str) -> NoiseFloor | None:
        """What chance alone makes between two conditions, by how all vary from seed to seed; for want of a placebo."""
        return NoiseFloor.of_replicates([self.by_seed(each.name, metric) for each in self.design.conditions])

    def _placebo_pairs(self, metric: str) -> list[tuple[float, float]]:
        """The placebo and what it copies, for every seed that has both and a disturbance."""
        placebo = self.design.placebo
        if placebo is None or placebo.copies is None:
            return []
        own, copied = (self.by_seed(name, metric) for name in (placebo.name, placebo.copies))
        untouched = {run.seed for run in self.of_condition(placebo.name) if run.same_run_as is not None}
        return [(own[seed], copied[seed]) for seed in own if seed in copied and seed not in untouched]

    def repeated(self) -> dict[str, tuple[str, list[int]]]:
        """Conditions that are another's runs for some seeds: whose, and which seeds."""
        found: dict[str, tuple[str, list[int]]] = {}
        for run in self.runs:
            if run.same_run_as is not None:
                found.setdefault(run.condition, (run.same_run_as, []))[1].append(run.seed)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Runs and summary as plain data."""
        runs = [self._run(run) for run in self.runs]
        failed = {"failed": [failure.to_dict() for failure in self.failures]} if self.failures else {}
        return {"trained_on": self._trained_on(), "runs": runs, **failed, "summary": self.summary()}

    def curves(self) -> dict[str, Any]:
        """Metrics along every run that has kept them, by seed and condition; those of another's run stand there."""
        kept = (run for run in self.runs if run.curve is not None and run.same_run_as is None)
        return {f"{run.seed}-{run.condition}": asdict(run)["curve"] for run in kept}

    def _trained_on(self) -> list[dict[str, Any]]:
        """Versions and machines, each with its runs: an experiment may go on elsewhere, or after an update."""
        found: list[dict[str, Any]] = []
        for run in self.runs:
            entry = next((entry for entry in found if entry == {**run.trained_on, "runs": entry["runs"]}), None)
            if entry is None:
                found.append(entry := {**run.trained_on, "runs": []})
            entry["runs"].append(f"{run.seed}-{run.condition}")
        return found

    def summary(self) -> dict[str, Any]:
        """Means over seeds by condition, and the subject's paired differences from every control."""
        return {
            "num_seeds": len(self.seeds),
            "conditions": {
                condition.name: {
                    "summary": condition.summary,
                    **{metric: _plain(self.spread(condition.name, metric)) for metric in self.metrics},
                }
                for condition in self.design.conditions
            },
            f"{self.design.subject}_minus": {
                control.name: {metric: _plain(self.difference(control.name, metric)) for metric in self.metrics[:2]}
                for control in self.design.controls
            },
            **self._noise(),
        }

    def _noise(self) -> dict[str, Any]:
        """What a placebo says, by metric: its paired differences, and the size up to which means are level."""
        placebo, number = self.design.placebo, len(self.seeds)
        if placebo is None:
            return {}
        floors = {metric: self.noise_floor(metric) for metric in self.metrics[:2]}
        return {
            f"{placebo.name}_minus_{placebo.copies}": {
                metric: _plain(self.placebo_difference(metric)) for metric in floors
            },
            "noise_floor": {
                metric: None if floor is None else {**asdict(floor), "of_mean": floor.of_mean(number)}
                for metric, floor in floors.items()
            },
        }

    def _run(self, run: RunRecord) -> dict[str, Any]:
        metrics = {name: value for name, value in run.to_dict().items() if name not in ("trained_on", "curve")}
        return {**metrics, "compute": self.by_seed(run.condition, "compute").get(run.seed)}


def _plain(value: Spread | PairedDifference | None) -> dict[str, Any] | None:
    return None if value is None else value.to_dict()
