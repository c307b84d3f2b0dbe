"""Watching how units are read: every product of activations with a weight that has columns for them.

What a unit is worth is seen where it is read: behind the nonlinearity, the norm, the sum of a residual stream, a
concatenation or a flattening, whatever the module's code looks like. Products are caught as they are called
(`torch.nn.functional.linear`, convolutions, `matmul`, `addmm`, as functions or methods), with the weight itself, a view
of it, or what is computed from parameters alone (a normalized weight).

Not seen are products inside functions that PyTorch executes as one (recurrent layers, `nn.MultiheadAttention`) and in
scripted modules.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_PRODUCTS: Mapping[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
    "linear": (F.linear, ("input", "weight", "bias")),
    "conv1d": (torch.conv1d, _CONVOLUTION),
    "conv2d": (torch.conv2d, _CONVOLUTION),
    "conv3d": (torch.conv3d, _CONVOLUTION),
    "conv_transpose1d": (torch.conv_transpose1d, _TRANSPOSED),
    "conv_transpose2d": (torch.conv_transpose2d, _TRANSPOSED),
    "conv_transpose3d": (torch.conv_transpose3d, _TRANSPOSED),
    "matmul": (torch.matmul, ("input", "other")),
    "__matmul__": (torch.matmul, ("input", "other")),
    "mm": (torch.mm, ("input", "mat2")),
    "addmm": (torch.addmm, ("input", "mat1", "mat2")),
}
"""Functions, by the names that calls of them as functions or methods have, with the names of their arguments."""


_TRANSPOSING = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)


@dataclass(frozen=True)
class Read:
    """One call of a product in which a weight reads units."""

    weight: str
    """Name of the parameter."""
    function: Callable[..., Tensor]
    """Of PyTorch."""
    arguments: Mapping[str, Any]
    """All of them, by name."""
    roles: tuple[str, str]
    """Names of the arguments that are the activations and the weight."""
    dim: int = 0
    """The parameter's dimension whose entries are the columns."""
    is_computed: bool = False
    """Whether the weight as it is used is computed from the parameter; else it is that, or a view of it."""
    weight_offset: int = 0
    """Entries of the parameter's memory before those of the weight as it is used."""
    bias: str | None = None
    """Name of the parameter that is added to what is computed, one number for every output."""
    bias_offset: int = 0

    @property
    def inputs(self) -> Tensor:
        """The activations."""
        return self.arguments[self.roles[0]]  # type: ignore[no-any-return]

    @property
    def values(self) -> Tensor:
        """The weight as it is used."""
        return self.arguments[self.roles[1]]  # type: ignore[no-any-return]

    @property
    def is_convolution(self) -> bool:
        return self.function.__name__.startswith("conv")

    @property
    def is_regression(self) -> bool:
        """Whether one matrix is multiplied with all positions: no vector, nor a matrix for each of several batches."""
        return self.is_convolution or self.values.dim() == 2

    @property
    def is_transposed(self) -> bool:
        return self.function in _TRANSPOSING

    @property
    def repeats(self) -> int:
        """How often the weight's columns stand in the activations: once, but for a convolution in groups."""
        return int(self.arguments.get("groups", 1)) if self.is_convolution and not self.is_transposed else 1

    @property
    def column_dim(self) -> int:
        """The dimension of the activations that holds the weight's columns."""
        if self.is_convolution:
            return self.inputs.dim() - self.values.dim() + 1
        return self.inputs.dim() - 1 if self.weight_is_right else max(self.inputs.dim() - 2, 0)

    @property
    def summed_dim(self) -> int:
        """The dimension of the weight that holds them."""
        if self.is_convolution:
            return 0 if self.is_transposed else 1
        if self.function is F.linear or not self.weight_is_right:
            return self.values.dim() - 1
        return max(self.values.dim() - 2, 0)

    @property
    def weight_is_right(self) -> bool:
        """Whether the activations are the first factor of a product of matrices, and the weight the second."""
        return self.roles[1] in ("weight", "other", "mat2")

    @property
    def bias_values(self) -> Tensor | None:
        """What is added, whether or not it is a parameter."""
        return self.arguments.get("input" if self.function is torch.addmm else "bias")

    def with_inputs(self, inputs: Tensor) -> Tensor:
        """What the call gives for other activations."""
        return self.function(**{**self.arguments, self.roles[0]: inputs})

    def product(self, inputs: Tensor, values: Tensor) -> Tensor:
        """What it gives for other activations and another weight, without a bias."""
        arguments = {**self.arguments, self.roles[0]: inputs, self.roles[1]: values}
        if self.function is torch.addmm:
            arguments["input"] = inputs.new_zeros(())
        arguments.pop("bias", None)
        return self.function(**arguments)


OnRead = Callable[[Read], Tensor | None]
"""Sees a product before it is computed, and may give other activations in their place."""
OnResult = Callable[[Read, Tensor], Tensor]
"""Sees what has been computed, and says what the network goes on with."""


class WatchingReads(TorchFunctionMode):
    """While this is entered, products with some weights of a module are seen, and may be changed.

    Args:
        module: What will run.
        weights: Names of the weights to watch, each with a dimension that reads units.
        on_read: Called before each product.
        on_result: Called after it.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Iterable[tuple[str, int]],
        *,
        on_read: OnRead | None = None,
        on_result: OnResult | None = None,
    ) -> None:
        super().__init__()
        self._on_read, self._on_result = on_read, on_result
        self._dims: dict[str, list[int]] = {}
        for name, dim in weights:
            self._dims.setdefault(name, []).append(dim)
        self._parameters = dict(module.named_parameters())
        self._known: dict[int | None, tuple[str, Tensor]] = {
            _address(tensor): (name, tensor)
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]
            if _address(tensor) is not None
        }
        """By memory: parameters, and what was computed from them, kept so that nothing else gets its memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read = self._find_read(func, args, kwargs)
        if read is None:
            result = func(*args, **kwargs)
            self._note_computed_weight([*args, *kwargs.values()], result)
            return result
        changed = self._on_read(read) if self._on_read is not None else None
        result = func(*args, **kwargs) if changed is None else read.with_inputs(changed)
        return result if self._on_result is None else self._on_result(read, result)

    def _find_read(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Read | None:
        name = getattr(func, "__name__", "")
        if name not in _PRODUCTS:
            return None
        function, names = _PRODUCTS[name]
        arguments = {**dict(zip(names, args, strict=False)), **kwargs}
        if arguments.get("alpha", 1) != 1 or arguments.get("beta", 1) != 1:
            return None
        # Either factor of a product of matrices may be the weight.
        roles = [(names[0], names[1])] if "weight" in names else [(names[-2], names[-1]), (names[-1], names[-2])]
        for inputs, weight in roles:
            activations, values = arguments.get(inputs), arguments.get(weight)
            if isinstance(activations, Tensor) and isinstance(values, Tensor) and activations.dim() and values.dim():
                weight_name, base = self._known.get(_address(values), ("", values))
                offset, is_computed = _offset(values, base), base is not self._parameters.get(weight_name)
                for dim in self._dims.get(weight_name, ()):
                    read = Read(weight_name, function, arguments, (inputs, weight), dim, is_computed, offset)
                    if _reads_all_columns(read, base):
                        return self._with_bias(read)
        return None

    def _with_bias(self, read: Read) -> Read:
        bias = read.bias_values
        if bias is None:
            return read
        name, base = self._known.get(_address(bias), ("", bias))
        is_vector = base is self._parameters.get(name) and bias.dim() == 1
        return replace(read, bias=name, bias_offset=_offset(bias, base)) if is_vector else read

    def _note_computed_weight(self, arguments: list[Any], result: Any) -> None:
        """A tensor of a parameter's shape that is computed from parameters alone stands for that parameter."""
        tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        if not isinstance(result, Tensor) or not tensors or _address(result) in self._known:
            return
        known = [self._known.get(_address(tensor)) for tensor in tensors]
        if any(entry is None for entry in known):
            return
        for tensor, (name, base) in zip(tensors, cast(list[tuple[str, Tensor]], known), strict=True):
            is_whole = tensor.shape == base.shape and tensor.stride() == base.stride()
            if name in self._dims and is_whole and result.shape == base.shape:
                self._known[_address(result)] = name, result
                return


def _reads_all_columns(read: Read, base: Tensor) -> bool:
    """Whether a view of a weight, turned or cut into rows, has all of its columns, and the activations one for each."""
    values, dim = read.values, read.summed_dim
    return (
        values.shape[dim] == base.shape[read.dim]
        and values.stride(dim) == base.stride(read.dim)
        and read.inputs.shape[read.column_dim] == read.repeats * values.shape[dim]
    )


def _offset(view: Tensor, base: Tensor) -> int:
    return int(view.storage_offset() - base.storage_offset())


def _address(tensor: Tensor) -> int | None:
    """Where a tensor's numbers lie; None for one that has no memory of its own kind."""
    return (tensor.untyped_storage().data_ptr() or None) if tensor.layout is torch.strided else None
