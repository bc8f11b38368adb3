"""Reads betas of an ingested session: a Zarr array `(trial, voxel)` whose voxels are in an order of the store's own."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from laion_xr.errors import CorruptFileError, FileFormatError
from laion_xr.location import Location
from laion_xr.readers.base import AnyArray, IntArray, checked_pick, result_array, trial_positions

if TYPE_CHECKING:
    import zarr
    from zarr.storage import FsspecStore, LocalStore

BETAS, VOXEL = "betas", "voxel"
# Fill value of the betas: Zarr returns it, without a word, for a chunk whose file is lost
LOST = float(np.finfo(np.float32).min)
# Decoded at once: bounds memory above the result, and is many chunks
BLOCK_BYTES = 64 << 20


@dataclass(frozen=True)
class StoredReader:
    """A session's betas in a store, as a matrix `(trial, grid voxel)`.

    Parameters
    ----------
    location
        The store.
    path
        The session's group in it.
    shape
        Trials, voxels of the grid.
    checksum
        Of the values, as the session's record has it: another ingest gives another token.
    """

    location: Location
    path: str
    shape: tuple[int, int]
    checksum: str

    # a part of a session costs a part of the reading: the lazy layer may split it by voxels
    splits_voxels = True

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Betas are float32."""
        return np.dtype(np.float32)

    @property
    def token(self) -> tuple[object, ...]:
        """Identity of the group and its values."""
        return "stored", self.location.url, self.path, self.shape, self.checksum

    def read(self, trials: IntArray | slice, voxels: IntArray, out: AnyArray | None = None) -> AnyArray:
        """Return the picked trials of the picked voxels; only chunks that hold some are read.

        Raises
        ------
        CorruptFileError
            A chunk fails its checksum; `laion-xr verify --repair` writes it anew.
        FileFormatError
            A voxel that the session does not hold.
        """
        rows = checked_pick(trial_positions(trials, self.shape[0]), self.shape[0], "trial")
        picked = checked_pick(voxels, self.shape[1], "voxel")
        out = result_array((len(rows), len(picked)), self.dtype, out)
        if not out.size:
            return out
        name = self.location.show(self.path)
        try:
            group = open_group(self.location, self.path)
            betas = _array(group, BETAS)
            columns = _columns(self, picked, name)
            fill(betas, rows, columns, out)
        except (ValueError, RuntimeError, OSError, KeyError) as error:
            if isinstance(error, FileFormatError) and not isinstance(error, CorruptFileError):
                raise
            raise CorruptFileError(
                f"{name} cannot be read: {error}. Run 'laion-xr verify --repair' on the store, or open with "
                "source='nifti'."
            ) from None
        return out


def open_group(location: Location, path: str, mode: Any = "r") -> zarr.Group:
    """Open a group of a store, local or on any fsspec file system."""
    import zarr  # noqa: PLC0415 - a quarter of a second, and only a store needs it

    return zarr.open_group(zarr_store(location, mode != "r"), path=path, mode=mode, zarr_format=3)


def zarr_store(location: Location, writable: bool = False) -> LocalStore | FsspecStore:
    """Return the Zarr store of a location."""
    from zarr.storage import FsspecStore, LocalStore  # noqa: PLC0415 - as above

    if location.is_local:
        return LocalStore(location.url, read_only=not writable)
    with warnings.catch_warnings():
        # a file system that is not asynchronous is wrapped, and zarr says so each time
        warnings.simplefilter("ignore")
        return FsspecStore.from_url(
            location.url, storage_options=dict(location.storage_options), read_only=not writable
        )


def fill(betas: zarr.Array[Any], rows: IntArray, columns: IntArray, out: AnyArray) -> None:
    """Fill `out` with rows and columns of a stored matrix, stretch by stretch, each chunk decoded once.

    Parameters
    ----------
    betas
        `(trial, voxel)` in the store's order.
    rows, columns
        Positions, in any order.
    out
        `(len(rows), len(columns))`, written.
    """
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
            if (block[0, [0, *range(width - low % width, high - low, width)]] == LOST).any():
                raise CorruptFileError(f"a chunk of trials {first} to {last - 1} is not there")
            if not every:
                block = block[local]
            where = ordered[start:stop] - low
            target = slice(start, stop) if in_order else order[start:stop]
            solid = len(where) == high - low
            values = block if solid else np.take(block, where, axis=1)
            if len(picks) == len(rows) and every:
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


def _columns(reader: StoredReader, picked: IntArray, name: str) -> IntArray:
    """Return the store's columns of grid ids."""
    ids, columns = _stored_voxels(reader)
    at = np.minimum(np.searchsorted(ids, picked), len(ids) - 1)
    missing = picked[ids[at] != picked]
    if len(missing):
        raise FileFormatError(
            f"{name} does not hold {len(missing)} of the voxels asked for (such as {int(missing[0])}): it was made "
            "with another mask; open with source='nifti', or ingest again."
        )
    found: IntArray = columns[at]
    return found


@functools.lru_cache(maxsize=32)
def _stored_voxels(reader: StoredReader) -> tuple[IntArray, IntArray]:
    # sorted ids and their columns: 4 MB a session, and asked for by every task
    stored = np.asarray(_array(open_group(reader.location, reader.path), VOXEL)[...])
    columns = np.argsort(stored, kind="stable")
    return stored[columns], columns


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    import zarr  # noqa: PLC0415 - as above

    found = group[name]
    if not isinstance(found, zarr.Array):
        raise FileFormatError(f"{group.store_path} has no array {name!r}: ingest the session again.")
    return found
