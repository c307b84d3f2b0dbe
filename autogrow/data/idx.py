"""MNIST and Fashion-MNIST: the idx format, gzipped as published or unpacked.

Source of the format: http://yann.lecun.com/exdb/mnist (big-endian magic number 0x0800 + number of dimensions, the
dimensions as uint32, then unsigned bytes).
"""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from autogrow.data.arrays import DecodedArrays
from autogrow.data.catalogue import ENTRIES, DatasetEntry, IdxFiles, SourceFile
from autogrow.data.official_files import read_verified
from autogrow.data.sources import Source, missing_files
from autogrow.errors import DataError, one_line

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def find_idx(name: str, data_dir: Path) -> Source:
    """The source of ``mnist`` or ``fashion-mnist``. Raises `DataError` when a file is missing."""
    entry = ENTRIES[name]
    assert isinstance(entry.files, IdxFiles)
    wanted = entry.files.all()
    found = [existing_file(data_dir, source) for source in wanted]
    paths = tuple(path for path in found if path is not None)
    if len(paths) < len(wanted):
        missing = (source.path for source, path in zip(wanted, found, strict=True) if path is None)
        raise missing_files(name, data_dir, missing, " (or the same without .gz)")
    return Source(name, paths, lambda: _decode(name, entry, dict(zip(wanted, paths, strict=True))))


def existing_file(data_dir: Path, source: SourceFile) -> Path | None:
    """The file as published, else unpacked, else None. The published form is preferred for its checksum."""
    published = data_dir / source.path
    return next((path for path in (published, published.with_suffix("")) if path.is_file()), None)


def _decode(name: str, entry: DatasetEntry, paths: dict[SourceFile, Path]) -> DecodedArrays:
    assert isinstance(entry.files, IdxFiles)
    arrays = {}
    for role, count in (("train", entry.num_train), ("test", entry.num_test)):
        images, labels = getattr(entry.files, f"{role}_images"), getattr(entry.files, f"{role}_labels")
        height_width = entry.input_shape[1:]
        arrays[f"x_{role}"] = _read(name, paths[images], images, (count, *height_width))[:, np.newaxis]
        arrays[f"y_{role}"] = _read(name, paths[labels], labels, (count,)).astype(np.int64)
    return DecodedArrays(
        task=entry.task,
        x_train=arrays["x_train"],
        y_train=arrays["y_train"],
        x_test=arrays["x_test"],
        y_test=arrays["y_test"],
        augmentation=entry.augmentation,
    )


def _read(name: str, path: Path, source: SourceFile, shape: tuple[int, ...]) -> Bytes:
    header = struct.pack(f">I{len(shape)}I", 0x0800 + len(shape), *shape)
    expected_bytes = len(header) + math.prod(shape)
    if path.suffix == ".gz":
        content = _unpack(read_verified(path, source, dataset=name), path, expected_bytes)
    else:  # no checksum is published for the unpacked file
        unpacked = SourceFile(path=source.path, max_bytes=expected_bytes)
        content = read_verified(path, unpacked, dataset=name, expected_bytes=expected_bytes)
    if len(content) != expected_bytes or not content.startswith(header):
        raise DataError(f"{path}: not an idx file of shape {shape}: delete it and run 'autogrow data fetch {name}'")
    return np.frombuffer(content, dtype=np.uint8, offset=len(header)).reshape(shape)


def _unpack(content: bytes, path: Path, expected_bytes: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            return stream.read(expected_bytes + 1)  # one more, to notice a longer file without unpacking it
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({one_line(error)}): delete it and fetch it again") from error
