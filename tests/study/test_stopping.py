"""What has a search's driver stop, and how long it waits for the trials that run."""

import signal

import pytest

from autogrow.errors import UsageError
from autogrow.study import driver as drivers
from autogrow.study.settings import parse_timeout

from .test_failures_in_a_row import FAILED, driver, end  # noqa: F401  a fixture


@pytest.fixture
def clock(monkeypatch):
    """Seconds, as the driver sees them."""

    class Clock:
        seconds = 0.0

    monkeypatch.setattr(drivers.time, "monotonic", lambda: Clock.seconds)
    return Clock


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_once_saves_and_twice_ends(number, driver, folder):  # noqa: F811
    around = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may have it ignored
    try:
        with driver.handling_signals():
            signal.raise_signal(number)
            assert (driver.interrupted, driver.stopping()) == (True, True)
            assert folder.interrupt_file.exists()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, around)


def test_nohup_is_heeded(driver, folder):  # noqa: F811
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with driver.handling_signals():
            signal.raise_signal(signal.SIGHUP)
        assert not driver.interrupted
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_user_waits_less_long_than_a_budget(driver, clock):  # noqa: F811
    end(driver, FAILED, FAILED)  # as many as end the search
    assert (driver.stopping(), driver.out_of_patience()) == (True, False)
    clock.seconds = drivers.SAVE_SECONDS - 1
    assert not driver.out_of_patience()
    with driver.handling_signals():
        signal.raise_signal(signal.SIGINT)
    clock.seconds += 2
    assert driver.out_of_patience()


def test_a_user_waits_for_seconds(driver, clock):  # noqa: F811
    with driver.handling_signals():
        signal.raise_signal(signal.SIGTERM)
    clock.seconds = drivers.HURRIED_SAVE_SECONDS - 1
    assert not driver.out_of_patience()
    clock.seconds = drivers.HURRIED_SAVE_SECONDS + 1
    assert driver.out_of_patience()


def test_ctrl_c_before_the_search_has_begun_is_one_line(workplace, autogrow, monkeypatch):
    """While a user's model is built, say, which may take as long as it likes."""
    monkeypatch.syspath_prepend(workplace)
    (workplace / "slow_to_build.py").write_text(
        "import signal, time\n\ndef network():\n    signal.raise_signal(signal.SIGINT)\n    time.sleep(60)\n"
    )
    around = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have it ignored in the background
    try:
        code, out, err = autogrow("search", "--name", "run", "--model", "slow_to_build:network", "--quiet")
    finally:
        signal.signal(signal.SIGINT, around)
    assert (code, out, err.strip()) == (130, "", "autogrow: interrupted")  # after the "^C" of a terminal
    assert not (workplace / "results").exists()


@pytest.mark.parametrize(("text", "seconds"), [("none", 0), ("0", 0), ("None", 0), ("30m", 1800), ("90", 90)])
def test_a_timeout_is_a_duration_or_none(text, seconds):
    assert parse_timeout(text) == seconds


def test_another_word_is_refused():
    with pytest.raises(UsageError, match="duration 'never' cannot be read"):
        parse_timeout("never")
