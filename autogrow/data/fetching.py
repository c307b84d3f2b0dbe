"""Downloads the official files of a dataset: under another name first, checked, then renamed.

Nothing half-written stays, whatever interrupts it. On a host with no network the error says which file to put where and
where it comes from.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from autogrow.data.catalogue import ENTRIES, CifarFiles, IdxFiles, SourceFile
from autogrow.data.cifar import all_exist
from autogrow.data.idx import existing_file
from autogrow.data.locations import checked_data_dir, disk_errors, is_not_writable, unfinished_path
from autogrow.data.official_files import is_intact, stream_members
from autogrow.data.opening import check_name
from autogrow.errors import DataError, one_line
from autogrow.paths import is_npz_name
from autogrow.printing import console

_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 2**18


@dataclass(frozen=True, kw_only=True)
class FetchResult:
    """What `fetch_dataset` did. `files` are the files that it put into place; `message` says it in one line."""

    name: str
    files: tuple[Path, ...]
    message: str


def fetch_dataset(name: str, data_dir: Path | None = None) -> FetchResult:
    """Download what `data_dir` (default: `default_data_dir()`) lacks of a built-in dataset, with progress on stderr.

    Files that are there and intact are kept; damaged ones are replaced. Raises `DataError` for an unknown name, no
    network, a wrong checksum, a full disk or a folder that may not be written.
    """
    folder = checked_data_dir(data_dir)
    if is_npz_name(name):
        raise DataError(f"{name} is your own file: only built-in datasets can be fetched")
    check_name(name)
    try:
        match ENTRIES[name].files:
            case None:
                return FetchResult(name=name, files=(), message=f"nothing to fetch: {name} needs no files")
            case IdxFiles() as files:
                fetched = _fetch_idx(files, folder)
            case CifarFiles() as files:
                fetched = _fetch_cifar(name, files, folder)
    except OSError as error:
        if not is_not_writable(error):
            raise
        raise DataError(
            f"cannot write to {error.filename or folder} ({error.strerror}): give another data folder"
        ) from error
    did = f"fetched {len(fetched)} files of {name} to" if fetched else f"nothing to fetch: {name} is already in"
    return FetchResult(name=name, files=fetched, message=f"{did} {folder}")


def _fetch_idx(files: IdxFiles, data_dir: Path) -> tuple[Path, ...]:
    def is_there(source: SourceFile) -> bool:
        found = existing_file(data_dir, source)
        # For a file that the user unpacked no checksum is known; its size is checked when it is decoded.
        return found is not None and (found != data_dir / source.path or is_intact(found, source))

    needed = [source for source in files.all() if not is_there(source)]
    for source in needed:
        _download(source, data_dir, needed)
    return tuple(data_dir / source.path for source in needed)


def _fetch_cifar(name: str, files: CifarFiles, data_dir: Path) -> tuple[Path, ...]:
    python = (*files.python_train, *files.python_test)
    if all_exist(data_dir, python):
        if all(is_intact(data_dir / source.path, source) for source in python):
            return ()
    elif all_exist(data_dir, (*files.binary_train, *files.binary_test)):
        return ()
    archive = data_dir / files.archive.path
    was_there = is_intact(archive, files.archive)
    if not was_there:
        _download(files.archive, data_dir, [files.archive])
    try:
        members = stream_members(archive, (*python, *files.python_extra), dataset=name)
        return tuple(_unpack(content, data_dir / source.path) for source, content in members)
    finally:
        if not was_there:
            archive.unlink()  # its members are unpacked; an archive that the user put there is left alone


def _unpack(content: bytes, target: Path) -> Path:
    with _written_whole(target) as file:
        file.write(content)
    return target


def _download(source: SourceFile, data_dir: Path, needed: Iterable[SourceFile]) -> None:
    """Download one file, of those `needed`, to its place. Raises `DataError` as `fetch_dataset` does."""
    assert source.url is not None
    target = data_dir / source.path
    with _written_whole(target) as file:
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with closing(_read_url(source.url, source.max_bytes, target.name)) as chunks:
                for chunk in chunks:
                    digest.update(chunk)
                    file.write(chunk)
        except _DownloadError as error:
            raise DataError(
                f"cannot download {source.url} ({error}): on a host with no network put there yourself: "
                f"{_by_hand(needed, data_dir)}"
            ) from error
        if digest.hexdigest() != source.md5:
            raise DataError(
                f"{source.url}: md5 of the download is {digest.hexdigest()}, expected {source.md5}: try again, or put "
                f"the file from elsewhere at {target}"
            )


class _DownloadError(Exception):
    """The network's part of a failed download, kept apart from errors in writing the file."""


def _read_url(url: str, max_bytes: int, title: str) -> Generator[bytes, None, None]:
    """The chunks at `url`, with a progress bar on stderr."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with (
            urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
            Progress(*columns, TimeRemainingColumn(), console=console(err=True)) as progress,
        ):
            length = response.headers.get("Content-Length", "")
            task = progress.add_task(title, total=int(length) if length.isdecimal() else None)
            num_bytes = 0
            while chunk := response.read(_CHUNK_BYTES):
                num_bytes += len(chunk)
                if num_bytes > max_bytes:
                    raise _DownloadError(f"it sends more than {max_bytes} bytes")
                progress.advance(task, len(chunk))
                yield chunk
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
            raise _DownloadError(one_line(error)) from error
        reason = error.reason if isinstance(error, URLError) else error
        raise _DownloadError(one_line(reason) if isinstance(reason, Exception) else reason) from error


@contextmanager
def _written_whole(target: Path) -> Iterator[BinaryIO]:
    """A file that appears under the name `target` when the block ends well, and never otherwise."""
    if target.exists() and not target.is_file():
        raise DataError(
            f"{target} is no file, but a folder, a device or a pipe: remove it, or give another data folder"
        )
    unfinished = unfinished_path(target)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("xb") as file:
                yield file
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)


def _by_hand(needed: Iterable[SourceFile], data_dir: Path) -> str:
    return ", ".join(f"{data_dir / source.path} from {source.url} (md5 {source.md5})" for source in needed)
