"""The verdict of a run's confirmation, where ``autogrow confirm`` has written one into its folder."""

from pathlib import Path
from typing import Any

from autogrow.errors import AutogrowError, RunFolderError
from autogrow.former_names import with_present_chance, with_present_names
from autogrow.metrics.objectives import SCORE_OF_ANY_TASK
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.reading.json_files import read_json
from autogrow.reading.texts import MEBIBYTE
from autogrow.reading.typed import typed
from autogrow.report.snapshot import Snapshot
from autogrow.report.verdict import Paired, Verdict, judge_confirmation
from autogrow.study.trial_record import TrialRecord

FILE = Path("confirmation") / "confirmation.json"
"""Within the run's folder."""
PAIRED, RECIPE = "paired", "recipe"
"""Where the file has what is judged, and the recipe of the policy that it is said of."""
MAX_BYTES = 256 * MEBIBYTE


def confirmed_verdict(snapshot: Snapshot) -> Verdict | None:
    """None where the run was not confirmed, or by something else than what its study holds.

    A folder may be copied, and a run begun again under its name: the confirmed trial must be one of this study's.
    """
    path = snapshot.run.path / FILE
    if not path.exists():
        return None
    try:
        content = read_json(path, "confirmation", RunFolderError, fix="run confirm again", max_bytes=MAX_BYTES)
        if content.get(PAIRED) is None or _fingerprint(content) != snapshot.settings.fingerprint:
            return None
        paired = typed(Paired, _with_an_objective(content[PAIRED]), str(path), RunFolderError)
        return judge_confirmation(paired) if _is_of(snapshot, paired, content.get(RECIPE)) else None
    except AutogrowError:
        return None  # what it says is lost, and the report of the run is not


def _fingerprint(content: dict[str, Any]) -> Any:
    """Of the data that were trained on."""
    found: Any = content
    for name in ("settings", "dataset", "fingerprint"):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _with_an_objective(paired: Any) -> Any:
    """Files of before say whether the loss was judged by, and do not name an objective."""
    found = with_present_names(paired)
    if isinstance(found, dict) and "by_loss" in found:
        by_loss = found.pop("by_loss")
        found["objective"] = "loss" if by_loss else SCORE_OF_ANY_TASK
    return with_present_chance(found) if isinstance(found, dict) else found


def _is_of(snapshot: Snapshot, paired: Paired, recipe: object) -> bool:
    if paired.trial is None:
        return True
    record = next((r for r in map(TrialRecord, snapshot.trials) if r.number == paired.trial), None)
    if record is None or not isinstance(recipe, dict):
        return False
    return GrowthPolicy.from_dict(record.needed_policy()).recipe() == GrowthPolicy.from_dict(recipe).recipe()
