"""Whether a `.gz` or `.nii` file is whole: quickly by its two ends, or surely by inflating it.

Imports nothing of the package.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from zlib_ng import gzip_ng, zlib_ng

_MAGIC = b"\x1f\x8b"
_BLOCK = 4 << 20
# More than any header has, also where the first members of the file are short
_HEAD = 1 << 16
# Length, first of dim, bits a voxel and offset of the data in the headers of NIfTI-1 and NIfTI-2
_HEADERS = {348: ("h", 40, 8, 72, "f", 108), 540: ("q", 16, 8, 14, "q", 168)}
_LONGEST_HEADER = 540
_NO_HEADER = "it is truncated, or no NIfTI file (it does not begin with a whole header)"


def gzip_problem(path: Path, deep: bool = False) -> str | None:
    """Return what is wrong with a `.gz` file, or None.

    Parameters
    ----------
    path
        The file.
    deep
        Inflate all of it, which checks the checksum (CRC-32) and length of each of its members. Else only the first
        bytes, and for NIfTI whether the length at the end is the one that the header at the beginning says: a file that
        was cut off has other bytes there. So has one of several members, which is whole: what differs is inflated.
    """
    try:
        return _inflated(path) if deep else _ends(path)
    except OSError as error:
        return f"it cannot be read ({error})"


def nifti_problem(path: Path) -> str | None:
    """Return what is wrong with a `.nii` file that is not compressed, by its header and its length; or None."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            expected = nifti_size(file.read(_LONGEST_HEADER))
    except OSError as error:
        return f"it cannot be read ({error})"
    return _NO_HEADER if expected is None else _wrong_length(size, expected)


def members_problem(path: Path) -> str | None:
    """Return what is wrong with the gzip members of a file, all of which are inflated, whatever they hold; or None."""
    try:
        return _inflate(path)[0]
    except OSError as error:
        return f"it cannot be read ({error})"


def _inflated(path: Path) -> str | None:
    problem, length, head = _inflate(path)
    if problem is not None or not path.name.endswith(".nii.gz"):
        return problem
    expected = nifti_size(head)
    return _NO_HEADER if expected is None else _wrong_length(length, expected)


def _inflate(path: Path) -> tuple[str | None, int, bytes]:
    """Return the problem, how many bytes came, and the first of them."""
    length, head = 0, b""
    try:
        with gzip_ng.GzipNGFile(path, "rb") as file:  # type: ignore[no-untyped-call]
            while block := file.read(_BLOCK):
                length += len(block)
                head += block[: _LONGEST_HEADER - len(head)]
    except (EOFError, zlib_ng.error, gzip_ng.BadGzipFile) as error:  # type: ignore[misc]
        return f"it is truncated or damaged ({error})", length, head
    return None, length, head


def _ends(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if head[:2] != _MAGIC:
            return "it is no gzip file (its first bytes are others)"
        size = file.seek(0, 2)
        if size < 18:
            return "it is truncated (shorter than an empty gzip file)"
        file.seek(-4, 2)
        (length,) = struct.unpack("<I", file.read(4))
    try:
        expected = nifti_size(_beginning(head))
    except zlib.error as error:
        return f"it is damaged ({error})"
    if not path.name.endswith(".nii.gz"):
        return None
    # nothing tells a file that was cut off from one of several members but all of its bytes
    return None if expected is not None and length == expected % 2**32 else _inflated(path)


def _beginning(head: bytes) -> bytes:
    """Return the first inflated bytes, of as many members as it takes."""
    found = b""
    while head[:2] == _MAGIC and len(found) < _LONGEST_HEADER:
        member = zlib.decompressobj(31)
        found += member.decompress(head, _LONGEST_HEADER - len(found))
        head = member.unused_data
    return found


def _wrong_length(length: int, expected: int) -> str | None:
    if length == expected:
        return None
    word = "truncated" if length < expected else "longer than its header says"
    return f"it is {word} ({length:,} bytes of data, and {expected:,} by its header)"


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
            if not 0 <= offset < 2**63:  # nor where it is no number
                return None
            size: int = 1
            for length in dims[1 : 1 + dims[0]]:
                size *= length
            return int(offset) + size * int(bits) // 8
    return None
