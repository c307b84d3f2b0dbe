"""What a run has found, as plain data: counts, trials, controls, the best, the Pareto front, failures, the verdict.

Computed from the study database alone (and, for trials that run, their last sample). Drawing is done by
`autogrow.report.terminal` and `autogrow.report.html`.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from autogrow.data.catalogue import Task
from autogrow.policy.presets import CONTROLS, STATIC
from autogrow.report.formats import accuracy_name, policy_line
from autogrow.report.snapshot import Snapshot, read_snapshot
from autogrow.report.timeline import GrowthTimeline, read_timeline
from autogrow.report.verdict import Verdict, judge
from autogrow.study.choosing import PREFERENCES, best_trial, pareto_front
from autogrow.study.run_folder import RunFolder
from autogrow.study.study_database import SEARCHED

FORMAT = "autogrow-report/1"
SUPERSEDED = "superseded"
"""State of a trial that was interrupted and lives on as another one, which resumes it."""
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class TrialRow:
    """One trial. `metrics` are those it ended with; of a running trial, those of its last sample."""

    number: int
    root: int
    """The trial whose folder holds the records: its own number unless it resumes another."""
    role: str
    state: str
    metrics: dict[str, Any]
    policy: str
    """In one line; empty for a trial that waits."""
    training_differences: dict[str, Any]
    """Training settings in which the trial differs from the run's own."""
    reason: str | None


@dataclass(frozen=True)
class Failure:
    """Trials that failed for the same reason, numbers in it apart."""

    reason: str
    count: int
    trials: tuple[int, ...]


@dataclass(frozen=True)
class RunSummary:
    """A run at one moment."""

    name: str
    dataset: str
    model: str
    task: Task
    objectives: tuple[str, ...]
    settings: dict[str, Any]
    """The settings that a reader needs to judge the results."""
    versions: dict[str, str]
    is_running: bool
    """Whether a search works on it at this moment."""
    counts: dict[str, int]
    """Trials per state; together all that were ever proposed."""
    verdict: Verdict
    best: dict[str, TrialRow | None]
    """The best grown trial per preference."""
    best_timeline: GrowthTimeline | None
    """How the most accurate grown trial grew."""
    controls: dict[str, TrialRow | None]
    front: tuple[int, ...]
    """The Pareto front, best accuracy first."""
    failures: tuple[Failure, ...]
    trials: tuple[TrialRow, ...]

    @property
    def accuracy_name(self) -> str:
        """What the task's accuracy is called: accuracy, or R² for regression."""
        return accuracy_name(self.task)

    def trial(self, number: int) -> TrialRow:
        """The row of a trial. Raises `KeyError` when there is none of that number."""
        for row in self.trials:
            if row.number == number:
                return row
        raise KeyError(number)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {"format": FORMAT, **asdict(self)}


def summarize(run: RunFolder) -> RunSummary:
    """Read a run and sum it up. Raises `RunFolderError` when there is none, or it cannot be read."""
    return summarize_snapshot(read_snapshot(run))


def summarize_snapshot(snapshot: Snapshot) -> RunSummary:
    """Sum up a run that has been read already."""
    settings, objectives, trials = snapshot.settings, snapshot.objectives, snapshot.trials
    superseded = {trial.user_attrs["resume_of"] for trial in trials if "resume_of" in trial.user_attrs}
    rows = tuple(_row(trial, snapshot, trial.number in superseded) for trial in trials)
    by_number = {row.number: row for row in rows}
    best: dict[str, TrialRow | None] = {}
    for preference in PREFERENCES:
        trial = best_trial(trials, objectives, preference)
        best[preference] = by_number[trial.number] if trial is not None else None
    controls = {role: _control(rows, role) for role in CONTROLS}
    finished = [row for row in rows if row.state == "complete"]
    front = pareto_front(trials, objectives)
    most_accurate = best["accuracy"]
    return RunSummary(
        name=snapshot.run.name,
        dataset=settings.dataset,
        model=settings.model,
        task=snapshot.task,
        objectives=settings.objectives,
        settings=_settings_of_note(snapshot),
        versions=snapshot.versions,
        is_running=snapshot.is_running,
        counts=_counts(rows),
        verdict=judge(finished, most_accurate, controls[STATIC], snapshot.task, settings.seed),
        best=best,
        best_timeline=read_timeline(snapshot.run.trial(most_accurate.root)) if most_accurate is not None else None,
        controls=controls,
        front=tuple(trial.number for trial in sorted(front, key=_worst_accuracy_last)),
        failures=_failures(rows),
        trials=rows,
    )


def _row(trial: FrozenTrial, snapshot: Snapshot, superseded: bool) -> TrialRow:
    attributes = trial.user_attrs
    root = attributes.get("root", trial.number)
    base = snapshot.settings.training.model_dump()
    training = attributes.get("training", base)
    differences = {name: value for name, value in training.items() if value != base.get(name)}
    metrics = attributes.get("metrics", {})
    if trial.state == TrialState.RUNNING:
        metrics = _metrics_so_far(snapshot.run, root, training)
    return TrialRow(
        number=trial.number,
        root=root,
        role=attributes.get("role", SEARCHED),
        state=SUPERSEDED if superseded else _STATES[trial.state],
        metrics=dict(metrics),
        policy=policy_line(attributes["policy"], differences) if "policy" in attributes else "",
        training_differences=differences,
        reason=attributes.get("reason"),
    )


def _metrics_so_far(run: RunFolder, root: int, training: Mapping[str, Any]) -> dict[str, Any]:
    folder = run.trial(root)
    samples = folder.samples()
    if not samples:
        return {}
    last = samples[-1]
    return {
        "validation_accuracy": last.validation_accuracy,
        "generalization_gap": last.generalization_gap,
        "train_seconds": last.train_seconds,
        "training_flops": last.training_flops,
        "parameters": last.parameters,
        "num_events": len(folder.events()),
        "progress": last.epoch / training["epochs"],
    }


def _control(rows: Sequence[TrialRow], role: str) -> TrialRow | None:
    """The trial that plays a control's role now: of those that resume each other, the last."""
    candidates = [row for row in rows if row.role == role and row.state != SUPERSEDED]
    return candidates[-1] if candidates else None


def _counts(rows: Sequence[TrialRow]) -> dict[str, int]:
    found = Counter(row.state for row in rows)
    return {state: found[state] for state in (*_STATES.values(), SUPERSEDED)}


def _failures(rows: Sequence[TrialRow]) -> tuple[Failure, ...]:
    """Reasons, the commonest first. Those that differ only in numbers (a step, a loss) are the same."""
    groups: dict[str, list[TrialRow]] = {}
    for row in rows:
        if row.state == "failed":
            key = re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?|\bnan\b|\binf\b", "#", row.reason or "unknown")
            groups.setdefault(key, []).append(row)
    failures = [
        Failure(group[0].reason or "unknown", len(group), tuple(row.number for row in group))
        for group in groups.values()
    ]
    return tuple(sorted(failures, key=lambda failure: -failure.count))


def _settings_of_note(snapshot: Snapshot) -> dict[str, Any]:
    settings = snapshot.settings
    training = settings.training
    return {
        "trials": settings.trials,
        "time_budget_seconds": settings.time_budget_seconds,
        "seed": settings.seed,
        "fingerprint": settings.fingerprint,
        "train_size": settings.train_size,
        "model_options": settings.model_options,
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "optimizer": training.optimizer,
        "learning_rate": training.learning_rate,
        "learning_rate_schedule": training.learning_rate_schedule,
        "weight_decay": training.weight_decay,
        "gpus_per_trial": settings.gpus_per_trial,
        "cpus_per_trial": settings.cpus_per_trial,
    }


def _worst_accuracy_last(trial: FrozenTrial) -> tuple[float, float]:
    metrics = trial.user_attrs["metrics"]
    return -metrics["validation_accuracy"], metrics["train_seconds"]
