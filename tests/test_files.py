"""Listing what lies in a folder, also while others write and remove there."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from autogrow.files import paths_present


def test_a_pattern_for_each_level(tmp_path):
    for name in ("a/01/step-1.pt", "a/01/other.txt", "a/x1/step-2.pt", "b/02/step-3.pt", "b/02/step-4.pt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = sorted(path.relative_to(tmp_path).as_posix() for path in paths_present(tmp_path, "*", "[0-9]*", "*.pt"))
    assert found == ["a/01/step-1.pt", "b/02/step-3.pt", "b/02/step-4.pt"]


def test_what_is_missing_or_a_file_holds_nothing(tmp_path):
    (tmp_path / "file").touch()
    assert not list(paths_present(tmp_path / "missing", "*"))
    assert not list(paths_present(tmp_path, "file", "*"))


@pytest.mark.slow
def test_folders_that_go_while_they_are_looked_through(tmp_path):
    def come_and_go(number):
        for _ in range(300):
            (tmp_path / f"{number}").mkdir()
            os.rmdir(tmp_path / f"{number}")

    with ThreadPoolExecutor(3) as pool:
        busy = [pool.submit(come_and_go, number) for number in range(2)]
        while not all(each.done() for each in busy):
            assert not list(paths_present(tmp_path, "*", "*"))
