"""What readers of units could still compute without some of them: linear regression, layer by layer.

A reader computes Y = X W^T + b. Without the columns j, the best that it can do with the other ones (k) has

    W_k' = W_k + W_j H_jk H_kk^-1    error per row: trace(W_j S W_j^T), S = H_jj - H_jk H_kk^-1 H_kj = (H^-1)_jj^-1

where H = X^T X / rows, with X centred where there is a bias to take up the mean. Optimal brain surgeon: Hassibi and
Stork 1993; layer by layer: Dong et al. 2017 (arXiv 1705.07565). Rows of X are the positions that the reader is applied
at; a convolution reads a patch at each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autogrow.network.growable import GrowableNetwork
from autogrow.network.running.copying import copied
from autogrow.network.running.layer_hooks import evenly_spread
from autogrow.network.running.model_input import ModelInput, run
from autogrow.network.running.undisturbed import undisturbed
from autogrow.network.shrinking.patches import kernel_entries, num_features, patches, weight_matrix
from autogrow.network.shrinking.reads import Read
from autogrow.network.shrinking.unit_places import Columns, UnitPlaces

MAX_COLUMNS = 8192
"""Columns of a reader, entries of a kernel included, up to which H is made: 512 MiB in double precision."""
MAX_ROWS = 16384
"""Rows of one call that are used; of more, evenly spread ones."""


def chosen_rows(rows: Tensor) -> Tensor:
    """At most `MAX_ROWS` along dimension 1, in double precision on the CPU."""
    return rows[:, evenly_spread(rows.shape[1], MAX_ROWS).to(rows.device)].cpu().double()


def part_of(read: Read) -> tuple[Any, ...]:
    """Parts of one weight, such as its first and its second half of rows, are readers of their own."""
    return read.weight, read.dim, read.weight_offset, tuple(read.values.shape)


@dataclass
class ReaderMoments:
    """First and second moments of what one reader is given, over all of its calls, in double precision on the CPU."""

    read: Read
    """The latest call."""
    columns: Columns
    """By group of units: where they stand in the activations."""
    norm: str | None
    """The batch norm that alone reads what is computed, where it keeps a running mean: that takes up constants, too."""
    calls: int = 0
    rows: int = 0
    sums: Tensor = torch.zeros(())
    """(convolution's groups, features)."""
    products: Tensor | None = None
    """(convolution's groups, features, features); None where there would be more than `MAX_COLUMNS` features."""

    def add(self, read: Read) -> None:
        rows = chosen_rows(patches(read))
        self.read, self.calls, self.rows = read, self.calls + 1, self.rows + rows.shape[1]
        self.sums = self.sums + rows.sum(1)
        if num_features(read) <= MAX_COLUMNS:
            products = rows.transpose(1, 2) @ rows
            self.products = products if self.products is None else self.products + products

    @property
    def takes_up_constants(self) -> bool:
        return self.read.bias is not None or self.norm is not None

    @property
    def mean(self) -> Tensor:
        """Of X, (convolution's groups, features)."""
        return self.sums / self.rows

    @property
    def moment(self) -> Tensor:
        """H, (convolution's groups, features, features)."""
        assert self.products is not None
        second = self.products / self.rows
        return second - self.mean[:, :, None] * self.mean[:, None, :] if self.takes_up_constants else second

    @property
    def weight(self) -> Tensor:
        """W, (convolution's groups, outputs, features)."""
        return weight_matrix(self.read, self.read.values.detach()).cpu().double()

    def features(self, group: str, conv_group: int) -> Tensor:
        """Where the units of a group stand among the features of one of the convolution's groups: (units, features)."""
        index, kernel = self.columns[group], kernel_entries(self.read)
        per_group = self.sums.shape[1] // kernel
        here = index[index // per_group == conv_group].reshape(len(index), -1) % per_group
        return (here[:, :, None] * kernel + torch.arange(kernel)).flatten(1)


def measure_moments(
    network: GrowableNetwork, groups: Iterable[str], batches: Sequence[ModelInput]
) -> list[ReaderMoments]:
    """The moments of all readers of these groups; the network is left alone.

    A group is in no reader's `columns` where one of its readers is not seen (`UnitPlaces`), or is no regression.
    """
    module, structure = copied(network.module), network.structure
    buffers = dict(module.named_buffers())
    found: dict[tuple[Any, ...], ReaderMoments] = {}
    left_out: set[str] = set()
    with undisturbed(module):
        places = UnitPlaces(module, structure, groups, lambda: run(module, batches[0]))

        def on_read(read: Read) -> None:
            columns = places.columns(read)
            if not read.is_regression:
                left_out.update(columns)
            elif columns:
                norm = structure.norm_of.get(read.weight)
                norm = norm if f"{norm}.running_mean" in buffers else None
                reader = ReaderMoments(read, columns, norm)
                found.setdefault((*part_of(read), read.bias), reader).add(read)

        for batch in batches:
            with places.watching_reads(on_read=on_read):
                run(module, batch)
    for moments in found.values():
        moments.columns = {group: index for group, index in moments.columns.items() if group not in left_out}
    return list(found.values())


def errors_without_units(moments: ReaderMoments, group: str, damping: float) -> Tensor:
    """Smallest mean squared change, summed over its outputs, of what a reader computes without each unit: (units,).

    NaN where the inputs are not finite, or too many.
    """
    errors = torch.zeros(len(moments.columns[group]), dtype=torch.float64)
    if moments.products is None:
        return errors + torch.nan
    for conv_group, (moment, weight) in enumerate(zip(moments.moment, moments.weight, strict=True)):
        features = moments.features(group, conv_group)
        if features.numel():
            errors += _errors(moment, weight, features, damping)
    return errors


def _errors(moment: Tensor, weight: Tensor, features: Tensor, damping: float) -> Tensor:
    added = damping * float(moment.diagonal().mean())
    if not torch.isfinite(moment).all():
        return torch.full((len(features),), torch.nan, dtype=torch.float64)
    if added == 0:
        return torch.zeros(len(features), dtype=torch.float64)  # nothing is ever read
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment + added * torch.eye(len(moment), dtype=moment.dtype)))
    left = torch.linalg.inv(inverse[features[:, :, None], features[:, None, :]])
    left = left - added * torch.eye(features.shape[1], dtype=left.dtype)
    read = weight[:, features]
    return torch.einsum("ouf,ufg,oug->u", read, left, read).clamp(min=0)
