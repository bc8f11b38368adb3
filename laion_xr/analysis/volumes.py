"""Values on the voxel axis -> a NIfTI image; whose voxels they are, and in which grid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr.analysis.labelled import check_numbers, labelled, numbers
from laion_xr.analysis.nifti import checked_fill, checked_path, made_folder, save_image, volume_image
from laion_xr.errors import SelectionError, closest, describe_names
from laion_xr.readers.base import IntArray
from laion_xr.schema import SUBJECT, VOXEL
from laion_xr.stimuli.root import CACHE, ROOT
from laion_xr.voxels import Grid

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
    names = _subjects(obj)
    if len(names) > 1:
        raise SelectionError(
            f"These are voxels of {len(names)} subjects ({', '.join(names)}), each with a grid of its own: select "
            f"one, as in .sel(subject={names[0]!r})."
        )
    return names[0] if names else None


def _subjects(obj: xr.Dataset | xr.DataArray) -> list[str]:
    if SUBJECT in obj.coords and set(obj.coords[SUBJECT].dims) <= {VOXEL}:
        names = sorted({str(name) for name in np.atleast_1d(obj.coords[SUBJECT].values)})
        if names:
            return names
    for attrs in (obj.coords[VOXEL].attrs if VOXEL in obj.coords else {}, obj.attrs):
        if SUBJECT in attrs:
            return [str(attrs[SUBJECT])]
    return []


def place_of(obj: xr.Dataset | xr.DataArray, subject: str) -> dict[str, Any]:
    """Return what the voxels of several subjects on one axis remember of a subject's grid and root."""
    text = obj.coords[VOXEL].attrs.get(PLACES) if VOXEL in obj.coords else None
    return dict(json.loads(text).get(subject, {})) if text else {}


def voxel_values(obj: xr.Dataset | xr.DataArray, values: Any = None) -> xr.DataArray:
    """Return values as an array with the dim and the coordinate `voxel`; lazy ones stay lazy.

    Labels decide where a value belongs: the coordinate `voxel` of a DataArray; of a pandas Series or DataFrame the
    index or the columns called `voxel` (or without a name, where they are the ids of all voxels of `obj`). What has
    no labels is in the order of `obj`.

    Parameters
    ----------
    obj
        Has the voxel coordinate and the grid.
    values
        A variable's name; values that say of which voxels they are; an array whose last axis is `obj`'s voxels; or None
        for `obj` itself where it is an array. An array of laion_xr, which knows its grid, may have voxels that
        `obj` has not; other labels may not. Values that a masked array hides become NaN.

    Raises
    ------
    SelectionError
        No values, values without a voxel axis of this length, or of voxels that are not here; complex numbers or text;
        or values of another subject or grid.
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
    values = labelled(values, _ids_of(obj) if VOXEL in obj.coords else None)
    found = _own_voxels(obj, values) if isinstance(values, xr.DataArray) else _plain_values(obj, values)
    check_numbers(found.dtype)
    return found


def _own_voxels(obj: xr.Dataset | xr.DataArray, values: xr.DataArray) -> xr.DataArray:
    if VOXEL not in values.dims and VOXEL in values.coords and not values.coords[VOXEL].ndim:
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
    ours, whose = _subjects(obj), _subjects(values)
    if ours and not set(whose) <= set(ours):
        raise SelectionError(
            f"The values are of another subject: they are of {describe_names(whose)}, the object is of "
            f"{describe_names(ours)}."
        )
    for name in ("grid_shape", "affine"):
        if name in mine and name in theirs and not np.array_equal(mine[name], theirs[name]):
            raise SelectionError(
                f"The values are of another grid: their {name} is {theirs[name]}, that of the object is {mine[name]}."
            )
    return values if "affine" in theirs or PLACES in theirs else _among(obj, values)


def _among(obj: xr.Dataset | xr.DataArray, values: xr.DataArray) -> xr.DataArray:
    """Return values whose labels are bare numbers with whole ones, which have to be voxels of the object."""
    ids = values.coords[VOXEL].values
    whole = ids.astype(np.int64) if ids.dtype.kind in "iu" or (ids.dtype.kind == "f" and not (ids % 1).any()) else None
    if whole is None:
        raise SelectionError(f"Expected labels of voxels: voxel ids are whole numbers, found {ids.dtype} {ids[:1]}.")
    if VOXEL not in obj.coords:
        return values.assign_coords({VOXEL: (VOXEL, whole)})
    missing = whole[~np.isin(whole, _ids_of(obj))]
    if len(missing):
        raise SelectionError(
            f"Expected voxels of the object, found values of {len(missing)} voxels that are not here, the first "
            f"{missing[0]}: give the object that has them, or select the values."
        )
    return values.assign_coords({VOXEL: (VOXEL, whole, obj.coords[VOXEL].attrs)})


def _plain_values(obj: xr.Dataset | xr.DataArray, values: Any) -> xr.DataArray:
    ids = _ids_of(obj)
    array = numbers(values)
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


def placed_voxels(values: xr.DataArray, grid: Grid) -> IntArray:
    """Return the ids of the voxels of values, each a place of its own in the grid.

    Raises
    ------
    SelectionError
        One is not in the grid, or is there twice.
    """
    ids = _ids_of(values)
    outside = ids[(ids < 0) | (ids >= np.prod(grid))]
    if len(outside):
        raise SelectionError(f"Voxel {outside[0]} is not in the grid {grid}: its voxels are 0 to {np.prod(grid) - 1}.")
    twice = pd.Index(ids).duplicated()
    if twice.any():
        raise SelectionError(
            f"Voxel {ids[twice][0]} is there twice, and an image holds one value of it: drop one, as with "
            ".drop_duplicates('voxel')."
        )
    return ids


def to_nifti(
    obj: xr.Dataset | xr.DataArray, values: Any = None, path: str | Path | None = None, fill: float = np.nan
) -> nib.Nifti1Image:
    """Put values on the voxel axis back into the grid.

    Parameters
    ----------
    obj
        Has the voxel coordinate and the grid.
    values
        A variable's name; a DataArray with dim `voxel`, or a pandas Series or DataFrame with an index or columns called
        `voxel` (their own voxel ids count, in any order); an array whose last axis is `obj`'s voxels; or None for `obj`
        itself where it is an array.
    path
        Where to save it (`.nii.gz` or `.nii`); written beside and moved there when it is complete. Missing folders are
        made.
    fill
        Value outside the voxels; NaN is 0 for booleans.

    Returns
    -------
    nib.Nifti1Image
        `(i, j, k)`, or `(i, j, k, n)` where there is another dim. Fractions are float32, rounded; float64 where
        float32 would make one infinite or 0. Whole numbers (booleans are uint8) keep their type where it holds `fill`
        (64-bit ones become int32), else they are float32, or float64 where float32 does not hold all of them exactly.

    Raises
    ------
    SelectionError
        No values, or values without a voxel axis of this length, of voxels that are not here, or not real numbers; a
        `fill` that is no number; whole numbers beyond 2**53; a path that is no place for an image.
    FileAccessError
        The folder may not be written.

    Examples
    --------
    >>> ds.laion.to_nifti("noise_ceiling", "maps/ceiling.nii.gz")  # doctest: +SKIP
    """
    place, outside = None if path is None else checked_path(path), checked_fill(fill)
    found = voxel_values(obj, values)
    grid, affine = geometry(obj)
    voxels = placed_voxels(found, grid)
    if place is not None:
        made_folder(place.parent)  # before anything is read
    image = volume_image(found.transpose(..., VOXEL).values, voxels, grid, affine, outside)
    if place is not None:
        save_image(image, place)
    return image
