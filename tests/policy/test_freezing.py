import pytest

from autogrow.policy.freezing import FREEZINGS, FreezeOld, NoFreezing, Thaw


@pytest.mark.parametrize("kind", list(FREEZINGS))
class TestEveryFreezing:
    @pytest.mark.parametrize("num_events", [0, 1, 5])
    def test_the_newest_entries_always_train(self, kind, num_events):
        assert 0 <= FREEZINGS[kind]().first_trained_cohort(num_events) <= num_events

    def test_old_entries_are_let_go_and_not_taken_back(self, kind):
        shares = [FREEZINGS[kind]().released_share(samples) for samples in range(40)]
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)


def test_none_trains_everything_and_old_only_what_the_last_event_added():
    assert NoFreezing().first_trained_cohort(3) == 0
    assert NoFreezing().released_share(0) == 1
    assert FreezeOld().first_trained_cohort(3) == 3
    assert FreezeOld().released_share(10_000) == 0


def test_thaw_holds_and_then_releases_in_equal_steps():
    thaw = Thaw(hold_samples=2, release_samples=4)
    assert thaw.first_trained_cohort(3) == 3
    assert [thaw.released_share(samples) for samples in range(8)] == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_thaw_may_release_at_once():
    assert [Thaw(hold_samples=2, release_samples=0).released_share(samples) for samples in range(4)] == [0, 0, 1, 1]
    assert Thaw(hold_samples=0, release_samples=0).released_share(0) == 1
