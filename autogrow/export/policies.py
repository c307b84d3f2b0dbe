"""From a finished study to a policy file."""

from pathlib import Path

from autogrow.errors import UsageError
from autogrow.metrics.objectives import KNEE, preferred, tolerance_of
from autogrow.outputs import check_output
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.choosing import best_trial, need_candidate, policy_of, trial_by_number
from autogrow.study.run_folder import RunFolder
from autogrow.study.study_database import StudyDatabase
from autogrow.tasks import TASKS


def export_policy(run: RunFolder, *, trial: int | None = None, prefer: str | None = None) -> GrowthPolicy:
    """The policy of one trial, with where it was found: by number, or by preference (what its task prefers, if none).

    Raises `UsageError` when both are given, the trial has no result or there is no such preference, `RunFolderError`
    when no trial has finished.
    """
    if trial is not None and prefer is not None:
        raise UsageError(f"--trial {trial} and --prefer {prefer} both choose the trial: give one of them")
    settings = run.settings()
    objectives = settings.chosen_objectives
    trials = StudyDatabase.open(run.study_location(), objectives).trials()
    if trial is None and prefer is not None and prefer != KNEE and tolerance_of(prefer) is None:
        preferred(prefer, TASKS[settings.task].score)
    chosen = (
        trial_by_number(trials, trial)
        if trial is not None
        else best_trial(trials, objectives, prefer or TASKS[settings.task].preference)
    )
    return policy_of(need_candidate(chosen, run), run, settings, trials)


def save_policy(policy: GrowthPolicy, path: Path, *, overwrite: bool) -> None:
    """Write a policy file. Raises `UsageError` where a file stands already, unless it may be overwritten."""
    check_output(path, lambda _: overwrite, "choose another --to, or add --overwrite")
    policy.save(path)
