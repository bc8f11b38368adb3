"""Mask <-> voxel axis (C order) <-> volume, and voxels' positions through the affine. numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from laion_xr.errors import SelectionError
from laion_xr.readers.base import IntArray

Grid = tuple[int, int, int]


def grid_positions(voxels: IntArray, grid: Grid) -> tuple[npt.NDArray[np.int16], ...]:
    """Return i, j, k (int16) of C-order flat indices in a grid."""
    return tuple(axis.astype(np.int16) for axis in np.unravel_index(voxels, grid))


def world_positions(voxels: IntArray, grid: Grid, affine: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return x, y, z in mm, `(3, voxel)`, of C-order flat indices: `affine @ (i, j, k, 1)`."""
    ijk = np.stack(np.unravel_index(voxels, grid)).astype(np.float64)
    return (affine[:3, :3] @ ijk + affine[:3, 3:]).astype(np.float32)


def to_volume(
    values: npt.NDArray[np.generic], voxels: IntArray, grid: Grid, fill: float = np.nan
) -> npt.NDArray[np.generic]:
    """Return values `(..., voxel)` put back into the grid: `(i, j, k, ...)`, `fill` elsewhere.

    Integers keep their type where `fill` fits it, and become float32 otherwise (NaN has no integer).

    Raises
    ------
    SelectionError
        The last axis is not as long as `voxels`.
    """
    values = np.asarray(values)
    if values.shape[-1] != len(voxels):
        raise SelectionError(
            f"Expected one value for each of {len(voxels)} voxels on the last axis, found shape {values.shape}."
        )
    dtype = values.dtype
    if dtype.kind == "b":
        dtype, fill = np.dtype(np.uint8), 0 if np.isnan(fill) else fill
    elif dtype.kind in "iu" and np.isnan(fill):
        dtype = np.dtype(np.float32) if dtype.itemsize <= 2 else np.dtype(np.float64)
    volume = np.full((int(np.prod(grid)), *values.shape[:-1]), fill, dtype=dtype)
    volume[voxels] = np.moveaxis(values, -1, 0)
    return volume.reshape(*grid, *values.shape[:-1])


def within_sphere(
    xyz: npt.NDArray[np.floating], centre: tuple[float, float, float], radius: float
) -> npt.NDArray[np.bool_]:
    """Return which of the positions `(3, voxel)` in mm lie within `radius` mm of `centre`, the rim included."""
    distance = np.asarray(xyz, dtype=np.float64) - np.asarray(centre, dtype=np.float64)[:, None]
    return np.asarray((distance**2).sum(0) <= float(radius) ** 2)
