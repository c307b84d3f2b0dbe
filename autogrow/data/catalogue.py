"""The built-in datasets: their official files, checksums and addresses, in one table.

Not for decoding (see `idx`, `cifar`, `generated`) and free of numpy, so that a command line can list the names quickly.
Sources: http://yann.lecun.com/exdb/mnist (files mirrored by the PyTorch project),
https://github.com/zalandoresearch/fashion-mnist, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from autogrow.errors import DataError
from autogrow.registry import Registry, any_callable

Augmentation = Literal["none", "pad_crop_flip", "window_shift"]
"""window_shift: of text, where a window begins."""

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One official file: where it belongs below the data folder, and how it is recognised."""

    path: str
    """Relative to the data folder, with forward slashes; for CIFAR also the member's name in the archive."""
    max_bytes: int
    """More than this is never read, downloaded or unpacked."""
    md5: str | None = None
    """None where no checksum is published: the exact size and the label range are checked instead."""
    url: str | None = None
    """None for files that come only inside an archive."""


@dataclass(frozen=True, kw_only=True)
class IdxFiles:
    """The four files of an MNIST-like dataset. Without its ``.gz`` ending each is accepted as well."""

    train_images: SourceFile
    train_labels: SourceFile
    test_images: SourceFile
    test_labels: SourceFile

    def all(self) -> tuple[SourceFile, SourceFile, SourceFile, SourceFile]:
        """Images and labels for training, then for testing."""
        return self.train_images, self.train_labels, self.test_images, self.test_labels


@dataclass(frozen=True, kw_only=True)
class CifarFiles:
    """The three ways in which CIFAR is distributed, in order of preference: python, binary, python archive."""

    python_train: tuple[SourceFile, ...]
    python_test: tuple[SourceFile, ...]
    python_extra: tuple[SourceFile, ...]
    """In the archive and unpacked with it, because other libraries look for it; not needed for decoding."""
    binary_train: tuple[SourceFile, ...]
    binary_test: tuple[SourceFile, ...]
    archive: SourceFile
    label_key: bytes
    """The pickled dictionary's key of the labels that are used."""
    label_bytes: int
    """Labels before the pixels of a binary record."""
    label_place: int = -1
    """Which of them is used."""


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """What is known of a built-in dataset before any of its files is opened."""

    title: str
    task: str
    input_shape: tuple[int, ...]
    num_outputs: int
    num_train: int
    num_test: int
    augmentation: Augmentation = "none"
    files: IdxFiles | CifarFiles | None = None
    """None: needs no files (embedded in a library, or generated)."""


def _idx_files(folder: str, base_url: str, checksums: tuple[str, str, str, str]) -> IdxFiles:
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    files = [
        SourceFile(path=f"{folder}/{name}.gz", md5=md5, max_bytes=64 * _MIB, url=f"{base_url}/{name}.gz")
        for name, md5 in zip(names, checksums, strict=True)
    ]
    return IdxFiles(train_images=files[0], train_labels=files[1], test_images=files[2], test_labels=files[3])


def _python_files(folder: str, max_bytes: int, checksums: dict[str, str]) -> tuple[SourceFile, ...]:
    return tuple(SourceFile(path=f"{folder}/{name}", md5=md5, max_bytes=max_bytes) for name, md5 in checksums.items())


def _binary_files(folder: str, *names: str) -> tuple[SourceFile, ...]:
    return tuple(SourceFile(path=f"{folder}/{name}.bin", max_bytes=256 * _MIB) for name in names)


_MNIST = _idx_files(
    "MNIST/raw",
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)

_FASHION_MNIST = _idx_files(
    "FashionMNIST/raw",
    # The publisher's bucket answers over plain http only; the md5 is what vouches for the content.
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)

_CIFAR10 = CifarFiles(
    python_train=_python_files(
        "cifar-10-batches-py",
        32 * _MIB,
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
    ),
    python_test=_python_files("cifar-10-batches-py", 32 * _MIB, {"test_batch": "40351d587109b95175f43aff81a1287e"}),
    python_extra=_python_files("cifar-10-batches-py", _MIB, {"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"}),
    binary_train=_binary_files("cifar-10-batches-bin", *(f"data_batch_{number}" for number in range(1, 6))),
    binary_test=_binary_files("cifar-10-batches-bin", "test_batch"),
    archive=SourceFile(
        path="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        max_bytes=256 * _MIB,
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
    label_key=b"labels",
    label_bytes=1,
)

_CIFAR100 = CifarFiles(
    python_train=_python_files("cifar-100-python", 192 * _MIB, {"train": "16019d7e3df5f24257cddd939b257f8d"}),
    python_test=_python_files("cifar-100-python", 192 * _MIB, {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}),
    python_extra=_python_files("cifar-100-python", _MIB, {"meta": "7973b15100ade9c7d40fb424638fde48"}),
    binary_train=_binary_files("cifar-100-binary", "train"),
    binary_test=_binary_files("cifar-100-binary", "test"),
    archive=SourceFile(
        path="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        max_bytes=256 * _MIB,
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    ),
    label_key=b"fine_labels",
    label_bytes=2,  # coarse, then fine
)

_CIFAR100_COARSE = replace(_CIFAR100, label_key=b"coarse_labels", label_place=0)

_ENTRIES = {
    "digits": DatasetEntry(
        title="8x8 handwritten digits (UCI, embedded in scikit-learn)",
        task="classification",
        input_shape=(1, 8, 8),
        num_outputs=10,
        num_train=1438,
        num_test=359,
    ),
    "sine": DatasetEntry(
        title="sin(x) on [-2 pi, 2 pi] (generated)",
        task="regression",
        input_shape=(1,),
        num_outputs=1,
        num_train=2000,
        num_test=1000,
    ),
    "friedman": DatasetEntry(
        title="Friedman's function of 10 features, with noise (generated)",
        task="regression",
        input_shape=(10,),
        num_outputs=1,
        num_train=4000,
        num_test=2000,
    ),
    "summation": DatasetEntry(
        title="the sum of two numbers in [-1, 1] (generated); a million are left when validation is taken off",
        task="regression",
        input_shape=(2,),
        num_outputs=1,
        num_train=1_111_111,
        num_test=100_000,
    ),
    "stdlib": DatasetEntry(
        title="source text of this Python's standard library, 8 MiB",
        task="text",
        input_shape=(128,),
        num_outputs=256,
        num_train=58_981,
        num_test=6553,
        augmentation="window_shift",
    ),
    "mnist": DatasetEntry(
        title="MNIST handwritten digits",
        task="classification",
        input_shape=(1, 28, 28),
        num_outputs=10,
        num_train=60_000,
        num_test=10_000,
        files=_MNIST,
    ),
    "fashion-mnist": DatasetEntry(
        title="Fashion-MNIST clothes",
        task="classification",
        input_shape=(1, 28, 28),
        num_outputs=10,
        num_train=60_000,
        num_test=10_000,
        files=_FASHION_MNIST,
    ),
    "cifar10": DatasetEntry(
        title="CIFAR-10 colour photographs",
        task="classification",
        input_shape=(3, 32, 32),
        num_outputs=10,
        num_train=50_000,
        num_test=10_000,
        augmentation="pad_crop_flip",
        files=_CIFAR10,
    ),
    "cifar100": DatasetEntry(
        title="CIFAR-100 colour photographs, fine labels",
        task="classification",
        input_shape=(3, 32, 32),
        num_outputs=100,
        num_train=50_000,
        num_test=10_000,
        augmentation="pad_crop_flip",
        files=_CIFAR100,
    ),
    "cifar100-coarse": DatasetEntry(
        title="CIFAR-100 colour photographs, 20 coarse labels",
        task="classification",
        input_shape=(3, 32, 32),
        num_outputs=20,
        num_train=50_000,
        num_test=10_000,
        augmentation="pad_crop_flip",
        files=_CIFAR100_COARSE,
    ),
}

ENTRIES = MappingProxyType(_ENTRIES)
PACKAGED: Registry[Callable[[Path], Any]] = Registry(
    "dataset", DataError, group="autogrow.datasets", accepts=any_callable
)
"""Data sets of installed packages, see `autogrow.data.packaged`."""
DATASET_NAMES = tuple(_ENTRIES)
