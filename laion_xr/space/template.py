"""Values in template space: MNI305, through the linear transform of the subject's FreeSurfer reconstruction."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import xarray as xr
from nibabel.spatialimages import SpatialImage

from laion_xr.analysis.volumes import geometry, to_nifti, voxel_values
from laion_xr.errors import DataNotDownloadedError, FileFormatError, SelectionError, did_you_mean, missing_extra
from laion_xr.schema import VOXEL
from laion_xr.space.freesurfer import template_affine
from laion_xr.space.images import load_image
from laion_xr.space.meshes import FSAVERAGE
from laion_xr.space.place import Obj, subject_place
from laion_xr.space.sampling import INTERPOLATIONS
from laion_xr.space.surfaces import place_points

TEMPLATES = ("MNI305",)
# A box about the MNI305 brain: 172 x 220 x 156 mm, from here to the right, front and top
_FIRST = (-86.0, -126.0, -68.0)
_EXTENT = (172, 220, 156)
# Of the weight of the voxels around a place, what has to be there
_LEAST = 0.5


def to_template(
    obj: Obj,
    values: Any = None,
    template: str = "MNI305",
    *,
    interpolation: str = "linear",
    resolution: float = 2.0,
    reference: Any = None,
    transform: str | None = None,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> nib.Nifti1Image:
    """Return values resampled into a template's space, as an image.

    The transform is linear (12 numbers), FreeSurfer's: brains are brought to one place, size and turn, not gyrus to
    gyrus; for that take `to_surface(values, "fsaverage")`. nitransforms resamples. templateflow adds nothing here: it
    has MNI305 as a picture and no transform of these subjects, and the grid is known without it. MNI152 is another
    space, to which the reconstruction has no transform.

    Parameters
    ----------
    obj
        A Dataset or array of laion_xr.
    values
        As in `laion_xr.analysis.to_nifti`: a variable's name, an array on `voxel` (labels of voxels count), or None for
        an array itself.
    template
        `"MNI305"`.
    interpolation
        `"linear"`, over the voxels that have a value, where these carry half of the weight or more; or `"nearest"`,
        which keeps labels whole.
    resolution
        mm of the voxels of the result, in a box of 172 x 220 x 156 mm about the MNI305 brain whose first voxel is at
        (-86, -126, -68).
    reference
        An image, or the path of one, whose grid to take instead.
    transform
        `"xfm"` or `"lta"`, which of FreeSurfer's files; None for `talairach.xfm`, else `talairach.lta`.
    root, storage_options
        Where the dataset is, for an object that does not know it; options of its file system.

    Returns
    -------
    nib.Nifti1Image
        `(i, j, k)`, or `(i, j, k, n)` where there is another dim; float32 (float64 where `laion_xr.analysis.to_nifti`
        makes it so), NaN where there is no value.

    Raises
    ------
    MissingExtraError
        nitransforms is not installed.
    DataNotDownloadedError
        The transform is not there; the message says which files.
    SelectionError
        No such template; values of another length or subject; 0 voxels; or the root or subject is not known.

    Examples
    --------
    >>> ds.laion.to_template("noise_ceiling").to_filename("ceiling_MNI305.nii.gz")  # doctest: +SKIP
    """
    check_template(template)
    if interpolation not in INTERPOLATIONS:
        raise SelectionError(did_you_mean("interpolation", interpolation, INTERPOLATIONS))
    grid = _reference(reference, resolution)
    found = voxel_values(obj, values)
    if not found.sizes[VOXEL]:
        raise SelectionError("There are 0 voxels here, and nothing of them can be in a template: select others.")
    try:
        from nitransforms.linear import Affine  # noqa: PLC0415 - an extra
        from nitransforms.resampling import apply  # noqa: PLC0415 - an extra
    except ImportError:
        raise missing_extra("nitransforms", "template", "to_template") from None
    matrix, _ = template_affine(subject_place(obj, root, storage_options), transform)
    pull = Affine(np.linalg.inv(matrix))  # from the template's mm, where values are wanted, to the subject's
    image = to_nifti(found if "affine" in found.coords[VOXEL].attrs else found.assign_attrs(_grid_attrs(obj)))
    dtype = np.dtype(np.float64 if image.get_data_dtype() == np.float64 else np.float32)
    volumes = np.asarray(image.dataobj, dtype)

    def resampled(volume: npt.NDArray[Any], order: int, outside: float) -> npt.NDArray[Any]:
        moving = nib.Nifti1Image(volume, image.affine)
        moved = apply(pull, moving, reference=grid, order=order, mode="constant", cval=outside, prefilter=False)
        return np.asarray(moved.dataobj, dtype)

    # a volume at a time: of many, nitransforms starts an event loop, and a notebook has one
    out = np.empty((*grid.shape[:3], *volumes.shape[3:]), dtype)
    for at in np.ndindex(volumes.shape[3:]):
        volume = volumes[(..., *at)]
        if interpolation == "nearest":
            out[(..., *at)] = resampled(volume, 0, np.nan)
            continue
        there = np.isfinite(volume)
        weight = resampled(there.astype(dtype), 1, 0)
        total = resampled(np.where(there, volume, 0), 1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[(..., *at)] = np.where(weight >= _LEAST, total / weight, np.nan)
    result = nib.Nifti1Image(out, grid.affine)
    result.header.set_xyzt_units("mm")
    result.header["descrip"] = template.encode()
    return result


def template_points(
    obj: Obj,
    points: npt.ArrayLike | None = None,
    template: str = "MNI305",
    *,
    transform: str | None = None,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Return where places of T1w space are in a template.

    Parameters
    ----------
    obj
        A Dataset or array of laion_xr.
    points
        mm of T1w space, (3,) or (n, 3), also as `template_points` returns them or a table with the columns x, y, z;
        None for the object's voxels (their centres).
    template
        `"MNI305"`.
    transform
        `"xfm"` or `"lta"`, which of FreeSurfer's files; None for `talairach.xfm`, else `talairach.lta`.
    root, storage_options
        Where the dataset is, for an object that does not know it; options of its file system.

    Returns
    -------
    xr.DataArray
        (voxel or point, axis) float64, mm; `axis` is `"x"`, `"y"`, `"z"`. `transform` names the file in the attributes.

    Raises
    ------
    DataNotDownloadedError
        The transform is not there; the message says which files.
    SelectionError
        No such template, or points that are not places.

    Examples
    --------
    >>> ds.laion.template_points([40, -50, -20])  # doctest: +SKIP
    """
    check_template(template)
    places, _ = place_points(obj, points)
    matrix, path = template_affine(subject_place(obj, root, storage_options), transform)
    moved = places.copy(data=places.values @ matrix[:3, :3].T + matrix[:3, 3])
    moved.attrs = {"long_name": f"position in {template}", "units": "mm", "transform": path}
    return moved.assign_coords(axis=np.array(["x", "y", "z"], dtype=object)).rename("position")


def check_template(template: str) -> None:
    """Check the name of a template.

    Raises
    ------
    SelectionError
        There is no such template.
    """
    if template in FSAVERAGE:
        raise SelectionError(f"{template} is a surface: take to_surface(values, {template!r}).")
    if template not in TEMPLATES:
        raise SelectionError(did_you_mean("Template", template, (*TEMPLATES, *FSAVERAGE)))


def _grid_attrs(obj: Obj) -> dict[str, Any]:
    grid, affine = geometry(obj)
    return {"grid_shape": list(grid), "affine": affine.ravel().tolist()}


def _reference(reference: Any, resolution: Any) -> SpatialImage:
    """Return an image of the grid that values are resampled to."""
    if reference is None:
        real = isinstance(resolution, numbers.Real) and not isinstance(resolution, bool)
        if not real or not 0.25 <= resolution <= 20:
            raise SelectionError(f"resolution is in mm, from 0.25 to 20, found {resolution!r}.")
        resolution = float(resolution)
        shape = [int(np.ceil(extent / resolution)) for extent in _EXTENT]
        affine = np.diag([resolution, resolution, resolution, 1.0])
        affine[:3, 3] = _FIRST
        return nib.Nifti1Image(np.broadcast_to(np.float32(0), shape), affine)
    if isinstance(reference, (str, os.PathLike)):
        try:
            reference, _ = load_image(reference)
        except (DataNotDownloadedError, FileFormatError) as error:
            raise SelectionError(f"reference is an image, or the path of one; {reference} is none ({error}).") from None
    if not isinstance(reference, SpatialImage):
        raise SelectionError(f"reference is an image, or the path of one, found {type(reference).__name__}.")
    if len(reference.shape) < 3:
        raise SelectionError(f"reference is an image of 3 dims or more, found shape {reference.shape}.")
    return nib.Nifti1Image(np.broadcast_to(np.float32(0), reference.shape[:3]), reference.affine)
