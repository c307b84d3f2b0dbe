"""Which policy gets another seed, and which is best by several."""

import numpy as np
import pytest

from autogrow.study.racing import (
    Candidate,
    Estimate,
    Standing,
    estimates,
    in_order,
    leader,
    least_loss_first,
    measure_noise,
    next_seed,
    probability_better,
)


def drawn(rng: np.random.Generator, num_policies: int, num_seeds: int, between: float, within: float):
    truth = rng.normal(0.0, between, num_policies)
    values = truth[:, None] + rng.normal(0.0, within, (num_policies, num_seeds))
    return truth, [Candidate(number, tuple(row)) for number, row in enumerate(values)]


class TestEstimates:
    def test_a_lone_policy_is_what_it_reached(self):
        assert estimates([Candidate(4, (0.75,))])[4].mean == 0.75

    def test_noise_and_spread_are_those_that_the_values_were_drawn_with(self):
        _, candidates = drawn(np.random.default_rng(0), 2000, 3, between=2.0, within=0.5)
        noise = measure_noise(candidates)
        assert noise.within == pytest.approx(0.25, rel=0.1)
        assert noise.between == pytest.approx(4.0, rel=0.15)

    def test_means_are_nearer_to_the_truth_than_what_was_read(self):
        truth, candidates = drawn(np.random.default_rng(1), 300, 2, between=1.0, within=1.5)
        known = estimates(candidates)
        shrunken = np.mean([(known[n].mean - truth[n]) ** 2 for n in range(300)])
        raw = np.mean([(np.mean(candidates[n].values) - truth[n]) ** 2 for n in range(300)])
        assert shrunken < 0.75 * raw

    def test_standard_errors_are_those_of_the_estimates(self):
        truth, candidates = drawn(np.random.default_rng(2), 500, 2, between=1.0, within=1.0)
        known = estimates(candidates)
        within_one = np.mean([abs(known[n].mean - truth[n]) < known[n].standard_error for n in range(500)])
        assert 0.6 < within_one < 0.76  # 0.68 for a normal distribution

    def test_one_seed_far_above_all_others_is_not_believed_as_two_are(self):
        others = [Candidate(n, (0.1 * (n % 3), 0.1 * ((n + 1) % 3))) for n in range(6)]
        lucky, sure = Candidate(10, (0.35,)), Candidate(11, (0.33, 0.34))
        assert leader([*others, lucky, sure]) == 11

    def test_one_that_diverged_does_not_make_luck_look_like_merit(self):
        _, candidates = drawn(np.random.default_rng(3), 20, 2, between=0.01, within=0.05)
        diverged = Candidate(99, (-1e6,))
        assert measure_noise([*candidates, diverged]).between < 10 * 0.05**2

    @pytest.mark.parametrize("loss", [1.0, 10.0, 1e6, 1e30, 1e200])
    def test_a_loss_without_bounds_on_one_seed_of_three_is_no_luck_of_all(self, loss):
        diverged, sure = Candidate(0, (-0.20, -0.20, -loss)), Candidate(1, (-0.21, -0.20, -0.20))
        once = [Candidate(n, (-0.21 - 0.002 * n,)) for n in range(2, 12)]
        candidates = [diverged, *once, sure]
        known = estimates(candidates)
        assert leader(candidates) == 1
        assert known[0].mean == min(each.mean for each in known.values())
        assert known[1].probability_above(known[0]) > 0.75

    def test_probability_says_which_is_better(self):
        known = estimates([Candidate(0, (0.1, 0.12)), Candidate(1, (0.9, 0.88)), Candidate(2, (0.5, 0.52))])
        assert known[1].probability_above(known[0]) > 0.99
        assert known[0].probability_above(known[0]) == 0.5


class TestNextSeed:
    def test_new_policies_come_first(self):
        assert next_seed([Candidate(0, (0.5,)), Candidate(1, (0.6,))], 0.49, 5) is None

    def test_then_the_one_that_may_be_best_gets_another_seed(self):
        candidates = [Candidate(0, (0.5,)), Candidate(1, (0.9,)), Candidate(2, (0.6,))]
        assert next_seed(candidates, 0.5, 5) == 1

    def test_seeds_that_are_still_trained_count(self):
        candidates = [Candidate(0, (0.5,)), Candidate(1, (0.9,), num_pending=4), Candidate(2, (0.89,))]
        assert next_seed(candidates, 0.5, 5) == 2

    def test_one_that_failed_on_a_seed_gets_no_other_and_does_not_lead(self):
        candidates = [Candidate(0, (0.5,)), Candidate(1, (0.9,), has_failed=True), Candidate(2, (0.6,))]
        assert next_seed(candidates, 0.5, 5) == 2
        assert leader(candidates) == 2

    def test_what_others_are_compared_with_keeps_up_with_the_leader(self):
        candidates = [Candidate(0, (0.1,)), Candidate(1, (0.9, 0.91, 0.9)), Candidate(2, (0.6,))]
        assert next_seed(candidates, 0.5, 5, always={0: 2}) == 0
        caught_up = [Candidate(0, (0.1, 0.1)), *candidates[1:]]
        assert next_seed(caught_up, 0.5, 5, always={0: 2}) != 0

    def test_a_new_policy_is_tried_where_one_seed_says_nearly_all(self):
        """The best is known well, and the others are far behind: seeds of either would change nothing."""
        leading = Candidate(2, (0.80, 0.81, 0.80, 0.80))
        candidates = [Candidate(0, (0.10, 0.11, 0.10, 0.10)), Candidate(1, (0.40,)), leading, Candidate(3, (0.50,))]
        assert next_seed(candidates, 0.5, 5) is None
        assert next_seed(candidates, 0.5, 5, seeds_before_new=None) == 2
        assert next_seed([*candidates[:2], Candidate(2, (0.80, 0.81)), candidates[3]], 0.5, 5) == 2

    def test_no_new_policy_is_tried_where_seeds_differ_as_much_as_policies(self):
        candidates = [Candidate(0, (0.5, 0.7, 0.4, 0.6)), Candidate(1, (0.7,)), Candidate(2, (0.8, 0.5, 0.6, 0.8))]
        assert next_seed(candidates, 0.5, 5) == 1

    def test_a_new_policy_waits_for_what_others_are_compared_with(self):
        candidates = [Candidate(0, (0.10,)), Candidate(1, (0.40,)), Candidate(2, (0.80, 0.81, 0.80, 0.80))]
        assert next_seed(candidates, 0.5, 5, always={0: 5}) == 0

    def test_nobody_has_room_for_another_seed(self):
        assert next_seed([Candidate(0, (0.5,)), Candidate(1, (0.9,))], 0.9, 1) is None

    def test_of_equal_scores_the_one_with_less_loss_is_trained(self):
        candidates = [Candidate(0, (0.9,)), Candidate(1, (0.9,)), Candidate(2, (0.9,)), Candidate(3, (0.5,))]
        losses = {0: Estimate(-0.3, 0.0, 1), 1: Estimate(-0.1, 0.0, 1), 3: Estimate(-0.01, 0.0, 1)}
        assert [each.number for each in least_loss_first(candidates, losses)] == [3, 1, 0, 2]
        assert next_seed(least_loss_first(candidates, losses), 0.5, 5) == 1


def standing(number: int, score: float, loss: float | None, error: float = 0.01, **more) -> Standing:
    known = None if loss is None else Estimate(-loss, 0.01, 3)
    return Standing(number, Estimate(score, error, 3), known, **more)


class TestInOrder:
    def numbers(self, *standings: Standing, by_score: bool = True, guards_default: bool = False) -> list[int]:
        return [each.number for each in in_order(standings, by_score=by_score, guards_default=guards_default)]

    def test_scores_within_a_standard_error_are_told_apart_by_loss(self):
        close, far = standing(1, 0.895, 0.1), standing(2, 0.88, 0.01)
        best = standing(0, 0.9, 0.2)
        assert self.numbers(best, close, far) == [1, 0, 2]
        assert self.numbers(best, close, far, by_score=False) == [0, 1, 2]

    def test_one_without_a_loss_comes_behind_its_equals(self):
        assert self.numbers(standing(0, 0.9, None), standing(1, 0.9, 0.5)) == [1, 0]

    def test_equals_are_told_apart_by_what_comes_then(self):
        found = standing(0, 0.9, None, then=(1.0,)), standing(1, 0.9, None, then=(2.0,))
        assert self.numbers(*found, by_score=False) == [1, 0]

    def test_the_default_policy_is_first_unless_another_is_surely_better(self):
        default = standing(0, 0.9, 0.1, is_default=True)
        assert self.numbers(standing(1, 0.905, 0.1), default, guards_default=True) == [0, 1]
        assert self.numbers(standing(1, 0.95, 0.1), default, guards_default=True) == [1, 0]

    def test_to_be_better_by_loss_is_enough(self):
        default, other = standing(0, 0.9, 0.2, is_default=True), standing(1, 0.901, 0.1)
        assert probability_better(other, default) > 0.99
        assert self.numbers(other, default, guards_default=True) == [1, 0]
