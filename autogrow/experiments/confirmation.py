"""``autogrow confirm``: the best of a search, trained again with seeds that the search did not use.

The best of many trials is in part the luckiest: all had the same seed, and a policy is chosen for what that seed made
of it. Means over other seeds say which policy is best, whether it beats the policy that a user has without any search,
and how much of what the search showed was luck. Results are read on validation data: the test split stays closed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autogrow.data.opening import open_dataset
from autogrow.errors import RunFolderError, UsageError, unknown_name
from autogrow.experiments.conditions import Condition, Design, Experiment, FixedPlan
from autogrow.experiments.confirmation_tables import Confirmed
from autogrow.experiments.folder import ExperimentFolder
from autogrow.experiments.pages import Pages, accuracy_figure
from autogrow.experiments.results import Results
from autogrow.experiments.running import OnRun, check_num_seeds, run_experiment
from autogrow.experiments.tables import markdown_page
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import DEFAULT, STATIC, default_policy, static_policy
from autogrow.study.choosing import found_by, need_candidate, policy_of, ranked
from autogrow.study.objectives import OBJECTIVES
from autogrow.study.run_folder import RunFolder
from autogrow.study.settings import SearchSettings
from autogrow.study.study_database import StudyDatabase

KIND = "confirmation"
DEFAULT_TOP, MOST_TOP = 5, 20
METRICS = {"accuracy": "validation_accuracy", "loss": "validation_loss"}
"""What a policy may be chosen by."""


@dataclass(frozen=True)
class Confirmation:
    """What came out."""

    confirmed: Confirmed
    folder: ExperimentFolder
    policy: GrowthPolicy | None
    """Of the best, with its training settings and where it comes from; None where none came through."""


@dataclass(frozen=True)
class _Found:
    """What a search has found, and is to be confirmed."""

    run: RunFolder
    settings: SearchSettings
    candidates: dict[str, GrowthPolicy]
    """Policies with training settings, by the name of their condition, the best of the search first."""
    searched: dict[str, float]
    """What the search itself read, by condition, controls included."""

    def policy(self, condition: str) -> GrowthPolicy:
        """A candidate's, or the default one as it would have to be exported."""
        if condition != DEFAULT:
            return self.candidates[condition]
        where = found_by(self.run, self.settings, role=DEFAULT)
        changes = {"training": self.settings.training, "found_by": where}
        return default_policy().within(self.settings.limits).model_copy(update=changes)


def confirm_policies(
    run: RunFolder,
    *,
    top: int = DEFAULT_TOP,
    num_seeds: int = 5,
    prefer: str = "accuracy",
    data_dir: Path | None = None,
    device: str = "cpu",
    out: Path | None = None,
    on_run: OnRun | None = None,
    interrupted: Callable[[], bool] | None = None,
    jobs: int = 1,
) -> Confirmation | None:
    """Train the `top` best policies of a run, the default policy and the static control on seeds after the run's own.

    Results go to `out`, the run's ``confirmation/`` unless told otherwise, and the best policy beside them; more
    seeds or policies may be asked of what is there. None when `interrupted` said so.

    Raises `UsageError` for numbers out of range, `RunFolderError` where no policy has finished, or the data are others.
    """
    check_num_seeds(num_seeds)
    if not 1 <= top <= MOST_TOP:
        raise UsageError(f"top is {top}, not between 1 and {MOST_TOP}")
    if prefer not in METRICS:
        raise UsageError(unknown_name("preference", prefer, METRICS))
    found = _read_run(run, top, prefer)
    experiment = _experiment(found, data_dir, device)
    folder = ExperimentFolder(out or run.path / KIND, KIND)

    def read(results: Results) -> Confirmed:
        return Confirmed(results, METRICS[prefer], found.searched)

    def pages(results: Results, heading: str) -> Pages:
        confirmed = read(results)
        page = markdown_page(heading, (confirmed.table(),), confirmed.findings())
        return Pages(page, accuracy_figure(results, heading))

    results = run_experiment(
        experiment, _design(found), num_seeds, folder=folder, on_run=on_run, interrupted=interrupted, jobs=jobs,
        pages=pages,
    )  # fmt: skip
    policy = None
    if results is not None:
        policy = _best_policy(found, read(results))
        if policy is not None:
            policy.save(folder.policy_file)
        else:
            folder.policy_file.unlink(missing_ok=True)
    run.publish()
    return None if results is None else Confirmation(read(results), folder, policy)


def _read_run(run: RunFolder, number: int, preference: str) -> _Found:
    settings, metric = run.settings(), METRICS[preference]
    objectives = tuple(OBJECTIVES[name] for name in settings.objectives)
    trials = StudyDatabase.open(run.study_location(), objectives).trials()
    chosen = [trial for trial in ranked(trials, preference) if trial.user_attrs["role"] != DEFAULT][:number]
    need_candidate(chosen[0] if chosen else None, run)
    named = {f"trial_{trial.number}": trial for trial in chosen}
    policies = {name: policy_of(trial, run, settings) for name, trial in named.items()}
    roles = {trial.user_attrs.get("role"): trial for trial in trials if trial.state.name == "COMPLETE"}
    named |= {role: roles[role] for role in (DEFAULT, STATIC) if role in roles}
    values = {name: trial.user_attrs["metrics"].get(metric) for name, trial in named.items()}
    return _Found(run, settings, policies, {name: value for name, value in values.items() if value is not None})


def _experiment(found: _Found, data_dir: Path | None, device: str) -> Experiment:
    settings = found.settings
    dataset = open_dataset(settings.dataset, data_dir or Path(settings.data_dir))
    if dataset.fingerprint != settings.fingerprint:
        raise RunFolderError(
            f"{found.run.place} was searched on data {settings.fingerprint}, {settings.dataset!r} is now "
            f"{dataset.fingerprint}: restore the data, or search again"
        )
    return Experiment(
        dataset,
        ModelSpec.from_dict({"name": settings.model, "options": settings.model_options}),
        default_policy().within(settings.limits),
        settings.training,
        train_size=settings.train_size,
        device=device,
        execution=settings.execution,
        keeps_validation_apart=True,
    )


def _design(found: _Found) -> Design:
    """The controls train with the run's training settings, candidates with those that were searched with them."""
    limits = found.settings.limits
    conditions = [
        Condition.fixed(STATIC, "static", "full size from the first step", FixedPlan(static_policy().within(limits))),
        Condition.fixed(DEFAULT, "default", "the default policy, untuned", FixedPlan(default_policy().within(limits))),
    ]
    for name, policy in found.candidates.items():
        recipe = GrowthPolicy.from_dict(policy.recipe())
        conditions.append(Condition.fixed(name, name.replace("_", " "), "", FixedPlan(recipe, None, policy.training)))
    first_seed = found.settings.seed + 1
    return Design(
        tuple(conditions), subject=DEFAULT, unit=STATIC, split="validation", first_seed=first_seed, is_open=True
    )


def _best_policy(found: _Found, confirmed: Confirmed) -> GrowthPolicy | None:
    """The best one with what the seeds said of it, beside where it comes from."""
    if (best := confirmed.best) is None:
        return None
    mean, difference = confirmed.results.spread(best, confirmed.metric), confirmed.minus_default(best)
    evidence: dict[str, Any] = {"metric": confirmed.metric, "seeds": confirmed.results.seeds}
    if mean is not None:
        evidence |= {"mean": mean.mean, "std": mean.std}
    if difference is not None:
        evidence["minus_default"] = difference.to_dict()
    policy = found.policy(best)
    return policy.model_copy(update={"found_by": {**(policy.found_by or {}), "confirmed": evidence}})
