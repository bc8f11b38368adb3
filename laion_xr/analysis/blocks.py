"""How betas come into an analysis of every voxel: blocks that are read once and fit into memory."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from laion_xr.lazy.array import plan_of
from laion_xr.schema import VOXEL

# Of one block: a few are in memory at once, one a thread and its copy by folds
BLOCK_BYTES = 256 << 20
VOXELS_AT_ONCE = 4096


def memory_blocks(betas: xr.DataArray, whole_rows: bool = False) -> Any:
    """Return betas in blocks: a Dask array (row, voxel), or a list of views of a NumPy array.

    Sessions stay whole where each is read whole in any case, and their voxels are parted after the read. Where a part
    of the voxels costs a part of the reading (a store) and sessions are large, each block holds all rows instead.

    Parameters
    ----------
    betas
        (row, voxel).
    whole_rows
        Every block must hold all rows.
    """
    data = betas.data
    if not isinstance(data, da.Array):
        values = np.asarray(data)
        return [values[:, i : i + VOXELS_AT_ONCE] for i in range(0, max(values.shape[1], 1), VOXELS_AT_ONCE)]
    n_rows, itemsize = data.shape[0], data.dtype.itemsize
    width = max(256, BLOCK_BYTES // max(n_rows * itemsize, 1))
    if _reads_by_voxels(data, whole_rows):
        return betas.chunk({betas.dims[0]: -1, VOXEL: width}).data
    if whole_rows:
        return data.rechunk({0: -1, 1: max(min(width, max(data.chunks[1])), 1)})
    return data.rechunk({1: VOXELS_AT_ONCE}) if max(data.chunks[1]) > 4 * VOXELS_AT_ONCE else data


def _reads_by_voxels(data: da.Array, whole_rows: bool) -> bool:
    plan = plan_of(data)
    largest = max(data.chunks[0]) * max(data.chunks[1]) * data.dtype.itemsize
    return (
        plan is not None
        and plan.splits_voxels
        and (largest > BLOCK_BYTES or whole_rows)
        and len(data.chunks[0]) > 1
        and len(data.chunks[1]) == 1
    )


def reading_order(betas: xr.DataArray) -> npt.NDArray[np.intp] | None:
    """Return the order of voxels in which blocks of them cost least to read, (voxel,); None where it is as it is.

    A store keeps an ROI's voxels together: a block of neighbours on the voxel axis would decode several times its own.
    """
    data = betas.data
    if not isinstance(data, da.Array) or "roi" not in betas.coords or not _reads_by_voxels(data, False):
        return None
    labels = betas.coords["roi"].values.astype(str)
    # by membership, voxels of no ROI last
    return np.lexsort((labels, labels == ""))


def voxel_coordinates(betas: xr.DataArray) -> xr.Coordinates:
    """Return the coordinates on `voxel`, with their indexes."""
    gone = [name for name, c in betas.coords.items() if c.dims != (VOXEL,)]
    plain = betas.drop_indexes([name for name in gone if name in betas.xindexes])
    return plain.drop_vars(gone).coords
