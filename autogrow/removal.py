"""The one place that removes what another process has written: only files of ours, by their exact names.

A folder may hold what others have put there, and links to other places. Nothing is removed because of where it lies:
its name has to be one that this program gives to its files, it has to be a file and no link, and no link may lie on the
way to it. What is left keeps its folder.
"""

import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from autogrow.errors import RunFolderError

RANDOM = "[a-z0-9_]{8}"
"""What `tempfile` puts into the names that it makes up."""


def temporary_names(names: str) -> str:
    """A pattern of the temporary files that `files.atomic_target` makes for files whose names match `names`."""
    return rf"\.(?:{names})\.{RANDOM}\.tmp(?:-journal|-wal|-shm)?"  # SQLite adds files of its own


def remove_written(folder: Path, patterns: str | Iterable[str], within: Path | None = None) -> None:
    """Remove the files below `folder` whose path in it matches a pattern as a whole, then folders that became empty.

    Args:
        patterns: Regular expressions over paths with ``/``.
        within: A folder around it which the caller knows: nothing is removed where a link leads out of there.
    """
    if leads_through_link(folder, within):
        return
    wanted = [re.compile(pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns)]
    emptied: set[Path] = set()
    """Folders that something was removed from: others were empty before."""
    for place, _, names in os.walk(folder, topdown=False, followlinks=False):
        for path in (Path(place, name) for name in names):
            known = any(pattern.fullmatch(path.relative_to(folder).as_posix()) for pattern in wanted)
            if known and _remove_file(path):
                emptied.add(path.parent)
        if Path(place) in emptied:
            with suppress(OSError):  # not empty
                os.rmdir(place)
                emptied.add(Path(place).parent)


def remove_emptied(folder: Path, within: Path) -> None:
    """Remove a folder whose name is one of ours, and those in it, where no file is left in them: who was killed after
    the last file may have left them."""
    if leads_through_link(folder, within):
        return
    for place, _, _ in os.walk(folder, topdown=False, followlinks=False):
        with suppress(OSError):  # not empty
            os.rmdir(place)


def leads_through_link(path: Path, within: Path | None = None) -> bool:
    """Whether `path` is a link, or lies behind one that is inside `within`."""
    between = [path] if within is None else [path, *(each for each in path.parents if each.is_relative_to(within))]
    return any(each.is_symlink() for each in between if each != within)


def refuse_links(paths: Iterable[Path]) -> None:
    """Raise `RunFolderError` for a link among paths that are about to be written to."""
    for path in paths:
        if path.is_symlink():
            raise RunFolderError(
                f"{path} is a link to {os.readlink(path)}: what is written there must not end up elsewhere; put the "
                "file or folder itself in its place"
            )


def _remove_file(path: Path) -> bool:
    """Whether it was a file, and is gone."""
    with suppress(OSError):
        if stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
            return True
    return False
