"""One consistent reading of a run: its settings and all its trials, taken once, so that every table agrees.

Not for what the trials mean; see `autogrow.report.summary`.
"""

from dataclasses import dataclass

from optuna.trial import FrozenTrial

from autogrow.metrics.objectives import Objective
from autogrow.study.run_folder import RunFolder
from autogrow.study.settings import SearchSettings
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_record import is_surplus


@dataclass(frozen=True)
class Snapshot:
    """A run as it stood at one moment."""

    run: RunFolder
    settings: SearchSettings
    versions: dict[str, str]
    task: str
    objectives: tuple[Objective, ...]
    trials: tuple[FrozenTrial, ...]
    """All trials, oldest first, without those that drivers of a shared study gave back at once: nothing was tried."""
    is_running: bool
    """Whether a search works on it."""


def read_snapshot(run: RunFolder) -> Snapshot:
    """Read a run. Raises `RunFolderError` when there is none, or its configuration or database cannot be read."""
    settings = run.settings()
    objectives = settings.chosen_objectives
    running = run.in_use  # before the trials: a search that ends in between is shown as running, not as dead
    trials = StudyDatabase.open(run.study_location(), objectives).trials()
    versions = {str(name): str(version) for name, version in run.read_config().get("versions", {}).items()}
    counted = tuple(trial for trial in trials if not is_surplus(trial))
    return Snapshot(run, settings, versions, settings.task, objectives, counted, running)
