"""How the weights of new units start. Names, formulas and sources for readers stand in `autogrow.policy`.

A new unit brings two sorts of weights: its fan-in (the row that computes it) and its fan-out (the columns through
which older units read it). Biases, norms and the like have fixed starting values in `autogrow.network.layers`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from autogrow.errors import PolicyError
from autogrow.registry import Registry


@dataclass(frozen=True)
class NewWeights:
    """A block of weights to fill: its shape, and the fans of the layer *after* it has grown."""

    shape: tuple[int, ...]
    fan_in: int
    """Inputs of one unit, times kernel size."""
    fan_out: int
    """Units that read one input, times kernel size."""


class Initialization(ABC):
    """Fills the weights of new units; draws only from the generator it is given, which is on the CPU."""

    @abstractmethod
    def fan_in(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        """Weights of shape ``block.shape`` with which new units read their inputs, old and new."""

    @abstractmethod
    def fan_out(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        """Weights of shape ``block.shape`` with which old units read new ones."""


INITIALIZERS: Registry[type[Initialization]] = Registry("initialization", PolicyError)


@INITIALIZERS.register("zero_fan_out")
class ZeroFanOut(Initialization):
    """He et al. 2015, arXiv 1502.01852, equation 10, for the fan-in; zeros for the fan-out."""

    def fan_in(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        return torch.randn(block.shape, generator=generator) * sqrt(2.0 / block.fan_in)

    def fan_out(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        return torch.zeros(block.shape)


@INITIALIZERS.register("xavier")
class Xavier(Initialization):
    """Glorot and Bengio 2010, equation 16: uniform within sqrt(6 / (fan_in + fan_out)), on both sides."""

    def fan_in(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        limit = sqrt(6.0 / (block.fan_in + block.fan_out))
        return (torch.rand(block.shape, generator=generator) * 2 - 1) * limit

    def fan_out(self, block: NewWeights, generator: torch.Generator) -> Tensor:
        return self.fan_in(block, generator)
