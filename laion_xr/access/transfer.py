"""One file from a source to its place: under a lock, in parts where it is long, resumed, verified, renamed when whole.

Nothing that is not whole ever has the file's name. Where the bytes come from is the source's business; what is tried
again is `laion_xr.remote`'s.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from laion_xr.access.checksums import PART, Checksum, matches
from laion_xr.access.lock import one_at_a_time
from laion_xr.access.partial import Partial, recorded_bytes, unwritable
from laion_xr.access.paths import safe_target as safe_target
from laion_xr.access.room import require_room_beside
from laion_xr.access.watch import StalledError, StoppedError, watched
from laion_xr.errors import CorruptFileError, DataNotDownloadedError, FileAccessError, UnreachableError
from laion_xr.remote import is_transient, persistently

# From this size on a file comes in several ranges at once: one connection to S3 gives some 50-90 MB/s
IN_PARTS_FROM = 64 << 20
PARTS_AT_ONCE = 4
# A connection that gave so much before it broke has not failed: the tries are counted anew
PROGRESS = 1 << 20
# Connections that fall silent, one after another, before it is given up
STALLS = 3
# Whole files whose checksum is wrong, before it is given up
TRIES = 3

_LOG = logging.getLogger(__name__)


class Source(Protocol):
    """Where a file comes from."""

    @property
    def name(self) -> str:
        """What messages call it; it must be safe to show."""

    @property
    def size(self) -> int | None:
        """In bytes; None where nobody knows."""

    @property
    def checksum(self) -> Checksum | None:
        """Kind and value, as `laion_xr.access.checksums` has them; None where nobody knows."""

    @property
    def validator(self) -> str | None:
        """What tells one version of the file from another, such as an ETag; None where nothing does."""

    def open(self, start: int) -> Iterator[bytes]:
        """Yield the bytes from a position to the end; errors pass as they are."""


@runtime_checkable
class RangedSource(Protocol):
    """A source that gives a range too: a long file is then fetched in several at once."""

    def part(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `end`; errors pass as they are."""


@runtime_checkable
class ComparableSource(Protocol):
    """A source whose file can be compared with one that is here, where it has no checksum."""

    def is_same(self, path: Path) -> bool | None:
        """Whether the bytes are the same; None where that cannot be told."""


class RefusedError(FileAccessError):
    """The source has the file and does not give it (401, 403)."""


class Outcome(StrEnum):
    """How a file came to be here."""

    FETCHED = "fetched"
    PRESENT = "present"


def fetch_file(
    source: Source,
    target: Path,
    *,
    progress: Callable[[int], object] | None = None,
    stop: threading.Event | None = None,
    recheck: bool = False,
) -> Outcome:
    """Have a file in its place: fetch it unless it is there, going on where an earlier try stopped.

    Processes and threads that want the same file wait for the one that fetches it. `target` is taken as it is:
    `safe_target` is what makes a path of a listing one.

    Parameters
    ----------
    source
        Where it comes from.
    target
        Where it belongs; its folder is made.
    progress
        Called, from several threads, with the number of bytes that are here more than before; negative where some
        were thrown away. In all it is the file's size.
    stop
        Set by another thread to give up; what has come is kept for the next time.
    recheck
        Read a file that is here, and fetch it again where its checksum is wrong, or, of a source on this machine that
        has none, its bytes. Else its size is enough.

    Returns
    -------
    Whether it was fetched, or was there.

    Raises
    ------
    CorruptFileError
        Three times the file came whole and its checksum was not that of the source.
    StoppedError
        `stop` was set.
    RefusedError
        The source does not give it.
    NoSpaceError, FileAccessError
        It cannot be written, or a folder is where it belongs.
    DataNotDownloadedError
        The source has no such file.
    UnreachableError
        The source did not answer, or broke off again and again.
    """
    count = progress or (lambda n: None)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(target, error) from None
    with one_at_a_time(target, stop):
        if is_present(source, target, recheck=recheck):
            count(target.stat().st_size)
            return Outcome.PRESENT
        _require_place(source, target)
        for left in reversed(range(TRIES)):
            with Partial(target, source.validator or _digest(source), source.size) as partial:
                count(partial.done)
                _complete(source, partial, count, stop)
                if source.checksum is None or matches(partial.path, source.checksum) is not False:
                    partial.flush()
                    _publish(source, partial, target)
                    return Outcome.FETCHED
                count(-partial.done)
                partial.discard()
            _LOG.warning("%s came whole, and its checksum is wrong: %d more tries", source.name, left)
    raise CorruptFileError(
        f"{source.name} came {TRIES} times with a wrong checksum: expected {_digest(source)}. Nothing was kept; try"
        " again later, or report it to who keeps the data."
    )


def is_present(source: Source, target: Path, *, recheck: bool = False) -> bool:
    """Whether the file is in its place: with the source's size, and with `recheck` its checksum."""
    try:
        size = target.stat().st_size
    except OSError:
        return False
    if not target.is_file() or (source.size is not None and size != source.size):
        return False
    if not recheck:
        return True
    if source.checksum is not None:
        return matches(target, source.checksum) is not False
    return not isinstance(source, ComparableSource) or source.is_same(target) is not False


def _require_place(source: Source, target: Path) -> None:
    """Raise where a file cannot come to its place: before its bytes come."""
    if target.is_dir():
        raise unwritable(target, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    # room for what is not here at all was looked for before anything came
    if source.size is not None and target.is_file():
        require_room_beside(target, source.size - min(recorded_bytes(target), source.size))


def _complete(source: Source, partial: Partial, count: Callable[[int], object], stop: threading.Event | None) -> None:
    size = source.size
    if size is not None and partial.done == size:
        return
    if size is None or size < IN_PARTS_FROM or not isinstance(source, RangedSource):
        opened = source.open
        _stream(source, partial, partial.beginning, size, lambda start: opened(start), count, stop)
        return
    parts, halt = source.part, threading.Event()

    def fetch(start: int, end: int) -> None:
        _stream(source, partial, start, end, lambda position: parts(position, end), count, halt)

    with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="laion-xr-part") as pool:
        waiting = {pool.submit(fetch, *part) for part in partial.missing(PART)}
        try:
            while waiting:
                ended, waiting = wait(waiting, timeout=0.2, return_when=FIRST_EXCEPTION)
                for one in ended:
                    one.result()
                if stop is not None and stop.is_set():
                    raise StoppedError(source.name)
        finally:
            halt.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _stream(
    source: Source,
    partial: Partial,
    start: int,
    end: int | None,
    opened: Callable[[int], Iterator[bytes]],
    count: Callable[[int], object],
    stop: threading.Event | None,
) -> None:
    """Fetch one range to its end, through connections that break."""
    position, stalls = start, 0

    def attempt() -> bool:
        nonlocal position, stalls
        before = position
        try:
            with contextlib.closing(watched(opened(position), source.name, stop)) as blocks:
                for block in blocks:
                    if end is not None and position + len(block) > end:
                        raise CorruptFileError(
                            f"{source.name} is longer than the {source.size} bytes that were said: it changed. Run the "
                            "same again."
                        )
                    count(partial.write(position, block))
                    position += len(block)
            if end is not None and position < end:
                raise ConnectionError(f"the answer ended after {position - before} of {end - before} bytes")
        except StalledError as error:
            # it has waited longer than anything is tried again
            stalls = 1 if position > before else stalls + 1
            if stalls > STALLS:
                raise
            _LOG.warning("%s: %s; connection %d of %d", source.name, error, stalls + 1, STALLS + 1)
            return False
        except Exception as error:
            if position - before < PROGRESS or not is_transient(error):
                raise
            _LOG.info("%s: %s after %d bytes; going on from there", source.name, error, position - before)
            return False
        return True

    while not (end is not None and position == end):
        try:
            if persistently(attempt, lambda: source.name, stop):
                return
            if stop is not None and stop.is_set():
                raise StoppedError(source.name)
        except UnreachableError:
            if stop is not None and stop.is_set():
                raise StoppedError(source.name) from None
            raise
        except FileNotFoundError as error:
            if isinstance(error, DataNotDownloadedError):
                raise
            raise DataNotDownloadedError(
                f"{source.name} is not there any more ({error}): run the same again."
            ) from None
        except PermissionError as error:
            if isinstance(error, FileAccessError):
                raise
            raise RefusedError(f"{source.name} may not be read: access was denied ({error}).") from None


def _publish(source: Source, partial: Partial, target: Path) -> None:
    try:
        partial.publish(target)
    except FileNotFoundError:
        # where locks do not work (some shared disks) another process wrote the same bytes, and was first
        if not is_present(source, target):
            raise
    except OSError as error:
        raise unwritable(target, error) from None


def _digest(source: Source) -> str | None:
    return None if source.checksum is None else ":".join(source.checksum)
