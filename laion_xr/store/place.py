"""Where a session is written before it appears, and who writes it: locks, leftovers, the move into place.

Locally a session is written into a folder beside the store and renamed into it when it is complete and verified. On an
object store nothing can be renamed: it is written in place, and what makes it complete is written last.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zarr
from filelock import FileLock

from laion_xr.location import Location
from laion_xr.readers.stored import zarr_store


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
        target = Path(self.store.url) / self.final
        source = Path(self.location.url) / self.path
        target.parent.mkdir(parents=True, exist_ok=True)
        old = source.with_name(f"{source.name}.old")
        if target.exists():
            target.rename(old)
        source.rename(target)
        shutil.rmtree(old, ignore_errors=True)


def workshop(store: Location) -> Path:
    """Return the folder beside a local store in which sessions are written: the same disk, never listed with it."""
    return Path(f"{store.url.rstrip('/')}.partial")


@contextlib.contextmanager
def reserved(store: Location, subject: str, session: str) -> Iterator[Place]:
    """Hold the right to write a session: one process at a time; what a killed one left is removed.

    Two ingests of a store on an object store are not kept apart: there is no lock there.
    """
    final = f"{subject}/{session}"
    if not store.is_local:
        yield Place(store, final, store, final)
        return
    folder = workshop(store)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{subject}_{session}"
    with FileLock(folder / f"{name}.lock"):
        partial = folder / name
        # killed between its two renames: the old session goes back, until the new one is complete
        old, target = folder / f"{name}.old", Path(store.url) / final
        if old.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            yield Place(Location(str(folder)), name, store, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def tidy(store: Location) -> None:
    """Remove the folder beside a store where nobody writes in it."""
    if not store.is_local:
        return
    folder = workshop(store)
    for lock in folder.glob("*.lock") if folder.exists() else ():
        with contextlib.suppress(OSError):
            lock.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def ensure_groups(store: Location, subjects: list[str]) -> None:
    """Make the groups of the store and of its subjects, so that it opens as a whole."""
    target = zarr_store(store, writable=True)
    for path in ["", *subjects]:
        zarr.open_group(target, path=path, mode="a", zarr_format=3)
