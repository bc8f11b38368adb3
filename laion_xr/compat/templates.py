"""`to_template` and its siblings of the published loader, on `laion_xr.space`.

What differs: values are sampled at one depth of the grey matter (the published loader averages along the normal of one
surface), fsaverage takes them as FreeSurfer's `mri_surf2surf` does, and the grid of MNI305 is that of laion_xr.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import xarray as xr
from nibabel.gifti.gifti import GiftiDataArray, GiftiImage
from nibabel.spatialimages import SpatialImage

from laion_xr.compat.arguments import Session, one_session
from laion_xr.compat.arrays import SubjectArrays
from laion_xr.errors import DataNotDownloadedError, SelectionError, did_you_mean
from laion_xr.schema import VOXEL
from laion_xr.space import to_surface
from laion_xr.space import to_template as to_volume
from laion_xr.space.meshes import registered_vertices
from laion_xr.space.place import Place

__all__ = ["surface_to_template", "to_template", "volume_to_surface", "volume_to_template"]

SURFACE_TARGETS = ("fsaverage",)
VOLUME_TARGETS = ("MNI305",)
DEPTHS = {"white": 0.0, "midthickness": 0.5, "pial": 1.0}
# name -> the `den-` of BIDS
DENSITIES = {"fsaverage5": "10k", "fsaverage6": "41k", "fsaverage7": "164k", "fsaverage": "164k"}

Values = npt.NDArray[Any]


def to_template(
    subject: SubjectArrays,
    values: Any,
    target: str,
    *,
    hemi: str | None = None,
    route: str = "auto",
    surface: str = "white",
    fsaverage_density: str = "fsaverage5",
    fslr_density: str = "32k",
    interpolation: str = "linear",
    output_dir: str | os.PathLike[str] | None = None,
    desc: str | None = None,
    session: Session | None = None,
    mask_source: str = "anatomical",
) -> Any:
    """Bring values on the voxel axis to a template.

    Parameters
    ----------
    subject
        Whose values they are.
    values
        `(voxel,)` of the brain mask, `(trial, voxel)`, or the path of an image on the functional grid.
    target
        `"fsaverage"` or `"MNI305"`.
    hemi
        `"L"` or `"R"`; None for both. Of surfaces.
    route
        `"auto"`; `"surface"` and `"volume"` where they are that of the target.
    surface
        Where to sample: `"white"`, `"midthickness"` or `"pial"`.
    fsaverage_density
        `"fsaverage5"`, `"fsaverage6"`, `"fsaverage7"`.
    fslr_density
        Accepted, and of no effect: no target has it.
    interpolation
        `"linear"` or `"nearest"`, of surfaces. Values in MNI305 are those of the nearest voxel.
    output_dir
        A folder to write the result into too, under its name in BIDS.
    desc, session
        `desc-` and `ses-` of that name.
    mask_source
        The brain mask of the values.

    Returns
    -------
    Of fsaverage `(vertex,)` or `(trial, vertex)`, or `{"L": ..., "R": ...}`; of MNI305 an image, 0 outside the brain.

    Raises
    ------
    SelectionError
        No such target, route, surface, density or hemisphere; or values of another length (a `ValueError`).
    DataNotDownloadedError
        The FreeSurfer reconstruction is not there.
    MissingExtraError
        nilearn or nitransforms is not installed.
    """
    kinds = dict.fromkeys(SURFACE_TARGETS, "surface") | dict.fromkeys(VOLUME_TARGETS, "volume")
    if target not in kinds:
        raise SelectionError(did_you_mean("Target", target, kinds))
    if route not in ("auto", kinds[target]):
        raise SelectionError(f"{target} is reached by route={kinds[target]!r} (or 'auto'), found route={route!r}.")
    frame = subject._files.frame(subject._files.axis(mask_source))
    array = xr.DataArray(_on_voxels(values, frame), dims=("sample", VOXEL), coords={VOXEL: frame[VOXEL]})
    one = array.sizes["sample"] == 1 and np.ndim(values) < 2 and not _has_samples(values)
    array = array.isel(sample=0) if one else array
    root = subject._files.location
    result: Any
    if target in VOLUME_TARGETS:
        result = _volume(array, target, root)
    else:
        sides = _sides(hemi)
        if surface not in DEPTHS:
            raise SelectionError(did_you_mean("Surface", surface, DEPTHS))
        kind = "nearest" if interpolation.startswith("nearest") else interpolation
        mesh = _density(fsaverage_density)
        found = to_surface(array, mesh=mesh, depths=DEPTHS[surface], interpolation=kind, root=root).compute()
        both = {side: found.isel(vertex=np.flatnonzero(found["hemi"].values == side)).values for side in sides}
        result = both if hemi is None else both[hemi]
    if output_dir is not None:
        _write(result, Path(output_dir), subject._files.subject, target, hemi, fsaverage_density, desc, session)
    return result


def volume_to_surface(subject: SubjectArrays, values: Any, target: str = "fsaverage", **kwargs: Any) -> Any:
    """Bring values of voxels to a surface; raises `SelectionError` for a target that is a volume."""
    if target not in SURFACE_TARGETS:
        raise SelectionError(f"{target!r} is not a surface target ({', '.join(SURFACE_TARGETS)}): volume_to_template.")
    return to_template(subject, values, target, **kwargs)


def volume_to_template(subject: SubjectArrays, values: Any, target: str, **kwargs: Any) -> Any:
    """Bring values of voxels to a volume; raises `SelectionError` for a target that is a surface."""
    if target not in VOLUME_TARGETS:
        raise SelectionError(f"{target!r} is not a volume target ({', '.join(VOLUME_TARGETS)}): volume_to_surface.")
    return to_template(subject, values, target, **kwargs)


def surface_to_template(
    subject: SubjectArrays,
    values: Values | Mapping[str, Values],
    target: str = "fsaverage",
    *,
    hemi: str | None = None,
    fsaverage_density: str = "fsaverage5",
    output_dir: str | os.PathLike[str] | None = None,
    desc: str | None = None,
    session: Session | None = None,
) -> Any:
    """Bring values at the subject's vertices to fsaverage.

    Parameters
    ----------
    subject
        Whose vertices they are.
    values
        `(vertex,)` of one hemisphere, or `{"L": ..., "R": ...}`: what is returned is the same.
    target
        `"fsaverage"`.
    hemi
        Which hemisphere an array is of.
    fsaverage_density, output_dir, desc, session
        As in `to_template`.

    Raises
    ------
    SelectionError
        No such target or density, an array without `hemi`, or another number of vertices (a `ValueError`).
    """
    if target not in SURFACE_TARGETS:
        raise SelectionError(f"{target!r} is not a surface target ({', '.join(SURFACE_TARGETS)}): volume_to_template.")
    if isinstance(values, Mapping):
        given = {side: np.asarray(array) for side, array in values.items()}
    elif hemi is None:
        raise SelectionError("An array of one hemisphere needs hemi='L' or 'R'; {'L': ..., 'R': ...} is both.")
    else:
        given = {hemi: np.asarray(values)}
    registered = registered_vertices(
        Place(subject._files.location, subject._files.subject), _density(fsaverage_density)
    )
    moved = {}
    for side, array in given.items():
        _sides(side)
        _, matrix = registered[side]
        if array.shape[:1] != (matrix.shape[1],):
            raise SelectionError(
                f"Hemisphere {side!r}: expected a value for each of {matrix.shape[1]} vertices of the subject, found "
                f"shape {array.shape}."
            )
        moved[side] = np.asarray(matrix @ array.astype(np.float64)).astype(np.float32)
    result: Any = moved if isinstance(values, Mapping) else moved[str(hemi)]
    if output_dir is not None:
        one = None if isinstance(values, Mapping) else hemi
        _write(result, Path(output_dir), subject._files.subject, target, one, fsaverage_density, desc, session)
    return result


def _has_samples(values: Any) -> bool:
    return isinstance(values, (str, os.PathLike)) and _loaded(values).ndim > 3


def _loaded(path: str | os.PathLike[str]) -> SpatialImage:
    image = nib.load(path)
    if not isinstance(image, SpatialImage):
        raise SelectionError(f"{path} is not an image of voxels: expected NIfTI.")
    return image


def _on_voxels(values: Any, frame: xr.Dataset) -> Values:
    """Return values as `(sample, voxel)`."""
    n = frame.sizes[VOXEL]
    if isinstance(values, (str, os.PathLike)):
        image = _loaded(values)
        grid = tuple(int(i) for i in frame[VOXEL].attrs["grid_shape"])
        if image.shape[:3] != grid:
            raise SelectionError(f"{values}: expected an image of {grid} voxels, found {image.shape}.")
        volumes = np.asarray(image.dataobj, dtype=np.float32).reshape(*grid, -1)
        return volumes[np.unravel_index(frame[VOXEL].values, grid)].T
    array = np.asarray(values)
    if array.ndim not in (1, 2) or array.shape[-1] != n:
        raise SelectionError(f"Expected one value for each of {n} voxels on the last axis, found shape {array.shape}.")
    return np.atleast_2d(array).astype(np.float32)


def _volume(array: xr.DataArray, target: str, root: Any) -> nib.Nifti1Image:
    options: dict[str, Any] = {"template": target, "interpolation": "nearest", "root": root, "transform": "lta"}
    try:
        image = to_volume(array, **options)
    except DataNotDownloadedError:  # as the published loader: the other one where that is missing
        image = to_volume(array, **(options := options | {"transform": None}))
    data = np.asarray(image.dataobj)
    inside = to_volume(xr.ones_like(array.isel(sample=0, missing_dims="ignore")), **options)
    outside = np.isnan(np.asarray(inside.dataobj))
    data[outside] = 0  # NaN of the values themselves stays
    return nib.Nifti1Image(data, image.affine, image.header)


def _sides(hemi: str | None) -> tuple[str, ...]:
    if hemi not in (None, "L", "R"):
        raise SelectionError(f"hemi is 'L', 'R' or None, found {hemi!r}.")
    return ("L", "R") if hemi is None else (hemi,)


def _density(name: str) -> str:
    if name not in DENSITIES:
        raise SelectionError(did_you_mean("fsaverage_density", name, DENSITIES))
    return name


def _write(
    result: Any,
    folder: Path,
    subject: str,
    target: str,
    hemi: str | None,
    density: str,
    desc: str | None,
    session: Session | None,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    start = subject + ("" if session is None else f"_{one_session(session)}") + f"_space-{target}"
    end = (f"_desc-{desc}" if desc else "") + "_statmap"
    if isinstance(result, nib.Nifti1Image):
        nib.save(result, folder / f"{start}{end}.nii.gz")
        return
    sides = result if isinstance(result, dict) else {str(hemi): result}
    for side, values in sides.items():
        rows = np.atleast_2d(values).astype(np.float32)
        arrays = [GiftiDataArray(row, intent="NIFTI_INTENT_NONE") for row in rows]
        name = f"{start}_den-{DENSITIES[density]}_hemi-{side}{end}.func.gii"
        nib.save(GiftiImage(darrays=arrays), folder / name)
