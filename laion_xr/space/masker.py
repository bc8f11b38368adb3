"""A masker of an object's voxels: images -> arrays on the voxel axis, and back, as nilearn's maskers do it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Self

import nibabel as nib
import numpy as np
import numpy.typing as npt
import xarray as xr
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import SpatialImage

from laion_xr.analysis.volumes import geometry, nifti_type
from laion_xr.errors import DataNotDownloadedError, FileFormatError, SelectionError
from laion_xr.schema import VOXEL
from laion_xr.voxels import to_volume

# Of an affine, in mm: images written by other tools round theirs
_SAME_AFFINE = 1e-3


class VoxelMasker:
    """Takes the values of some voxels out of images, and puts them back: nilearn's `transform`, `inverse_transform`.

    The order is that of the voxels it was made of (C-order for a Dataset as opened, any other after `isel`), so that
    column i is voxel i of the object. Unlike `nilearn.maskers.NiftiMasker` it keeps NaN, does not resample, smooth or
    standardize, and needs no `fit`. It is a scikit-learn estimator as far as `clone` asks.

    Parameters
    ----------
    voxels
        C-order flat ids in the grid, (voxel,).
    grid_shape
        (i, j, k).
    affine
        (4, 4), voxel indices to mm.

    Examples
    --------
    >>> voxels = ds.sel(roi="FFA1").laion.masker()  # doctest: +SKIP
    >>> voxels.inverse_transform(voxels.transform("zmap.nii.gz"))  # doctest: +SKIP
    """

    def __init__(self, voxels: Any, grid_shape: Any, affine: Any) -> None:
        self.voxels = voxels
        self.grid_shape = grid_shape
        self.affine = affine

    def __repr__(self) -> str:
        return f"VoxelMasker({self.n_elements_} voxels of a grid of {' x '.join(map(str, self._grid))})"

    @property
    def _grid(self) -> tuple[int, int, int]:
        i, j, k = (int(n) for n in self.grid_shape)
        return i, j, k

    @property
    def n_elements_(self) -> int:
        """Number of voxels."""
        return len(self.voxels)

    @property
    def mask_img_(self) -> nib.Nifti1Image:
        """The voxels as an image of 0 and 1, uint8."""
        ones = np.ones(self.n_elements_, dtype=bool)
        return nib.Nifti1Image(to_volume(ones, np.asarray(self.voxels), self._grid), np.asarray(self.affine))

    def fit(self, imgs: Any = None, y: Any = None) -> Self:
        """Return itself: which voxels these are is known."""
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments that it was made with."""
        return {"voxels": self.voxels, "grid_shape": self.grid_shape, "affine": self.affine}

    def set_params(self, **params: Any) -> Self:
        """Change arguments.

        Raises
        ------
        SelectionError
            One that it does not have.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise SelectionError(f"VoxelMasker has no parameter {name!r}: it has {', '.join(self.get_params())}.")
            setattr(self, name, value)
        return self

    def transform(self, imgs: Any) -> npt.NDArray[np.generic]:
        """Return the values of the voxels in images.

        Parameters
        ----------
        imgs
            A NIfTI image or the path of one, 3-D or 4-D; or a list of these. On the grid of the voxels.

        Returns
        -------
        (voxel,) of one 3-D image, else (image, voxel); of the images' own type.

        Raises
        ------
        SelectionError
            Not an image, an image of another grid or affine, or none.
        DataNotDownloadedError, FileFormatError
            A path where no image is.
        """
        if isinstance(imgs, (str, os.PathLike, SpatialImage)):
            return self._values(imgs)
        if not isinstance(imgs, Iterable):
            raise SelectionError(f"Expected a NIfTI image, its path, or a list of these, found {type(imgs).__name__}.")
        rows = [np.atleast_2d(self._values(img)) for img in imgs]
        if not rows:
            raise SelectionError("Expected images, found an empty list.")
        return np.concatenate(rows)

    def fit_transform(self, imgs: Any, y: Any = None) -> npt.NDArray[np.generic]:
        """Return the values of the voxels in images: see `transform`."""
        return self.transform(imgs)

    def inverse_transform(self, X: npt.ArrayLike) -> nib.Nifti1Image:
        """Return an image that holds values at the voxels, and 0 elsewhere.

        Parameters
        ----------
        X
            (voxel,), or (image, voxel).

        Returns
        -------
        nib.Nifti1Image
            `(i, j, k)`, or `(i, j, k, image)`; fractions as float32, 64-bit integers as int32, or float64
            where it cannot hold them.

        Raises
        ------
        SelectionError
            Values of another length, of more dims, or text.
        """
        values = np.asarray(X)
        if values.ndim not in (1, 2) or values.shape[-1] != self.n_elements_:
            raise SelectionError(
                f"Expected values of shape ({self.n_elements_},) or (n, {self.n_elements_}), one for each voxel, found "
                f"{values.shape}."
            )
        if values.dtype.kind not in "biuf":
            raise SelectionError(f"Expected numbers, found {values.dtype}: text has no place in a volume.")
        volume = to_volume(values, np.asarray(self.voxels), self._grid, fill=0)
        image = nib.Nifti1Image(nifti_type(volume), np.asarray(self.affine))
        image.header.set_xyzt_units("mm")
        return image

    def _values(self, img: Any) -> npt.NDArray[np.generic]:
        image, name = _loaded(img)
        if len(image.shape) not in (3, 4) or tuple(image.shape[:3]) != self._grid:
            raise SelectionError(
                f"Expected {name} on the grid {self._grid} of the voxels, 3-D or 4-D, found shape {image.shape}: "
                "resample it first, as with nilearn.image.resample_to_img(image, masker.mask_img_)."
            )
        if not np.allclose(image.affine, self.affine, atol=_SAME_AFFINE, rtol=0):
            raise SelectionError(
                f"{name} has the shape of the voxels' grid and another affine ({_text(image.affine)}, expected "
                f"{_text(self.affine)}): its voxels are elsewhere; resample it first."
            )
        data = np.asanyarray(image.dataobj)
        flat = data.reshape(-1, *data.shape[3:])[np.asarray(self.voxels)]
        found: npt.NDArray[np.generic] = flat.T if flat.ndim == 2 else flat
        return found


def masker(obj: xr.Dataset | xr.DataArray) -> VoxelMasker:
    """Return a masker of the object's voxels, in their order: see `VoxelMasker`.

    Parameters
    ----------
    obj
        Has the voxel coordinate and the grid.

    Raises
    ------
    SelectionError
        The voxels or their grid are not known, there are none, or they are of several subjects.

    Examples
    --------
    >>> ds.sel(roi="FFA1").laion.masker().transform("zmap.nii.gz")  # doctest: +SKIP
    """
    if VOXEL not in obj.coords:
        raise SelectionError("masker needs the coordinate 'voxel', the ids of the voxels: keep it.")
    grid, affine = geometry(obj)
    voxels = np.atleast_1d(obj.coords[VOXEL].values)
    if not len(voxels):
        raise SelectionError("There are 0 voxels here, and a masker needs some: select others.")
    return VoxelMasker(voxels, grid, affine)


def _loaded(img: Any) -> tuple[SpatialImage, str]:
    if isinstance(img, SpatialImage):
        return img, "the image"
    if not isinstance(img, (str, os.PathLike)):
        raise SelectionError(f"Expected a NIfTI image or its path, found {type(img).__name__}.")
    try:
        image = nib.load(img)
    except FileNotFoundError:
        raise DataNotDownloadedError(f"There is no image {os.fspath(img)}: check the path.") from None
    except ImageFileError as error:
        raise FileFormatError(f"{os.fspath(img)} is not an image that nibabel reads: {error}.") from None
    if not isinstance(image, SpatialImage):
        raise FileFormatError(f"{os.fspath(img)} is not a volume, it is a {type(image).__name__}.")
    return image, os.fspath(img)


def _text(affine: Any) -> str:
    return str(np.round(np.asarray(affine, np.float64)[:3], 3).tolist())
