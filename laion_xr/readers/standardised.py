"""Z-scores of a session as they are read: a reader over a reader, so that selections still narrow what is read."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from laion_xr.errors import ConstantVoxelsWarning
from laion_xr.readers.base import (
    AnyArray,
    IntArray,
    Reader,
    array_digest,
    blocks_of,
    checked_pick,
    result_array,
    trial_positions,
)

# A tile stays in a core's cache while it is passed over, and is large enough that threads seldom wait for one another
TILE_BYTES = 1 << 20
# Of the mean: less is what float32 leaves of values that are all the same
CONSTANT = 1e-7
_warned: set[str] = set()
Floats = npt.NDArray[Any]


class StandardisedReader:
    """The trials of a reader, z-scored in every voxel within groups of them.

    Parameters
    ----------
    inner
        A session.
    trials
        Positions of the trials in it that count, the rows of this reader.
    groups
        A number a row: rows of the same number are z-scored together.
    ddof
        Subtracted from the number of trials, for the standard deviation.
    call
        Names the analysis: constant voxels are warned of once for each.
    """

    def __init__(self, inner: Reader, trials: IntArray, groups: IntArray, ddof: int, call: str) -> None:
        self.inner, self.ddof, self.call = inner, ddof, call
        self.trials = np.asarray(trials, dtype=np.int64)
        self.groups = np.asarray(groups, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of trials, number of voxels of the grid."""
        return len(self.trials), self.inner.shape[1]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of what `read` returns."""
        return self.inner.dtype

    @property
    def splits_voxels(self) -> bool:
        """Whether a part of the voxels costs a part of the reading."""
        return bool(getattr(self.inner, "splits_voxels", False))

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change."""
        return "standardised", self.inner.token, array_digest(self.trials, self.groups), self.ddof

    def blocks(self, voxels: IntArray) -> list[IntArray]:
        """Return positions in `voxels` by what is read together."""
        return blocks_of(self.inner, voxels)

    def read(self, trials: IntArray | slice, voxels: IntArray, out: AnyArray | None = None) -> AnyArray:
        """Return the picked rows of the picked voxels; all trials of their groups are read for it."""
        n_trials, n_voxels = self.shape
        rows = checked_pick(trial_positions(trials, n_trials), n_trials, "trial")
        picked = checked_pick(voxels, n_voxels, "voxel")
        if not len(rows) or not len(picked):
            return result_array((len(rows), len(picked)), self.dtype, out)
        used = np.flatnonzero(np.isin(self.groups, self.groups[rows]))
        as_it_is = np.array_equal(used, rows)
        source = self.trials[used]
        whole = np.array_equal(source, np.arange(self.inner.shape[0]))
        values = self.inner.read(slice(None) if whole else source, picked, out if as_it_is else None)
        constant = 0
        groups = self.groups[used]
        for group in np.unique(groups).tolist():
            of_group = np.flatnonzero(groups == group)
            first, last = int(of_group[0]), int(of_group[-1])
            if last - first + 1 == len(of_group):
                constant += standardise(values[first : last + 1], self.ddof)
            else:
                part = values[of_group]
                constant += standardise(part, self.ddof)
                values[of_group] = part
        if constant:
            warn_of_constant(self.call)
        if as_it_is:
            return values
        out = result_array((len(rows), len(picked)), self.dtype, out)
        return np.take(values, np.searchsorted(used, rows), axis=0, out=out, mode="clip")


def warn_of_constant(call: str) -> None:
    """Warn once for each analysis."""
    if call not in _warned:
        _warned.add(call)
        warnings.warn(
            "Voxels whose betas are all the same within a group of trials have no z-score: they are NaN there.",
            ConstantVoxelsWarning,
            stacklevel=2,
        )


def standardise(values: Floats, ddof: int) -> int:
    """Z-score the columns of an array in place, over what is not NaN; return how many have no variance: they are NaN.

    Mean and variance by the corrected two-pass algorithm (Chan, Golub & LeVeque 1983, The American Statistician 37).
    """
    n_rows, n_columns = values.shape
    width = max(64, TILE_BYTES // max(n_rows * values.dtype.itemsize, 1))
    # once for all tiles: memory that was never touched costs more than filling it
    room = np.empty(n_rows * min(width, n_columns), values.dtype)
    constant = 0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for start in range(0, n_columns, width):
            part = values[:, start : start + width]
            constant += _standardise_tile(part, room[: part.size].reshape(part.shape), ddof)
    return constant


def _standardise_tile(part: Floats, tile: Floats, ddof: int) -> int:
    n_rows = len(part)
    np.copyto(tile, part)
    # not a product with ones: BLAS would take threads of its own, which wait for work by spinning
    mean = tile.sum(axis=0) / n_rows
    has_nan = np.isnan(mean)
    if has_nan.any():
        mean[has_nan] = _mean_of_numbers(tile[:, has_nan])
    np.subtract(tile, mean, out=tile)
    missing = np.isnan(tile) if has_nan.any() else None
    n: Any = float(n_rows)
    if missing is not None:
        tile[missing] = 0
        n = n_rows - missing.sum(axis=0)
    rest = tile.sum(axis=0) / n
    squares = np.einsum("ij,ij->j", tile, tile)
    variance = np.maximum(squares - n * rest * rest, 0) / (n - ddof)
    sd = np.sqrt(variance).astype(tile.dtype)
    flat = np.isfinite(mean) & ~(sd > CONSTANT * np.abs(mean))
    sd[flat | np.less_equal(n - ddof, 0)] = np.nan
    np.subtract(tile, rest.astype(tile.dtype), out=tile)
    np.divide(tile, sd, out=part)
    if missing is not None:
        part[missing] = np.nan
    return int(np.count_nonzero(flat))


def _mean_of_numbers(columns: Floats) -> Floats:
    there = ~np.isnan(columns)
    total = np.where(there, columns, 0).sum(axis=0)
    n = there.sum(axis=0)
    mean: Floats = (total / np.where(n > 0, n, np.nan)).astype(columns.dtype)
    return mean
