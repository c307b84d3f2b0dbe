"""The weights of `quiet`."""

from autogrow.network.resizing.initialization import ZeroFanOutInitializer


class QuietWeights(ZeroFanOutInitializer):
    """He et al.'s fan-in, divided by ten."""

    def fan_in(self, block, generator):
        return super().fan_in(block, generator) / 10
