"""Runs of conditions under seeds, one after the other, each kept as soon as it is finished."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from autogrow.errors import RunFolderError
from autogrow.experiments.folder import ExperimentFolder
from autogrow.experiments.reproduction.base import Request
from autogrow.reading.typed import typed

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Run = TypeVar("Run", bound="DataclassInstance")
"""What a condition came to under one seed, as plain data."""


def kept_runs(
    folder: ExperimentFolder,
    conditions: Mapping[str, Any],
    request: Request,
    kind: type[Run],
    run: Callable[[str, int], Run],
) -> dict[str, list[Run]] | None:
    """By condition its runs, a seed's before the next one's; None when `request.interrupted` said so.

    Args:
        folder: Held, and begun; a run that it has is not done again.
        run: A function of a condition's name and a seed.
    """
    found: dict[str, list[Run]] = {name: [] for name in conditions}
    for seed in range(request.num_seeds):
        for name, runs in found.items():
            if request.interrupted is not None and request.interrupted():
                return None
            part = f"{seed}-{name}"
            kept = folder.part(part)
            if kept is None:
                done = run(name, seed)
                folder.write_part(part, asdict(done))
            else:
                done = typed(kind, kept, f"run {part} in {folder.path}", RunFolderError)
            runs.append(done)
    return found


def as_plain(runs: Mapping[str, list[Run]]) -> dict[str, list[dict[str, Any]]]:
    """As a file of results has them."""
    return {name: [asdict(run) for run in each] for name, each in runs.items()}
