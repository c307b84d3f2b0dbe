"""What a report says of the loss around a growth event."""

import pytest

from autogrow.policy.records import GrowthEvent
from autogrow.report.tables import _jump
from autogrow.report.timeline import growth_timeline


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (2.5, {0: 2.75, 1: 2.6, 10: 2.5}, "2.5 to 2.75, 10 steps"),
        (2.5, {0: 2.75, 1: 2.6}, "2.5 to 2.75, not yet"),
        (2.5, {0: 2.5, 1: 2.6}, "2.5, none"),
        (None, {}, "–"),
    ],
)
def test_it_names_both_losses_and_the_steps_to_recovery(before, after, text):
    event = GrowthEvent(1, 7, 0, {}, {}, 1, 2, 1.0, 2.0, 0.0, "", 0.0, 0.0, loss_before=before, losses_after=after)
    (shown,) = growth_timeline((), (event,)).events
    assert _jump(shown) == text
