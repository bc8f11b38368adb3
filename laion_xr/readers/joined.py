"""Several readers of the same rows side by side, as one: the voxels of several subjects on one axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from laion_xr.readers.base import AnyArray, IntArray, Reader, checked_pick, result_array, trial_positions


class JoinedReader:
    """Readers side by side; the grid voxels of one follow those of the one before.

    Parameters
    ----------
    readers
        Of as many rows each.
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        self.readers = tuple(readers)
        self.ends = np.cumsum([reader.shape[1] for reader in self.readers])

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows, number of voxels of all grids."""
        return self.readers[0].shape[0], int(self.ends[-1])

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of what `read` returns."""
        return self.readers[0].dtype

    @property
    def seams(self) -> IntArray:
        """Where a reader's voxels end: no task should read from two."""
        return self.ends[:-1]

    @property
    def splits_voxels(self) -> bool:
        """Whether a part of the voxels costs a part of the reading, in every reader."""
        return all(getattr(reader, "splits_voxels", False) for reader in self.readers)

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change."""
        return ("joined", *(reader.token for reader in self.readers))

    def shares(self, voxels: IntArray) -> list[tuple[Reader, IntArray, IntArray]]:
        """Return which readers some voxels are of: reader, positions among the voxels, the reader's own voxels."""
        part = np.searchsorted(self.ends, voxels, side="right")
        starts = np.array([0, *self.ends[:-1]])
        found: list[tuple[Reader, IntArray, IntArray]] = []
        for number in np.unique(part).tolist():
            where = np.flatnonzero(part == number)
            found.append((self.readers[number], where, voxels[where] - starts[number]))
        return found

    def read(self, trials: IntArray | slice, voxels: IntArray, out: AnyArray | None = None) -> AnyArray:
        """Return the picked rows of the picked voxels."""
        n_rows, n_voxels = self.shape
        rows = checked_pick(trial_positions(trials, n_rows), n_rows, "row")
        picked = checked_pick(voxels, n_voxels, "voxel")
        out = result_array((len(rows), len(picked)), self.dtype, out)
        shares = self.shares(picked)
        for reader, where, own in shares:
            if len(shares) == 1:
                return reader.read(rows, own, out)
            out[:, where] = reader.read(rows, own)
        return out
