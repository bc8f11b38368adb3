"""A process-wide budget of bytes for decodes in progress: many threads, bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

SHARE_OF_MEMORY = 0.5


class ByteBudget:
    """Bytes that may be held at once; `take` waits until there is room.

    A request larger than the whole budget is let through when nothing else is held, so that it cannot wait for ever.
    """

    def __init__(self, total: int) -> None:
        self.total = int(total)
        self.held = 0
        self.peak = 0
        self._room = threading.Condition()

    @contextmanager
    def take(self, n_bytes: int) -> Iterator[None]:
        """Hold `n_bytes` for the time of the context."""
        with self._room:
            self._room.wait_for(lambda: self.held == 0 or self.held + n_bytes <= self.total)
            self.held += n_bytes
            self.peak = max(self.peak, self.held)
        try:
            yield
        finally:
            with self._room:
                self.held -= n_bytes
                self._room.notify_all()


class _ProcessBudget:
    # one a process, sized when it is first asked for: a worker made by fork or spawn sizes its own
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._budget: ByteBudget | None = None

    def get(self) -> ByteBudget:
        with self._lock:
            if self._budget is None:
                self._budget = ByteBudget(int(psutil.virtual_memory().available * SHARE_OF_MEMORY))
            return self._budget

    def set(self, budget: ByteBudget | None) -> None:
        with self._lock:
            self._budget = budget


_process = _ProcessBudget()


def decode_budget() -> ByteBudget:
    """Return this process's budget: half of the memory that was available when it was first asked for."""
    return _process.get()


def set_decode_budget(n_bytes: int | None) -> None:
    """Set this process's budget in bytes; None sizes it anew at the next read."""
    _process.set(None if n_bytes is None else ByteBudget(n_bytes))
