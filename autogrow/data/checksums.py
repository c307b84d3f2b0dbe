"""Reading official files only when they are what their publisher made: size limits and md5.

md5 is what the publishers give. It detects damage and mix-ups; it is not a defence against a forged file, which is why
the decoders treat verified bytes as untrusted all the same.
"""

import hashlib
from pathlib import Path

from autogrow.data.catalogue import SourceFile
from autogrow.errors import DataError


def read_verified(path: Path, source: SourceFile, *, dataset: str, expected_bytes: int | None = None) -> bytes:
    """The content of `path`, after checking its size and, where one is published, its md5.

    Raises `DataError` for an unreadable file, a size other than `expected_bytes`, more than `source.max_bytes`, or
    another md5.
    """
    try:
        size = path.stat().st_size
        if expected_bytes is not None and size != expected_bytes:
            raise DataError(f"{path}: {size} bytes, expected {expected_bytes}: {_remedy(dataset)}")
        if size > source.max_bytes:
            raise DataError(f"{path}: {size} bytes, expected at most {source.max_bytes}: {_remedy(dataset)}")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the file and its permissions") from error
    verify_md5(_md5(content), source, path, dataset=dataset)
    return content


def verify_file(path: Path, source: SourceFile, *, dataset: str) -> None:
    """As `read_verified`, in one pass over a file too large to hold. Raises `DataError`."""
    try:
        size = path.stat().st_size
        if size > source.max_bytes:
            raise DataError(f"{path}: {size} bytes, expected at most {source.max_bytes}: {_remedy(dataset)}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, _new_md5).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the file and its permissions") from error
    verify_md5(found, source, path, dataset=dataset)


def verify_content(content: bytes, source: SourceFile, origin: Path, *, dataset: str) -> None:
    """Check the md5 of an archive member that is already in memory. `origin` is named in the `DataError`."""
    verify_md5(_md5(content), source, origin, dataset=dataset)


def verify_md5(found: str, source: SourceFile, path: Path, *, dataset: str) -> None:
    """Raise `DataError` unless `found` is the published md5, or none is published."""
    if source.md5 is not None and found != source.md5:
        raise DataError(f"{path}: md5 is {found}, expected {source.md5}: {_remedy(dataset)}")


def is_intact(path: Path, source: SourceFile) -> bool:
    """Whether `path` exists and is the published file."""
    if not path.is_file():
        return False
    try:
        verify_file(path, source, dataset="")
    except DataError:
        return False
    return True


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _new_md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


def _remedy(dataset: str) -> str:
    return f"the file is damaged or another version; delete it and run 'autogrow data fetch {dataset}'"
