"""Values on the cortical surface, from several sides.

Plain matplotlib: triangles that face the viewer, the nearest painted last. No extra is needed, no shading falls on the
values, and each triangle has the colour of its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from laion_xr import layout
from laion_xr.errors import DataNotDownloadedError, SelectionError, did_you_mean
from laion_xr.plot.arguments import checked, name, names, one_of
from laion_xr.plot.style import LARGE, MEDIUM, SMALL, Picture, Scale, colour_scale, label_of, plain
from laion_xr.plot.values import voxel_values
from laion_xr.plot.vertices import NAMES, by_hemisphere, mesh_of, mesh_shapes, vertex_values
from laion_xr.space.meshes import NATIVE, SURFACES
from laion_xr.space.place import subject_place
from laion_xr.space.surfaces import to_surface

FloatArray = npt.NDArray[np.floating]
_GYRUS, _SULCUS = 0.78, 0.55  # greys where there is no value


class Camera(NamedTuple):
    """A side to look from: unit vectors to the right of the picture and up, in world axes."""

    right: tuple[int, int, int]
    up: tuple[int, int, int]


# Of the left hemisphere; the two sides of the right one change places
_CAMERAS = {
    "lateral": Camera((0, -1, 0), (0, 0, 1)),
    "medial": Camera((0, 1, 0), (0, 0, 1)),
    "dorsal": Camera((1, 0, 0), (0, 1, 0)),
    "ventral": Camera((-1, 0, 0), (0, 1, 0)),
    "anterior": Camera((-1, 0, 0), (0, 0, 1)),
    "posterior": Camera((1, 0, 0), (0, 0, 1)),
}
_OTHER = {"lateral": "medial", "medial": "lateral"}


@checked(
    mesh=name(),
    kind=one_of(*SURFACES),
    views=names("['lateral', 'medial']"),
    hemispheres=names("['L', 'R']", optional=True),
    engine=one_of("matplotlib"),
)
def surface(
    obj: xr.Dataset | xr.DataArray,
    values: Any = None,
    *,
    mesh: str | None = None,
    kind: str = "inflated",
    views: str | Sequence[str] = ("lateral", "medial"),
    hemispheres: str | Sequence[str] | None = None,
    engine: str = "matplotlib",
    threshold: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    label: str | None = None,
    title: str | None = None,
    **options: Any,
) -> Figure:
    """Draw values on the cortical surface: a row a side, a column a hemisphere.

    Grey is where there is no value; darker in sulci, where the subject's `sulc` files are there.

    Parameters
    ----------
    obj, threshold, vmin, vmax, cmap, label, title
        As in `laion_xr.plot.slices`. The scale is that of the values at the vertices.
    values
        As in `laion_xr.plot.slices`; or values at vertices, an array with the dim `vertex` as
        `laion_xr.space.to_surface` returns it, or a mean over several such.
    mesh
        `"fsnative"`, or a mesh of fsaverage: see `laion_xr.space.to_surface`. Left out, `"fsnative"`; of values at
        vertices, theirs: that of the coordinate `vertex`, else the mesh of fsaverage with so many vertices.
    kind
        `"inflated"`, `"white"`, `"pial"`, `"midthickness"` or `"sphere"`.
    views
        Of `"lateral"`, `"medial"`, `"dorsal"`, `"ventral"`, `"anterior"`, `"posterior"`.
    hemispheres
        `"L"`, `"R"`, or both; left out, those that the values are of.
    engine
        `"matplotlib"`.
    options
        Handed on to `laion_xr.space.to_surface`: `depths`, `interpolation`, `root`, ... Of values at vertices, only
        `root` and `storage_options`.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with `.savefig(path)`; triangles are pixels in a PDF or SVG, text is text.

    Raises
    ------
    DataNotDownloadedError
        A surface is not there; the message says which file.
    SelectionError
        No values, no variable of the name, zero voxels, another length, vertices of another mesh, or an argument that
        means nothing.
    MissingExtraError
        fsaverage is neither in the root nor is nilearn installed.

    Examples
    --------
    >>> ds.laion.plot.surface("noise_ceiling", threshold=20).savefig("surface.png")  # doctest: +SKIP
    >>> on_fsaverage = [s.laion.to_surface("noise_ceiling", "fsaverage5") for s in subjects]  # doctest: +SKIP
    >>> plot.surface(xr.concat(on_fsaverage, "subject").mean("subject"))  # doctest: +SKIP
    """
    sides = [views] if isinstance(views, str) else list(views)
    for side in sides:
        if side not in _CAMERAS:
            raise SelectionError(did_you_mean("View", side, _CAMERAS))
    if hemispheres is not None and not set(hemispheres) <= set(NAMES):
        raise SelectionError(f"surface: hemispheres are of 'L' and 'R', found {list(hemispheres)}; give one or both.")
    place: dict[str, Any] = {name: options[name] for name in ("root", "storage_options") if name in options}
    drawn = at_vertices = vertex_values(obj, values)
    if drawn is None or at_vertices is None:
        drawn = voxel_values(obj, values, "surface")
        at_vertices = to_surface(obj, drawn, NATIVE if mesh is None else mesh, **options).compute()
    elif set(options) > set(place):
        raise SelectionError(
            f"surface: the values are at vertices already, found {sorted(set(options) - set(place))}, which say how "
            "values of voxels get there; leave them out."
        )
    mesh = mesh_of(at_vertices, mesh)
    shapes = mesh_shapes(obj, kind, mesh, **place)
    found = by_hemisphere(at_vertices, {hemi: len(coords) for hemi, (coords, _) in shapes.items()}, mesh)
    hemis = list(found if hemispheres is None else hemispheres)
    for hemi in hemis:
        if hemi not in found:
            raise SelectionError(f"surface: hemispheres={hemis}, found values of {sorted(found)} only; leave it out.")
    folds = _folds(obj, mesh, place)
    numbers = {hemi: found[hemi] for hemi in hemis}
    if threshold is not None:
        numbers = {hemi: np.where(np.abs(v) >= threshold, v, np.nan) for hemi, v in numbers.items()}
    scale = colour_scale(np.concatenate(list(numbers.values())), vmin, vmax, cmap)
    figure = Picture(figsize=(3.1 * len(hemis) + 0.2, 2.3 * len(sides) + 1.0), layout="constrained")
    grid = figure.subplots(len(sides), len(hemis), squeeze=False)
    for row, side in enumerate(sides):
        for column, hemi in enumerate(hemis):
            coords, faces = shapes[hemi]
            camera = _CAMERAS[_OTHER.get(side, side) if hemi == "R" else side]
            _draw(grid[row, column], coords, faces, numbers[hemi], folds.get(hemi), camera, scale)
            grid[row, column].set_title(f"{NAMES[hemi]}, {side}", fontsize=MEDIUM)
    bar = figure.colorbar(
        ScalarMappable(scale.norm, scale.cmap),
        ax=list(grid.ravel()),
        location="bottom",
        extend=scale.extend,
        shrink=0.6,
        aspect=30,
    )
    nothing = "" if any(np.isfinite(v).any() for v in numbers.values()) else ": nothing to show"
    bar.set_label(label_of(drawn, label, threshold) + nothing, fontsize=MEDIUM)
    bar.ax.tick_params(labelsize=SMALL)
    if title:
        figure.suptitle(plain(title), fontsize=LARGE)
    return figure


def face_values(values: FloatArray, faces: npt.NDArray[np.integer]) -> FloatArray:
    """Return the mean of each triangle's vertices, (face,): NaN where two or three of them are NaN."""
    corners = values[faces]
    there = np.isfinite(corners)
    n = there.sum(1)
    return np.where(n >= 2, np.where(there, corners, 0).sum(1) / np.maximum(n, 1), np.nan)


def _draw(
    axes: Axes,
    coords: FloatArray,
    faces: npt.NDArray[np.integer],
    values: FloatArray,
    folds: FloatArray | None,
    camera: Camera,
    scale: Scale,
) -> None:
    right, up = np.array(camera.right), np.array(camera.up)
    towards = np.cross(right, up)
    corners = coords[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # wound either way: most of a closed surface looks away from its middle
    outward = np.sign(np.median(np.einsum("fi,fi->f", normals, corners.mean(1) - coords.mean(0)))) or 1.0
    length = np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    facing = outward * (normals @ towards) / length
    seen = np.flatnonzero(facing > 0)
    seen = seen[np.argsort(corners[seen].mean(1) @ towards)]  # the nearest last
    of_face = face_values(values, faces[seen])
    grey = np.full(len(seen), _GYRUS)
    if folds is not None:
        grey = np.where(folds[faces[seen]].mean(1) > 0, _SULCUS, _GYRUS)
    grey = grey * (0.6 + 0.4 * facing[seen])
    colours = np.repeat(grey[:, None], 4, axis=1)
    colours[:, 3] = 1
    there = np.isfinite(of_face)
    colours[there] = scale.cmap(scale.norm(of_face[there]))
    flat = np.stack([corners[seen] @ right, corners[seen] @ up], -1)
    triangles = PolyCollection(
        list(flat), facecolors=colours, edgecolors=colours, linewidths=0.3, antialiaseds=False, rasterized=True
    )
    triangles.set_gid("values")
    axes.add_collection(triangles)
    axes.set_aspect("equal")
    low, high = flat.reshape(-1, 2).min(0), flat.reshape(-1, 2).max(0)
    margin = 0.02 * (high - low).max()
    axes.set_xlim(low[0] - margin, high[0] + margin)
    axes.set_ylim(low[1] - margin, high[1] + margin)
    axes.set_axis_off()


def _folds(obj: xr.Dataset | xr.DataArray, mesh: str, place: dict[str, Any]) -> dict[str, FloatArray]:
    """Return depth of sulci by hemisphere; nothing where the files are not there."""
    try:
        found = subject_place(obj, **place)
    except SelectionError:  # a mean over subjects knows none
        return {}
    subject = found.subject if mesh == NATIVE else mesh
    paths = {hemi: layout.freesurfer_path(subject, "surf", f"{hemi.lower()}h.sulc") for hemi in NAMES}
    try:
        return {hemi: _morphometry(found.location.read_bytes(path)) for hemi, path in paths.items()}
    except (DataNotDownloadedError, ValueError):
        return {}


def _morphometry(data: bytes) -> FloatArray:
    # three bytes of magic, three counts, a number a vertex, all big-endian
    if data[:3] != b"\xff\xff\xff":
        raise ValueError("not a FreeSurfer morphometry file")
    n = int(np.frombuffer(data, ">i4", 1, 3)[0])
    return np.frombuffer(data, ">f4", n, 15).astype(np.float64)
