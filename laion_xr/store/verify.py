"""Checking a store: by its checksums, or value by value against the source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from laion_xr import layout
from laion_xr.catalog import Catalog
from laion_xr.dataset import subject_dataset
from laion_xr.errors import LaionXRError, StoreError
from laion_xr.location import Location
from laion_xr.masks import voxel_axis
from laion_xr.readers.stored import METADATA, VOXEL
from laion_xr.readers.zarrarrays import open_group
from laion_xr.sources import session_reader, source_kind
from laion_xr.store.checksum import crc32, differing_table, differing_trials, digest
from laion_xr.store.ingest import ingest
from laion_xr.store.pipeline import source_blocks
from laion_xr.store.precision import rounded
from laion_xr.store.survey import plan_ingest
from laion_xr.stored import StoredSession, session_records, stored_sessions

OK, DAMAGED, CHANGED, UNCHECKED, REPAIRED = "ok", "damaged", "changed", "unchecked", "repaired"
# Kind of file -> the source that reads it
SOURCE_OF = {"betas": "nifti", "model": "hdf5"}


def verify(
    store: Any,
    root: Any = None,
    repair: bool = False,
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    store_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Check every session of a store.

    Parameters
    ----------
    store
        The store.
    root
        The dataset: then values are compared with the source, bit for bit, maps and coordinates included. None:
        checksums only.
    repair
        Ingest again what is not right; needs `root`. What cannot be repaired keeps its status, and says why.
    subjects
        Which; None for all.
    storage_options, store_options
        Options of the fsspec file systems of root and store.

    Returns
    -------
    pd.DataFrame
        A row a session: subject, session, status (`"ok"`, `"damaged"`, `"changed"`: the source is another
        now, `"unchecked"`: the source cannot be read, or is not there any more, `"repaired"`), problem.

    Raises
    ------
    StoreError
        There is no session in the store, or `repair` without `root`.
    """
    if repair and root is None:
        raise StoreError("Repairing needs the source: give root, the dataset that the store was made from.")
    target = Location.of(store, store_options)
    source = None if root is None else Location.of(root, storage_options)
    wanted = [n for n in target.folders("") if layout.is_subject(n)]
    if subjects is not None:
        wanted = [layout.subject_name(n) for n in ([subjects] if isinstance(subjects, (str, int)) else subjects)]
    rows = []
    for subject in wanted:
        there = stored_sessions(target, subject)
        for name in session_records(target, subject):
            status, problem = check_session(target, subject, name, there.get(name), source)
            if repair and source is not None and status != OK:
                status, problem = _repaired(source, target, subject, name, there, status, problem)
            rows.append({"subject": subject, "session": name, "status": status, "problem": problem})
    if not rows:
        raise StoreError(
            f"{target.url} holds no complete session: expected groups such as sub-01/ses-01; ingest first."
        )
    return pd.DataFrame(rows)


def check_session(
    store: Location, subject: str, name: str, session: StoredSession | None, source: Location | None
) -> tuple[str, str]:
    """Return the status of a session of a store, and what is wrong with it."""
    if session is None:
        return DAMAGED, f"{METADATA} holds no record of a complete session: it is damaged, or an ingest was killed"
    problem = _check_sums(session)
    if problem:
        now = stored_sessions(store, subject).get(name)
        if now is None or now.record == session.record:
            return DAMAGED, problem
        # written anew by an ingest while it was read
        return check_session(store, subject, name, now, source)
    return (OK, "") if source is None else _check_values(session, source, subject, name)


def _repaired(
    source: Location,
    target: Location,
    subject: str,
    name: str,
    there: Mapping[str, StoredSession],
    status: str,
    problem: str,
) -> tuple[str, str]:
    """Ingest a session anew as it, or another of its subject, was ingested."""
    like = there.get(name) or next(iter(there.values()), None)
    record = {} if like is None else like.record
    options: dict[str, Any] = {"storage_options": source.storage_options, "store_options": target.storage_options}
    try:
        plan = plan_ingest(
            source.url,
            target.url,
            subjects=subject,
            sessions=name,
            mask_source=record.get("mask_source", "anatomical"),
            precision=record.get("precision"),
            **options,
        )
        for todo in plan.sessions:
            todo.action = "replace"
        if "chunks" in record:
            plan.chunks, plan.codec = (record["chunks"][0], record["chunks"][1]), dict(record["codec"])
        ingest(source.url, target.url, plan=plan, progress=False, **options)
    except (LaionXRError, OSError) as error:
        return status, f"{problem}; not repaired: {error}"
    return REPAIRED, problem


def _check_sums(session: StoredSession) -> str:
    record = session.record
    try:
        if digest(record["checksums"]) != record["checksum"]:
            return f"the record in {METADATA} fails its checksum"
        group = open_group(session.location, session.path)
        described = group.metadata.consolidated_metadata
        # each array has its metadata twice: beside its chunks, as some readers take it, and gathered in the group's
        own = open_group(session.location, session.path, use_consolidated=False)
        for name in record["checksums"]:
            if described is None or described.metadata[name].to_dict() != own[name].metadata.to_dict():
                return f"{name} has other metadata than those that {METADATA} of its group gathers"
        table = differing_table(group, record["checksums"])
        if table is not None:
            return f"{table} fails its checksum"
        trials = differing_trials(group, record["checksums"], record["n_trials"], record["block"])
        return "" if trials is None else f"betas of {trials} fail their checksum"
    # what a damaged file makes a codec raise is anyone's guess
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _check_values(session: StoredSession, source: Location, subject: str, name: str) -> tuple[str, str]:
    record = session.record
    try:
        catalog = Catalog.scan(source).subject(subject)
        files = catalog.session(name)
        if not files.has_betas:
            return UNCHECKED, "its source is not there any more"
        if not session.is_current(catalog.location, files.files):
            return CHANGED, f"the source {record['source']['path']} changed since"
        ds = subject_dataset(catalog, sessions=[name], mask_source=record["mask_source"], label_index=False)
        if not session.has_voxels(ds[VOXEL].values):
            return CHANGED, f"the voxels of the {record['mask_source']} mask are others in the source now"
        group = open_group(session.location, session.path)
        voxels = np.asarray(group[VOXEL][...])  # type: ignore[index]
        table = _other_table(ds.drop_vars("betas").sel({VOXEL: voxels}), record["checksums"])
        if table is not None:
            return CHANGED, f"{table} is another in the source now: sessions, ROIs or maps were added or changed"
        kinds = {entry.path: kind for kind, entry in files.files.items()}
        # where the file that it was made from is gone, the model file has the same betas
        kind = SOURCE_OF[kinds.get(record["source"]["path"], source_kind(files, "auto"))]
        reader = session_reader(catalog, files, voxel_axis(catalog, record["mask_source"]), kind)
        for start, block in source_blocks(reader, voxels, record["block"]):
            if record.get("precision") is not None:
                block = rounded(block, record["precision"])
            stored = np.asarray(group["betas"][start : start + len(block)])  # type: ignore[index]
            if not np.array_equal(stored.view(np.uint32), block.view(np.uint32)):
                return DAMAGED, f"betas of trials {start} to {start + len(block) - 1} differ from the source"
    except (LaionXRError, OSError) as error:
        return UNCHECKED, str(error)
    return OK, ""


def _other_table(tables: xr.Dataset, checksums: Mapping[str, Any]) -> str | None:
    """Return the first coordinate or map that the source has otherwise than the store."""
    for name, variable in tables.variables.items():
        # what only one of them has is no difference: another version, a map that was deleted
        if str(name) in checksums and crc32(np.asarray(variable.values)) != checksums[str(name)]:
            return str(name)
    return None
