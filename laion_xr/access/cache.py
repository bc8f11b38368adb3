"""A cache in front of a remote root: what opening reads (listings, tables, headers, masks) is kept in a local folder.

A copy is used while the listing gives its file the same size and ETag (or time); listings are made anew, except
offline. Betas are never kept. Addresses are hashed and options left out: nothing secret is written.
"""

from __future__ import annotations

import hashlib
import json
import threading
import warnings
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import fsspec

from laion_xr.access.configuration import cache_dir
from laion_xr.access.private import write_private
from laion_xr.errors import CacheWarning, DataNotDownloadedError, LaionXRError, SelectionError
from laion_xr.location import Codec, FileEntry, Location

T = TypeVar("T")

OFFLINE = "offline"
FOLDER = "catalog"
# Raised when what is kept is laid out in another way: copies of another version are as if they were not there
FORMAT = 1


@dataclass(frozen=True, repr=False)
class CachedLocation(Location):
    """A remote root with a cache in front of it; `uncached` is the root itself.

    Attributes
    ----------
    folder
        Folder of this root's copies.
    offline
        Whether the copies are used as they are, and no request is made.
    """

    folder: str = ""
    offline: bool = False

    @property
    def uncached(self) -> Location:
        """The same place with no cache in front of it."""
        return Location(self.url, self.storage_options)

    def exists(self) -> bool:
        """Whether there is such a place; offline: whether it was listed."""
        return True if self.offline else super().exists()

    def folders(self, relative: str) -> list[str]:
        """Return the names of the folders directly inside a folder; offline as they were listed last."""
        return [
            str(name)
            for name in self._listing(f"folders {relative}", lambda: super(CachedLocation, self).folders(relative))
        ]

    def files(self, relative: str) -> list[FileEntry]:
        """Return every file below a folder; offline as they were listed last."""
        rows = self._listing(f"files {relative}", lambda: super(CachedLocation, self).files(relative))
        return [FileEntry(*row) for row in rows]

    def read_many(
        self,
        files: Iterable[str | FileEntry],
        end: int | None = None,
        refused: MutableMapping[str, LaionXRError] | None = None,
    ) -> dict[str, bytes]:
        """Return several small files, as `Location.read_many`; those whose copies are valid are not asked for."""
        wanted = list(files)
        kept = {f.path: copy for f in wanted if isinstance(f, FileEntry) and (copy := self._copy(f, end)) is not None}
        rest = [f for f in wanted if (f.path if isinstance(f, FileEntry) else f) not in kept]
        if self.offline and refused is not None:
            names = [f.path if isinstance(f, FileEntry) else f for f in rest]
            refused.update({name: self._not_kept(name) for name in names})
            return kept
        fetched = super().read_many(rest, end, refused)
        for file in rest:
            if isinstance(file, FileEntry) and file.is_known and file.path in fetched:
                data = fetched[file.path]
                # of another length: it changed since it was listed
                if len(data) == (file.size if end is None else min(end, file.size)):
                    self._write(_key(file, end), data, file)
        found = kept | fetched
        return {name: found[name] for f in wanted if (name := f.path if isinstance(f, FileEntry) else f) in found}

    def remembered(self, entry: FileEntry, what: str, make: Callable[[], T], codec: Codec[T]) -> T:
        """Return what was found out about a file in this state before, else what `make` finds out now."""
        pack, unpack = codec
        key = f"{what} {entry.path}"
        copy = self._read(key, entry) if entry.is_known else None
        if copy is not None:
            return unpack(copy)
        found = make()
        if entry.is_known:
            self._write(key, pack(found), entry)
        return found

    def ask(
        self,
        relative: str | Callable[[], str],
        request: Callable[[fsspec.AbstractFileSystem], T],
        *,
        fs: fsspec.AbstractFileSystem | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        """Make a request, as `Location.ask`; offline none is made.

        Raises
        ------
        DataNotDownloadedError
            Offline: there is no copy of what is asked for.
        """
        if self.offline:
            raise self._not_kept(relative if isinstance(relative, str) else relative())
        return super().ask(relative, request, fs=fs, stop=stop)

    def open(self, relative: str, size: int | None = None) -> BinaryIO:
        """Open a file, as `Location.open`; offline there is no such copy."""
        if self.offline:
            raise self._not_kept(relative)
        return super().open(relative, size)

    def _listing(self, key: str, listed: Callable[[], list[Any]]) -> list[Any]:
        if not self.offline:
            rows = listed()
            self._write(key, json.dumps(rows).encode())
            return rows
        copy = self._read(key)
        if copy is None:
            raise self._not_kept(key.partition(" ")[2])
        return list(json.loads(copy))

    def _copy(self, file: FileEntry, end: int | None) -> bytes | None:
        return self._read(_key(file, end), file) if file.is_known else None

    def _not_kept(self, relative: str) -> DataNotDownloadedError:
        return DataNotDownloadedError(
            f"{self.show(relative)} is asked for, and cache_catalog={OFFLINE!r} makes no request: expected a copy in "
            f"{self.folder}, found none; open the same with cache_catalog=True while there is a network."
        )

    def _read(self, key: str, file: FileEntry | None = None) -> bytes | None:
        """Return what is kept under a key for this state of a file; None where nothing whole and valid is."""
        try:
            head, _, data = self._path(key).read_bytes().partition(b"\n")
        except OSError:
            return None
        return data if head == _head(key, data, file) else None

    def _write(self, key: str, data: bytes, file: FileEntry | None = None) -> None:
        path = self._path(key)
        try:
            # what is kept may be of a private bucket
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, _head(key, data, file) + b"\n" + data)
        except OSError as error:
            warnings.warn(
                f"The catalogue cache {self.folder} cannot be written ({error}): opening goes on without it; make "
                "room, or choose another folder with the environment variable LAION_XR_CACHE.",
                CacheWarning,
                stacklevel=2,
            )

    def _path(self, key: str) -> Path:
        return Path(self.folder) / hashlib.sha256(key.encode()).hexdigest()[:32]


def with_cache(location: Location, cache_catalog: bool | str) -> Location:
    """Return a location with a cache in front of it; as it is where nothing is to be kept, or it is local.

    Parameters
    ----------
    location
        The root.
    cache_catalog
        False, True, or `"offline"`.

    Raises
    ------
    SelectionError
        Anything else.
    """
    if not isinstance(cache_catalog, bool) and cache_catalog != OFFLINE:
        raise SelectionError(f"cache_catalog is False, True or {OFFLINE!r}, found {cache_catalog!r}.")
    if not cache_catalog or location.is_local:
        return location
    folder = cache_dir() / FOLDER / _place(location)
    return CachedLocation(location.url, location.storage_options, str(folder), cache_catalog == OFFLINE)


def cache_mode(location: Location) -> bool | str:
    """Return the `cache_catalog` that a location was made with; False where there is no cache."""
    if not isinstance(location, CachedLocation):
        return False
    return OFFLINE if location.offline else True


def _place(location: Location) -> str:
    """Return a name for a root: its address, and the server where that is not in it. Credentials do not enter."""
    options = location.storage_options
    server = options.get("endpoint_url") or (options.get("client_kwargs") or {}).get("endpoint_url") or ""
    return hashlib.sha256(json.dumps([location.url, str(server)]).encode()).hexdigest()[:32]


def _key(file: FileEntry, end: int | None) -> str:
    # one copy a file: that of a new state takes the place of the old one's
    return f"bytes {file.path} {end}"


def _head(key: str, data: bytes, file: FileEntry | None) -> bytes:
    """Return the first line of a kept copy: with another one it is not whole, not this, or not valid any more."""
    said = [FORMAT, key, *([] if file is None else [file.size, file.changed]), hashlib.sha256(data).hexdigest()]
    return json.dumps(said).encode()
