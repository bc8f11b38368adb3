"""What a read will cost, from what readers know of their files: no betas are read for it.

Readers over readers (z-scores, averages) are seen through to the files below them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from laion_xr.location import FileEntry
from laion_xr.readers.base import IntArray, Reader, trial_positions
from laion_xr.readers.chunkfiles import ChunkFiles
from laion_xr.readers.embeddings import EmbeddingReader
from laion_xr.readers.hdf5 import Hdf5Reader
from laion_xr.readers.joined import JoinedReader
from laion_xr.readers.nifti import NiftiReader
from laion_xr.readers.reduced import ReducedReader
from laion_xr.readers.standardised import StandardisedReader
from laion_xr.readers.stored import BETAS, StoredReader

NIFTI, HDF5, STORE = "nifti", "hdf5", "store"
# Published volumes are float32; a header would have to be read to know
ITEM_BYTES = 4
# What a stored chunk takes of its values, where its file is not on this machine
STORED_SHARE = 0.9


@dataclass(frozen=True)
class FileCost:
    """One reading of one file.

    Attributes
    ----------
    path
        Below the root, or below the store.
    source
        `"nifti"`, `"hdf5"` or `"store"`; another reader's class.
    n_trials, of_trials
        Distinct trials that are kept, of so many in the file.
    n_voxels
        Voxels that are kept.
    file_bytes, decoded_bytes
        What is read of the file, and what that inflates to.
    picked_bytes
        What is kept of it.
    """

    path: str
    source: str
    n_trials: int
    of_trials: int
    n_voxels: int
    file_bytes: int
    decoded_bytes: int
    picked_bytes: int


class ReadCost(NamedTuple):
    """What `read` of a reader costs: its files, and the bytes that it holds meanwhile beside its result."""

    files: list[FileCost]
    held_bytes: int


def read_cost(reader: Reader, trials: IntArray | slice, voxels: IntArray) -> ReadCost:
    """Return what `reader.read(trials, voxels)` would cost.

    Of a store, the metadata of the session and the order of its voxels are read, as any read of it does, and kept.
    """
    rows = np.unique(trial_positions(trials, reader.shape[0]))
    if not len(rows) or not len(voxels):
        return ReadCost([], 0)
    if isinstance(reader, StandardisedReader):
        return _standardised(reader, rows, voxels)
    if isinstance(reader, ReducedReader):
        return _reduced(reader, rows, voxels)
    if isinstance(reader, JoinedReader):
        costs = [read_cost(inner, rows, own) for inner, _, own in reader.shares(voxels)]
        return ReadCost([file for cost in costs for file in cost.files], max(cost.held_bytes for cost in costs))
    if isinstance(reader, StoredReader):
        return ReadCost([_stored(reader, rows, voxels)], 0)
    if callable(now := getattr(reader, "now", None)):  # reads one file or another
        return read_cost(now(), rows, voxels)
    entry = getattr(reader, "entry", None)
    return ReadCost([] if entry is None else [_file(reader, FileEntry(*entry), rows, voxels)], 0)


def _standardised(reader: StandardisedReader, rows: IntArray, voxels: IntArray) -> ReadCost:
    # as its `read` does: all trials of the groups that the rows are of
    used = np.flatnonzero(np.isin(reader.groups, reader.groups[rows]))
    inner = read_cost(reader.inner, reader.trials[used], voxels)
    copied = 0 if len(used) == len(rows) else len(used) * len(voxels) * reader.dtype.itemsize
    return ReadCost(inner.files, inner.held_bytes + copied)


def _reduced(reader: ReducedReader, rows: IntArray, voxels: IntArray) -> ReadCost:
    parts = reader.parts
    if reader.reduction.by_group and len(rows) < reader.shape[0]:
        parts = tuple(part.of_groups(rows) for part in parts)
    parts = tuple(part for part in parts if len(part.trials))
    inner = [read_cost(part.reader, part.trials, voxels) for part in parts]
    longest = max((len(part.trials) for part in parts), default=0)
    # sums of every row, and two sessions: one is read while the other is taken up
    held = (len(rows) + min(2, len(parts)) * longest) * len(voxels) * reader.dtype.itemsize
    return ReadCost(
        [file for cost in inner for file in cost.files], held + max((c.held_bytes for c in inner), default=0)
    )


def _file(reader: Reader, entry: FileEntry, rows: IntArray, voxels: IntArray) -> FileCost:
    of_trials, n_grid = reader.shape
    picked = len(rows) * len(voxels) * reader.dtype.itemsize
    source, in_file, decoded = type(reader).__name__, entry.size, picked
    if isinstance(reader, NiftiReader):
        source, volume = NIFTI, ITEM_BYTES * n_grid
        if entry.path.endswith(".gz"):
            # one pass from the beginning to the last trial
            passed = int(rows[-1]) + 1
            in_file, decoded = entry.size * passed // of_trials, volume * passed
        else:
            in_file = decoded = volume * len(rows)
    elif isinstance(reader, Hdf5Reader):
        # how it is chunked is in the file: at most all of it
        source, decoded = HDF5, entry.size
    elif isinstance(reader, EmbeddingReader):
        source, of_trials = HDF5, reader.n_images
        rows = rows[rows < of_trials]
        in_file = decoded = len(rows) * reader.n_features * reader.dtype.itemsize
    return FileCost(entry.path, source, len(rows), of_trials, len(voxels), in_file, decoded, picked)


def _stored(reader: StoredReader, rows: IntArray, voxels: IntArray) -> FileCost:
    columns, betas = reader.layout(voxels)
    height, width = betas.chunks
    down, across = np.unique(rows // height).tolist(), np.unique(columns // width).tolist()
    decoded = len(down) * len(across) * height * width * reader.dtype.itemsize
    in_file = int(decoded * STORED_SHARE)
    if (files := ChunkFiles.of(betas)) is not None:
        in_file = sum(_size(files.path(i, j)) for i in down for j in across)
    picked = len(rows) * len(voxels) * reader.dtype.itemsize
    path = f"{reader.path}/{BETAS}"
    return FileCost(path, STORE, len(rows), reader.shape[0], len(voxels), in_file, decoded, picked)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # the read will say what is lost
        return 0
