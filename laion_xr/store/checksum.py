"""Checksums of what a store holds: CRC-32 of values, so that they can be checked without the source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

AnyArray = npt.NDArray[np.generic]


def crc32(values: AnyArray) -> int:
    """Return the CRC-32 of an array's values: little-endian bytes in C order; text as UTF-8, each ended by a NUL."""
    if values.dtype.kind not in "iufb":
        return int(zlib_ng.crc32("".join(f"{text}\0" for text in values.ravel().tolist()).encode()))
    stored = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return int(zlib_ng.crc32(stored.view(np.uint8).ravel().data) if stored.size else 0)


def digest(checksums: Mapping[str, Any]) -> str:
    """Return one checksum of many: SHA-256 of their JSON, sixteen hexadecimal digits."""
    return hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()[:16]
