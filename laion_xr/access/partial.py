"""A file that is not whole yet: its bytes beside its place, under a hidden name, and a record of which have come.

A partial of another version of the file is dropped. Nothing here knows a network. Imports errors only.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from laion_xr.errors import FileAccessError, NoSpaceError

PARTIAL, RECORD, LOCK = ".partial", ".partial.json", ".lock"
# A record is written so often, in seconds: what a kill loses
RECORD_EVERY = 1.0
# Below this a download is begun anew rather than recorded
WORTH_A_RECORD = 1 << 20
_NO_ROOM = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_IN_THE_WAY = frozenset({errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY})

ByteRange = tuple[int, int]


def beside(target: Path, ending: str) -> Path:
    """Return the hidden name of what belongs to a file: its partial, the record of it, its lock."""
    return target.with_name(f".{target.name}{ending}")


def target_of(path: Path) -> Path | None:
    """Return the file that a hidden name of ours belongs to, or None where it is none."""
    for ending in (RECORD, PARTIAL, LOCK):
        name = path.name.removesuffix(ending)
        if name != path.name and len(name) > 1 and name.startswith("."):
            return path.with_name(name[1:])
    return None


class Partial:
    """The bytes of a file that have come so far; use as a context manager.

    Several threads may write at once, each its own range.

    Parameters
    ----------
    target
        Where the file belongs.
    identity
        Which version of the file this is; one that is kept and has another is dropped. None: any that is kept is.
    size
        Size of the whole file in bytes; None where nobody knows.
    """

    def __init__(self, target: Path, identity: str | None, size: int | None) -> None:
        self.path = beside(target, PARTIAL)
        self.size = size
        self._record = beside(target, RECORD)
        self._identity = identity
        self._lock = threading.Lock()
        self._done: list[ByteRange] = self._recorded() if identity is not None else []
        self._saved = time.monotonic()
        self._file = -1

    def __enter__(self) -> Partial:
        """Open the file: as it was left, or empty."""
        # a link with this name could lead anywhere
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(self.path, flags | (0 if self._done else os.O_TRUNC), 0o666)
        except OSError as error:
            raise unwritable(self.path, error) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Close the file and note what is there."""
        self.close()

    @property
    def done(self) -> int:
        """How many bytes have come."""
        with self._lock:
            return sum(end - start for start, end in self._done)

    @property
    def beginning(self) -> int:
        """How many bytes have come without a gap from the first on."""
        with self._lock:
            return self._done[0][1] if self._done and self._done[0][0] == 0 else 0

    def missing(self, longest: int) -> list[ByteRange]:
        """Return the ranges that have not come, each within a multiple of `longest` bytes and the next."""
        found, position = [], 0
        with self._lock:
            for start, end in [*self._done, (self.size or 0, self.size or 0)]:
                while position < start:
                    stop = min(start, (position // longest + 1) * longest)
                    found.append((position, stop))
                    position = stop
                position = max(position, end)
        return found

    def write(self, start: int, data: bytes) -> int:
        """Write bytes to their place, and return how many had not come before.

        Raises
        ------
        NoSpaceError, FileAccessError
            The disk is full, or takes no writing.
        """
        try:
            view = memoryview(data)
            position = start
            while view:
                n = self._put(view, position)
                view, position = view[n:], position + n
        except OSError as error:
            raise unwritable(self.path, error) from None
        with self._lock:
            before = sum(b - a for a, b in self._done)
            self._done = merged([*self._done, (start, position)])
            if time.monotonic() - self._saved >= RECORD_EVERY:
                self._save()
            return sum(b - a for a, b in self._done) - before

    def flush(self) -> None:
        """Have the bytes on the disk: a name that survives a power cut must not be that of zeros."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def close(self) -> None:
        """Close the file, and note which bytes are there."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        with self._lock:
            if self._done and self.path.exists():
                self._save()

    def discard(self) -> None:
        """Drop what has come."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._done = []
        for path in (self.path, self._record):
            path.unlink(missing_ok=True)

    def publish(self, target: Path) -> None:
        """Give the complete file its name, at once for any reader."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        os.replace(self.path, target)
        self._record.unlink(missing_ok=True)

    def _put(self, data: memoryview, position: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._file, data, position)
        with self._lock:  # Windows
            os.lseek(self._file, position, os.SEEK_SET)
            return os.write(self._file, data)

    def _recorded(self) -> list[ByteRange]:
        try:
            record = json.loads(self._record.read_bytes())
            length = os.lstat(self.path).st_size
            ranges = [(int(start), int(end)) for start, end in record["done"]]
            same = record["identity"] == self._identity and record["size"] == self.size
        except (OSError, ValueError, KeyError, TypeError):
            return []
        whole = all(0 <= start < end <= length for start, end in ranges)
        return merged(ranges) if same and whole else []

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self._identity is None or sum(end - start for start, end in self._done) < WORTH_A_RECORD:
            return
        record = {"identity": self._identity, "size": self.size, "done": self._done}
        fresh = self._record.with_name(f"{self._record.name}.new")
        # without a record the next run begins anew: nothing is wrong
        with suppress(OSError):
            fresh.write_text(json.dumps(record), encoding="utf-8")
            os.replace(fresh, self._record)


def merged(ranges: list[ByteRange]) -> list[ByteRange]:
    """Return ranges in order, those that touch joined."""
    found: list[ByteRange] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def unwritable(path: Path, error: OSError) -> NoSpaceError | FileAccessError:
    """Return the error for a disk that takes no more, or takes nothing."""
    if error.errno in _NO_ROOM:
        return NoSpaceError(
            f"{path.parent} is full ({error.strerror}): make room, and run the same again; what has come is kept."
        )
    if error.errno in _IN_THE_WAY:
        return FileAccessError(
            f"{path} cannot be written: a folder is where the file belongs, or a file where a folder belongs "
            f"({error.strerror}: {error.filename or path}); move it away."
        )
    return FileAccessError(f"{path} cannot be written ({error.strerror or error}): check the folder's permissions.")


def recorded_bytes(target: Path) -> int:
    """Return how many bytes of a file an earlier try has left, as its record says."""
    try:
        record = json.loads(beside(target, RECORD).read_bytes())
        return sum(int(end) - int(start) for start, end in record["done"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
