"""A function of the betas around every voxel."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import delayed

from laion_xr.analysis.blocks import BLOCK_BYTES, voxel_coordinates
from laion_xr.analysis.features import betas_of
from laion_xr.analysis.regions import check_radius, neighbours, offsets_within, voxel_ids
from laion_xr.analysis.select import select
from laion_xr.analysis.volumes import geometry
from laion_xr.errors import ReadCostWarning, SelectionError, UnknownLabelError
from laion_xr.lazy.array import ReadPlan
from laion_xr.lazy.budget import decode_budget
from laion_xr.lazy.reads import plans_of
from laion_xr.readers.base import IntArray
from laion_xr.schema import VOXEL
from laion_xr.voxels import Grid

# Centres whose neighbours are looked up at once; voxels along a side of a block of centres, at most
CENTRES_AT_ONCE, CUBE = 1024, 20

Function = Callable[[npt.NDArray[Any]], float]


def searchlight(
    obj: xr.Dataset | xr.DataArray,
    function: Any,
    radius: float,
    *,
    centres: Any = None,
    min_voxels: Any = 1,
) -> xr.DataArray:
    """Apply a function to the betas of the voxels around each voxel.

    Centres are taken in blocks of neighbours, so that each block reads the voxels of its spheres once. Lazy where the
    betas are: a task a block. Betas in `.nii.gz` files, where a part costs as much as the whole, are read once and kept
    for all blocks: average repeats first, or make a store, where that is more than the memory.

    Parameters
    ----------
    obj
        A Dataset with `betas`, or betas: (trial, voxel), or (stimulus, voxel). Spheres hold only voxels that are here.
    function
        Takes betas (row, voxel) of one sphere, rows and voxels in the order of `obj`, as NumPy, NaN included; returns
        one number.
    radius
        In mm, more than 0; the rim is inside.
    centres
        Where spheres are: ids of voxels, a boolean mask (voxel,), an ROI query such as `"FFA1"`, or None for every
        voxel. Neighbours are from all of `obj`.
    min_voxels
        Spheres of fewer voxels are NaN, and the function is not called.

    Returns
    -------
    xr.DataArray
        float64 (voxel,), the centres in the order of `obj`, with `n_voxels` of each sphere as a coordinate.

    Raises
    ------
    SelectionError
        Other dims, a radius of 0 or less, no grid, `min_voxels` below 1, centres that are no ids or mask, or a function
        that does not return one number.
    UnknownLabelError
        Centres that are not here.

    Warns
    -----
    ReadCostWarning
        More betas have to be kept at once than may be decoded at once (`laion_xr.decode_budget`).

    Notes
    -----
    Kriegeskorte, Goebel & Bandettini (2006, PNAS 103, 3863-3868).

    Examples
    --------
    >>> def spread(betas):
    ...     return betas.mean(axis=1).std()
    >>> ds.sel(session="ses-01").laion.searchlight(spread, radius=6, centres="FFA1")  # doctest: +SKIP
    """
    betas, _ = betas_of(obj, "searchlight")
    check_radius(radius)
    if isinstance(min_voxels, bool) or not isinstance(min_voxels, (int, np.integer)) or min_voxels < 1:
        raise SelectionError(f"min_voxels is a whole number of 1 or more, found {min_voxels!r}.")
    if not callable(function):
        raise SelectionError(f"function takes betas (row, voxel) and returns a number, found {function!r}.")
    ids = voxel_ids(betas, "searchlight")
    grid, affine = geometry(obj)
    at = _centres(betas, ids, centres)
    around = _Around(grid, offsets_within(affine, radius, grid))
    columns_of = around.lookup(ids)
    row_bytes = betas.shape[0] * betas.dtype.itemsize
    order, sizes = _blocks(ids[at], around, BLOCK_BYTES // max(row_bytes, 1))
    lazy = isinstance(betas.data, da.Array)
    pieces: list[Any] = []
    n_voxels = np.zeros(len(at), dtype=np.int64)
    blocks = [block for block in np.split(order, np.cumsum(sizes)[:-1]) if len(block)]
    unions = []
    for block in blocks:
        union, n_voxels[block] = around.union(ids[at[block]], columns_of)
        unions.append(union)
    once = _read_once(betas, ids, unions) if lazy and unions else None
    for block, union in zip(blocks, unions, strict=True):
        centre_ids = ids[at[block]]
        if not lazy:
            pieces.append(_apply(np.asarray(betas.data), ids, centre_ids, around, function, int(min_voxels)))
            continue
        values, held = once or (betas[:, union].data, delayed(ids[union]))
        task = delayed(_apply)(values, held, centre_ids, delayed(around), function, int(min_voxels))
        pieces.append(da.from_delayed(task, (len(block),), np.float64))
    data: Any = da.concatenate(pieces) if lazy and pieces else np.concatenate([np.empty(0), *pieces])
    if not np.array_equal(order, np.arange(len(at))):
        data = data[np.argsort(order)]
    found = xr.DataArray(data, dims=(VOXEL,), name="searchlight", attrs={"radius_mm": float(radius)})
    found = found.assign_coords(voxel_coordinates(betas[:, at]))
    return found.assign_coords(n_voxels=(VOXEL, n_voxels, {"long_name": "voxels in the sphere"}))


@dataclass(frozen=True, eq=False)
class _Around:
    """The spheres of one radius on a grid; `offsets` are the steps to a sphere's voxels, (n, 3)."""

    grid: Grid
    offsets: npt.NDArray[np.int64]

    def lookup(self, ids: IntArray) -> npt.NDArray[np.int32]:
        """Return where each voxel of the grid is among some ids; -1 elsewhere, and last for what is off the grid."""
        found = np.full(int(np.prod(self.grid)) + 1, -1, dtype=np.int32)
        found[ids] = np.arange(len(ids))
        return found

    def tables(self, centres: IntArray, lookup: npt.NDArray[np.int32]) -> Iterator[npt.NDArray[np.int32]]:
        """Yield the positions of the voxels around centres, (centre, n), some centres at a time; -1 for none."""
        for start in range(0, len(centres), CENTRES_AT_ONCE):
            yield lookup[neighbours(centres[start : start + CENTRES_AT_ONCE], self.grid, self.offsets)]

    def union(self, centres: IntArray, lookup: npt.NDArray[np.int32]) -> tuple[IntArray, IntArray]:
        """Return the positions of the voxels around any of the centres, increasing, and their number around each."""
        inside = np.zeros(int(lookup.max(initial=-1)) + 2, dtype=bool)
        counts = []
        for table in self.tables(centres, lookup):
            inside[table] = True  # -1 is the last
            counts.append((table >= 0).sum(axis=1))
        return np.flatnonzero(inside[:-1]), np.concatenate(counts)


def _centres(betas: xr.DataArray, ids: IntArray, centres: Any) -> IntArray:
    """Return the positions of the centres on the voxel axis, increasing."""
    if centres is None:
        return np.arange(len(ids))
    if isinstance(centres, str) or (
        isinstance(centres, (list, tuple)) and centres and all(isinstance(c, str) for c in centres)
    ):
        chosen = select(betas[:1], roi=centres).coords[VOXEL].values
        return np.flatnonzero(np.isin(ids, chosen))
    values = np.atleast_1d(np.asarray(centres))
    if values.dtype == bool:
        if values.shape != ids.shape:
            raise SelectionError(f"Expected a mask of {len(ids)} centres, one a voxel, found the shape {values.shape}.")
        return np.flatnonzero(values)
    if values.size and (values.dtype.kind not in "iu" or values.ndim != 1):
        raise SelectionError(
            "centres are ids of voxels, a boolean mask (voxel,), or an ROI query; found "
            f"{values.dtype} of shape {values.shape}."
        )
    lost = np.setdiff1d(values, ids)
    if len(lost):
        raise UnknownLabelError(
            f"Centres are voxels that are here: {len(lost)} of {len(values)} are not, such as {lost[0]}; centres may "
            "be fewer than the voxels, never others."
        )
    return np.flatnonzero(np.isin(ids, values))


def _blocks(ids: IntArray, around: _Around, most: int) -> tuple[npt.NDArray[np.intp], list[int]]:
    """Return an order of the centres, and the sizes of blocks in it: cubes whose spheres hold about `most` voxels."""
    reach = int(np.abs(around.offsets).max())
    side = max(int(most ** (1 / 3)) - 2 * reach, reach, 2)
    side = min(side, CUBE)
    cells = np.stack(np.unravel_index(ids, around.grid)) // side
    order = np.lexsort(cells[::-1])
    apart = np.flatnonzero((np.diff(cells[:, order]) != 0).any(axis=0)) + 1
    return order, [len(part) for part in np.split(order, apart)]


def _read_once(betas: xr.DataArray, ids: IntArray, unions: list[IntArray]) -> tuple[Any, Any] | None:
    """Return the betas of all spheres and the voxels' ids, both delayed, where parts cost as much as the whole."""
    plans, _ = plans_of(betas.data)
    if not any(isinstance(plan, ReadPlan) and plan.costs_whole_files for plan in plans):
        return None
    used = np.unique(np.concatenate(unions))
    data = betas[:, used].data
    if data.nbytes > decode_budget().total:
        warnings.warn(
            f"This searchlight keeps {data.nbytes / 1e9:.3g} GB of betas at once, as their files can only be read "
            "whole: average repeats first (.laion.average_repeats), take fewer centres, or make a store "
            "(laion_xr.ingest).",
            ReadCostWarning,
            stacklevel=3,
        )
    return delayed(np.asarray)(data), delayed(ids[used])


def _apply(
    betas: npt.NDArray[Any],
    ids: IntArray,
    centres: IntArray,
    around: _Around,
    function: Function,
    min_voxels: int,
) -> npt.NDArray[np.float64]:
    """Return the function's values at some centres; `ids` are those of the columns of the betas."""
    found: list[float] = []
    for table in around.tables(centres, around.lookup(ids)):
        for row in table:
            columns = np.sort(row[row >= 0])  # the order of the voxel axis
            found.append(_value(function, betas[:, columns]) if len(columns) >= min_voxels else np.nan)
    return np.array(found, dtype=np.float64)


def _value(function: Function, betas: npt.NDArray[Any]) -> float:
    value = np.asarray(function(betas))
    if value.ndim != 0 or value.dtype.kind not in "biuf":
        raise SelectionError(
            f"The function of a searchlight returns one real number for a sphere, found {value.dtype} of shape "
            f"{value.shape}: reduce it, as with .mean()."
        )
    return float(value)
