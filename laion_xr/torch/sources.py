"""Where the betas of trials come from: sessions in files, or an array. NumPy out; no open handle is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from laion_xr.errors import SelectionError
from laion_xr.lazy.array import ReadPlan, plan_of
from laion_xr.lazy.budget import decode_budget, set_decode_budget
from laion_xr.readers.base import IntArray, Reader
from laion_xr.readers.joined import JoinedReader
from laion_xr.readers.nifti import NiftiReader
from laion_xr.readers.reduced import ReducedReader
from laion_xr.readers.stored import StoredReader

# Rows a block where nothing says what is cheap to read together: those of a chunk of the store
BLOCK_ROWS = 128

Floats = npt.NDArray[Any]


class BetaSource(Protocol):
    """Betas as a matrix `(trial, voxel)` of which rows are read: picklable, safe in a forked process."""

    shape: tuple[int, int]
    blocks: list[IntArray]  # rows that are cheap to read together, each row in one
    costs_whole_files: bool  # any part of a block costs all of it

    def read(self, rows: IntArray, out: Floats | None = None) -> Floats:
        """Return rows in the order asked for, float32 `(len(rows), voxel)`, or fill `out`, float32 or float64."""


class SessionBetas:
    """Betas of a lazy read: a reader a session, without Dask."""

    def __init__(self, plan: ReadPlan) -> None:
        self.readers: list[Reader] = []
        self.voxels = plan.voxels
        self.shape: tuple[int, int] = (plan.n_trials, len(plan.voxels))
        self.session = np.empty(self.shape[0], np.int16)
        self.position = np.empty(self.shape[0], np.int32)
        self.blocks: list[IntArray] = []
        self.costs_whole_files = False
        for number, (reader, positions, rows) in enumerate(plan.sessions()):
            at, local = np.arange(self.shape[0])[rows], np.arange(reader.shape[0])[positions]
            self.readers.append(reader)
            self.session[at], self.position[at] = number, local
            self.blocks += self._blocks(reader, local, at)

    def _blocks(self, reader: Reader, local: IntArray, rows: IntArray) -> list[IntArray]:
        order = np.argsort(local, kind="stable")
        height = block_height(reader, self.voxels.ids)
        if height is None:
            self.costs_whole_files = True
            return [rows[order]]
        cuts = np.flatnonzero(np.diff(local[order] // height)) + 1
        return np.split(rows[order], cuts)

    def read(self, rows: IntArray, out: Floats | None = None) -> Floats:
        """Return rows: each session that they are of is read once."""
        session, position = self.session[rows], self.position[rows].astype(np.int64)
        out = np.empty((len(rows), self.shape[1]), np.float32) if out is None else out
        found = np.unique(session).tolist()
        for number in found:
            reader, at = self.readers[number], np.flatnonzero(session == number)
            if len(found) == 1 and reader.dtype == out.dtype:
                reader.read(position, self.voxels.ids, out=out)
            else:
                out[at] = reader.read(position[at], self.voxels.ids)
        return out


class ArrayBetas:
    """Betas in memory, or computed by Dask: a slice of the array for each read."""

    def __init__(self, values: Any) -> None:
        self.values, self.costs_whole_files = values, False
        self.shape: tuple[int, int] = (values.shape[0], values.shape[1])
        lazy = isinstance(values, da.Array)
        lengths = values.chunks[0] if lazy else [BLOCK_ROWS] * -(-self.shape[0] // BLOCK_ROWS)
        cuts = np.cumsum(lengths)[:-1]
        self.blocks: list[IntArray] = [b for b in np.split(np.arange(self.shape[0]), cuts) if len(b)]
        self._pid = os.getpid()

    def read(self, rows: IntArray, out: Floats | None = None) -> Floats:
        """Return rows; Dask computes them in this thread."""
        if isinstance(self.values, da.Array):
            if os.getpid() != self._pid:
                # what other threads held of the budget when this process was forked, nobody gives back here
                set_decode_budget(decode_budget().total)
                self._pid = os.getpid()
            order = np.argsort(rows, kind="stable")
            found = np.empty((len(rows), self.shape[1]), np.float32) if out is None else out
            found[order] = self.values[rows[order]].compute(scheduler="synchronous")
            return found
        out = np.empty((len(rows), self.shape[1]), np.float32) if out is None else out
        out[...] = self.values[rows]
        return out


def block_height(reader: Reader, voxels: IntArray) -> int | None:
    """Return how many neighbouring trials of a session are read for the price of one; None: all of them."""
    now: Callable[[], Reader] | None = getattr(reader, "now", None)
    if callable(now):  # reads one file or another
        reader = now()
    if isinstance(reader, StoredReader):
        return int(reader.layout(voxels)[1].chunks[0])
    if isinstance(reader, NiftiReader) and not reader.entry.path.endswith(".gz"):
        return BLOCK_ROWS
    return None


def beta_source(betas: xr.DataArray) -> BetaSource:
    """Return what reads the betas `(trial, voxel)` of an array.

    A lazy read is read session by session. Means over sessions, of which each row costs all of them, are computed
    here and kept in memory.

    Raises
    ------
    SelectionError
        There is no voxel, or no trial, or means do not fit into memory.
    """
    if not betas.size:
        raise SelectionError(
            f"Expected trials and voxels to learn from, found an array of {betas.shape[0]} x {betas.shape[1]} "
            f"({' x '.join(map(str, betas.dims))}): the selection leaves nothing."
        )
    data = betas.data
    plan = plan_of(data)
    if plan is None:
        return ArrayBetas(data if isinstance(data, da.Array) else np.asarray(data))
    if not any(isinstance(reader, (ReducedReader, JoinedReader)) for reader in plan.readers):
        return SessionBetas(plan)
    if betas.nbytes > (most := decode_budget().total):
        raise SelectionError(
            f"Means over sessions are computed before they are served, and kept in memory: expected at most "
            f"{most / 1e9:.1f} GB, found {betas.nbytes / 1e9:.1f} GB; select voxels (sel(roi=...)), or ROIs one by one."
        )
    return ArrayBetas(data.compute())
