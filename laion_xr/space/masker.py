"""A masker of an object's voxels: images -> arrays on the voxel axis, and back, as nilearn's maskers do it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Self

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from nibabel.spatialimages import SpatialImage

from laion_xr.analysis.nifti import volume_image
from laion_xr.analysis.volumes import geometry, one_subject, placed_voxels, voxel_values
from laion_xr.errors import SelectionError
from laion_xr.schema import SUBJECT, VOXEL
from laion_xr.space.images import image_values, load_image
from laion_xr.voxels import to_volume

# Of an affine, in mm: images written by other tools round theirs
_SAME_AFFINE = 1e-3


class VoxelMasker:
    """Takes the values of some voxels out of images, and puts them back: nilearn's `transform`, `inverse_transform`.

    The order is that of the voxels it was made of (C-order for a Dataset as opened, any other after `isel`), so that
    column i is voxel i of the object. Unlike `nilearn.maskers.NiftiMasker` it keeps NaN, does not resample, smooth,
    standardize or clean, and needs no `fit`. It works as a step of a scikit-learn `Pipeline`: it has `clone`'s
    parameters, `get_feature_names_out` and `set_output`.

    Parameters
    ----------
    voxels
        C-order flat ids in the grid, (voxel,).
    grid_shape
        (i, j, k).
    affine
        (4, 4), voxel indices to mm.
    subject
        Whose voxels these are, where it is known: values of another subject are then refused.

    Examples
    --------
    >>> voxels = ds.sel(roi="FFA1").laion.masker()  # doctest: +SKIP
    >>> voxels.inverse_transform(voxels.transform("zmap.nii.gz"))  # doctest: +SKIP
    """

    def __init__(self, voxels: Any, grid_shape: Any, affine: Any, subject: str | None = None) -> None:
        self.voxels = voxels
        self.grid_shape = grid_shape
        self.affine = affine
        self.subject = subject

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
        names = ("voxels", "grid_shape", "affine", "subject")
        return {name: getattr(self, name) for name in names}

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

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Return a name for each voxel, such as `"voxel_12345"`: scikit-learn's names of columns."""
        return np.array([f"{VOXEL}_{voxel}" for voxel in self.voxels], dtype=object)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what `transform` returns: `"default"` for arrays, `"pandas"` for a DataFrame; None changes nothing.

        Raises
        ------
        SelectionError
            Another container.
        """
        if transform not in (None, "default", "pandas"):
            raise SelectionError(f"transform is 'default' or 'pandas', found {transform!r}.")
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}  # a name that sklearn.base.clone copies
        return self

    def transform(
        self, imgs: Any, confounds: None = None, sample_mask: Any = None
    ) -> npt.NDArray[np.generic] | pd.DataFrame:
        """Return the values of the voxels in images.

        Parameters
        ----------
        imgs
            A NIfTI image or the path of one, 3-D or 4-D; or a list of these. On the grid of the voxels.
        confounds
            None: nothing is cleaned here. `nilearn.signal.clean(values, confounds=...)` does it to the result.
        sample_mask
            Which images to return, of all in a row: their numbers, or a boolean for each.

        Returns
        -------
        (voxel,) of one 3-D image, else (image, voxel); of the images' own type. After `set_output(transform="pandas")`
        a DataFrame (image, voxel).

        Raises
        ------
        SelectionError
            Not an image, an image of another grid or affine, one of complex numbers, or none; confounds; or a
            `sample_mask` of other images.
        DataNotDownloadedError, FileAccessError, FileFormatError
            A path where no image is.
        CorruptFileError
            A file that is cut short or damaged.
        """
        if confounds is not None:
            raise SelectionError(
                "This masker does not clean: leave confounds out, and clean what it returns, as with "
                "nilearn.signal.clean(masker.transform(imgs), confounds=confounds)."
            )
        if isinstance(imgs, (str, os.PathLike, SpatialImage)):
            found = self._values(imgs)
        elif isinstance(imgs, Iterable):
            rows = [np.atleast_2d(self._values(img)) for img in imgs]
            if not rows:
                raise SelectionError("Expected images, found an empty list.")
            found = np.concatenate(rows)
        else:
            raise SelectionError(f"Expected a NIfTI image, its path, or a list of these, found {type(imgs).__name__}.")
        if sample_mask is not None:
            found = found[_checked_samples(sample_mask, found)]
        if getattr(self, "_sklearn_output_config", {}).get("transform") == "pandas":
            return pd.DataFrame(np.atleast_2d(found), columns=self.get_feature_names_out())
        return found

    def fit_transform(
        self, imgs: Any, y: Any = None, confounds: None = None, sample_mask: Any = None
    ) -> npt.NDArray[np.generic] | pd.DataFrame:
        """Return the values of the voxels in images: see `transform`."""
        return self.transform(imgs, confounds, sample_mask)

    def inverse_transform(self, X: Any) -> nib.Nifti1Image:
        """Return an image that holds values at the voxels, and 0 elsewhere.

        Parameters
        ----------
        X
            (voxel,), or (image, voxel). What says of which voxels it is goes to these, in any order: an array with the
            coordinate `voxel`, a Series or DataFrame with an index or columns called `voxel`, or with the names of
            `get_feature_names_out`. It has to have the voxels of the masker, all and no others. What has no labels is
            in the masker's order.

        Returns
        -------
        nib.Nifti1Image
            `(i, j, k)`, or `(i, j, k, image)`; of the types of `laion_xr.analysis.to_nifti`.

        Raises
        ------
        SelectionError
            Values of another length, of more dims, of other voxels, of another subject or grid; complex numbers or
            text.
        """
        if X is None or isinstance(X, str):
            raise SelectionError(f"Expected values of {self.n_elements_} voxels, found {X!r}.")
        voxels, affine = np.asarray(self.voxels), np.asarray(self.affine, np.float64)
        place = {"grid_shape": list(self._grid), "affine": affine.ravel().tolist()}
        place |= {} if self.subject is None else {SUBJECT: self.subject}
        values = voxel_values(xr.Dataset(coords={VOXEL: (VOXEL, voxels, place)}), self._by_ids(X))
        if values.ndim > 2:
            raise SelectionError(
                f"Expected values of shape ({self.n_elements_},) or (n, {self.n_elements_}), one for each voxel, found "
                f"{values.shape}."
            )
        at = pd.Index(placed_voxels(values, self._grid)).get_indexer(pd.Index(voxels))
        if (at < 0).any() or len(at) != values.sizes[VOXEL]:
            raise SelectionError(
                f"Expected the {len(voxels)} voxels of the masker, found {values.sizes[VOXEL]}, of which "
                f"{int((at >= 0).sum())} are among them: select the same, as with .sel(voxel=masker.voxels)."
            )
        array = values.transpose(..., VOXEL).values[..., at]
        return volume_image(array, voxels, self._grid, affine, fill=0)

    def _by_ids(self, values: Any) -> Any:
        """Return a table whose columns have the names of the voxels with their ids instead."""
        if not isinstance(values, (pd.Series, pd.DataFrame)) or values.axes[-1].nlevels > 1:
            return values
        ids = dict(zip(self.get_feature_names_out(), self.voxels, strict=True))
        labels = values.axes[-1]
        unknown = [label for label in labels if label not in ids]
        if len(unknown) == len(labels) and not any(str(label).startswith(f"{VOXEL}_") for label in labels):
            return values
        if unknown:
            raise SelectionError(f"Expected names of the masker's voxels, found {unknown[0]!r} among them.")
        axis: Any = values.ndim - 1
        return values.set_axis(pd.Index([ids[label] for label in labels], name=VOXEL), axis=axis)

    def _values(self, img: Any) -> npt.NDArray[np.generic]:
        image, name = load_image(img)
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
        data = image_values(image, name)
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
    voxels = placed_voxels(obj.coords[VOXEL], grid)
    if not len(voxels):
        raise SelectionError("There are 0 voxels here, and a masker needs some: select others.")
    return VoxelMasker(voxels, grid, affine, one_subject(obj))


def _checked_samples(sample_mask: Any, rows: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
    try:
        chosen = np.asarray(sample_mask)
    except ValueError:  # a list of masks
        chosen = np.empty(0)
    if rows.ndim != 2:
        raise SelectionError("sample_mask selects among images, and here is one, 3-D: leave it out.")
    n = len(rows)
    fits = len(chosen) == n if chosen.dtype.kind == "b" and chosen.ndim == 1 else chosen.dtype.kind in "iu"
    if chosen.ndim != 1 or not fits or (chosen.dtype.kind != "b" and not ((chosen >= 0) & (chosen < n)).all()):
        raise SelectionError(
            f"sample_mask is the numbers of images, from 0 to {n - 1}, or {n} booleans; found {sample_mask!r}."
        )
    if not chosen.size or (chosen.dtype.kind == "b" and not chosen.any()):
        raise SelectionError("sample_mask leaves no image: select one or more.")
    return chosen


def _text(affine: Any) -> str:
    return str(np.round(np.asarray(affine, np.float64)[:3], 3).tolist())
