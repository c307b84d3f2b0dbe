"""What many policies come to on many seeds: a table on which any way to search can be replayed without training."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from autogrow.errors import RunFolderError
from autogrow.experiments.records import Outcome, RunRecord
from autogrow.files import write_text_atomically
from autogrow.former_names import with_present_names
from autogrow.reading.json_files import read_json

FORMAT = "autogrow-seed-table/1"
NUM_POINTS = 12
"""Points of a run at which it can be stopped early, as many as a trial of a search reports."""
ENDS = ("validation_loss", "validation_score", "test_loss", "test_score", "training_flops")
ALONG = ("validation_loss", "validation_score", "training_flops")
DIGITS = 5
MAX_BYTES = 16 * 2**20


@dataclass(frozen=True)
class SeedTable:
    """Policies in rows, seeds in columns; NaN where a run failed.

    Policy 0 is the default policy, policy 1 the full network.
    """

    name: str
    settings: Mapping[str, Any]
    """What decides the results, as `Experiment.settings` gives it."""
    policies: tuple[str, ...]
    recipes: tuple[Mapping[str, Any], ...]
    points: tuple[Mapping[str, Any], ...]
    """Of the search space; empty for the default policy and the full network."""
    seeds: tuple[int, ...]
    ends: Mapping[str, np.ndarray]
    """By `ENDS`, (policies, seeds)."""
    along: Mapping[str, np.ndarray]
    """By `ALONG`, (policies, seeds, `NUM_POINTS`): after equal shares of the run."""
    may_be_judged: np.ndarray
    """(policies, seeds, `NUM_POINTS`): whether a run had grown by then, will not grow, or is half over."""

    @classmethod
    def of(
        cls,
        name: str,
        settings: Mapping[str, Any],
        policies: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]],
        outcomes: Sequence[Outcome],
    ) -> Self:
        """From finished runs. `policies` are names, recipes and points; runs are of conditions of these names."""
        by_place = {(each.condition, each.seed): each for each in outcomes}
        names = tuple(each[0] for each in policies)
        seeds = tuple(sorted({each.seed for each in outcomes}))
        shape = len(names), len(seeds)
        ends = {column: np.full(shape, math.nan) for column in ENDS}
        along = {column: np.full((*shape, NUM_POINTS), math.nan) for column in ALONG}
        judged = np.zeros((*shape, NUM_POINTS), dtype=bool)
        for row, policy in enumerate(names):
            for column, seed in enumerate(seeds):
                record = by_place.get((policy, seed))
                if isinstance(record, RunRecord):
                    for key, values in ends.items():
                        values[row, column] = _number(getattr(record, key))
                    for key, found in _along(record).items():
                        along[key][row, column] = found
                    judged[row, column] = _may_be_judged(record)
        recipes, points = tuple(each[1] for each in policies), tuple(each[2] for each in policies)
        return cls(name, settings, names, recipes, points, seeds, ends, along, judged)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises `RunFolderError` for a file that is no such table."""
        content = read_json(path, "table of seeds", RunFolderError, fix="remove it", max_bytes=MAX_BYTES)
        if content.get("format") != FORMAT:
            raise RunFolderError(f"{path}: format is {content.get('format')!r}, expected {FORMAT!r}")
        return cls(
            content["name"],
            content["settings"],
            tuple(content["policies"]),
            tuple(content["recipes"]),
            tuple(content["points"]),
            tuple(content["seeds"]),
            {key: np.array(values, dtype=float) for key, values in content["ends"].items()},
            {key: np.array(values, dtype=float) for key, values in content["along"].items()},
            np.array(content["may_be_judged"], dtype=bool),
        )

    def is_of(self, settings: Mapping[str, Any], policies: Sequence[tuple[str, Mapping[str, Any], Any]]) -> bool:
        """Whether it holds these policies, trained so."""
        recipes = [dict(each[1]) for each in policies]
        return _as_read([self.settings, *self.recipes]) == _as_read([settings, *recipes])

    def write(self, path: Path) -> None:
        """A line for each policy of each column, numbers to five digits."""
        head = {
            "format": FORMAT,
            "name": self.name,
            "settings": self.settings,
            "policies": self.policies,
            "recipes": self.recipes,
            "points": self.points,
            "seeds": self.seeds,
        }
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        for part, columns in (("ends", self.ends), ("along", self.along)):
            rows = [f"{json.dumps(key)}: {_rows(values)}" for key, values in columns.items()]
            lines.append(f'"{part}": {{\n' + ",\n".join(rows) + "}")
        lines.append(f'"may_be_judged": {_rows(self.may_be_judged.astype(int))}')
        write_text_atomically(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _as_read(records: Sequence[Any]) -> list[Any]:
    return [with_present_names(each) for each in json.loads(json.dumps(records))]


def _rows(values: np.ndarray) -> str:
    return "[\n" + ",\n".join(json.dumps(_plain(row), separators=(",", ":")) for row in values) + "]"


def _plain(values: Any) -> Any:
    """Nested lists of short numbers; None for what is not finite."""
    if isinstance(values, np.ndarray):
        return [_plain(each) for each in values]
    if isinstance(values, int | np.integer):
        return int(values)
    return float(f"{values:.{DIGITS}g}") if math.isfinite(values) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _places(record: RunRecord) -> list[int]:
    """Of the measurements after equal shares of the run's steps."""
    assert record.curve is not None
    steps = np.array(record.curve.columns["step"])
    wanted = np.arange(1, NUM_POINTS + 1) / NUM_POINTS * record.steps
    return [int(place) for place in np.abs(steps[None, :] - wanted[:, None]).argmin(axis=1)]


def _along(record: RunRecord) -> dict[str, list[float]]:
    assert record.curve is not None
    places = _places(record)
    return {key: [record.curve.columns[key][place] for place in places] for key in ALONG}


def _may_be_judged(record: RunRecord) -> list[bool]:
    assert record.curve is not None
    grown_at = min(record.curve.growth_steps, default=0)
    steps = record.curve.columns["step"]
    return [steps[place] >= grown_at or 2 * steps[place] >= record.steps for place in _places(record)]
