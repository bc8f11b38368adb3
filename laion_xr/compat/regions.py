"""ROI queries as the published loader answers them: names, boolean masks on the voxel axis, surface files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from reprlib import repr as short
from typing import Any

import numpy as np
import numpy.typing as npt

from laion_xr.catalog import SubjectCatalog
from laion_xr.compat.arguments import listed
from laion_xr.compat.errors import ArgumentTypeError
from laion_xr.compat.files import Mask
from laion_xr.errors import DataNotDownloadedError, SelectionError, UnknownLabelError, closest
from laion_xr.masks import VoxelAxis, read_rois
from laion_xr.readers.surface import read_freesurfer_label, read_gifti_mask
from laion_xr.readers.volumes import read_masks_ids
from laion_xr.rois import ALIASES, RoiQuery, membership

FORMATS = ("all", "volume", "nii.gz", "gii", "func.gii", "label")
HEMIS = ("all", "L", "R")
_OPERATORS = frozenset("|&-()")

Query = str | Iterable[str]


def rois_by_category(catalog: SubjectCatalog) -> dict[str, list[str]]:
    """Return category -> ROIs, both sorted as Python sorts strings (capitals first)."""
    return {category: sorted(names) for category, names in sorted(catalog.categories.items())}


def queried(query: Any) -> list[str]:
    """Return a query as a list of names; raises `ArgumentTypeError` for anything but text and lists of it."""
    names = [query] if isinstance(query, str) else listed(query)
    if names is None or not all(isinstance(name, str) for name in names):
        raise ArgumentTypeError(
            f"ROIs are named: the name of an ROI or of a category, 'all', or a list of these; found {short(query)}. "
            "The voxels themselves are given by mask=."
        )
    return names


def resolve(catalog: SubjectCatalog, query: Query) -> list[str]:
    """Return the ROIs that a query names, each once, in the order of the query.

    Parameters
    ----------
    catalog
        What is there.
    query
        An ROI, a category, `"all"`, or a list that mixes them; `"V1"`, `"V2"`, `"V3"` and `"visual"` too.

    Raises
    ------
    UnknownLabelError
        A name that is none of these (a `ValueError`); the message lists all there are.
    ArgumentTypeError
        Not names.
    """
    categories = rois_by_category(catalog)
    every = sorted({roi for rois in categories.values() for roi in rois})
    found: list[str] = []
    for item in queried(query):
        if item == "all":
            found += every
        elif item in categories:
            found += categories[item]
        elif item in every:
            found.append(item)
        elif parts := _alias(item, every):
            found += parts
        else:
            near = closest(item, [*every, *categories])
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise UnknownLabelError(
                f"Unknown ROI or category: {item!r}.{hint} ROIs: {', '.join(every) or 'none'}. "
                f"Categories: {', '.join(categories) or 'none'}."
            )
    return list(dict.fromkeys(found))


def _alias(item: str, every: list[str]) -> list[str]:
    meaning = ALIASES.get(item)
    if meaning is None:
        return []
    return every if meaning == "all" else [roi for roi in meaning.split(" | ") if roi in every]


def roi_mask(catalog: SubjectCatalog, query: Query, axis: VoxelAxis) -> Mask:
    """Return the union of the ROIs of a query, `(voxel,)`: what lies outside the brain mask is left out.

    Set algebra (`"V1v | V1d"`) is understood too; raises as `resolve`.
    """
    items = queried(query)
    known = {*catalog.categories, *(roi for _, roi in catalog.rois), "all"}
    if any(_OPERATORS & set(item) and item not in known for item in items):
        members = membership(read_rois(catalog, axis.grid), axis.ids)
        texts, codes = np.unique(members.astype(str), return_inverse=True)
        return RoiQuery(texts.tolist(), catalog.categories).match(items)[codes]
    names = resolve(catalog, items)
    entries = [entry for (_, roi), entry in catalog.rois.items() if roi in names]
    found = np.zeros(len(axis.ids), dtype=bool)
    for ids in read_masks_ids(catalog.location, entries, axis.grid).values():
        found |= np.isin(axis.ids, ids, assume_unique=True)
    return found


def roi_data(
    catalog: SubjectCatalog, query: Query, form: str | None, hemi: str | None, axis: VoxelAxis | None
) -> dict[str, dict[str, Any]]:
    """Return the published nested dict of each ROI: `{"volume": ..., "gii": {"hemi-L": {...}, ...}}`.

    Parameters
    ----------
    catalog, query
        See `resolve`.
    form
        One of `FORMATS`; None for all.
    hemi
        One of `HEMIS`; None for both.
    axis
        The voxels of the masks of volumes; None where no volume is asked for.

    Raises
    ------
    SelectionError
        No such format or hemisphere.
    DataNotDownloadedError
        A file of an ROI is not there.
    """
    form, hemi = form or "all", hemi or "all"
    for name, value, known in (("format", form, FORMATS), ("hemi", hemi, HEMIS)):
        if value not in known:
            raise SelectionError(f"{name} must be one of {', '.join(known)}; found {value!r}.")
    found: dict[str, dict[str, Any]] = {}
    for roi in resolve(catalog, query):
        tree: dict[str, Any] = {}
        if axis is not None and wants_volume(form):
            tree["volume"] = roi_mask(catalog, [roi], axis)
        if form not in ("volume", "nii.gz"):
            sides = ("L", "R") if hemi == "all" else (hemi,)
            tree["gii"] = {f"hemi-{side}": _surface(catalog, roi, side, form) for side in sides}
        found[roi] = tree
    return found


def wants_volume(form: str | None) -> bool:
    """Whether a format has the mask of the volume."""
    return form in (None, "", "all", "volume", "nii.gz")


def _surface(catalog: SubjectCatalog, roi: str, hemi: str, form: str) -> Mapping[str, npt.NDArray[Any]]:
    files = {
        kind: entry for (_, name, side, kind), entry in catalog.roi_surfaces.items() if (name, side) == (roi, hemi)
    }
    found: dict[str, npt.NDArray[Any]] = {}
    for key, kind in (("func.gii", "gifti"), ("label", "label")):
        if form not in ("all", "gii", key):
            continue
        if kind not in files:
            raise DataNotDownloadedError(
                f"The {key} file of the ROI {roi} (hemisphere {hemi}) of {catalog.subject} is not there: download the "
                "surface files of the ROIs, or ask for format='volume'."
            )
        entry = files[kind]
        found[key] = (
            read_gifti_mask(catalog.location, entry)
            if kind == "gifti"
            else read_freesurfer_label(catalog.location, entry).vertices
        )
    return found
