"""Events joined with the samples around them."""

from dataclasses import replace

from autogrow.report.growth_table import changes_of
from autogrow.report.timeline import growth_timeline, read_timeline
from autogrow.report.training_figures import growth_figure
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


def test_blocks_that_an_event_adds_were_not_there_before():
    widths = {"stem": 4, "blocks.0.up": 8, "blocks.1.up": 8}
    deeper = growth_event(1, 1, {}, widths, (100, 180))
    deeper = replace(deeper, added_blocks={"blocks": 1}, blocks={"blocks": 2})
    more = replace(
        growth_event(2, 4, {}, {**widths, "blocks.2.up": 8, "blocks.3.up": 8}, (180, 300)), added_blocks={"blocks": 2}
    )
    timeline = growth_timeline(SAMPLES, [deeper, more])
    assert timeline.initial_widths == {"stem": 4, "blocks.0.up": 8}
    assert timeline.groups == ["stem", *(f"blocks.{place}.up" for place in range(4))]
    areas = [trace for trace in growth_figure(timeline, SAMPLES).data if trace.stackgroup]
    totals = [sum(heights) for heights in zip(*(area.y for area in areas), strict=True)]
    assert totals == [12, 20, 36, 36]


def test_what_an_event_takes_away_is_said_and_drawn():
    narrower = replace(growth_event(1, 1, {}, {"a": 3, "b": 6}, (180, 100)), removed_units={"a": 5})
    both = replace(growth_event(2, 4, {"b": 2}, {"a": 3, "b": 8}, (100, 120)), removed_blocks={"blocks": 1})
    timeline = growth_timeline(SAMPLES, [narrower, both])
    assert timeline.initial_widths == {"a": 8, "b": 6}
    assert [changes_of(event) for event in timeline.events] == ["a: -5", "-1 block in blocks, b: +2"]
    areas = [trace for trace in growth_figure(timeline, SAMPLES).data if trace.stackgroup]
    assert [list(area.y) for area in areas] == [[8, 3, 3, 3], [6, 6, 8, 8]]
