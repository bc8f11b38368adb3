"""Which grid voxel each row of a table of betas is: decided by its shape and the masks, or refused. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from laion_xr.errors import FileFormatError
from laion_xr.readers.base import IntArray
from laion_xr.readers.volumes import Grid


class RowMap(NamedTuple):
    """Which voxel each row of a beta array is.

    `kind` is `"volume"` for (X, Y, Z, T), else what the rows are: `"grid"`, `"anatomical"` or `"rsquare"`.
    `ids` are the C-order flat grid indices of the rows; None where row `i` is voxel `i`.
    """

    kind: str
    ids: IntArray | None


def resolve_rows(
    shape: tuple[int, ...],
    grid: Grid,
    anatomical_ids: IntArray | None,
    rsquare_ids: IntArray | None,
    n_trials: int | None,
    name: str = "betasmd",
) -> RowMap:
    """Return which voxel each row of a beta array is: its shape alone says so, or it is an error.

    Parameters
    ----------
    shape
        Shape of the array; the last axis is trials.
    grid
        Shape of the functional grid.
    anatomical_ids, rsquare_ids
        The voxels of the two masks, sorted C-order flat grid indices; None for one that is not there.
    n_trials
        Expected length of the last axis; None for any.
    name
        What the messages call the array.

    Returns
    -------
    The map.

    Raises
    ------
    FileFormatError
        The shape fits none of the layouts, or both masks.
    """
    grid = (int(grid[0]), int(grid[1]), int(grid[2]))
    expected = f"{'T' if n_trials is None else n_trials} trials on its last axis"
    if len(shape) not in (2, 4) or (n_trials is not None and shape[-1] != n_trials):
        raise FileFormatError(f"{name}: expected {grid} + trials, or (voxels, trials), with {expected}; found {shape}.")
    if len(shape) == 4:
        if tuple(shape[:3]) != grid:
            raise FileFormatError(f"{name}: expected volumes of shape {grid}, found {tuple(shape[:3])}.")
        return RowMap("volume", None)
    sizes: dict[str, IntArray] = {}
    if anatomical_ids is not None:
        sizes["anatomical"] = anatomical_ids
    if rsquare_ids is not None:
        sizes["rsquare"] = rsquare_ids
    if shape[0] == math.prod(grid):
        return RowMap("grid", None)
    fitting = [kind for kind, ids in sizes.items() if len(ids) == shape[0]]
    if len(fitting) == 2 and np.array_equal(sizes["anatomical"], sizes["rsquare"]):
        return RowMap("anatomical", sizes["anatomical"])
    if len(fitting) != 1:
        counts = ", ".join([f"{math.prod(grid)} (grid)", *(f"{len(ids)} ({kind} mask)" for kind, ids in sizes.items())])
        why = "fits both masks, which differ" if fitting else "fits none"
        raise FileFormatError(
            f"{name}: which voxel each of its {shape[0]} rows is cannot be known: expected one of {counts}; "
            f'{shape[0]} {why}. Read the NIfTI betas instead (source="nifti").'
        )
    return RowMap(fitting[0], sizes[fitting[0]])


def held_rows(voxels: IntArray, ids: IntArray | None) -> tuple[IntArray, IntArray]:
    """Return the rows of the file that hold the voxels, and their positions in the pick; others are not in it."""
    if ids is None:
        return voxels, np.arange(len(voxels))
    rows = np.searchsorted(ids, voxels)
    held = np.flatnonzero(ids[np.minimum(rows, len(ids) - 1)] == voxels) if len(ids) else np.arange(0)
    return rows[held], held
