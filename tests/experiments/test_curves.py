"""What is made of metrics along the way: last samples, equal training, pictures. All of made-up runs."""

import pytest

from autogrow.experiments.conditions import Condition, Design
from autogrow.experiments.drawing import CurvePicture, curve_lines, draw_curves
from autogrow.experiments.last_samples import last_samples, last_samples_table, to_dict
from autogrow.experiments.matched_metrics import (
    AT_EQUAL_TRAIN_SCORE,
    AT_EQUAL_VALIDATION_SCORE,
    first_at,
    levels,
    matched_tables,
)
from autogrow.experiments.records import RunCurve, RunRecord
from autogrow.experiments.results import Results
from autogrow.network.shape import NetworkShape
from tests.experiments.drawings import Drawing

STEPS = [10.0 * number for number in range(1, 13)]


def curve(level, growth=(), **columns):
    """Twelve samples: the train loss falls from twice the level to it and stays; accuracies rise evenly."""
    falling = [2 * level, 1.5 * level, *[level] * 10]
    rising = [number / 12 for number in range(1, 13)]
    defaults = {
        "step": STEPS, "train_loss": falling, "train_score": rising,
        "validation_loss": [2 * value for value in falling], "validation_score": [value / 2 for value in rising],
    }  # fmt: skip
    return RunCurve({**defaults, **columns}, list(growth))


def results(curves):
    """Of conditions by name, each with the curves of its seeds; the first is the unit."""
    conditions = tuple(Condition(name, f"the {name}", "", lambda *arguments: "") for name in curves)
    design = Design(conditions, subject=list(curves)[-1], unit=list(curves)[0], keeps_curves=True)
    runs = [
        RunRecord(
            seed, name, test_score=0.9, test_loss=0.1, train_score=0.9, train_loss=0.1, train_seconds=1.0,
            training_flops=1.0, steps=120, parameters=10, num_events=0, growth_ended_by="", shape=NetworkShape({}),
            curve=each,
        )
        for name, seeds in curves.items()
        for seed, each in enumerate(seeds)
    ]  # fmt: skip
    return Results("classification", design, tuple(runs))


class TestLastSamples:
    def test_mean_and_deviation_are_of_the_last_ten_of_each_run(self):
        noisy = curve(1.0, train_loss=[9.0, 9.0, *[1.0, 3.0] * 5])
        found = last_samples(results({"a": [curve(4.0), noisy]}), "a", "train_loss")
        assert (found.mean.mean, found.mean.std, found.median) == pytest.approx((3.0, 2**0.5, 3.0))  # of 4 and 2
        assert found.std.mean == pytest.approx(0.5)  # of 0 and 1

    def test_the_table_has_ratios_to_the_unit_and_what_was_published(self):
        made = results({"static": [curve(4.0)], "grown": [curve(1.0)]})
        table = last_samples_table(made, "train_loss", "train loss", {"grown": (0.00024, 8.4e-5)})
        assert table.rows[0] == ("the static", "4.00", "4.00", "0.00", "1.00", "–", "–")
        assert table.rows[1] == ("the grown", "1.00", "1.00", "0.00", "0.250", "0.00024", "8.4e-05")
        assert len(table.columns) == 7
        assert len(last_samples_table(made, "train_loss", "train loss", {}).columns) == 5

    def test_what_was_not_read_is_missing(self):
        without = RunCurve({"step": STEPS, "train_loss": STEPS}, [])
        made = results({"a": [without]})
        assert last_samples_table(made, "validation_loss", "loss", {}).rows[0][1:] == ("–",) * 4
        assert to_dict(made, ["validation_loss"]) == {"a": {"validation_loss": None}}


class TestEqualTraining:
    def test_it_is_read_at_the_first_sample_that_has_it(self):
        reading = first_at(curve(1.0), "train_score", 3 / 12)
        assert (reading["step"], reading["train_loss"]) == (30.0, 1.0)
        assert first_at(curve(1.0), "train_score", 1.1) is None

    def test_levels_are_those_that_every_run_reached(self):
        slow = curve(1.0, train_score=[0.05 * number for number in range(1, 13)])
        assert levels(results({"a": [curve(1.0), slow], "b": [curve(1.0)]}), "train_score") == pytest.approx(
            [0.15, 0.3, 0.45, 0.6]
        )

    def test_tables_hold_loss_score_and_gap(self):
        made = results({"a": [curve(1.0)], "b": [curve(2.0)]})
        loss, accuracy = matched_tables(made, AT_EQUAL_TRAIN_SCORE)
        assert [column.title for column in loss.columns] == ["network", "at 25.00", "at 50.00", "at 75.00", "at 100.00"]
        assert loss.rows[1] == ("the b", *["4.00"] * 4)
        assert accuracy.rows[0][1] == "12.50"
        (gap,) = matched_tables(made, AT_EQUAL_VALIDATION_SCORE)
        assert gap.rows[0][-1] == "+50.00"


class TestPictures:
    LOSS = CurvePicture("step", "train_loss", "loss", logarithmic=True)

    def test_lines_have_every_seed_the_median_and_where_it_grew(self):
        made = results({"a": [curve(1.0, growth=[30, 60]), curve(2.0), curve(5.0)]})
        (line,) = curve_lines(made, self.LOSS)
        assert line.median == tuple(zip(STEPS, [4.0, 3.0, *[2.0] * 10], strict=True))
        assert len(line.seeds) == 3
        assert line.growth == (30, 60)

    def test_places_at_which_seeds_differ_have_no_median(self):
        other = RunCurve({"step": [5.0 * number for number in range(1, 13)], "train_loss": [1.0] * 12}, [])
        (line,) = curve_lines(results({"a": [curve(1.0), other]}), self.LOSS)
        assert line.median == ()

    @pytest.mark.parametrize("picture", [LOSS, CurvePicture("train_score", "validation_score", "accuracy", factor=100)])
    def test_every_seed_the_medians_and_growth_are_drawn_within_the_axes(self, picture):
        made = results({"a": [curve(1e-6, growth=[50])], "b": [curve(0.0), curve(3.0)]})
        drawn = Drawing(draw_curves(made, picture, "a <b> & $c$"))
        assert {"a <b> & $c$", "the a", "the b", picture.title, picture.below} <= set(drawn.texts)
        over_steps = picture.across == "step"
        # One seed is drawn in bold; two are thin under their median.
        assert len(drawn.lines("line-0")) == 1 and len(drawn.lines("seed-0")) == 0
        assert (len(drawn.lines("line-1")), len(drawn.lines("seed-1"))) == (1, 2)
        assert len(drawn.groups("growth-0")) == over_steps and not drawn.groups("growth-1")
        for line in (line for name in ("line-0", "line-1", "seed-1") for line in drawn.lines(name)):
            assert all(drawn.is_within_axes(*point) for point in line)

    def test_seeds_without_a_median_are_all_bold(self):
        later = [step + 1 for step in STEPS]
        drawn = Drawing(draw_curves(results({"a": [curve(1.0), curve(2.0, step=later)]}), self.LOSS, "a"))
        assert (len(drawn.lines("line-0")), len(drawn.lines("seed-0"))) == (2, 0)

    def test_a_lower_loss_is_drawn_lower(self):
        drawn = Drawing(draw_curves(results({"a": [curve(1.0)], "b": [curve(0.01)]}), self.LOSS, ""))
        (high,), (low,) = drawn.lines("line-0"), drawn.lines("line-1")
        assert all(above[1] < below[1] for above, below in zip(high, low, strict=True))  # SVG counts downwards

    def test_the_same_results_are_the_same_document(self):
        made = results({"a": [curve(1.0, growth=[50]), curve(2.0)]})
        assert draw_curves(made, self.LOSS, "a") == draw_curves(made, self.LOSS, "a")

    @pytest.mark.parametrize(("low", "high"), [(1e-6, 1.0), (0.1, 1.0), (0.5, 0.8)])
    def test_logarithmic_axes_have_readable_ticks(self, low, high):
        falling = [high - (high - low) * number / 11 for number in range(12)]
        drawn = Drawing(draw_curves(results({"a": [curve(1.0, train_loss=falling)]}), self.LOSS, ""))
        assert 2 <= len(drawn.tick_labels("y")) <= 9

    def test_runs_without_curves_cannot_be_drawn(self):
        with pytest.raises(ValueError, match="no run has kept its curve"):
            draw_curves(results({"a": [None]}), self.LOSS, "")
