"""``autogrow confirm``: the best of a search, trained again with seeds that the search did not use.

The best of many trials is in part the luckiest: all had the same seed, and a policy is chosen for what that seed made
of it. Means over other seeds say which policy is best, and whether it is ahead of what a user has without any search:
the default policy, and the full network, also with the training settings that were found. Results are read on the
validation data that the search chose by: the test split stays closed, and remains the judge. What is trained here
counts in the search's study, too; what is confirmed is chosen by what the search itself has read, all the same.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autogrow.data.opening import open_dataset
from autogrow.errors import RunFolderError, UsageError, unknown_name
from autogrow.experiments.conditions import Condition, Design, Experiment, FixedPlan
from autogrow.experiments.confirmation_replicates import Replicates
from autogrow.experiments.confirmation_results import TUNED, Confirmed
from autogrow.experiments.controls import FULL
from autogrow.experiments.drawing import score_pictures
from autogrow.experiments.folder import ExperimentFolder, Pages
from autogrow.experiments.results import Results
from autogrow.experiments.running import FinishedRun, OnRun, check_num_seeds, experiment_settings, run_experiment
from autogrow.experiments.tables import markdown_page
from autogrow.former_names import with_former_settings
from autogrow.metrics.objectives import Objective, measured_metrics, objective_of, preferences, preferred
from autogrow.metrics.scores import SCORES
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import DEFAULT, STATIC, control_policy, static_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.report import formats
from autogrow.report.confirmed import PAIRED, RECIPE
from autogrow.report.judging import Yardstick
from autogrow.report.verdict import judge_confirmation
from autogrow.study.candidates import Candidate, Candidates
from autogrow.study.choosing import found_by, need_candidate, policy_of, ranked
from autogrow.study.confirmed_seeds import recipe_of
from autogrow.study.run_folder import RunFolder
from autogrow.study.settings import SearchSettings
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_record import SEARCHED, TrialRecord, is_by_confirm
from autogrow.tasks import TASKS

KIND = "confirmation"
DEFAULT_TOP, MOST_TOP = 5, 20
DEFAULT_SEEDS = 5
NOT_MEASURED = {"flops", "latency_ms", "memory_bytes"}
"""Metrics of searches that nothing is chosen by here: runs do not measure them, or did not before; nor do they what
objectives measure themselves."""
SEED_LIMIT = 2**32


@dataclass(frozen=True)
class Confirmation:
    """What came out."""

    confirmed: Confirmed
    folder: ExperimentFolder
    policy: GrowthPolicy | None
    """Of the best, with its training settings and where it comes from; None where none came through."""
    note: str
    """Which runs count in the search's study, in a line."""


@dataclass(frozen=True)
class _Candidate:
    """A policy that the search tried, with its training settings."""

    number: int
    """Of its trial."""
    role: str
    policy: GrowthPolicy
    training: TrainingSettings
    searched: float
    """What the search read, with its seeds."""

    @property
    def title(self) -> str:
        return f"trial {self.number}" + ("" if self.role == SEARCHED else f" ({self.role})")

    @property
    def condition(self) -> str:
        """A name that stands for this recipe alone: results in a folder are never taken for another policy's."""
        return f"trial_{self.number}@{_digest(self.policy, self.training)}"


@dataclass(frozen=True)
class _Found:
    """What a search has found, and is to be confirmed."""

    run: RunFolder
    settings: SearchSettings
    candidates: tuple[_Candidate, ...]
    """The best of the search first."""
    controls: dict[str, float]
    """What the search read of the default policy and of the full network, as far as it has."""
    default_is_feasible: bool
    first_seed: int
    """Of the confirmation: one that the search did not use."""
    tried: dict[str, Candidate]
    """By condition, those of the study that a search has trained to their end before."""
    told: set[tuple[int, int | None]]
    """What has been confirmed of the study's candidates before: their numbers, and the seeds."""

    def policy(self, condition: str) -> GrowthPolicy:
        """A candidate's, or the default one as it would have to be exported."""
        if condition != DEFAULT:
            return next(each.policy for each in self.candidates if each.condition == condition)
        where = found_by(self.run, self.settings, role=DEFAULT)
        changes = {"training": self.settings.training, "found_by": where}
        return _default(self.settings).model_copy(update=changes)

    def read(self, results: Results, objective: Objective, yardstick: Yardstick) -> Confirmed:
        """The results, with what the search had read."""
        searched = self.controls | {each.condition: each.searched for each in self.candidates}
        names = tuple(each.condition for each in self.candidates)
        return Confirmed(results, objective, names, searched, yardstick, self.default_is_feasible)


def confirm_policies(
    run: RunFolder,
    *,
    top: int = DEFAULT_TOP,
    num_seeds: int = DEFAULT_SEEDS,
    prefer: str | None = None,
    model: str | None = None,
    data_dir: Path | None = None,
    device: str = "cpu",
    out: Path | None = None,
    on_start: Callable[[int], None] | None = None,
    on_run: OnRun | None = None,
    interrupted: Callable[[], bool] | None = None,
    jobs: int = 1,
) -> Confirmation | None:
    """Train the `top` best policies of a run, the default policy and the full network on seeds that it has not used.

    They count in the run's study as other seeds of its policies, unless several drivers share it. Results and the best
    policy go to `out`, unless told otherwise to the run's ``confirmation/``, or, where the run is at a URL, to
    ``results/confirmation/NAME`` here. More seeds or policies may be asked of what is there. `on_start` is told how
    many training runs there are in all. None when `interrupted` said so. A network of the user's own has to be named
    with `model`, as it was for the search.

    Raises `UsageError` for numbers out of range, `RunFolderError` where no policy has finished, or the data are others.
    """
    check_num_seeds(num_seeds)
    if not 1 <= top <= MOST_TOP:
        raise UsageError(f"top is {top}, not between 1 and {MOST_TOP}: give for example 5")
    objective = _objective(run, prefer)
    folder = ExperimentFolder(out or _default_place(run), KIND)
    found = _read_run(run, top, objective, folder, num_seeds)
    experiment, design = _experiment(found, model or run.model_name, data_dir, device), _design(found)
    yardstick = experiment.yardstick("validation", objective.name)
    if design.first_seed + num_seeds > SEED_LIMIT:
        raise UsageError(
            f"seeds is {num_seeds}: the run's seed is {found.settings.seed}, and the last one is 2**32 - 1"
        )
    replicates = Replicates(run, found.tried, found.told, found.settings.chosen_objectives)

    def ended(one: FinishedRun) -> None:
        replicates.finished(one)
        if on_run is not None:
            on_run(one)

    def pages(results: Results, heading: str) -> Pages:
        heading = f"{run.name} on other seeds"
        confirmed = found.read(results, objective, yardstick)
        page = markdown_page(heading, (confirmed.table(), confirmed.policies_table()), confirmed.findings())
        figures = score_pictures(results, heading)
        return Pages(page, figures, _data(found, confirmed), _best_policy(found, confirmed))

    folder.check(experiment_settings(experiment, design))
    if on_start is not None:
        on_start(num_seeds * len(design.conditions))
    results = run_experiment(
        experiment, design, num_seeds, folder=folder, on_run=ended, interrupted=interrupted, jobs=jobs, pages=pages
    )
    replicates.tell()
    if results is None:
        return None
    confirmed = found.read(results, objective, yardstick)
    return Confirmation(confirmed, folder, _best_policy(found, confirmed), replicates.note)


def _default_place(run: RunFolder) -> Path:
    """Of a run at a URL, which has no place for other experiments, it is here."""
    return run.path / KIND if run.is_here else Path("results") / KIND / run.name


def _objective(run: RunFolder, preference: str | None) -> Objective:
    """What policies are chosen by. Raises `UsageError` for what there is not, or is not measured here."""
    task = TASKS[run.settings().task]
    score, preference = task.score, preference or task.preference
    not_here = NOT_MEASURED | measured_metrics().keys()
    known = [name for name, each in preferences().items() if not not_here & {each.metric.name, *each.metric.needs}]
    if preference not in (*SCORES, *known):
        raise UsageError(unknown_name("preference", preference, (score.name, *known)))
    return objective_of(preferred(preference, score).name, score)


def _read_run(run: RunFolder, number: int, objective: Objective, folder: ExperimentFolder, num_seeds: int) -> _Found:
    settings = run.settings()
    all_trials = StudyDatabase.open(run.study_location(), settings.chosen_objectives).trials()
    everything = Candidates(all_trials)
    # What was confirmed before decides nothing here: the same command would go on with other policies.
    trials = [trial for trial in all_trials if not is_by_confirm(trial)]
    chosen = [trial for trial in ranked(trials, objective.preference) if TrialRecord(trial).role != DEFAULT][:number]
    need_candidate(chosen[0] if chosen else None, run)
    known = Candidates(trials)
    roles = {each.role: each for each in known.all if each.finished}
    names = {DEFAULT: DEFAULT, STATIC: FULL}
    controls = {name: _read(known, roles[role], objective) for role, name in names.items() if role in roles}
    candidates, again = [], _controls_tried(settings, roles)
    for trial in chosen:
        policy = policy_of(trial, run, settings, trials)
        training, tried = policy.training or settings.training, known.of(trial)
        value = None if tried is None else _read(known, tried, objective)
        candidates.append(_Candidate(trial.number, TrialRecord(trial).role, policy, training, value or 0.0))
        if tried is not None and tried.began_well:
            again[candidates[-1].condition] = tried
    return _Found(
        run,
        settings,
        tuple(candidates),
        {name: value for name, value in controls.items() if value is not None},
        DEFAULT not in roles or roles[DEFAULT].is_feasible,
        _first_seed(folder, known.seeds(settings.seed), everything.seeds(settings.seed), num_seeds),
        again,
        everything.confirmed,
    )


def _controls_tried(settings: SearchSettings, roles: Mapping[str, Candidate]) -> dict[str, Candidate]:
    """By condition, the controls of a search that are trained here as they were there."""
    policies = {FULL: (STATIC, static_policy().within(settings.limits)), DEFAULT: (DEFAULT, _default(settings))}
    found = {}
    for condition, (role, policy) in policies.items():
        tried, recipe = roles.get(role), (policy.recipe(), settings.training.model_dump())
        if tried is not None and tried.began_well and recipe_of(tried) == recipe:
            found[condition] = tried
    return found


def _first_seed(folder: ExperimentFolder, searched: set[int], trained: set[int], num_seeds: int) -> int:
    """The one that the folder was begun with; of a new confirmation, the first after all that were `trained`.

    Raises `RunFolderError` where the search has since trained on seeds that the folder is to have.
    """
    begun = folder.first_seed
    if begun is None:
        return max(trained) + 1
    if taken := sorted(searched & set(range(begun, begun + num_seeds))):
        raise RunFolderError(
            f"{folder.path} has seeds from {begun} on, and the search itself has trained on seed {taken[0]}: choose "
            "another --out"
        )
    return begun


def _read(known: Candidates, candidate: Candidate, objective: Objective) -> float | None:
    """What the search has read of a policy: one seed's value, or what is known of its mean over several."""
    estimate = known.estimate(candidate, objective)
    return None if estimate is None else objective.sign * estimate.mean


def _experiment(found: _Found, named: str | None, data_dir: Path | None, device: str) -> Experiment:
    settings = found.settings
    spec = ModelSpec.from_dict({"name": settings.model, "options": settings.model_options})
    spec = spec.named_again(named, found.run.place)
    folder = data_dir or Path(settings.data_dir)
    dataset = open_dataset(settings.dataset, folder, task=settings.task, layout=settings.layout)
    if dataset.fingerprint != settings.fingerprint:
        raise RunFolderError(
            f"{found.run.place} was searched on data {settings.fingerprint}, {settings.dataset!r} is now "
            f"{dataset.fingerprint}: restore the data, or search again"
        )
    return Experiment(
        dataset,
        spec,
        _default(settings),
        settings.training,
        train_size=settings.train_size,
        device=device,
        execution=settings.execution,
        keeps_validation_apart=True,
        standardizes_targets=settings.standardizes_targets,
    )


def _default(settings: SearchSettings) -> GrowthPolicy:
    """The default policy of a search, under its limits."""
    return control_policy(DEFAULT, 0, in_depth=settings.defaults_to_depth).within(settings.limits)


def _design(found: _Found) -> Design:
    """The controls, then the candidates; the full network once more, as the best trial trained."""
    limits, base = found.settings.limits, found.settings.training
    full, best = static_policy().within(limits), found.candidates[0]
    conditions = [Condition.fixed(FULL, "full", "full size from the first step", FixedPlan(full))]
    if tuned := _differences(best.training, base):
        name, title = f"{TUNED}@{_digest(full, best.training)}", f"full as trial {best.number}"
        summary = f"full size from the first step, with that trial's training: {_listed(tuned)}"
        conditions.append(Condition.fixed(name, title, summary, FixedPlan(full, None, best.training)))
    default = _default(found.settings)
    conditions.append(Condition.fixed(DEFAULT, "default", "the default policy, untuned", FixedPlan(default)))
    for each in found.candidates:
        recipe = GrowthPolicy.from_dict(each.policy.recipe())
        summary = formats.policy_line(recipe.recipe(), _differences(each.training, base))
        conditions.append(Condition.fixed(each.condition, each.title, summary, FixedPlan(recipe, None, each.training)))
    return Design(
        tuple(conditions),
        subject=DEFAULT,
        unit=FULL,
        split="validation",
        first_seed=found.first_seed,
        is_open=True,
    )


def _differences(training: TrainingSettings, base: TrainingSettings) -> dict[str, Any]:
    """Settings in which a trial trained otherwise than the run's own."""
    before = base.model_dump()
    return {name: value for name, value in training.model_dump().items() if value != before.get(name)}


def _listed(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name} {formats.plain(value)}" for name, value in fields.items())


def _digest(policy: GrowthPolicy, training: TrainingSettings) -> str:
    content = [policy.recipe(), with_former_settings(training.model_dump(mode="json"))]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def _best_policy(found: _Found, confirmed: Confirmed) -> GrowthPolicy | None:
    """The best one, with what the seeds said of it and where it comes from."""
    if (best := confirmed.best) is None:
        return None
    policy = found.policy(best)
    return policy.model_copy(update={"found_by": {**(policy.found_by or {}), "confirmed": confirmed.evidence()}})


def _data(found: _Found, confirmed: Confirmed) -> dict[str, Any]:
    """What the file holds besides runs and summary."""
    return {
        "run": found.run.name,
        "metric": confirmed.metric,
        "best": confirmed.best,
        "evidence": confirmed.evidence(),
        PAIRED: None if (paired := confirmed.paired()) is None else asdict(paired),
        RECIPE: None if confirmed.best is None else found.policy(confirmed.best).recipe(),
        "verdict": None if paired is None else asdict(judge_confirmation(paired)),
        "findings": confirmed.findings(),
        "in_search": dict(confirmed.searched),
        "policies": {name: found.policy(name).recipe() for name in (DEFAULT, *confirmed.candidates)},
    }
