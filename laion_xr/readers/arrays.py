"""A matrix in memory as a reader: what is computed as it is read works on it too."""

from __future__ import annotations

import numpy as np

from laion_xr.readers.base import AnyArray, IntArray, array_digest, result_array, trial_positions


class ArrayReader:
    """The rows and columns of an array `(trial, voxel)`; "grid voxels" are its columns.

    Parameters
    ----------
    values
        The array; it is not changed.
    """

    splits_voxels = True

    def __init__(self, values: AnyArray) -> None:
        self.values = values

    @property
    def shape(self) -> tuple[int, int]:
        """Number of trials, number of voxels."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of what `read` returns."""
        return self.values.dtype

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change."""
        return "array", array_digest(self.values)

    def read(self, trials: IntArray | slice, voxels: IntArray, out: AnyArray | None = None) -> AnyArray:
        """Return the picked trials of the picked voxels: a copy."""
        rows = trial_positions(trials, self.shape[0])
        out = result_array((len(rows), len(voxels)), self.dtype, out)
        if np.array_equal(voxels, np.arange(self.shape[1])):
            return np.take(self.values, rows, axis=0, out=out, mode="clip")
        out[...] = self.values[np.ix_(rows, voxels)]
        return out
