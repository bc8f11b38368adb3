"""The Zarr arrays of a store: opening them on any file system, and filling a result from chunks decoded once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from laion_xr.errors import CorruptFileError
from laion_xr.location import Location
from laion_xr.readers.base import AnyArray, IntArray
from laion_xr.readers.chunkfiles import ChunkFiles

if TYPE_CHECKING:
    import zarr
    from zarr.storage import FsspecStore, LocalStore

# Fill value of the betas: Zarr returns it, without a word, for a chunk whose file is lost
LOST = float(np.finfo(np.float32).min)
BLOCK_BYTES = 64 << 20  # decoded at once: bounds memory above the result, and is many chunks


def open_group(location: Location, path: str, mode: Any = "r", use_consolidated: bool | None = None) -> zarr.Group:
    """Open a group of a store, local or on any fsspec file system."""
    import zarr  # noqa: PLC0415 - a quarter of a second, and only a store needs it

    store = zarr_store(location, mode != "r")
    return zarr.open_group(store, path=path, mode=mode, zarr_format=3, use_consolidated=use_consolidated)


def zarr_store(location: Location, writable: bool = False) -> LocalStore | FsspecStore:
    """Return the Zarr store of a location."""
    from zarr.storage import FsspecStore, LocalStore  # noqa: PLC0415 - as above

    if location.is_local:
        return LocalStore(location.url, read_only=not writable)
    with warnings.catch_warnings():
        # a file system that is not asynchronous is wrapped, and zarr says so each time
        warnings.simplefilter("ignore")
        return FsspecStore.from_url(location.url, storage_options=location.options, read_only=not writable)


def fill(betas: zarr.Array[Any], rows: IntArray, columns: IntArray, out: AnyArray, lost: Callable[[str], bool]) -> None:
    """Fill `out` with rows and columns of a stored matrix, stretch by stretch, each chunk decoded once.

    Parameters
    ----------
    betas
        `(trial, voxel)` in the store's order.
    rows, columns
        Positions, in any order.
    out
        `(len(rows), len(columns))`, written.
    lost
        Says whether the chunk of a key is not there; asked where its first value is the fill value.

    Raises
    ------
    CorruptFileError
        A chunk is not there.
    """
    if (files := ChunkFiles.of(betas)) is not None:
        files.fill(rows, columns, out)
        return
    height, width = betas.chunks
    order = np.argsort(columns, kind="stable")
    ordered = columns[order]
    in_order = bool((order[1:] > order[:-1]).all())
    for picks in _row_groups(rows, height):
        first, last = int(rows[picks].min()), int(rows[picks].max()) + 1
        local = rows[picks] - first
        every = len(local) == last - first and bool((np.diff(local) == 1).all())
        most = max(BLOCK_BYTES // ((last - first) * width * betas.dtype.itemsize), 1)
        for start, stop in _stretches(ordered // width, most):
            low, high = int(ordered[start]), int(ordered[stop - 1]) + 1
            block = np.asarray(betas[first:last, low:high])
            starts = np.array([0, *range(width - low % width, high - low, width)])
            for at in starts[block[0, starts] == LOST].tolist():
                key = betas.metadata.encode_chunk_key((first // height, (low + at) // width))
                if lost(key):
                    raise CorruptFileError(f"expected a chunk {betas.basename}/{key}, found none")
            if not every:
                block = block[local]
            where = ordered[start:stop] - low
            target = slice(start, stop) if in_order else order[start:stop]
            solid = bool((np.diff(where) == 1).all())  # by their number alone, repeated columns would pass
            values = block if solid else np.take(block, where, axis=1)
            if len(picks) == len(rows) and bool((np.diff(picks) == 1).all()):
                out[:, target] = values
            else:
                out[picks if not isinstance(target, np.ndarray) else picks[:, None], target] = values


def _row_groups(rows: IntArray, height: int) -> Iterator[IntArray]:
    """Split the positions in `rows` into groups of one row of chunks each."""
    chunk = rows // height
    order = np.argsort(rows, kind="stable")
    cuts = np.flatnonzero(np.diff(chunk[order])) + 1
    yield from np.split(order, cuts)


def _stretches(chunks: IntArray, most: int) -> Iterator[tuple[int, int]]:
    """Split increasing chunk numbers into runs of touching chunks, `most` chunks wide at the most."""
    distinct, starts = np.unique(chunks, return_index=True)
    ends = [*starts[1:].tolist(), len(chunks)]
    first = 0
    for i in range(1, len(distinct) + 1):
        if i == len(distinct) or distinct[i] - distinct[i - 1] > 1 or distinct[i] - distinct[first] >= most:
            yield int(starts[first]), int(ends[i - 1])
            first = i
