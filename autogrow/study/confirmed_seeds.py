"""What ``autogrow confirm`` has trained, in the study of its search: as replicates of the policies that it took there.

Each is told at once whole, and as often as one likes; nothing is told while somebody searches. Not for studies that
several drivers share: no lock keeps two of them from telling the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from autogrow.files import write_text_atomically
from autogrow.study.candidates import Candidate
from autogrow.study.choosing import best_trial, policy_of
from autogrow.study.run_folder import RunFolder
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_record import TrialRecord
from autogrow.study.trial_result import EndedTrial
from autogrow.tasks import TASKS

Recipe = tuple[dict[str, Any] | None, dict[str, Any] | None]


@dataclass(frozen=True)
class ConfirmedSeed:
    """A candidate that was trained on one more seed."""

    candidate: Candidate
    """As it was known when that began."""
    seed: int
    result: EndedTrial


def recipe_of(candidate: Candidate) -> Recipe:
    """The policy that it tries and its training settings, None where nobody knows them."""
    record = TrialRecord(candidate.first)
    return record.policy, record.training


def add_seeds(run: RunFolder, seeds: Iterable[ConfirmedSeed]) -> None:
    """Have them count in the run's study, and bring its best policy up to date.

    Those of a candidate that is another by now are left out: a run may have been begun again under its name. Raises
    `RunFolderInUseError` while somebody searches, and `RunFolderError` where nothing can be written.
    """
    with run.locked():
        settings = run.settings()
        database = StudyDatabase.open(run.study_location(), settings.chosen_objectives)
        present = {each.number: each for each in database.candidates().all}
        for each in seeds:
            candidate = present.get(each.candidate.number)
            if candidate is not None and recipe_of(candidate) == recipe_of(each.candidate):
                database.add_replicate(TrialRecord(candidate.first), each.seed, each.result)
        known = database.candidates()
        best = best_trial(known, database.objectives, TASKS[settings.task].preference)
        if best is not None:
            write_text_atomically(run.policy_file, policy_of(best, run, settings, known).to_text())
        run.publish()
