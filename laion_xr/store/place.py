"""Where a session is written before it appears, and who writes it: locks, leftovers, the move into place.

Locally a session is written into a folder beside the store and renamed into it when it is complete and verified. On an
object store nothing can be renamed: it is written in place, and what makes it complete, its `zarr.json` with a record,
is removed first and written last.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
import zarr
from filelock import FileLock
from zarr.errors import ContainsGroupError
from zarr.storage import MemoryStore

from laion_xr import layout
from laion_xr.errors import DataNotDownloadedError, StoreError
from laion_xr.location import Location
from laion_xr.readers.stored import METADATA
from laion_xr.readers.zarrarrays import zarr_store

STORE_LOCK = "store.lock"
INSIDE = ".partial"


@dataclass(frozen=True)
class Place:
    """Where one session is written (`location`, `path`), and where it belongs (`store`, `final`)."""

    location: Location
    path: str
    store: Location
    final: str

    def publish(self) -> None:
        """Put the complete session into its place, at once for any reader."""
        if not self.store.is_local:
            return
        source, target = Path(self.location.at(self.path).rstrip("/")), Path(self.store.url) / self.final
        old = _old(source)
        with _store_lock(self.store):
            _forget_consolidated(self.store)
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rename(old)
            source.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def workshop(store: Location) -> Path:
    """Return the folder beside a local store in which sessions are written.

    It must be on the same disk, as a rename does not cross disks: a link is followed, and where the store is a disk of
    its own (a mount point), or nothing may be written beside it, the folder is inside.
    """
    root = Path(store.url).resolve()
    beside = root.with_name(f"{root.name}.partial")
    if not root.exists():
        return beside
    same_disk = root.stat().st_dev == root.parent.stat().st_dev
    return beside if same_disk and os.access(root.parent, os.W_OK) else root / INSIDE


@contextlib.contextmanager
def reserved(store: Location, subject: str, session: str, timeout: float = -1) -> Iterator[Place]:
    """Hold the right to write a session: one process at a time; what a killed one left is removed.

    Two ingests of a store on an object store are not kept apart: there is no lock there.

    Raises
    ------
    filelock.Timeout
        Another process still writes the session after `timeout` seconds (-1: wait as long as it takes).
    """
    final = f"{subject}/{session}"
    if not store.is_local:
        # first of all what says that it is complete: a reader, or a kill, must not find it over missing chunks
        _forget_consolidated(store)
        _remove_marker(store, final)
        yield Place(store, final, store, final)
        return
    folder, name = workshop(store), f"{subject}_{session}"
    with _locked(folder / f"{name}.lock", timeout):
        partial = folder / name
        _recover(store, folder, name)
        try:
            yield Place(Location(str(partial)), "", store, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def tidy(store: Location) -> None:
    """Remove what ingests left beside a store, but for the sessions that another process writes now."""
    if not store.is_local:
        return
    folder = workshop(store)
    for path in sorted(folder.glob("*.lock")) if folder.is_dir() else ():
        # a Timeout, of the session's writer, is an OSError
        with contextlib.suppress(OSError), FileLock(path).acquire(timeout=0):
            if path.name != STORE_LOCK:
                _recover(store, folder, path.stem)
            # under the lock: who waits for it finds the file gone, and makes another
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def ensure_groups(store: Location, subjects: list[str]) -> None:
    """Make the groups of the store and of its subjects, so that it opens as a whole.

    Raises
    ------
    StoreError
        Nothing can be written there.
    """
    try:
        # two ingests that begin at once would each find no group, and the second could not make it
        with _store_lock(store) if store.is_local else contextlib.nullcontext():
            target = zarr_store(store, writable=True)
            for path in ["", *subjects]:
                with contextlib.suppress(ContainsGroupError):
                    zarr.open_group(target, path=path, mode="a", zarr_format=3)
    except (OSError, ValueError) as error:
        tidy(store)
        raise StoreError(
            f"The store {store.url} cannot be written: expected a folder, or room for one, found {error}. Check its "
            "permissions and the disk, or choose another place."
        ) from None


def put_dataset(ds: xr.Dataset, location: Location, path: str) -> None:
    """Write a Dataset in place of what is there: on an object store all its objects in one concurrent batch."""
    if location.is_local:
        target = zarr_store(location, writable=True)
        ds.to_zarr(target, group=path or None, mode="w", zarr_format=3, consolidated=False)
        return
    # one by one, Zarr asks ten questions a variable before it writes: three hundred round trips
    objects: MutableMapping[str, Any] = {}
    ds.to_zarr(MemoryStore(objects), group=path, mode="w", zarr_format=3, consolidated=False)
    data = {location.at(key): value.to_bytes() for key, value in objects.items() if key.startswith(f"{path}/")}

    def replace(fs: Any) -> None:
        fs.invalidate_cache()  # Zarr writes through a file system of its own
        with contextlib.suppress(FileNotFoundError):
            fs.rm(location.at(path), recursive=True)
        fs.pipe(data)

    location.ask(path, replace)


def consolidate_store(store: Location) -> None:
    """Gather the metadata of all sessions in the store's own, so that it opens as a whole with one request."""
    if is_consolidated(store):
        return
    if not store.is_local:
        consolidate(store, "")
        return
    with _store_lock(store):
        for left in Path(store.url).glob("zarr.*.partial"):  # Zarr was killed while it wrote its metadata
            left.unlink()
        consolidate(store, "")


def consolidate(store: Location, path: str) -> None:
    """Gather a group's metadata in one place: plain `xr.open_zarr` warns without."""
    with warnings.catch_warnings():
        # that other readers may not know it yet; they read the arrays' own metadata
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        # the workshop, where it is inside the store
        warnings.filterwarnings("ignore", message=f"Object at {INSIDE} is not recognized")
        zarr.consolidate_metadata(zarr_store(store, writable=True), path=path, zarr_format=3)


def is_consolidated(store: Location) -> bool:
    """Whether the store's metadata hold those of all sessions."""
    metadata = json.loads(store.read_many([METADATA])[METADATA])
    return metadata.get("consolidated_metadata") is not None


def _forget_consolidated(store: Location) -> None:
    # before a session appears or changes: the store must never describe arrays as they were
    if is_consolidated(store):
        target = zarr_store(store, writable=True)
        zarr.open_group(target, mode="r+", zarr_format=3, use_consolidated=False).update_attributes({})


def _remove_marker(store: Location, final: str) -> None:
    path = f"{final}/{METADATA}"
    with contextlib.suppress(DataNotDownloadedError):
        store.ask(path, lambda fs: fs.rm_file(store.at(path)))


def _recover(store: Location, folder: Path, name: str) -> None:
    """Remove what a killed ingest left of a session; under the session's lock."""
    subject, _, session = name.partition("_")
    if not (layout.is_subject(subject) and layout.is_session(session)):
        return
    old, target = _old(folder / name), Path(store.url) / subject / session
    if old.exists() and not target.exists():
        # killed between its two renames: the old session goes back, until the new one is complete
        target.parent.mkdir(parents=True, exist_ok=True)
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(folder / name, ignore_errors=True)


def _old(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.old")


def _store_lock(store: Location) -> contextlib.AbstractContextManager[None]:
    return _locked(workshop(store) / STORE_LOCK)


@contextlib.contextmanager
def _locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold a lock file, in a folder that another process may remove when it finds nothing in it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            lock = FileLock(path)
            lock.acquire(timeout=timeout)
            break
    try:
        yield
    finally:
        lock.release()
