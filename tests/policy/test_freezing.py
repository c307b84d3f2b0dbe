import pytest

from autogrow.errors import PolicyError
from autogrow.policy.freezing import FREEZINGS, FreezeOld, NoFreezing, parse_freezing


@pytest.mark.parametrize("kind", list(FREEZINGS))
@pytest.mark.parametrize("num_events", [0, 1, 5])
def test_the_newest_entries_always_train(kind, num_events):
    assert 0 <= FREEZINGS[kind]().first_trained_cohort(num_events) <= num_events


def test_none_trains_everything_and_old_only_what_the_last_event_added():
    assert NoFreezing().first_trained_cohort(3) == 0
    assert FreezeOld().first_trained_cohort(3) == 3


def test_unknown_freezing_names_the_nearest():
    with pytest.raises(PolicyError, match="unknown freezing 'odl'.*did you mean 'old'"):
        parse_freezing("odl")
