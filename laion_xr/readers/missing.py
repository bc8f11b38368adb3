"""A reader for a map that is not on disk: every value is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion_xr.readers.base import IntArray, result_array, trial_positions


@dataclass(frozen=True)
class MissingReader:
    """NaN (-1 for integers) wherever it is read: one session of a `(ses, voxel)` map that lacks its file."""

    n_trials: int
    grid: tuple[int, int, int]
    dtype: np.dtype[np.generic]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, voxels of the grid."""
        return self.n_trials, int(np.prod(self.grid))

    @property
    def token(self) -> tuple[object, ...]:
        """Shape and type: there is no file."""
        return "missing", self.n_trials, self.grid, str(self.dtype)

    def read(
        self, trials: IntArray | slice, voxels: IntArray, out: npt.NDArray[np.generic] | None = None
    ) -> npt.NDArray[np.generic]:
        """Return missing values."""
        fill = -1 if self.dtype.kind in "iu" else np.nan
        found = result_array((len(trial_positions(trials, self.n_trials)), len(voxels)), self.dtype, out)
        found[...] = fill
        return found
