"""The lock beside a file that is being fetched. Imports errors only."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from laion_xr.access.partial import LOCK, beside, unwritable
from laion_xr.access.watch import StoppedError

SECONDS_BEFORE_TOLD = 10

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def one_at_a_time(target: Path, stop: threading.Event | None) -> Iterator[None]:
    """Hold the right to write a file; say so where another process holds it for long."""
    path = beside(target, LOCK)
    lock, waited = FileLock(path), 0
    while True:
        try:
            lock.acquire(timeout=1, poll_interval=0.05)
            break
        except Timeout:
            waited += 1
            if stop is not None and stop.is_set():
                raise StoppedError(target.name) from None
            if waited % SECONDS_BEFORE_TOLD == 0:
                _LOG.warning("%s: another process fetches it; waiting for %d s so far", target, waited)
        except (OSError, NotImplementedError) as error:
            if not os.access(target.parent, os.W_OK):
                denied = error if isinstance(error, OSError) else OSError(str(error))
                raise unwritable(target, denied) from None
            # a disk without locks: partials of one version are the same bytes, whoever writes them
            _LOG.warning("%s: this disk has no locks (%s); fetching without", target.parent, error)
            break
    try:
        yield
    finally:
        # while it is held: who waits for it finds the file gone, and makes another
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
