import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogrow.study.successive_halving import FEWEST_COMPARED, Ladders, SuccessiveHalving

from . import made_results


def report(accuracy, compute=0.2, num_events=1, seconds=1.0, progress=0.25, may_grow=True):
    changes = {
        "validation_score": 0.5,
        "validation_loss": 1 - accuracy,
        "compute": compute,
        "num_events": num_events,
        "train_seconds": seconds,
    }
    return made_results.report(changes, progress=progress, may_grow=may_grow)


@pytest.fixture
def fewest(monkeypatch):
    """Whether a trial is behind is asked from the first other on."""
    monkeypatch.setattr(Ladders.__init__, "__defaults__", (0.5, 1, "validation_loss"))


@pytest.fixture
def halving(tmp_path, fewest):
    return SuccessiveHalving("flops", tmp_path / "rungs.jsonl")


def test_the_worst_third_is_stopped_at_a_rung(tmp_path):
    halving = SuccessiveHalving("flops", tmp_path / "rungs.jsonl")
    accuracies = [0.5, 0.6, 0.5, 0.4, 0.55, 0.45, 0.1, 0.52]
    assert len(accuracies) == FEWEST_COMPARED
    assert all(halving.goes_on(root, "searched", report(accuracy)) for root, accuracy in enumerate(accuracies))
    assert not halving.goes_on(8, "searched", report(0.44))
    assert halving.goes_on(9, "searched", report(0.49))


def test_the_loss_decides_whatever_the_score(halving):
    def with_score(score, loss):
        made = report(1 - loss)
        return made.model_copy(update={"metrics": made.metrics.model_copy(update={"validation_score": score})})

    assert halving.goes_on(0, "searched", with_score(0.9, loss=0.5))
    assert halving.goes_on(1, "searched", with_score(0.1, loss=0.4))
    assert not halving.goes_on(2, "searched", with_score(0.95, loss=0.6))


def test_rungs_are_of_compute_and_not_of_reports(halving):
    for root in range(3):
        assert halving.goes_on(root, "searched", report(0.9, compute=0.25))
    assert halving.goes_on(3, "searched", report(0.1, compute=0.19)), "nobody else was at that rung yet"
    assert halving.goes_on(4, "searched", report(0.2, compute=0.8)), "nor at that one"
    assert not halving.goes_on(5, "searched", report(0.1, compute=0.39))


def test_a_rung_is_looked_at_once(halving):
    assert halving.goes_on(0, "searched", report(0.5))
    assert halving.goes_on(1, "searched", report(0.9))
    assert halving.goes_on(0, "searched", report(0.1, compute=0.3))


def test_controls_are_compared_with_and_never_stopped(halving):
    assert halving.goes_on(0, "static", report(0.9, num_events=1))
    assert halving.goes_on(1, "default", report(0.1))
    assert not halving.goes_on(2, "searched", report(0.2))


def test_train_seconds_instead(tmp_path, fewest):
    halving = SuccessiveHalving("train_seconds", tmp_path / "rungs.jsonl")
    assert halving.goes_on(0, "searched", report(0.9, compute=0.9, seconds=2.5))
    assert halving.goes_on(1, "searched", report(0.1, compute=0.9, seconds=0.9))
    assert not halving.goes_on(1, "searched", report(0.1, compute=0.9, seconds=2.0))
    assert (tmp_path / "rungs.jsonl").exists()


def test_none_stops_nothing(tmp_path):
    halving = SuccessiveHalving("none", tmp_path / "rungs.jsonl")
    assert all(halving.goes_on(root, "searched", report(1.0 / (1 + root), compute=1.0)) for root in range(10))
    assert not (tmp_path / "rungs.jsonl").exists()


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1), st.floats(0.1, 1)), min_size=1, max_size=40), st.data())
def test_a_search_that_goes_on_decides_as_if_it_had_never_stopped(tmp_path_factory, reports, data):
    folder = tmp_path_factory.mktemp("rungs")
    whole = SuccessiveHalving("flops", folder / "whole.jsonl")
    parts = SuccessiveHalving("flops", folder / "parts.jsonl")
    for root, accuracy, compute in reports:
        if data.draw(st.booleans()):
            parts = SuccessiveHalving("flops", folder / "parts.jsonl")
        entry = report(accuracy, compute=compute)
        assert parts.goes_on(root, "searched", entry) == whole.goes_on(root, "searched", entry)


def test_what_was_compared_is_written_down(halving, tmp_path):
    halving.goes_on(0, "searched", report(0.5))
    halving.goes_on(1, "searched", report(0.4))
    lines = [json.loads(line) for line in (tmp_path / "rungs.jsonl").read_text().splitlines()]
    better = {"root": 0, "rung": 0, "value": -0.5, "behind": False, "stopped": False, "metric": "validation_loss"}
    worse = {"root": 1, "rung": 0, "value": -0.6, "behind": True, "stopped": True, "metric": "validation_loss"}
    assert lines == [{**entry, "ladder": ladder} for entry in (better, worse) for ladder in ("usage", "progress")]


def test_of_older_versions_which_compared_scores_it_is_known_what_has_stopped(tmp_path, fewest):
    record = tmp_path / "rungs.jsonl"
    entries = [{"root": root, "rung": 0, "value": 0.9, "stopped": root == 2} for root in range(3)]
    record.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    halving = SuccessiveHalving("flops", record)
    assert halving.goes_on(3, "searched", report(0.5)), "a score is no loss"
    assert not halving.goes_on(4, "searched", report(0.4))
    assert not halving.goes_on(2, "searched", report(0.9))


class TestTwoLadders:
    """A trial is stopped where it is behind at equal compute and at equal progress."""

    def test_a_large_network_that_is_ahead_at_equal_progress_goes_on(self, halving):
        halving.goes_on(0, "searched", report(0.5, compute=0.02, progress=0.2))
        halving.goes_on(0, "searched", report(0.9, compute=0.1, progress=0.9))
        assert halving.goes_on(1, "searched", report(0.6, compute=0.1, progress=0.2))

    def test_a_small_network_that_is_ahead_at_equal_compute_goes_on(self, halving):
        halving.goes_on(0, "searched", report(0.5, compute=0.1, progress=0.2))
        halving.goes_on(0, "searched", report(0.9, compute=0.4, progress=0.9))
        assert halving.goes_on(1, "searched", report(0.6, compute=0.1, progress=0.9))

    def test_small_networks_are_compared_below_the_first_rung(self, halving):
        halving.goes_on(0, "searched", report(0.9, compute=0.01))
        assert not halving.goes_on(1, "searched", report(0.5, compute=0.01))

    def test_networks_whose_flops_cannot_be_counted_are_compared_too(self, halving):
        halving.goes_on(0, "searched", report(0.9, compute=0.0))
        assert not halving.goes_on(1, "searched", report(0.5, compute=0.0))

    def test_nothing_is_compared_at_the_very_beginning(self, halving):
        halving.goes_on(0, "searched", report(0.9, progress=0.1))
        assert halving.goes_on(1, "searched", report(0.1, progress=0.1))


class TestPoliciesThatHaveNotGrown:
    @pytest.fixture
    def other(self, halving):
        halving.goes_on(0, "searched", report(0.9))
        halving.goes_on(0, "searched", report(0.9, progress=0.6))
        return halving

    def test_one_that_is_going_to_grow_is_not_judged(self, other):
        assert other.goes_on(1, "searched", report(0.1, num_events=0))

    def test_one_that_never_grows_is_judged(self, other):
        assert not other.goes_on(1, "searched", report(0.1, num_events=0, may_grow=False))

    def test_one_that_waits_beyond_half_of_the_run_is_judged(self, other):
        assert not other.goes_on(1, "searched", report(0.1, num_events=0, progress=0.6))
