import copy
import math

import numpy as np
import pytest

from autogrow.errors import PolicyError
from autogrow.policy.triggers import TRIGGERS, ComputeShares, Gap, Plateau, Schedule, Slope, parse_trigger
from tests.policy.samples import sample, samples


def first_growth(trigger, history):
    """The number of samples after which the trigger first says grow, or None."""
    for end in range(len(history) + 1):
        if trigger.decide(history[:end]).grow:
            return end
    return None


@pytest.mark.parametrize("kind", list(TRIGGERS))
class TestEveryTrigger:
    @pytest.mark.parametrize("num_events", [0, 1, 7])
    def test_does_not_grow_before_it_has_seen_anything(self, kind, num_events):
        verdict = TRIGGERS[kind]().decide([], num_events)
        assert not verdict.grow and math.isfinite(verdict.value)

    def test_grows_at_last_when_nothing_improves(self, kind):
        assert first_growth(TRIGGERS[kind](), samples([1.0] * 100)) is not None

    @pytest.mark.parametrize("level", [0.0, -1.0, 1e-30, 1e30])
    def test_grows_at_last_at_any_level(self, kind, level):
        assert first_growth(TRIGGERS[kind](), samples([level] * 100)) is not None

    def test_verdict_is_pure(self, kind):
        trigger, history = TRIGGERS[kind](), samples([1.0] * 30)
        before = copy.deepcopy(history)
        assert trigger.decide(history, 2) == trigger.decide(tuple(history), 2)
        assert history == before

    def test_verdict_gives_its_reason(self, kind):
        for history in (samples([1.0] * 3), samples([1.0] * 100)):
            verdict = TRIGGERS[kind]().decide(history)
            assert verdict.reason and "\n" not in verdict.reason
            assert math.isfinite(verdict.value)

    def test_needs_no_validation_split_unless_it_says_so(self, kind):
        trigger = TRIGGERS[kind]()
        without = [sample(n, validation_loss=None, validation_score=None) for n in range(100)]
        assert first_growth(trigger, without) is not None
        assert trigger.watches_validation == (kind == "gap")


@pytest.mark.parametrize("metric", ["train_loss", "train_score", "validation_loss", "validation_score"])
@pytest.mark.parametrize("kind", [kind for kind in TRIGGERS if kind not in ("schedule", "compute_shares")])
def test_says_that_it_watches_validation(kind, metric):
    expected = kind == "gap" or metric.startswith("validation")
    assert TRIGGERS[kind](metric=metric).watches_validation == expected


def test_shares_of_compute_are_reached_one_by_one():
    trigger = ComputeShares(shares=(0.075, 0.2, 0.5))
    run = [sample(n, progress=(n + 1) / 40) for n in range(40)]
    grown = []
    for number in range(1, 41):
        if trigger.decide(run[:number], len(grown)).grow:
            grown.append(run[number - 1].progress)
    assert grown == pytest.approx([0.075, 0.2, 0.5])
    verdict = trigger.decide(run, 1)
    assert verdict.grow and verdict.reason == "100.0% of the run's compute used, 20.0% asked for"
    assert trigger.decide(run, 3).reason == "all 3 events have been"


def test_shares_of_compute_ask_for_a_run_that_goes_by_it():
    with pytest.raises(PolicyError, match="set training.length to compute"):
        ComputeShares().decide([sample(0, progress=None)])
    with pytest.raises(PolicyError, match="do not rise: every event comes after the one before"):
        ComputeShares(shares=(0.2, 0.2))
    with pytest.raises(PolicyError, match="shares"):
        ComputeShares(shares=(0.5, 1.0))


def test_a_schedule_watches_nothing():
    with pytest.raises(PolicyError, match="unknown field 'metric'"):
        Schedule(metric="validation_loss")
    assert not Schedule().watches_validation


class TestPlateau:
    plain = Plateau(window=2, patience=3, min_delta=0.0, cooldown=0, max_wait=None)

    def test_waits_while_the_average_falls(self):
        assert first_growth(self.plain, samples([1 / (n + 1) for n in range(60)])) is None

    def test_grows_patience_samples_after_the_best_average(self):
        # averages: 3.5 2.5 2 2 2 2 -> the best stands from the fourth sample on
        assert first_growth(self.plain, samples([4, 3, 2, 2, 2, 2, 2, 2])) == 7

    def test_a_rise_counts_as_no_improvement(self):
        assert first_growth(self.plain, samples([1, 1, 2, 3, 4, 5])) == 5

    def test_improvement_below_min_delta_does_not_count(self):
        falling = samples([1 - 0.001 * n for n in range(20)])
        assert first_growth(self.plain, falling) is None
        assert first_growth(Plateau(window=2, patience=3, min_delta=0.5, cooldown=0, max_wait=None), falling) == 5

    @pytest.mark.parametrize("level", [0.0, -1.0])
    def test_metrics_at_or_below_zero(self, level):
        flat = samples([level] * 12)
        falling = samples([level - n for n in range(12)])
        trigger = Plateau(window=2, patience=3, min_delta=0.01, cooldown=0, max_wait=None)
        assert first_growth(trigger, flat) == 5
        assert first_growth(trigger, falling) is None

    def test_accuracies_improve_upwards(self):
        trigger = self.plain.model_copy(update={"metric": "train_score"})
        rising = [sample(n, train_score=n / 100) for n in range(40)]
        falling = [sample(n, train_score=1 - n / 100) for n in range(40)]
        assert first_growth(trigger, rising) is None
        assert first_growth(trigger, falling) == 5

    def test_cooldown_hides_the_first_samples(self):
        spike = samples([9, 9, 9, 1, 1, 1, 1, 1, 1])
        hidden = self.plain.model_copy(update={"cooldown": 3})
        assert first_growth(hidden, spike) == 8

    def test_max_wait_grows_while_the_loss_still_falls(self):
        falling = samples([1 / (n + 1) for n in range(60)])
        assert first_growth(self.plain.model_copy(update={"max_wait": 20}), falling) == 20


class TestSchedule:
    def test_grows_every_so_many_samples(self):
        assert first_growth(Schedule(every=7), samples([1.0] * 20)) == 7
        assert Schedule(every=7).decide(samples([1.0] * 7), num_events=5).grow

    def test_intervals_may_grow(self):
        schedule = Schedule(every=10, growth=1.2)
        assert [schedule.interval(event) for event in range(5)] == [10, 12, 14, 17, 21]
        for event in range(5):
            due = [schedule.decide(samples([1.0] * count), event).grow for count in range(30)]
            assert due.index(True) == schedule.interval(event)

    def test_a_huge_number_of_events_is_no_error(self):
        assert not Schedule(growth=4.0).decide(samples([1.0] * 30), num_events=100_000).grow


class TestSlope:
    plain = Slope(window=6, threshold=0.05, patience=1, cooldown=0, max_wait=None)

    @staticmethod
    def noisy(drop_per_sample, noise, count=60, seed=0):
        random = np.random.default_rng(seed)
        return samples([2.0 - drop_per_sample * n + noise * random.standard_normal() for n in range(count)])

    def test_grows_on_a_flat_line_as_soon_as_the_window_is_full(self):
        assert first_growth(self.plain, samples([1.0] * 20)) == 6

    def test_limit_is_the_improvement_over_a_window(self):
        # 6 samples that fall by 0.01 each promise 0.06 over a window, at a level of about 1.
        falling = samples([1.025 - 0.01 * n for n in range(6)])
        assert self.plain.decide(falling).value == pytest.approx(0.06)
        assert not self.plain.decide(falling).grow
        assert self.plain.model_copy(update={"threshold": 0.061}).decide(falling).grow

    def test_standard_error_is_that_of_least_squares(self):
        values = [1.0, 0.7, 0.9, 0.4, 0.6, 0.1]
        (slope, _), covariance = np.polyfit(np.arange(6), values, 1, cov=True)
        promise = (-slope + 1.64 * math.sqrt(covariance[0, 0])) * 6
        assert self.plain.decide(samples(values)).value == pytest.approx(promise)

    def test_noise_is_no_progress_and_no_stall(self):
        flat, falling = self.noisy(0.0, 0.01), self.noisy(0.05, 0.01)
        assert first_growth(self.plain, flat) is not None
        assert first_growth(self.plain, falling[:30]) is None

    def test_waits_where_noise_hides_the_trend(self):
        assert not self.plain.decide(self.noisy(0.0, 0.5, count=6)).grow

    def test_patience_asks_for_successive_readings(self):
        stalled = samples([1.0 - 0.1 * n for n in range(6)] + [0.5] * 20)
        first = first_growth(self.plain, stalled)
        assert first_growth(self.plain.model_copy(update={"patience": 4}), stalled) == first + 3

    def test_one_bad_reading_starts_patience_again(self):
        flat_then_drop = samples([1.0] * 7 + [0.5] + [0.5] * 20)
        patient = self.plain.model_copy(update={"patience": 3})
        assert first_growth(patient, samples([1.0] * 20)) == 8
        assert first_growth(patient, flat_then_drop) > 13

    def test_accuracies_improve_upwards(self):
        trigger = self.plain.model_copy(update={"metric": "train_score"})
        rising = [sample(n, train_score=0.1 + n / 50) for n in range(30)]
        falling = [sample(n, train_score=0.9 - n / 50) for n in range(30)]
        assert first_growth(trigger, rising) is None
        assert first_growth(trigger, falling) == 6

    @pytest.mark.parametrize("level", [0.0, -5.0])
    def test_metrics_at_or_below_zero(self, level):
        assert first_growth(self.plain, samples([level] * 12)) == 6
        assert first_growth(self.plain, samples([level - n for n in range(12)])) is None

    def test_cooldown_and_max_wait(self):
        assert first_growth(self.plain.model_copy(update={"cooldown": 3}), samples([1.0] * 20)) == 9
        falling = samples([5.0 - 0.1 * n for n in range(40)])
        assert first_growth(self.plain.model_copy(update={"max_wait": 15}), falling) == 15


class TestGap:
    fields = {"window": 2, "patience": 4, "min_delta": 0.0, "cooldown": 0, "max_wait": None}

    @staticmethod
    def flat(gap):
        return [sample(n, train_score=0.9, validation_score=0.9 - gap) for n in range(100)]

    @pytest.mark.parametrize(("gap", "patience"), [(-0.5, 4), (0.0, 4), (0.1, 6), (0.2, 8)])
    def test_patience_grows_with_the_gap(self, gap, patience):
        assert first_growth(Gap(gap_weight=5.0, **self.fields), self.flat(gap)) == 2 + patience

    def test_without_weight_it_is_a_plateau(self):
        history = samples([4, 3, 2, 2, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5])
        gap = first_growth(Gap(gap_weight=0.0, **self.fields), history)
        assert gap == first_growth(Plateau(**self.fields), history) is not None

    def test_the_newest_gap_counts(self):
        history = [sample(n, train_score=0.9, validation_score=0.4 if n < 6 else 0.9) for n in range(20)]
        assert first_growth(Gap(gap_weight=5.0, **self.fields), history) == 7

    def test_without_a_validation_split_the_gap_counts_as_none(self):
        history = [sample(n, validation_score=None, validation_loss=None) for n in range(20)]
        assert first_growth(Gap(**self.fields), history) == 6


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("plateua", ["unknown trigger 'plateua'", "gap, plateau, schedule, slope", "did you mean 'plateau'?"]),
        ({"kind": "plateau", "windw": 3}, ["unknown field 'windw'", "did you mean 'window'?"]),
        ({"kind": "plateau", "window": 0}, ["window is 0", "give a whole number from 1 to 10000"]),
        ({"kind": "plateau", "metric": "loss"}, ["metric is 'loss'", "train_loss"]),
        ({"window": 3}, ["needs a kind"]),
        (7, ["needs a kind"]),
    ],
)
def test_bad_triggers_say_what_is_known(value, parts):
    with pytest.raises(PolicyError) as caught:
        parse_trigger(value)
    assert all(part in str(caught.value) for part in parts)
    assert "\n" not in str(caught.value)
