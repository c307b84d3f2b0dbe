"""What a path is and where it points: one rule for every argument, on the command line and in Python.

A leading ``~`` is the user's home folder, and a relative path counts from the folder in which the caller stands when it
is given. What is kept of it, in settings and in a trial's configuration, is absolute: nothing is expanded twice.
"""

import os
import re
from contextlib import suppress
from pathlib import Path

from autogrow.errors import UsageError, shortened
from autogrow.urls import without_secrets

MOST_NAME_BYTES = 255
"""Of a file's or a folder's name: what Linux and macOS file systems take."""
MOST_PATH_BYTES = 4095
NPZ_SUFFIX = ".npz"


def resolved(place: str | os.PathLike[str]) -> Path:
    """The absolute path that a user means. Links are left as they are.

    Raises `UsageError` for what can be no path: an unknown user's ``~name``, a NUL character, a name of too many bytes.
    """
    text = os.fspath(place)
    if is_url(text):
        raise UsageError(f"{without_secrets(text)} is a URL, where a file or folder of this machine is needed")
    _check(text)
    try:
        # Not `Path.expanduser` alone, for which ./~ begins with a tilde, too.
        return (Path(text).expanduser() if text.startswith("~") else Path(text)).absolute()
    except RuntimeError:
        user = text[1:].partition("/")[0]
        whose = f"there is no user {user!r} here" if user else "this user has no home folder, and HOME is not set"
        raise UsageError(f"path {_shortened(text)}: {whose}: write the path out") from None
    except FileNotFoundError:
        raise UsageError(
            f"path {_shortened(text)} counts from the current folder, which is gone: change to another one, or give a "
            "path that begins with /"
        ) from None


def shown(path: Path) -> str:
    """A path as messages give it: from the current folder where it lies in that, as its user would type it."""
    with suppress(OSError):
        if path.is_relative_to(Path.cwd()):
            return str(path.relative_to(Path.cwd()))
    return str(path)


def resolved_place(place: str | os.PathLike[str]) -> str:
    """The same for what may also be a URL, which stays as it is."""
    return os.fspath(place) if is_url(place) else str(resolved(place))


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a user means storage reached by a URL, not a path."""
    return "://" in os.fspath(place)


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path is inside a folder, wherever links on the way lead to."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def is_npz_name(name: str) -> bool:
    """Whether a data set's name is meant as the path of a user's own file."""
    return place_and_query(name)[0].lower().endswith(NPZ_SUFFIX)


def place_and_query(name: str) -> tuple[str, str]:
    """A data set's name without the options after its question mark, and these; see `autogrow.data.text_names`."""
    found = re.fullmatch(r"(.+?)\?((?:context|tokenizer|mebibytes)=.*)", name, re.DOTALL)
    return (found[1], found[2]) if found else (name, "")


def plain_dataset_name(name: str) -> str:
    """A data set as people call it: a user's own file by its name, without its folder and options."""
    place = place_and_query(name)[0]
    return Path(place).name if is_npz_name(place) or "/" in place else place


def resolved_dataset(name: str) -> str:
    """A data set as settings and configurations name it: a user's own file by where it is, seen from anywhere."""
    if not is_npz_name(name):
        return name  # texts have been resolved where they were opened
    place, query = place_and_query(name)
    return str(resolved(place)) + (f"?{query}" if query else "")


def _check(text: str) -> None:
    if not text:
        raise UsageError("a path is empty: give the path of a file or folder, for example ./name")
    if "\0" in text:
        raise UsageError(f"path {_shortened(text)} holds a NUL character, which no file system takes: leave it out")
    try:
        names = os.fsencode(text).split(b"/")
    except UnicodeEncodeError:
        raise UsageError(f"path {_shortened(text)} holds characters that no file name can have: write others") from None
    longest = max(map(len, names))
    if longest > MOST_NAME_BYTES:
        raise UsageError(
            f"path {_shortened(text)} has a name of {longest} bytes: file systems take {MOST_NAME_BYTES}: shorten it"
        )
    if (total := len(os.fsencode(text))) > MOST_PATH_BYTES:
        raise UsageError(f"path {_shortened(text)} has {total} bytes, a path has at most {MOST_PATH_BYTES}: shorten it")


def _shortened(text: str) -> str:
    return repr(shortened(text, 60))
