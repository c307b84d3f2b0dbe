"""A trigger: when a network grows."""

from autogrow.policy.triggers import Trigger, TriggerReading


class Twice(Trigger):
    """Grows at the second measurement after each event."""

    kind = "twice"
    summary = "grow at every second measurement"

    def decide(self, samples, num_events=0):
        return TriggerReading(len(samples) >= 2, len(samples), f"{len(samples)} measurements taken")
