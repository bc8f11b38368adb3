"""Values on the voxel axis -> a NIfTI image; whose voxels they are, and in which grid."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import dask.array as da
import nibabel as nib
import numpy as np
import numpy.typing as npt
import xarray as xr
from nibabel.spatialimages import SpatialImage

from laion_xr.errors import SelectionError, closest
from laion_xr.schema import SUBJECT, VOXEL
from laion_xr.stimuli.root import CACHE, ROOT
from laion_xr.voxels import Grid, to_volume

# attribute of the voxels of several subjects: JSON, name -> attributes of the voxels of each
PLACES = "places"
# those of the coordinate voxel of one subject that say where its voxels and its files are
OF_PLACE = ("grid_shape", "affine", SUBJECT, ROOT, CACHE)


def geometry(obj: xr.Dataset | xr.DataArray) -> tuple[Grid, npt.NDArray[np.float64]]:
    """Return the grid's shape and the affine (4, 4), voxel indices to mm of T1w space.

    Raises
    ------
    SelectionError
        Neither the object nor its `voxel` coordinate has them, or the voxels are of several subjects.
    """
    subject = one_subject(obj)
    places = [obj.attrs, obj.coords[VOXEL].attrs if VOXEL in obj.coords else {}]
    places += [place_of(obj, subject)] if subject is not None else []
    for attrs in places:
        if "grid_shape" in attrs and "affine" in attrs:
            i, j, k = (int(n) for n in attrs["grid_shape"])
            return (i, j, k), np.asarray(attrs["affine"], dtype=np.float64).reshape(4, 4)
    raise SelectionError(
        "The grid is not known: expected attributes grid_shape and affine on the voxel coordinate (or the Dataset), as "
        "laion_xr sets them; keep the coordinate voxel, or copy its attributes."
    )


def one_subject(obj: xr.Dataset | xr.DataArray) -> str | None:
    """Return the subject whose voxels these are, where the voxels or the attributes say so.

    Raises
    ------
    SelectionError
        The voxels of several subjects are on one axis: each has a grid of its own.
    """
    if SUBJECT in obj.coords and set(obj.coords[SUBJECT].dims) <= {VOXEL}:
        names = sorted({str(name) for name in np.atleast_1d(obj.coords[SUBJECT].values)})
        if len(names) > 1:
            raise SelectionError(
                f"These are voxels of {len(names)} subjects ({', '.join(names)}), each with a grid of its own: select "
                f"one, as in .sel(subject={names[0]!r})."
            )
        if names:
            return names[0]
    for attrs in (obj.coords[VOXEL].attrs if VOXEL in obj.coords else {}, obj.attrs):
        if SUBJECT in attrs:
            return str(attrs[SUBJECT])
    return None


def place_of(obj: xr.Dataset | xr.DataArray, subject: str) -> dict[str, Any]:
    """Return what the voxels of several subjects on one axis remember of a subject's grid and root."""
    text = obj.coords[VOXEL].attrs.get(PLACES) if VOXEL in obj.coords else None
    return dict(json.loads(text).get(subject, {})) if text else {}


def voxel_values(obj: xr.Dataset | xr.DataArray, values: Any = None) -> xr.DataArray:
    """Return values as an array with the dim and the coordinate `voxel`; lazy ones stay lazy.

    Parameters
    ----------
    obj
        Has the voxel coordinate and the grid.
    values
        A variable's name, a DataArray with dim `voxel` (its own voxel ids count), an array whose last axis is `obj`'s
        voxels, or None for `obj` itself where it is an array.

    Raises
    ------
    SelectionError
        No values, values without a voxel axis of this length, text, or values of another subject or grid.
    """
    if values is None:
        if isinstance(obj, xr.Dataset):
            raise SelectionError(
                f"Which values? Give a variable's name or an array: one of {[str(n) for n in obj.data_vars]}."
            )
        values = obj
    if isinstance(values, str):
        if values not in obj.coords and not (isinstance(obj, xr.Dataset) and values in obj):
            near = closest(values, [str(n) for n in (obj.variables if isinstance(obj, xr.Dataset) else obj.coords)])
            hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
            raise SelectionError(f"There is no variable {values!r} here.{hint}")
        values = obj[values]
    if isinstance(values, SpatialImage):
        raise SelectionError("Expected values on the voxel axis, found an image: take them out of it with .masker().")
    found = _own_voxels(obj, values) if isinstance(values, xr.DataArray) else _plain_values(obj, values)
    if found.dtype.kind not in "biufc":
        raise SelectionError(f"Expected numbers, found {found.dtype}: text has no place in a volume.")
    return found


def _own_voxels(obj: xr.Dataset | xr.DataArray, values: xr.DataArray) -> xr.DataArray:
    if VOXEL not in values.dims and VOXEL in values.coords:
        values = values.expand_dims(VOXEL)  # one voxel, selected by a number
    if VOXEL not in values.dims:
        raise SelectionError(f"Expected values with the dim 'voxel', found dims {values.dims}.")
    if VOXEL not in values.coords:
        ids = _ids_of(obj)
        if values.sizes[VOXEL] != len(ids):
            raise SelectionError(
                f"Expected one value for each of {len(ids)} voxels, found {values.sizes[VOXEL]} without voxel ids."
            )
        return values.assign_coords({VOXEL: (VOXEL, ids, obj.coords[VOXEL].attrs)})
    mine, theirs = (o.coords[VOXEL].attrs if VOXEL in o.coords else {} for o in (obj, values))
    for name in (SUBJECT, "grid_shape", "affine"):
        if name in mine and name in theirs and not np.array_equal(mine[name], theirs[name]):
            raise SelectionError(
                f"The values are of another {'subject' if name == SUBJECT else 'grid'}: their {name} is "
                f"{theirs[name]}, that of the object is {mine[name]}."
            )
    return values


def _plain_values(obj: xr.Dataset | xr.DataArray, values: Any) -> xr.DataArray:
    ids = _ids_of(obj)
    array = values if isinstance(values, da.Array) else np.atleast_1d(np.asarray(values))
    if array.shape[-1] != len(ids):
        raise SelectionError(
            f"Expected one value for each of {len(ids)} voxels on the last axis, found shape {array.shape}."
        )
    dims = [f"dim_{n}" for n in range(array.ndim - 1)]
    return xr.DataArray(array, dims=[*dims, VOXEL], coords={VOXEL: (VOXEL, ids, obj.coords[VOXEL].attrs)})


def _ids_of(obj: xr.Dataset | xr.DataArray) -> npt.NDArray[np.int64]:
    if VOXEL not in obj.coords:
        raise SelectionError("Which voxels the values belong to is not known: the coordinate voxel is not there.")
    return np.atleast_1d(obj.coords[VOXEL].values)


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
    found = voxel_values(obj, values)
    grid, affine = geometry(obj)
    volume = to_volume(found.transpose(..., VOXEL).values, found.coords[VOXEL].values, grid, fill)
    image = nib.Nifti1Image(nifti_type(volume), affine)
    image.header.set_xyzt_units("mm")
    if path is not None:
        _save(image, Path(path))
    return image


def nifti_type(volume: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return a volume in a type that programs read from NIfTI: float32; int32, or float64 for what it cannot hold."""
    kind, size = volume.dtype.kind, volume.dtype.itemsize
    if kind == "f" and size != 4:
        return volume.astype(np.float32)
    if kind in "iu" and size == 8:
        limits = np.iinfo(np.int32)
        fits = not volume.size or (volume.min() >= limits.min and volume.max() <= limits.max)
        return volume.astype(np.int32 if fits else np.float64)
    return volume


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
