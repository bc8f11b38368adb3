"""The meshes that values are shown on: the subject's own surfaces, and fsaverage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # its submodules are loaded where they are first used: 40 ms
import xarray as xr

from laion_xr import layout
from laion_xr.errors import DataNotDownloadedError, SelectionError, did_you_mean, missing_extra
from laion_xr.location import Location
from laion_xr.space.freesurfer import HEMISPHERES, Faces, Points, Surface, read_surfaces, surface_origin
from laion_xr.space.place import Place, subject_place

NATIVE = "fsnative"
FSAVERAGE = ("fsaverage", "fsaverage3", "fsaverage4", "fsaverage5", "fsaverage6", "fsaverage7")
MESHES = (NATIVE, *FSAVERAGE)
MIDDLE = "midthickness"
# names of FreeSurfer's files, and the one made of two
SURFACES = ("white", "pial", MIDDLE, "inflated", "sphere", "sphere.reg")
# these lie in the brain; the others are shapes to draw, or spheres
_IN_THE_BRAIN = ("white", "pial", MIDDLE)
_NILEARN = {"white": "white", "pial": "pial", "inflated": "infl", "sphere": "sphere", "sphere.reg": "sphere"}
_SIDES = {"L": "left", "R": "right"}


def surface_mesh(
    obj: xr.Dataset | xr.DataArray,
    surface: str = "inflated",
    mesh: str = NATIVE,
    *,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> dict[str, tuple[Points, Faces]]:
    """Return the vertices and triangles of a surface, to draw values on.

    Parameters
    ----------
    obj
        A Dataset or array of laion_xr.
    surface
        `"white"`, `"pial"`, `"midthickness"` (halfway between), `"inflated"`, `"sphere"` or `"sphere.reg"`.
    mesh
        `"fsnative"`, the subject's own; `"fsaverage"`, or `"fsaverage3"` to `"fsaverage7"`.
    root, storage_options
        Where the dataset is, for an object that does not know it; options of its file system.

    Returns
    -------
    dict
        `"L"`, `"R"` -> (vertices (n, 3) float64, triangles (m, 3) int32). Of the subject's white, pial and midthickness
        surface in mm of T1w space; other surfaces, and fsaverage (mm of MNI305), as their files have them.

    Raises
    ------
    DataNotDownloadedError
        A surface is not there; the message says which file.
    SelectionError
        No such surface or mesh; or the root or subject is not known.
    MissingExtraError
        fsaverage is neither in the root nor is nilearn installed.

    Examples
    --------
    >>> coords, faces = ds.laion.surface_mesh("inflated")["L"]  # doctest: +SKIP
    """
    check_mesh(mesh)
    if surface not in SURFACES:
        raise SelectionError(did_you_mean("Surface", surface, SURFACES))
    place = subject_place(obj, root, storage_options)
    if mesh != NATIVE:
        return fsaverage_mesh(place.location, mesh, surface)
    if surface in _IN_THE_BRAIN:
        names = ("white", "pial") if surface == MIDDLE else (surface,)
        found = brain_surfaces(place, names)
        return {h: (np.mean([found[h][n] for n in names], axis=0), found[h]["faces"]) for h in HEMISPHERES}
    return {h: (s.coords, s.faces) for h, s in native_surfaces(place, [surface])[surface].items()}


def check_mesh(mesh: str) -> None:
    """Check the name of a mesh.

    Raises
    ------
    SelectionError
        There is no such mesh.
    """
    if mesh not in MESHES:
        raise SelectionError(did_you_mean("Mesh", mesh, MESHES))


def native_surfaces(place: Place, names: list[str]) -> dict[str, dict[str, Surface]]:
    """Return surfaces of the subject as their files have them: name -> hemisphere -> surface."""
    paths = {(n, h): place.freesurfer("surf", f"{prefix}.{n}") for n in names for h, prefix in HEMISPHERES.items()}
    read = dict(zip(paths, read_surfaces(place.location, list(paths.values())), strict=True))
    for hemi in HEMISPHERES:
        sizes = {name: len(read[name, hemi].coords) for name in names}
        if len(set(sizes.values())) > 1:
            raise SelectionError(
                f"The surfaces of {place.subject}, hemisphere {hemi}, are of different reconstructions: they have "
                f"{sizes} vertices. Download "
                f"{place.location.show(layout.freesurfer_dir(place.subject))} again."
            )
    return {name: {hemi: read[name, hemi] for hemi in HEMISPHERES} for name in names}


def brain_surfaces(place: Place, names: tuple[str, ...] = ("white", "pial")) -> dict[str, dict[str, Any]]:
    """Return surfaces in mm of T1w space: hemisphere -> name -> vertices (n, 3), and `"faces"`."""
    read = native_surfaces(place, list(names))
    return {
        hemi: {name: read[name][hemi].coords + surface_origin(place, read[name][hemi]) for name in names}
        | {"faces": read[names[0]][hemi].faces}
        for hemi in HEMISPHERES
    }


def fsaverage_mesh(location: Location, mesh: str, surface: str) -> dict[str, tuple[Points, Faces]]:
    """Return a surface of fsaverage: of the root where it has it, else of nilearn.

    Raises
    ------
    MissingExtraError
        nilearn is not installed.
    DataNotDownloadedError
        nilearn does not have it and cannot fetch it.
    """
    folder = f"{layout.freesurfer_dir(mesh)}/surf"
    names = ("white", "pial") if surface == MIDDLE else ("sphere",) if surface.startswith("sphere") else (surface,)
    paths = {(h, n): f"{folder}/{prefix}.{n}" for h, prefix in HEMISPHERES.items() for n in names}
    if {entry.path for entry in location.files(folder)} >= set(paths.values()):
        read = dict(zip(paths, read_surfaces(location, list(paths.values())), strict=True))
        meshes = {key: (s.coords, s.faces) for key, s in read.items()}
    else:
        meshes = {key: _nilearn_mesh(location, mesh, *key) for key in paths}
    return {h: (np.mean([meshes[h, n][0] for n in names], axis=0), meshes[h, names[0]][1]) for h in HEMISPHERES}


def _nilearn_mesh(location: Location, mesh: str, hemi: str, surface: str) -> tuple[Points, Faces]:
    try:
        from nilearn.datasets import fetch_surf_fsaverage  # noqa: PLC0415 - an extra
        from nilearn.surface import load_surf_mesh  # noqa: PLC0415 - an extra
    except ImportError:
        raise missing_extra("nilearn", "template", f"The mesh {mesh}, which is not in the root,") from None
    try:
        path = fetch_surf_fsaverage(mesh)[f"{_NILEARN[surface]}_{_SIDES[hemi]}"]
        found = load_surf_mesh(path)
    except Exception as error:  # whatever its download raises
        place = location.show(layout.freesurfer_dir(mesh))
        raise DataNotDownloadedError(
            f"The mesh {mesh} is not there: nilearn could not fetch it ({type(error).__name__}: {error}); copy "
            f"FreeSurfer's subject {mesh} to {place}, or use mesh='fsaverage5', which comes with nilearn."
        ) from None
    return np.asarray(found.coordinates, np.float64), np.asarray(found.faces, np.int32)


def registered_vertices(place: Place, mesh: str) -> dict[str, tuple[npt.NDArray[np.intp], scipy.sparse.csr_matrix]]:
    """Return how fsaverage takes the values of the subject's vertices, by the registered spheres.

    Returns
    -------
    dict
        Hemisphere -> the nearest vertex of the subject to each of fsaverage (n_target,), and the matrix (n_target,
        n_source) that averages: nearest neighbours forward and reverse, as FreeSurfer's `mri_surf2surf` by default
        (`--mapmethod nnfr`): each vertex of fsaverage takes that of its nearest of the subject, and a vertex of the
        subject which none took is added to its nearest of fsaverage. Rows sum to 1.
    """
    targets = fsaverage_mesh(place.location, mesh, "sphere")
    sources = native_surfaces(place, ["sphere.reg"])["sphere.reg"]
    found = {}
    for hemi in HEMISPHERES:
        target, source = _on_unit_sphere(targets[hemi][0]), _on_unit_sphere(sources[hemi].coords)
        forward = np.asarray(scipy.spatial.cKDTree(source).query(target)[1], np.intp)
        left = np.setdiff1d(np.arange(len(source)), forward)
        reverse = np.asarray(scipy.spatial.cKDTree(target).query(source[left])[1], np.intp) if len(left) else left
        rows, columns = np.concatenate([np.arange(len(target)), reverse]), np.concatenate([forward, left])
        matrix = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(target), len(source)))
        found[hemi] = forward, matrix.multiply(1 / matrix.sum(axis=1)).tocsr()
    return found


def _on_unit_sphere(points: Points) -> Points:
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))
