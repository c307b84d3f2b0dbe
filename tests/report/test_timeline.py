"""Events joined with the samples around them."""

from autogrow.report.timeline import growth_timeline, read_timeline
from autogrow.training.records import TrialFolder
from tests.report.conftest import growth_event, sample

SAMPLES = [sample(index, accuracy, index * 1e9) for index, accuracy in enumerate((0.1, 0.4, 0.6, 0.55, 0.8))]
FIRST = growth_event(1, 1, {"a": 4, "b": 0}, {"a": 8, "b": 6}, (100, 180))
SECOND = growth_event(2, 4, {"a": 2, "b": 6}, {"a": 10, "b": 12}, (180, 300))


def test_numbers_of_each_event():
    timeline = growth_timeline(SAMPLES, [FIRST, SECOND])
    first, second = timeline.events
    assert timeline.initial_widths == {"a": 4, "b": 6}
    assert timeline.last_step == 50
    assert timeline.units_added == 12
    assert (first.step, first.parameters_before, first.parameters_after) == (20, 100, 180)
    assert (first.flops_before, first.flops_after) == (200.0, 360.0)
    assert first.added_units == {"a": 4}
    assert (first.score_before, first.score_after) == (0.4, 0.6)
    assert first.reason == "4 of 4 measurements since the last event"
    assert second.added_units == {"a": 2, "b": 6}


def test_an_event_after_the_last_sample_has_no_score_after():
    timeline = growth_timeline(SAMPLES, [SECOND])
    assert (timeline.events[0].score_before, timeline.events[0].score_after) == (0.8, None)


def test_nothing_grew():
    timeline = growth_timeline(SAMPLES, [])
    assert timeline.events == ()
    assert timeline.initial_widths == {}
    assert timeline.last_step == 50


def test_nothing_was_recorded(tmp_path):
    assert read_timeline(TrialFolder(tmp_path / "00000")).last_step == 0
