"""The label indexes of a Dataset: made when it is opened, and again where they were lost."""

from __future__ import annotations

import json
import zlib
from typing import TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from laion_xr import schema
from laion_xr.lazy.index import LabelIndex
from laion_xr.readers.base import IntArray

INDEXED = {schema.TRIAL: schema.TRIAL_LABELS, schema.VOXEL: schema.VOXEL_LABELS}

XarrayT = TypeVar("XarrayT", xr.Dataset, xr.DataArray)


def index_labels(ds: XarrayT) -> XarrayT:
    """Return the Dataset with its label indexes, as `open_dataset` and `shared` make them.

    Indexes are not stored: after `to_zarr`, `to_netcdf` or `drop_indexes` this restores them. Labels that are not
    there are left out.
    """
    categories, groups, subject = roi_categories(ds), list(INDEXED.items()), subject_of(ds)
    if _is_of_subjects(ds):
        # the ids, which subjects share, in an index of their own: xarray assigns no variable beside an index over a
        # dimension's own coordinate and others
        groups[-1:] = [(schema.VOXEL, schema.SHARED_VOXEL_LABELS), (schema.VOXEL, (schema.VOXEL,))]
    for dim, names in groups:
        known: dict[str, object] = {}
        if schema.SUBJECT in names:
            known = {schema.SUBJECT: np.atleast_1d(ds.attrs.get("subjects", []))}
        present = [n for n in names if n in ds.coords and ds[n].dims == (dim,)]
        if not present:
            continue
        already = {n for n in present if n in ds.xindexes}
        if already:
            ds = ds.drop_indexes(list({n for a in already for n in ds.xindexes.get_all_coords(a)}))
        ids = None
        if dim in ds.coords:
            ids = voxel_keys(ds) if dim == schema.VOXEL else ds[dim].values
        ds = ds.set_xindex(present, LabelIndex, ids=ids, categories=categories, known=known, subject=subject)
    return ds


def voxel_keys(ds: xr.Dataset | xr.DataArray) -> IntArray:
    """Return what tells voxels apart, int (voxel,): their ids; of several subjects also whose they are."""
    ids: IntArray = np.asarray(ds.coords[schema.VOXEL].values)
    if not _is_of_subjects(ds):
        return ids
    codes, names = pd.factorize(ds.coords[schema.SUBJECT].values)
    # of the name, not its position: subjects keep their keys beside others
    numbers = np.array([zlib.crc32(str(name).encode()) >> 1 for name in names], dtype=np.int64)
    return (numbers[codes] << 32) + ids


def subject_of(ds: xr.Dataset | xr.DataArray) -> str:
    """Return whose trials and voxels these are, `""` of several or where nobody knows."""
    if _is_of_subjects(ds):
        return ""
    known = ds.attrs.get(schema.SUBJECT)
    if not known and schema.VOXEL in ds.coords:
        known = ds[schema.VOXEL].attrs.get(schema.SUBJECT)
    return str(known or "")


def _is_of_subjects(ds: xr.Dataset | xr.DataArray) -> bool:
    return schema.SUBJECT in ds.coords and ds.coords[schema.SUBJECT].dims == (schema.VOXEL,)


def roi_categories(ds: xr.Dataset | xr.DataArray) -> dict[str, list[str]]:
    """Return ROI category -> names: as the attributes of the object or of its ROI labels keep them, or the index."""
    roi = ds.coords.get("roi")
    text = ds.attrs.get("roi_categories") or (roi.attrs.get("roi_categories") if roi is not None else None)
    if text:
        return {str(category): list(rois) for category, rois in json.loads(text).items()}
    for index in ds.xindexes.values():
        if isinstance(index, LabelIndex) and index.context.categories:
            return {category: list(rois) for category, rois in index.context.categories.items()}
    return {}
