import pickle
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from autogrow.data import open_dataset
from autogrow.data.test_split import open_test_split
from autogrow.errors import DataError

from .official_files import cifar_pickle, md5, tar_bytes, tiny_cifar, use_entry, write

NAMES = ("cifar10", "cifar100", "cifar100-coarse")


def all_arrays(dataset):
    test = open_test_split(dataset)
    return [*dataset.training_arrays(), test.inputs, test.targets]


@pytest.mark.parametrize("version", ["python", "binary", "archive"])
@pytest.mark.parametrize("name", NAMES)
def test_every_version_gives_the_same_arrays(name, version, data_dir, monkeypatch):
    entry, arrays, _ = tiny_cifar(name, data_dir, version)
    use_entry(monkeypatch, name, entry)
    dataset = open_dataset(name, data_dir)
    for found, expected in zip(all_arrays(dataset), arrays, strict=True):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


@pytest.mark.real_data
def test_the_official_python_and_binary_versions_are_identical(real_data, data_dir):
    if not ((real_data / "cifar-100-binary").is_dir() and (real_data / "cifar-100-python").is_dir()):
        pytest.skip("AUTOGROW_DATA does not hold both versions of CIFAR-100")
    (data_dir / "cifar-100-binary").symlink_to((real_data / "cifar-100-binary").readlink())
    python, binary = open_dataset("cifar100", real_data), open_dataset("cifar100", data_dir)
    assert python.fingerprint == binary.fingerprint
    for found, expected in zip(all_arrays(binary), all_arrays(python), strict=True):
        assert np.array_equal(found, expected)


def test_the_python_version_is_preferred(data_dir, monkeypatch):
    entry, arrays, _ = tiny_cifar("cifar100", data_dir, "python", "binary", "archive")
    use_entry(monkeypatch, "cifar100", entry)
    write(data_dir / "cifar-100-binary/train.bin", b"damaged, but not looked at")
    assert np.array_equal(open_dataset("cifar100", data_dir).training_arrays()[0], arrays[0])


def test_missing_files_are_named_with_their_place(data_dir):
    with pytest.raises(DataError) as caught:
        open_dataset("cifar10", data_dir)
    message = str(caught.value)
    assert str(data_dir) in message
    assert "cifar-10-batches-py/data_batch_5" in message
    assert "cifar-10-batches-bin/test_batch.bin" in message
    assert "cifar-10-python.tar.gz" in message
    assert "autogrow data fetch cifar10" in message
    assert "\n" not in message


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:-1] + b"X"])
def test_a_damaged_python_file_is_refused_by_its_md5(damage, data_dir, monkeypatch):
    entry, _, _ = tiny_cifar("cifar100", data_dir, "python", "binary")
    use_entry(monkeypatch, "cifar100", entry)
    path = data_dir / "cifar-100-python/train"
    expected, damaged = md5(path.read_bytes()), damage(path.read_bytes())
    write(path, damaged)
    with pytest.raises(DataError, match=rf"train: md5 is {md5(damaged)}, expected {expected}: .*delete it"):
        open_dataset("cifar100", data_dir)


def test_a_file_larger_than_its_limit_is_not_read(data_dir, monkeypatch):
    entry, _, _ = tiny_cifar("cifar100", data_dir, "python")
    small = tuple(replace(file, max_bytes=100) for file in entry.files.python_train)
    use_entry(monkeypatch, "cifar100", replace(entry, files=replace(entry.files, python_train=small)))
    with pytest.raises(DataError, match="bytes, expected at most 100"):
        open_dataset("cifar100", data_dir)


def test_a_malicious_pickle_is_refused_even_with_the_right_md5(data_dir, monkeypatch, tmp_path):
    proof = tmp_path / "executed"

    class Malicious:
        def __reduce__(self):
            return subprocess.getoutput, (f"touch {proof}",)

    entry, _, _ = tiny_cifar("cifar100", data_dir, "python")
    content = pickle.dumps({b"data": Malicious()}, protocol=3)
    write(data_dir / "cifar-100-python/train", content)
    forged = tuple(replace(file, md5=md5(content)) for file in entry.files.python_train)
    use_entry(monkeypatch, "cifar100", replace(entry, files=replace(entry.files, python_train=forged)))
    with pytest.raises(DataError, match=r"names subprocess\.getoutput"):
        open_dataset("cifar100", data_dir)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("images", "labels", "key", "message"),
    [
        (np.zeros((40, 3072), np.uint8), np.arange(39) % 4, b"fine_labels", "40 images but 39 labels"),
        (np.zeros((40, 3072), np.uint8), np.arange(40), b"fine_labels", r"label 4 is outside 0\.\.3"),
        (np.zeros((40, 3072), np.uint8), np.arange(40) % 4, b"labels", "holds no list 'fine_labels'"),
        (np.zeros((40, 3071), np.uint8), np.arange(40) % 4, b"fine_labels", "holds no 'data' array"),
        (np.zeros((20, 3072), np.uint8), np.arange(20) % 4, b"fine_labels", "20 training and 8 test images"),
    ],
)
def test_inconsistent_python_files(images, labels, key, message, data_dir, monkeypatch):
    entry, _, _ = tiny_cifar("cifar100", data_dir, "python")
    content = cifar_pickle(images, labels, key)
    write(data_dir / "cifar-100-python/train", content)
    files = replace(entry.files, python_train=(replace(entry.files.python_train[0], md5=md5(content)),))
    use_entry(monkeypatch, "cifar100", replace(entry, files=files))
    with pytest.raises(DataError, match=message):
        open_dataset("cifar100", data_dir)


def test_a_truncated_binary_file_is_refused_by_its_size(data_dir, monkeypatch):
    entry, _, _ = tiny_cifar("cifar100", data_dir, "binary")
    use_entry(monkeypatch, "cifar100", entry)
    path = data_dir / "cifar-100-binary/train.bin"
    write(path, path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"train\.bin: {40 * 3074 - 1} bytes, expected {40 * 3074}"):
        open_dataset("cifar100", data_dir)


def test_a_binary_label_out_of_range(data_dir, monkeypatch):
    entry, _, _ = tiny_cifar("cifar10", data_dir, "binary")
    use_entry(monkeypatch, "cifar10", entry)
    path = data_dir / "cifar-10-batches-bin/data_batch_3.bin"
    write(path, b"\x07" + path.read_bytes()[1:])
    with pytest.raises(DataError, match=r"data_batch_3\.bin: label 7 is outside 0\.\.3"):
        open_dataset("cifar10", data_dir)


def archive_entry(entry, content):
    return replace(entry, files=replace(entry.files, archive=replace(entry.files.archive, md5=md5(content))))


def test_a_damaged_archive_is_refused_by_its_md5(data_dir, monkeypatch):
    entry, _, archive = tiny_cifar("cifar10", data_dir, "archive")
    use_entry(monkeypatch, "cifar10", entry)
    write(data_dir / entry.files.archive.path, archive[:-10])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz: md5 is"):
        open_dataset("cifar10", data_dir)


def test_an_archive_without_a_member(data_dir, monkeypatch):
    entry, _, _ = tiny_cifar("cifar100", data_dir)
    content = tar_bytes({"cifar-100-python/other": b"x"})
    write(data_dir / entry.files.archive.path, content)
    use_entry(monkeypatch, "cifar100", archive_entry(entry, content))
    with pytest.raises(DataError, match="holds no cifar-100-python/train, cifar-100-python/test"):
        open_dataset("cifar100", data_dir)
