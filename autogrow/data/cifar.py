"""CIFAR-10 and CIFAR-100: the python version, the binary version, or the python version's archive as downloaded.

Source of the formats: https://www.cs.toronto.edu/~kriz/cifar.html. All three give identical arrays: images
(N, 3, 32, 32) uint8, and for CIFAR-100 the fine labels or, as ``cifar100-coarse``, those of its 20 superclasses.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from autogrow.data.arrays import DecodedArrays
from autogrow.data.catalogue import ENTRIES, CifarFiles, SourceFile
from autogrow.data.official_files import read_verified, stream_members, verify_file
from autogrow.data.restricted_pickle import load_cifar_pickle
from autogrow.data.sources import Source, missing_files
from autogrow.errors import DataError
from autogrow.reading.arrays import Array

_IMAGE_SHAPE = (3, 32, 32)
_PIXELS = 3072

_Part = tuple[Array, Array]
"""Images (N, 3, 32, 32) uint8 and labels (N,) int64 of one file."""


@dataclass(frozen=True)
class _Version:
    """One way in which the dataset is distributed. `parse` takes (dataset name, content, path for messages)."""

    train: tuple[SourceFile, ...]
    test: tuple[SourceFile, ...]
    parse: Callable[[str, bytes, Path], _Part]

    @property
    def files(self) -> tuple[SourceFile, ...]:
        return self.train + self.test


def find_cifar(name: str, data_dir: Path) -> Source:
    """The source of ``cifar10``, ``cifar100`` or ``cifar100-coarse``.

    Raises `DataError` when no version of it is complete.
    """
    files, (python, binary) = _cifar_files(name), _versions(name)
    for version in (python, binary):
        if all_exist(data_dir, version.files):
            paths = tuple(data_dir / file.path for file in version.files)
            return Source(name, paths, partial(_decode_folder, name, data_dir, version))
    archive = data_dir / files.archive.path
    if archive.is_file():
        return Source(name, (archive,), partial(_decode_archive, name, archive, python))
    missing = (file.path for file in python.files if not (data_dir / file.path).is_file())
    binary_paths = ", ".join(file.path for file in binary.files)
    raise missing_files(name, data_dir, missing, f" (or {files.archive.path}, or the binary version: {binary_paths})")


def all_exist(data_dir: Path, files: Iterable[SourceFile]) -> bool:
    """Whether every one of `files` is there; what is in them is not looked at."""
    return all((data_dir / file.path).is_file() for file in files)


def _cifar_files(name: str) -> CifarFiles:
    files = ENTRIES[name].files
    assert isinstance(files, CifarFiles)
    return files


def _versions(name: str) -> tuple[_Version, _Version]:
    files = _cifar_files(name)
    return (
        _Version(files.python_train, files.python_test, _parse_python),
        _Version(files.binary_train, files.binary_test, _parse_binary),
    )


def _decode_folder(name: str, data_dir: Path, version: _Version) -> DecodedArrays:
    def parts(files: tuple[SourceFile, ...], num_examples: int) -> Iterator[_Part]:
        record_bytes = _cifar_files(name).label_bytes + _PIXELS
        for file in files:
            # Without a published checksum (the binary version) the exact size is what can be checked.
            expected_bytes = None if file.md5 else num_examples // len(files) * record_bytes
            path = data_dir / file.path
            yield version.parse(name, read_verified(path, file, dataset=name, expected_bytes=expected_bytes), path)

    entry = ENTRIES[name]
    return _assemble(name, parts(version.train, entry.num_train), parts(version.test, entry.num_test), data_dir)


def _decode_archive(name: str, archive: Path, python: _Version) -> DecodedArrays:
    verify_file(archive, _cifar_files(name).archive, dataset=name)
    members = stream_members(archive, python.files, dataset=name)
    parts = {file.path: python.parse(name, content, archive / file.path) for file, content in members}
    train, test = ((parts[file.path] for file in files) for files in (python.train, python.test))
    return _assemble(name, train, test, archive)


def _parse_python(name: str, content: bytes, path: Path) -> _Part:
    pickled = load_cifar_pickle(content, path)
    label_key = _cifar_files(name).label_key
    images, labels = pickled.get(b"data"), pickled.get(label_key)
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != _PIXELS:
        raise DataError(f"{path}: holds no 'data' array of shape (N, {_PIXELS}): the file is not of {name}; delete it")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path}: holds no list {label_key.decode()!r} of labels: the file is not of {name}; delete it")
    return _checked_part(name, images, np.array(labels, dtype=np.int64), path)


def _parse_binary(name: str, content: bytes, path: Path) -> _Part:
    files = _cifar_files(name)
    label_bytes = files.label_bytes
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, label_bytes + _PIXELS)
    return _checked_part(
        name, records[:, label_bytes:], records[:, :label_bytes][:, files.label_place].astype(np.int64), path
    )


def _checked_part(name: str, images: Array, labels: Array, path: Path) -> _Part:
    if len(images) != len(labels):
        raise DataError(f"{path}: {len(images)} images but {len(labels)} labels: the file is damaged; delete it")
    num_classes = ENTRIES[name].num_outputs
    out_of_range = labels[(labels < 0) | (labels >= num_classes)]
    if len(out_of_range):
        raise DataError(
            f"{path}: label {out_of_range[0]} is outside 0..{num_classes - 1}: the file is damaged or of another "
            "dataset; delete it"
        )
    return images.reshape(-1, *_IMAGE_SHAPE), labels


def _assemble(name: str, train: Iterator[_Part], test: Iterator[_Part], origin: Path) -> DecodedArrays:
    entry = ENTRIES[name]
    x_train, y_train = _joined(train)
    x_test, y_test = _joined(test)
    if (len(x_train), len(x_test)) != (entry.num_train, entry.num_test):
        raise DataError(
            f"{origin}: {len(x_train)} training and {len(x_test)} test images of {name}, expected {entry.num_train} "
            f"and {entry.num_test}: delete the files and run 'autogrow data fetch {name}'"
        )
    return DecodedArrays(
        task=entry.task,
        augmentation=entry.augmentation,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
    )


def _joined(parts: Iterator[_Part]) -> _Part:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)
