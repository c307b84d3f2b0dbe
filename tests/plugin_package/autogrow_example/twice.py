"""A trigger: when a network grows."""

from autogrow.policy.triggers import Trigger, Verdict


class Twice(Trigger):
    """Grows at the second measurement after each event."""

    kind = "twice"
    summary = "grow at every second measurement"

    def decide(self, samples, num_events=0):
        return Verdict(len(samples) >= 2, len(samples), f"{len(samples)} measurements taken")
