"""Members of a .tar.gz, streamed by allow-list: nothing is extracted by the names or sizes that an archive claims.

`tarfile.extractall` is not used at all, so links, devices, absolute paths and unlisted members have no effect.
"""

import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from autogrow.data.catalogue import SourceFile
from autogrow.data.checksums import verify_content
from autogrow.errors import DataError, one_line


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
