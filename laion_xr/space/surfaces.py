"""Values of voxels on the cortical surface, the subject's own or fsaverage; the vertex that lies at a place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy  # its submodules are loaded where they are first used: 40 ms
import xarray as xr
from dask.delayed import delayed

from laion_xr.analysis.volumes import geometry, placed_voxels, voxel_values
from laion_xr.errors import SelectionError, did_you_mean
from laion_xr.lazy.index import LabelIndex
from laion_xr.schema import VOXEL
from laion_xr.space.freesurfer import HEMISPHERES
from laion_xr.space.meshes import NATIVE, brain_surfaces, check_mesh, registered_vertices
from laion_xr.space.place import Obj, subject_place
from laion_xr.space.sampling import INTERPOLATIONS, normalised, sampled, sampling_matrix

VERTEX = "vertex"
DEPTHS = (0.25, 0.5, 0.75)
_ATTRS = {
    VERTEX: {"long_name": "vertex, the left hemisphere first"},
    "hemi": {"long_name": "hemisphere"},
    "vertex_index": {"long_name": "vertex within the hemisphere"},
    "x": {"long_name": "position in T1w space, left to right", "units": "mm"},
    "y": {"long_name": "position in T1w space, posterior to anterior", "units": "mm"},
    "z": {"long_name": "position in T1w space, inferior to superior", "units": "mm"},
}


def to_surface(
    obj: Obj,
    values: Any = None,
    mesh: str = NATIVE,
    *,
    depths: float | Iterable[float] = DEPTHS,
    interpolation: str = "linear",
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Return values at the vertices of the cortical surface, averaged over depths of the grey matter.

    Lazy where the values are: only voxels at the cortex are read, a session at a time.

    Parameters
    ----------
    obj
        A Dataset or array of laion_xr.
    values
        As in `laion_xr.analysis.to_nifti`: a variable's name, an array on `voxel` (labels of voxels count), or None for
        an array itself.
    mesh
        `"fsnative"`, the subject's own; `"fsaverage"`, or `"fsaverage3"` to `"fsaverage7"`, by the registered spheres
        (nearest neighbours forward and reverse, FreeSurfer's `mri_surf2surf --mapmethod nnfr`).
    depths
        Where to sample between the white surface (0) and the pial (1). A quarter, half and three quarters as in the
        Natural Scenes Dataset (Allen et al. 2022); nilearn counts from the pial surface.
    interpolation
        `"linear"`, or `"nearest"` for the voxel that holds the sample.
    root, storage_options
        Where the dataset is, for an object that does not know it; options of its file system.

    Returns
    -------
    xr.DataArray
        (..., vertex) float32 (float64 of 64-bit values and 32-bit integers), the left hemisphere first; `hemi` (`"L"`,
        `"R"`, which `.sel` takes), `vertex_index` within it, and `x y z` of T1w space (mm, midway between white and
        pial; of fsaverage that of the nearest vertex of the subject). NaN where no sample lies in a voxel of the
        object; voxels that are NaN are left out of the mean. Booleans become the share that is True.

    Raises
    ------
    DataNotDownloadedError
        A surface is not there; the message says which file.
    SelectionError
        Values of another length or subject, 0 voxels, no such mesh; or the root or subject is not known.
    MissingExtraError
        fsaverage is neither in the root nor is nilearn installed.

    Examples
    --------
    >>> surf = ds.laion.to_surface("noise_ceiling")  # doctest: +SKIP
    >>> surf.sel(hemi="L").max()  # doctest: +SKIP
    """
    check_mesh(mesh)
    if interpolation not in INTERPOLATIONS:
        raise SelectionError(did_you_mean("interpolation", interpolation, INTERPOLATIONS))
    share = _checked_depths(depths)
    found = voxel_values(obj, values)
    if not found.sizes[VOXEL]:
        raise SelectionError("There are 0 voxels here, and nothing of them can be on a surface: select others.")
    grid, affine = geometry(found if "affine" in found.coords[VOXEL].attrs else obj)
    place = subject_place(obj, root, storage_options)
    surfaces = brain_surfaces(place)
    voxels = placed_voxels(found, grid)
    matrices, positions = [], []
    for hemi in HEMISPHERES:
        white, pial = surfaces[hemi]["white"], surfaces[hemi]["pial"]
        points = white[:, None] + share[:, None] * (pial - white)[:, None]
        matrices.append(sampling_matrix(points, voxels, grid, affine, interpolation))
        positions.append((white + pial) / 2)
    if mesh != NATIVE:
        registered = registered_vertices(place, mesh)
        for i, (nearest, average) in enumerate(registered.values()):
            matrices[i], positions[i] = normalised(average @ matrices[i]), positions[i][nearest]
    matrix = scipy.sparse.vstack(matrices, format="csr")
    used = np.unique(matrix.indices)
    return _on_vertices(found.isel({VOXEL: used}).transpose(..., VOXEL), matrix[:, used], positions, mesh)


def _on_vertices(
    values: xr.DataArray, matrix: Any, positions: list[npt.NDArray[np.float64]], mesh: str
) -> xr.DataArray:
    data = values.data
    if isinstance(data, da.Array):
        data = data.rechunk({data.ndim - 1: -1})
        chunks = (*data.chunks[:-1], (matrix.shape[0],))
        dtype = sampled(np.empty((0, matrix.shape[1]), data.dtype), matrix).dtype
        # the matrix is one node of the graph, not a part of each task
        data = data.map_blocks(
            sampled, delayed(matrix), dtype=dtype, chunks=chunks, meta=np.empty((0,) * data.ndim, dtype)
        )
    else:
        data = sampled(np.asarray(data), matrix)
    kept = values.coords.to_dataset().drop_dims(VOXEL).coords
    found = xr.DataArray(data, dims=(*values.dims[:-1], VERTEX), coords=kept, name=values.name, attrs=values.attrs)
    found = found.assign_coords(vertex_coordinates([len(p) for p in positions]))
    xyz = np.concatenate(positions).astype(np.float32)
    found = found.assign_coords({n: (VERTEX, xyz[:, i], _ATTRS[n]) for i, n in enumerate("xyz")})
    found.coords[VERTEX].attrs["mesh"] = mesh
    return index_hemispheres(found)


def vertex_coordinates(sizes: list[int]) -> dict[str, tuple[str, npt.NDArray[Any], dict[str, str]]]:
    """Return the coordinates `vertex`, `hemi` and `vertex_index` of hemispheres of so many vertices."""
    columns = {
        VERTEX: np.arange(sum(sizes)),
        "hemi": np.repeat(np.array(list(HEMISPHERES), dtype=object), sizes),
        "vertex_index": np.concatenate([np.arange(n) for n in sizes]),
    }
    return {name: (VERTEX, column, dict(_ATTRS[name])) for name, column in columns.items()}


def index_hemispheres(found: xr.DataArray) -> xr.DataArray:
    """Return the array with an index on `hemi`, so that `.sel(hemi="L")` works."""
    return found.set_xindex(["hemi"], LabelIndex, ids=found.coords[VERTEX].values, categories={}, known={})


def nearest_vertices(
    obj: Obj,
    points: npt.ArrayLike | None = None,
    surface: str = "midthickness",
    *,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Return the vertex of the subject's surfaces that lies nearest to each place.

    Parameters
    ----------
    obj
        A Dataset or array of laion_xr.
    points
        mm of T1w space, (3,) or (n, 3), also as `template_points` returns them or a table with the columns x, y, z;
        None for the object's voxels (their centres).
    surface
        `"white"`, `"pial"`, or `"midthickness"` (halfway between).
    root, storage_options
        Where the dataset is, for an object that does not know it; options of its file system.

    Returns
    -------
    xr.DataArray
        (voxel,) or (point,) int64, positions along `vertex` of `to_surface(..., "fsnative")`; with `hemi`,
        `vertex_index` and `distance` (mm).

    Raises
    ------
    DataNotDownloadedError
        A surface is not there; the message says which file.
    SelectionError
        Points that are not places, or no such surface.

    Examples
    --------
    >>> ds.laion.nearest_vertices([[40, -50, -20]]).hemi  # doctest: +SKIP
    """
    known = {"white": ("white",), "pial": ("pial",), "midthickness": ("white", "pial")}
    if surface not in known:
        raise SelectionError(did_you_mean("Surface", surface, known))
    places, dim = place_points(obj, points)
    found = brain_surfaces(subject_place(obj, root, storage_options), known[surface])
    meshes = [np.mean([found[h][n] for n in known[surface]], axis=0) for h in HEMISPHERES]
    distance, vertex = scipy.spatial.cKDTree(np.concatenate(meshes)).query(np.asarray(places.values))
    columns = {n: v[vertex] for n, (_, v, _) in vertex_coordinates([len(m) for m in meshes]).items()}
    coords = {n: (dim, columns[n], _ATTRS[n]) for n in ("hemi", "vertex_index")}
    coords["distance"] = (dim, distance, {"long_name": "distance to the vertex", "units": "mm"})
    kept = {n: c.variable for n, c in places.coords.items() if c.dims == (dim,)}
    return xr.DataArray(columns[VERTEX], dims=(dim,), coords=kept | coords, name=VERTEX, attrs=_ATTRS[VERTEX])


def place_points(obj: Obj, points: npt.ArrayLike | None) -> tuple[xr.DataArray, str]:
    """Return places in mm of T1w space, (voxel or point, axis), and the name of the first dim.

    Raises
    ------
    SelectionError
        Not numbers of shape (3,) or (n, 3), or the voxels' ids are not there.
    """
    if points is None:
        grid, affine = geometry(obj)
        if VOXEL not in obj.coords:
            raise SelectionError("Which places? Give points in mm, or keep the coordinate 'voxel'.")
        ids = np.atleast_1d(obj.coords[VOXEL].values)
        # not of the coordinates x, y, z, which are float32
        mm = np.stack(np.unravel_index(ids, grid), axis=1) @ affine[:3, :3].T + affine[:3, 3]
        return xr.DataArray(mm, dims=(VOXEL, "axis"), coords={VOXEL: (VOXEL, ids, obj.coords[VOXEL].attrs)}), VOXEL
    try:
        mm = np.atleast_2d(np.asarray(_in_order(points), dtype=np.float64))
    except (ValueError, TypeError):
        mm = np.empty(0)
    if mm.ndim != 2 or mm.shape[1] != 3 or not np.isfinite(mm).all():
        raise SelectionError(
            f"points are places (x, y, z) in mm of T1w space, (3,) or (n, 3) without NaN; found {points!r}."
        )
    return xr.DataArray(mm, dims=("point", "axis")), "point"


def _in_order(points: Any) -> Any:
    """Return places whose axes are named with these in the order x, y, z, and all others as they are."""
    axes = ["x", "y", "z"]
    if isinstance(points, xr.DataArray) and "axis" in points.dims:
        points = points.transpose(..., "axis")
        named = "axis" in points.coords and sorted(map(str, points.axis.values)) == axes
        return points.isel(axis=np.argsort(points.axis.values.astype(str))) if named else points
    return points[axes] if isinstance(points, pd.DataFrame) and set(axes) <= set(points.columns) else points


def _checked_depths(depths: float | Iterable[float]) -> npt.NDArray[np.float64]:
    many = isinstance(depths, Iterable) and not isinstance(depths, (str, np.ndarray))
    try:
        given = np.atleast_1d(np.asarray(list(depths) if many else depths))  # type: ignore[arg-type]
    except ValueError:  # rows of different lengths
        given = np.empty(0)
    share = given.astype(np.float64) if given.dtype.kind in "iuf" else np.empty(0)
    if share.ndim != 1 or not len(share) or not np.isfinite(share).all():
        raise SelectionError(f"depths are numbers from 0 (white) to 1 (pial), found {depths!r}.")
    return share
