"""The bucket: what it lists, which sessions it holds back, and its files as sources of a transfer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laion_xr import layout
from laion_xr.access.checksums import Checksum, etag_checksum
from laion_xr.access.selection import session_of
from laion_xr.errors import LaionXRError
from laion_xr.listing import listed_file
from laion_xr.location import FileEntry, Location

BUCKET = "s3://laion-fmri"
# One request brings so much: enough to be worth it, and on a slow line not so much that it looks like a hang
FIRST_PIECE, SMALLEST_PIECE, LARGEST_PIECE = 1 << 20, 1 << 18, 8 << 20
SECONDS_A_PIECE = 2.0


@dataclass(frozen=True)
class BucketFile:
    """A file of a bucket, or of any address that fsspec reads, as a source of `fetch_file`."""

    location: Location
    entry: FileEntry
    checked: bool = True
    # of all files of a download, as `opened` gives them: to look them up costs as much as a small request
    opened: tuple[Any, str] | None = None

    @property
    def name(self) -> str:
        """Its full address."""
        return self.location.show(self.entry.path)

    @property
    def size(self) -> int | None:
        """As listed."""
        return self.entry.size

    @property
    def checksum(self) -> Checksum | None:
        """The ETag, where it is one."""
        return etag_checksum(self.entry.changed) if self.checked else None

    @property
    def validator(self) -> str | None:
        """ETag or time, as listed."""
        return self.entry.changed if self.entry.is_known else None

    def is_same(self, path: Path) -> bool | None:
        """Whether a file has the same bytes, where this one is on this machine too; else None."""
        if not self.location.is_local:
            return None
        try:
            with open(self.location.at(self.entry.path), "rb") as own, path.open("rb") as other:
                while block := own.read(FIRST_PIECE):
                    if block != other.read(FIRST_PIECE):
                        return False
                return other.read(1) == b""
        except OSError:
            return None  # to fetch it will say why

    def open(self, start: int) -> Iterator[bytes]:
        """Yield the bytes from a position to the end."""
        return self.part(start, self.entry.size)

    def part(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of a range, a request a piece; its errors pass as they are."""
        fs, top = opened(self.location) if self.opened is None else self.opened
        path = top + self.entry.path
        piece = end - start if end - start <= LARGEST_PIECE // 2 else FIRST_PIECE
        while start < end:
            began = time.monotonic()
            stop = min(start + piece, end)
            block: bytes = fs.cat_file(path, start=start, end=stop)
            if len(block) > stop - start:
                # a web server that answers a range with the whole file; its beginning is not what was asked for
                if start > 0:
                    raise LaionXRError(f"{self.name} cannot be fetched in parts: its server answers no ranges.")
                block = block[: stop - start] if stop < end else block
            yield block
            start += len(block)
            if len(block) < min(piece, end - start + len(block)):
                return  # the file is shorter than listed, or the answer was cut: who reads counts
            slow = time.monotonic() - began > SECONDS_A_PIECE
            piece = max(piece // 2, SMALLEST_PIECE) if slow else min(piece * 2, LARGEST_PIECE)


def opened(location: Location) -> tuple[Any, str]:
    """Return the file system of a place, and what stands before the paths of its files."""
    return location.fs, location.at("")


def listed(location: Location, folder: str) -> list[FileEntry]:
    """Return the files below a folder, as they are now; none where there is no such folder."""
    # s3fs would answer with what it listed earlier in this process
    location.fs.invalidate_cache()
    return location.files(folder)


def top_files(location: Location) -> list[FileEntry]:
    """Return the files at the top, in a listing of the top alone."""
    base = location.url if location.is_local else location.base
    rows = location.ask("", lambda fs: list(fs.ls(base, detail=True)))
    return sorted(listed_file(str(row["name"]), base, row) for row in rows if row.get("type") == "file")


def held_out(location: Location, files: Iterable[FileEntry]) -> list[str]:
    """Return the sessions of a subject whose files are listed and not given: one byte of one file of each is asked for.

    Nobody has to know their numbers, then.
    """
    by_size = sorted((file for file in files if file.size > 0), key=lambda file: file.size, reverse=True)
    smallest = {session: file.path for file in by_size if (session := session_of(file.path)) is not None}
    by_path = {path: session for session, path in smallest.items()}
    refused: dict[str, LaionXRError] = {}
    if by_path:
        location.read_many(list(by_path), end=1, refused=refused)
    return sorted((by_path[path] for path in refused), key=layout.natural_order)
