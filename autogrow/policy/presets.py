"""The policies that every search tries besides its own: the static control, the default policy, the thesis' policy."""

from autogrow.policy.block_initializations import Stack
from autogrow.policy.depth import DepthGrowth
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.initializations import Xavier
from autogrow.policy.layer_selection import All
from autogrow.policy.triggers import ComputeShares, Plateau, Schedule

STATIC = "static"
DEFAULT = "default"
THESIS = "thesis"
CONTROLS = (STATIC, DEFAULT, THESIS)
"""Roles of the first trials of every search, in the order of their numbers."""
DEFERRED_CONTROLS = (STATIC, THESIS)
"""Controls that only the report needs: no result of a search waits for them."""


GROWTH_ENDS = 0.6
"""Share of a run after which the default policy does not grow."""


def control_policy(role: str, num_samples: int, *, in_depth: bool = False) -> GrowthPolicy:
    """The policy of a control, in a run that takes `num_samples`; `in_depth` where the default is to grow depth."""
    if role == STATIC:
        return static_policy()
    if role == DEFAULT and in_depth:
        return default_depth_policy()
    return default_policy() if role == DEFAULT else thesis_policy(num_samples)


def static_policy() -> GrowthPolicy:
    """Full size from the first step, no growth: what growing has to beat."""
    return GrowthPolicy(initial_fraction=1.0, chunk_fraction=1.0, max_fraction=1.0, layer_selection=All())


def default_policy() -> GrowthPolicy:
    """What a user gets who does not search: from half to full width in two early steps, by 60 % of the run.

    Chosen by a study on four data sets (results/studies/default-policy, 5 seeds, validation data). Against the full
    network its loss is not told apart on digits (-0.0035, standard error 0.0037), sine (+0.0000, 0.0002) and MNIST
    (+0.0119, 0.0047), and larger on friedman (+0.0063, 0.0009), at 0.81 to 0.92 of the training FLOPs; no train seconds
    were saved: networks this small do not get faster by being smaller. Growth ends in time for the learning rate to
    fall. Connections to new units are faded in: in a network without norms, Adam would otherwise
    move all of their fan-out by a whole learning rate in the first step, and the loss rises by a quarter
    (results/reference/measured.md).
    """
    return GrowthPolicy(
        initial_fraction=0.5, trigger=Plateau(max_wait=10), connection_ramp_steps=50, grow_until=GROWTH_ENDS
    )


def default_depth_policy() -> GrowthPolicy:
    """What text is trained by where nobody searches: from one block, doubled at 7.5, 20 and 50% of the compute.

    Stacked copies under a constant rate that decays at the end. Ahead of the best depth throughout at equal training
    FLOPs (-0.023 nats per token, standard error 0.010) and of the full depth (-0.040, 0.008), level with 2-4-8 layers
    (results/reproduce/stacking: bytes of text, width 32, eight layers, 5 seeds). The width stays.
    """
    return GrowthPolicy(
        initial_fraction=1.0,
        chunk_fraction=1.0,
        depth=DepthGrowth(
            initial_blocks=1,
            growth_factor=2.0,
            stage_selection="all",
            trigger=ComputeShares(shares=(0.075, 0.2, 0.5)),
            initialization=Stack(),
        ),
    )


def thesis_policy(num_samples: int) -> GrowthPolicy:
    """C. Lee's policy for CIFAR-100 (thesis, 5.3): tenths, all groups, Xavier, on a schedule, nothing frozen.

    The thesis grew every 25 samples and trained as long as it liked. In a run of `num_samples` the interval shrinks
    where it has to, so that the nine events fit and a tenth of the run is left at full size.
    """
    every = max(1, min(25, num_samples // 10))
    return GrowthPolicy(
        initial_fraction=0.1,
        chunk_fraction=0.1,
        width_multiple=1,
        trigger=Schedule(every=every),
        layer_selection=All(),
        initialization=Xavier(),
    )
