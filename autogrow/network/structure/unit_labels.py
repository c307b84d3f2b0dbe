"""Which units stand along the dimensions of tensors, and which of them must be added together.

Every entry along every dimension of a parameter or buffer starts with a label of its own. Operations carry labels
from tensors to tensors, and relate them: labels that an addition lines up belong to one unit, as do those that a
reshape or a convolution in groups needs in equal numbers. At the end the related labels are the units.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

IntArray = NDArray[np.int64]
DimLabels = IntArray | None
"""Labels along one dimension, `CONSTANT` for entries that belong to no unit; None if none of them does."""

CONSTANT = -1
"""An entry that exists whatever the widths are, such as padding."""


@dataclass(frozen=True)
class Tracked:
    """What is known of one tensor: labels per dimension, and whether it is computed from parameters alone."""

    dims: tuple[DimLabels, ...]
    is_weight: bool = False


@dataclass(frozen=True)
class ParameterDim:
    """One dimension of a parameter or buffer; it owns the labels from `start` to `start + size`."""

    name: str
    dim: int
    start: int
    size: int

    @property
    def labels(self) -> IntArray:
        return np.arange(self.start, self.start + self.size)


class UnitLabels:
    """The labels of one trace: who has which, which belong together, and which cannot change and why."""

    def __init__(self) -> None:
        self.parameter_dims: list[ParameterDim] = []
        self.roles: dict[tuple[str, int], set[str]] = {}
        """"in" or "out" for dimensions of weights in products, "vector" for those of gains, biases and the like."""
        self.fills: dict[str, float] = {}
        """Value of new entries of parameters for which an operation fixes it (a norm's gain starts at 1)."""
        self.place = ""
        """The layer that is running, for reasons."""
        self.readers: list[tuple[Tracked, str]] = []
        """Operations, with their layer, that read parameters or what is computed from parameters alone."""
        # Weak, so that activations are freed during the pass as always; by identity, since tensors compare entry by
        # entry.
        self._tracked = WeakTensorKeyDictionary()
        self._count = 0
        # Where each of `parameter_dims` begins, to find the owner of a label by bisection.
        self._starts: list[int] = []
        self._related: list[tuple[IntArray, IntArray]] = []
        self._fixed: list[tuple[IntArray, str]] = []

    def register(self, name: str, tensor: Tensor) -> None:
        """Give a parameter or buffer labels of its own along every dimension."""
        dims = []
        for dim, size in enumerate(tensor.shape):
            entry = ParameterDim(name, dim, self._count, size)
            self.parameter_dims.append(entry)
            self._starts.append(self._count)
            self._count += size
            dims.append(entry.labels)
        self._tracked[tensor] = Tracked(tuple(dims), is_weight=True)

    def of(self, tensor: Tensor) -> Tracked:
        tracked: Tracked | None = self._tracked.get(tensor)
        if tracked is None or len(tracked.dims) != tensor.dim():  # never seen, or changed in place since
            return Tracked((None,) * tensor.dim())
        return tracked

    def knows(self, tensor: Tensor) -> bool:
        return tensor in self._tracked

    def set(self, tensor: Tensor, dims: Sequence[DimLabels], is_weight: bool = False) -> None:
        assert len(dims) == tensor.dim()
        self._tracked[tensor] = Tracked(tuple(dims), is_weight)

    def owner(self, labels: DimLabels) -> ParameterDim | None:
        """The parameter dimension that the labels come from."""
        if labels is None:
            return None
        real = labels[labels != CONSTANT]
        if len(real) == 0:
            return None
        return self.parameter_dims[bisect_right(self._starts, int(real[0])) - 1]

    def give_role(self, labels: DimLabels, role: str) -> None:
        owner = self.owner(labels)
        if owner is not None:
            self.roles.setdefault((owner.name, owner.dim), set()).add(role)

    def relate(self, first: DimLabels, second: DimLabels) -> DimLabels:
        """Entries that an operation lines up belong to one unit; returns the labels of the result.

        A dimension without labels goes along with anything. A unit lined up with a constant entry cannot be added to.
        """
        if first is None or second is None:
            return second if first is None else first
        constant_first, constant_second = first == CONSTANT, second == CONSTANT
        both = ~constant_first & ~constant_second
        self._related.append((first[both], second[both]))
        for labels, other in ((first, constant_second), (second, constant_first)):
            self.fix(labels[other], "some of its units are combined with a constant part, such as padding")
        joined: IntArray = np.where(constant_first, second, first)
        return joined

    def couple(self, rows: IntArray) -> IntArray:
        """The labels (n, m) of each column must be added together; returns one row that stands for them."""
        first: IntArray = rows[0]
        for row in rows[1:]:
            self.relate(first, row)
        return first

    def fix(self, labels: DimLabels, reason: str) -> None:
        if labels is not None:
            real = labels[labels != CONSTANT]
            if len(real):
                self._fixed.append((real, f"{self.place}: {reason}" if self.place else reason))

    def units(self) -> tuple[IntArray, dict[int, str]]:
        """For every label the number of its unit, and the reasons of units that cannot be added to."""
        first = np.concatenate([np.empty(0, np.int64), *(pair[0] for pair in self._related)])
        second = np.concatenate([np.empty(0, np.int64), *(pair[1] for pair in self._related)])
        # Relations were only noted on the way and are joined here at once: a union-find in Python would visit every
        # label by itself.
        graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(self._count, self._count))
        units = connected_components(graph, directed=False)[1].astype(np.int64)
        reasons: dict[int, str] = {}
        for labels, reason in self._fixed:
            for unit in np.unique(units[labels]):
                reasons.setdefault(int(unit), reason)
        return units, reasons
