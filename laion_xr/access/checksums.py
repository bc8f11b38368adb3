"""Checksums of files as their places give them: SHA-256, MD5, and the ETags of S3.

S3's ETag is the MD5 of an object that was uploaded at once. Of one that came in parts it is the MD5 of the parts' MD5s
and their number (`...-132`), which can be checked where the parts had one of the usual sizes. Imports nothing of the
package.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

# ("sha256" | "md5" | "etag", hexadecimal digits); an ETag may end in the number of parts
Checksum = tuple[str, str]

MIB = 1 << 20
# What aws and boto3 upload in, and what a long file is fetched in
PART = 8 * MIB
# What others do: s3fs (50), rclone (5), Cyberduck and the rest
USUAL_PARTS = tuple(n * MIB for n in (8, 5, 6, 10, 15, 16, 20, 25, 32, 48, 50, 64, 96, 100, 128, 256, 512, 1024))
_BLOCK = MIB
_ETAG = re.compile(r"(?P<digest>[0-9a-f]{32})(-(?P<parts>[1-9][0-9]*))?")


def etag_checksum(etag: str | None) -> Checksum | None:
    """Return the checksum that an ETag is; None where it is none (a date, a weak tag of a web server)."""
    text = (etag or "").strip('"').lower()
    return ("etag", text) if _ETAG.fullmatch(text) else None


def matches(path: Path, checksum: Checksum) -> bool | None:
    """Whether a file has a checksum; None where that cannot be told (parts of an unusual size)."""
    kind, value = checksum
    value = value.lower()
    if kind == "etag":
        found = _ETAG.fullmatch(value)
        if found is None:
            return None
        if found["parts"] is not None:
            return _matches_parts(path, found["digest"], int(found["parts"]))
        kind = "md5"
    return _digest(path, kind) == value


def part_sizes(size: int, parts: int) -> list[int]:
    """Return the usual sizes, in bytes, of which a file of this size has so many parts."""
    return [part for part in USUAL_PARTS if -(-size // part) == parts]


def _matches_parts(path: Path, digest: str, parts: int) -> bool | None:
    sizes = part_sizes(path.stat().st_size, parts)
    if any(_digest_of_parts(path, size) == digest for size in sizes):
        return True
    # with one part there is no size to guess
    return False if parts == 1 else None


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def _digest_of_parts(path: Path, size: int) -> str:
    whole = hashlib.md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        left, part = size, hashlib.md5(usedforsecurity=False)
        while block := file.read(min(_BLOCK, left)):
            part.update(block)
            left -= len(block)
            if left == 0:
                whole.update(part.digest())
                left, part = size, hashlib.md5(usedforsecurity=False)
        if left < size:
            whole.update(part.digest())
    return whole.hexdigest()
