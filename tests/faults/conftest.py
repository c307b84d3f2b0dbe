"""Every test has an empty folder to search in; digits are decoded once for all of them."""

import pytest

from autogrow.data import open_dataset


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults-data")
    open_dataset("digits", folder)
    return folder


@pytest.fixture(autouse=True)
def workplace(tmp_path, data_dir, monkeypatch):
    """The current folder of the searches."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOGROW_DATA", str(data_dir))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path
