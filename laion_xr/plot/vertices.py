"""Values on the vertex axis, as `to_surface` returns them: which mesh they are of, and their places on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from laion_xr import config
from laion_xr.errors import SelectionError
from laion_xr.location import Location
from laion_xr.space.freesurfer import HEMISPHERES
from laion_xr.space.meshes import MESHES, NATIVE, check_mesh, fsaverage_mesh, surface_mesh
from laion_xr.space.place import subject_place
from laion_xr.space.surfaces import VERTEX

FloatArray = npt.NDArray[np.floating]
NAMES = {"L": "left", "R": "right"}
# vertices of a hemisphere -> mesh: icosahedra whose triangles were split 3 to 7 times
_OF_SIZE = {10 * 4**order + 2: f"fsaverage{order}" for order in range(3, 7)} | {10 * 4**7 + 2: "fsaverage"}
_SAME = {"fsaverage7": "fsaverage"}


def vertex_values(obj: xr.Dataset | xr.DataArray, values: Any) -> xr.DataArray | None:
    """Return one number a vertex, float64 (vertex,), computed; None where what is asked for is not on vertices.

    Parameters
    ----------
    obj
        What is drawn, or where the name of values is looked up.
    values
        A variable's name, a DataArray, or None for `obj` itself.

    Raises
    ------
    SelectionError
        Another dim beside `vertex`, no vertex, or text.
    """
    if values is None and isinstance(obj, xr.DataArray):
        values = obj
    elif isinstance(values, str) and values in (obj.variables if isinstance(obj, xr.Dataset) else obj.coords):
        values = obj[values]
    if not isinstance(values, xr.DataArray) or VERTEX not in values.dims:
        return None
    if values.dims != (VERTEX,):
        rest = [str(dim) for dim in values.dims if dim != VERTEX]
        raise SelectionError(
            f"surface draws one value a vertex, found dims {values.dims}: select one of {rest}, or average over it."
        )
    if not values.sizes[VERTEX]:
        raise SelectionError("surface: there is nothing to draw, the selection holds 0 vertices; select others.")
    if values.dtype.kind not in "biuf":
        raise SelectionError(f"surface draws real numbers, found {values.dtype}; give the values themselves.")
    return values.compute().astype(np.float64, keep_attrs=True)


def mesh_of(values: xr.DataArray, mesh: str | None) -> str:
    """Return the mesh that values at vertices are drawn on.

    Parameters
    ----------
    values
        (vertex,); the coordinate `vertex` of `to_surface` says which mesh it is of, else the number of vertices does.
    mesh
        What was asked for, or None.

    Raises
    ------
    SelectionError
        The values are of another mesh than the one asked for.
    """
    known = _said(values)
    if mesh is None:
        hemis = _hemispheres(values)
        sizes = {len(values) // 2} if hemis is None else {int((hemis == hemi).sum()) for hemi in {*hemis.tolist()}}
        return known or (_OF_SIZE.get(sizes.pop(), NATIVE) if len(sizes) == 1 else NATIVE)
    check_mesh(mesh)
    if known is not None and _SAME.get(known, known) != _SAME.get(mesh, mesh):
        raise SelectionError(
            f"surface: the values are at vertices of {known}, found mesh={mesh!r}: leave mesh= out, or put them on it "
            f"by .laion.to_surface(..., mesh={mesh!r})."
        )
    return mesh


def mesh_shapes(
    obj: xr.Dataset | xr.DataArray,
    kind: str,
    mesh: str,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return vertices and triangles by hemisphere; of fsaverage also where no subject is known, as of a mean over some.

    Raises
    ------
    SelectionError
        The subject's own mesh, and no subject.
    DataNotDownloadedError
        A surface is not there.
    """
    try:
        subject_place(obj, root, storage_options)
    except SelectionError as error:
        if mesh == NATIVE:
            raise SelectionError(
                f"surface: values at {NATIVE} vertices need the surfaces of their subject: draw them by the Dataset "
                f"that they are from, as in ds.laion.plot.surface(values), or give mesh=. {error}"
            ) from None
        return fsaverage_mesh(Location.of(root or config.get("data_dir") or ".", storage_options), mesh, kind)
    return surface_mesh(obj, kind, mesh, root=root, storage_options=storage_options)


def by_hemisphere(values: xr.DataArray, sizes: Mapping[str, int], mesh: str) -> dict[str, FloatArray]:
    """Return values at all vertices of the mesh, by hemisphere of which there are some; NaN where there is no value.

    Parameters
    ----------
    values
        (vertex,), in any order where the coordinates `hemi` and `vertex_index` are there; else the left hemisphere
        first. Some of the vertices are enough where the values know their mesh.
    sizes
        Vertices of the mesh by hemisphere.
    mesh
        Its name, for messages.

    Raises
    ------
    SelectionError
        Another number of vertices than the mesh has, a vertex twice, or hemispheres other than `"L"` and `"R"`.
    """
    hemis = _hemispheres(values)
    if hemis is None:
        if len(values) != sum(sizes.values()):
            raise _other_size(len(values), "", sum(sizes.values()), mesh)
        hemis = np.repeat(np.array([*sizes], dtype=object), [*sizes.values()])
    if not set(hemis.tolist()) <= set(HEMISPHERES):
        raise SelectionError(
            f"Expected the coordinate 'hemi' to be 'L' and 'R', found {sorted({*map(str, hemis)})[:4]}: rename them."
        )
    index = values.coords["vertex_index"].values if "vertex_index" in values.coords else None
    numbers, found = np.asarray(values.values, dtype=np.float64), {}
    for hemi, n in sizes.items():
        here = hemis == hemi
        if not here.any():
            continue
        at = np.arange(here.sum()) if index is None else index[here]
        some_will_do = _said(values) is not None and index is not None
        if (at >= n).any() or (at < 0).any() or not (some_will_do or len(at) == n):
            raise _other_size(len(at), f" of the {NAMES[hemi]} hemisphere", n, mesh)
        if len(np.unique(at)) < len(at):
            raise SelectionError(
                f"surface: vertices of the {NAMES[hemi]} hemisphere are there more than once: select one value each."
            )
        found[hemi] = np.full(n, np.nan)
        found[hemi][at] = numbers[here]
    return found


def _said(values: xr.DataArray) -> str | None:
    known = values.coords[VERTEX].attrs.get("mesh") if VERTEX in values.coords else None
    return known if known in MESHES else None


def _hemispheres(values: xr.DataArray) -> npt.NDArray[Any] | None:
    there = "hemi" in values.coords and values.coords["hemi"].dims == (VERTEX,)
    return np.asarray(values.coords["hemi"].values) if there else None


def _other_size(found: int, of: str, expected: int, mesh: str) -> SelectionError:
    return SelectionError(
        f"surface: {mesh} has {expected:,} vertices{of}, found {found:,} values: say the mesh that they are of with "
        "mesh=, and give one value a vertex."
    )
