"""Regions of voxels: ROIs as masks, and spheres."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr.analysis.select import select
from laion_xr.analysis.volumes import geometry
from laion_xr.errors import SelectionError, UnknownLabelError
from laion_xr.indexes import roi_categories
from laion_xr.readers.base import IntArray
from laion_xr.rois import ALIASES, RoiQuery
from laion_xr.schema import ROI_SEPARATOR, VOXEL
from laion_xr.voxels import Grid

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)
# Of a radius: millimetres that are not exact in binary do not move the rim
TOLERANCE = 1e-6


def roi_masks(obj: xr.Dataset | xr.DataArray, rois: str | Iterable[str] | None = None) -> xr.DataArray:
    """Return which voxels are in which ROI.

    Parameters
    ----------
    obj
        A Dataset or array with the coordinate `roi` on `voxel`.
    rois
        None or `"all"` for every ROI that has a voxel here; a category for those of it; the name of an ROI, which may
        have none; an expression (`"V1v | V1d"`), which is one row under its own text; or a list of these.

    Returns
    -------
    xr.DataArray
        bool (roi, voxel), with `category` on `roi` (several joined by `+`, `""` for none) and the voxels' ids and
        positions. ROIs overlap: a voxel is in as many rows as ROIs hold it.

    Raises
    ------
    SelectionError
        There is no coordinate `roi` on `voxel`.
    UnknownLabelError
        A name that is neither ROI nor category.

    Examples
    --------
    >>> masks = ds.laion.roi_masks("face")  # doctest: +SKIP
    >>> ds.betas.sel(voxel=masks.sel(roi="FFA1").values)  # doctest: +SKIP
    """
    roi = obj.coords.get("roi")
    if roi is None or roi.dims != (VOXEL,):
        raise SelectionError(
            "roi_masks needs the dim 'voxel' and the coordinate 'roi' on it; here are the dims "
            f"{[str(d) for d in obj.dims]}: open the dataset without dropping roi, and keep the dim when you select."
        )
    codes, texts = pd.factorize(roi.values)
    rows, inside, of_roi = named_rois(rois, [str(text) for text in texts], roi_categories(obj))
    coords = {str(n): c.variable for n, c in obj.coords.items() if c.dims == (VOXEL,) and n != "roi"}
    row_names = np.array(rows, dtype=object)
    return xr.DataArray(
        inside[:, codes],
        dims=("roi", VOXEL),
        coords=coords | {"roi": ("roi", row_names), "category": ("roi", np.array(of_roi, dtype=object))},
        name="roi_masks",
    )


def named_rois(
    rois: str | Iterable[str] | None, texts: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> tuple[list[str], npt.NDArray[np.bool_], list[str]]:
    """Return the ROIs that are asked for, which memberships are in each (roi, text), and the categories of each.

    Parameters
    ----------
    rois
        As in `roi_masks`.
    texts
        Distinct membership strings.
    categories
        ROI category -> names of its ROIs.

    Raises
    ------
    UnknownLabelError
        A name that is neither ROI nor category.
    """
    query = RoiQuery(texts, categories)
    here = {name for text in texts for name in text.split(ROI_SEPARATOR)} - {""}
    named = [name for names in categories.values() for name in names]
    every = list(dict.fromkeys([*named, *sorted(here - set(named))]))
    asked = ["all"] if rois is None else [rois] if isinstance(rois, str) else list(rois)
    rows: list[str] = []
    for name in asked:
        query.match(name)  # says what is wrong with a name
        if name == "all" or (name in categories and name not in every):
            rows += [r for r in every if r in here and (name == "all" or r in categories[name])]
        elif name in ALIASES and name not in every:
            rows += [r for r in every if r in {part.strip() for part in ALIASES[name].split("|")}]
        else:
            rows.append(name)
    rows = list(dict.fromkeys(rows))
    inside = np.array([query.match(row) for row in rows], dtype=bool).reshape(len(rows), len(texts))
    return rows, inside, [ROI_SEPARATOR.join(c for c, names in categories.items() if row in names) for row in rows]


def sphere(obj: XarrayT, centre: Any, radius: float) -> XarrayT:
    """Return the voxels whose centres lie within a sphere; lazy, the selection reaches the reader.

    Parameters
    ----------
    obj
        A Dataset or array with the dim `voxel`.
    centre
        `(x, y, z)` in mm of T1w space, or the id of a voxel.
    radius
        In mm, more than 0; the rim is inside.

    Returns
    -------
    The same kind of object, with fewer voxels (none where none lies inside).

    Raises
    ------
    SelectionError
        No dim `voxel`, no positions, a radius of 0 or less, or a centre that is neither.
    UnknownLabelError
        A voxel that is not here.

    Examples
    --------
    >>> ds.laion.sphere((40, -50, -20), 8)  # doctest: +SKIP
    """
    check_radius(radius)
    if VOXEL not in obj.dims:
        raise SelectionError(f"sphere needs the dim 'voxel', found the dims {[str(d) for d in obj.dims]}.")
    if isinstance(centre, (int, np.integer)) and not isinstance(centre, bool):
        ids = voxel_ids(obj, "sphere")
        if not (ids == centre).any():
            raise UnknownLabelError(
                f"Voxel {centre} is not here, where {len(ids)} voxels are: give one of them (obj.voxel), or a position "
                "(x, y, z) in mm."
            )
        grid, affine = geometry(obj)
        found = neighbours(np.array([centre]), grid, offsets_within(affine, radius, grid))[0]
        return obj.isel({VOXEL: np.flatnonzero(np.isin(ids, found))})
    place: list[Any] = [*centre] if isinstance(centre, Iterable) else []
    if len(place) != 3 or not all(isinstance(n, (int, float, np.number)) and np.isfinite(n) for n in place):
        raise SelectionError(f"centre is (x, y, z) in mm of T1w space, or the id of a voxel; found {centre!r}.")
    x, y, z = (float(n) for n in place)
    return select(obj, sphere=(x, y, z, float(radius)))


def check_radius(radius: Any) -> None:
    """Check a radius.

    Raises
    ------
    SelectionError
        It is not a finite number above 0.
    """
    number = isinstance(radius, (int, float, np.number)) and not isinstance(radius, bool)
    if not number or not 0 < radius < np.inf:
        raise SelectionError(f"radius is a number of mm above 0, found {radius!r}.")


def voxel_ids(obj: xr.Dataset | xr.DataArray, purpose: str) -> IntArray:
    """Return the ids of the voxels, (voxel,).

    Raises
    ------
    SelectionError
        They are not there, or an id is there twice.
    """
    if VOXEL not in obj.coords or obj.coords[VOXEL].dims != (VOXEL,):
        raise SelectionError(f"{purpose} needs the coordinate 'voxel', the ids of the voxels: keep it.")
    ids: IntArray = np.asarray(obj.coords[VOXEL].values)
    if len(np.unique(ids)) < len(ids):
        raise SelectionError(
            f"{purpose} needs each voxel once, found ids that repeat: select one subject, or drop the repeats."
        )
    return ids


def offsets_within(affine: npt.NDArray[np.floating], radius: float, grid: Grid) -> npt.NDArray[np.int64]:
    """Return the steps inside a grid that stay within `radius` mm, (n, 3), in C order; (0, 0, 0) is one of them."""
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    # along each axis no more steps than the sphere has layers of voxels
    most = np.floor(radius * (1 + TOLERANCE) * np.linalg.norm(np.linalg.inv(linear), axis=1))
    most = np.minimum(most, np.array(grid) - 1).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm(steps @ linear.T, axis=1)
    return np.asarray(steps[distance <= radius * (1 + TOLERANCE)], dtype=np.int64)


def neighbours(centres: IntArray, grid: Grid, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the C-order flat ids at some steps from each centre, (centre, n); -1 outside the grid."""
    at = np.stack(np.unravel_index(np.asarray(centres), grid), axis=-1)[:, None, :] + offsets
    inside = ((at >= 0) & (at < np.array(grid))).all(axis=-1)
    flat = (at[..., 0] * grid[1] + at[..., 1]) * grid[2] + at[..., 2]
    return np.where(inside, flat, -1)
