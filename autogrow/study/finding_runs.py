"""Finding the run that a user means: by a path, a URL, or a bare name."""

from pathlib import Path

from autogrow.errors import UsageError
from autogrow.study.remote_folder import RemoteFolder, is_url
from autogrow.study.remote_run import RemoteRunFolder
from autogrow.study.run_folder import RunFolder


def find_run(place: str | Path) -> RunFolder:
    """The run folder that a user names: a path, a URL, or a bare name under ``results``."""
    if is_url(place):
        return RemoteRunFolder(str(place))
    folder = RunFolder(Path(place))
    if not folder.exists and len(Path(place).parts) == 1 and (Path("results") / place / "config.yaml").exists():
        return RunFolder(Path("results") / place)
    return folder


def named_run(out: str | Path, name: str) -> RunFolder:
    """The run of that name in `out`, a folder or a URL. Raises `UsageError` for a name that is a path."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise UsageError(f"run name {name!r} is a path: give a plain name, and the folder with --out")
    return RemoteRunFolder(f"{str(out).rstrip('/')}/{name}") if is_url(out) else RunFolder(Path(out) / name)


def next_run_name(out: str | Path, dataset: str) -> str:
    """The data set's name and the first number that no run in `out` has."""
    stem = Path(dataset).stem if dataset.endswith(".npz") else dataset
    taken = RemoteFolder(str(out)).names() if is_url(out) else [path.name for path in Path(out).glob(f"{stem}-*")]
    number = 1
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"
