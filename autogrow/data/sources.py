"""A dataset that was found on disk but not decoded yet: the files it rests on, and how to decode them."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from autogrow.data.arrays import DecodedArrays
from autogrow.errors import DataError
from autogrow.files import file_stamp

FORMAT_NUMBER = 2
"""Raise it when a decoder gives other arrays than before, or `meta.json` changes: stored arrays are then redone."""


@dataclass(frozen=True)
class Source:
    """`decode` reads `files` (none: embedded or generated) and raises `DataError` for anything wrong in them."""

    name: str
    files: tuple[Path, ...]
    decode: Callable[[], DecodedArrays]
    variant: str = ""
    """Other than empty where the same files can be read in several ways."""

    def key(self) -> str:
        """Changes when a file is moved, replaced or touched, so that checksums are verified once per file."""
        digest = sha256(f"{FORMAT_NUMBER} {self.name} {self.variant}\n".encode())
        for file in self.files:
            digest.update(f"{file} {' '.join(map(str, file_stamp(file)))}\n".encode())
        return digest.hexdigest()[:16]

    def folder_name(self) -> str:
        """``<name>-<key>``; of a path only the file's stem is shown."""
        readable = re.sub(r"[^A-Za-z0-9._-]", "_", Path(self.name).stem)[:60]
        return f"{readable}-{self.key()}"


def missing_files(name: str, data_dir: Path, wanted: Iterable[str], alternatives: str = "") -> DataError:
    """The error for a dataset whose files are not there: which file goes where, and the command that gets them."""
    return DataError(
        f"dataset {name!r} is not in {data_dir}: run 'autogrow data fetch {name}', or put into that folder "
        f"{', '.join(wanted)}{alternatives}"
    )
