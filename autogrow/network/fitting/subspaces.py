"""Linear algebra of gradients and activations: double precision on the CPU, and safe for singular matrices."""

import torch
from torch import Tensor

RANK_TOLERANCE = 1e-5
"""Singular values below this share of the largest count as zero: gradients are in single precision."""


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
