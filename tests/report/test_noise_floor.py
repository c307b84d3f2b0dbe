"""What policies that were trained on several seeds say of chance."""

import numpy as np
import pytest

from autogrow.report.noise_floor import NoiseFloor

NUM_POLICIES, NUM_SEEDS = 6, 5


def table(deviation=0.1, of_seeds=0.0, number=NUM_SEEDS, seed=0):
    """Policies that differ, on seeds that all have in common, by seed."""
    random = np.random.default_rng(seed)
    noise, seeds = random.normal(0, deviation, (NUM_POLICIES, number)), random.normal(0, 1, (1, number))
    policies = np.arange(NUM_POLICIES)[:, None]
    return [dict(enumerate(row)) for row in (policies + of_seeds * seeds + noise).tolist()]


def test_it_is_the_deviation_of_a_difference_of_two_policies():
    floor = NoiseFloor.of_replicates(table(number=200))
    assert floor.deviation == pytest.approx(2**0.5 * 0.1, rel=0.1)
    assert floor.degrees == (NUM_POLICIES - 1) * 199
    assert floor.shift == 0


def test_what_all_policies_have_of_a_seed_is_no_noise():
    apart, alike = (NoiseFloor.of_replicates(table(of_seeds=each)) for each in (5.0, 0.0))
    assert apart.deviation == pytest.approx(alike.deviation)


def test_policies_with_fewer_seeds_take_part_and_those_with_one_do_not():
    values = table()
    values[0] = {seed: values[0][seed] for seed in (0, 1)}
    values[1] = {0: values[1][0]}
    floor = NoiseFloor.of_replicates(values)
    assert floor.degrees == 4 * 5 + 2 - 5 - (5 - 1)  # values less policies and the seeds beside the first
    assert floor == NoiseFloor.of_replicates([values[0], *values[2:]])


@pytest.mark.slow
def test_chance_stays_below_it_19_times_in_20():
    hidden = []
    for seed in range(600):
        values = table(seed=seed)
        ours, theirs = (np.array(list(each.values())) for each in (values[1], values[0]))
        chance = float((ours - theirs).mean()) - 1.0
        hidden.append(NoiseFloor.of_replicates(values).hides(chance, NUM_SEEDS))
    assert 0.92 < np.mean(hidden) < 0.975


def test_one_policy_that_varies_wildly_says_nothing_of_the_others():
    values = table()
    calm = NoiseFloor.of_replicates([*values[:3], *values[4:]])
    wild = {seed: value + (100.0 if seed == 2 else 0.0) for seed, value in values[3].items()}
    found = NoiseFloor.of_replicates([*values[:3], wild, *values[4:]])
    assert (found.deviation, found.degrees) == (pytest.approx(calm.deviation), calm.degrees)


def test_where_seeds_cannot_be_told_from_noise_all_is_noise():
    """One policy on three seeds, or two that share none: nobody knows what the others would have of these seeds."""
    one = NoiseFloor.of_replicates([{0: 1.0, 1: 2.0, 2: 3.0}, {0: 5.0}])
    assert (one.deviation, one.degrees) == (pytest.approx(2**0.5), 2)
    apart = NoiseFloor.of_replicates([{0: 1.0, 1: 2.0}, {2: 1.0, 3: 3.0}])
    assert (apart.deviation, apart.degrees) == (pytest.approx((2 * 2.5 / 2) ** 0.5), 2)


@pytest.mark.parametrize("values", [[], [{0: 1.0}, {0: 2.0}]])
def test_where_nothing_can_be_said_there_is_none(values):
    assert NoiseFloor.of_replicates(values) is None
