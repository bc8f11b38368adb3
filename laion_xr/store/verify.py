"""Checking a store: by its checksums, or value by value against the source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from laion_xr import layout
from laion_xr.catalog import Catalog
from laion_xr.errors import LaionXRError, StoreError
from laion_xr.location import Location
from laion_xr.readers.stored import open_group
from laion_xr.sources import session_reader, voxel_axis
from laion_xr.store.checksum import crc32
from laion_xr.store.ingest import ingest
from laion_xr.store.plan import plan_ingest
from laion_xr.store.write import rounded, source_blocks
from laion_xr.stored import StoredSession, stored_sessions


def verify(
    store: Any,
    root: Any = None,
    repair: bool = False,
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    store_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Check every complete session of a store.

    Parameters
    ----------
    store
        The store.
    root
        The dataset: then values are compared with the source, bit for bit. None: checksums only.
    repair
        Ingest again what is not right; needs `root`.
    subjects
        Which; None for all.
    storage_options, store_options
        Options of the fsspec file systems of root and store.

    Returns
    -------
    pd.DataFrame
        A row a session: subject, session, status (`"ok"`, `"damaged"`, `"changed"`: the source is another
        now, `"unchecked"`: the source cannot be read, `"repaired"`), problem.

    Raises
    ------
    StoreError
        There is no session in the store, or `repair` without `root`.
    """
    if repair and root is None:
        raise StoreError("Repairing needs the source: give root, the dataset that the store was made from.")
    target = Location.of(store, store_options)
    names = [subjects] if isinstance(subjects, (str, int)) else subjects
    wanted = [n for n in target.folders("") if layout.is_subject(n)]
    if names is not None:
        wanted = [layout.subject_name(n) for n in names]
    rows = []
    for subject in wanted:
        for name, session in stored_sessions(target, subject).items():
            status, problem = check_session(session, root, storage_options, subject, name)
            if status != "ok" and repair:
                ingest_again(root, store, subject, name, storage_options, store_options, session)
                status = "repaired"
            rows.append({"subject": subject, "session": name, "status": status, "problem": problem})
    if not rows:
        raise StoreError(
            f"{target.url} holds no complete session: expected groups such as sub-01/ses-01; ingest first."
        )
    return pd.DataFrame(rows)


def check_session(
    session: StoredSession, root: Any, storage_options: Mapping[str, Any] | None, subject: str, name: str
) -> tuple[str, str]:
    """Return the status of a stored session, and what is wrong with it."""
    problem = _check_sums(session)
    if problem:
        return "damaged", problem
    return ("ok", "") if root is None else _check_values(session, root, storage_options, subject, name)


def ingest_again(
    root: Any,
    store: Any,
    subject: str,
    name: str,
    storage_options: Mapping[str, Any] | None,
    store_options: Mapping[str, Any] | None,
    session: StoredSession,
) -> None:
    """Write one session anew, as it was written before."""
    from_plan = _replacement(root, store, subject, name, storage_options, store_options, session)
    ingest(root, store, plan=from_plan, storage_options=storage_options, store_options=store_options, progress=False)


def _replacement(
    root: Any,
    store: Any,
    subject: str,
    name: str,
    storage_options: Mapping[str, Any] | None,
    store_options: Mapping[str, Any] | None,
    session: StoredSession,
) -> Any:
    plan = plan_ingest(
        root,
        store,
        subjects=subject,
        sessions=name,
        mask_source=session.record["mask_source"],
        precision=session.record.get("precision"),
        storage_options=storage_options,
        store_options=store_options,
    )
    for todo in plan.sessions:
        todo.action = "replace"
    return plan


def _check_sums(session: StoredSession) -> str:
    record = session.record
    try:
        group = open_group(session.location, session.path)
        for array, expected in record["checksums"].items():
            if array == "betas":
                betas = group["betas"]
                for i, start in enumerate(range(0, record["n_trials"], record["block"])):
                    if crc32(np.asarray(betas[start : start + record["block"]])) != expected[i]:  # type: ignore[index]
                        return f"betas of trials {start} to {start + record['block'] - 1} fail their checksum"
            elif crc32(np.asarray(group[array][...])) != expected:  # type: ignore[index]
                return f"{array} fails its checksum"
    except (ValueError, RuntimeError, OSError, KeyError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _check_values(
    session: StoredSession, root: Any, storage_options: Mapping[str, Any] | None, subject: str, name: str
) -> tuple[str, str]:
    record = session.record
    try:
        catalog = Catalog.scan(root, storage_options).subject(subject)
        files = catalog.session(name)
        entry = files.files.get("betas") or files.files["model"]
        if not session.matches(catalog.location, entry):
            return "changed", f"the source {entry.path} changed since"
        axis = voxel_axis(catalog, record["mask_source"])
        group = open_group(session.location, session.path)
        voxels = np.asarray(group["voxel"][...])  # type: ignore[index]
        reader = session_reader(catalog, files, axis, "auto")
        for start, block in source_blocks(reader, voxels, record["block"]):
            if record.get("precision") is not None:
                block = rounded(block, record["precision"])
            stored = np.asarray(group["betas"][start : start + len(block)])  # type: ignore[index]
            if not np.array_equal(stored.view(np.uint32), block.view(np.uint32)):
                return "damaged", f"betas of trials {start} to {start + len(block) - 1} differ from the source"
    except (LaionXRError, OSError) as error:
        return "unchecked", str(error)
    return "ok", ""
