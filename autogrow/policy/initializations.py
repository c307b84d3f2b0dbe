"""The names of the ways new units can start, with formula and source; `autogrow.network.initialization` does it."""

from dataclasses import dataclass

from autogrow.errors import PolicyError
from autogrow.registry import Registry


@dataclass(frozen=True)
class InitializationKind:
    """What a reader needs to choose one."""

    summary: str
    keeps_outputs: bool
    """Whether the network computes the same function right after growing."""


INITIALIZATIONS: Registry[InitializationKind] = Registry("initialization", PolicyError)

INITIALIZATIONS.register("zero_fan_out")(
    InitializationKind(
        summary="fan-in random with variance 2 / new fan-in (He et al. 2015), fan-out zero",
        keeps_outputs=True,
    )
)
INITIALIZATIONS.register("xavier")(
    InitializationKind(
        summary="fan-in and fan-out random, variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010; thesis, 4.4.1)",
        keeps_outputs=False,
    )
)
