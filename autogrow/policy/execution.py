"""How training is executed: what is computed stays the same, up to the rounding of the precision."""

from typing import Literal

from autogrow.policy.part import PolicyPart


class Execution(PolicyPart):
    """Choices that make training faster on some machines. No part of a policy: every machine has its own."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of forward passes and gradients; weights are kept in float32. auto: bfloat16 on GPUs that compute with it."""
    cuda_graphs: bool = True
    """On a GPU, capture a whole training step once per shape and replay it: small networks are bound by launches."""
    compile: bool = False
    """torch.compile the network, again after every growth event."""
