import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from autogrow.data import array_store, open_dataset
from autogrow.data.test_split import open_test_split
from autogrow.errors import DataError

from .official_files import tiny_idx, use_entry


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


COMPLETE = ["meta.json", "x_test.npy", "x_train.npy", "y_test.npy", "y_train.npy"]


def test_a_folder_holds_the_arrays_and_their_description(data_dir):
    dataset = open_dataset("sine", data_dir)
    assert dataset.arrays_folder.parent == data_dir / "autogrow-arrays"
    assert files_below(data_dir) == COMPLETE
    assert json.loads((dataset.arrays_folder / "meta.json").read_text())["fingerprint"] == dataset.fingerprint


def test_arrays_share_the_pages_of_the_file(data_dir):
    dataset = open_dataset("sine", data_dir)
    mapped, _ = dataset.training_arrays()
    with (dataset.arrays_folder / "x_train.npy").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(np.float32(123).tobytes())
    assert mapped[-1, 0] == 123


def test_the_fingerprint_identifies_contents_and_not_places(data_dir, tmp_path):
    assert open_dataset("sine", data_dir).fingerprint == open_dataset("sine", tmp_path / "other").fingerprint
    assert open_dataset("sine", data_dir).fingerprint != open_dataset("digits", data_dir).fingerprint


def drop_test_array(folder):
    (folder / "y_test.npy").unlink()


def truncate(folder):
    path = folder / "x_train.npy"
    path.write_bytes(path.read_bytes()[:-1])


def other_shape(folder):
    np.save(folder / "x_train.npy", np.zeros((3, 1), np.float32))


def other_type(folder):
    np.save(folder / "x_train.npy", np.zeros((2000, 1), np.int32))


def spoil_meta(folder):
    (folder / "meta.json").write_text('{"format": 1')


def empty_meta(folder):
    (folder / "meta.json").write_text("[]")


def other_format(folder):
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "format": 0}))


@pytest.mark.parametrize(
    "damage", [drop_test_array, truncate, other_shape, other_type, spoil_meta, empty_meta, other_format, shutil.rmtree]
)
def test_a_damaged_folder_is_rebuilt(damage, data_dir):
    dataset = open_dataset("sine", data_dir)
    before = np.array(dataset.training_arrays()[0])
    damage(dataset.arrays_folder)
    again = open_dataset("sine", data_dir)
    assert again == dataset
    assert np.array_equal(again.training_arrays()[0], before)
    assert len(open_test_split(again)) == 1000
    assert files_below(data_dir) == COMPLETE


def test_a_touched_source_file_is_verified_again(data_dir, monkeypatch):
    entry, _ = tiny_idx("mnist", data_dir)
    use_entry(monkeypatch, "mnist", entry)
    first = open_dataset("mnist", data_dir)
    os.utime(data_dir / entry.files.train_labels.path, ns=(1, 1))
    second = open_dataset("mnist", data_dir)
    assert first.arrays_folder != second.arrays_folder
    assert first.fingerprint == second.fingerprint


OPEN_DATASET = "import sys; from pathlib import Path; from autogrow.data import open_dataset; "


@pytest.mark.slow
def test_two_processes_that_decode_at_once_both_end_well(data_dir):
    code = OPEN_DATASET + "d = open_dataset('sine', Path(sys.argv[1])); print(d.fingerprint, len(d.split(seed=0)[0]))"
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code, str(data_dir)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert files_below(data_dir) == COMPLETE


def open_when_all_are_ready(data_dir, barrier, queue):
    publish = array_store.publish

    def publish_together(fresh, folder):
        barrier.wait(timeout=30)  # both have decoded before either renames
        publish(fresh, folder)

    array_store.publish = publish_together
    queue.put(open_dataset("sine", data_dir).fingerprint)


@pytest.mark.slow
@pytest.mark.parametrize("damaged_folder_in_the_way", [False, True])
def test_a_race_to_the_rename_has_no_loser(damaged_folder_in_the_way, data_dir):
    if damaged_folder_in_the_way:
        truncate(open_dataset("sine", data_dir).arrays_folder)
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    processes = [context.Process(target=open_when_all_are_ready, args=(data_dir, barrier, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    fingerprints = {queue.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert fingerprints == {open_dataset("sine", data_dir).fingerprint}
    assert files_below(data_dir) == COMPLETE


def fail_to_write_in(folder, number, monkeypatch):
    write_array = array_store.write_array

    def write(path, array):
        if path.is_relative_to(folder) and path.name == "y_train.npy":
            raise OSError(number, os.strerror(number), str(path))
        write_array(path, array)

    monkeypatch.setattr(array_store, "write_array", write)


def test_a_full_disk_is_named_and_nothing_stays(data_dir, monkeypatch):
    fail_to_write_in(data_dir, errno.ENOSPC, monkeypatch)
    with pytest.raises(DataError, match=rf"disk full while writing {data_dir}/autogrow-arrays/sine-.*free some space"):
        open_dataset("sine", data_dir)
    assert not files_below(data_dir)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_read_only_data_folder_sends_the_arrays_to_the_user_cache(number, data_dir, user_cache, monkeypatch):
    fail_to_write_in(data_dir, number, monkeypatch)
    dataset = open_dataset("sine", data_dir)
    assert dataset.arrays_folder.is_relative_to(user_cache)
    assert len(dataset.split(seed=0)[0]) == 1600
    assert open_dataset("sine", data_dir) == dataset


def test_arrays_prepared_in_a_read_only_data_folder_are_used(data_dir, user_cache, monkeypatch):
    prepared = open_dataset("sine", data_dir)
    fail_to_write_in(data_dir, errno.EROFS, monkeypatch)
    assert open_dataset("sine", data_dir) == prepared
    assert not user_cache.exists()


def test_no_writable_place_at_all(data_dir, tmp_path, monkeypatch):
    fail_to_write_in(tmp_path, errno.EACCES, monkeypatch)
    with pytest.raises(DataError, match=f"cannot write decoded arrays to {data_dir}.* or .*make one of them writable"):
        open_dataset("sine", data_dir)


def test_other_disk_errors_are_not_hidden(data_dir, monkeypatch):
    fail_to_write_in(data_dir, errno.EIO, monkeypatch)
    with pytest.raises(OSError, match="Input/output error"):
        open_dataset("sine", data_dir)


def test_a_dataset_whose_folder_has_gone(data_dir):
    dataset = open_dataset("sine", data_dir)
    shutil.rmtree(dataset.arrays_folder)
    with pytest.raises(DataError, match=r"x_train\.npy: decoded array missing or damaged: open the dataset again"):
        dataset.split(seed=0)
