"""Filling a store: plan -> write -> verify, sessions in parallel on Dask."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from dask.base import compute
from dask.delayed import delayed

from laion_xr.catalog import Catalog
from laion_xr.errors import ClampedWarning, LaionXRError, StoreError
from laion_xr.location import Location
from laion_xr.progress import trial_bar
from laion_xr.store.place import ensure_groups, reserved, tidy
from laion_xr.store.plan import IngestPlan, SessionPlan, plan_ingest
from laion_xr.store.write import consolidate, write_session
from laion_xr.stored import stored_sessions


@dataclass(frozen=True)
class SessionOutcome:
    """What became of a session: `"written"`, `"kept"` or `"failed"`, and why."""

    subject: str
    session: str
    outcome: str
    message: str = ""


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
    """Inflate sessions once and keep them in a store, from which they are read a hundred times faster.

    A killed ingest, run again, keeps what is complete; a session appears in the store only when it is complete and was
    read back.

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
    changed = [s for s in plan.sessions if s.action == "replace"]
    if changed and not update:
        names = ", ".join(f"{s.subject} {s.session}" for s in changed)
        raise StoreError(
            f"The source of {names} changed since it was ingested, or the plan asks for another mask or precision, and "
            "update=False: ingest with update=True, or leave the session out."
        )
    target = Location.of(store, store_options)
    source = Location.of(root, storage_options)
    if plan.workers < plan.workers_asked:
        warnings.warn(
            f"{plan.workers_asked} workers of {plan.worker_bytes / 1e6:.0f} MB do not fit into "
            f"{plan.memory / 1e6:.0f} MB: {plan.workers} write at once.",
            ClampedWarning,
            stacklevel=2,
        )
    _check_room(plan)
    ensure_groups(target, sorted({s.subject for s in plan.sessions}))
    outcomes = [SessionOutcome(s.subject, s.session, "kept") for s in plan.sessions if s.action == "keep"]
    outcomes += _write_all(source, target, plan, progress)
    if any(o.outcome == "written" for o in outcomes):
        consolidate(target, "")
    tidy(target)
    failed = [o for o in outcomes if o.outcome == "failed"]
    if failed:
        reasons = "\n".join(f"  {o.subject} {o.session}: {o.message}" for o in failed)
        raise StoreError(
            f"{len(failed)} of {len(plan.sessions)} sessions could not be written, the others are in the store; run "
            f"the same ingest again when the cause is gone:\n{reasons}"
        )
    table = pd.DataFrame([vars(o) for o in outcomes], columns=["subject", "session", "outcome", "message"])
    return table.drop(columns="message").sort_values(["subject", "session"], ignore_index=True)


def _write_all(
    source: Location, target: Location, plan: IngestPlan, progress: bool | Callable[[int], object]
) -> list[SessionOutcome]:
    todo = plan.to_write
    if not todo:
        return []
    if _client() is not None:
        # the workers say nothing while they write: the bar moves a session at a time
        tasks = [delayed(_write_one)(source, target, plan, s, None, pure=False) for s in todo]
        done = list(compute(*tasks))
        if callable(progress):
            progress(sum(s.n_trials for s in todo))
        return done
    shown = progress if isinstance(progress, bool) else False
    with trial_bar(sum(s.n_trials for s in todo), shown, "ingest") as bar:
        advance = progress if callable(progress) else bar.update
        tasks = [delayed(_write_one)(source, target, plan, s, advance, pure=False) for s in todo]
        return list(compute(*tasks, scheduler="threads", num_workers=plan.workers))


def _client() -> Any:
    """Return the active distributed client, or None; distributed is not imported for it."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_client()
    except ValueError:
        return None


def _write_one(
    source: Location,
    target: Location,
    plan: IngestPlan,
    todo: SessionPlan,
    advance: Callable[[int], object] | None,
) -> SessionOutcome:
    step = advance or _silent
    try:
        catalog = Catalog.scan(source).subject(todo.subject)
        with reserved(target, todo.subject, todo.session) as place:
            # another ingest may have written it while this one waited for its turn
            there = stored_sessions(target, todo.subject).get(todo.session)
            files = catalog.session(todo.session).files
            entry = files.get("betas") or files["model"]
            if (
                there is not None
                and todo.action == "write"
                and there.matches(catalog.location, entry)
                and there.record.get("precision") == plan.precision
            ):
                step(todo.n_trials)
                return SessionOutcome(todo.subject, todo.session, "kept")
            write_session(catalog, todo.session, plan, place, step)
        return SessionOutcome(todo.subject, todo.session, "written")
    except (LaionXRError, OSError, ValueError, RuntimeError) as error:
        return SessionOutcome(todo.subject, todo.session, "failed", f"{error}")


def _silent(n_trials: int) -> None:
    """Say nothing: there is no bar here."""


def _check_room(plan: IngestPlan) -> None:
    if plan.free_bytes is not None and plan.store_bytes > plan.free_bytes:
        raise StoreError(
            f"The store needs about {plan.store_bytes / 1e9:.1f} GB and {plan.store} has "
            f"{plan.free_bytes / 1e9:.1f} GB free: make room, choose another place, or fewer sessions."
        )
