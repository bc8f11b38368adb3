"""Selecting by what needs more than labels; works with and without the label indexes."""

from __future__ import annotations

from typing import Any, TypeVar

import nibabel as nib
import numpy as np
import numpy.typing as npt
import xarray as xr

from laion_xr.errors import SelectionError, did_you_mean
from laion_xr.indexes import roi_categories
from laion_xr.labels import MISSING, Labels, MatchContext
from laion_xr.lazy.index import LabelIndex
from laion_xr.schema import VOXEL
from laion_xr.voxels import within_sphere

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)


def select(
    obj: XarrayT,
    *,
    sphere: tuple[float, float, float, float] | None = None,
    mask: Any = None,
    **labels: Any,
) -> XarrayT:
    """Return the trials and voxels that all conditions name; lazy, the selection reaches the reader.

    Parameters
    ----------
    obj
        A Dataset or array of laion_xr.
    sphere
        `(x, y, z, radius)` in mm of T1w space: voxels whose centre lies within it.
    mask
        Voxels to keep: a boolean array or DataArray `(voxel,)`, a 3-D volume on the grid (nonzero and not NaN is
        inside), or a NIfTI image. A boolean `(trial,)` DataArray keeps trials.
    **labels
        Coordinate = label, list of labels (union), or inclusive slice: any 1-D coordinate, `roi` with its grammar.
        Dims stay, also for a single label.

    Raises
    ------
    UnknownLabelError
        A label that does not exist.
    SelectionError
        A coordinate that is not there, `roi` and `mask` at once, or a mask of another shape.

    Examples
    --------
    >>> ds.laion.sel(roi="FFA1", run=[1, 2])  # doctest: +SKIP
    >>> ds.laion.sel(sphere=(40, -50, -20, 8))  # doctest: +SKIP
    """
    if mask is not None and "roi" in labels:
        raise SelectionError(
            "roi and mask both say which voxels to keep: give one of them, or combine them first, as in "
            "mask=(ds.laion.sel(roi=...) ...)."
        )
    keep: dict[str, npt.NDArray[np.bool_]] = {}

    def narrow(dim: str, chosen: npt.NDArray[np.bool_]) -> None:
        keep[dim] = keep[dim] & chosen if dim in keep else chosen

    categories = roi_categories(obj) if "roi" in labels else {}
    for name, query in labels.items():
        coordinate = obj.coords.get(name)
        if coordinate is None or coordinate.ndim != 1:
            one_dimensional: list[str] = [str(n) for n in obj.coords if obj.coords[n].ndim == 1]
            raise SelectionError(did_you_mean("Coordinate", name, [*one_dimensional, "sphere", "mask"]))
        index = obj.xindexes.get(name)
        if isinstance(index, LabelIndex):  # knows the labels that an earlier selection left behind
            narrow(index.dim, index.match(name, query))
        else:
            context = MatchContext(categories, no_ceiling=MISSING in coordinate.attrs)
            narrow(str(coordinate.dims[0]), Labels.of(coordinate.values).match(name, query, context))
    if sphere is not None:
        narrow(VOXEL, _in_sphere(obj, sphere))
    if mask is not None:
        narrow(*_mask(obj, mask))
    return obj.isel({dim: np.flatnonzero(chosen) for dim, chosen in keep.items()})


def _in_sphere(obj: xr.Dataset | xr.DataArray, sphere: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    if len(sphere) != 4 or not sphere[3] >= 0:
        raise SelectionError(f"sphere is (x, y, z, radius) in mm with a radius of 0 or more, found {sphere!r}.")
    missing = [axis for axis in "xyz" if axis not in obj.coords]
    if missing:
        raise SelectionError(f"sphere needs the coordinates x, y, z on voxel; not here: {', '.join(missing)}.")
    xyz = np.stack([obj.coords[axis].values for axis in "xyz"])
    x, y, z, radius = sphere
    return within_sphere(xyz, (x, y, z), radius)


def _mask(obj: xr.Dataset | xr.DataArray, mask: Any) -> tuple[str, npt.NDArray[np.bool_]]:
    dim = VOXEL
    if isinstance(mask, xr.DataArray) and mask.ndim == 1:
        dim = str(mask.dims[0])
    if isinstance(mask, nib.spatialimages.SpatialImage):
        mask = np.asanyarray(mask.dataobj)
    values = np.asarray(mask)
    size = obj.sizes.get(dim)
    if size is None:
        raise SelectionError(f"The mask is over {dim}, and there is no such dimension here: {list(obj.sizes)}.")
    if values.ndim == 3:
        grid = obj.attrs.get("grid_shape", obj.coords[VOXEL].attrs.get("grid_shape", values.shape))
        if values.shape != tuple(grid):
            raise SelectionError(f"Expected a mask of the grid's shape {tuple(grid)}, found {values.shape}.")
        inside = (values != 0) & ~np.isnan(values.astype(float))
        return VOXEL, inside.ravel()[obj.coords[VOXEL].values]
    if values.shape != (size,) or values.dtype != bool:
        raise SelectionError(
            f"Expected a boolean mask of {size} values along {dim}, or a volume on the grid; found shape "
            f"{values.shape}, dtype {values.dtype}."
        )
    return dim, values
