"""How the weights of new units start. Names, formulas and sources for readers stand in `autogrow.policy`.

A new unit brings two sorts of weights: its fan-in (the row that computes it) and its fan-out (the columns through
which older units read it). Biases, norms and the like have fixed starting values (`channel_groups.TensorLayout`).
Some initializations also make units copies of others (`UnitCopies`). Those that look at data come after this, in
`autogrow.network.fitting`: they improve on weights that were drawn here.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autogrow.errors import NetworkError, PolicyError, kind_of
from autogrow.network.structure.layout import NEW, IntArray
from autogrow.policy.initializations import Initialization, Paired, Split
from autogrow.registry import Registry


@dataclass(frozen=True)
class NewWeights:
    """A block of weights to fill: its shape, and the fans of the layer *after* it has grown."""

    shape: tuple[int, ...]
    fan_in: int
    """Inputs of one unit, times kernel size."""
    fan_out: int
    """Units that read one input, times kernel size."""


@dataclass(frozen=True)
class UnitCopies:
    """Which units of a resized group are copies of others, and by what factor each is read. Arrays have its width."""

    source: IntArray
    """The unit (of the resized group) that each unit computes the same as; its own number for most."""
    factor: NDArray[np.float64]
    """What the weights that read the source are multiplied by, to read this unit."""
    noise: float = 0.0
    """Relative size of a random part of the reading weights that sums to zero over the copies of one unit."""


class Initializer(ABC):
    """Fills the weights of new units; draws only from the generator it is given, which is on the CPU."""

    rescales_readers = False
    """Whether the old weights of readers are scaled to their new fan-in, where a norm behind them takes it out."""

    def __init__(self, settings: Initialization) -> None:
        self.settings = settings

    @abstractmethod
    def fan_in(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        """Weights of shape ``block.shape`` with which new units read their inputs, old and new."""

    @abstractmethod
    def fan_out(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        """Weights of shape ``block.shape`` with which old units read new ones."""

    def copies(self, units: Mapping[str, IntArray], generator: torch.Generator) -> dict[str, UnitCopies]:
        """Units that are copies, by group; `units` holds for each unit of a resized group its old number or `NEW`.

        Raises `NetworkError` where the number of new units does not fit.
        """
        return {}


INITIALIZERS: Registry[type[Initializer]] = Registry("initialization", PolicyError)


def make_initializer(settings: Initialization) -> Initializer:
    if settings.kind in INITIALIZERS:
        return INITIALIZERS[settings.kind](settings)
    made = settings.make_initializer()
    if not isinstance(made, Initializer):
        raise PolicyError(f"initialization {settings.kind!r}: make_initializer() gives {kind_of(made)}, no Initializer")
    return made


@INITIALIZERS.register("gradient_max")
@INITIALIZERS.register("tiny")
@INITIALIZERS.register("zero_fan_out")
class ZeroFanOutInitializer(Initializer):
    """He et al. 2015, arXiv 1502.01852, equation 10, for the fan-in; zeros for the fan-out."""

    def fan_in(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        return torch.randn(block.shape, generator=generator) * sqrt(2.0 / block.fan_in)

    def fan_out(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        return torch.zeros(block.shape)


@INITIALIZERS.register("paired")
class PairedInitializer(ZeroFanOutInitializer):
    """The second half of the new units copies the first and is read with the opposite sign (Yuan et al. 2023)."""

    def __init__(self, settings: Initialization) -> None:
        super().__init__(settings)
        self.paired = cast(Paired, settings)
        self.rescales_readers = self.paired.variance_rescaling

    def fan_out(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        return torch.randn(block.shape, generator=generator) * (self.paired.scale * sqrt(2.0 / block.fan_in))

    def copies(self, units: Mapping[str, IntArray], generator: torch.Generator) -> dict[str, UnitCopies]:
        return {name: _pairs(name, source) for name, source in units.items() if (source == NEW).any()}


def _pairs(name: str, source: IntArray) -> UnitCopies:
    new = np.flatnonzero(source == NEW)
    if len(new) % 2:
        raise NetworkError(
            f"group {name!r}: initialization 'paired' adds units in pairs, {len(new)} is odd; add {len(new) + 1}"
        )
    first, second = new[: len(new) // 2], new[len(new) // 2 :]
    copied, factor = np.arange(len(source)), np.ones(len(source))
    copied[second], factor[second] = first, -1.0
    return UnitCopies(copied, factor)


@INITIALIZERS.register("split")
class SplitInitializer(ZeroFanOutInitializer):
    """Every new unit copies an old one, drawn at random; the copies share its outgoing weights (Chen et al. 2016)."""

    def copies(self, units: Mapping[str, IntArray], generator: torch.Generator) -> dict[str, UnitCopies]:
        noise = cast(Split, self.settings).noise
        found = {}
        for name, source in units.items():
            new, old = np.flatnonzero(source == NEW), np.flatnonzero(source != NEW)
            if len(new):
                copied = np.arange(len(source))
                copied[new] = old[_spread_draw(len(old), len(new), generator)]
                shares = np.bincount(copied, minlength=len(source))
                found[name] = UnitCopies(copied, 1.0 / shares[copied], noise)
        return found


def _spread_draw(choices: int, count: int, generator: torch.Generator) -> IntArray:
    """`count` numbers below `choices` in random order, each as often as the others where possible."""
    rounds = [torch.randperm(choices, generator=generator) for _ in range(-(-count // choices))]
    drawn: IntArray = torch.cat(rounds)[:count].numpy()
    return drawn


@INITIALIZERS.register("xavier")
class XavierInitializer(Initializer):
    """Glorot and Bengio 2010, equation 16: uniform within sqrt(6 / (fan_in + fan_out)), on both sides."""

    def fan_in(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        limit = sqrt(6.0 / (block.fan_in + block.fan_out))
        return (torch.rand(block.shape, generator=generator) * 2 - 1) * limit

    def fan_out(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        return self.fan_in(block, generator)
