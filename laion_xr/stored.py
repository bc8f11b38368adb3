"""What a store holds: sessions that were ingested, complete, with what they were made from.

The reading side, in one small listing and one batch of metadata; `laion_xr.store` writes. Nothing of zarr is imported.
"""

from __future__ import annotations

import json
import os
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from laion_xr import layout
from laion_xr.errors import DataNotDownloadedError, FileFormatError, ReadCostWarning
from laion_xr.location import FileEntry, Location
from laion_xr.readers.base import IntArray
from laion_xr.readers.pointers import pointer_error
from laion_xr.readers.stored import METADATA as METADATA  # for those who look for stored sessions
from laion_xr.readers.stored import RECORD as RECORD
from laion_xr.readers.stored import StoredReader

# Raised when a reader of an older version would go wrong
FORMAT_VERSION = 1
# What a record must have to be one
NEEDED = ("checksum", "checksums", "n_trials", "source", "voxels_crc32")
# The end of a gzip file: CRC-32 and size of what it inflates to
TAIL_BYTES = 8
# Pointers that git-annex and git-lfs leave where the data are not fetched are smaller
POINTER_BYTES = 512


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

    def is_current(self, source: Location, files: Mapping[str, FileEntry]) -> bool:
        """Whether the session stands for the betas of these files (kind -> entry).

        The file that it was made from is there, unchanged; or it is gone, and no other NIfTI file took its place.
        """
        made_from = self.record["source"]["path"]
        there = {entry.path: entry for entry in files.values() if _is_data(source, entry)}
        if made_from in there:
            return self.matches(source, there[made_from])
        return "betas" not in files or files["betas"].path not in there

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
    return location.read_range(entry.path, entry.size - TAIL_BYTES, entry.size).hex()


def stored_sessions(store: Location, subject: str) -> dict[str, StoredSession]:
    """Return the complete sessions of a subject in a store; none where there is no store yet.

    Raises
    ------
    FileFormatError
        The store is of a newer format than this version reads.
    """
    found = {}
    for name, record in session_records(store, subject).items():
        if record is None or not record.get("complete"):
            continue
        path = f"{subject}/{name}"
        if record.get("format", 0) > FORMAT_VERSION:
            raise FileFormatError(
                f"{store.show(path)} is of store format {record['format']}, and this version of laion_xr reads "
                f"{FORMAT_VERSION}: update laion_xr, choose another store, or open with source='nifti'."
            )
        if all(key in record for key in NEEDED):
            found[name] = StoredSession(store, path, record)
    return found


def no_store(place: Location) -> str | None:
    """Return what is wrong with a place that is no store; None for a store, of whomever it holds sessions."""
    try:
        place.read_bytes(METADATA)
    except DataNotDownloadedError:
        if not place.exists():
            return f"There is no store at {place.url}: nothing is there"
        return f"{place.url} is no store of laion_xr: it has no {METADATA}"
    if not any(layout.is_subject(name) for name in place.folders("")):
        return f"{place.url} is no store of laion_xr: it holds no subject"
    return None


def warn_no_store(place: Location) -> None:
    """Warn where a place that is to be read from is no store: its name may be mistyped."""
    problem = no_store(place)
    if problem is not None:
        warnings.warn(
            f"{problem}. The betas are inflated from their source instead, at every read: correct store= (or "
            f"LAION_XR_STORE, or 'laion-xr config set store'), or make one with laion_xr.ingest(root, {place.url!r}).",
            ReadCostWarning,
            stacklevel=2,
        )


def session_records(store: Location, subject: str) -> dict[str, dict[str, Any] | None]:
    """Return what each session's group says of itself; None where it is not (yet) complete, or cannot be read."""
    if not store.is_local:
        # Zarr writes through a file system of its own, of which this one's listings know nothing
        store.fs.invalidate_cache()
    paths = {n: f"{subject}/{n}/{METADATA}" for n in store.folders(subject) if layout.is_session(n)}
    try:
        data: Mapping[str, bytes | None] = store.read_many(paths.values())
    except DataNotDownloadedError:  # one of them is being written, or was removed
        data = {path: _read_or_none(store, path) for path in paths.values()}
    return {name: _record(data[path]) for name, path in paths.items()}


def _read_or_none(store: Location, path: str) -> bytes | None:
    try:
        return store.read_many([path])[path]
    except DataNotDownloadedError:
        return None


def _record(metadata: bytes | None) -> dict[str, Any] | None:
    try:
        record = json.loads(metadata or b"").get("attributes", {}).get(RECORD)
    except (ValueError, AttributeError):
        return None
    return record if isinstance(record, dict) else None


def _is_data(location: Location, entry: FileEntry) -> bool:
    """Whether a file is there, and not a link or a pointer to data that were not fetched."""
    if not location.is_local:
        return True
    if not os.path.exists(location.at(entry.path)):
        return False
    return entry.size > POINTER_BYTES or pointer_error(location.read_bytes(entry.path), entry.path) is None
