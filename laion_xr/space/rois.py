"""ROIs on the cortical surface: which vertices each of them holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr import layout
from laion_xr.analysis.regions import named_rois
from laion_xr.errors import CorruptFileError, DataNotDownloadedError, SelectionError, did_you_mean
from laion_xr.location import FileEntry
from laion_xr.readers.surface import read_freesurfer_label, read_gifti_mask
from laion_xr.rois import membership
from laion_xr.space.freesurfer import HEMISPHERES
from laion_xr.space.meshes import NATIVE, check_mesh, native_surfaces, registered_vertices
from laion_xr.space.place import Obj, Place, subject_place
from laion_xr.space.surfaces import VERTEX, index_hemispheres, vertex_coordinates

FORMS = ("gifti", "label")
# (category, ROI) -> hemisphere -> file
_Files = dict[tuple[str, str], dict[str, FileEntry]]


def surface_rois(
    obj: Obj,
    rois: str | Iterable[str] | None = None,
    mesh: str = NATIVE,
    *,
    form: str | None = None,
    root: Any = None,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """Return which vertices are in which ROI, of the dataset's own files for the surface.

    Parameters
    ----------
    obj
        A Dataset or array of laion_xr.
    rois
        As in `laion_xr.analysis.roi_masks`: None or `"all"` for every ROI that has a vertex; a category, a name, an
        expression (`"V1v | V1d"`), or a list of these.
    mesh
        `"fsnative"`; or `"fsaverage"` (`"fsaverage3"` to `"fsaverage7"`), each vertex in the ROIs of its nearest of the
        subject on the registered sphere.
    form
        `"gifti"` or `"label"`: which of the two files. None: GIfTI where it is there, else the label.
    root, storage_options
        Where the dataset is, for an object that does not know it; options of its file system.

    Returns
    -------
    xr.DataArray
        bool (roi, vertex), the vertices as in `to_surface`, with `hemi`, `vertex_index`, and `category` on `roi`.

    Raises
    ------
    DataNotDownloadedError
        There are no such files.
    SelectionError
        What is no name; no such mesh or form; or the root or subject is not known.
    UnknownLabelError
        A name that is neither ROI nor category.
    FileFormatError
        A file that is none, or that is of another surface than the others.

    Examples
    --------
    >>> ffa = ds.laion.surface_rois("FFA1").sel(roi="FFA1")  # doctest: +SKIP
    >>> ds.laion.to_surface("noise_ceiling")[ffa.values].mean()  # doctest: +SKIP
    """
    check_mesh(mesh)
    asked = _checked_names(rois)
    if form is not None and form not in FORMS:
        raise SelectionError(did_you_mean("form", form, FORMS))
    place = subject_place(obj, root, storage_options)
    files = _surface_files(place, FORMS if form is None else (form,))
    sizes, members = _members(place, files)
    starts = dict(zip(HEMISPHERES, [0, *np.cumsum(list(sizes.values()))[:-1]], strict=True))
    found = {roi: np.concatenate([starts[h] + v for h, v in of.items()]) for (_, roi), of in members.items()}
    texts = membership(found, np.arange(sum(sizes.values())))
    codes, names = pd.factorize(texts)
    categories: dict[str, list[str]] = {}
    for category, roi in files:
        categories.setdefault(category, []).append(roi)
    rows, inside, of_roi = named_rois(asked, [str(name) for name in names], categories)
    if mesh != NATIVE:
        nearest = [forward for forward, _ in registered_vertices(place, mesh).values()]
        codes = codes[np.concatenate([starts[h] + n for h, n in zip(HEMISPHERES, nearest, strict=True)])]
        sizes = dict(zip(HEMISPHERES, map(len, nearest), strict=True))
    coords: dict[str, Any] = dict(vertex_coordinates(list(sizes.values())))
    coords |= {"roi": ("roi", np.array(rows, dtype=object)), "category": ("roi", np.array(of_roi, dtype=object))}
    array = xr.DataArray(inside[:, codes], dims=("roi", VERTEX), coords=coords, name="surface_rois")
    array.coords[VERTEX].attrs["mesh"] = mesh
    return index_hemispheres(array)


def _checked_names(rois: Any) -> list[str]:
    if rois is None or isinstance(rois, str):
        return ["all" if rois is None else rois]
    names = list(rois) if isinstance(rois, Iterable) else [rois]
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise SelectionError(f"rois are names of ROIs or categories, as text; found {wrong[0]!r}.")
    return names


def _surface_files(place: Place, forms: tuple[str, ...]) -> _Files:
    folder = layout.roi_dir(place.subject)
    chosen: _Files = {}
    listed = [(layout.parse_roi_path(entry.path), entry) for entry in place.location.files(folder)]
    for form in reversed(forms):  # the first wins
        for parsed, entry in listed:
            if parsed is not None and parsed.form == form:
                chosen.setdefault((parsed.category, parsed.roi), {})[parsed.hemi] = entry
    if not chosen:
        example = layout.roi_path(place.subject, "face", "FFA1", forms[0], "L").rpartition("/")[2]
        raise DataNotDownloadedError(
            f"{place.subject} has no ROIs on the surface: expected files such as {example} in "
            f"{place.location.show(folder)}; download them."
        )
    return chosen


def _members(
    place: Place, files: _Files
) -> tuple[dict[str, int], dict[tuple[str, str], dict[str, npt.NDArray[np.intp]]]]:
    """Return the number of vertices of each hemisphere, and the vertices of each ROI in it."""
    sizes: dict[str, int] = {}
    members: dict[tuple[str, str], dict[str, npt.NDArray[np.intp]]] = {}
    for key, entries in files.items():
        of = members.setdefault(key, {})
        for hemi in HEMISPHERES:
            if hemi not in entries:
                of[hemi] = np.empty(0, np.intp)  # an ROI of the other side
            elif entries[hemi].path.endswith(".label"):
                of[hemi] = read_freesurfer_label(place.location, entries[hemi]).vertices.astype(np.intp)
            else:
                mask = read_gifti_mask(place.location, entries[hemi])
                if sizes.setdefault(hemi, len(mask)) != len(mask):
                    raise CorruptFileError(
                        f"{place.location.show(entries[hemi].path)} is of another surface: it has {len(mask)} "
                        f"vertices, the others have {sizes[hemi]}. Download it again."
                    )
                of[hemi] = np.flatnonzero(mask)
    if set(sizes) < set(HEMISPHERES):  # a label does not say how many vertices there are
        surfaces = native_surfaces(place, ["white"])["white"]
        sizes = {hemi: len(surfaces[hemi].coords) for hemi in HEMISPHERES} | sizes
    for (category, roi), of in members.items():
        for hemi, vertices in of.items():
            if len(vertices) and vertices.max() >= sizes[hemi]:
                path = place.location.show(files[category, roi][hemi].path)
                raise CorruptFileError(
                    f"{path} names vertex {vertices.max()}, and the surface has {sizes[hemi]}. Download it again."
                )
    return {hemi: sizes[hemi] for hemi in HEMISPHERES}, members
