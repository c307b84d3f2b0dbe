"""An initialization of blocks: what stands where in a deeper stage."""

from autogrow.policy.block_initializations import BlockInitialization


class Mirrored(BlockInitialization):
    """The copies come in the opposite order: F_0, F_1, F_2, F_2, F_1, F_0, F_0, ..."""

    kind = "mirrored"
    summary = "the whole stage repeated, forwards and backwards in turn"
    keeps_outputs = False
    copies = True

    def order(self, present, wanted):
        there_and_back = [*range(present), *reversed(range(present))]
        return tuple(there_and_back[place % len(there_and_back)] for place in range(wanted))
