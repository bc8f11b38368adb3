"""A place that files are read from: a folder or any fsspec address, with its storage options.

With `laion_xr.address` the only module that knows fsspec. Picklable: the file system is made anew where it is used.
Every request to a remote place goes through `Location.ask`, which tries again what may pass.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from laion_xr.address import advice, file_system, hidden, independent_options
from laion_xr.errors import DataNotDownloadedError, FileAccessError, LaionXRError
from laion_xr.listing import FileEntry as FileEntry
from laion_xr.listing import listed_file, local_files, local_folders, relative_path
from laion_xr.ranged import RangedFile
from laion_xr.remote import explained, is_foreign, is_transient, persistently, status_of

T = TypeVar("T")
# To bytes, and back
Codec = tuple[Callable[[T], bytes], Callable[[bytes], T]]

# What a listing does not tell is asked for file by file (plain HTTP), so many at a time
ASKED_AT_ONCE = 16
_RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True, repr=False)
class Location:
    """A folder or address; `url` is an absolute path for a local one. What may be credentials is not shown."""

    url: str
    storage_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, root: object, storage_options: Mapping[str, Any] | None = None) -> Location:
        """Return the location of a str, PathLike, UPath or fsspec address; a location as it is.

        The storage options of a UPath are kept; those given win.
        """
        if isinstance(root, Location):
            return root
        options = {**dict(getattr(root, "storage_options", None) or {}), **dict(storage_options or {})}
        text = os.fsdecode(root) if isinstance(root, os.PathLike) else str(root)
        if "://" not in text and "::" not in text:
            return cls(str(Path(text).expanduser().absolute()), options)
        if text.startswith(("file://", "local://")):
            return cls(LocalFileSystem._strip_protocol(text), options)
        return cls(text.rstrip("/"), options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}, {hidden(self.storage_options)})"

    @property
    def is_local(self) -> bool:
        """Whether the files are on this machine's own file system."""
        return "://" not in self.url and "::" not in self.url

    @property
    def uncached(self) -> Location:
        """The same place with no cache in front of it: what a reader keeps."""
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The options for a library that makes its requests itself (Zarr), which then tries them again by itself."""
        return independent_options(self.url, self.storage_options)

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system; fsspec caches it a process. It tries nothing again: `ask` does."""
        return file_system(self.url, self.storage_options)[0]

    @property
    def base(self) -> str:
        """The root as the file system spells it."""
        return file_system(self.url, self.storage_options)[1]

    def at(self, relative: str) -> str:
        """Return the full path of a file, as the file system spells it."""
        return f"{self.url if self.is_local else self.base}/{relative}"

    def child(self, relative: str) -> Location:
        """Return the location of a folder inside."""
        return Location(f"{self.url}/{relative}", self.storage_options)

    def exists(self) -> bool:
        """Whether there is such a folder, bucket or prefix at all."""
        if self.is_local:
            return os.path.exists(self.url)
        return self.ask("", lambda fs: bool(fs.exists(self.base)))

    def folders(self, relative: str) -> list[str]:
        """Return the sorted names of the folders directly inside a folder; none where it does not exist."""
        path = self.at(relative).rstrip("/")
        if self.is_local:
            return sorted(local_folders(path))

        def listed(fs: fsspec.AbstractFileSystem) -> list[dict[str, Any]]:
            fs.invalidate_cache(path)  # S3 would answer with what it listed an hour ago
            try:
                return cast(list[dict[str, Any]], fs.ls(path, detail=True))
            except (FileNotFoundError, NotADirectoryError):
                return []

        rows = self.ask(relative, listed)
        return sorted(row["name"].rstrip("/").rpartition("/")[2] for row in rows if row["type"] == "directory")

    def files(self, relative: str) -> list[FileEntry]:
        """Return every file below a folder, in one listing; none where it does not exist."""
        if self.is_local:
            return sorted(local_files(self.url, relative))

        def found(fs: fsspec.AbstractFileSystem) -> dict[str, dict[str, Any]]:
            try:
                return cast(dict[str, dict[str, Any]], fs.find(self.at(relative), detail=True))
            except (FileNotFoundError, NotADirectoryError):
                return {}

        rows, base = self.ask(relative, found), self.base
        silent = [name for name, row in rows.items() if row.get("size") is None]
        if silent:  # a plain HTTP listing: names only
            with ThreadPoolExecutor(min(ASKED_AT_ONCE, len(silent))) as pool:
                rows |= dict(zip(silent, pool.map(self._described, silent), strict=True))
        return sorted(listed_file(name, base, row) for name, row in rows.items())

    def open(self, relative: str, size: int | None = None) -> BinaryIO:
        """Open a file at its beginning, seekable, unbuffered where local; without `size` a remote place is asked."""
        if self.is_local:
            try:
                return open(self.at(relative), "rb", buffering=0)
            except FileNotFoundError:
                raise self.missing(relative) from None
            except PermissionError:
                raise self.denied(relative) from None
        length = size or self.ask(relative, lambda fs: int(fs.size(self.at(relative)) or 0))
        name = self.show(relative)
        return cast(BinaryIO, RangedFile(lambda start, end: self.read_range(relative, start, end), length, name))

    def read_range(
        self, relative: str, start: int, end: int | None, *, fs: Any = None, stop: threading.Event | None = None
    ) -> bytes:
        """Return the bytes of a remote file from `start` up to `end`, or to its end; `fs` and `stop` as for `ask`."""
        path = self.at(relative)

        def ranged(fs: fsspec.AbstractFileSystem) -> bytes:
            try:
                return cast(bytes, fs.cat_file(path, start=start, end=end))
            except Exception as error:
                if status_of(error) == _RANGE_NOT_SATISFIABLE:
                    return b""  # the file is shorter than it was when it was listed
                raise

        block = self.ask(relative, ranged, fs=fs, stop=stop)
        if end is not None and len(block) > end - start:  # an HTTP server that answers a range with the whole file
            raise FileAccessError(
                f"{self.show(relative)} cannot be read in parts: its server does not answer range requests. "
                "Download the file and read it from disk."
            )
        return block

    def read_bytes(self, file: str | FileEntry) -> bytes:
        """Return the whole of a (small) file."""
        return next(iter(self.read_many([file]).values()))

    def read_many(
        self,
        files: Iterable[str | FileEntry],
        end: int | None = None,
        refused: MutableMapping[str, LaionXRError] | None = None,
    ) -> dict[str, bytes]:
        """Return several small files by path, or their first `end` bytes: concurrently where the place is remote.

        `files` are paths, or entries of a listing: by these a cache in front of the place tells whether its copies are
        valid. `refused` takes up the errors of files that may not be read, instead of raising the first.
        """
        names = [file.path if isinstance(file, FileEntry) else file for file in files]
        found: dict[str, bytes] = {}
        failing: list[str] = []

        def batch(fs: fsspec.AbstractFileSystem) -> None:
            # what came before is kept: only what failed is asked for again
            todo = [name for name in names if name not in found and name not in (refused or ())]
            blocks = fs.cat_ranges([self.at(n) for n in todo], [0] * len(todo), [end] * len(todo), on_error="return")
            failures = {}
            for name, block in zip(todo, blocks, strict=True):
                if isinstance(block, bytes):
                    found[name] = block[:end]
                elif status_of(block) == _RANGE_NOT_SATISFIABLE:
                    found[name] = b""  # on S3 an empty file has no first byte
                elif is_transient(block):
                    failures[name] = block
                elif refused is not None and isinstance(error := self._error(name, block), FileAccessError):
                    refused[name] = error
                else:
                    raise self._error(name, block) from None
            failing[:] = failures
            if failures:
                raise failures[failing[0]]

        if self.is_local:
            for name in names:
                try:
                    with self.open(name) as file:
                        found[name] = file.read(-1 if end is None else end)
                except FileAccessError as error:
                    if refused is None:
                        raise
                    refused[name] = error
        elif names:
            self.ask(lambda: (failing or names)[0], batch)
        return {name: found[name] for name in names if name in found}

    def remembered(self, entry: FileEntry, what: str, make: Callable[[], T], codec: Codec[T]) -> T:
        """Return what `make` finds out about a file by reading parts of it; a cache keeps it, packed by `codec`."""
        return make()

    def ask(
        self,
        relative: str | Callable[[], str],
        request: Callable[[fsspec.AbstractFileSystem], T],
        *,
        fs: fsspec.AbstractFileSystem | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        """Return what a request to the file system returns; while it fails in a way that may pass, it is made again.

        `relative` is what it is about, for messages: a path, or a function that returns it. `fs` is the file system
        where the caller holds it already. `stop` is set by another thread to give up at once. Raises
        UnreachableError, DataNotDownloadedError or FileAccessError.
        """
        asked = self.fs if fs is None else fs
        try:
            return persistently(lambda: request(asked), lambda: self.show(_called(relative)), stop)
        except LaionXRError:
            raise
        except (FileNotFoundError, PermissionError) as error:
            raise self._error(_called(relative), error) from None

    @contextmanager
    def explained(self, relative: str, done: str = "read") -> Iterator[None]:
        """Give the errors of a library that makes its requests itself our words; `done`: `"read"` or `"written"`."""
        try:
            yield
        except Exception as error:
            if self.is_local or isinstance(error, LaionXRError) or not is_foreign(error):
                raise
            raise self._error(relative, error, done) from None

    def missing(self, relative: str) -> DataNotDownloadedError:
        """Return the error for a file that is not there, or that is a link to data that was not fetched."""
        if self.is_local and os.path.islink(self.at(relative)):
            return DataNotDownloadedError(
                f"{self.show(relative)} is a link to data that was not fetched (git-annex): "
                "fetch it with 'git annex get' or 'datalad get', or download it."
            )
        return DataNotDownloadedError(f"{self.show(relative)} is not there: download it, or check the root {self.url}.")

    def denied(self, relative: str, reason: str = "", done: str = "read") -> FileAccessError:
        """Return the error for a file that may not be read (or written)."""
        if self.is_local:
            return FileAccessError(
                f"{self.show(relative)} may not be read by this user (permission denied): check its permissions."
            )
        said = f" ({reason})" if reason else ""
        todo = advice(self.url, self.storage_options)
        return FileAccessError(f"{self.show(relative)} may not be {done}: access was denied{said}; {todo}.")

    def show(self, relative: str) -> str:
        """Return the full address of a file, for messages."""
        return f"{self.url}/{relative}".rstrip("/")

    def _error(self, relative: str, error: Exception, done: str = "read") -> Exception:
        found = explained(error, self.show(relative))
        if isinstance(found, LaionXRError):
            return found
        if isinstance(found, FileNotFoundError):
            return self.missing(relative)
        return self.denied(relative, str(found), done)

    def _described(self, path: str) -> dict[str, Any]:
        try:
            return cast(dict[str, Any], self.ask(relative_path(path, self.base), lambda fs: fs.info(path)))
        except LaionXRError:
            return {}  # it stays unknown; reading it will say why


def _called(relative: str | Callable[[], str]) -> str:
    return relative if isinstance(relative, str) else relative()
