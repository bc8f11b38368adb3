"""What is there under a root, piece by piece: what cannot be read is a problem in the list, not an error.

Opening a subject needs its mask and its betas; this looks at a root where any of them may be missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from laion_xr import layout
from laion_xr.catalog import Catalog, SessionFiles, SubjectCatalog, stimulus_files
from laion_xr.errors import LaionXRError, NotALaionDatasetError
from laion_xr.inventory.reports import FileReport, RoiReport, RootReport, SessionReport, StimuliReport, SubjectReport
from laion_xr.location import FileEntry, Location
from laion_xr.masks import VoxelAxis, read_rois, voxel_axis
from laion_xr.readers.nifti import NiftiReader
from laion_xr.readers.nifti_header import read_headers
from laion_xr.sources import read_tables
from laion_xr.stimuli import read_metadata
from laion_xr.trials import check_count, stimulus_columns

DESCRIPTION = "dataset_description.json"
CEILINGS = ("12rep", "Allrep", "4rep")  # the first that is there describes the ROIs
T = TypeVar("T")
Item = TypeVar("Item")


def root_report(location: Location, subject: str | int | None = None, rois: bool = True) -> RootReport:
    """Look at a root.

    Parameters
    ----------
    location
        The root.
    subject
        Report this one only.
    rois
        Read every ROI's mask, to count its voxels.

    Raises
    ------
    NotALaionDatasetError
        There are neither subjects nor stimuli.
    SubjectNotFoundError
        The subject is not here.
    """
    problems: list[str] = []
    stimulus = stimulus_files(location)
    metadata = _try(problems, lambda: read_metadata(location, stimulus))
    stimuli = _stimuli(stimulus, metadata)
    try:
        catalog = Catalog.scan(location)
    except NotALaionDatasetError:
        if subject is not None or not any(file.size is not None for file in stimuli.files):
            raise
        catalog = Catalog(location, ())
        problems.append(f"There is no subject in {location.show(layout.BETAS_DIR)}: only stimuli are here.")
    names = catalog.subjects if subject is None else (catalog.subject_name(subject),)
    found = [_subject(catalog.subject(name), metadata, rois) for name in names]
    simulated, complete = _simulated(location)
    if not complete:
        problems.append("The simulation that wrote this was interrupted: run it again with overwrite=True.")
    return RootReport(location.url, simulated, found, stimuli, problems)


def _subject(catalog: SubjectCatalog, metadata: pd.DataFrame | None, rois: bool) -> SubjectReport:
    problems: list[str] = []
    location = catalog.location
    axis = None
    # without any mask there is nothing to say that `missing` does not say
    if "brain_mask" in catalog.maps or "r2_mean" in catalog.maps:
        source = "anatomical" if "brain_mask" in catalog.maps else "rsquare"
        axis = _try(problems, lambda: voxel_axis(catalog, source))
    sessions = _sessions(catalog, metadata, problems)
    ceiling = next((name for name in CEILINGS if f"noise_ceiling_{name}" in catalog.maps), None)
    regions = [RoiReport(roi, category, None, None) for category, roi in _roi_names(catalog)]
    if axis is not None and rois:
        regions = _rois(catalog, axis, ceiling, problems)
    kinds = ("brain_mask", *layout.SUBJECT_MAPS)
    paths = {kind: layout.subject_path(catalog.subject, kind) for kind in layout.SUBJECT_MAPS}
    paths["brain_mask"] = layout.brain_mask_path(catalog.subject)
    known = [s.trials for s in sessions if s.trials is not None]
    return SubjectReport(
        subject=catalog.subject,
        size=sum(entry.size for entry in catalog.files),
        files=len(catalog.files),
        trials=sum(known) if known else None,
        voxels=None if axis is None else len(axis.ids),
        grid=None if axis is None else [int(n) for n in axis.grid],
        mask_source=None if axis is None else axis.mask_source,
        noise_ceiling=ceiling,
        sessions=sessions,
        absent_sessions=_gaps(catalog),
        maps=[_file(location, kind, paths[kind], catalog.maps.get(kind)) for kind in kinds],
        rois=regions,
        missing=list(catalog.missing),
        problems=problems,
    )


def _sessions(catalog: SubjectCatalog, metadata: pd.DataFrame | None, problems: list[str]) -> list[SessionReport]:
    location = catalog.location
    entries = {s.session: s.files["betas"] for s in catalog.sessions if "betas" in s.files}
    tables = _each(problems, catalog.sessions, lambda some: read_tables(replace(catalog, sessions=tuple(some))))
    headers = _each(problems, list(entries.values()), lambda some: read_headers(location, some))
    found = []
    for files in catalog.sessions:
        table, entry = tables.get(files.session), entries.get(files.session)
        volumes = headers[entry.path].n_volumes if entry is not None and entry.path in headers else None
        if table is not None and volumes is not None and entry is not None:
            where = location.show(files.files["trials"].path)
            _try(problems, partial(check_count, len(table), volumes, where, location.show(entry.path)))
        found.append(_session(files, table, volumes, metadata))
    return found


def _session(
    files: SessionFiles, table: pd.DataFrame | None, volumes: int | None, metadata: pd.DataFrame | None
) -> SessionReport:
    runs = stimuli = shared = None
    if table is not None:
        names = table["stimulus"].to_numpy(dtype=object)
        runs, stimuli = int(table["run"].nunique()), int(table["stimulus"].nunique())
        shared = int((stimulus_columns(names, metadata)["unique_or_shared"] == "shared").sum())
    return SessionReport(
        session=files.session,
        trials=volumes if table is None else len(table),
        runs=runs,
        stimuli=stimuli,
        shared_trials=shared,
        size=sum(entry.size for entry in files.files.values()),
        present=list(files.files),
        missing=files.missing,
    )


def _rois(catalog: SubjectCatalog, axis: VoxelAxis, ceiling: str | None, problems: list[str]) -> list[RoiReport]:
    location = catalog.location
    values: npt.NDArray[np.generic] | None = None
    if ceiling is not None:
        entry = catalog.maps[f"noise_ceiling_{ceiling}"]
        values = _try(problems, lambda: NiftiReader(location, entry, axis.grid, 1).read(slice(None), axis.ids)[0])
    volumes = list(catalog.rois.items())
    ids = _each(problems, volumes, lambda some: read_rois(replace(catalog, rois=dict(some)), axis.grid))
    found = []
    for category, roi in _roi_names(catalog):
        if roi not in ids:
            found.append(RoiReport(roi, category, None, None))
            continue
        inside = np.isin(axis.ids, ids[roi], assume_unique=True)
        here = np.empty(0) if values is None else values[inside].astype(float)
        here = here[~np.isnan(here)]
        median = round(float(np.median(here)), 2) if len(here) else None
        found.append(RoiReport(roi, category, int(inside.sum()), median))
    return found


def _roi_names(catalog: SubjectCatalog) -> list[tuple[str, str]]:
    """Return category and name of each ROI, in the order in which a Dataset lists them."""
    return [(category, roi) for category, rois in catalog.categories.items() for roi in rois]


def _stimuli(files: Mapping[str, FileEntry], metadata: pd.DataFrame | None) -> StimuliReport:
    paths = {kind: layout.stimulus_path(kind) for kind in layout.STIMULUS_FILES}
    models = [model for model in layout.EMBEDDING_MODELS if layout.embedding_path(model) in files]
    models += sorted(m for path in files if (m := layout.embedding_model(path)) and m not in layout.EMBEDDING_MODELS)
    for model in dict.fromkeys([*layout.EMBEDDING_MODELS, *models]):
        paths[f"embedding_{model}"] = layout.embedding_path(model)
    reports = [FileReport(k, path, files[path].size if path in files else None) for k, path in paths.items()]
    images = None if metadata is None else len(metadata)
    return StimuliReport(images, models, sum(entry.size for entry in files.values()), reports)


def _file(location: Location, kind: str, path: str, entry: FileEntry | None) -> FileReport:
    return FileReport(kind, path if entry is None else entry.path, None if entry is None else entry.size)


def _gaps(catalog: SubjectCatalog) -> list[str]:
    prefix = layout.subject_dir(catalog.subject) + "/"
    names = [path.removeprefix(prefix).partition("/")[0] for path in catalog.missing if path.startswith(prefix)]
    return [name for name in dict.fromkeys(names) if layout.is_session(name) and name not in catalog.session_names]


def _simulated(location: Location) -> tuple[bool, bool]:
    """Return whether the simulator wrote this, and whether it came to its end."""
    try:
        tools = json.loads(location.read_bytes(DESCRIPTION)).get("GeneratedBy", [])
        own = next((tool for tool in tools if tool.get("Name") == "laion_xr.simulate"), None)
    except (LaionXRError, OSError, ValueError, AttributeError):
        return False, True
    return own is not None, own is None or bool(own.get("Complete", True))


def _try(problems: list[str], function: Callable[[], T]) -> T | None:
    try:
        return function()
    except LaionXRError as error:
        problems.append(str(error))
        return None


def _each(
    problems: list[str], items: Sequence[Item], function: Callable[[Sequence[Item]], dict[str, T]]
) -> dict[str, T]:
    """Apply a function to all items in one batch; where that fails one by one, to know which is the problem."""
    try:
        return function(items)
    except LaionXRError:
        found: dict[str, T] = {}
        for item in items:
            found |= _try(problems, partial(function, [item])) or {}
        return found
