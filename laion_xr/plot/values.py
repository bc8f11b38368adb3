"""Values on the voxel axis, by name or as an array, with their attributes: what the pictures draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from laion_xr.analysis import volumes
from laion_xr.errors import SelectionError, did_you_mean
from laion_xr.schema import VOXEL


def voxel_values(obj: xr.Dataset | xr.DataArray, values: Any, purpose: str) -> xr.DataArray:
    """Return one number a voxel, float64 (voxel,) with the coordinate `voxel`; computed.

    Parameters
    ----------
    obj
        Has the coordinate `voxel`.
    values
        As in `laion_xr.analysis.to_nifti`.
    purpose
        Who asks, for messages.

    Raises
    ------
    SelectionError
        No values, no variable of the name, no voxels, another dim beside `voxel`, another length, or text.
    """
    if values is None and isinstance(obj, xr.Dataset):
        there = [str(n) for n, v in obj.variables.items() if v.dims == (VOXEL,) and v.dtype.kind in "biuf"]
        raise SelectionError(f"{purpose}: which values? Give a variable's name or an array: one of {there}.")
    known = [str(n) for n in (obj.variables if isinstance(obj, xr.Dataset) else obj.coords)]
    if isinstance(values, str) and values not in known:
        raise SelectionError(f"{purpose}: {did_you_mean('Variable', values, known)}")
    found = volumes.voxel_values(obj, values)
    if found.dims != (VOXEL,):
        rest = [str(dim) for dim in found.dims if dim != VOXEL]
        raise SelectionError(
            f"{purpose} draws one value a voxel, found dims {found.dims}: select one of {rest}, or average over it."
        )
    if not found.sizes[VOXEL]:
        raise SelectionError(f"{purpose}: there is nothing to draw, the selection holds 0 voxels; select others.")
    if found.dtype.kind == "c":
        raise SelectionError(f"{purpose} draws real numbers, found {found.dtype}.")
    return found.compute().astype(np.float64, keep_attrs=True)
