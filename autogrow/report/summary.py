"""What a run has found, as plain data: counts, trials, controls, the best, the Pareto front, failures, the verdict.

Computed from the study database alone (and, for trials that did not finish, their samples). Drawing is done by
`autogrow.report.terminal` and `autogrow.report.html`.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from autogrow.metrics.metric import BITS_PER_BYTE, LOSS, SCORE, Metric, metrics_of
from autogrow.metrics.objectives import SCORE_OF_ANY_TASK, Objective, objective_of
from autogrow.metrics.scores import Score
from autogrow.policy.presets import CONTROLS, STATIC
from autogrow.report.confirmed import confirmed_verdict
from autogrow.report.formats import policy_line
from autogrow.report.judging import Yardstick
from autogrow.report.over_seeds import OverSeeds, read_over_seeds
from autogrow.report.search_progress import SearchProgress, search_progress
from autogrow.report.snapshot import Snapshot, read_snapshot
from autogrow.report.spending import Saving, Spending, remaining_flops, total_saving, total_spending
from autogrow.report.timeline import GrowthTimeline, read_timeline
from autogrow.report.verdict import Verdict, judge
from autogrow.study.choosing import best_trial, is_feasible, measured_preferences, pareto_front
from autogrow.study.constraints import constraints_of
from autogrow.study.run_folder import RunFolder
from autogrow.study.trial_record import TrialRecord, is_by_confirm, superseded
from autogrow.tasks import TASKS, Task
from autogrow.tasks.text import bits_per_byte

FORMAT = "autogrow-report/2"
SUPERSEDED = "superseded"
"""State of a trial that was interrupted and lives on as another one, which resumes it."""
COMPLETE, INFEASIBLE, PRUNED, FAILED = "complete", "infeasible", "pruned", "failed"
_STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


STATE_MEANINGS = {
    PRUNED: "stopped early, because it was behind others at equal cost",
    INFEASIBLE: "trained to its end, and breaks a limit",
    SUPERSEDED: "interrupted, and resumed as another trial",
}
"""What states mean that do not say it themselves."""


@dataclass(frozen=True)
class TrialRow:
    """One trial. `metrics` are those it ended with; of one that runs or failed, those of its last sample."""

    number: int
    root: int
    """The trial whose folder holds the records: its own number unless it resumes another."""
    role: str
    state: str
    """complete, infeasible (finished, but a constraint is broken), pruned (stopped early), failed, running, waiting, or
    superseded."""
    metrics: dict[str, Any]
    policy: str
    """In one line; empty for a trial that waits."""
    training_differences: dict[str, Any]
    """Training settings in which the trial differs from the run's own."""
    reason: str | None
    """Why it failed or is infeasible."""
    seed: int | None = None
    """Of its weights and batches; None in a run of before, whose trials all had the run's."""
    replicate_of: int | None = None
    """The trial that tried the same policy first; None for that itself."""
    by_confirm: bool = False
    """Whether it is another seed that `autogrow confirm` has trained; no search has spent anything on it."""
    num_seeds: int = 1
    """Seeds of which `metrics` are the means."""

    @property
    def has_finished(self) -> bool:
        """Whether it was trained to its end; a trial that was added by hand has no metrics, and was not."""
        return self.state in (COMPLETE, INFEASIBLE) and self.metrics.keys() >= _MEASURED_AT_THE_END


_MEASURED_AT_THE_END = {"validation_score", "generalization_gap", "train_seconds", "parameters", "num_events"}
"""What every finished trial has measured."""


@dataclass(frozen=True)
class Failure:
    """Trials that failed, or are infeasible, for the same reason, numbers in it apart."""

    state: str
    reason: str
    count: int
    trials: tuple[int, ...]


@dataclass(frozen=True)
class RunSummary:
    """A run at one moment."""

    name: str
    dataset: str
    model: str
    task: str
    objectives: tuple[str, ...]
    settings: dict[str, Any]
    """The settings that a reader needs to judge the results."""
    chance: str
    """What a network has that looks at no input, in words; empty in a run of before, which did not say."""
    versions: dict[str, str]
    is_running: bool
    """Whether a search works on it at this moment."""
    counts: dict[str, int]
    """Trials per state; together all that were ever proposed, without those that `autogrow confirm` has added."""
    verdict: Verdict
    """What can be said of growing: by the run's confirmation where there is one that has ended, else by the search."""
    search_verdict: Verdict
    """What the search itself says: where `verdict` is a confirmation's, by its own trials alone."""
    best: dict[str, TrialRow | None]
    """The best grown trial per preference that can be answered; the score, by its own name, always can."""
    best_timeline: GrowthTimeline | None
    """How the most accurate grown trial grew."""
    controls: dict[str, TrialRow | None]
    front: tuple[int, ...]
    """The Pareto front, best accuracy first."""
    failures: tuple[Failure, ...]
    spending: Spending
    saving: Saving | None
    """By stopping trials early; None where none was stopped, or nothing is known of them."""
    progress: SearchProgress | None
    """None where it was not asked for."""
    over_seeds: OverSeeds | None
    """None where no policy was trained on several seeds."""
    trials: tuple[TrialRow, ...]

    @property
    def score(self) -> Score:
        """How the task's score is called and written: accuracy, or R² for regression."""
        return TASKS[self.task].score

    @property
    def judged_by(self) -> Metric:
        """What tells trials apart in figures and on the way: the score, where the task prefers its loss the loss."""
        return (SCORE if TASKS[self.task].prefers_score else LOSS).of(self.score)

    @property
    def preferred_trial(self) -> TrialRow | None:
        """The grown trial that is best by what its task prefers: the score, of text the loss."""
        return self.best[_preferred_name(TASKS[self.task])]

    @property
    def metrics(self) -> dict[str, Metric]:
        """What tables can show of a trial by name, in the order of columns: the objectives that others added last."""
        return {**metrics_of(self.score), **{each.metric.name: each.metric for each in self.chosen_objectives}}

    @property
    def num_by_confirm(self) -> int:
        """Other seeds that `autogrow confirm` has trained."""
        return sum(row.by_confirm for row in self.trials)

    @property
    def legend(self) -> str:
        """What the states mean in which there are trials; empty where all say it themselves."""
        said = [f"{state}: {meaning}" for state, meaning in STATE_MEANINGS.items() if self.counts[state]]
        return "; ".join(said) + "." if said else ""

    @property
    def chosen_objectives(self) -> tuple[Objective, ...]:
        """What was optimized, in the order in which it was given."""
        return tuple(objective_of(name, self.score) for name in self.objectives)

    def trial(self, number: int) -> TrialRow:
        """The row of a trial. Raises `KeyError` when there is none of that number."""
        for row in self.trials:
            if row.number == number:
                return row
        raise KeyError(number)

    def policy(self, number: int) -> TrialRow:
        """The row of the trial that first tried a policy, with means over its seeds where there are several."""
        return _over_seeds(self.trial(number), self.over_seeds)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {"format": FORMAT, **asdict(self)}


def summarize(run: RunFolder, *, with_progress: bool = True) -> RunSummary:
    """Read a run and sum it up. Raises `RunFolderError` when there is none, or it cannot be read."""
    return summarize_snapshot(read_snapshot(run), with_progress=with_progress)


def _preferred_name(task: Task) -> str:
    """The name that the best trial by what a task prefers goes by."""
    return task.score.name if task.preference == SCORE_OF_ANY_TASK else task.preference


def summarize_snapshot(snapshot: Snapshot, *, with_progress: bool = True) -> RunSummary:
    """Sum up a run that has been read already; its progress takes seconds where objectives and trials are many."""
    settings, objectives, trials = snapshot.settings, snapshot.objectives, snapshot.trials
    lived_on = superseded(trials)
    rows = tuple(_row(trial, snapshot, trial.number in lived_on) for trial in trials)
    by_number = {row.number: row for row in rows}
    best: dict[str, TrialRow | None] = {}
    for preference in measured_preferences(trials):
        trial = best_trial(trials, objectives, preference)
        name = TASKS[snapshot.task].score.name if preference == SCORE_OF_ANY_TASK else preference
        best[name] = by_number[trial.number] if trial is not None else None
    controls = {role: _control(rows, role) for role in CONTROLS}
    finished = [row for row in rows if row.state == COMPLETE and row.has_finished and row.replicate_of is None]
    front = pareto_front(trials, objectives)
    task = TASKS[snapshot.task]
    preferred = _preferred_name(task)
    best = {name: best[name] for name in sorted(best, key=lambda name: name != preferred)}
    preferred_trial = best[preferred]
    yardstick = Yardstick(
        snapshot.task, task.preference, settings.num_validation, settings.chance_level, settings.bytes_per_token
    )
    chosen = None if preferred_trial is None else preferred_trial.number
    over_seeds = read_over_seeds(trials, objectives, chosen, yardstick)
    confirmed = confirmed_verdict(snapshot)
    judged_by, judged = over_seeds, preferred_trial
    if confirmed is not None:  # which says what its seeds say
        own = [trial for trial in trials if not is_by_confirm(trial)]
        best_of_own = best_trial(own, objectives, task.preference)
        judged = None if best_of_own is None else by_number[best_of_own.number]
        judged_by = read_over_seeds(own, objectives, None if judged is None else judged.number, yardstick)
    searched = judge(finished, judged, controls[STATIC], yardstick, settings.seed, snapshot.run.place, judged_by)
    return RunSummary(
        name=snapshot.run.name,
        dataset=settings.dataset,
        model=settings.model,
        task=snapshot.task,
        objectives=settings.objectives,
        settings=_settings_of_note(snapshot),
        chance=yardstick.chance_if_known,
        versions=snapshot.versions,
        is_running=snapshot.is_running,
        counts=_counts(rows),
        verdict=confirmed or searched,
        search_verdict=searched,
        best={name: row and _over_seeds(row, over_seeds) for name, row in best.items()},
        best_timeline=read_timeline(snapshot.run.trial(preferred_trial.root)) if preferred_trial is not None else None,
        controls={role: row and _over_seeds(row, over_seeds) for role, row in controls.items()},
        front=tuple(trial.number for trial in sorted(front, key=_worst_score_last)),
        failures=_failures(rows),
        spending=total_spending(row.metrics for row in rows if row.state != SUPERSEDED and not row.by_confirm),
        saving=_saving(trials, rows, snapshot.run),
        progress=search_progress(trials, objectives) if with_progress else None,
        over_seeds=over_seeds,
        trials=rows,
    )


def status_content(summary: RunSummary) -> dict[str, Any]:
    """What `autogrow status` says besides counts, as plain data: what runs, the best per objective, what it took."""
    front = [summary.policy(number) for number in summary.front]
    best: dict[str, Any] = {}
    for objective in summary.chosen_objectives:
        values = {row.number: objective.value(row.metrics) or 0.0 for row in front}
        number = max(values, key=lambda trial: objective.sign * values[trial], default=None)
        best[objective.name] = None if number is None else {"trial": number, "value": values[number]}
    return {
        "running": [row.number for row in summary.trials if row.state == _STATES[TrialState.RUNNING]],
        "best": best,
        "spending": asdict(summary.spending),
        "saving": asdict(summary.saving) if summary.saving is not None else None,
    }


def _row(trial: FrozenTrial, snapshot: Snapshot, lives_on: bool) -> TrialRow:
    record = TrialRecord(trial)
    base = snapshot.settings.training.model_dump()
    training = base if record.training is None else record.training
    differences = {name: value for name, value in training.items() if value != base.get(name)}
    metrics = record.metrics
    if trial.state in (TrialState.RUNNING, TrialState.FAIL) and not lives_on:
        metrics = _metrics_so_far(snapshot.run, record.root, training)
    state = SUPERSEDED if lives_on else _STATES[trial.state]
    if state == COMPLETE and not is_feasible(trial):
        state = INFEASIBLE
    return TrialRow(
        number=trial.number,
        root=record.root,
        role=record.role,
        state=state,
        metrics=_with_bits_per_byte(metrics, snapshot.settings.bytes_per_token),
        policy="" if record.policy is None else policy_line(record.policy, differences),
        training_differences=differences,
        reason=record.reason or (_broken_constraints(trial) if state == INFEASIBLE else None),
        seed=record.seed,
        replicate_of=record.replicate_of,
        by_confirm=record.is_by_confirm,
    )


def _over_seeds(row: TrialRow, over_seeds: OverSeeds | None) -> TrialRow:
    """The row of a policy's first trial with what its seeds say on average, where there are several."""
    policies = () if over_seeds is None else over_seeds.policies
    for policy in policies:
        if policy.trial == row.number:
            return replace(row, metrics={**row.metrics, **policy.means}, num_seeds=policy.num_seeds)
    return row


def _with_bits_per_byte(metrics: dict[str, Any], bytes_per_token: float | None) -> dict[str, Any]:
    """The metrics of a trial on text, its loss told per byte, too."""
    loss = LOSS.value(metrics)
    if loss is None or bytes_per_token is None:
        return metrics
    return {**metrics, BITS_PER_BYTE.name: bits_per_byte(loss, bytes_per_token)}


def _broken_constraints(trial: FrozenTrial) -> str:
    """The constraints that the trial breaks, with the amount by which it does."""
    broken = {name: value for name, value in constraints_of(trial).items() if value > 0}
    return "; ".join(f"constraint {name} exceeded by {value:.4g}" for name, value in sorted(broken.items()))


def _metrics_so_far(run: RunFolder, root: int, training: Mapping[str, Any]) -> dict[str, Any]:
    folder = run.trial(root)
    samples = folder.samples()
    if not samples:
        return {}
    last = samples[-1]
    return {
        "validation_score": last.validation_score,
        "generalization_gap": last.generalization_gap,
        "train_seconds": last.train_seconds,
        "training_flops": last.training_flops,
        "parameters": last.parameters,
        "num_events": len(folder.events()),
        "progress": last.epoch / training["epochs"] if last.progress is None else last.progress,
    }


def _control(rows: Sequence[TrialRow], role: str) -> TrialRow | None:
    """The trial that plays a control's role now: of those that resume each other, the last."""
    own = [row for row in rows if row.role == role and row.state != SUPERSEDED and row.replicate_of is None]
    return own[-1] if own else None


def _counts(rows: Sequence[TrialRow]) -> dict[str, int]:
    found = Counter(row.state for row in rows if not row.by_confirm)
    return {state: found[state] for state in (COMPLETE, INFEASIBLE, *list(_STATES.values())[1:], SUPERSEDED)}


def _failures(rows: Sequence[TrialRow]) -> tuple[Failure, ...]:
    """Reasons, the commonest first. Those that differ only in numbers (a step, a loss) are the same."""
    groups: dict[tuple[str, str], list[TrialRow]] = {}
    for row in rows:
        if row.state in (FAILED, INFEASIBLE):
            reason = re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?|\bnan\b|\binf\b", "#", row.reason or "unknown")
            groups.setdefault((row.state, reason), []).append(row)
    failures = [
        Failure(group[0].state, group[0].reason or "unknown", len(group), tuple(row.number for row in group))
        for group in groups.values()
    ]
    return tuple(sorted(failures, key=lambda failure: -failure.count))


def _saving(trials: Sequence[FrozenTrial], rows: Sequence[TrialRow], run: RunFolder) -> Saving | None:
    """What stopping saved, by the records of the stopped trials."""
    found = []
    for trial, row in zip(trials, rows, strict=True):
        training = TrialRecord(trial).training
        if row.state == PRUNED and training is not None:
            folder = run.trial(row.root)
            samples = folder.samples()
            left = remaining_flops(samples, folder.events(), training["epochs"])
            found.append((samples[-1].training_flops if samples else 0.0, left))
    return total_saving(found)


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


def _worst_score_last(trial: FrozenTrial) -> tuple[float, float]:
    metrics = TrialRecord(trial).metrics
    return -metrics.get("validation_score", -math.inf), metrics.get("train_seconds", math.inf)
