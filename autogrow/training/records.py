"""A trial's own folder: samples, growth events and log as lines, the checkpoint, and the result once there is one.

::

    samples.jsonl   one `Sample` per line
    events.jsonl    one `GrowthEvent` per line
    checkpoint/     see `autogrow.training.checkpoint`; `alive` in it changes as long as training goes on
    result.json     written once, when training has ended
    log.txt         what went wrong, if anything did
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from autogrow.errors import RunFolderError
from autogrow.files import append_text, paths_present, write_json_atomically, write_text_atomically
from autogrow.former_names import with_present_names
from autogrow.policy.records import GrowthEvent, Sample
from autogrow.reading.json_files import read_json, read_json_lines
from autogrow.reading.typed import typed
from autogrow.removal import remove_written, temporary_names

RECORDS = r"samples\.jsonl|events\.jsonl|result\.json|log\.txt"
"""Pattern of the names of a trial's files."""
CHECKPOINTS = r"step-\d{10}\.pt"
"""Pattern of the names of checkpoints."""
UNFINISHED_CHECKPOINTS = temporary_names(CHECKPOINTS)
ALIVE = "alive"
"""The file next to them that changes as long as a trial trains."""
ONLY_TO_GO_ON = f"{CHECKPOINTS}|{ALIVE}"
"""Pattern of the names of all that a trial needs only until it has ended."""
Record = TypeVar("Record", Sample, GrowthEvent)


class TrialFolder:
    """The paths of one trial, and how they are written and read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoint"
        self._samples = path / "samples.jsonl"
        self._events = path / "events.jsonl"
        self._result = path / "result.json"
        self._log = path / "log.txt"
        self._alive = self.checkpoints / ALIVE

    def rewrite(self, samples: Iterable[Sample], events: Iterable[GrowthEvent]) -> None:
        """Begin the records with these, dropping what a killed run wrote after its last checkpoint."""
        write_text_atomically(self._samples, _lines(samples))
        write_text_atomically(self._events, _lines(events))

    def rewrite_events(self, events: Iterable[GrowthEvent]) -> None:
        """Bring the record of events up to date with what was learnt of them since."""
        write_text_atomically(self._events, _lines(events))

    def append_sample(self, sample: Sample) -> None:
        append_text(self._samples, _lines([sample]))

    def log(self, text: str) -> None:
        append_text(self._log, text.rstrip() + "\n")

    def write_result(self, result: Mapping[str, Any]) -> None:
        write_json_atomically(self._result, dict(result))

    def result(self) -> dict[str, Any] | None:
        """The final result, if training has ended."""
        if not self._result.exists():
            return None
        fix = "remove it, and the trial goes on from its checkpoint"
        return read_json(self._result, "result of a trial", RunFolderError, fix=fix)

    def show_life(self, number: int) -> None:
        """Leave a sign for those who look on that the trial still trains; `number` is another every time."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self._alive.write_text(f"{number}\n", encoding="utf-8")

    def signs_of_life(self) -> object:
        """Equal to what it was before when the trial has written nothing since."""
        found = {}
        for path in (self._samples, self._events, self._log, self._result, *paths_present(self.checkpoints, "*")):
            with suppress(OSError):  # it comes and goes
                status = path.stat()
                found[path.name] = (status.st_size, status.st_mtime_ns)
        return found

    def discard_checkpoints(self, within: Path | None = None) -> None:
        """Remove what only a continuation would need, once there is nothing left to continue.

        within: A folder around it that no link may lead out of: nothing is removed then.
        """
        remove_written(self.checkpoints, (ONLY_TO_GO_ON, UNFINISHED_CHECKPOINTS), within or self.path)

    def discard(self, *others: str) -> None:
        """Remove what was written here, files named like `others` too; what else lies here stays."""
        self.discard_checkpoints()
        remove_written(self.path, (RECORDS, temporary_names(RECORDS), *others))

    def samples(self) -> list[Sample]:
        return _records(self._samples, Sample)

    def events(self) -> list[GrowthEvent]:
        return _records(self._events, GrowthEvent)


def _records(path: Path, kind: type[Record]) -> list[Record]:
    lines = read_json_lines(path, "record of a trial", RunFolderError)
    return [
        typed(kind, with_present_names(fields), f"{path}: line {number}", RunFolderError)
        for number, fields in enumerate(lines, 1)
    ]


def _lines(records: Iterable[Sample | GrowthEvent]) -> str:
    return "".join(json.dumps(record.to_dict(), allow_nan=False) + "\n" for record in records)
