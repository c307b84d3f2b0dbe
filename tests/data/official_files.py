"""Writes tiny files in the official formats, and the catalogue entries (sizes, checksums) that describe them."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from dataclasses import replace

import numpy as np

from autogrow.data import catalogue

NUM_CLASSES = 4
NUM_TEST = 8


def md5(content):
    return hashlib.md5(content).hexdigest()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def use_entry(monkeypatch, name, entry):
    monkeypatch.setitem(catalogue._ENTRIES, name, entry)


def idx_bytes(array):
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def tiny_idx(name, data_dir, *, gzipped=True):
    """Write a dataset of 40 + 8 images of 28x28; return its entry and (x_train, y_train, x_test, y_test)."""
    random = np.random.default_rng(0)
    entry = replace(catalogue.ENTRIES[name], num_outputs=NUM_CLASSES, num_train=40, num_test=NUM_TEST)
    files, arrays = {}, []
    for role, prefix, count in (("train", "train", 40), ("test", "test", NUM_TEST)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % NUM_CLASSES).astype(np.uint8)
        arrays += [images[:, None], labels.astype(np.int64)]
        for kind, array in (("images", images), ("labels", labels)):
            file = getattr(entry.files, f"{prefix}_{kind}")
            packed = gzip.compress(idx_bytes(array), mtime=0)
            target = data_dir / file.path
            write(target, packed) if gzipped else write(target.with_suffix(""), idx_bytes(array))
            files[f"{role}_{kind}"] = replace(file, md5=md5(packed))
    return replace(entry, files=catalogue.IdxFiles(**files)), arrays


def cifar_pickle(images, labels, label_key):
    """As the official files: bytes for strings, and numpy's old module path (protocol 3 spells globals as text)."""
    content = pickle.dumps({b"data": images, label_key: labels.tolist()}, protocol=3)
    return content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def tar_bytes(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tiny_cifar(name, data_dir, *versions):
    """Write the `versions` ("python", "binary", "archive") of 40 + 8 images; return the entry and the arrays."""
    random = np.random.default_rng(0)
    entry = replace(catalogue.ENTRIES[name], num_outputs=NUM_CLASSES, num_train=40, num_test=NUM_TEST)
    official, arrays, members, changed = entry.files, [], {}, {}
    for role, count in (("train", 40), ("test", NUM_TEST)):
        images = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = np.arange(count, dtype=np.int64) % NUM_CLASSES
        arrays += [images.reshape(-1, 3, 32, 32), labels]
        python, binary = getattr(official, f"python_{role}"), getattr(official, f"binary_{role}")
        checked = []
        for file, x, y in zip(python, np.split(images, len(python)), np.split(labels, len(python)), strict=True):
            members[file.path] = cifar_pickle(x, y, official.label_key)
            checked.append(replace(file, md5=md5(members[file.path])))
        changed[f"python_{role}"] = tuple(checked)
        for file, x, y in zip(binary, np.split(images, len(binary)), np.split(labels, len(binary)), strict=True):
            labels_of_record = np.full((len(y), official.label_bytes), 99, dtype=np.uint8)
            labels_of_record[:, official.label_place] = y
            if "binary" in versions:
                write(data_dir / file.path, np.hstack([labels_of_record, x]).tobytes())
    extra = official.python_extra[0]
    members[extra.path] = b"meta"
    archive = tar_bytes({"cifar/readme.html": b"unlisted", **members})
    if "python" in versions:
        for path, content in members.items():
            write(data_dir / path, content)
    if "archive" in versions:
        write(data_dir / official.archive.path, archive)
    files = replace(
        official,
        python_extra=(replace(extra, md5=md5(b"meta")),),
        archive=replace(official.archive, md5=md5(archive)),
        **changed,
    )
    return replace(entry, files=files), arrays, archive
