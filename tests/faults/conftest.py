"""Every test has an empty folder to search in."""

import pytest


@pytest.fixture(autouse=True)
def in_the_workplace(workplace):
    """Every test here runs in it."""
