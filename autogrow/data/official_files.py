"""Reading official files, and members of official archives, only when they are what their publisher made.

md5 is what the publishers give. It detects damage and mix-ups; it is not a defence against a forged file, which is why
the decoders treat verified bytes as untrusted all the same. Members of a .tar.gz are streamed by allow-list: nothing is
extracted by the names or sizes that an archive claims, and `tarfile.extractall` is not used at all, so links, devices,
absolute paths and unlisted members have no effect.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from autogrow.data.catalogue import SourceFile
from autogrow.errors import DataError, one_line


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


def stream_members(archive: Path, wanted: Iterable[SourceFile], *, dataset: str) -> Iterator[tuple[SourceFile, bytes]]:
    """Yield (wanted file, verified content) in the archive's order, one at a time in memory.

    Raises `DataError` for a damaged archive, a member larger than its limit, one that is no regular file, a wrong md5,
    or a wanted member that is not there.
    """
    missing = {source.path: source for source in wanted}
    try:
        with tarfile.open(archive, "r|gz") as stream:
            for member in stream:
                source = missing.pop(member.name, None)
                if source is not None:
                    yield source, _read_member(stream, member, source, archive, dataset)
                if not missing:
                    return
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataError(
            f"{archive}: damaged archive ({one_line(error)}): delete it and run 'autogrow data fetch {dataset}'"
        ) from error
    raise DataError(f"{archive}: holds no {', '.join(missing)}: delete it and run 'autogrow data fetch {dataset}'")


def _read_member(
    stream: tarfile.TarFile, member: tarfile.TarInfo, source: SourceFile, archive: Path, dataset: str
) -> bytes:
    reader = stream.extractfile(member) if member.isreg() else None
    if reader is None:
        raise DataError(f"{archive}: member {member.name} is no regular file: the archive is not the official one")
    if member.size > source.max_bytes:
        raise DataError(
            f"{archive}: member {member.name} claims {member.size} bytes, expected at most {source.max_bytes}: "
            "the archive is not the official one"
        )
    content = reader.read()
    verify_content(content, source, archive / member.name, dataset=dataset)
    return content


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _new_md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


def _remedy(dataset: str) -> str:
    return f"the file is damaged or another version; delete it and run 'autogrow data fetch {dataset}'"
