"""A NIfTI file a stimulus, or a trial, and a table that says what is in which."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from laion_xr._version import __version__
from laion_xr.analysis.nifti import checked_fill
from laion_xr.analysis.repeats import average_repeats
from laion_xr.analysis.streaming import betas_variable
from laion_xr.analysis.volumes import geometry, placed_voxels, to_nifti
from laion_xr.errors import SelectionError
from laion_xr.exports.attributes import attributes_of, plain, without_local_root
from laion_xr.exports.folders import file_names, new_folder, write_description
from laion_xr.exports.npy import AnyArray, computed, planned_parts, write_npy
from laion_xr.schema import STIMULUS, TRIAL, VOXEL

KIND = "NIfTI folder"
INDEX = "index.tsv"
# Rows of an array on disk that are in memory at once
ROWS_AT_ONCE = 64


def to_nifti_folder(
    obj: xr.Dataset | xr.DataArray,
    folder: str | os.PathLike[str],
    by: str = STIMULUS,
    *,
    average: bool = True,
    fill: float = np.nan,
    workers: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a NIfTI file (`.nii.gz`) for each stimulus, its repeats averaged, or for each trial.

    Each session is read once. Single trials are written from the session that is in memory. Averages come from a
    store in blocks of voxels, and a file holds all voxels: they wait in one array on disk, in the new folder, 4 bytes
    a stimulus and voxel, and are removed after. Averages of `.nii.gz` files are in memory whole, as one pass over the
    files makes all of them.

    Parameters
    ----------
    obj
        A Dataset with `betas`, or betas: (trial, voxel), or averaged already, (stimulus, voxel). Of one subject.
    folder
        It appears when it is complete.
    by
        Coordinate on `trial` whose labels are averaged over (`average_repeats`).
    average
        False: a file a trial; then leave out `by`.
    fill
        Value outside the voxels; the types are those of `to_nifti`.
    workers
        Threads that compress; by default one a core, up to 4.
    overwrite
        Replace a folder that an earlier call wrote. Other folders are never replaced.

    Returns
    -------
    Path
        The folder: files named after their labels, `index.tsv` (`file`, the label, `n_reps`, the labels of the stimulus
        or trial; a row a file) and `dataset.json` with the attributes.

    Raises
    ------
    SelectionError
        No betas, other dims, no voxels or no trials, voxels of several subjects, or a folder that is there; a number
        of threads or a `fill` that is none; `by` a label where nothing is averaged.
    FileAccessError
        The folder may not be written.

    Examples
    --------
    >>> ds.laion.zscore().laion.to_nifti_folder("stimuli", overwrite=True)  # doctest: +SKIP
    """
    outside, threads = checked_fill(fill), _checked_workers(workers)
    betas, row = _rows(obj, by, average)
    _check(betas)
    grid, affine = geometry(obj)
    placed_voxels(betas, grid)
    index = _index(betas, row)
    ids = betas[VOXEL].values
    where = {"grid_shape": list(grid), "affine": affine.ravel().tolist()}
    place = xr.DataArray(ids, {VOXEL: ids}, [VOXEL], attrs=where)
    with new_folder(folder, KIND, overwrite) as partial:

        def write(task: tuple[int, AnyArray]) -> None:
            number, values = task
            to_nifti(place, values, partial / index["file"].iloc[number], fill=outside)

        with ThreadPoolExecutor(threads) as pool:
            for numbers, values in _blocks(betas.data, partial / "betas.npy"):
                for _ in pool.map(write, zip(numbers, values, strict=True)):
                    pass
        (partial / "betas.npy").unlink(missing_ok=True)
        index.to_csv(partial / INDEX, sep="\t", index=False, na_rep="n/a")
        attrs = plain(attributes_of(obj) | without_local_root(betas.attrs), "the data")
        write_description(partial, KIND, {"version": 1, "laion_xr_version": __version__, "by": row, "attrs": attrs})
    return Path(folder)


def _checked_workers(workers: Any) -> int:
    if workers is None:
        return min(4, os.cpu_count() or 1)
    if isinstance(workers, bool) or not isinstance(workers, (int, np.integer)) or workers < 1:
        raise SelectionError(f"workers is a number of threads, 1 or more, or None; found {workers!r}.")
    return int(workers)


def _rows(obj: xr.Dataset | xr.DataArray, by: str, average: bool) -> tuple[xr.DataArray, str]:
    if not isinstance(by, str):
        raise SelectionError(f"by is the name of a coordinate on 'trial', found {by!r}.")
    if not average and by not in (STIMULUS, TRIAL):
        raise SelectionError(
            f"average=False writes a file a trial, and by={by!r} says what to average over: leave out one of them."
        )
    betas = betas_variable(obj, "to_nifti_folder")
    if average and by != TRIAL and TRIAL in betas.dims:
        if not betas.size:
            _check(betas)
        betas = average_repeats(betas, by)
    others = [str(dim) for dim in betas.dims if dim != VOXEL]
    if VOXEL not in betas.dims or len(others) != 1:
        raise SelectionError(
            f"to_nifti_folder needs betas with the dims 'trial' (or 'stimulus') and 'voxel', found {betas.dims}: a map "
            "is one file, .laion.to_nifti(name, path)."
        )
    row = others[0]
    if by not in (row, STIMULUS) and row != TRIAL:
        raise SelectionError(f"These betas are averaged by {row} already: leave out by={by!r}, or give single trials.")
    return betas.transpose(row, VOXEL), row


def _check(betas: xr.DataArray) -> None:
    if VOXEL not in betas.coords:
        raise SelectionError("Which voxels the values belong to is not known: the coordinate voxel is not there.")
    for dim, size in betas.sizes.items():
        if not size:
            raise SelectionError(f"There is nothing to write: no {dim} is left; select others.")


def _index(betas: xr.DataArray, row: str) -> pd.DataFrame:
    labels = betas[row].values if row in betas.coords else np.arange(betas.sizes[row])
    if row == TRIAL:
        stimuli = betas[STIMULUS].values if STIMULUS in betas.coords else [""] * len(labels)
        labels = np.array([f"{n:06d}_{Path(str(s)).stem}" for n, s in zip(labels, stimuli, strict=True)], dtype=object)
    elif row == STIMULUS:
        labels = np.array([Path(str(name)).stem for name in labels], dtype=object)
    columns: dict[str, Any] = {"file": [f"{name}.nii.gz" for name in file_names(labels, f"{row}-")]}
    if row in betas.coords:
        columns[row] = betas[row].values
    columns |= {str(n): c.values for n, c in betas.coords.items() if c.dims == (row,) and n != row}
    return pd.DataFrame(columns)


def _blocks(data: Any, path: Path) -> Iterator[tuple[list[int], AnyArray]]:
    """Give all rows, some at a time, each with its voxels whole."""
    n_rows = data.shape[0]
    if isinstance(data, da.Array):
        parts = planned_parts(data)
        if parts is not None and all(columns == slice(None) for _, columns, _ in parts):
            for rows, _, values in computed(parts):
                yield np.arange(n_rows)[rows].tolist(), values
            return
        data = write_npy(path, data)
    for start in range(0, n_rows, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, n_rows)
        yield list(range(start, stop)), data[start:stop]
