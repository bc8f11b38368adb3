"""Means of repeated presentations."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr.analysis.blocks import voxel_coordinates
from laion_xr.analysis.streaming import reduced, trial_betas, trial_labels
from laion_xr.errors import SelectionError
from laion_xr.lazy.variable import lazy_variable
from laion_xr.readers.reductions import Mean
from laion_xr.schema import STIMULUS, TRIAL, VOXEL

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)
# Of the image, not of the time it was shown
OF_STIMULUS = ("stimulus_index", "unique_or_shared", "dataset")


def average_repeats(obj: XarrayT, by: str = "stimulus", *, min_reps: int = 1, weights: Any = None) -> XarrayT:
    """Average the trials of each stimulus, over what is not NaN.

    Parameters
    ----------
    obj
        A Dataset with `betas (trial, voxel)`, or the array; often z-scored (`zscore`).
    by
        Coordinate on `trial` whose labels are averaged over, and the dim of the result.
    min_reps
        Leave out stimuli with fewer trials in `obj`.
    weights
        Weight of each trial: a name of a coordinate on `trial`, an array `(trial,)`, or None for equal ones.

    Returns
    -------
    An object of the same kind, `betas (stimulus, voxel)` in the order of the sorted labels, with the coordinates of
    the stimuli and `n_reps`, the number of trials. What is on voxels stays; embeddings follow their stimuli. Lazy betas
    stay lazy: a session is in memory at a time (two, while the next is read), and what is averaged, a block of voxels
    at a time where they come from a store.

    Raises
    ------
    SelectionError
        No betas, other dims, an unknown coordinate, weights of another shape or negative, or no stimulus with so many
        trials.

    Examples
    --------
    >>> ds.laion.zscore().laion.average_repeats(min_reps=4).sel(roi="FFA1")  # doctest: +SKIP
    """
    betas = trial_betas(obj, "average_repeats")
    labels = trial_labels(betas, by, "average_repeats")
    codes, names = pd.factorize(labels, sort=True)
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    kept = counts >= min_reps
    if not kept.any():
        raise SelectionError(
            f"No {by} has {min_reps} trials here: expected min_reps up to {counts.max() if len(counts) else 0}."
        )
    number = np.full(len(names) + 1, -1)
    number[:-1][kept] = np.arange(kept.sum())
    codes = number[codes]  # -1 stays -1
    given = None if weights is None else _weights(betas, weights)
    data = reduced(betas, codes, int(kept.sum()), Mean(), given)
    dims = (by, VOXEL)
    first = np.unique(codes, return_index=True)[1][-int(kept.sum()) :]
    coords: dict[str, Any] = {by: (by, np.asarray(names)[kept], betas[by].attrs), "n_reps": (by, counts[kept])}
    for name in OF_STIMULUS if by == STIMULUS else ():
        if name in betas.coords and betas[name].dims == (TRIAL,):
            coords[name] = (by, betas[name].values[first], betas[name].attrs)
    variable = lazy_variable(dims, data, betas.attrs)
    if isinstance(obj, xr.DataArray):
        return _array(obj, variable).assign_coords(coords)
    return _dataset(obj, variable, first if by == STIMULUS else None).assign_coords(coords)


def _array(betas: xr.DataArray, variable: xr.Variable) -> xr.DataArray:
    rest = xr.Dataset(coords=voxel_coordinates(betas))
    return rest.assign(betas=variable)["betas"].rename(betas.name)


def _dataset(ds: xr.Dataset, variable: xr.Variable, first: npt.NDArray[np.intp] | None) -> xr.Dataset:
    found = ds.drop_dims(TRIAL).assign(betas=variable)
    for name, of_trials in ds.data_vars.items():
        if first is not None and of_trials.dims[:1] == (TRIAL,) and str(name).startswith("embedding_"):
            dims = (STIMULUS, *map(str, of_trials.dims[1:]))
            found[name] = lazy_variable(dims, of_trials.variable[first].data, of_trials.attrs)
    return found


def _weights(betas: xr.DataArray, weights: Any) -> npt.NDArray[np.float64]:
    if isinstance(weights, str):
        weights = trial_labels(betas, weights, "average_repeats")
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (betas.sizes[TRIAL],):
        raise SelectionError(
            f"weights are one a trial: expected the shape {(betas.sizes[TRIAL],)}, found {values.shape}."
        )
    if not (np.isfinite(values) & (values >= 0)).all():
        raise SelectionError("weights are numbers of 0 or more, found a negative, infinite or missing one.")
    return values
