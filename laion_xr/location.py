"""A place that files are read from: a folder or any fsspec address, with its storage options.

The only module that knows fsspec. Picklable: the file system is made anew where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from laion_xr.errors import DataNotDownloadedError, FileAccessError


class FileEntry(NamedTuple):
    """A file that a listing found: path relative to the root, size in bytes, time or tag of its last change."""

    path: str
    size: int
    changed: str


@dataclass(frozen=True)
class Location:
    """A folder or address; `url` is an absolute path for a local one."""

    url: str
    storage_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, root: object, storage_options: Mapping[str, Any] | None = None) -> Location:
        """Return the location of a str, PathLike, UPath or fsspec address.

        The storage options of a UPath are kept; those given win.
        """
        options = {**dict(getattr(root, "storage_options", None) or {}), **dict(storage_options or {})}
        if isinstance(root, os.PathLike):
            text = os.fspath(root)
            text = text.decode() if isinstance(text, bytes) else text
        else:
            text = str(root)
        if "://" not in text and "::" not in text:
            return cls(str(Path(text).expanduser().absolute()), options)
        if text.startswith(("file://", "local://")):
            return cls(LocalFileSystem._strip_protocol(text), options)
        return cls(text.rstrip("/"), options)

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine's own file system."""
        return "://" not in self.url and "::" not in self.url

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system; fsspec caches it a process."""
        return url_to_fs(self.url, **self.storage_options)[0]

    @property
    def base(self) -> str:
        """The root as the file system spells it."""
        return str(url_to_fs(self.url, **self.storage_options)[1]).rstrip("/")

    def at(self, relative: str) -> str:
        """Return the full path of a file, as the file system spells it."""
        return f"{self.url if self.is_local else self.base}/{relative}"

    def child(self, relative: str) -> Location:
        """Return the location of a folder inside."""
        return Location(f"{self.url}/{relative}", self.storage_options)

    def folders(self, relative: str) -> list[str]:
        """Return the sorted names of the folders directly inside a folder; none where it does not exist."""
        try:
            rows = self.fs.ls(self.at(relative) if relative else self.at("").rstrip("/"), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise self.denied(relative) from error
        return sorted(row["name"].rstrip("/").rpartition("/")[2] for row in rows if row["type"] == "directory")

    def files(self, relative: str) -> list[FileEntry]:
        """Return every file below a folder, in one listing; none where it does not exist."""
        if self.is_local:
            return sorted(_walk(self.url, relative))
        try:
            rows = self.fs.find(self.at(relative), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise self.denied(relative) from error
        base = self.base
        return sorted(
            FileEntry(_relative(name, base), int(row.get("size") or 0), _changed(row)) for name, row in rows.items()
        )

    def open(self, relative: str) -> BinaryIO:
        """Open a file for reading from its beginning, seekable, unbuffered where it is local."""
        try:
            if self.is_local:
                return open(self.at(relative), "rb", buffering=0)
            return self.fs.open(self.at(relative), "rb")  # type: ignore[no-any-return]
        except FileNotFoundError:
            raise self.missing(relative) from None
        except PermissionError:
            raise self.denied(relative) from None

    def read_bytes(self, relative: str) -> bytes:
        """Return the whole of a (small) file."""
        with self.open(relative) as file:
            return file.read()

    def read_many(self, relatives: Iterable[str], end: int | None = None) -> dict[str, bytes]:
        """Return several small files, or their first `end` bytes: concurrently where the place is remote."""
        names = list(relatives)
        if self.is_local:
            return {name: self._head(name, end) for name in names}
        blocks = self.fs.cat_ranges(
            [self.at(n) for n in names], [0] * len(names), [end] * len(names), on_error="return"
        )
        for name, block in zip(names, blocks, strict=True):
            if isinstance(block, PermissionError):
                raise self.denied(name) from None
            if isinstance(block, FileNotFoundError):
                raise self.missing(name) from None
            if isinstance(block, Exception):
                raise block
        return dict(zip(names, blocks, strict=True))

    def missing(self, relative: str) -> DataNotDownloadedError:
        """Return the error for a file that is not there, or that is a link to data that was not fetched."""
        if self.is_local and os.path.islink(self.at(relative)):
            return DataNotDownloadedError(
                f"{self.show(relative)} is a link to data that was not fetched (git-annex): "
                "fetch it with 'git annex get' or 'datalad get', or download it."
            )
        return DataNotDownloadedError(f"{self.show(relative)} is not there: download it, or check the root {self.url}.")

    def denied(self, relative: str) -> FileAccessError:
        """Return the error for a file that may not be read."""
        return FileAccessError(
            f"{self.show(relative)} may not be read by this user (permission denied): "
            "check its permissions, or the credentials in storage_options."
        )

    def show(self, relative: str) -> str:
        """Return the full address of a file, for messages."""
        return f"{self.url}/{relative}"

    def _head(self, relative: str, end: int | None) -> bytes:
        with self.open(relative) as file:
            return file.read() if end is None else file.read(end)


def _walk(root: str, relative: str) -> Iterable[FileEntry]:
    # os.scandir: a third of the time of fsspec's find, which builds a dict a file
    stack = [f"{root}/{relative}" if relative else root]
    while stack:
        try:
            with os.scandir(stack.pop()) as rows:
                for row in rows:
                    if row.is_dir():
                        stack.append(row.path)
                    else:
                        try:
                            stat = row.stat()
                        except FileNotFoundError:  # a dangling link: an annexed file that was not fetched
                            stat = row.stat(follow_symlinks=False)
                        yield FileEntry(_relative(row.path, root), stat.st_size, str(stat.st_mtime_ns))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise FileAccessError(
                f"{error.filename} may not be listed by this user (permission denied): check its permissions."
            ) from None


def _relative(path: str, base: str) -> str:
    return path.removeprefix(base).lstrip("/").replace(os.sep, "/")


def _changed(row: Mapping[str, Any]) -> str:
    for key in ("ETag", "etag", "LastModified", "mtime", "created"):
        if row.get(key) is not None:
            return str(row[key]).strip('"')
    return ""
