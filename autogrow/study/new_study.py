"""Making a study, in a file of its own or in a database where other drivers may be making the same."""

import time
from pathlib import Path

import optuna

from autogrow.errors import RunFolderError
from autogrow.metrics.objectives import Objective
from autogrow.study.study_location import SharedStudy, open_storage

EXPERIMENT = "experiment"
"""The attribute of a shared study that says what is searched, and that everything is there."""
JOIN_WAIT_SECONDS = 10.0
"""How long to wait for the driver that is making a shared study; one that died meanwhile leaves it to the next."""
JOIN_POLL_SECONDS = 0.2


def create_study(path: Path, name: str, objectives: tuple[Objective, ...]) -> None:
    """An empty study in a new file, which nobody else knows of yet."""
    storage = open_storage(path)
    directions = [objective.direction for objective in objectives]
    study = optuna.create_study(study_name=name, storage=storage, directions=directions)
    study.set_metric_names([objective.name for objective in objectives])
    storage.engine.dispose()


def join_study(location: SharedStudy, objectives: tuple[Objective, ...], experiment: str) -> optuna.Study:
    """The shared study, which the first driver to come makes and the others wait for.

    Raises:
        RunFolderError: There is a study of that name of another search, or not of autogrow.
    """
    storage = open_storage(location)
    directions = [objective.direction for objective in objectives]
    try:
        study = optuna.create_study(study_name=location.name, storage=storage, directions=directions)
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=location.name, storage=storage)
    else:
        study.set_metric_names([objective.name for objective in objectives])
        return study
    deadline = time.monotonic() + JOIN_WAIT_SECONDS
    while EXPERIMENT not in study.user_attrs and time.monotonic() < deadline:
        time.sleep(JOIN_POLL_SECONDS)
    is_ours = EXPERIMENT in study.user_attrs or all("role" in trial.user_attrs for trial in study.get_trials())
    if not is_ours:
        raise RunFolderError(f"{location} was not made by autogrow: choose another --name")
    if study.user_attrs.get(EXPERIMENT, experiment) != experiment or study.directions != directions_of(objectives):
        raise RunFolderError(
            f"{location} belongs to a search with other settings (data, model, space, objectives, training or seed): "
            "give the same ones, or choose another --name"
        )
    return study


def directions_of(objectives: tuple[Objective, ...]) -> list[optuna.study.StudyDirection]:
    """Optuna's word for whether each objective is to be larger or smaller."""
    return [optuna.study.StudyDirection[objective.direction.upper()] for objective in objectives]
