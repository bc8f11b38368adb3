"""Whether a `.gz` file is whole: quickly by its two ends, or surely by inflating it. Imports nothing of the package."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from zlib_ng import gzip_ng, zlib_ng

_MAGIC = b"\x1f\x8b"
_BLOCK = 4 << 20
# Length, first of dim, bits a voxel and offset of the data in the headers of NIfTI-1 and NIfTI-2
_HEADERS = {348: ("h", 40, 8, 72, "f", 108), 540: ("q", 16, 8, 14, "q", 168)}


def gzip_problem(path: Path, deep: bool = False) -> str | None:
    """Return what is wrong with a `.gz` file, or None.

    Parameters
    ----------
    path
        The file.
    deep
        Inflate all of it, which checks the checksum (CRC-32) and length of each of its members. Else only the first
        bytes, and for NIfTI whether the length at the end is the one that the header at the beginning says: a file that
        was cut off has other bytes there.
    """
    try:
        return _inflated(path) if deep else _ends(path)
    except OSError as error:
        return f"it cannot be read ({error})"


def _inflated(path: Path) -> str | None:
    try:
        with gzip_ng.GzipNGFile(path, "rb") as file:  # type: ignore[no-untyped-call]
            while file.read(_BLOCK):
                pass
    except (EOFError, zlib_ng.error, gzip_ng.BadGzipFile) as error:  # type: ignore[misc]
        return f"it is truncated or damaged ({error})"
    return None


def _ends(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(1 << 16)
        if head[:2] != _MAGIC:
            return "it is no gzip file (its first bytes are others)"
        size = file.seek(0, 2)
        if size < 18:
            return "it is truncated (shorter than an empty gzip file)"
        file.seek(-4, 2)
        (length,) = struct.unpack("<I", file.read(4))
    try:
        expected = nifti_size(zlib.decompressobj(31).decompress(head, 1024))
    except zlib.error as error:
        return f"it is damaged ({error})"
    if expected is not None and length != expected % 2**32:
        return (
            f"it is truncated, or has several members (its end says {length} bytes, modulo 2^32, its header "
            f"{expected % 2**32})"
        )
    return None


def nifti_size(header: bytes) -> int | None:
    """Return how many bytes an inflated NIfTI file has, by its header; None where that is none."""
    if len(header) < 4:
        return None
    for order in "<>":
        (kind,) = struct.unpack_from(f"{order}i", header)
        if kind in _HEADERS and len(header) >= kind:
            dim_type, dim_at, n, bits_at, offset_type, offset_at = _HEADERS[kind]
            dims = struct.unpack_from(f"{order}{n}{dim_type}", header, dim_at)
            (bits,) = struct.unpack_from(f"{order}h", header, bits_at)
            (offset,) = struct.unpack_from(f"{order}{offset_type}", header, offset_at)
            size = 1
            for length in dims[1 : 1 + dims[0]]:
                size *= length
            return int(offset + size * bits // 8)
    return None
