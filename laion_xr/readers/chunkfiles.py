"""Chunks of a stored matrix, decoded from their files on this machine into memory that is used again.

Zarr reads the same files, each through fresh memory (the file, what it inflates to, the block); memory that was never
touched costs several times as much as decoding it. What `laion_xr.store` writes is simple enough to go without:
Blosc, then CRC-32C. Anything else, and any store that is not local, is read by Zarr. Knows no names of sessions.
"""

from __future__ import annotations

import collections
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from laion_xr.errors import CorruptFileError
from laion_xr.readers.base import AnyArray, IntArray

if TYPE_CHECKING:
    import zarr

# Decoding scales with cores until memory is what it waits for
THREADS = min(os.cpu_count() or 1, 4)
# Threads whose memory is kept for the next read: three chunks each, 6 MB
SPARE = 4
# Picked one by one in the time that it takes to begin with the next rectangle, 1 microsecond
VALUES_A_RUN = 1000
# What Blosc adds to what it cannot compress, and the checksum; where its header says how much comes out
OVERHEAD, CHECKSUM, N_BYTES = 16, 4, slice(4, 8)


def share_cores(processes: int) -> None:
    """Decode in as many threads as there are cores for this process, one of so many that read at the same time."""
    global THREADS
    THREADS = max(1, min((os.cpu_count() or 1) // processes, 4))


class RowPart(NamedTuple):
    """Rows of one row of chunks: its number, the rows inside it, and those of the result."""

    chunk: int
    inside: IntArray
    result: IntArray


class ColumnPart(NamedTuple):
    """Columns of one column of chunks: its number, the columns inside it, those of the result, and starts of runs."""

    chunk: int
    inside: IntArray
    result: IntArray
    runs: IntArray


@dataclass(frozen=True)
class ChunkFiles:
    """A two-dimensional Zarr array of float32 in a local folder: little-endian, Blosc, CRC-32C.

    Attributes
    ----------
    folder
        Of the array.
    chunks
        Rows and columns of a chunk.
    separator
        Between the numbers of a chunk in its file's name.
    """

    folder: str
    chunks: tuple[int, int]
    separator: str

    @classmethod
    def of(cls, array: zarr.Array[Any]) -> ChunkFiles | None:
        """Return the files of an array, or None where they are not of this kind."""
        from zarr.storage import LocalStore  # noqa: PLC0415 - a quarter of a second, and only a store needs it

        if not isinstance(array.store, LocalStore):
            return None
        try:
            checked_blosc()
        except ImportError:
            return None
        # by what the metadata say: the classes differ between releases of Zarr
        metadata: Any = array.metadata.to_dict()
        codecs = [codec["name"] for codec in metadata.get("codecs", ())]
        keys, grid = metadata.get("chunk_key_encoding", {}), metadata.get("chunk_grid", {})
        if (
            codecs != ["bytes", "blosc", "crc32c"]
            or metadata["codecs"][0].get("configuration", {}).get("endian") != "little"
            or array.dtype != np.float32
            or array.ndim != 2
            or keys.get("name") != "default"
            or grid.get("name") != "regular"
        ):
            return None
        separator = str(keys.get("configuration", {}).get("separator", "/"))
        return cls(str(array.store.root / array.path), (int(array.chunks[0]), int(array.chunks[1])), separator)

    def fill(self, rows: IntArray, columns: IntArray, out: AnyArray) -> None:
        """Fill `out` with rows and columns of the matrix, in any order; each chunk is decoded once.

        Raises
        ------
        CorruptFileError
            A chunk is lost, or fails its checksum.
        """
        row_parts, column_parts = list(self._rows(rows)), list(self._columns(columns))
        todo = list(itertools.product(row_parts, column_parts))
        n = min(THREADS, -(-len(todo) // 2))
        if n < 2:
            self._decode(todo, out)
            return
        # threads of this read alone: none outlives it, none is lost in a fork
        with ThreadPoolExecutor(n, thread_name_prefix="laion-xr-chunks") as pool:
            for done in [pool.submit(self._decode, todo[i::n], out) for i in range(n)]:
                done.result()

    def buffers(self) -> tuple[AnyArray, AnyArray]:
        """Return room for a chunk as it is in its file, and for what it decodes to."""
        packed = np.empty(4 * self.chunks[0] * self.chunks[1] + OVERHEAD + CHECKSUM, np.uint8)
        return packed, np.empty(self.chunks, "<f4")

    def path(self, row: int, column: int) -> str:
        """Return the path of a chunk's file."""
        return f"{self.folder}/{self._key(row, column)}"

    def load(self, row: int, column: int, packed: AnyArray, block: AnyArray) -> None:
        """Decode a chunk into `block`, by way of `packed`, as `buffers` returns them.

        Raises
        ------
        CorruptFileError
            The chunk is lost, or fails its checksum.
        """
        checksum_of, _, decompress = checked_blosc()
        name = f"{self.folder.rpartition('/')[2]}/{self._key(row, column)}"
        try:
            with open(self.path(row, column), "rb", buffering=0) as file:
                size = file.readinto(packed.data)
        except FileNotFoundError:
            raise CorruptFileError(f"expected a chunk {name}, found none") from None
        data, checksum = packed[: max(size - CHECKSUM, 0)], packed[max(size - CHECKSUM, 0) : size]
        if len(data) < OVERHEAD or checksum_of(data) != int.from_bytes(checksum, "little"):
            raise CorruptFileError(f"the chunk {name} fails its checksum")
        if int.from_bytes(data[N_BYTES], "little") != block.nbytes:
            raise CorruptFileError(f"expected {block.nbytes} bytes in the chunk {name}, found another number")
        decompress(data, block)

    def _key(self, row: int, column: int) -> str:
        return f"c{self.separator}{row}{self.separator}{column}"

    def _decode(self, todo: Sequence[tuple[RowPart, ColumnPart]], out: AnyArray) -> None:
        room = _Room.free(self)
        for rows, columns in todo:
            self.load(rows.chunk, columns.chunk, room.packed, room.block)
            place(room.block, rows, columns, out, room.picked)
        _spare.append(room)

    def _rows(self, rows: IntArray) -> Iterator[RowPart]:
        for picks in _grouped(rows // self.chunks[0]):
            chunk = int(rows[picks[0]]) // self.chunks[0]
            yield RowPart(chunk, rows[picks] - chunk * self.chunks[0], picks)

    def _columns(self, columns: IntArray) -> Iterator[ColumnPart]:
        order = np.argsort(columns, kind="stable")
        ordered = columns[order]
        cuts = np.flatnonzero(np.diff(ordered // self.chunks[1])) + 1
        for inside, result in zip(np.split(ordered, cuts), np.split(order, cuts), strict=True):
            chunk = int(inside[0]) // self.chunks[1]
            runs = np.flatnonzero((np.diff(inside) != 1) | (np.diff(result) != 1)) + 1
            yield ColumnPart(chunk, inside - chunk * self.chunks[1], result, np.array([0, *runs, len(inside)]))


class _Room:
    """Memory that decoding a chunk takes: the chunk in its file, decoded, and the columns that are picked from it."""

    def __init__(self, files: ChunkFiles) -> None:
        self.chunks = files.chunks
        self.packed, self.block = files.buffers()
        self.picked = np.empty(files.chunks[0] * files.chunks[1], "<f4")

    @classmethod
    def free(cls, files: ChunkFiles) -> _Room:
        """Return room that was used before, or new one."""
        try:
            room = _spare.pop()
        except IndexError:
            return cls(files)
        return room if room.chunks == files.chunks else cls(files)


# What a read leaves for the next: touching new memory takes as long as decoding a chunk into it
_spare: collections.deque[_Room] = collections.deque(maxlen=SPARE)


@functools.cache
def checked_blosc() -> tuple[Callable[..., int], Callable[..., bytes], Callable[..., object]]:
    """Return the checksum, compression and decompression that Zarr itself uses.

    Raises
    ------
    ImportError
        This release of Zarr uses others.
    """
    # only a store needs them, and they take a moment
    from google_crc32c import value  # noqa: PLC0415
    from numcodecs.blosc import compress, decompress  # type: ignore[import-untyped] # noqa: PLC0415

    return value, compress, decompress


def place(block: AnyArray, rows: RowPart, columns: ColumnPart, out: AnyArray, room: AnyArray) -> None:
    """Copy what was asked for from a chunk to its place in the result, by way of `room`.

    Columns that lie together in both are copied as rectangles, unless these are many and narrow. Columns that are asked
    for twice may take more than there is room for, and then new memory.
    """
    inside, result = columns.inside, columns.result
    source, target = _slice(rows.inside), _slice(rows.result)
    if source is None or target is None:
        # rows by number too: one at a time costs a third of what NumPy takes for both at once
        for row, line in zip(rows.result.tolist(), rows.inside.tolist(), strict=True):
            out[row][result] = block[line][inside]
    elif (len(columns.runs) - 1) * VALUES_A_RUN <= len(rows.inside) * len(inside):
        for start, stop in itertools.pairwise(columns.runs.tolist()):
            left, at, n = int(inside[start]), int(result[start]), stop - start
            out[target, at : at + n] = block[source, left : left + n]
    else:
        n = len(rows.inside) * len(inside)
        picked = (room[:n] if n <= len(room) else np.empty(n, room.dtype)).reshape(-1, len(inside))
        # positions are those of a chunk: "clip" changes none, and "raise" would go by way of new memory
        out[target][:, result] = np.take(block[source], inside, axis=1, out=picked, mode="clip")


def _slice(positions: IntArray) -> slice | None:
    first, n = int(positions[0]), len(positions)
    together = int(positions[-1]) - first == n - 1 and bool((np.diff(positions) == 1).all())
    return slice(first, first + n) if together else None


def _grouped(numbers: IntArray) -> Iterator[IntArray]:
    """Yield the positions of each number, in the order in which they stand."""
    order = np.argsort(numbers, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
