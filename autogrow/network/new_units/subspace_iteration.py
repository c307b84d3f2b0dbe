"""Turning the fan-in of new units towards what their fan-out would read with the largest gradient.

With k new units between fan-in V and fan-out Z, the gradient of the loss is linear in both while Z is near zero. Where
it is linear in between, as with M = E[delta x^T] of a linear layer that reads x, in terms of matrices:

    G = dloss/dZ at Z = 0             = V M^T   (k, fan-out features)
    D = dloss/dV at Z = eps U, / eps  = U M     (k, fan-in features), U an orthonormal basis of G's rows

so that V <- an orthonormal basis of D's rows is subspace iteration, which converges to the top k right singular vectors
of M. M is never formed: the network's own gradients multiply with it, one forward and backward pass each for all groups
together, so nothing is assumed about what lies in between. Where that is not linear, bases are taken as near to the
gradients as can be (`orthonormal_rows`), and every unit follows the gradient that it has where it stands.

Linear algebra of gradients is in double precision on the CPU, and safe for singular matrices.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from autogrow.network.growable import LossOf
from autogrow.network.new_units.grown_twin import GrownTwin
from autogrow.network.new_units.unit_blocks import UnitBlocks, WeightBlock

SMALL_STEP = 1e-4
"""Size of Z, relative to the usual norm of a unit's fan-out, at which gradients of V are read."""
SMALLEST_PART = 1e-6
"""Share of a direction below which the part of one weight counts as zero."""
RANK_TOLERANCE = 1e-5
"""Singular values below this share of the largest count as zero: gradients are in single precision."""


class Rows:
    """The values of all blocks on one side of a group, as one matrix with a row per new unit."""

    def __init__(self, blocks: Sequence[WeightBlock], tensors: Mapping[str, Tensor]) -> None:
        self.blocks = blocks
        self._tensors = tensors
        self._features = [block.read(tensors[block.name]).shape[1] for block in blocks]
        self.usual_norms = [block.usual_norm(tensors[block.name]) for block in blocks]

    def read(self, tensors: Mapping[str, Tensor] | None = None) -> Tensor:
        """(units, features of all blocks) of the weights themselves, or of gradients by the same names."""
        source = self._tensors if tensors is None else tensors
        return torch.cat([block.read(source[block.name]) for block in self.blocks], 1)

    @torch.no_grad()
    def write(self, rows: Tensor) -> None:
        for block, part in zip(self.blocks, self.split(rows), strict=True):
            block.write(self._tensors[block.name], part)

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The parts of the blocks, (units, features of one block) each."""
        parts: tuple[Tensor, ...] = rows.split(self._features, 1)
        return parts

    def clear(self) -> None:
        self.write(torch.zeros_like(self.read()))

    def turn_to(self, directions: Tensor, scale: float) -> None:
        """Let rows point in these directions with `scale` times their usual norm; where those are zero, they stay.

        The parts of several weights get their norms one by one, as a norm layer may follow each of them and take its
        scale out again.
        """
        directions = directions / directions.norm(dim=1, keepdim=True).clamp(min=torch.finfo(directions.dtype).tiny)
        parts = []
        for old, new, usual in zip(self.split(self.read()), self.split(directions), self.usual_norms, strict=True):
            length = new.norm(dim=1, keepdim=True)
            scaled = new / length.clamp(min=SMALLEST_PART) * (scale * usual)
            parts.append(torch.where((length > SMALLEST_PART).to(old.device), scaled.to(old), old))
        self.write(torch.cat(parts, 1))


class SubspaceIteration:
    """The iteration for all groups of a copy at once. The fan-out of their new units is zero before and after."""

    def __init__(self, twin: GrownTwin, groups: Iterable[UnitBlocks], loss: LossOf, scale: float) -> None:
        self._twin = twin
        self._loss = loss
        self._scale = scale
        fitted = [group for group in groups if group.fan_in and group.fan_out]  # no others have directions
        self.fan_in = {group.group: Rows(group.fan_in, twin.tensors) for group in fitted}
        self.fan_out = {group.group: Rows(group.fan_out, twin.tensors) for group in fitted}

    def turn(self, fan_out_gradients: Mapping[str, Tensor]) -> None:
        """One round: new values of V, from G at the present ones."""
        for name, gradient in self.fan_in_gradients(fan_out_gradients).items():
            self.fan_in[name].turn_to(self.directions(name, gradient), self._scale)

    def directions(self, group: str, fan_in_gradient: Tensor) -> Tensor:
        """Where the rows of V turn to, given D; zero for rows that stay."""
        return orthonormal_rows(fan_in_gradient)

    def fan_out_gradients(self) -> dict[str, Tensor]:
        """G of every group, (units, fan-out features)."""
        return self._gradients(self.fan_out)

    def fan_in_gradients(self, fan_out_gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """D of every group, (units, fan-in features); zero for units without a direction of their own in G."""
        steps = {}
        for name, rows in self.fan_out.items():
            steps[name] = SMALL_STEP * sum(usual**2 for usual in rows.usual_norms) ** 0.5
            rows.write(orthonormal_rows(fan_out_gradients[name]) * steps[name])
        found = self._gradients(self.fan_in)
        for rows in self.fan_out.values():
            rows.clear()
        return {name: gradient / steps[name] for name, gradient in found.items()}

    def _gradients(self, sides: Mapping[str, Rows]) -> dict[str, Tensor]:
        names = [block.name for rows in sides.values() for block in rows.blocks]
        gradients = self._twin.gradients(self._loss, names)
        return {name: rows.read(gradients) for name, rows in sides.items()}


def orthonormal_rows(matrix: Tensor) -> Tensor:
    """The orthonormal rows that are nearest to those of a matrix (n, m); they span the same space.

    This is the orthogonal factor of the polar decomposition: unlike singular vectors, row i stays as close as it can
    to what row i was, which matters where the units between differ (in what their ReLU lets through). Where the rank r
    is below n, the r rows that carry most of the row space get a direction and the others are zero. A matrix that is
    not finite has rank 0.
    """
    rows = matrix.detach().cpu().double()
    result = torch.zeros_like(rows)
    kept = torch.arange(len(rows))
    while len(kept):
        left, inverse_values, rank = _left_factors(rows[kept])
        if rank == len(kept):
            result[kept] = (left * inverse_values) @ (left.T @ rows[kept])
            break
        carried = left.square().sum(1)
        kept = kept[carried.argsort(descending=True, stable=True)[:rank].sort().values]
    return result


def _left_factors(rows: Tensor) -> tuple[Tensor, Tensor, int]:
    """Left singular vectors (n, r) and inverse singular values (r) of a matrix (n, m), and its rank r."""
    largest = rows.abs().max() if rows.numel() else torch.zeros(())
    if not torch.isfinite(largest) or largest == 0:
        return rows.new_zeros(len(rows), 0), rows.new_zeros(0), 0
    scaled = rows / largest  # squares neither overflow nor vanish
    squares, left = _eigenvectors(scaled @ scaled.T)
    values = squares.clamp(min=0).sqrt()
    kept = values > RANK_TOLERANCE * values[-1]
    return left[:, kept], 1 / (values[kept] * largest), int(kept.sum())


def _eigenvectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors (in columns) of a symmetric matrix (n, n).

    PyTorch takes LAPACK's divide and conquer, which in several threads can fail to converge: seen with MKL on gradients
    of 256 units of which nine were alive. QR iteration, slower and surer, then stands in.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # public, but not in its __all__
        from scipy.linalg import eigh  # imported here: it is hardly ever needed

        values, vectors = map(torch.from_numpy, eigh(matrix.numpy(), driver="ev"))
    return values, vectors
