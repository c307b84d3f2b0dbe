"""An initialization: how new units start."""

from autogrow.policy.initializations import Initialization


class Quiet(Initialization):
    """New units are drawn as usual, and nothing reads them yet."""

    kind = "quiet"
    summary = "fan-in a tenth of the usual, fan-out zero"
    keeps_outputs = True

    def make_initializer(self):
        from autogrow_example.quiet_weights import QuietWeights  # PyTorch is imported by those who train alone

        return QuietWeights(self)
