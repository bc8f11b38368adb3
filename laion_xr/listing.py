"""What a listing says of files: paths, sizes, and what tells one state of a file from another.

Folders of this machine, and the rows of any fsspec file system. Imports errors only.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from laion_xr.errors import FileAccessError

# Stands where a place says neither when a file changed nor which it is: never twice the same, so that two listings are
# never taken for one state of the data
UNKNOWN_CHANGE = "unknown-"
_TELLS_CHANGE = ("ETag", "etag", "LastModified", "Last-Modified", "mtime", "created")
# What is said of every file alike, or of where it is
_SAYS_NOTHING = frozenset({"name", "size", "type", "url", "mimetype", "partial", "Key", "Size", "StorageClass"})


class FileEntry(NamedTuple):
    """A file that a listing found: path relative to the root, size in bytes, time or tag of its last change.

    A size of 0 may be one that the place does not tell.
    """

    path: str
    size: int
    changed: str

    @property
    def is_known(self) -> bool:
        """Whether `changed` says when the file is another."""
        return self.changed != "" and not self.changed.startswith(UNKNOWN_CHANGE)


def listed_file(path: str, base: str, row: Mapping[str, Any]) -> FileEntry:
    """Return the entry of a row of a file system's listing; `base` is the root, as the file system spells it."""
    return FileEntry(relative_path(path, base), int(row.get("size") or 0), _changed(row))


def local_files(root: str, relative: str) -> Iterable[FileEntry]:
    """Yield every file below a folder of this machine; none where it does not exist.

    Raises
    ------
    FileAccessError
        A folder may not be listed.
    """
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
                        yield FileEntry(relative_path(row.path, root), stat.st_size, str(stat.st_mtime_ns))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise _unlistable(error) from None


def local_folders(path: str) -> Iterable[str]:
    """Yield the names of the folders directly inside a folder of this machine; none where it does not exist.

    Raises
    ------
    FileAccessError
        The folder may not be listed.
    """
    try:
        with os.scandir(path) as rows:
            yield from (row.name for row in rows if row.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError as error:
        raise _unlistable(error) from None


def relative_path(path: str, base: str) -> str:
    """Return a path as seen from the root, with slashes."""
    return path.removeprefix(base).lstrip("/").replace(os.sep, "/")


def _changed(row: Mapping[str, Any]) -> str:
    for key in _TELLS_CHANGE:
        if row.get(key) is not None:
            return str(row[key]).strip('"')
    # archives and the like: checksums, dates
    told = {k: v for k, v in row.items() if k not in _SAYS_NOTHING and isinstance(v, (str, int, tuple))}
    return repr(sorted(told.items())) if told else f"{UNKNOWN_CHANGE}{uuid.uuid4().hex}"


def _unlistable(error: PermissionError) -> FileAccessError:
    return FileAccessError(
        f"{error.filename} may not be listed by this user (permission denied): check its permissions."
    )


def fingerprint(entries: Iterable[FileEntry]) -> str:
    """Return sixteen hexadecimal digits over the paths, sizes and times of files (SHA-256, cut)."""
    digest = hashlib.sha256()
    for entry in sorted(entries):
        digest.update(repr(tuple(entry)).encode())
    return digest.hexdigest()[:16]
