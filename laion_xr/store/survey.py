"""Making the plan of an ingest: what the dataset has, what the store has, and what fits."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from laion_xr.catalog import Catalog, SessionFiles, SubjectCatalog
from laion_xr.errors import LaionXRError
from laion_xr.location import Location
from laion_xr.masks import VoxelAxis, voxel_axis
from laion_xr.sources import session_reader
from laion_xr.store.plan import IngestPlan, SessionPlan, check_precision
from laion_xr.stored import StoredSession, stored_sessions


def plan_ingest(
    root: Any,
    store: Any,
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    sessions: Iterable[str | int] | str | int | None = None,
    mask_source: str = "anatomical",
    precision: float | None = None,
    workers: int | None = None,
    memory: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    store_options: Mapping[str, Any] | None = None,
) -> IngestPlan:
    """Return what `ingest` would do; writes nothing.

    Parameters
    ----------
    root, store
        The dataset, and where the store is or will be: a folder or any fsspec address.
    subjects, sessions
        Which; None for all that are there.
    precision
        Relative error of a lossy store, between 1e-7 and 0.1; None for exact float32.
    workers
        Sessions at once; None for one a two cores, as one worker inflates on one core and encodes on another.
    memory
        Bytes that all workers may hold together; None for half of what is available. The workers are clamped to it.
    storage_options, store_options
        Options of the fsspec file systems of root and store.

    Raises
    ------
    SelectionError
        `precision`, `workers` or `memory` that cannot be.
    """
    check_precision(precision)
    catalog, target = Catalog.scan(root, storage_options), Location.of(store, store_options)
    names = [subjects] if isinstance(subjects, (str, int)) else subjects
    wanted = catalog.subjects if names is None else [catalog.subject_name(s) for s in names]
    planned = []
    for subject in wanted:
        found = catalog.subject(subject)
        there = stored_sessions(target, found.subject)
        if names is None and len(wanted) > 1 and not any(f.has_betas or f.session in there for f in found.sessions):
            continue  # a subject of whom only maps were downloaded
        axis = voxel_axis(found, mask_source)
        chosen = found.sessions_with_betas(sessions, stored=there)
        planned += [_session(found, files, axis, there.get(files.session), precision) for files in chosen]
    plan = IngestPlan(
        root=catalog.location.url,
        store=target.url,
        sessions=planned,
        mask_source=mask_source,
        precision=precision,
        free_bytes=free_bytes(target),
    )
    cores = psutil.cpu_count() or 1
    plan.workers_asked = max(1, cores // 2) if workers is None else max(int(workers), 1)
    plan.memory = int(psutil.virtual_memory().available // 2) if memory is None else int(memory)
    plan.workers = plan.workers_asked
    plan.workers = plan.fitting_workers()
    return plan


def _session(
    catalog: SubjectCatalog,
    files: SessionFiles,
    axis: VoxelAxis,
    stored: StoredSession | None,
    precision: float | None,
) -> SessionPlan:
    entry = files.files.get("betas") or files.files.get("model")
    if stored is not None:
        current = stored.is_current(catalog.location, files.files)
        same = current and stored.has_voxels(axis.ids) and stored.record.get("precision") == precision
        source, n_trials = stored.record["source"], stored.record["n_trials"]
        # where its source is gone nothing else can be made of it
        if same or entry is None:
            return SessionPlan(
                catalog.subject, files.session, "keep", source["path"], source["size"], n_trials, len(axis.ids)
            )
    assert entry is not None  # sessions_with_betas says so
    action = "write" if stored is None else "replace"
    n_trials = _count(catalog, files, axis)
    return SessionPlan(catalog.subject, files.session, action, entry.path, entry.size, n_trials, len(axis.ids))


def _count(catalog: SubjectCatalog, files: SessionFiles, axis: VoxelAxis) -> int:
    entry = files.files.get("trials")
    if entry is not None:
        return max(len(catalog.location.read_bytes(entry.path).splitlines()) - 1, 0)
    try:
        return session_reader(catalog, files, axis, "auto").shape[0]
    except (LaionXRError, OSError):  # what cannot be read is said when it is written
        return 0


def free_bytes(store: Location) -> int | None:
    """Return the room on the disk of a local store; None elsewhere."""
    if not store.is_local:
        return None
    folder = Path(store.url)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
