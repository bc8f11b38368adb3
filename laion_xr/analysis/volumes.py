"""Values on the voxel axis -> a NIfTI image."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import xarray as xr

from laion_xr.errors import SelectionError
from laion_xr.schema import VOXEL
from laion_xr.voxels import Grid, to_volume


def geometry(obj: xr.Dataset | xr.DataArray) -> tuple[Grid, npt.NDArray[np.float64]]:
    """Return the grid's shape and the affine (4, 4), voxel indices to mm of T1w space.

    Raises
    ------
    SelectionError
        Neither the object nor its `voxel` coordinate has them.
    """
    places = [obj.attrs, obj.coords[VOXEL].attrs if VOXEL in obj.coords else {}]
    for attrs in places:
        if "grid_shape" in attrs and "affine" in attrs:
            i, j, k = (int(n) for n in attrs["grid_shape"])
            return (i, j, k), np.asarray(attrs["affine"], dtype=np.float64).reshape(4, 4)
    raise SelectionError(
        "The grid is not known: expected attributes grid_shape and affine on the voxel coordinate (or the Dataset), as "
        "laion_xr sets them; keep the coordinate voxel, or copy its attributes."
    )


def to_nifti(
    obj: xr.Dataset | xr.DataArray, values: Any = None, path: str | Path | None = None, fill: float = np.nan
) -> nib.Nifti1Image:
    """Put values on the voxel axis back into the grid.

    Parameters
    ----------
    obj
        Has the voxel coordinate and the grid.
    values
        A variable's name, a DataArray with dim `voxel` (its own voxel ids count), an array whose last axis is `obj`'s
        voxels, or None for `obj` itself where it is an array.
    path
        Where to save it (`.nii.gz` or `.nii`); written beside and moved there when it is complete.
    fill
        Value outside the voxels (0 for booleans).

    Returns
    -------
    nib.Nifti1Image
        `(i, j, k)`, or `(i, j, k, n)` where there is another dim; float32, or the values' own type where it
        holds `fill`.

    Raises
    ------
    SelectionError
        No values, or values without a voxel axis of this length.
    """
    if values is None:
        if isinstance(obj, xr.Dataset):
            raise SelectionError(
                f"Which values? Give a variable's name or an array: one of {[str(n) for n in obj.data_vars]}."
            )
        values = obj
    if isinstance(values, str):
        if values not in obj.coords and not (isinstance(obj, xr.Dataset) and values in obj):
            raise SelectionError(f"There is no variable {values!r} here.")
        values = obj[values]
    voxels = obj.coords[VOXEL].values if VOXEL in obj.coords else None
    if isinstance(values, xr.DataArray):
        if VOXEL not in values.dims and VOXEL in values.coords:
            values = values.expand_dims(VOXEL)  # one voxel, selected by a number
        if VOXEL not in values.dims:
            raise SelectionError(f"Expected values with the dim 'voxel', found dims {values.dims}.")
        voxels = values.coords[VOXEL].values if VOXEL in values.coords else voxels
        values = values.transpose(..., VOXEL).values
    if voxels is None:
        raise SelectionError("Which voxels the values belong to is not known: the coordinate voxel is not there.")
    grid, affine = geometry(obj)
    values = np.atleast_1d(np.asarray(values))
    if values.dtype.kind not in "biufc":
        raise SelectionError(f"Expected numbers, found {values.dtype}: text has no place in a volume.")
    volume = to_volume(values, np.atleast_1d(voxels), grid, fill)
    if volume.dtype in (np.float64, np.int64):
        volume = volume.astype(np.float32 if volume.dtype.kind == "f" else np.int32)
    image = nib.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    if path is not None:
        _save(image, Path(path))
    return image


def _save(image: nib.Nifti1Image, path: Path) -> None:
    if not path.name.endswith((".nii", ".nii.gz")):
        raise SelectionError(f"A NIfTI file ends in .nii.gz or .nii, found {path.name!r}.")
    ending = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    # not tempfile: its files are for their owner only, and the permissions would stay
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}{ending}")
    try:
        nib.save(image, partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
