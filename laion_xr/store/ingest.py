"""Filling a store: plan -> write -> verify, sessions in parallel on Dask."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from laion_xr.errors import ClampedWarning, StoreError
from laion_xr.location import Location
from laion_xr.store.place import consolidate_store, ensure_groups, tidy
from laion_xr.store.plan import IngestPlan
from laion_xr.store.sessions import KEPT, SessionOutcome, raise_failures, write_sessions
from laion_xr.store.survey import plan_ingest


def ingest(
    root: Any,
    store: Any,
    *,
    subjects: Iterable[str | int] | str | int | None = None,
    sessions: Iterable[str | int] | str | int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    store_options: Mapping[str, Any] | None = None,
    mask_source: str = "anatomical",
    precision: float | None = None,
    workers: int | None = None,
    memory: int | None = None,
    update: bool = True,
    plan: IngestPlan | None = None,
    progress: bool | Callable[[int], object] = True,
) -> pd.DataFrame:
    """Inflate sessions once and keep them in a store, from which an ROI is read about a hundred times faster.

    A killed ingest, run again, keeps what is complete; a session appears in the store only when it is complete and was
    read back. Sessions are written in threads; where a distributed client is active, on its workers, each as many at
    once as its memory holds (`workers` and `memory` are of this process, and not asked then).

    Parameters
    ----------
    root, store
        The dataset, and the store: a folder or any fsspec address.
    subjects, sessions, mask_source, precision, workers, memory, storage_options, store_options
        As `plan_ingest`.
    update
        Ingest sessions again whose source changed since; False refuses them.
    plan
        A plan made (and edited) before, instead of `subjects` to `memory`.
    progress
        A bar (silent where standard error is not a terminal), or a function that is called with numbers of trials.

    Returns
    -------
    pd.DataFrame
        A row a session: subject, session, outcome (`"written"`, `"kept"`).

    Raises
    ------
    StoreError
        Sessions that could not be written, each with its reason (the others are written); or sources that changed,
        with `update=False`.

    Examples
    --------
    >>> laion_xr.ingest(root, "laion.zarr", subjects="sub-03")  # doctest: +SKIP
    """
    if plan is None:
        plan = plan_ingest(
            root,
            store,
            subjects=subjects,
            sessions=sessions,
            mask_source=mask_source,
            precision=precision,
            workers=workers,
            memory=memory,
            storage_options=storage_options,
            store_options=store_options,
        )
    plan.check()
    changed = [s for s in plan.sessions if s.action == "replace"]
    if changed and not update:
        names = ", ".join(f"{s.subject} {s.session}" for s in changed)
        raise StoreError(
            f"The source of {names} changed since it was ingested, or the plan asks for another mask or precision, and "
            "update=False: ingest with update=True, or leave the session out."
        )
    target = Location.of(store, store_options)
    source = Location.of(root, storage_options)
    workers = plan.fitting_workers()
    if workers < plan.workers_asked:
        warnings.warn(
            f"{plan.workers_asked} workers of {plan.worker_bytes / 1e6:.0f} MB do not fit into "
            f"{plan.memory / 1e6:.0f} MB: {workers} write at once.",
            ClampedWarning,
            stacklevel=2,
        )
    _check_room(plan)
    if plan.to_write:
        ensure_groups(target, sorted({s.subject for s in plan.to_write}))
    outcomes = [SessionOutcome(s.subject, s.session, KEPT) for s in plan.sessions if s.action == "keep"]
    outcomes += write_sessions(source, target, plan, progress)
    problem = _consolidation_problem(target) if outcomes else None
    tidy(target)
    raise_failures(outcomes)
    if problem is not None:
        raise problem
    table = pd.DataFrame([vars(o) for o in outcomes], columns=["subject", "session", "outcome", "message"])
    return table.drop(columns="message").sort_values(["subject", "session"], ignore_index=True)


def _check_room(plan: IngestPlan) -> None:
    if plan.free_bytes is not None and plan.store_bytes > plan.free_bytes:
        raise StoreError(
            f"The store needs about {plan.store_bytes / 1e9:.1f} GB and {plan.store} has "
            f"{plan.free_bytes / 1e9:.1f} GB free: make room, choose another place, or fewer sessions."
        )


def _consolidation_problem(target: Location) -> StoreError | None:
    """Gather the metadata of all sessions, or return why not: what is said of the sessions goes before."""
    try:
        consolidate_store(target)
    except OSError as error:
        return StoreError(
            f"Every session is in the store {target.url}, and its own metadata could not be written: {error}. Run the "
            "same ingest again when the cause is gone; until then it opens as a whole more slowly, with a warning."
        )
    return None
