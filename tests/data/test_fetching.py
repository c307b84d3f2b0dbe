import errno
import functools
import http.server
import os
import threading
from dataclasses import replace
from urllib.error import URLError

import numpy as np
import pytest

from autogrow.data import fetch_dataset, fetching, open_dataset
from autogrow.errors import DataError

from .official_files import tiny_cifar, tiny_idx, use_entry, write


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A folder that is served over http, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def serve_idx(server, monkeypatch):
    folder, address = server
    entry, arrays = tiny_idx("mnist", folder)
    changed = {role: replace(file, url=f"{address}/{file.path}") for role, file in vars(entry.files).items()}
    use_entry(monkeypatch, "mnist", replace(entry, files=replace(entry.files, **changed)))
    return arrays


def serve_cifar(server, monkeypatch, name="cifar100"):
    folder, address = server
    entry, arrays, archive = tiny_cifar(name, folder, "archive")
    url = f"{address}/{entry.files.archive.path}"
    files = replace(entry.files, archive=replace(entry.files.archive, url=url))
    use_entry(monkeypatch, name, replace(entry, files=files))
    return arrays, archive


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_idx_files_are_downloaded_checked_and_opened(server, data_dir, monkeypatch, capsys):
    arrays = serve_idx(server, monkeypatch)
    result = fetch_dataset("mnist", data_dir)
    assert result.files == tuple(data_dir / path.relative_to(server[0]) for path in sorted_as_fetched(server[0]))
    assert files_below(data_dir) == files_below(server[0])
    assert result.message == f"fetched 4 files of mnist to {data_dir}"
    assert np.array_equal(open_dataset("mnist", data_dir).training_arrays()[0], arrays[0])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "train-images-idx3-ubyte.gz" in captured.err


def sorted_as_fetched(folder):
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return [folder / "MNIST/raw" / f"{name}-ubyte.gz" for name in names]


def test_only_missing_and_damaged_files_are_downloaded(server, data_dir, monkeypatch):
    serve_idx(server, monkeypatch)
    fetch_dataset("mnist", data_dir)
    images, labels, *_ = (data_dir / path.relative_to(server[0]) for path in sorted_as_fetched(server[0]))
    images.write_bytes(b"damaged")
    labels.unlink()
    assert fetch_dataset("mnist", data_dir).files == (images, labels)
    again = fetch_dataset("mnist", data_dir)
    assert again.files == ()
    assert again.message == f"nothing to fetch: mnist is already in {data_dir}"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_cifar_archive_is_unpacked_member_by_member(name, server, data_dir, monkeypatch):
    arrays, _ = serve_cifar(server, monkeypatch, name)
    result = fetch_dataset(name, data_dir)
    # The unlisted member and the archive itself do not stay.
    assert files_below(data_dir) == sorted(str(path.relative_to(data_dir)) for path in result.files)
    assert any(path.name in ("meta", "batches.meta") for path in result.files)
    assert np.array_equal(open_dataset(name, data_dir).training_arrays()[0], arrays[0])
    assert fetch_dataset(name, data_dir).files == ()


def test_an_archive_that_is_there_needs_no_network_and_is_left(server, data_dir, monkeypatch):
    _, archive = serve_cifar(server, monkeypatch)
    write(data_dir / "cifar-100-python.tar.gz", archive)
    monkeypatch.setattr(fetching, "urlopen", no_network)
    assert len(fetch_dataset("cifar100", data_dir).files) == 3
    assert (data_dir / "cifar-100-python.tar.gz").read_bytes() == archive


def test_a_damaged_python_file_is_replaced_from_the_archive(server, data_dir, monkeypatch):
    serve_cifar(server, monkeypatch)
    fetch_dataset("cifar100", data_dir)
    train = data_dir / "cifar-100-python/train"
    content = train.read_bytes()
    train.write_bytes(content[:-1])
    fetch_dataset("cifar100", data_dir)
    assert train.read_bytes() == content


def test_the_binary_version_is_enough(data_dir, monkeypatch):
    entry, _, _ = tiny_cifar("cifar100", data_dir, "binary")
    use_entry(monkeypatch, "cifar100", entry)
    monkeypatch.setattr(fetching, "urlopen", no_network)
    assert fetch_dataset("cifar100", data_dir).files == ()


@pytest.mark.parametrize("name", ["digits", "sine", "friedman", "summation"])
def test_generated_datasets_need_nothing(name, data_dir):
    result = fetch_dataset(name, data_dir)
    assert result.files == ()
    assert result.message == f"nothing to fetch: {name} needs no files"


def test_names_that_cannot_be_fetched(data_dir):
    with pytest.raises(DataError, match="unknown dataset 'mnis'.*did you mean 'mnist'"):
        fetch_dataset("mnis", data_dir)
    with pytest.raises(DataError, match=r"mine\.npz is your own file"):
        fetch_dataset("mine.npz", data_dir)


def no_network(*_, **__):
    raise URLError(OSError(-2, "Name or service not known"))


def test_without_network_the_message_says_what_to_put_where(data_dir, monkeypatch):
    monkeypatch.setattr(fetching, "urlopen", no_network)
    with pytest.raises(DataError) as caught:
        fetch_dataset("mnist", data_dir)
    message = str(caught.value)
    assert "Name or service not known" in message
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        assert f"{data_dir}/MNIST/raw/{name}-ubyte.gz from https://ossci-datasets" in message
    assert "\n" not in message
    assert files_below(data_dir) == []

    with pytest.raises(
        DataError, match=rf"{data_dir}/cifar-10-python\.tar\.gz from https://www\.cs\.toronto\.edu/~kriz"
    ):
        fetch_dataset("cifar10", data_dir)
    assert files_below(data_dir) == []


def test_a_file_that_the_server_lacks(server, data_dir, monkeypatch):
    serve_idx(server, monkeypatch)
    sorted_as_fetched(server[0])[0].unlink()
    with pytest.raises(DataError, match=r"cannot download http://127\.0\.0\.1.*404"):
        fetch_dataset("mnist", data_dir)


def test_a_download_with_another_checksum_does_not_stay(server, data_dir, monkeypatch):
    serve_cifar(server, monkeypatch)
    write(server[0] / "cifar-100-python.tar.gz", b"something else")
    with pytest.raises(DataError, match=r"md5 of the download is .*, expected .*: try again, or put the file from"):
        fetch_dataset("cifar100", data_dir)
    assert files_below(data_dir) == []


@pytest.mark.slow
def test_an_endless_download_is_cut_off(server, data_dir, monkeypatch):
    serve_idx(server, monkeypatch)
    sorted_as_fetched(server[0])[0].write_bytes(bytes(65 * 2**20))
    with pytest.raises(DataError, match="sends more than 67108864 bytes"):
        fetch_dataset("mnist", data_dir)
    assert files_below(data_dir) == []


@pytest.mark.parametrize(
    ("interruption", "raised"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), DataError),
        (TimeoutError("timed out"), DataError),
    ],
)
def test_an_interrupted_download_leaves_nothing(interruption, raised, server, data_dir, monkeypatch):
    serve_cifar(server, monkeypatch)

    def interrupted(url, timeout):
        response = urlopen(url, timeout=timeout)
        read = response.read

        def read_once(size):
            response.read = fail
            return read(100)

        response.read = read_once
        return response

    def fail(_):
        assert list(data_dir.iterdir())  # the unfinished file is there at this moment
        raise interruption

    urlopen = fetching.urlopen
    monkeypatch.setattr(fetching, "urlopen", interrupted)
    with pytest.raises(raised):
        fetch_dataset("cifar100", data_dir)
    assert files_below(data_dir) == []


class FullDisk:
    """A file on a disk that has just become full, or that may not be written."""

    def __init__(self, number):
        self.number = number

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def write(self, _):
        raise OSError(self.number, os.strerror(self.number))


def test_a_full_disk_is_named_and_nothing_stays(server, data_dir, monkeypatch):
    serve_cifar(server, monkeypatch)
    path_type = type(data_dir)
    path_open = path_type.open

    def open_on_full_disk(path, mode="r", *arguments, **keywords):
        if "x" not in mode:
            return path_open(path, mode, *arguments, **keywords)
        path.touch()
        return FullDisk(errno.ENOSPC)

    monkeypatch.setattr(path_type, "open", open_on_full_disk)
    with pytest.raises(
        DataError, match=rf"disk full while writing {data_dir}/cifar-100-python\.tar\.gz .*free some space"
    ):
        fetch_dataset("cifar100", data_dir)
    assert files_below(data_dir) == []


def test_a_folder_that_may_not_be_written(server, data_dir, monkeypatch):
    serve_cifar(server, monkeypatch)

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(type(data_dir), "mkdir", refuse)
    with pytest.raises(DataError, match=rf"cannot write to {data_dir} \(Permission denied\): give another data folder"):
        fetch_dataset("cifar100", data_dir)
