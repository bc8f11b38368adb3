"""What is computed of the trials of each voxel while they are read: plans over plans, a session in memory at a time."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from laion_xr.errors import SelectionError, describe_names
from laion_xr.lazy.array import ReadPlan, plan_of, planned_array
from laion_xr.readers.arrays import ArrayReader
from laion_xr.readers.base import IntArray, Reader
from laion_xr.readers.reduced import Part, ReducedReader, Reduction
from laion_xr.readers.standardised import StandardisedReader
from laion_xr.schema import TRIAL, VOXEL

# Of the result of a task; narrower blocks share chunks of a store with their neighbours, which decode them again
KEPT_BYTES = 2 << 30
LEAST_VOXELS = 8192


def betas_variable(obj: xr.Dataset | xr.DataArray, purpose: str) -> xr.DataArray:
    """Return the betas of a Dataset, or the array that was given.

    Raises
    ------
    SelectionError
        There are none.
    """
    if isinstance(obj, xr.DataArray):
        return obj
    if "betas" not in obj:
        raise SelectionError(
            f"{purpose} needs the variable betas; here are {describe_names(obj.data_vars)}: keep it, or give the "
            "array itself."
        )
    return obj["betas"]


def trial_betas(obj: xr.Dataset | xr.DataArray, purpose: str) -> xr.DataArray:
    """Return the betas of single trials, as (trial, voxel).

    Raises
    ------
    SelectionError
        There are none, or they have other dims.
    """
    obj = betas_variable(obj, purpose)
    if set(obj.dims) != {TRIAL, VOXEL}:
        raise SelectionError(
            f"{purpose} needs the dims 'trial' and 'voxel', found {obj.dims}: do it before what takes one of them "
            "away, and select with a list, as in roi=[...], to keep a dim of length 1."
        )
    if obj.dtype.kind != "f":
        raise SelectionError(f"{purpose} needs real numbers, found {obj.dtype}.")
    return obj.transpose(TRIAL, VOXEL)


def trial_labels(betas: xr.DataArray, name: str, purpose: str) -> npt.NDArray[np.generic]:
    """Return a coordinate of the trials.

    Raises
    ------
    SelectionError
        It is not there.
    """
    if name not in betas.coords or betas[name].dims != (TRIAL,):
        there = [str(n) for n, c in betas.coords.items() if c.dims == (TRIAL,)]
        raise SelectionError(
            f"{purpose} needs the coordinate {name!r} on 'trial'; here are {describe_names(there)}: keep it when you "
            "select, or name another."
        )
    return np.asarray(betas[name].values)


def standardised(betas: xr.DataArray, groups: IntArray, ddof: int, call: str) -> Any:
    """Return betas (trial, voxel) z-scored within groups of trials, as an array like theirs.

    Of a lazy read it is another lazy read: selections of it narrow what is read. Groups that reach over sessions
    read all their sessions in a task a block of voxels.
    """
    data = betas.data
    plan = plan_of(data)
    if plan is not None and all(plan.kept) and plan.n_trials and len(plan.voxels):
        sessions = plan.sessions()
        codes = [groups[rows] for _, _, rows in sessions]
        if sum(len(np.unique(c)) for c in codes) == len(np.unique(groups)):  # none reaches over sessions
            readers: list[Reader] = []
            order, start = np.empty(plan.n_trials, np.intp), 0
            for (reader, positions, rows), of_rows in zip(sessions, codes, strict=True):
                local = np.arange(reader.shape[0])[positions]
                readers.append(StandardisedReader(reader, local, of_rows, ddof, call))
                order[rows] = np.arange(start, start + len(local))
                start += len(local)
            trials = None if np.array_equal(order, np.arange(len(order))) else order
            new = ReadPlan(tuple(readers), plan.voxels, trials, name="zscore", block=plan.block)
            return planned_array(new)
    if isinstance(data, da.Array):
        whole = data.rechunk({0: -1})
        return whole.map_blocks(_standardised, groups, ddof, call, dtype=data.dtype, meta=data._meta)
    return _standardised(np.asarray(data), groups, ddof, call)


def _standardised(values: Any, groups: IntArray, ddof: int, call: str) -> Any:
    if not values.size:
        return values
    reader = StandardisedReader(ArrayReader(values), np.arange(len(values)), groups, ddof, call)
    return reader.read(slice(None), np.arange(values.shape[1]))


def reduced(
    betas: xr.DataArray,
    groups: IntArray,
    n_groups: int,
    reduction: Reduction,
    weights: npt.NDArray[np.floating] | None = None,
) -> Any:
    """Return a statistic over groups of trials (numbers; -1 for a trial that does not count), (row, voxel).

    Lazy where the betas are: a lazy read becomes another, in blocks of voxels where a part of them costs a part of
    the reading.
    """
    data = betas.data
    weights = np.ones(len(groups)) if weights is None else np.asarray(weights, dtype=np.float64)
    n_rows = reduction.n_rows(n_groups)
    if not data.size or not n_groups:
        return np.full((n_rows, data.shape[1]), np.nan, data.dtype)
    plan = plan_of(data)
    if plan is not None and all(plan.kept):
        parts = []
        for reader, positions, rows in plan.sessions():
            counted = groups[rows] >= 0
            local = np.arange(reader.shape[0])[positions][counted]
            parts.append(Part(reader, local, groups[rows][counted], weights[rows][counted]))
        result = ReadPlan((ReducedReader(parts, n_groups, reduction),), plan.voxels, name=reduction.token[0])  # type: ignore[arg-type]
        if result.splits_voxels:
            result = result.by_voxels(max(LEAST_VOXELS, KEPT_BYTES // (4 * n_groups)))
        return planned_array(result)
    if isinstance(data, da.Array):
        whole = data.rechunk({0: -1})
        return whole.map_blocks(
            _reduced, groups, n_groups, reduction, weights, dtype=data.dtype, chunks=((n_rows,), whole.chunks[1])
        )
    return _reduced(np.asarray(data), groups, n_groups, reduction, weights)


def _reduced(
    values: Any, groups: IntArray, n_groups: int, reduction: Reduction, weights: npt.NDArray[np.floating]
) -> Any:
    counted = np.flatnonzero(groups >= 0)
    part = Part(ArrayReader(values), counted, groups[counted], weights[counted])
    reader = ReducedReader([part], n_groups, reduction)
    return reader.read(slice(None), np.arange(values.shape[1]))
