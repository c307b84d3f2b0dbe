"""What came out of an experiment: every run, means over seeds, and paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autogrow.data.catalogue import Task
from autogrow.experiments.conditions import Design
from autogrow.experiments.records import RunRecord
from autogrow.experiments.statistics import PairedDifference, Spread, paired_difference, spread

METRICS = (
    "test_accuracy", "test_loss", "train_accuracy", "train_loss", "train_minus_test_accuracy", "train_seconds",
    "training_flops", "compute", "steps", "parameters", "num_events",
)  # fmt: skip
COMPARED_METRICS = ("test_accuracy", "test_loss")


@dataclass(frozen=True)
class Results:
    """The finished runs of every condition over the same seeds."""

    task: Task
    design: Design
    runs: tuple[RunRecord, ...]

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    def of(self, condition: str) -> list[RunRecord]:
        """The runs of a condition, one per seed, in the order of seeds."""
        return sorted((run for run in self.runs if run.condition == condition), key=lambda run: run.seed)

    def values(self, condition: str, metric: str) -> list[float]:
        """A metric of a condition, one per seed, in the order of seeds."""
        runs = self.of(condition)
        if metric == "compute":
            units = self.of(self.design.unit)
            return [run.training_flops / unit.training_flops for run, unit in zip(runs, units, strict=True)]
        return [float(getattr(run, metric)) for run in runs]

    def spread(self, condition: str, metric: str) -> Spread:
        """Mean and standard deviation over seeds."""
        return spread(self.values(condition, metric))

    def difference(self, control: str, metric: str) -> PairedDifference:
        """The subject minus a control, paired by seed."""
        return paired_difference(self.values(self.design.subject, metric), self.values(control, metric))

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
        return {"trained_on": self._trained_on(), "runs": runs, "summary": self.summary()}

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
                    **{metric: self.spread(condition.name, metric).to_dict() for metric in METRICS},
                }
                for condition in self.design.conditions
            },
            f"{self.design.subject}_minus": {
                control.name: {metric: self.difference(control.name, metric).to_dict() for metric in COMPARED_METRICS}
                for control in self.design.controls
            },
        }

    def _run(self, run: RunRecord) -> dict[str, Any]:
        seeds: Sequence[int] = [each.seed for each in self.of(run.condition)]
        metrics = {name: value for name, value in run.to_dict().items() if name != "trained_on"}
        return {**metrics, "compute": self.values(run.condition, "compute")[seeds.index(run.seed)]}
