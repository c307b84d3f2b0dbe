import gzip
from dataclasses import replace

import numpy as np
import pytest

from autogrow.data import open_dataset
from autogrow.data.test_split import open_test_split
from autogrow.errors import DataError

from .official_files import idx_bytes, md5, tiny_idx, use_entry, write

LABELS = "MNIST/raw/train-labels-idx1-ubyte"


def with_labels_md5(entry, content):
    return replace(entry, files=replace(entry.files, train_labels=replace(entry.files.train_labels, md5=md5(content))))


@pytest.mark.parametrize("gzipped", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_arrays_are_what_was_written(name, gzipped, data_dir, monkeypatch):
    entry, arrays = tiny_idx(name, data_dir, gzipped=gzipped)
    use_entry(monkeypatch, name, entry)
    dataset = open_dataset(name, data_dir)
    test = open_test_split(dataset)
    for found, expected in zip([*dataset.training_arrays(), test.inputs, test.targets], arrays, strict=True):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


def test_missing_files_are_named_and_present_ones_not(data_dir, monkeypatch):
    entry, _ = tiny_idx("mnist", data_dir)
    use_entry(monkeypatch, "mnist", entry)
    (data_dir / f"{LABELS}.gz").unlink()
    with pytest.raises(DataError, match=f"{data_dir}.*autogrow data fetch mnist.*{LABELS}.gz") as caught:
        open_dataset("mnist", data_dir)
    assert "train-images" not in str(caught.value)


def test_a_truncated_gzip_is_refused_by_its_md5(data_dir, monkeypatch):
    entry, _ = tiny_idx("mnist", data_dir)
    use_entry(monkeypatch, "mnist", entry)
    path = data_dir / f"{LABELS}.gz"
    write(path, path.read_bytes()[:-5])
    with pytest.raises(DataError, match=f"{path}: md5 is .*, expected {entry.files.train_labels.md5}"):
        open_dataset("mnist", data_dir)


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"x" * 100)[:-9], gzip.compress(b"x" * 500)[:40]],
    ids=["no gzip", "cut in the trailer", "cut in the data"],  # pytest's own would hold the time of compression
)
def test_a_corrupted_gzip_is_refused_where_the_md5_fits(content, data_dir, monkeypatch):
    entry, _ = tiny_idx("mnist", data_dir)
    use_entry(monkeypatch, "mnist", with_labels_md5(entry, content))
    write(data_dir / f"{LABELS}.gz", content)
    with pytest.raises(DataError, match="damaged gzip file|not an idx file") as caught:
        open_dataset("mnist", data_dir)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "unpacked",
    [
        idx_bytes(np.zeros(39, np.uint8)),  # fewer labels than images
        idx_bytes(np.zeros((40, 1), np.uint8)),
        idx_bytes(np.zeros(40, np.uint8)) + b"more",
        b"\x00" * 48,
    ],
)
def test_a_file_of_another_shape(unpacked, data_dir, monkeypatch):
    entry, _ = tiny_idx("mnist", data_dir)
    content = gzip.compress(unpacked, mtime=0)
    use_entry(monkeypatch, "mnist", with_labels_md5(entry, content))
    write(data_dir / f"{LABELS}.gz", content)
    with pytest.raises(DataError, match=r"not an idx file of shape \(40,\)"):
        open_dataset("mnist", data_dir)


def test_a_gzip_bomb_is_not_unpacked(data_dir, monkeypatch):
    entry, _ = tiny_idx("mnist", data_dir)
    content = gzip.compress(bytes(20 * 2**20), compresslevel=1)
    use_entry(monkeypatch, "mnist", with_labels_md5(entry, content))
    write(data_dir / f"{LABELS}.gz", content)
    largest = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: largest.append(size) or read(self, size))
    with pytest.raises(DataError, match="not an idx file"):
        open_dataset("mnist", data_dir)
    assert 0 < min(largest)
    assert max(largest) < 100_000


def test_an_unpacked_file_is_refused_by_its_size(data_dir, monkeypatch):
    entry, _ = tiny_idx("mnist", data_dir, gzipped=False)
    use_entry(monkeypatch, "mnist", entry)
    path = data_dir / LABELS
    write(path, path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{path}: 47 bytes, expected 48"):
        open_dataset("mnist", data_dir)
