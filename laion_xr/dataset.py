"""A subject's catalogue -> the labelled, lazy Dataset."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from laion_xr import layout, schema
from laion_xr._version import __version__
from laion_xr.catalog import SubjectCatalog, stimulus_files
from laion_xr.errors import DataNotDownloadedError, SelectionError, UnknownLabelError, did_you_mean
from laion_xr.indexes import index_labels
from laion_xr.labels import MISSING, warn_of_fraction
from laion_xr.lazy.array import ReadPlan, VoxelIds, planned_array
from laion_xr.lazy.roinames import roi_variable
from laion_xr.lazy.variable import LazyVariable, lazy_variable
from laion_xr.listing import fingerprint
from laion_xr.location import FileEntry, Location
from laion_xr.masks import VoxelAxis, read_rois, voxel_axis
from laion_xr.readers.base import IntArray, Reader
from laion_xr.readers.missing import MissingReader
from laion_xr.readers.nifti import NiftiReader
from laion_xr.rois import RoiQuery, membership
from laion_xr.sources import OpenedSession, open_sessions, usable_sessions
from laion_xr.stimuli import embedding_variable, read_metadata, requested_models, root_attrs
from laion_xr.trials import full_table
from laion_xr.voxels import grid_positions, world_positions


def subject_dataset(
    catalog: SubjectCatalog,
    *,
    sessions: str | int | Iterable[str | int] | None = None,
    mask_source: str = "anatomical",
    roi: str | Sequence[str] | None = None,
    nc_threshold: float | None = None,
    noise_ceiling: str = "12rep",
    stimuli: str | None = None,
    embeddings: str | Iterable[str] | None = None,
    source: str = "auto",
    store: Location | None = None,
    write_through: Callable[[SubjectCatalog, OpenedSession, VoxelAxis, Location], OpenedSession] | None = None,
    label_index: bool = True,
    drop_variables: Iterable[str] = (),
) -> xr.Dataset:
    """Return the Dataset of a subject; betas and maps are lazy. The arguments are those of `open_dataset`.

    `write_through` makes of a session that is not in the store one that goes there when it is read.
    """
    drop = set(drop_variables)
    location = catalog.location
    axis = voxel_axis(catalog, mask_source)
    stored = usable_sessions(catalog, store, axis, source, filled=write_through is not None)
    chosen = catalog.sessions_with_betas(sessions, stored)
    opened, tables = open_sessions(catalog, chosen, axis, source, stored)
    if write_through is not None and store is not None:
        opened = [o if o.files.session in stored else write_through(catalog, o, axis, store) for o in opened]
    stimulus = stimulus_files(location)
    table = full_table(list(tables.values()), read_metadata(location, stimulus))
    names = [o.files.session for o in opened]
    table = table[table["session"].isin(names)]
    categories = catalog.categories
    variables: dict[str, LazyVariable] = {}
    variables |= _trial_coordinates(table, location)
    unread = drop - {name for name, by in (("roi", roi), ("noise_ceiling", nc_threshold)) if by is not None}
    variables |= _voxel_coordinates(catalog, axis, noise_ceiling, unread)
    coordinates = list(variables)
    variables = _data_variables(catalog, opened, axis, drop) | variables
    for model in requested_models(embeddings, stimulus):
        values = table["stimulus"].to_numpy(dtype=object)
        variables[f"embedding_{model}"] = embedding_variable(location, stimulus, model, values, schema.TRIAL)
    ds = xr.Dataset({name: v for name, v in variables.items() if name not in drop})
    ds = ds.set_coords([name for name in coordinates if name in ds])
    dims = {schema.TRIAL: table["trial"].to_numpy(), schema.VOXEL: axis.ids}
    if any(schema.SES in v.dims for v in ds.variables.values()):
        dims[schema.SES] = np.array(names, dtype=object)
    # with the voxels, so that an array taken out of the Dataset still knows its grid, and where its surfaces are
    place: dict[str, Any] = {
        "grid_shape": [int(n) for n in axis.grid],
        "affine": [float(a) for a in axis.affine.ravel()],
    }
    place |= {schema.SUBJECT: catalog.subject} | root_attrs(location)
    attrs = {dim: schema.attrs(dim) | (place if dim == schema.VOXEL else {}) for dim in dims}
    ds = ds.assign_coords({dim: (dim, ids, attrs[dim]) for dim, ids in dims.items() if dim not in drop})
    ds.attrs = _attributes(catalog, axis, opened, categories)
    ds = _narrow(ds, table, axis, variables, categories, roi, nc_threshold, noise_ceiling, stimuli, catalog)
    return index_labels(ds) if label_index else ds


def _trial_coordinates(table: pd.DataFrame, location: Location) -> dict[str, LazyVariable]:
    found = {}
    more = {schema.STIMULUS: root_attrs(location)}  # with the names, whose files are there
    for column in table.columns:
        name = str(column)
        if name == schema.TRIAL:
            continue
        if name in schema.FIELDS and schema.FIELDS[name].dims != (schema.TRIAL,):
            name = f"table_{name}"  # a column of the table that is called as something else of the Dataset
        values = table[column].to_numpy()
        if name in schema.FIELDS:
            values = values.astype(schema.FIELDS[name].dtype)
        elif values.dtype.kind not in "iufb":
            values = table[column].fillna("").astype(str).to_numpy(dtype=object)
        found[name] = lazy_variable(schema.TRIAL, values, schema.attrs(name) | more.get(name, {}))
    return {name: found[name] for name in [*schema.TRIAL_ORDER, *(n for n in found if n not in schema.TRIAL_ORDER)]}


def _voxel_coordinates(
    catalog: SubjectCatalog, axis: VoxelAxis, noise_ceiling: str, unread: set[str]
) -> dict[str, LazyVariable]:
    columns: dict[str, npt.NDArray[np.generic]] = {}
    columns |= dict(zip("ijk", grid_positions(axis.ids, axis.grid), strict=True))
    columns |= dict(zip("xyz", world_positions(axis.ids, axis.grid, axis.affine), strict=True))
    if "roi" not in unread:
        columns["roi"] = membership(read_rois(catalog, axis.grid), axis.ids)
    entry = _ceiling_entry(catalog, noise_ceiling)
    if "noise_ceiling" in unread:
        pass
    elif entry is None:
        columns["noise_ceiling"] = np.full(len(axis.ids), np.nan, dtype=np.float32)
    else:
        columns["noise_ceiling"] = NiftiReader(catalog.location, entry, axis.grid, 1).read(slice(None), axis.ids)[0]
    # with the coordinate, so that an array taken out of the Dataset still knows the categories and the map
    more = {"roi": {"roi_categories": _as_text(catalog.categories)}, "noise_ceiling": {"map": noise_ceiling}}
    if entry is None:
        more["noise_ceiling"][MISSING] = layout.subject_path(catalog.subject, f"noise_ceiling_{noise_ceiling}")
    found: dict[str, LazyVariable] = {}
    for n in (n for n in schema.VOXEL_ORDER if n in columns):
        attrs = schema.attrs(n) | more.get(n, {})
        if n == "roi":
            found[n] = roi_variable(schema.VOXEL, columns[n], catalog.categories, attrs)
        else:
            found[n] = lazy_variable(schema.VOXEL, columns[n], attrs)
    return found


def _as_text(categories: Mapping[str, Sequence[str]]) -> str:
    # JSON: attributes of a file hold text and numbers
    return json.dumps({category: list(names) for category, names in categories.items()})


def _ceiling_entry(catalog: SubjectCatalog, noise_ceiling: str) -> FileEntry | None:
    known = {kind.removeprefix("noise_ceiling_"): kind for kind in layout.SUBJECT_MAPS if kind.startswith("noise")}
    if noise_ceiling in known:
        return catalog.maps.get(known[noise_ceiling])
    if layout.is_session(layout.session_name(noise_ceiling)) and (
        layout.session_name(noise_ceiling) in catalog.session_names
    ):
        files = catalog.session(noise_ceiling)
        if "noise_ceiling" not in files.files:
            path = layout.session_path(catalog.subject, files.session, "noise_ceiling")
            raise DataNotDownloadedError(
                f"The noise ceiling of {files.session} is not there: expected {catalog.location.show(path)}; "
                "download it, or choose another noise_ceiling=."
            )
        return files.files["noise_ceiling"]
    raise UnknownLabelError(did_you_mean("Noise ceiling", noise_ceiling, [*known, *catalog.session_names]))


def _data_variables(
    catalog: SubjectCatalog, opened: Sequence[OpenedSession], axis: VoxelAxis, drop: set[str]
) -> dict[str, LazyVariable]:
    voxels = VoxelIds(axis.ids)
    lengths = tuple(o.reader.shape[0] for o in opened)
    found = {}
    if "betas" not in drop:
        plan = ReadPlan(tuple(o.reader for o in opened), voxels)
        chunks = {schema.TRIAL: lengths, schema.VOXEL: len(axis.ids)}
        found["betas"] = _variable("betas", plan, {"preferred_chunks": chunks})
    for name in schema.SUBJECT_MAP_VARIABLES:
        if name in catalog.maps and name not in drop:
            reader = NiftiReader(catalog.location.uncached, catalog.maps[name], axis.grid, 1)
            plan = ReadPlan((reader,), voxels, np.zeros(1, dtype=np.intp), kept=(False, True), name=name)
            found[name] = _variable(name, plan)
    for name, kind in schema.SESSION_MAP_FILES.items():
        entries = [o.files.files.get(kind) for o in opened]
        if name not in drop and any(entries):
            readers = tuple(_map_reader(catalog.location.uncached, e, axis, schema.FIELDS[name].dtype) for e in entries)
            found[name] = _variable(name, ReadPlan(readers, voxels, name=name))
    return found


def _variable(name: str, plan: ReadPlan, encoding: Mapping[str, Any] | None = None) -> LazyVariable:
    return lazy_variable(schema.FIELDS[name].dims, planned_array(plan), schema.attrs(name), encoding)


def _map_reader(location: Location, entry: FileEntry | None, axis: VoxelAxis, dtype: str) -> Reader:
    if entry is None:
        return MissingReader(1, axis.grid, np.dtype(dtype))
    return NiftiReader(location, entry, axis.grid, 1, dtype)


def _attributes(
    catalog: SubjectCatalog,
    axis: VoxelAxis,
    opened: Sequence[OpenedSession],
    categories: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    return {
        "subject": catalog.subject,
        "space": "T1w",
        "mask_source": axis.mask_source,
        "grid_shape": [int(n) for n in axis.grid],
        "affine": [float(a) for a in axis.affine.ravel()],
        "roi_categories": _as_text(categories),
        "fingerprint": fingerprint(e for o in opened for e in o.files.files.values()),
        "laion_xr_version": __version__,
    }


def _narrow(
    ds: xr.Dataset,
    table: pd.DataFrame,
    axis: VoxelAxis,
    variables: Mapping[str, LazyVariable],
    categories: Mapping[str, Sequence[str]],
    roi: str | Sequence[str] | None,
    nc_threshold: float | None,
    noise_ceiling: str,
    stimuli: str | None,
    catalog: SubjectCatalog,
) -> xr.Dataset:
    picks: dict[str, IntArray] = {}
    voxels = np.ones(len(axis.ids), dtype=bool)
    if roi is not None:
        codes, names = pd.factorize(variables["roi"].values)
        voxels &= RoiQuery(names, categories).match(roi)[codes]
    if nc_threshold is not None:
        _check_number(nc_threshold)
        warn_of_fraction(nc_threshold)
        if _ceiling_entry(catalog, noise_ceiling) is None:
            path = layout.subject_path(catalog.subject, f"noise_ceiling_{noise_ceiling}")
            raise DataNotDownloadedError(
                f"nc_threshold needs the noise ceiling: expected {catalog.location.show(path)}; download it, or choose "
                "another noise_ceiling=."
            )
        voxels &= np.asarray(variables["noise_ceiling"].values >= nc_threshold)
    if not voxels.all():
        picks[schema.VOXEL] = np.flatnonzero(voxels)
    if stimuli is not None:
        if stimuli not in ("shared", "unique"):
            raise SelectionError(f"stimuli is 'shared', 'unique' or None, found {stimuli!r}.")
        picks[schema.TRIAL] = np.flatnonzero(table["unique_or_shared"].to_numpy() == stimuli)
    return ds.isel(picks) if picks else ds


def _check_number(nc_threshold: object) -> None:
    if not isinstance(nc_threshold, Real):
        raise SelectionError(f"nc_threshold is a number in percent, found {nc_threshold!r}.")
