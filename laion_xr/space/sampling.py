"""Values at points between voxels: a sparse matrix from voxels to points, and what it makes of values with NaN."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import scipy  # its submodules are loaded where they are first used: 40 ms

from laion_xr.voxels import Grid

INTERPOLATIONS = ("linear", "nearest")
# weights of rounding: a point on a plane of voxels takes nothing from the next plane
_NO_WEIGHT = 1e-6


def sampling_matrix(
    points: npt.NDArray[np.floating],
    voxels: npt.NDArray[np.integer],
    grid: Grid,
    affine: npt.NDArray[np.floating],
    interpolation: str,
) -> scipy.sparse.csr_matrix:
    """Return the matrix that averages voxels over the samples of each vertex, (vertex, voxel).

    Parameters
    ----------
    points
        mm, (vertex, sample, 3).
    voxels
        C-order flat ids of the voxels that have values, (voxel,).
    interpolation
        `"linear"`: between the eight voxels around a sample, those that are not among `voxels` left out.
        `"nearest"`: the voxel that holds it.

    Returns
    -------
    Rows sum to 1, or to 0 where no sample of the vertex lies in one of the voxels.
    """
    n_vertices, n_samples = points.shape[:2]
    inverse = np.linalg.inv(affine)
    at = points.reshape(-1, 3) @ inverse[:3, :3].T + inverse[:3, 3]
    column = np.full(int(np.prod(grid)), -1, np.int64)
    column[voxels] = np.arange(len(voxels))
    # a sample counts where the voxel that holds it has values: there is no reaching out of the mask
    nearest = _columns(np.rint(at).astype(np.int64), grid, column)
    row = np.repeat(np.arange(n_vertices), n_samples)
    kept = np.flatnonzero(nearest >= 0)
    if interpolation == "nearest":
        parts = [(row[kept], nearest[kept], np.ones(len(kept)))]
    else:
        at, row = at[kept], row[kept]
        base = np.floor(at).astype(np.int64)
        beyond = at - base
        parts = []
        for corner in product((0, 1), repeat=3):
            weight = np.where(corner, beyond, 1 - beyond).prod(axis=1)
            columns = _columns(base + corner, grid, column)
            here = (columns >= 0) & (weight > _NO_WEIGHT)
            parts.append((row[here], columns[here], weight[here]))
    rows, columns, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    matrix = scipy.sparse.csr_matrix((weights, (rows, columns)), shape=(n_vertices, len(voxels)))
    return normalised(matrix)


def normalised(matrix: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """Return the matrix with rows that sum to 1; empty rows stay empty."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    return matrix.multiply((1 / np.where(sums > 0, sums, 1))[:, None]).tocsr()


def sampled(values: npt.NDArray[np.generic], matrix: scipy.sparse.csr_matrix) -> npt.NDArray[np.generic]:
    """Return values `(..., voxel)` at the vertices, `(..., vertex)`.

    A weighted mean over the voxels that are not NaN; NaN where none is. float32; float64 of 64-bit values, and of
    32-bit integers, which float32 does not hold.
    """
    wide = values.dtype.itemsize >= (4 if values.dtype.kind in "iu" else 8)
    dtype = np.dtype(np.float64 if wide else np.float32)
    flat = values.reshape(-1, values.shape[-1]).astype(dtype, copy=False)
    matrix = matrix.astype(dtype)
    missing = np.isnan(flat)
    if missing.any():
        total = (matrix @ np.where(missing, 0, flat).T).T
        weight = (matrix @ (~missing).T.astype(dtype)).T
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.where(weight > 0, total / weight, np.nan)
    else:
        found = (matrix @ flat.T).T
        found[:, np.diff(matrix.indptr) == 0] = np.nan
    out: npt.NDArray[np.generic] = np.ascontiguousarray(found).reshape(*values.shape[:-1], matrix.shape[0])
    return out


def _columns(ijk: npt.NDArray[np.int64], grid: Grid, column: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    inside = ((ijk >= 0) & (ijk < np.array(grid))).all(axis=1)
    found = np.full(len(ijk), -1, np.int64)
    found[inside] = column[np.ravel_multi_index(tuple(ijk[inside].T), grid)]
    return found
