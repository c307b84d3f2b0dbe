"""Tables and the picture: what they say of made-up results."""

import re

import pytest

from autogrow.experiments.controls import COMPARISON, FULL, GROWN_AND_CONTROLS
from autogrow.experiments.drawing import draw_scores, moved_apart, score_marks
from autogrow.experiments.records import RunRecord, read_outcome
from autogrow.experiments.results import Results
from autogrow.experiments.tables import markdown, results_tables
from autogrow.network.shape import NetworkShape
from tests.experiments.drawings import Drawing

ACCURACIES = {"grown": 0.97, "full": 0.98, "final": 0.975, "same_compute": 0.96, "small": 0.90, "placebo": 0.978}
COMPUTES = {"grown": 0.5, "full": 1.0, "final": 0.6, "same_compute": 0.5, "small": 0.1, "placebo": 1.0}


def record(seed, condition, **fields):
    defaults = {
        "test_score": ACCURACIES[condition] + 0.01 * seed * (1 + (condition == "grown")),
        "test_loss": 0.1 + 0.02 * seed,
        "train_score": 0.99, "train_loss": 0.01, "train_seconds": 12.0 + seed, "training_flops": COMPUTES[condition],
        "steps": 100, "parameters": 26_600, "num_events": 3 * (condition == "grown"), "growth_ended_by": "",
        "shape": NetworkShape({"1": 24}),
    }  # fmt: skip
    return RunRecord(seed, condition, **{**defaults, **fields})


def results(num_seeds=2, task="classification", **fields):
    runs = [record(seed, name, **fields) for seed in range(num_seeds) for name in ACCURACIES]
    return Results(task, COMPARISON, tuple(runs))


def test_tables_give_mean_deviation_and_paired_differences():
    quality, cost, differences = results_tables(results())
    # Grown: 0.97 and 0.99; its deviation is sqrt(2) * 0.01.
    assert quality.rows[0] == ("grown", "98.00 ± 1.41", "0.110 ± 0.0141", "99.00 ± 0.00", "+1.00 ± 1.41")
    assert cost.rows[3] == ("same compute", "12.5 ± 0.7", "0.500 ± 0.000", "100", "26.6k", "0.0")
    # Grown minus full: -0.01 and 0: mean -0.5 points, standard error 0.5, t = 1 with one degree of freedom, p = 0.5.
    assert differences.rows[0] == ("full", "-0.50", "0.50", "0.500", "+0", "0.00", "–", "2")
    assert "–: the same difference for every seed: no test." in differences.note
    assert quality.caption == "On the test split: mean ± standard deviation of 2 seeds"


def test_the_placebo_has_a_row_beside_what_it_copies():
    differences = results_tables(results())[2]
    assert [row[0] for row in differences.rows] == ["full", "final", "same compute", "small", "placebo minus full"]
    assert differences.rows[-1][1] == "-0.20"
    assert "Placebo has a row of its own" in differences.note


def test_one_seed_is_said_to_be_one():
    quality, _, differences = results_tables(results(1))
    assert quality.caption == "On the test split: one seed"
    assert quality.rows[0][1] == "97.00"
    assert differences.rows[0][:4] == ("full", "-1.00", "–", "–")
    assert "–: one seed: no standard error, no test." in differences.note


def test_regression_has_r_squared():
    quality, _, differences = results_tables(results(task="regression"))
    assert [column.title for column in quality.columns][1] == "test R²"
    assert quality.rows[0][1] == "0.9800 ± 0.0141"
    assert differences.columns[1].title == "test R²"


def test_a_condition_that_is_anothers_run_is_named():
    runs = [each for each in results().runs if (each.seed, each.condition) != (1, "final")]
    repeated = Results("classification", COMPARISON, (*runs, record(1, "final", same_run_as=FULL)))
    assert "Final is the same run as full under seeds 1" in results_tables(repeated)[0].note


def test_markdown_has_every_row_in_as_many_columns_as_its_head():
    text = markdown(results(), "a | b")
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert [len(table.splitlines()) for table in tables] == [8, 8, 7]
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    for name in ("grown", "full", "final", "same compute", "small"):
        assert f"| {name} |" in text


def test_a_record_is_read_as_it_was_written():
    assert read_outcome(record(0, "final", same_run_as=FULL).to_dict(), "record") == record(
        0, "final", same_run_as=FULL
    )


class TestPicture:
    def test_the_record_has_means_deviations_and_every_seed(self):
        grown, full = score_marks(results())[:2]
        assert grown.mean == pytest.approx((0.5, 98.0))
        assert grown.deviation == pytest.approx(2**0.5)
        assert grown.seeds == (pytest.approx((0.5, 97.0)), pytest.approx((0.5, 99.0)))
        assert full.mean[0] == 1.0

    @pytest.mark.slow
    @pytest.mark.parametrize("num_seeds", [1, 2, 7])
    @pytest.mark.parametrize("task", ["classification", "regression"])
    def test_marks_lie_within_the_axes_and_higher_where_score_is(self, num_seeds, task):
        drawn = Drawing(draw_scores(results(num_seeds, task), "a <b> & $c$"))
        titles = [each.title for each in GROWN_AND_CONTROLS]
        assert {"a <b> & $c$", *titles} <= set(drawn.texts)
        heights = {}
        for index, title in enumerate(titles):
            seeds, (mean,) = drawn.markers(f"seeds-{index}"), drawn.markers(f"mean-{index}")
            assert len(seeds) == num_seeds
            assert all(drawn.is_within_axes(*place) for place in (mean, *seeds))
            assert mean[1] == pytest.approx(sum(y for _, y in seeds) / num_seeds)
            assert mean[0] < min(x for x, _ in seeds)  # seeds do not cover it
            heights[title] = mean[1]
        assert heights["full"] < heights["same compute"] < heights["small"]  # SVG counts downwards

    def test_means_at_the_same_place_are_moved_apart(self):
        assert moved_apart([0.5, 1.0, 0.6, 0.5, 0.1], 0.2) == pytest.approx([
            # 0.5, 0.5 and 0.6 stand at 0.2 from each other, about their mean
            1.6 / 3 - 0.2 - 0.5, 0.0, 1.6 / 3 + 0.2 - 0.6, 1.6 / 3 - 0.5, 0.0,
        ])  # fmt: skip
        drawn = Drawing(draw_scores(results(), ""))
        (grown,), (same_compute,) = (
            drawn.markers(f"mean-{list(ACCURACIES).index(name)}") for name in ("grown", "same_compute")
        )
        assert abs(grown[0] - same_compute[0]) > 12  # points

    @pytest.mark.slow
    @pytest.mark.parametrize("score", [1.0, 0.0, 0.972])
    def test_equal_results_can_be_drawn(self, score):
        drawn = Drawing(draw_scores(results(test_score=score, training_flops=1.0), ""))
        assert drawn.is_within_axes(*drawn.markers("mean-0")[0])
        assert len(drawn.tick_labels("y")) >= 2

    def test_results_without_a_score_cannot_be_drawn(self):
        with pytest.raises(ValueError, match="no run has a score"):
            draw_scores(results(test_score=None), "")

    @pytest.mark.slow
    @pytest.mark.parametrize("spread", [1e-5, 1e-3, 0.1])
    def test_ticks_are_told_apart(self, spread):
        runs = [record(seed, name, test_score=0.97 + spread * seed) for seed in range(2) for name in ACCURACIES]
        labels = Drawing(draw_scores(Results("classification", COMPARISON, tuple(runs)), "")).tick_labels("y")
        assert 2 <= len(set(labels)) == len(labels)
