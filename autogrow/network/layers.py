"""What autogrow knows of each layer type: which tensor dimensions are its units and its inputs, and how they start.

This table is the only place that names layer types. A layer that is not in it keeps the groups it belongs to fixed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from torch import Tensor, nn

Side = Literal["out", "in"]
"""out: the dimension that holds a layer's units; in: the one that reads another layer's units."""


@dataclass(frozen=True)
class TensorRule:
    """One parameter or buffer of a layer: its dimension per side, and what new entries hold."""

    name: str
    out_dim: int | None = None
    in_dim: int | None = None
    fill: float | None = None
    """Value of new entries; None where an initialization decides (weights that mix inputs into units)."""


@dataclass(frozen=True)
class LayerRule:
    """How one type of layer changes its size."""

    tensors: tuple[TensorRule, ...]
    out_sizes: tuple[str, ...] = ()
    """Attributes that hold the number of units."""
    in_sizes: tuple[str, ...] = ()
    is_norm: bool = False


_LINEAR = LayerRule(
    (TensorRule("weight", out_dim=0, in_dim=1), TensorRule("bias", out_dim=0, fill=0.0)),
    out_sizes=("out_features",),
    in_sizes=("in_features",),
)
_CONVOLUTION = LayerRule(
    (TensorRule("weight", out_dim=0, in_dim=1), TensorRule("bias", out_dim=0, fill=0.0)),
    out_sizes=("out_channels",),
    in_sizes=("in_channels",),
)
_TRANSPOSED = LayerRule(
    (TensorRule("weight", out_dim=1, in_dim=0), TensorRule("bias", out_dim=0, fill=0.0)),
    out_sizes=("out_channels",),
    in_sizes=("in_channels",),
)
_DEPTHWISE = LayerRule(
    (TensorRule("weight", out_dim=0), TensorRule("bias", out_dim=0, fill=0.0)),
    out_sizes=("out_channels", "in_channels", "groups"),
)
_CHANNEL_NORM = LayerRule(
    (
        TensorRule("weight", out_dim=0, fill=1.0),
        TensorRule("bias", out_dim=0, fill=0.0),
        TensorRule("running_mean", out_dim=0, fill=0.0),
        TensorRule("running_var", out_dim=0, fill=1.0),
    ),
    out_sizes=("num_features",),
    is_norm=True,
)
_PRELU = LayerRule((TensorRule("weight", out_dim=0, fill=0.25),), out_sizes=("num_parameters",))
_EMBEDDING = LayerRule((TensorRule("weight", out_dim=1),), out_sizes=("embedding_dim",))


def _convolution_rule(layer: nn.Module) -> LayerRule | str:
    convolution = cast(nn.Conv2d, layer)
    if convolution.groups == 1:
        return _TRANSPOSED if convolution.transposed else _CONVOLUTION
    if convolution.groups == convolution.in_channels == convolution.out_channels and not convolution.transposed:
        return _DEPTHWISE
    return f"a convolution in {convolution.groups} groups"


_RULES: dict[type[nn.Module], LayerRule | Callable[[nn.Module], LayerRule | str]] = {
    nn.Linear: _LINEAR,
    nn.Conv1d: _convolution_rule,
    nn.Conv2d: _convolution_rule,
    nn.Conv3d: _convolution_rule,
    nn.ConvTranspose1d: _convolution_rule,
    nn.ConvTranspose2d: _convolution_rule,
    nn.ConvTranspose3d: _convolution_rule,
    nn.BatchNorm1d: _CHANNEL_NORM,
    nn.BatchNorm2d: _CHANNEL_NORM,
    nn.BatchNorm3d: _CHANNEL_NORM,
    nn.InstanceNorm1d: _CHANNEL_NORM,
    nn.InstanceNorm2d: _CHANNEL_NORM,
    nn.InstanceNorm3d: _CHANNEL_NORM,
    nn.PReLU: _PRELU,
    nn.Embedding: _EMBEDDING,
}


def layer_rule(layer: nn.Module) -> LayerRule | str:
    """The rule of a layer, or in words why it has none. A subclass may compute anything, so types match exactly."""
    rule = _RULES.get(type(layer))
    if rule is None:
        return f"{type(layer).__name__} is not a layer that autogrow can widen"
    return rule(layer) if callable(rule) else rule


def set_sizes(layer: nn.Module, names: tuple[str, ...], size: int) -> None:
    """Write a layer's new number of units or inputs to the attributes that state it."""
    for name in names:
        setattr(layer, name, size)


def tensor_of(layer: nn.Module, name: str) -> Tensor | None:
    """A layer's parameter or buffer, None where the layer has none of that name (a convolution without bias)."""
    return cast("Tensor | None", cast(Any, layer)._parameters.get(name, cast(Any, layer)._buffers.get(name)))
