"""Forward streams over a file, local or remote: the next blocks are fetched while this one is used.

A remote file is streamed once with a few range reads in flight, never to a temporary file. A range that fails is asked
for again by itself (`Location.read_range`), so that a stream goes on where it was. Nothing of formats is known here.
"""

from __future__ import annotations

import io
import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO, cast

from laion_xr.location import FileEntry, Location

# The first block is small: a header, a pointer file and an early stop cost one short request.
FIRST_BLOCK = 1 << 16
BLOCK = 8 << 20
AHEAD = 4

ByteRange = tuple[int, int]


class RangeFetcher:
    """Yields byte ranges of a remote file in order, with up to `ahead` requests in flight.

    Iterating starts the requests; the number in flight grows by one a block, so that a short read costs little.
    Close it (or use `with`) to stop fetching: requests that wait are dropped, those under way are waited for, and
    no thread outlives it.
    """

    def __init__(self, location: Location, entry: FileEntry, ranges: Iterable[ByteRange], ahead: int = AHEAD) -> None:
        self._location = location
        self._entry = entry
        self._ranges = iter(ranges)
        self._ahead = ahead
        self._pending: deque[Future[bytes]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._served = 0
        self._closed = False
        self._fs: object = None
        self._stop = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        """Return itself: the ranges are yielded once."""
        return self

    def __next__(self) -> bytes:
        """Return the bytes of the next range."""
        if self._closed:
            raise StopIteration
        room = min(self._ahead, self._served + 1) - len(self._pending)
        for start, end in itertools.islice(self._ranges, max(room, 0)):
            if self._pool is None:
                # one for all its threads: fsspec has one a thread of those that are not asynchronous
                self._fs = self._location.fs
                self._pool = ThreadPoolExecutor(self._ahead, thread_name_prefix="laion-xr-fetch")
            self._pending.append(self._pool.submit(self._fetch, start, end))
        if not self._pending:
            self.close()
            raise StopIteration
        block = self._pending.popleft().result()
        self._served += 1
        return block

    def close(self) -> None:
        """Stop fetching and end the threads."""
        self._closed = True
        self._stop.set()  # nobody waits any more for another attempt
        self._pending.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> RangeFetcher:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Stop fetching and end the threads."""
        self.close()

    def _fetch(self, start: int, end: int) -> bytes:
        return self._location.read_range(self._entry.path, start, end, fs=self._fs, stop=self._stop)


class ReadAheadFile(io.RawIOBase):
    """A remote file, readable forward once; memory is bounded by the blocks in flight."""

    def __init__(self, location: Location, entry: FileEntry, block: int = BLOCK, ahead: int = AHEAD) -> None:
        super().__init__()
        self.name = location.show(entry.path)
        self._fetcher = RangeFetcher(location, entry, _blocks(size_of(location, entry), block), ahead)
        self._block = memoryview(b"")

    def readable(self) -> bool:
        """Return True: the file is for reading."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with what is at hand of the next bytes; 0 at the end."""
        if self.closed:  # the base class leaves this to its subclasses
            raise ValueError(f"{self.name} is closed")
        if not self._block:
            self._block = memoryview(next(self._fetcher, b""))
        n = min(len(buffer), len(self._block))
        buffer[:n] = self._block[:n]
        self._block = self._block[n:]
        return n

    def close(self) -> None:
        """Stop fetching, end the threads and drop what was fetched."""
        if not self.closed:
            self._fetcher.close()
            self._block = memoryview(b"")
        super().close()


def open_stream(location: Location, entry: FileEntry) -> BinaryIO:
    """Open a file to be read forward once.

    Parameters
    ----------
    location
        The root.
    entry
        The file, as the catalogue lists it.

    Returns
    -------
    An unbuffered file for a local one (seekable); for a remote one a stream that fetches ahead.

    Raises
    ------
    DataNotDownloadedError
        The file is not there.
    FileAccessError
        The file may not be read.
    """
    if location.is_local:
        return location.open(entry.path)
    if location.uncached is not location:  # what is read through a cache is small, and kept whole
        return io.BytesIO(location.read_bytes(entry))
    return cast(BinaryIO, ReadAheadFile(location, entry, BLOCK, AHEAD))


def size_of(location: Location, entry: FileEntry) -> int:
    """Return the size of a file: as listed, or asked for where the listing does not know (some HTTP servers)."""
    if entry.size > 0 or location.is_local:
        return entry.size
    return location.ask(entry.path, lambda fs: int(fs.size(location.at(entry.path)) or 0))


def _blocks(size: int, block: int) -> Iterator[ByteRange]:
    edges = [0, *range(min(FIRST_BLOCK, size), size, block), size]
    return ((a, b) for a, b in itertools.pairwise(edges) if b > a)
