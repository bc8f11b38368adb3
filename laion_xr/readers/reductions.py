"""Statistics that `reduced` streams: means of repeats, noise variance, reliability. Over what is not NaN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from laion_xr.readers.base import AnyArray, IntArray
from laion_xr.readers.reduced import FloatArray

TILE_VOXELS = 2048
COUNT = np.dtype(np.uint16)
# Of a sum of squares: a variance below is what float32 makes of values that are all the same
ROUNDING = 1e-6


class GroupSums:
    """Weighted sums of each group's trials, `(group, voxel)`, and of the squares where they are asked for."""

    def __init__(
        self,
        n_groups: int,
        n_voxels: int,
        dtype: np.dtype[np.generic],
        squares: bool = False,
        out: AnyArray | None = None,
    ) -> None:
        self.sums: FloatArray = np.empty((n_groups, n_voxels), dtype) if out is None else out  # type: ignore[assignment]
        self.sums[...] = 0
        self.squares = np.zeros_like(self.sums) if squares else None
        # of the type of what is missing, and summed in the same order: where all is missing the difference is 0
        self.weights = np.zeros(n_groups, dtype)
        # made when the first NaN is met: the weight of what is missing
        self._missing: npt.NDArray[Any] | None = None

    def add(self, values: AnyArray, groups: IntArray, weights: FloatArray) -> None:
        """Take a session's trials."""
        np.add.at(self.weights, groups, weights.astype(self.weights.dtype))
        # a sum is NaN where any is: mostly the same few voxels in all trials of a session
        columns = np.flatnonzero(np.isnan(values.sum(axis=0)))
        if len(columns):
            part = values[:, columns]
            missing = np.isnan(part)
            part[missing] = 0
            values[:, columns] = part
            self._lose(missing, columns, groups, weights)
        for row, group, weight in zip(values, groups.tolist(), weights.tolist(), strict=True):
            if self.squares is not None:
                self.squares[group] += row * row * weight
            self.sums[group] += row if weight == 1 else row * row.dtype.type(weight)

    def _lose(self, missing: npt.NDArray[np.bool_], columns: IntArray, groups: IntArray, weights: FloatArray) -> None:
        for row in np.flatnonzero(missing.any(axis=1)).tolist():
            lost = self._lost(float(weights[row]))
            of_row = missing[row]
            lost[groups[row], columns] += (
                of_row if lost.dtype == COUNT else np.where(of_row, weights[row], 0).astype(lost.dtype)
            )

    def _lost(self, weight: float) -> npt.NDArray[Any]:
        """Return the weight of what is missing: half the memory while it is a number of trials."""
        if self._missing is None:
            self._missing = np.zeros(self.sums.shape, COUNT)
        if self._missing.dtype == COUNT and (weight != 1 or self.weights.max() >= np.iinfo(COUNT).max):
            self._missing = self._missing.astype(self.sums.dtype)
        return self._missing

    def counts(self, voxels: slice) -> FloatArray:
        """Return the weight of what was there, `(group, voxel)` or `(group, 1)`."""
        weights: FloatArray = self.weights[:, None]
        return weights if self._missing is None else weights - self._missing[:, voxels]


def tiles(n_voxels: int) -> list[slice]:
    """Return stretches of voxels, so that what is computed of them stays small."""
    return [slice(start, min(start + TILE_VOXELS, n_voxels)) for start in range(0, n_voxels, TILE_VOXELS)]


@dataclass(frozen=True)
class Mean:
    """The weighted mean of each group's trials; NaN where a group has none that is not NaN."""

    by_group = True

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that say which statistic it is."""
        return ("mean",)

    def n_rows(self, n_groups: int) -> int:
        """Return the number of rows of the result."""
        return n_groups

    def start(self, n_groups: int, n_voxels: int, dtype: np.dtype[np.generic], out: AnyArray | None = None) -> _Means:
        """Return what takes up sessions."""
        return _Means(n_groups, n_voxels, dtype, out=out)


class _Means(GroupSums):
    def result(self, out: AnyArray) -> None:
        with np.errstate(invalid="ignore", divide="ignore"):
            for part in tiles(out.shape[1]):
                counts = self.counts(part)
                np.divide(self.sums[:, part], np.where(counts > 0, counts, np.nan), out=out[:, part], casting="unsafe")


@dataclass(frozen=True)
class NoiseVariance:
    """The mean over groups of the variance within each; and of one over the trials of each: two rows.

    Groups of fewer than two trials, NaN left out, do not count.

    Parameters
    ----------
    ddof
        Subtracted from the number of trials, for the variance.
    """

    ddof: int = 1
    by_group = False

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that say which statistic it is."""
        return "noise variance", self.ddof

    def n_rows(self, n_groups: int) -> int:
        """Return the number of rows of the result."""
        return 2

    def start(
        self, n_groups: int, n_voxels: int, dtype: np.dtype[np.generic], out: AnyArray | None = None
    ) -> _NoiseVariances:
        """Return what takes up sessions."""
        return _NoiseVariances(n_groups, n_voxels, dtype, self.ddof)


class _NoiseVariances(GroupSums):
    def __init__(self, n_groups: int, n_voxels: int, dtype: np.dtype[np.generic], ddof: int) -> None:
        super().__init__(n_groups, n_voxels, dtype, squares=True)
        self._ddof = ddof

    def result(self, out: AnyArray) -> None:
        assert self.squares is not None
        with np.errstate(invalid="ignore", divide="ignore"):
            for part in tiles(out.shape[1]):
                sums = self.sums[:, part].astype(np.float64)
                n = np.broadcast_to(self.counts(part), sums.shape)
                counted = n >= 2
                variance = (self.squares[:, part] - sums * sums / n) / (n - self._ddof)
                n_groups = counted.sum(axis=0)
                total, squares = (np.where(counted, m, 0).sum(axis=0) for m in (sums, self.squares[:, part]))
                # a voxel that never changes is no voxel without noise
                flat = squares - total**2 / np.where(counted, n, 0).sum(axis=0) <= ROUNDING * squares
                n_groups = np.where((n_groups > 0) & ~flat, n_groups, np.nan)
                out[0, part] = np.where(counted, np.maximum(variance, 0), 0).sum(axis=0) / n_groups
                out[1, part] = np.where(counted, 1 / n, 0).sum(axis=0) / n_groups


@dataclass(frozen=True)
class Reliability:
    """The correlation over images of the means of two halves of their trials: groups 2 i and 2 i + 1 are image i."""

    by_group = False

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that say which statistic it is."""
        return ("reliability",)

    def n_rows(self, n_groups: int) -> int:
        """Return the number of rows of the result."""
        return 1

    def start(
        self, n_groups: int, n_voxels: int, dtype: np.dtype[np.generic], out: AnyArray | None = None
    ) -> _Reliabilities:
        """Return what takes up sessions."""
        return _Reliabilities(n_groups, n_voxels, dtype)


class _Reliabilities(GroupSums):
    def result(self, out: AnyArray) -> None:
        with np.errstate(invalid="ignore", divide="ignore"):
            for part in tiles(out.shape[1]):
                counts = self.counts(part)
                means = self.sums[:, part] / np.where(counts > 0, counts, np.nan)
                one, other = means[::2], means[1::2]
                both = ~(np.isnan(one) | np.isnan(other))
                n = np.where(both.sum(axis=0) > 1, both.sum(axis=0), np.nan)
                one, other = (np.where(both, m, 0) for m in (one, other))
                least = ROUNDING * (one * one).sum(axis=0) * ROUNDING * (other * other).sum(axis=0)
                one, other = (np.where(both, m - m.sum(axis=0) / n, 0) for m in (one, other))
                squares = (one * one).sum(axis=0) * (other * other).sum(axis=0)
                squares = np.where(squares > least, squares, 0)
                out[0, part] = (one * other).sum(axis=0) / np.sqrt(np.where(squares > 0, squares, np.nan))
