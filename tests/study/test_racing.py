"""Which policy gets another seed, and which is best by several."""

import numpy as np
import pytest

from autogrow.study.racing import Candidate, estimates, leader, measure_noise, next_seed


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
