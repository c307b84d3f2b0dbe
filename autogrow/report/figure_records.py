"""The small records that figures are drawn from: points, curves, importances, slices, spans. No plotly here."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from autogrow.metrics.objectives import OBJECTIVES, Objective
from autogrow.policy.presets import CONTROLS
from autogrow.report.snapshot import Snapshot
from autogrow.report.summary import COMPLETE, SUPERSEDED, RunSummary, TrialRow
from autogrow.study.candidates import Candidates
from autogrow.study.trial_record import TrialRecord, is_by_confirm, is_replicate

FEWEST_FOR_IMPORTANCES = 8
"""Complete searched trials below which an importance would be noise with a number on it."""
MOST_FOR_IMPORTANCES = 1000
"""Of more trials only the newest are looked at, which keeps a report of a huge study quick."""
BEST_SHARE = 0.25
"""Importances tell the best quarter from the rest; Optuna's tenth would be two trials of twenty."""
MAX_CURVES = 60
"""Curves of each kind in one figure."""


@dataclass(frozen=True)
class TrialPoint:
    """A finished trial in the plane of train seconds and of what trials are judged by."""

    trial: int
    kind: str
    """static, default, thesis; else front or grown."""
    on_front: bool
    train_seconds: float
    value: float
    """Of the metric that trials are judged by."""
    gap: float
    policy: str
    standard_error: float | None = None
    """Of the value, where policies were trained on several seeds."""


@dataclass(frozen=True)
class Curve:
    """What trials are judged by, of one of them, over its cumulative training FLOPs."""

    trial: int
    kind: str
    """best, static, default, thesis, front or pruned."""
    flops: tuple[float, ...]
    values: tuple[float, ...]
    event_flops: tuple[float, ...]
    event_values: tuple[float, ...]
    replicate_of: int | None = None
    """The trial of the same policy that has the colour and the name, where this is another seed of it."""


@dataclass(frozen=True)
class Importances:
    """How much each parameter decides whether a trial is among the best in one objective; they sum to 1."""

    objective: str
    shares: dict[str, float]


@dataclass(frozen=True)
class Slice:
    """One searched parameter against what the trials that had it have reached."""

    parameter: str
    is_log: bool
    trials: tuple[int, ...]
    values: tuple[float | str, ...]
    reached: tuple[float, ...]
    """Of the metric that trials are judged by."""
    complete: tuple[bool, ...]
    """False for trials that were pruned, whose value is the last one."""


@dataclass(frozen=True)
class Span:
    """When a trial ran, in seconds since the first one started."""

    trial: int
    role: str
    state: str
    start_seconds: float
    seconds: float


def trial_points(summary: RunSummary) -> tuple[TrialPoint, ...]:
    """The feasible finished policies, and the finished controls whether they are feasible or not: means over seeds."""
    front = set(summary.front)
    policies = [summary.policy(row.number) for row in summary.trials if row.replicate_of is None]
    over_seeds = () if summary.over_seeds is None else summary.over_seeds.policies
    errors = {each.trial: each.standard_errors.get(summary.judged_by.name) for each in over_seeds}
    return tuple(
        TrialPoint(
            trial=row.number,
            kind=row.role if row.role in CONTROLS else "front" if row.number in front else "grown",
            on_front=row.number in front,
            train_seconds=row.metrics["train_seconds"],
            value=row.metrics[summary.judged_by.name],
            gap=row.metrics["generalization_gap"],
            policy=row.policy,
            standard_error=errors.get(row.number),
        )
        for row in policies
        if row.has_finished and (row.state == COMPLETE or row.role in CONTROLS)
    )


def curves_of(snapshot: Snapshot, summary: RunSummary) -> tuple[Curve, ...]:
    """Curves of pruned trials first, then the front, the controls and the best, so that the best is drawn on top.

    Beside those of the controls and the best are their other seeds.
    """
    best = summary.preferred_trial
    controls = {role: row for role, row in summary.controls.items() if row is not None and row != best}
    named = {row.number for row in [*controls.values(), *([best] if best is not None else [])]}
    front = [summary.policy(number) for number in summary.front if number not in named]
    pruned = [row for row in summary.trials if row.state == "pruned" and row.number not in named]
    chosen = [("pruned", row) for row in pruned[-MAX_CURVES:]]
    chosen += [("front", row) for row in front[:MAX_CURVES]]
    shown = [*controls.items(), *([("best", best)] if best is not None else [])]
    again = {row.number: row for row in summary.trials if row.replicate_of is not None and row.has_finished}
    for kind, row in shown:
        chosen += [(kind, other) for other in again.values() if other.replicate_of == row.root]
        chosen.append((kind, row))
    curves = [_curve(snapshot, kind, row, summary.judged_by.name) for kind, row in chosen]
    return tuple(curve for curve in curves if curve.flops)


def _curve(snapshot: Snapshot, kind: str, row: TrialRow, metric: str) -> Curve:
    folder = snapshot.run.trial(row.root)
    samples = [sample for sample in folder.samples() if getattr(sample, metric) is not None]
    at_event = {event.sample for event in folder.events()}
    events = [sample for sample in samples if sample.index in at_event]
    return Curve(
        trial=row.number,
        kind=kind,
        flops=tuple(sample.training_flops for sample in samples),
        values=tuple(getattr(sample, metric) for sample in samples),
        event_flops=tuple(sample.training_flops for sample in events),
        event_values=tuple(getattr(sample, metric) for sample in events),
        replicate_of=row.replicate_of,
    )


def importances(snapshot: Snapshot) -> tuple[tuple[Importances, ...], str]:
    """Importances for every objective (PED-ANOVA, Watanabe et al. 2023, arXiv 2304.10255), or why there are none.

    Every policy counts once: by its means over seeds, where it was trained on several.
    """
    searched = [trial for trial in _searched(snapshot.trials) if trial.state == TrialState.COMPLETE]
    if len(searched) < FEWEST_FOR_IMPORTANCES:
        return (), (
            f"Importances need {FEWEST_FOR_IMPORTANCES} complete searched trials to mean anything; this run has "
            f"{len(searched)}. Raise --trials and go on with --resume."
        )
    means = _Means(snapshot.trials)
    counted = [means.valued(trial, snapshot.objectives) for trial in searched[-MOST_FOR_IMPORTANCES:]]
    study = _study_of(counted, snapshot.objectives)
    found = []
    for index, objective in enumerate(snapshot.objectives):
        if len({trial.values[index] for trial in study.trials}) > 1:  # else Optuna gives every parameter an equal share
            shares = _shares(study, index, objective)
            named = {_shown(name, snapshot.settings.space): share for name, share in shares.items()}
            found.append(Importances(objective.metric.title, named))
    return tuple(
        found
    ), "" if found else "The trials do not differ in any objective, so no parameter explains anything."


def _shares(study: optuna.Study, index: int, objective: Objective) -> dict[str, float]:
    # Given a target, Optuna explains what makes it low, whichever way the study goes, and warns about that.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
        target = _Target(index, objective.sign)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator, target=target))


@dataclass(frozen=True)
class _Target:
    """A trial's value in one objective, low being good."""

    index: int
    sign: int

    def __call__(self, trial: FrozenTrial) -> float:
        return -self.sign * float(trial.values[self.index])


def _study_of(trials: Sequence[FrozenTrial], objectives: tuple[Objective, ...]) -> optuna.Study:
    """A study in memory with these trials: controls have no parameters, and would leave none in common."""
    study = optuna.create_study(directions=[objective.direction for objective in objectives])
    study.add_trials(trials)
    return study


def slices(snapshot: Snapshot, metric: str) -> tuple[Slice, ...]:
    """One slice per searched parameter with more than one value, in the order in which they were proposed.

    Every policy is one point: its mean over seeds, where it was trained on several.

    metric: The name of what trials are judged by.
    """
    means = _Means(snapshot.trials)
    trials = [trial for trial in _searched(snapshot.trials) if metric in TrialRecord(trial).metrics]
    trials = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    reached = {trial.number: means.reached(trial, metric) for trial in trials}
    made = [_slice(name, [trial for trial in trials if name in trial.params], reached) for name in names]
    shown = [replace(entry, parameter=_shown(entry.parameter, snapshot.settings.space)) for entry in made]
    return tuple(entry for entry in shown if len(set(entry.values)) > 1)


def _shown(parameter: str, space: Mapping[str, Any]) -> str:
    """A searched parameter's name; of one that is a share of another field, with that: policies have it multiplied."""
    policy = space.get("policy")
    field = policy.get(parameter) if isinstance(policy, Mapping) else None
    whole = field.get("of") if isinstance(field, Mapping) else None
    return f"{parameter} of {whole}" if whole else parameter


class _Means:
    """What the policies of a study have reached over the seeds that each was trained on."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        self._found = Candidates(trials)

    def reached(self, trial: FrozenTrial, metric: str) -> float:
        """A metric of the policy that a trial tried first; what that came to last where no seed has ended."""
        objective = next((each for _, each in OBJECTIVES.items() if each.metric.name == metric), None)
        mean = None if objective is None else self._mean(trial, objective)
        return float(TrialRecord(trial).metrics[metric]) if mean is None else mean

    def valued(self, trial: FrozenTrial, objectives: tuple[Objective, ...]) -> FrozenTrial:
        """The trial with the means as its values."""
        means = [self._mean(trial, objective) for objective in objectives]
        valued = copy.copy(trial)
        valued.values = [own if mean is None else mean for own, mean in zip(trial.values, means, strict=True)]
        return valued

    def _mean(self, trial: FrozenTrial, objective: Objective) -> float | None:
        candidate = self._found.of(trial)
        known = None if candidate is None else self._found.estimate(candidate, objective)
        return None if known is None else objective.sign * known.mean


def _slice(name: str, trials: Sequence[FrozenTrial], reached: Mapping[int, float]) -> Slice:
    values = [trial.params[name] for trial in trials]
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    categorical = isinstance(trials[0].distributions[name], optuna.distributions.CategoricalDistribution)
    return Slice(
        parameter=name,
        is_log=bool(getattr(trials[0].distributions[name], "log", False)),
        trials=tuple(trial.number for trial in trials),
        values=tuple(values if is_number and not categorical else map(str, values)),
        reached=tuple(reached[trial.number] for trial in trials),
        complete=tuple(trial.state == TrialState.COMPLETE for trial in trials),
    )


def spans(snapshot: Snapshot, summary: RunSummary) -> tuple[Span, ...]:
    """When each trial of a search ran; those that still run last until the newest end that is known."""
    started = [trial for trial in snapshot.trials if trial.datetime_start is not None and not is_by_confirm(trial)]
    times = [time for trial in started for time in (trial.datetime_start, trial.datetime_complete) if time is not None]
    if not times:
        return ()
    first, last = min(times), max(times)
    rows = {row.number: row for row in summary.trials}
    found = []
    for trial in started:
        begin, end = trial.datetime_start or first, trial.datetime_complete or last
        row = rows[trial.number]
        state = "interrupted" if row.state == SUPERSEDED else row.state
        found.append(
            Span(trial.number, row.role, state, (begin - first).total_seconds(), (end - begin).total_seconds())
        )
    return tuple(found)


def _searched(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """First trials of policies that have parameters: those that were proposed, and those taken over from other runs."""
    searched = [trial for trial in trials if trial.params and TrialRecord(trial).role not in CONTROLS]
    return [trial for trial in searched if not is_replicate(trial)]
