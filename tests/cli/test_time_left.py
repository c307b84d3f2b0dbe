"""How long the rest of a search takes: from the progress of its trials, without what came before the first of them."""

import math

import pytest

from autogrow.cli.time_left import TimeLeft, in_words

REPORTS = 1 / 10


def report(left, number, progress, now, *, began):
    left.reported(number, progress, now - began, now)


def test_nothing_is_said_before_a_quarter_of_a_trial_is_done():
    left = TimeLeft(4, 0, REPORTS)
    assert left.seconds(5.0) is None
    report(left, 0, 0.1, 101.0, began=100.0)
    assert left.seconds(101.0) is None
    report(left, 0, 0.2, 102.0, began=100.0)
    assert left.seconds(102.0) is None


def test_running_trials_count_and_what_came_before_them_does_not():
    """One at a time, ten seconds each; Ray took a minute before."""
    left = TimeLeft(4, 0, REPORTS)
    for tenth in range(1, 6):
        report(left, 0, tenth / 10, 60.0 + tenth, began=60.0)
    assert left.seconds(65.0) == pytest.approx(35.0)


def test_trials_side_by_side_are_that_much_faster():
    left = TimeLeft(4, 0, REPORTS)
    for tenth in range(1, 6):
        for number in (0, 1):
            report(left, number, tenth / 10, 60.0 + tenth, began=60.0)
    assert left.seconds(65.0) == pytest.approx(15.0)


def test_it_counts_down_between_reports_and_never_below_nothing():
    left = TimeLeft(1, 0, REPORTS)
    report(left, 0, 0.5, 5.0, began=0.0)
    report(left, 0, 0.9, 9.0, began=0.0)
    assert left.seconds(9.5) == pytest.approx(9.0 * 0.1 / 0.5 - 0.5)
    assert left.seconds(99.0) == 0.0


def test_trials_that_are_stopped_early_make_the_others_shorter():
    left = TimeLeft(10, 0, REPORTS)
    for number in range(2):
        began = 10.0 * number
        report(left, number, 0.1, began + 1.0, began=began)
        report(left, number, 0.5, began + 5.0, began=began)
        left.ended(number, 0.5, began + 10.0)
    # Half a trial in ten seconds, and so come the other eight.
    assert left.seconds(20.0) == pytest.approx(80.0)


def test_a_resumed_search_counts_what_is_left_and_a_resumed_trial_from_where_it_began():
    left = TimeLeft(20, 18, REPORTS)
    report(left, 18, 0.6, 1.0, began=0.0)
    report(left, 18, 0.9, 4.0, began=0.0)
    assert left.seconds(4.0) == pytest.approx((0.1 + 1.0) * 4.0 / 0.4)


def test_a_trial_that_fails_before_it_reports_is_one_less():
    left = TimeLeft(3, 0, REPORTS)
    left.ended(0, None, 1.0)
    for tenth in range(1, 6):
        report(left, 1, tenth / 10, 1.0 + tenth, began=1.0)
    assert left.seconds(6.0) == pytest.approx(15.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "unknown"),
        (math.inf, "unknown"),
        (0.2, "0 s"),
        (89.4, "89 s"),
        (91, "2 min"),
        (5399, "90 min"),
        (7200, "2.0 h"),
    ],
)
def test_in_words(seconds, words):
    assert in_words(seconds) == words
