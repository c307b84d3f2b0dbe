import pytest

from autogrow.errors import PolicyError
from autogrow.policy.triggers import TRIGGERS, Plateau, Schedule, parse_trigger
from tests.policy.samples import sample, samples


def first_growth(trigger, history):
    """The number of samples after which the trigger first says grow, or None."""
    for end in range(len(history) + 1):
        if trigger.decide(history[:end]).grow:
            return end
    return None


@pytest.mark.parametrize("kind", list(TRIGGERS))
class TestEveryTrigger:
    def test_does_not_grow_before_it_has_seen_anything(self, kind):
        assert not TRIGGERS[kind]().decide([]).grow

    def test_grows_at_last_when_nothing_improves(self, kind):
        assert first_growth(TRIGGERS[kind](), samples([1.0] * 100)) is not None

    def test_verdict_is_pure(self, kind):
        trigger, history = TRIGGERS[kind](), samples([1.0] * 30)
        assert trigger.decide(history) == trigger.decide(list(history))

    def test_survives_a_round_trip(self, kind):
        trigger = TRIGGERS[kind]()
        assert parse_trigger(trigger.describe()) == trigger

    def test_has_a_summary_with_a_source(self, kind):
        assert "thesis" in TRIGGERS[kind].summary


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
        trigger = self.plain.model_copy(update={"metric": "train_accuracy"})
        rising = [sample(n, train_accuracy=n / 100) for n in range(40)]
        falling = [sample(n, train_accuracy=1 - n / 100) for n in range(40)]
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


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("plateua", ["unknown trigger 'plateua'", "plateau, schedule", "did you mean 'plateau'?"]),
        ({"kind": "plateau", "windw": 3}, ["unknown field 'windw'", "did you mean 'window'?"]),
        ({"kind": "plateau", "window": 0}, ["window is 0", "greater than or equal to 1"]),
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
