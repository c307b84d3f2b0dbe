"""Finding the run that a user means: by a path, a URL, a bare name, or as the newest there is."""

from pathlib import Path

from autogrow.errors import RunFolderError, UsageError
from autogrow.paths import is_url, plain_dataset_name, resolved
from autogrow.study.remote_folder import RemoteFolder
from autogrow.study.remote_run import RemoteRunFolder
from autogrow.study.run_folder import RunFolder

RESULTS = "results"
"""The folder of runs where none is given."""


def find_run(place: str | Path, storage: str | None = None) -> RunFolder:
    """The run folder that a user names: a path, a URL, or a bare name under ``results``.

    storage: URL of the database that its study is in, where that is not in the folder: see `RunFolder.study_location`.
    """
    folder = RemoteRunFolder(str(place)) if is_url(place) else _here(place)
    folder.storage_url = storage
    return folder


def _here(place: str | Path) -> RunFolder:
    folder, among_results = RunFolder(Path(place)), RunFolder(Path(RESULTS) / place)
    is_bare_name = len(Path(place).parts) == 1
    return among_results if is_bare_name and not folder.exists and among_results.exists else folder


def newest_run(out: str | Path = RESULTS, storage: str | None = None) -> RunFolder:
    """The run in a folder that was started or resumed last. Raises `RunFolderError` where there is none."""
    runs = runs_in(out)
    if not runs:
        raise RunFolderError(f"no RUN is given, and there is none in {resolved(out)}: start one with autogrow search")
    runs[0].storage_url = storage
    return runs[0]


def runs_in(out: str | Path) -> list[RunFolder]:
    """The runs in a folder of this machine, the one that was started or resumed last before all others."""
    runs = [RunFolder(config.parent) for config in resolved(out).glob("*/config.yaml") if config.is_file()]
    return sorted(runs, key=lambda run: (-run.config_file.stat().st_mtime_ns, run.name))


def named_run(out: str | Path, name: str) -> RunFolder:
    """The run of that name in `out`, a folder or a URL. Raises `UsageError` for a name that is a path."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise UsageError(f"run name {name!r} is a path: give a plain name, and the folder with --out")
    return RemoteRunFolder(f"{str(out).rstrip('/')}/{name}") if is_url(out) else RunFolder(Path(out) / name)


def next_run_name(out: str | Path, dataset: str) -> str:
    """The data set's name and the first number that no run in `out` has."""
    stem = Path(plain_dataset_name(dataset)).stem
    taken = RemoteFolder(str(out)).names() if is_url(out) else [path.name for path in resolved(out).glob(f"{stem}-*")]
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"
