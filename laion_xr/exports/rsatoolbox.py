"""Betas as a dataset of rsatoolbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from laion_xr.analysis.features import betas_of
from laion_xr.errors import SelectionError, missing_extra
from laion_xr.exports.attributes import attributes_of, plain, without_local_root
from laion_xr.exports.npy import storable
from laion_xr.schema import VOXEL

if TYPE_CHECKING:
    from rsatoolbox.data.dataset import Dataset


def to_rsatoolbox(obj: xr.Dataset | xr.DataArray) -> Dataset:
    """Return betas as an `rsatoolbox.data.Dataset`; this reads them.

    Parameters
    ----------
    obj
        A Dataset with `betas`, or betas: (trial, voxel), or (stimulus, voxel) where repeats are averaged. Of one
        subject or several (`shared`). Select first: all of it is in memory. rsatoolbox gives NaN for patterns with a
        NaN: drop such voxels while there are trials, in the order `zscore` (NaN where a voxel is constant),
        `drop_nonfinite`, `average_repeats`.

    Returns
    -------
    rsatoolbox.data.Dataset
        `measurements` (trial or stimulus, voxel), NaN kept; `obs_descriptors` are the labels of trials or stimuli,
        `channel_descriptors` those of voxels, under their names here; `descriptors` the attributes (lists as JSON, as
        rsatoolbox takes one value each).

    Raises
    ------
    MissingExtraError
        rsatoolbox is not installed.
    SelectionError
        No betas, other dims, or no trials or voxels.

    Examples
    --------
    >>> complete = ds.sel(roi="FFA1").laion.zscore().laion.drop_nonfinite()  # doctest: +SKIP
    >>> data = complete.laion.average_repeats().laion.to_rsatoolbox()  # doctest: +SKIP
    >>> rsatoolbox.rdm.calc_rdm(data, method="correlation", descriptor="stimulus")  # doctest: +SKIP
    """
    try:
        from rsatoolbox.data.dataset import Dataset  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise missing_extra("rsatoolbox", "rsatoolbox", "to_rsatoolbox") from error
    betas, row = betas_of(obj, "to_rsatoolbox")
    for dim, size in betas.sizes.items():
        if not size:
            raise SelectionError(f"rsatoolbox needs one {dim} or more, and none is left: select others.")
    attrs = plain(attributes_of(obj) | without_local_root(betas.attrs), "the data")
    descriptors = {name: json.dumps(v) if isinstance(v, (list, dict)) else v for name, v in attrs.items()}
    return Dataset(  # type: ignore[no-untyped-call]
        np.asarray(betas.values),
        descriptors={name: value for name, value in descriptors.items() if value is not None},
        obs_descriptors=_descriptors(betas, row),
        channel_descriptors=_descriptors(betas, VOXEL),
    )


def _descriptors(betas: xr.DataArray, dim: str) -> dict[str, Any]:
    return {str(name): storable(c.values, str(name)) for name, c in betas.coords.items() if c.dims == (dim,)}
