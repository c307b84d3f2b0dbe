"""How a search that stops because of failures counts them; whole searches that do are in tests/cli/test_search.py."""

import time

import pytest

from autogrow.search_plans import plan_new_search
from autogrow.study.driver import Driver
from autogrow.study.executor import Host
from autogrow.study.monitor import SearchMonitor

from .made_results import complete, failed

pytestmark = pytest.mark.slow

FAILED, COMPLETE = failed(), complete()


@pytest.fixture
def driver(folder, database, data_dir):
    plan = plan_new_search("digits", "mlp", trials=9, epochs=4, data_dir=data_dir, max_consecutive_failures=2)
    return Driver(plan, folder, database, SearchMonitor(), time.monotonic())


def end(driver, *results):
    """As many trials as there are results run at a time, and end in this order."""
    for config, result in zip([driver.next_trial(Host()) for _ in results], results, strict=True):
        driver.ended(config, result)


def test_one_that_ends_well_between_them_undoes_the_count(driver):
    end(driver, FAILED, COMPLETE, FAILED)
    assert (driver.failures_in_a_row, driver.stopping()) == (1, False)


def test_one_that_still_ends_well_after_them_does_not(driver, folder):
    end(driver, FAILED, FAILED, COMPLETE)
    assert (driver.failures_in_a_row, driver.stopping()) == (2, True)
    assert folder.interrupt_file.exists()
