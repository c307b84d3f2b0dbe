"""From a finished study to a policy file."""

from pathlib import Path

from autogrow.errors import UsageError
from autogrow.outputs import check_output
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.choosing import best_trial, need_candidate, policy_of, trial_by_number
from autogrow.study.objectives import OBJECTIVES
from autogrow.study.run_folder import RunFolder
from autogrow.study.study_database import StudyDatabase


def export_policy(run: RunFolder, *, trial: int | None = None, prefer: str | None = None) -> GrowthPolicy:
    """The policy of one trial, by number or by preference (accuracy unless told otherwise), with where it was found.

    Raises `UsageError` when both are given or the trial has no result, `RunFolderError` when no trial has finished.
    """
    if trial is not None and prefer is not None:
        raise UsageError(f"--trial {trial} and --prefer {prefer} both choose the trial: give one of them")
    settings = run.settings()
    objectives = tuple(OBJECTIVES[name] for name in settings.objectives)
    trials = StudyDatabase.open(run.study_location(), objectives).trials()
    chosen = (
        trial_by_number(trials, trial) if trial is not None else best_trial(trials, objectives, prefer or "accuracy")
    )
    return policy_of(need_candidate(chosen, run), run, settings)


def save_policy(policy: GrowthPolicy, path: Path, *, overwrite: bool) -> None:
    """Write a policy file. Raises `UsageError` where a file stands already, unless it may be overwritten."""
    check_output(path, lambda _: overwrite, "choose another --to, or add --overwrite")
    policy.save(path)
