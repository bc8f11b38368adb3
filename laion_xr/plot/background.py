"""What lies behind values on the brain: the T1w image of the subject, or the outline of its brain mask."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import numpy.typing as npt
import xarray as xr
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from laion_xr import layout
from laion_xr.analysis.volumes import geometry
from laion_xr.errors import DataNotDownloadedError, FileFormatError, LaionXRError, SelectionError
from laion_xr.location import Location
from laion_xr.schema import VOXEL
from laion_xr.space.place import subject_place

FloatArray = npt.NDArray[np.floating]


class Background(NamedTuple):
    """A volume behind the values.

    Attributes
    ----------
    volume
        (i, j, k): brightness, or 1 inside the outline and 0 outside.
    affine
        Voxel indices to mm.
    is_outline
        Draw its rim instead of its brightness.
    """

    volume: FloatArray
    affine: FloatArray
    is_outline: bool


def background_of(obj: xr.Dataset | xr.DataArray, background: Any) -> Background | None:
    """Return what lies behind values of `obj`.

    Parameters
    ----------
    obj
        Knows its subject and its root, as what was opened does.
    background
        `"auto"`: the T1w image, else the outline of the brain mask, else of the voxels of `obj`. `"T1w"`, `"T2w"` or
        `"mask"`: this, or an error. A NIfTI image or its path; None for nothing.

    Raises
    ------
    DataNotDownloadedError
        The image that was asked for is not there.
    SelectionError
        It is none of these, or where the files are is not known.
    """
    if background is None:
        return None
    if isinstance(background, (nib.Nifti1Image, nib.Nifti2Image)):
        return _image(background)
    if isinstance(background, Path) or (isinstance(background, str) and background.endswith(layout.NIFTI_ENDINGS)):
        file = Path(background).absolute()
        return _image(_read(Location.of(str(file.parent)), file.name))
    if not isinstance(background, str) or background not in ("auto", "T1w", "T2w", "mask"):
        raise SelectionError(
            f"background is 'auto', 'T1w', 'T2w', 'mask', a NIfTI image or its path, or None; found {background!r}."
        )
    try:
        place, subject = subject_place(obj)
        if background in ("T1w", "T2w"):
            return _image(_read(place, layout.anatomical_path(subject, background)))
        if background == "mask":
            return _outline(_read(place, layout.brain_mask_path(subject)))
    except LaionXRError:
        if background != "auto":
            raise
        return _outline_of_voxels(obj)
    for path, make in ((layout.anatomical_path(subject), _image), (layout.brain_mask_path(subject), _outline)):
        try:
            return make(_read(place, path))
        except DataNotDownloadedError:
            continue
    return _outline_of_voxels(obj)


def _read(place: Location, path: str) -> nib.Nifti1Image:
    raw = place.read_bytes(path)
    try:
        image = nib.Nifti1Image.from_bytes(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
        return nib.Nifti1Image(np.asarray(image.dataobj), image.affine)  # read here, where what is broken is told
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, WrapStructError, HeaderDataError) as error:
        raise FileFormatError(
            f"Expected a NIfTI image, found {place.show(path)} ({error}): download it again."
        ) from None


def _image(image: nib.Nifti1Image) -> Background:
    volume = np.asarray(image.dataobj, dtype=np.float32)
    if volume.ndim != 3:
        raise SelectionError(f"A background has three axes, found shape {volume.shape}: give one volume.")
    return Background(volume, np.asarray(image.affine), False)


def _outline(image: nib.Nifti1Image) -> Background:
    return Background((np.asarray(image.dataobj) != 0).astype(np.float32), np.asarray(image.affine), True)


def _outline_of_voxels(obj: xr.Dataset | xr.DataArray) -> Background:
    grid, affine = geometry(obj)
    volume = np.zeros(int(np.prod(grid)), dtype=np.float32)
    volume[np.atleast_1d(obj.coords[VOXEL].values)] = 1
    return Background(volume.reshape(grid), affine, True)
