"""A stream that somebody watches: it is left when no bytes come for a while, or when it is not wanted any more.

It is read in a thread of its own, which also lets the network and the disk work at the same time. Imports errors only.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator, Iterator

from laion_xr.errors import LaionXRError

# Without a byte; then the connection is given up, and another one made
SECONDS_OF_SILENCE = 60.0
# Blocks that wait to be written
AHEAD = 2
_GLANCE = 0.2


class StalledError(TimeoutError):
    """No bytes came for a while; another connection may do better."""


class StoppedError(LaionXRError):
    """A transfer was stopped from outside; what had come is kept."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} was stopped before it was whole; what had come is kept: run the same again to go on.")


def watched(blocks: Iterator[bytes], name: str, stop: threading.Event | None = None) -> Generator[bytes]:
    """Yield what an iterator yields; its errors are raised here.

    Parameters
    ----------
    blocks
        Read in another thread. Where it hangs that thread is left to its own time-out; what it still brings is dropped.
    name
        What is read, for messages.
    stop
        Set by another thread to end.

    Raises
    ------
    StalledError
        Nothing came for `SECONDS_OF_SILENCE`.
    StoppedError
        `stop` was set.
    """
    ready: queue.Queue[bytes | BaseException | None] = queue.Queue(AHEAD)
    left = threading.Event()

    def give(item: bytes | BaseException | None) -> bool:
        while not left.is_set():
            try:
                ready.put(item, timeout=_GLANCE)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for block in blocks:
                if not give(block):
                    return
        except BaseException as error:
            give(error)
        else:
            give(None)
        finally:
            # a generator's connection is closed in the thread that used it
            close = getattr(blocks, "close", None)
            if close is not None:
                close()

    # a daemon: one that hangs must not keep the interpreter from its end
    threading.Thread(target=read, name="laion-xr-read", daemon=True).start()
    try:
        heard = time.monotonic()
        while True:
            if stop is not None and stop.is_set():
                raise StoppedError(name)
            try:
                item = ready.get(timeout=_GLANCE)
            except queue.Empty:
                if time.monotonic() - heard >= SECONDS_OF_SILENCE:
                    raise StalledError(f"no bytes for {SECONDS_OF_SILENCE:.0f} s") from None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
            heard = time.monotonic()
    finally:
        left.set()
