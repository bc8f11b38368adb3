"""Writing the sessions of a plan in parallel on Dask: each ends in an outcome, none stops the others."""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
from dask.base import compute
from dask.delayed import delayed
from filelock import Timeout

from laion_xr.catalog import Catalog
from laion_xr.errors import LaionXRError, StoreError
from laion_xr.lazy.budget import ByteBudget
from laion_xr.location import Location
from laion_xr.progress import trial_bar
from laion_xr.readers.base import Reader
from laion_xr.store.pipeline import release_buffers
from laion_xr.store.place import reserved
from laion_xr.store.plan import IngestPlan, SessionPlan
from laion_xr.store.survey import free_bytes
from laion_xr.store.write import write_session
from laion_xr.stored import stored_sessions

WRITTEN, KEPT, FAILED = "written", "kept", "failed"
# Of a worker's memory: dask pauses a worker at 80 %
SHARE_OF_MEMORY = 0.7
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

Progress = bool | Callable[[int], object]


@dataclass(frozen=True)
class SessionOutcome:
    """What became of a session: `"written"`, `"kept"` or `"failed"`, and why."""

    subject: str
    session: str
    outcome: str
    message: str = ""


def write_sessions(source: Location, target: Location, plan: IngestPlan, progress: Progress) -> list[SessionOutcome]:
    """Write what the plan has to write, on the active distributed client or else in threads."""
    todo = plan.to_write
    if not todo:
        return []
    shown = progress if isinstance(progress, bool) else False
    with trial_bar(sum(s.n_trials for s in todo), shown, "ingest") as bar:
        advance = progress if callable(progress) else bar.update
        client = active_client()
        if client is not None:
            return _on_cluster(client, source, target, plan, advance)
        tasks = [delayed(write_one)(source, target, plan, s, advance, pure=False) for s in todo]
        try:
            return list(compute(*tasks, scheduler="threads", num_workers=plan.fitting_workers()))
        finally:
            release_buffers()


def active_client() -> Any:
    """Return the active distributed client, or None; distributed is not imported for it."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_client()
    except ValueError:
        return None


def _on_cluster(
    client: Any, source: Location, target: Location, plan: IngestPlan, advance: Callable[[int], object]
) -> list[SessionOutcome]:
    todo = {client.submit(write_on_worker, source, target, plan, s, pure=False): s for s in plan.to_write}
    outcomes = []
    # the workers say nothing while they write: the bar moves a session at a time
    for future in sys.modules["distributed"].as_completed(list(todo)):
        s = todo[future]
        error = future.exception()
        outcomes.append(future.result() if error is None else _failed(target, s, error))
        advance(s.n_trials)
    return outcomes


def write_on_worker(source: Location, target: Location, plan: IngestPlan, todo: SessionPlan) -> SessionOutcome:
    """Write a session when this worker has the memory for it, however many threads it has."""
    with _turns.of_worker().take(plan.worker_bytes):
        try:
            return write_one(source, target, plan, todo, _silent)
        finally:
            release_buffers()


def write_one(
    source: Location,
    target: Location,
    plan: IngestPlan,
    todo: SessionPlan,
    advance: Callable[[int], object],
    decoded: Reader | None = None,
    timeout: float = -1,
) -> SessionOutcome:
    """Write one session, or say why not.

    `decoded` has its betas where they were read already. Where another process still writes the session after
    `timeout` seconds (-1: wait for it), it is left to that one.
    """
    try:
        _check_room(target, todo)
        catalog = Catalog.scan(source).subject(todo.subject)
        with reserved(target, todo.subject, todo.session, timeout) as place:
            if todo.action == "write" and _is_there(target, catalog, plan, todo):
                # another ingest wrote it while this one waited for its turn
                advance(todo.n_trials)
                return SessionOutcome(todo.subject, todo.session, KEPT)
            with target.explained(f"{todo.subject}/{todo.session}", "written"):
                write_session(catalog, todo.session, plan, place, advance, decoded)
        return SessionOutcome(todo.subject, todo.session, WRITTEN)
    except Timeout:
        return SessionOutcome(todo.subject, todo.session, KEPT)
    # one session must not stop the others, whatever a damaged file or a remote disk makes a library raise
    except Exception as error:
        return _failed(target, todo, error)


def _is_there(target: Location, catalog: Any, plan: IngestPlan, todo: SessionPlan) -> bool:
    there = stored_sessions(target, todo.subject).get(todo.session)
    return (
        there is not None
        and there.is_current(catalog.location, catalog.session(todo.session).files)
        and there.record.get("precision") == plan.precision
        and there.record.get("mask_source") == plan.mask_source
    )


def _check_room(target: Location, todo: SessionPlan) -> None:
    # a full disk is said at once, not after another session was inflated for nothing
    free = free_bytes(target)
    if free is not None and free < todo.betas_bytes // 20:
        raise OSError(errno.ENOSPC, "No space left on device")


def _failed(target: Location, todo: SessionPlan, error: BaseException) -> SessionOutcome:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        # the same words for every session: they are said once
        message = f"there is no room left on the disk of {target.url}: make room, or choose another place"
    elif isinstance(error, LaionXRError):
        message = str(error)
    else:
        message = f"{type(error).__name__}: {error}"
    return SessionOutcome(todo.subject, todo.session, FAILED, message)


def raise_failures(outcomes: list[SessionOutcome]) -> None:
    """Raise one error for all sessions that failed, each reason once.

    Raises
    ------
    StoreError
        There are some.
    """
    reasons: dict[str, list[str]] = {}
    for o in outcomes:
        if o.outcome == FAILED:
            reasons.setdefault(o.message, []).append(f"{o.subject} {o.session}")
    if reasons:
        lines = "\n".join(f"  {', '.join(names)}: {message}" for message, names in reasons.items())
        n = sum(map(len, reasons.values()))
        raise StoreError(
            f"{n} of {len(outcomes)} sessions could not be written, the others are in the store; run "
            f"the same ingest again when the cause is gone:\n{lines}"
        )


class _Turns:
    # one a worker process, sized when it first writes
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._budget: ByteBudget | None = None

    def of_worker(self) -> ByteBudget:
        with self._lock:
            if self._budget is None:
                worker = sys.modules["distributed"].get_worker()
                limit = getattr(worker.memory_manager, "memory_limit", None) or psutil.virtual_memory().total
                self._budget = ByteBudget(int(limit * SHARE_OF_MEMORY))
            return self._budget


_turns = _Turns()


def _silent(n_trials: int) -> None:
    """Say nothing: there is no bar here."""
