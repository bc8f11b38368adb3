"""Reads betas of an ingested session: a Zarr array `(trial, voxel)` whose voxels are in an order of the store's own.

A session may be replaced by another ingest while it is read. What says of which values it is, the record in its
metadata, is compared before and after: values are those of one ingest, or there is an error.
"""

from __future__ import annotations

import functools
import json
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from laion_xr.errors import (
    CorruptFileError,
    DataNotDownloadedError,
    FileAccessError,
    FileFormatError,
    LaionXRError,
    StoreError,
    UnreachableError,
)
from laion_xr.location import Location
from laion_xr.readers.base import AnyArray, IntArray, checked_pick, result_array, trial_positions
from laion_xr.readers.zarrarrays import fill, zarr_store

if TYPE_CHECKING:
    import zarr

BETAS, VOXEL = "betas", "voxel"
METADATA = "zarr.json"
# Group attribute that says what a session was made from
RECORD = "laion_xr_store"
# A session that is replaced is away for the time between two renames
ATTEMPTS, PAUSE = 4, 0.05


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
            A chunk is lost or fails its checksum; `laion-xr verify --repair` writes it anew.
        FileFormatError
            A voxel that the session does not hold.
        StoreError
            The session is not there any more, or was replaced by other values.
        """
        rows = checked_pick(trial_positions(trials, self.shape[0]), self.shape[0], "trial")
        picked = checked_pick(voxels, self.shape[1], "voxel")
        out = result_array((len(rows), len(picked)), self.dtype, out)
        if not out.size:
            return out
        failed = False
        for _ in range(ATTEMPTS):
            before = self._metadata()
            failure = self._try(rows, picked, _record(before), out)
            if isinstance(failure, (UnreachableError, FileAccessError)):
                raise failure
            if self._metadata() == before:
                if failure is None:
                    return out
                if failed:
                    raise failure
            # replaced meanwhile by the same values, as a repair does, or away for a moment: once more
            failed = failure is not None
        raise self._replaced()

    def layout(self, voxels: IntArray) -> tuple[IntArray, zarr.Array[Any]]:
        """Return the columns of voxels (C-order flat grid ids) in the stored array, and that array; reads no betas.

        Raises
        ------
        FileFormatError, StoreError, CorruptFileError
            As `read`.
        """
        with self.location.explained(self.path):
            ids, columns = _stored_voxels(self, _record(self._metadata())["checksums"][VOXEL])
            return _columns(ids, columns, voxels, self.location.show(self.path)), _betas(self)

    def blocks(self, voxels: IntArray) -> list[IntArray]:
        """Return positions in `voxels` (C-order flat grid ids) by the column of chunks in which they are stored.

        What is computed voxel by voxel decodes each chunk once if it takes such blocks, one after the other.
        """
        columns, betas = self.layout(voxels)
        chunk = columns // betas.chunks[1]
        order = np.argsort(chunk, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(chunk[order])) + 1)

    def _metadata(self) -> bytes:
        """Return the group's metadata, in which the record is that of these values."""
        path = f"{self.path}/{METADATA}"
        for attempt in range(ATTEMPTS):
            try:
                data = self.location.read_many([path])[path]
                break
            except DataNotDownloadedError:
                if attempt == ATTEMPTS - 1:
                    raise StoreError(
                        f"{self.location.show(self.path)} is not in the store any more: open the dataset again, which "
                        "then reads the session from its source, or ingest it again."
                    ) from None
                time.sleep(PAUSE)
        if _record(data).get("checksum") != self.checksum:
            raise self._replaced()
        return data

    def _replaced(self) -> StoreError:
        return StoreError(
            f"{self.location.show(self.path)} was replaced by other betas since this dataset was opened: open the "
            "dataset again."
        )

    def _try(self, rows: IntArray, picked: IntArray, record: dict[str, Any], out: AnyArray) -> LaionXRError | None:
        """Fill `out`, or return why not."""
        name = self.location.show(self.path)
        kind: type[LaionXRError] = CorruptFileError
        try:
            with self.location.explained(self.path):
                ids, columns = _stored_voxels(self, record["checksums"][VOXEL])
                betas, shape = _betas(self), (self.shape[0], len(ids))
                if betas.shape != shape or betas.dtype != self.dtype:
                    raise CorruptFileError(f"expected betas of shape {shape}, found {betas.dtype} of {betas.shape}")
                fill(betas, rows, _columns(ids, columns, picked, name), out, self._lost)
            return None
        except CorruptFileError as error:
            text = str(error)
        except (FileFormatError, FileAccessError, UnreachableError) as error:
            return error
        except PermissionError:
            return self.location.denied(self.path)
        except MemoryError:
            raise
        # what a damaged file makes a codec raise is anyone's guess
        except Exception as error:
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                kind = StoreError
            text = f"{type(error).__name__}: {error}"
        return kind(
            f"{name} cannot be read ({text.rstrip('.')}). Run 'laion-xr verify --repair' on the store, or open with "
            "source='nifti'."
        )

    def _lost(self, key: str) -> bool:
        """Whether the file of a chunk is not there."""
        path = f"{self.path}/{BETAS}/{key}"
        return not self.location.ask(path, lambda fs: bool(fs.exists(self.location.at(path))))


@functools.lru_cache(maxsize=64)
def _record(metadata: bytes) -> dict[str, Any]:
    try:
        found = json.loads(metadata).get("attributes", {}).get(RECORD)
    except (ValueError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _columns(ids: IntArray, columns: IntArray, picked: IntArray, name: str) -> IntArray:
    """Return the store's columns of grid ids."""
    at = np.minimum(np.searchsorted(ids, picked), len(ids) - 1)
    missing = picked[ids[at] != picked]
    if len(missing):
        raise FileFormatError(
            f"{name} does not hold {len(missing)} of the voxels asked for (such as {int(missing[0])}): it was made "
            "with another mask; open with source='nifti', or ingest again."
        )
    return np.take(columns, at)


@functools.lru_cache(maxsize=32)
def _stored_voxels(reader: StoredReader, checksum: int) -> tuple[IntArray, IntArray]:
    # sorted ids and their columns: 4 MB a session, and asked for by every task
    stored = np.asarray(_array(reader, VOXEL)[...])
    # not by its codec alone: ids of another session, or of a lost chunk, would be betas of other voxels
    if zlib.crc32(np.ascontiguousarray(stored, dtype="<i8").tobytes()) != checksum:
        raise CorruptFileError(f"{VOXEL} fails its checksum")
    columns = np.argsort(stored, kind="stable")
    return stored[columns], columns


def _betas(reader: StoredReader) -> zarr.Array[Any]:
    if not reader.location.is_local:  # what holds a connection is not kept: a forked process has none
        return _array(reader, BETAS)
    path = f"{reader.path}/{BETAS}/{METADATA}"
    return _local_betas(reader, reader.location.read_many([path])[path])


@functools.lru_cache(maxsize=64)
def _local_betas(reader: StoredReader, metadata: bytes) -> zarr.Array[Any]:
    # Zarr takes a millisecond to open an array, by way of another thread, and a session is read in many parts
    import zarr  # noqa: PLC0415 - as above
    from zarr.storage import StorePath  # noqa: PLC0415 - as above

    where = StorePath(zarr_store(reader.location), f"{reader.path}/{BETAS}")
    return zarr.Array.from_dict(where, json.loads(metadata))


def _array(reader: StoredReader, name: str) -> zarr.Array[Any]:
    import zarr  # noqa: PLC0415 - as above

    return zarr.open_array(zarr_store(reader.location), path=f"{reader.path}/{name}", mode="r", zarr_format=3)
