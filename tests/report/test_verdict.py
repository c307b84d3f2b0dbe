"""The verdict says what is known and no more: one seed is never ahead, and chance is no result."""

from dataclasses import replace

import numpy as np
import pytest

from autogrow.report.judging import FEWEST_SEEDS, Yardstick, judge_seeds, judge_values
from autogrow.report.noise_floor import NoiseFloor
from autogrow.report.summary import TrialRow
from autogrow.report.verdict import Paired, judge, judge_confirmation
from tests.report.conftest import metrics_of

IMAGES = Yardstick("classification", "score", 1000, 0.12)
BEFORE = Yardstick("classification")
R_SQUARED = Yardstick("regression", "score", 500)
SURE = ("ahead", "behind", "level")


def row(number, accuracy, role="searched", state="complete", differences=None, **metrics):
    return TrialRow(
        number, number, role, state, metrics_of(accuracy, **metrics).by_name(), "policy", differences or {}, None
    )


def static_row(accuracy, **fields):
    return row(0, accuracy, "static", compute=1.0, num_events=0, **{"parameters": 400_000, **fields})


def verdict(best, static, *others, yardstick=IMAGES):
    finished = [entry for entry in (static, best, *others) if entry is not None and entry.state == "complete"]
    return judge(finished, best, static, yardstick, seed=7, place="results/my run")


class TestOneSeed:
    def test_is_told_in_examples_with_what_to_do(self):
        found = verdict(row(3, 0.913), static_row(0.910))
        assert found.headline == (
            "Growing (trial 3) is higher than the static control by 3 of 1,000 examples, one seed: run autogrow "
            "confirm 'results/my run'."
        )
        assert found.details[0] == "Trial 3 has 91.30 % validation accuracy, the static control 91.00 %."
        assert (found.kind, found.source, found.subject, found.num_seeds) == ("higher", "search", "growing", 1)

    def test_lower_is_said_as_plainly(self):
        found = verdict(row(3, 0.85, gap=0.05), static_row(0.90, gap=0.03))
        assert found.kind == "lower"
        assert "lower than the static control by 50 of 1,000 examples, one seed" in found.headline
        assert found.score_difference == pytest.approx(-5.0)
        assert any("2.00 points larger" in detail for detail in found.details)

    @pytest.mark.parametrize("yardstick", [IMAGES, BEFORE, R_SQUARED])
    @pytest.mark.parametrize("difference", [1e-9, 1e-3, 0.05, 0.3])
    @pytest.mark.parametrize("sign", [-1, 1])
    def test_never_says_more(self, yardstick, difference, sign):
        found = judge_values(0.6 + sign * difference, 0.6, yardstick)
        assert found.kind not in SURE
        assert not any(word in found.compared_with("it") for word in SURE)
        assert "one seed" in found.compared_with("it")

    @pytest.mark.parametrize("yardstick", [IMAGES, BEFORE, R_SQUARED])
    def test_a_difference_of_rounding_is_none(self, yardstick):
        assert judge_values(0.6 + 1e-9, 0.6, yardstick).compared_with("it") == "equal to it, one seed"

    def test_a_run_of_before_is_told_in_points(self):
        assert judge_values(0.913, 0.91, BEFORE).compared_with("it") == "higher than it by 0.30 points, one seed"

    def test_regression_is_told_in_r_squared(self):
        found = verdict(row(3, 0.5), static_row(0.25), yardstick=R_SQUARED)
        assert "higher than the static control by 0.25 of R², one seed" in found.headline
        assert found.details[0] == "Trial 3 has 0.5000 validation R², the static control 0.2500."
        assert "points" not in found.headline

    def test_costs_and_the_gap(self):
        best = row(3, 0.92, gap=0.01, seconds=15.0, parameters=100_000)
        found = verdict(best, static_row(0.90, gap=0.03, seconds=10.0))
        assert found.train_seconds_ratio == pytest.approx(1.5)
        assert (found.compute_ratio, found.parameters_ratio) == (pytest.approx(0.6), pytest.approx(0.25))
        assert found.gap_difference == pytest.approx(-2.0)
        assert "1.50 times the train seconds and 0.60 times the compute" in found.details[1]
        assert "2.00 points smaller" in found.details[2]

    def test_says_that_training_settings_differ(self):
        found = verdict(row(3, 0.92, differences={"learning_rate": 0.003}), static_row(0.9))
        assert any("learning_rate 0.003" in detail and "the control did not" in detail for detail in found.details)

    def test_names_a_quicker_trial_that_is_as_accurate(self):
        quicker, behind = row(5, 0.90, seconds=4.0, compute=0.2), row(6, 0.89, seconds=1.0)
        found = verdict(row(3, 0.92, seconds=15.0), static_row(0.90), quicker, behind)
        assert any(
            detail.startswith("Trial 5") and "0.40 times its train seconds" in detail for detail in found.details
        )

    def test_says_that_it_was_picked(self):
        assert "One seed (7) and validation data only" in verdict(row(3, 0.92), static_row(0.90)).caveat
        assert "best of 2 finished trials" in verdict(row(3, 0.92), static_row(0.90)).caveat


class TestWhatIsNotGrowing:
    def test_a_smaller_network_that_never_grew_is_called_that(self):
        found = verdict(row(3, 0.92, num_events=0, parameters=1000), static_row(0.9))
        assert found.subject == "smaller_network"
        assert found.headline.startswith("A smaller network from the start (trial 3, which never grew) is higher than")
        assert "rowing" not in found.headline

    def test_so_is_one_of_full_size(self):
        found = verdict(row(3, 0.92, num_events=0, parameters=400_000), static_row(0.9))
        assert found.subject == "full_size"
        assert found.headline.startswith("A network at full size from the start (trial 3, which never grew) is higher")


class TestNothingLearned:
    @pytest.mark.parametrize("accuracy", [0.1, 0.12, 0.14])
    def test_ahead_at_chance_level(self, accuracy):
        found = verdict(row(3, accuracy), static_row(0.10))
        assert found.kind == "nothing_learned"
        assert found.headline == "Nothing was learned: trial 3 is no better than chance, so nothing is compared."
        assert found.details[-1].startswith("Always naming the largest class has 12.00 %: train longer")
        assert found.score_difference is None

    def test_just_beyond_chance_is_compared(self):
        assert verdict(row(3, 0.145), static_row(0.150)).kind == "lower"

    @pytest.mark.parametrize("best", [-22.0, -1e-9, 0.0])
    def test_ahead_with_a_negative_r_squared(self, best):
        found = verdict(row(3, best), static_row(-30.0), yardstick=R_SQUARED)
        assert found.kind == "nothing_learned"
        assert "ahead" not in found.headline
        assert found.details[-1].startswith("Always answering the mean has R² 0")

    def test_beside_a_control_that_learned_nothing_nothing_is_compared(self):
        found = verdict(row(3, 0.9), static_row(0.1))
        assert found.kind == "nothing_learned"
        assert found.headline.startswith("The static control has learned nothing")

    def test_without_knowing_the_classes_nothing_is_claimed(self):
        assert BEFORE.has_learned(0.01)
        assert not R_SQUARED.has_learned(0.0)
        assert R_SQUARED.has_learned(None)


class TestUndecided:
    @pytest.mark.parametrize("state", ["running", "waiting", "pruned", "failed"])
    def test_without_a_finished_static_control(self, state):
        found = verdict(row(3, 0.92), static_row(0.99, state=state))
        assert found.kind == "undecided"
        assert f"the static control is {state}" in found.headline
        assert (found.score_difference, found.grown) == (None, 3)

    def test_without_a_grown_trial(self):
        assert verdict(None, static_row(0.9)).headline == "No verdict yet: no grown trial has finished."
        assert "was not tried" in verdict(row(3, 0.9), None).headline


class TestPairedSeeds:
    @pytest.mark.parametrize(
        ("difference", "error", "kind"),
        [(0.01, 0.0049, "ahead"), (0.01, 0.0051, "level"), (-0.01, 0.0049, "behind"), (-0.01, 0.0051, "level")],
    )
    def test_two_standard_errors_decide(self, difference, error, kind):
        assert judge_seeds(difference, error, 5, 0.9, IMAGES).kind == kind

    def test_fewer_than_three_seeds_decide_nothing(self):
        found = judge_seeds(0.1, 0.0001, FEWEST_SEEDS - 1, 0.9, IMAGES)
        assert found.kind == "higher"
        assert (
            found.compared_with("full")
            == "higher than full by 10.00 points on average over 2 seeds, too few to say more"
        )

    def test_less_than_an_example_is_no_difference_however_sure(self):
        assert judge_seeds(0.0009, 0.0, 5, 0.9, IMAGES).kind == "level"
        assert judge_seeds(1e-9, 0.0, 5, 0.9, R_SQUARED).kind == "level"
        assert judge_seeds(0.003, 0.0, 5, 0.9, IMAGES).kind == "ahead"

    def test_a_lower_loss_is_ahead(self):
        by_loss = replace(R_SQUARED, objective="loss")
        assert judge_seeds(-0.01, 0.001, 5, 0.1, by_loss).kind == "ahead"
        assert judge_seeds(0.01, 0.001, 5, 0.1, by_loss).compared_with("full") == (
            "behind full by 0.01 of loss (standard error 0.001, 5 paired seeds)"
        )

    def test_in_words(self):
        assert judge_seeds(0.0052, 0.0011, 5, 0.9, IMAGES).compared_with("full") == (
            "ahead of full by 0.52 points (standard error 0.11, 5 paired seeds)"
        )
        assert judge_seeds(-0.001, 0.002, 5, 0.9, IMAGES).compared_with("full") == (
            "level with full: -0.10 points (standard error 0.20, 5 paired seeds)"
        )


class TestNoiseFloor:
    """What chance alone does: nothing that is smaller is called better, however small its own standard error."""

    FLOOR = NoiseFloor.of_placebo([0.01, -0.01, 0.01, -0.01, 0.01])

    def test_it_is_the_bound_that_chance_stays_below_19_times_in_20(self):
        # Student's t with 5 degrees of freedom: 2.571; about zero the differences deviate by 0.01.
        assert self.FLOOR.of_mean(5) == pytest.approx(2.571 * 0.01 / 5**0.5, rel=1e-3)
        assert self.FLOOR.of_mean(20) == pytest.approx(self.FLOOR.of_mean(5) / 2)

    def test_chance_stays_below_it_as_often_as_is_said(self):
        random = np.random.default_rng(0)
        for number in (1, 3, 12):
            placebos, others = random.normal(size=(2, 2000, number))
            floors = [NoiseFloor.of_placebo(list(each)).of_mean(number) for each in placebos]
            hidden = np.mean(np.abs(others.mean(1)) <= floors)
            assert 0.935 < hidden < 0.975  # a placebo's own mean may raise it

    def test_few_placebos_say_little(self):
        assert NoiseFloor.of_placebo([0.01]).of_mean(1) == pytest.approx(0.127, rel=1e-2)
        assert NoiseFloor.of_placebo([]) is None

    def test_it_is_no_lower_than_what_the_placebo_itself_did(self):
        assert NoiseFloor.of_placebo([0.01] * 100).of_mean(100) == pytest.approx(0.01)

    @pytest.mark.parametrize(
        ("difference", "kind"), [(0.0114, "level"), (-0.0114, "level"), (0.0116, "ahead"), (-0.0116, "behind")]
    )
    def test_below_it_is_level_and_above_is_not(self, difference, kind):
        assert judge_seeds(difference, 0.0001, 5, 0.9, IMAGES, self.FLOOR).kind == kind
        assert judge_seeds(difference, 0.0001, 5, 0.9, IMAGES).kind != "level"

    def test_what_its_own_error_leaves_open_stays_level_above_it(self):
        assert judge_seeds(0.02, 0.02, 5, 0.9, IMAGES, self.FLOOR).kind == "level"

    def test_fewer_seeds_than_say_ahead(self):
        assert judge_seeds(0.012, 0.0001, 2, 0.9, IMAGES, self.FLOOR).kind == "level"
        assert judge_values(0.903, 0.9, IMAGES, self.FLOOR).kind == "level"
        assert judge_values(0.93, 0.9, IMAGES, self.FLOOR).kind == "higher"
        assert judge_values(0.9, 0.9, IMAGES, self.FLOOR).kind == "equal"

    def test_in_words(self):
        assert judge_seeds(0.0052, 0.0011, 5, 0.9, IMAGES, self.FLOOR).compared_with("full") == (
            "level with full: +0.52 points (standard error 0.11, 5 paired seeds, below the noise floor of 1.15 points)"
        )
        assert judge_values(0.903, 0.9, IMAGES, self.FLOOR).compared_with("full") == (
            "level with full: +3 of 1,000 examples, one seed, below the noise floor of 2.57 points"
        )
        own_error = judge_seeds(0.0052, 0.01, 5, 0.9, IMAGES, self.FLOOR).compared_with("full")
        assert "noise floor" not in own_error  # its own standard error says it already


PAIRED = Paired(
    "trial 3", 3, "growing", "the full network", "classification", "score", 0.92, 0.91, 0.92, 0.91, 0.01, 0.002, 5, 4,
    1000, 0.12,
)  # fmt: skip


class TestConfirmation:
    def test_leads_with_what_the_seeds_say(self):
        found = judge_confirmation(PAIRED)
        assert found.headline == (
            "Over 5 other seeds, growing (trial 3) is ahead of the full network by 1.00 points (standard error 0.20, 5 "
            "paired seeds)."
        )
        assert (found.kind, found.source) == ("ahead", "confirmation")
        assert (found.score_difference, found.standard_error) == (pytest.approx(1.0), pytest.approx(0.2))
        assert "best of 4 by these very seeds" in found.caveat

    def test_of_a_network_that_never_grew(self):
        found = judge_confirmation(replace(PAIRED, subject="smaller_network"))
        assert "a smaller network from the start (trial 3, which never grew) is ahead" in found.headline

    def test_of_one_seed_is_not_ahead(self):
        found = judge_confirmation(replace(PAIRED, num_seeds=1, standard_error=None))
        assert found.kind == "higher"
        assert "by 10 of 1,000 examples, one seed" in found.headline

    def test_at_chance_nothing_is_compared(self):
        assert judge_confirmation(replace(PAIRED, value_against_chance=0.121)).kind == "nothing_learned"
