"""Z-scores of betas within sessions or runs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from laion_xr.analysis.streaming import standardised, trial_betas, trial_labels
from laion_xr.errors import SelectionError
from laion_xr.lazy.variable import lazy_variable
from laion_xr.schema import TRIAL, VOXEL

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)
_calls = itertools.count()


def zscore(obj: XarrayT, by: str | Sequence[str] = "session", *, ddof: int = 0) -> XarrayT:
    """Z-score the betas of each voxel, within sessions or runs.

    Within-session z-scoring before averaging or comparing is the advice of the dataset: GLMsingle's ridge shrinks
    magnitudes by a different amount in each voxel and session.

    Parameters
    ----------
    obj
        A Dataset with `betas (trial, voxel)`, or the array.
    by
        `"session"`; `"run"` (of each session); or names of coordinates on `trial`, whose combinations are the groups.
        The mean and the standard deviation are over the trials of a group that are in `obj`, NaN left out.
    ddof
        Subtracted from the number of trials, for the standard deviation.

    Returns
    -------
    The object with z-scored betas (float32, in standard deviations). Lazy betas stay lazy, and a selection of the
    result narrows what is read: all trials of its groups, of its voxels. Voxels without variance in a group are NaN
    there, with one warning.

    Raises
    ------
    SelectionError
        `obj` has no betas, other dims, or not the coordinates; or a group without a label.

    Examples
    --------
    >>> ds.laion.zscore().sel(roi="FFA1").betas.compute()  # doctest: +SKIP
    """
    betas = trial_betas(obj, "zscore")
    names = ["session", "run"] if by == "run" else [by] if isinstance(by, str) else list(by)
    if not names:
        raise SelectionError("zscore needs at least one coordinate in by=, as by='session'; found none.")
    labels = pd.MultiIndex.from_arrays([trial_labels(betas, name, "zscore") for name in names])
    codes, _ = pd.factorize(labels)
    # voxels without variance are warned of once a call, in whatever threads and tasks they are met
    call = f"{os.getpid()}-{next(_calls)}"
    data = standardised(betas, codes.astype(np.int64), ddof, call)
    attrs = betas.attrs | {"units": "1", "long_name": f"betas z-scored by {' and '.join(names)}"}
    variable = lazy_variable((TRIAL, VOXEL), data, attrs, _encoding(betas))
    if isinstance(obj, xr.DataArray):
        return betas._replace(variable=variable)
    return obj.assign(betas=variable)


def drop_nonfinite(obj: XarrayT, how: str = "any") -> XarrayT:
    """Leave out the voxels whose betas are NaN or infinite; reads all betas, a session at a time.

    Parameters
    ----------
    obj
        A Dataset with `betas (trial, voxel)`, or the array.
    how
        `"any"`: in any trial; `"all"`: in all of them.

    Returns
    -------
    The object with fewer voxels, as lazy as it was.

    Raises
    ------
    SelectionError
        Another `how`, or no betas.

    Examples
    --------
    >>> ds.sel(roi="FFA1").laion.drop_nonfinite()  # doctest: +SKIP
    """
    if how not in ("any", "all"):
        raise SelectionError(f"how is 'any' or 'all', found {how!r}.")
    betas = trial_betas(obj, "drop_nonfinite").variable
    finite = np.isfinite(betas.data)
    kept = np.asarray(finite.all(axis=0) if how == "any" else finite.any(axis=0))
    return obj.isel({VOXEL: np.flatnonzero(kept)})


def _encoding(betas: xr.DataArray) -> dict[str, object]:
    return {k: v for k, v in betas.encoding.items() if k != "preferred_chunks"}
