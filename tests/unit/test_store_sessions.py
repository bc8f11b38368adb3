"""Writing sessions in parallel: how many at once, and what is said of those that failed."""

from __future__ import annotations

import errno
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from laion_xr.errors import CorruptFileError, StoreError
from laion_xr.location import Location
from laion_xr.store import IngestPlan, SessionPlan, sessions
from laion_xr.store.sessions import SessionOutcome, raise_failures, write_on_worker, write_one

TODO = SessionPlan("sub-03", "ses-01", "write", "betas.nii.gz", 10, 20, 30)
PLAN = IngestPlan("/root", "/store", [TODO])
PLACE = Location("/nowhere")


@pytest.mark.parametrize(("room", "at_once"), [(1.5, 1), (2.5, 2), (0.1, 1), (99, 4)])
def test_a_worker_writes_what_its_memory_holds(monkeypatch: pytest.MonkeyPatch, room: float, at_once: int) -> None:
    limit = int(room * PLAN.worker_bytes / sessions.SHARE_OF_MEMORY)
    worker = SimpleNamespace(memory_manager=SimpleNamespace(memory_limit=limit))
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(get_worker=lambda: worker))
    monkeypatch.setattr(sessions, "_turns", sessions._Turns())
    lock, counts = threading.Lock(), {"now": 0, "most": 0}

    def write(*arguments: Any) -> SessionOutcome:
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts["most"], counts["now"])
        time.sleep(0.05)
        with lock:
            counts["now"] -= 1
        return SessionOutcome("sub-03", "ses-01", "written")

    monkeypatch.setattr(sessions, "write_one", write)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: write_on_worker(PLACE, PLACE, PLAN, TODO), range(8)))
    assert counts["most"] == at_once


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CorruptFileError("betas.nii.gz is damaged."), "betas.nii.gz is damaged."),
        (KeyError("voxel"), "KeyError: 'voxel'"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "there is no room left on the disk of /nowhere: make room"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_any_error_is_an_outcome(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(sessions, "free_bytes", fail)
    outcome = write_one(PLACE, PLACE, PLAN, TODO, print)
    assert (outcome.subject, outcome.session, outcome.outcome) == ("sub-03", "ses-01", "failed")
    assert words in outcome.message


def test_a_full_disk_is_said_before_a_session_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "free_bytes", lambda store: TODO.betas_bytes // 20 - 1)
    assert "no room left" in write_one(PLACE, PLACE, PLAN, TODO, print).message


def test_failures_are_one_error_and_each_reason_is_said_once() -> None:
    outcomes = [
        SessionOutcome("sub-01", "ses-01", "written"),
        SessionOutcome("sub-01", "ses-02", "failed", "no room"),
        SessionOutcome("sub-01", "ses-03", "kept"),
        SessionOutcome("sub-01", "ses-04", "failed", "damaged"),
        SessionOutcome("sub-03", "ses-01", "failed", "no room"),
    ]
    with pytest.raises(StoreError) as error:
        raise_failures(outcomes)
    assert str(error.value).splitlines() == [
        "3 of 5 sessions could not be written, the others are in the store; "
        "run the same ingest again when the cause is gone:",
        "  sub-01 ses-02, sub-03 ses-01: no room",
        "  sub-01 ses-04: damaged",
    ]
    raise_failures(outcomes[:1])
    raise_failures([])
