"""The folder of an experiment: the only class that knows its paths.

::

    KIND.json                 when it begins: settings; when it ends: versions, machine, runs and summary, too
    curves.json               when it ends: metrics along every run, where they were kept
    table.md, *.svg           when it ends
    policy.yaml               when it ends, where it has chosen one
    runs/SEED-CONDITION.json  one finished run, written at once
    runs/SEED-CONDITION/      the checkpoint of the run under way
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autogrow.errors import RunFolderError
from autogrow.experiments.records import Outcome, read_outcome
from autogrow.export.retraining import REQUEST, discard_training
from autogrow.files import refuse_folder, write_json_atomically, write_text_atomically
from autogrow.former_names import with_present_names
from autogrow.locking import FolderLock
from autogrow.paths import resolved
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.reading.json_files import read_json
from autogrow.reading.texts import MEBIBYTE

FORMAT_VERSION = 1
MAX_RESULT_BYTES = 256 * MEBIBYTE
_OF_CONDITIONS = {"conditions", "recipes"}
"""Settings that say what is trained, beside those of the experiment."""


@dataclass(frozen=True)
class Pages:
    """What is written of an experiment for readers, as text."""

    table: str | None
    """Markdown; None where one page of several experiments says it."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """SVG by name, without the ending."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the JSON file holds besides runs and summary."""
    policy: GrowthPolicy | None = None
    """What has been chosen, where there was a choice."""


class ExperimentFolder:
    """The paths of one experiment, and how they are written and read.

    Args:
        kind: The command that writes it: its result is ``KIND.json``.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path = resolved(path)
        self.kind = kind
        self.result_file = path / f"{kind}.json"
        self.curves_file = path / "curves.json"
        self.table_file = path / "table.md"
        self.policy_file = path / "policy.yaml"
        self._runs = path / "runs"

    @property
    def written(self) -> tuple[Path, ...]:
        """The files of a finished experiment that are for readers."""
        others = [path for path in (self.curves_file, self.table_file, self.policy_file) if path.exists()]
        return self.result_file, *others, *sorted(self.path.glob("*.svg"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder. Raises `RunFolderInUseError` when another process has it."""
        with FolderLock(self.path, f"folder {self.path}").held():
            yield

    def check(self, settings: dict[str, Any]) -> None:
        """Raises `RunFolderError` unless the folder is empty, or holds an experiment of the same settings."""
        refuse_folder(self.path)
        if self.result_file.exists():
            if not self._has(settings) and self._is_begun:
                raise RunFolderError(f"{self.path} holds results of other settings: choose another --out, or remove it")
        elif self.path.exists() and any(entry.name != "lock" for entry in self.path.iterdir()):
            raise RunFolderError(f"{self.path} is not empty: choose another --out")

    @property
    def first_seed(self) -> int | None:
        """From which on runs have been trained here; None where none was begun."""
        if not self._is_begun or not self.result_file.exists():
            return None
        settings = self.result().get("settings")
        found = settings.get("first_seed", 0) if isinstance(settings, dict) else None
        return found if type(found) is int else None

    def was_begun_with(self, settings: dict[str, Any]) -> bool:
        """Whether runs of an experiment of these settings have been started here."""
        refuse_folder(self.path)
        return self._is_begun and self.result_file.exists() and self._has(settings)

    def begin(self, settings: dict[str, Any]) -> None:
        """Take the folder for an experiment, or go on with it. Raises as `check` does."""
        self.check(settings)
        if not self._is_begun:
            write_json_atomically(self.result_file, self._content(settings))

    def finish(
        self, settings: dict[str, Any], results: dict[str, Any], pages: Pages, curves: dict[str, Any] | None = None
    ) -> None:
        """Write what came out. `curves` has an entry per run, each on a line: they are long."""
        if pages.policy is not None:
            write_text_atomically(self.policy_file, pages.policy.to_text())
        else:
            self.policy_file.unlink(missing_ok=True)
        if pages.table is not None:
            write_text_atomically(self.table_file, pages.table)
        for name, document in pages.figures.items():
            write_text_atomically(self.path / f"{name}.svg", document)
        if curves:
            lines = [
                f"{json.dumps(name)}: {json.dumps(curve, separators=(',', ':'))}" for name, curve in curves.items()
            ]
            write_text_atomically(self.curves_file, "{\n" + ",\n".join(lines) + "\n}\n")
        write_json_atomically(self.result_file, {**self._content(settings), **pages.data, **results})

    def record(self, seed: int, condition: str) -> Outcome | None:
        """A finished run; None if there is none yet. Raises `RunFolderError` for a damaged file."""
        path = self._record_file(seed, condition)
        if not path.exists():
            return None
        return read_outcome(self._read(path), f"{path} is damaged, remove it, and the run is repeated")

    def write_record(self, record: Outcome) -> None:
        """Keep a finished run, and nothing of how it was under way."""
        write_json_atomically(self._record_file(record.seed, record.condition), record.to_dict())
        discard_training(self._working(record.seed, record.condition))

    def take_runs(self, other: "ExperimentFolder", settings: dict[str, Any]) -> None:
        """Have the finished runs of another folder count here, too.

        Those of an equal experiment, whose conditions are asked for here under the same name and recipe.
        """
        theirs, ours = (with_present_names(each) for each in (other.result().get("settings"), _plain(settings)))
        if any(theirs.get(name) != ours.get(name) for name in (theirs.keys() | ours.keys()) - _OF_CONDITIONS):
            return
        recipes, known = ours.get("recipes", {}), theirs.get("recipes", {})
        for path in sorted(other._runs.glob("*.json")):
            seed, _, condition = path.stem.partition("-")
            target = self._record_file(int(seed), condition)
            if condition in recipes and recipes[condition] == known.get(condition) and not target.exists():
                write_text_atomically(target, path.read_text(encoding="utf-8"))

    def place_of_run(self, seed: int, condition: str) -> Path:
        """Where a run that is not finished is trained, or goes on from its checkpoint."""
        place = self._working(seed, condition)
        if place.exists() and not (place / REQUEST).exists():
            discard_training(place)  # ended, or not begun, when the process was killed: nothing to go on from
        return place

    def result(self) -> dict[str, Any]:
        """What the finished experiment has written."""
        return self._read(self.result_file)

    def part(self, name: str) -> dict[str, Any] | None:
        """What `write_part` has kept under this name."""
        path = self._runs / f"{name}.json"
        return self._read(path) if path.exists() else None

    def write_part(self, name: str, content: dict[str, Any]) -> None:
        """Keep a part of an experiment whose parts are not training runs."""
        write_json_atomically(self._runs / f"{name}.json", content)

    @property
    def _is_begun(self) -> bool:
        """Whether any run has been started: a checkpoint is continued with the same settings alone."""
        return self._runs.is_dir() and any(self._runs.iterdir())

    def _has(self, settings: dict[str, Any]) -> bool:
        """Whether the result file is of these settings."""
        before, now = (with_present_names(each) for each in (self.result().get("settings"), _plain(settings)))
        return bool(before == now)

    def _content(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {"format": f"autogrow-{self.kind}/{FORMAT_VERSION}", "settings": _plain(settings)}

    def _record_file(self, seed: int, condition: str) -> Path:
        return self._runs / f"{seed}-{condition}.json"

    def _working(self, seed: int, condition: str) -> Path:
        return self._runs / f"{seed}-{condition}"

    def _read(self, path: Path) -> dict[str, Any]:
        fix = "restore it from a copy, or choose another --out"
        return read_json(path, "record of an experiment", RunFolderError, fix=fix, max_bytes=MAX_RESULT_BYTES)


def _plain(settings: dict[str, Any]) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(settings))
