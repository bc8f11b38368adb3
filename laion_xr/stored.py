"""What a store holds: sessions that were ingested, complete, with what they were made from.

The reading side, in two small listings and one batch of metadata; `laion_xr.store` writes. Nothing of zarr is imported.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from laion_xr import layout
from laion_xr.errors import DataNotDownloadedError, FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.readers.base import IntArray
from laion_xr.readers.stored import StoredReader

# Group attribute that says what a session was made from; raised when a reader of an older version would go wrong
RECORD = "laion_xr_store"
FORMAT_VERSION = 1
METADATA = "zarr.json"
# The end of a gzip file: CRC-32 and size of what it inflates to
TAIL_BYTES = 8


@dataclass(frozen=True)
class StoredSession:
    """A complete session of a store.

    Attributes
    ----------
    path
        Group, relative to the store: `"sub-03/ses-01"`.
    record
        What the group's attribute `laion_xr_store` says: format, source, checksums, precision.
    """

    location: Location
    path: str
    record: Mapping[str, Any]

    def matches(self, source: Location, entry: FileEntry) -> bool:
        """Whether the session was made from this file as it is now.

        Same size and time; or, where the time differs (a copy, another mount), same size and same end of the gzip
        stream, which holds the CRC-32 of the betas.
        """
        made_from = self.record["source"]
        if made_from["size"] != entry.size or made_from["path"] != entry.path:
            return False
        return bool(made_from["changed"] == entry.changed) or (
            made_from["tail"] != "" and made_from["tail"] == file_tail(source, entry)
        )

    def has_voxels(self, voxels: IntArray) -> bool:
        """Whether the session holds these voxels (increasing C-order flat ids)."""
        return bool(self.record["voxels_crc32"] == voxels_checksum(voxels))

    def reader(self, grid: tuple[int, int, int]) -> StoredReader:
        """Return the reader of its betas."""
        shape = (int(self.record["n_trials"]), int(np.prod(grid)))
        return StoredReader(self.location, self.path, shape, str(self.record["checksum"]))


def voxels_checksum(voxels: IntArray) -> int:
    """Return the CRC-32 of increasing voxel ids."""
    return zlib.crc32(np.ascontiguousarray(np.sort(voxels), dtype="<i8").tobytes())


def file_tail(location: Location, entry: FileEntry) -> str:
    """Return the last bytes of a `.gz` file in hexadecimal; "" for another file: its size says too little."""
    if not entry.path.endswith(".gz") or entry.size < TAIL_BYTES:
        return ""
    if location.is_local:
        with location.open(entry.path) as file:
            file.seek(entry.size - TAIL_BYTES)
            return file.read(TAIL_BYTES).hex()
    return bytes(location.fs.cat_file(location.at(entry.path), entry.size - TAIL_BYTES, entry.size)).hex()


def stored_sessions(store: Location, subject: str) -> dict[str, StoredSession]:
    """Return the complete sessions of a subject in a store; none where there is no store yet.

    Raises
    ------
    FileFormatError
        The store is of a newer format than this version reads.
    """
    groups = {name: f"{subject}/{name}" for name in store.folders(subject) if layout.is_session(name)}
    found = {}
    for name, path in groups.items():
        record = read_record(store, path)
        if record is None or not record.get("complete"):
            continue
        if record["format"] > FORMAT_VERSION:
            raise FileFormatError(
                f"{store.show(path)} is of store format {record['format']}, and this version of laion_xr reads "
                f"{FORMAT_VERSION}: update laion_xr, or ingest again."
            )
        found[name] = StoredSession(store, path, record)
    return found


def read_record(store: Location, path: str) -> dict[str, Any] | None:
    """Return what a group says of itself; None where it is not (yet) a group of a store."""
    try:
        metadata = json.loads(store.read_bytes(f"{path}/{METADATA}"))
    except (DataNotDownloadedError, ValueError):
        return None
    record = metadata.get("attributes", {}).get(RECORD)
    return record if isinstance(record, dict) else None
