"""Keeping in the store what is decoded anyway: a reader that stores its session when a whole one is read."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion_xr.catalog import SubjectCatalog
from laion_xr.errors import LaionXRError, NotStoredWarning
from laion_xr.location import FileEntry, Location
from laion_xr.masks import VoxelAxis
from laion_xr.readers.base import AnyArray, IntArray, Reader, result_array, sorted_pick, trial_positions
from laion_xr.sources import OpenedSession
from laion_xr.store.pipeline import release_buffers
from laion_xr.store.place import consolidate_store, ensure_groups, tidy
from laion_xr.store.plan import IngestPlan, SessionPlan
from laion_xr.store.sessions import FAILED, WRITTEN, write_one
from laion_xr.stored import stored_sessions, voxels_checksum

# One session of a process is encoded at a time, so that the memory for it is taken once
_encoding = threading.Lock()
# What could not be stored is said once, and not tried again by this process
_given_up: set[tuple[str, str, str]] = set()


def writing_through(catalog: SubjectCatalog, opened: OpenedSession, axis: VoxelAxis, store: Location) -> OpenedSession:
    """Return a session whose reader also stores it, when all its trials of all voxels of the mask are read."""
    reader = WriteThroughReader(
        opened.reader,
        catalog.location,
        store,
        catalog.subject,
        opened.files.session,
        axis.mask_source,
        len(axis.ids),
        voxels_checksum(axis.ids),
    )
    return OpenedSession(opened.files, reader, opened.table)


@dataclass(frozen=True, eq=False)
class WriteThroughReader:
    """Reads a session's own file until the store has it, from there on the store; a whole read fills the store.

    Parameters
    ----------
    inner
        The reader of the session's own file.
    source, store
        The dataset and the store.
    subject, session
        Which session it is.
    mask_source, n_voxels, voxels_crc32
        The mask, and its voxels: their number and the checksum of their ids.
    """

    inner: Reader
    source: Location
    store: Location
    subject: str
    session: str
    mask_source: str
    n_voxels: int
    voxels_crc32: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of trials, number of voxels of the grid."""
        return self.inner.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of what `read` returns."""
        return self.inner.dtype

    @property
    def entry(self) -> FileEntry:
        """The session's own file."""
        entry: FileEntry = self.inner.entry  # type: ignore[attr-defined]
        return entry

    @property
    def token(self) -> tuple[object, ...]:
        """That of the session's own file: the store holds the same values."""
        return self.inner.token

    def read(
        self, trials: IntArray | slice, voxels: IntArray, out: npt.NDArray[np.generic] | None = None
    ) -> npt.NDArray[np.generic]:
        """Return the picked trials of the picked voxels, as the inner reader does; a whole session is stored too.

        What goes wrong in storing is a `NotStoredWarning`, once a session: the values are right all the same.
        """
        stored = self._stored()
        if stored is not None:
            return stored.read(trials, voxels, out)
        values = self.inner.read(trials, voxels, out)
        if self._name not in _given_up and self._is_whole(trials, voxels):
            self._keep(values, voxels)
        return values

    def now(self) -> Reader:
        """Return what a read would read from now: the store's session where it has it, else the session's own file."""
        return self._stored() or self.inner

    @property
    def _name(self) -> tuple[str, str, str]:
        return self.store.url, self.subject, self.session

    def _stored(self) -> Reader | None:
        try:
            found = stored_sessions(self.store, self.subject).get(self.session)
        except (LaionXRError, OSError):  # the session's own file is read
            return None
        if found is None or found.record["voxels_crc32"] != self.voxels_crc32:
            return None
        if found.record["n_trials"] != self.shape[0] or not found.matches(self.source, self.entry):
            return None
        # the inner reader's grid, whose voxels are counted in C order
        return found.reader((1, 1, self.shape[1]))

    def _is_whole(self, trials: IntArray | slice, voxels: IntArray) -> bool:
        n_trials = self.shape[0]
        if len(voxels) != self.n_voxels or voxels_checksum(voxels) != self.voxels_crc32:
            return False
        return bool(np.array_equal(trial_positions(trials, n_trials), np.arange(n_trials)))

    def _keep(self, values: AnyArray, voxels: IntArray) -> None:
        todo = SessionPlan(
            self.subject, self.session, "write", self.entry.path, self.entry.size, self.shape[0], self.n_voxels
        )
        plan = IngestPlan(self.source.url, self.store.url, [todo], self.mask_source)
        try:
            with _encoding:
                ensure_groups(self.store, [self.subject])
                outcome = write_one(
                    self.source,
                    self.store,
                    plan,
                    todo,
                    lambda n: None,
                    decoded=DecodedSession(self.inner, values, voxels),
                    timeout=0,
                )
                if outcome.outcome == WRITTEN:
                    consolidate_store(self.store)
                tidy(self.store)
                release_buffers()
            message = outcome.message if outcome.outcome == FAILED else ""
        except (LaionXRError, OSError) as error:
            message = str(error)
        if message:
            _given_up.add(self._name)
            warnings.warn(
                f"{self.subject} {self.session} was read, and not stored in {self.store.url}: {message}",
                NotStoredWarning,
                stacklevel=2,
            )


class DecodedSession:
    """A whole session that was read already, as a reader: what is stored is what was returned.

    Parameters
    ----------
    inner
        The reader that it came from.
    values
        `(trial, voxel)`, all trials.
    voxels
        C-order flat grid ids of its columns, each once.
    """

    def __init__(self, inner: Reader, values: AnyArray, voxels: IntArray) -> None:
        self.inner = inner
        self.shape, self.dtype, self.token = inner.shape, inner.dtype, inner.token
        self._values = values
        self._ids, self._columns = sorted_pick(voxels)[0], np.argsort(voxels, kind="stable")

    def read(self, trials: IntArray | slice, voxels: IntArray, out: AnyArray | None = None) -> AnyArray:
        """Return the picked trials of the picked voxels, which must be among those that were read."""
        rows = self._values[trials]
        columns = self._columns[np.searchsorted(self._ids, voxels)]
        out = result_array((len(rows), len(columns)), self.dtype, out)
        return np.take(rows, columns, axis=1, out=out, mode="clip")
