"""From a subject's catalogue to what is read: trial tables, and a reader a session.

Headers and tables are read here, in a batch each; masks and ROIs in `laion_xr.masks`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from laion_xr import layout
from laion_xr.catalog import SessionFiles, SubjectCatalog
from laion_xr.errors import (
    DataNotDownloadedError,
    FileAccessError,
    FileFormatError,
    IncompleteDataWarning,
    LaionXRError,
    SelectionError,
    StaleStoreWarning,
    StoreError,
    did_you_mean,
)
from laion_xr.location import FileEntry, Location
from laion_xr.masks import MASKS, Grid, VoxelAxis
from laion_xr.readers.base import Reader
from laion_xr.readers.hdf5 import Hdf5Reader
from laion_xr.readers.nifti import NiftiReader
from laion_xr.readers.nifti_header import NiftiHeader, read_header, read_headers
from laion_xr.stored import StoredSession, stored_sessions, warn_no_store
from laion_xr.trials import check_count, offsets, parse_trials, unknown_trials, warn_without_table

SOURCES = ("auto", "store", "nifti", "hdf5")


@dataclass(frozen=True, eq=False)
class OpenedSession:
    """A session that can be read: its reader, and its trials."""

    files: SessionFiles
    reader: Reader
    table: pd.DataFrame


def read_tables(
    catalog: SubjectCatalog, refused: MutableMapping[str, LaionXRError] | None = None
) -> dict[str, pd.DataFrame]:
    """Return the trial table of each session that has one, in one batch.

    `refused` takes up the errors of those that may not be read, by path, instead of raising the first.
    """
    entries = {s.session: s.files["trials"] for s in catalog.sessions if "trials" in s.files}
    location = catalog.location
    data = location.read_many(entries.values(), refused=refused)
    return {
        session: parse_trials(data[entry.path], session, location.show(entry.path))
        for session, entry in entries.items()
        if entry.path in data
    }


def open_sessions(
    catalog: SubjectCatalog,
    chosen: Sequence[SessionFiles],
    axis: VoxelAxis,
    source: str,
    stored: Mapping[str, StoredSession] = MappingProxyType({}),
) -> tuple[list[OpenedSession], dict[str, pd.DataFrame]]:
    """Return the chosen sessions with a reader each, and the tables of all sessions that have trials, in order.

    Sessions of `stored` (what `usable_sessions` found) are read from there.

    Raises
    ------
    SelectionError
        An unknown `source`.
    DataNotDownloadedError
        A chosen session lacks the file that `source` asks for.
    FileFormatError
        A file of another grid than the mask.
    TrialTableError
        A table that has not one row a volume.
    """
    if source not in SOURCES:
        raise SelectionError(did_you_mean("source", source, SOURCES))
    refused: dict[str, LaionXRError] = {}
    location, tables = catalog.location, read_tables(catalog, refused)
    entries = {
        s.session: s.files["betas"]
        for s in chosen
        if "betas" in s.files and source != "hdf5" and s.session not in stored
    }
    # sessions without a table, chosen or not, count too: trial numbers do not depend on what was chosen
    entries |= {s.session: s.files["betas"] for s in catalog.sessions if s.session not in tables and "betas" in s.files}
    headers = read_headers(location, entries.values(), refused)
    opened: dict[str, OpenedSession] = {}
    left_out: dict[str, LaionXRError] = {}
    for files in chosen:
        entry = entries.get(files.session)
        if files.session in stored:
            reader = stored[files.session].reader(axis.grid)
            opened[files.session] = _labelled(catalog, files, reader, reader.path, tables.get(files.session))
            continue
        if source != "hdf5" and entry is not None and entry.path in refused:
            left_out[files.session] = refused[entry.path]
            continue
        try:
            opened[files.session] = _open_session(catalog, files, axis, source, headers, tables.get(files.session))
        except FileAccessError as error:  # of a model file, which is opened one by one
            left_out[files.session] = error
    if not opened:
        raise next(iter(left_out.values()))
    _warn_left_out(left_out)
    known = tables | {name: session.table for name, session in opened.items()}
    return list(opened.values()), _all_trials(catalog, known, headers, axis)


def _all_trials(
    catalog: SubjectCatalog, known: Mapping[str, pd.DataFrame], headers: Mapping[str, NiftiHeader], axis: VoxelAxis
) -> dict[str, pd.DataFrame]:
    """Return the tables of all sessions that have trials, in order; without labels where there is no table."""
    found: dict[str, pd.DataFrame] = {}
    for files in catalog.sessions:
        if files.session in known:
            found[files.session] = known[files.session]
        elif (n_trials := _n_trials(catalog, files, axis, headers)) is not None:
            found[files.session] = unknown_trials(files.session, n_trials)
    return found


def _n_trials(
    catalog: SubjectCatalog, files: SessionFiles, axis: VoxelAxis, headers: Mapping[str, NiftiHeader]
) -> int | None:
    """Return the number of trials of a session that has no table and was not chosen, None where it has no betas."""
    if "betas" in files.files:
        header = headers.get(files.files["betas"].path)
        return None if header is None else header.n_volumes
    if "model" in files.files:
        return Hdf5Reader(catalog.location, files.files["model"], axis.grid, None).shape[0]
    return None


def trial_offsets(catalog: SubjectCatalog, axis: VoxelAxis) -> dict[str, int]:
    """Return the position of each session's first trial in the subject's full trial table, sessions in order.

    From the trial tables; from the headers of sessions that have none. No betas are read.
    """
    tables = read_tables(catalog)
    entries = [s.files["betas"] for s in catalog.sessions if s.session not in tables and "betas" in s.files]
    headers = read_headers(catalog.location, entries, {})
    return offsets(_all_trials(catalog, tables, headers, axis))


def usable_sessions(
    catalog: SubjectCatalog, store: Location | None, axis: VoxelAxis, source: str, filled: bool = False
) -> dict[str, StoredSession]:
    """Return the sessions that may be read from a store: complete, of this mask, and made from the files as they are.

    Where the betas themselves are not there any more, the store stands for them. Where there is no store, that is said,
    as its name may be mistyped; not where reading fills it (`filled`), which makes it.

    Raises
    ------
    StoreError
        `source="store"` and there is no store.
    """
    if source in ("nifti", "hdf5"):
        return {}
    if store is None:
        if source == "store":
            raise StoreError(
                "source='store' needs a store: pass store=..., or set the environment variable LAION_XR_STORE; "
                "laion_xr.ingest makes one."
            )
        return {}
    usable: dict[str, StoredSession] = {}
    stale = []
    there = stored_sessions(store, catalog.subject)
    if not there and not filled and source != "store":
        warn_no_store(store)
    for name, session in there.items():
        if name not in catalog.session_names or not session.has_voxels(axis.ids):
            continue
        if session.is_current(catalog.location, catalog.session(name).files):
            usable[name] = session
        else:
            stale.append(name)
    if stale:
        warnings.warn(
            f"{store.url} holds {catalog.subject} {', '.join(stale)} made from other betas than those in "
            f"{catalog.location.url} now: not used; run 'laion-xr ingest' again.",
            StaleStoreWarning,
            stacklevel=2,
        )
    return usable


def session_reader(catalog: SubjectCatalog, files: SessionFiles, axis: VoxelAxis, source: str) -> Reader:
    """Return the reader of one session's own files (`open_sessions` reads the headers of many in one batch)."""
    kind = source_kind(files, source)
    entry = files.files[kind]
    headers = {entry.path: read_header(catalog.location, entry)} if kind == "betas" else {}
    return _file_reader(catalog, entry, kind, axis, headers)


def source_kind(files: SessionFiles, source: str) -> str:
    """Return which file of a session `source` reads: `"betas"` (NIfTI) or `"model"` (HDF5)."""
    return {"nifti": "betas", "hdf5": "model"}.get(source, "betas" if "betas" in files.files else "model")


def _file_reader(
    catalog: SubjectCatalog, entry: FileEntry, kind: str, axis: VoxelAxis, headers: Mapping[str, NiftiHeader]
) -> Reader:
    if kind == "model":
        return _hdf5_reader(catalog, entry, axis)
    header = headers[entry.path]
    _check_grid(catalog.location, entry, header.grid, axis)
    return NiftiReader(catalog.location.uncached, entry, axis.grid, header.n_volumes)


def _open_session(
    catalog: SubjectCatalog,
    files: SessionFiles,
    axis: VoxelAxis,
    source: str,
    headers: Mapping[str, NiftiHeader],
    table: pd.DataFrame | None,
) -> OpenedSession:
    location, session = catalog.location, files.session
    if source == "store":
        raise StoreError(
            f"{catalog.subject} {session} is not in the store, or not as the files and the mask are now: ingest it, or "
            "open with source='auto'."
        )
    kind = source_kind(files, source)
    if kind not in files.files:
        path = location.show(layout.session_path(catalog.subject, session, kind))
        raise DataNotDownloadedError(
            f"{catalog.subject} {session} has no file for source={source!r}: expected {path}; download it, or open "
            "with source='auto'."
        )
    entry = files.files[kind]
    reader = _file_reader(catalog, entry, kind, axis, headers)
    return _labelled(catalog, files, reader, location.show(entry.path), table)


def _labelled(
    catalog: SubjectCatalog, files: SessionFiles, reader: Reader, betas: str, table: pd.DataFrame | None
) -> OpenedSession:
    location, session = catalog.location, files.session
    if table is None:
        path = location.show(layout.session_path(catalog.subject, session, "trials"))
        warn_without_table(catalog.subject, session, path)
        return OpenedSession(files, reader, unknown_trials(session, reader.shape[0]))
    check_count(len(table), reader.shape[0], location.show(files.files["trials"].path), betas)
    return OpenedSession(files, reader, table)


def _check_grid(location: Location, entry: FileEntry, grid: Grid, axis: VoxelAxis) -> None:
    if grid != axis.grid:
        raise FileFormatError(
            f"{location.show(entry.path)} has a grid of {grid}, and the {axis.mask_source} mask one of {axis.grid}: "
            "expected the same; one of the two is of another resolution or dataset, download both again."
        )


def _hdf5_reader(catalog: SubjectCatalog, entry: FileEntry, axis: VoxelAxis) -> Hdf5Reader:
    masks = {name: catalog.maps.get(kind) for name, kind in MASKS.items()}
    n_trials = Hdf5Reader(catalog.location, entry, axis.grid, None).shape[0]
    return Hdf5Reader(catalog.location.uncached, entry, axis.grid, n_trials, masks["anatomical"], masks["rsquare"])


def _warn_left_out(left_out: Mapping[str, LaionXRError]) -> None:
    if not left_out:
        return
    verb = "is" if len(left_out) == 1 else "are"
    warnings.warn(
        f"{', '.join(left_out)} {verb} left out: {next(iter(left_out.values()))} Held-out sessions of the published "
        "dataset answer so.",
        IncompleteDataWarning,
        stacklevel=2,
    )
