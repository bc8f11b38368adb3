"""Checksums of what a store holds: CRC-32 of values, so that they can be checked without the source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

if TYPE_CHECKING:
    import zarr

AnyArray = npt.NDArray[np.generic]
BETAS = "betas"


def crc32(values: AnyArray) -> int:
    """Return the CRC-32 of an array's values: little-endian bytes in C order; text as UTF-8, each ended by a NUL."""
    if values.dtype.kind not in "iufb":
        return int(zlib_ng.crc32("".join(f"{text}\0" for text in values.ravel().tolist()).encode()))
    stored = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return int(zlib_ng.crc32(stored.view(np.uint8).ravel().data) if stored.size else 0)


def digest(checksums: Mapping[str, Any]) -> str:
    """Return one checksum of many: SHA-256 of their JSON, sixteen hexadecimal digits."""
    return hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()[:16]


def differing_table(group: zarr.Group, checksums: Mapping[str, Any]) -> str | None:
    """Return the first array of a session, the betas apart, whose values are not those of its checksum."""
    for name, expected in checksums.items():
        if name != BETAS and crc32(np.asarray(group[name][...])) != expected:  # type: ignore[index]
            return name
    return None


def differing_trials(group: zarr.Group, checksums: Mapping[str, Any], n_trials: int, block: int) -> str | None:
    """Return the first block of trials whose betas are not those of their checksum, in words."""
    betas = group[BETAS]
    for i, start in enumerate(range(0, n_trials, block)):
        stop = min(start + block, n_trials)
        if crc32(np.asarray(betas[start:stop])) != checksums[BETAS][i]:  # type: ignore[index]
            return f"trials {start} to {stop - 1}"
    return None
