"""What a pattern is: a small module shaped like a public architecture, an input, and what must grow in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Pattern:
    """A module and what is expected of its channel groups, by names of layers."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    """Of one example."""
    growable: tuple[str, ...] = ()
    """Layers with units that can be added to. Others may be as well."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Layers with units that cannot, and a part of the reason."""
    unlisted: tuple[str, ...] = ()
    """Layers under no name of their own: in a fixed group that has another layer's name, or never used."""
    vocabulary: int = 0
    """The input holds numbers below this one instead of real values, if it is not 0."""
    random_in_training: bool = False

    def module(self) -> nn.Module:
        """A module whose norms and slopes are away from their defaults, so that nothing is exact by accident."""
        torch.manual_seed(0)
        module = self.build()
        generator = torch.Generator().manual_seed(2)
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm):
                _uniform(layer.weight, 0.5, 1.5, generator)
                _uniform(layer.bias, -0.5, 0.5, generator)
            if isinstance(layer, nn.modules.batchnorm._NormBase):
                _uniform(layer.running_mean, -0.5, 0.5, generator)
                _uniform(layer.running_var, 0.5, 1.5, generator)
            if isinstance(layer, nn.PReLU):
                _uniform(layer.weight, 0.1, 0.4, generator)
        return module

    def batch(self, size: int = 4) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        if self.vocabulary:
            return torch.randint(self.vocabulary, (size, *self.shape), generator=generator)
        return torch.randn((size, *self.shape), generator=generator)


def _uniform(tensor: Tensor | None, low: float, high: float, generator: torch.Generator) -> None:
    if tensor is not None:
        tensor.data.uniform_(low, high, generator=generator)


class Patterns(dict[str, Pattern]):
    """Patterns by name; `add` is a decorator of their classes (or of functions that build them)."""

    def add(
        self,
        name: str,
        shape: tuple[int, ...] = (3, 8, 8),
        *,
        growable: tuple[str, ...] = (),
        fixed: Mapping[str, str] | None = None,
        unlisted: tuple[str, ...] = (),
        vocabulary: int = 0,
        random_in_training: bool = False,
    ) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
        def register(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
            self[name] = Pattern(build, shape, growable, fixed or {}, unlisted, vocabulary, random_in_training)
            return build

        return register


def conv_norm(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the resolution (stride aside) and a batch norm."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
