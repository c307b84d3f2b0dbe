"""The text of a file, read whole and of bounded size."""

import os
import stat
from pathlib import Path

from autogrow.errors import AutogrowError

MEBIBYTE = 2**20


def read_bytes(path: Path, what: str, error: type[AutogrowError], *, max_bytes: int) -> bytes:
    """The content of a file. Raises `error` where it cannot be read, is no file, or is larger than `max_bytes`.

    Args:
        what: The kind of file, as messages call it.
    """
    try:
        # Without waiting: a named pipe that nobody writes to would hold the opening up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise IsADirectoryError(0, "it is a folder")
            os.set_blocking(descriptor, True)
            content = file.read(max_bytes + 1)
    except OSError as failure:
        raise error(f"{path}: cannot read the {what}: {failure.strerror or failure}") from failure
    except ValueError as failure:  # a path with a NUL character
        raise error(f"{str(path)!r}: cannot read the {what}: {failure}") from failure
    if len(content) > max_bytes:
        size = path.stat().st_size if path.is_file() else f"more than {max_bytes}"
        raise error(f"{path}: {size} bytes, a {what} has at most {max_bytes}")
    return content


def read_text(path: Path, what: str, error: type[AutogrowError], *, max_bytes: int) -> str:
    """As `read_bytes`, decoded from UTF-8, with or without a byte-order mark."""
    return decoded(read_bytes(path, what, error, max_bytes=max_bytes), str(path), error)


def decoded(content: bytes, where: str, error: type[AutogrowError]) -> str:
    """UTF-8 text. Raises `error` naming the first byte that is none."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = content.count(b"\n", 0, failure.start) + 1
        raise error(
            f"{where}: line {line} is not UTF-8 text: save the file as UTF-8, or restore it from a copy"
        ) from None
