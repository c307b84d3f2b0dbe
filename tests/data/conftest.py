"""Every test gets a cache folder of its own; the official files, where there are any, are only read."""

import os
from pathlib import Path

import pytest

REAL_FOLDERS = ("MNIST", "cifar-100-python", "cifar-100-binary")


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    """The user's cache folder of this test."""
    folder = tmp_path / "user-cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "autogrow"


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def real_data(tmp_path_factory):
    """A data folder with links to the official files of AUTOGROW_DATA, so that nothing is written beside them."""
    given = os.environ.get("AUTOGROW_DATA")
    if not given:
        pytest.skip("AUTOGROW_DATA is not set: no official files")
    folder = tmp_path_factory.mktemp("real-data")
    for name in REAL_FOLDERS:
        if (Path(given) / name).is_dir():
            (folder / name).symlink_to(Path(given) / name)
    return folder
