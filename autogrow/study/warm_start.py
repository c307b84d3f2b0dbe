"""What an earlier search has found, tried first in this one: the transfer of policies between data sets and models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.choosing import best_trial, measured_preferences, need_candidate, policy_of
from autogrow.study.finding_runs import find_run
from autogrow.study.study_database import StudyDatabase

TRANSFERRED = "transferred"
"""Role of a trial that tries what an earlier study has found."""
POLICY_SUFFIXES = (".yaml", ".yml")


def read_warm_start(
    sources: str | Sequence[str], space: dict[str, Any], storage: str | None = None
) -> tuple[dict[str, Any], ...]:
    """The policies that `sources` name, policy files or runs, each with where it comes from.

    Of a run, the best by every preference that it has measured are taken. Where it searched the same `space`, its
    points come with them, so that the sampler learns from how they do here.

    storage: URL of a database that the caller has named: a run's study may be there, as this one's.
    """
    found: list[dict[str, Any]] = []
    for source in each_source(sources):
        for entry in (
            _from_file(source) if Path(source).suffix in POLICY_SUFFIXES else _from_run(source, space, storage)
        ):
            if entry["policy"] not in [other["policy"] for other in found]:
                found.append(entry)
    return tuple(found)


def each_source(sources: str | Sequence[str]) -> Sequence[str]:
    """A single one may be given as it is."""
    return (sources,) if isinstance(sources, str) else sources


def _from_file(source: str) -> list[dict[str, Any]]:
    policy = GrowthPolicy.load(source)
    return [{"origin": source, "policy": policy.model_dump(mode="json", exclude={"found_by"}), "params": {}}]


def _from_run(source: str, space: dict[str, Any], storage: str | None) -> list[dict[str, Any]]:
    run = find_run(source, storage)
    settings = run.settings()
    objectives = settings.chosen_objectives
    trials = StudyDatabase.open(run.study_location(), objectives).trials()
    entries = []
    for preference in measured_preferences(trials):
        trial = need_candidate(best_trial(trials, objectives, preference), run)
        policy = policy_of(trial, run, settings).model_dump(mode="json", exclude={"found_by"})
        params = trial.params if settings.space == space else {}
        entries.append({"origin": f"{run.name}, trial {trial.number}", "policy": policy, "params": params})
    return entries
