"""Correlations of betas with a shuffled predictor, all shuffles as matrix products. NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion_xr.analysis.moments import BoolArray, Float64, FloatArray, IntArray

SHUFFLES_AT_ONCE = 256
# Predictions of a linear model with few features have few dimensions; beyond, a gather a voxel is as fast
MAX_RANK = 12


@dataclass(frozen=True, eq=False)
class Units:
    """What is shuffled: rows of one image move together, and stay in their stratum (a session).

    Attributes
    ----------
    of_row
        Unit of every row, int (row,).
    strata
        Stratum of every unit, int (unit,).
    seed
        Of the shuffles.
    n_shuffles
        How many.
    """

    of_row: IntArray
    strata: IntArray
    seed: int
    n_shuffles: int

    @classmethod
    def of(cls, groups: IntArray, strata: IntArray, seed: int, n_shuffles: int) -> Units:
        """Make a unit of each group in each stratum."""
        pairs, unit = np.unique(np.stack([strata, groups]), axis=1, return_inverse=True)
        return cls(unit.reshape(-1), pairs[0], seed, n_shuffles)

    @property
    def first_rows(self) -> IntArray:
        """The first row of each unit, int (unit,)."""
        return np.asarray(np.unique(self.of_row, return_index=True)[1])

    def batches(self) -> Iterator[tuple[int, IntArray]]:
        """Yield the number of the first shuffle, and which unit's label each unit gets: int (shuffle, unit).

        A shuffle depends on the seed and its number only: not on how many there are, nor on blocks.
        """
        edges = np.flatnonzero(np.diff(self.strata)) + 1  # units are sorted by stratum
        members = np.split(np.arange(len(self.strata)), edges)
        for start in range(0, self.n_shuffles, SHUFFLES_AT_ONCE):
            found = np.empty((min(SHUFFLES_AT_ONCE, self.n_shuffles - start), len(self.strata)), np.intp)
            for i, row in enumerate(found):
                rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(start + i,)))
                for where in members:
                    row[where] = rng.permutation(where)
            yield start, found

    def sums(self, values: FloatArray) -> FloatArray:
        """Sum rows (row, voxel) by unit: (unit, voxel)."""
        if np.array_equal(self.of_row, np.arange(len(self.strata))):
            return values
        order = np.argsort(self.of_row, kind="stable")
        starts = np.searchsorted(self.of_row[order], np.arange(len(self.strata)))
        return np.asarray(np.add.reduceat(values[order], starts, axis=0))


def correlations(
    betas: FloatArray, predictor: FloatArray, units: Units
) -> tuple[Float64, Callable[[], Iterator[tuple[int, FloatArray]]]]:
    """Return the correlation in each voxel, (voxel,), and what yields those of the shuffles, (shuffle, voxel).

    Parameters
    ----------
    betas
        float (row, voxel); a missing one is left out for its voxel.
    predictor
        float (unit, voxel), or (unit, 1) for all voxels.
    units
        What is shuffled.
    """
    there = np.isfinite(betas)
    dtype = np.float64 if betas.dtype == np.float64 else np.float32
    n = there.sum(axis=0)
    complete = there.all(axis=0)
    values = betas if complete.all() else np.where(there, betas, 0)
    mean = values.sum(axis=0, dtype=np.float64) / np.maximum(n, 1)
    centred: FloatArray = np.where(there, values - mean, 0).astype(dtype)
    norm = np.sqrt(np.einsum("rv,rv->v", centred, centred, dtype=np.float64))
    flat = norm <= np.sqrt(n) * 16 * np.finfo(betas.dtype).eps * np.abs(mean)
    centred /= np.where(flat, np.nan, norm).astype(dtype)
    sums = units.sums(centred)
    predictor = predictor - predictor.mean(axis=0, dtype=np.float64)  # of units: only for the digits
    scale = np.abs(predictor).max(axis=0)
    predictor = (predictor / np.where(scale > 0, scale, 1)).astype(dtype)
    counts: FloatArray = np.bincount(units.of_row, minlength=len(units.strata)).astype(dtype)
    whole, ragged = np.flatnonzero(complete & ~flat), np.flatnonzero(~complete & ~flat)
    by_unit = units.sums(there[:, ragged].astype(dtype))
    picked = predictor if predictor.shape[1] == 1 else predictor[:, whole]
    parts = low_rank(picked)
    of_whole = sums[:, whole]

    def batch(shuffle: IntArray) -> FloatArray:
        if len(whole) == betas.shape[1] > 0:
            return _of_complete(shuffle, of_whole, picked, parts, counts, units)
        found = np.full((len(shuffle), betas.shape[1]), np.nan, dtype)
        if len(whole):
            found[:, whole] = _of_complete(shuffle, of_whole, picked, parts, counts, units)
        for i, v in enumerate(ragged):
            x = predictor[:, 0 if predictor.shape[1] == 1 else v]
            found[:, v] = _of_voxel(shuffle, x, sums[:, v], by_unit[:, i])
        return found

    def shuffled() -> Iterator[tuple[int, FloatArray]]:
        for start, shuffle in units.batches():
            yield start, batch(shuffle)

    return batch(np.arange(len(counts))[None])[0].astype(np.float64), shuffled


def low_rank(values: FloatArray, most: int = MAX_RANK) -> tuple[FloatArray, FloatArray] | None:
    """Return factors (unit, k) and (k, voxel) whose product is the values to their precision; None where k > `most`."""
    if values.shape[1] == 1:
        return values, np.ones((1, 1), values.dtype)
    if not values.size:
        return None
    precise = values.astype(np.float64)
    width = min(most + 8, *values.shape)
    # a random projection of the columns spans them where they have few dimensions (Halko et al. 2011, SIAM Review 53)
    sketch = precise @ np.random.default_rng(0).standard_normal((values.shape[1], width))
    basis = np.linalg.qr(sketch)[0]
    left, size, right = np.linalg.svd(basis.T @ precise, full_matrices=False)
    k = max(1, int((size > size[:1].max(initial=0) * 4 * np.finfo(values.dtype).eps).sum()))
    if k > most:
        return None
    scores, weights = basis @ left[:, :k], size[:k, None] * right[:k]
    error = np.abs(precise - scores @ weights).max(initial=0)
    if error > 32 * np.finfo(values.dtype).eps * np.abs(precise).max(initial=0):
        return None
    return scores.astype(values.dtype), weights.astype(values.dtype)


def _of_complete(
    shuffle: IntArray,
    sums: FloatArray,
    predictor: FloatArray,
    parts: tuple[FloatArray, FloatArray] | None,
    counts: FloatArray,
    units: Units,
) -> FloatArray:
    """Return correlations (shuffle, voxel) of voxels without missing betas, whose sums are those of unit vectors."""
    if parts is None:
        explained = np.empty((len(shuffle), sums.shape[1]), sums.dtype)
        for v in range(sums.shape[1]):
            # "wrap" skips the check of every index, a third of the time
            explained[:, v] = np.take(np.ascontiguousarray(predictor[:, v]), shuffle, mode="wrap") @ sums[:, v]
    else:
        scores, weights = parts
        explained = np.take(scores[:, 0], shuffle) @ sums
        explained *= weights[0]
        for k in range(1, scores.shape[1]):
            product = np.take(scores[:, k], shuffle) @ sums
            product *= weights[k]
            explained += product
    n = counts.sum(dtype=np.float64)
    if len(np.unique(np.stack([units.strata, counts.astype(np.intp)]), axis=1)[0]) == len(np.unique(units.strata)):
        # each stratum's units are of one size: shuffling changes neither mean nor variance of the predictor
        moved = counts[None]
    else:
        moved = np.empty(shuffle.shape, counts.dtype)
        np.put_along_axis(moved, shuffle, np.broadcast_to(counts, shuffle.shape), 1)
    first, second = (moved @ predictor).astype(np.float64), (moved @ predictor**2).astype(np.float64)
    explained /= _spread(second, first, n).astype(sums.dtype)
    return explained


def _of_voxel(shuffle: IntArray, x: FloatArray, sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Return correlations (shuffle,) of one voxel, of whose units `counts` rows are there."""
    moved = np.take(x, shuffle)
    first, second = (moved @ counts).astype(np.float64), (moved**2 @ counts).astype(np.float64)
    return np.asarray(moved @ sums / _spread(second, first, counts.sum(dtype=np.float64)))


def _spread(second: Float64, first: Float64, n: float) -> Float64:
    """Return the root of the sum of squares about the mean; NaN where there is none."""
    variance = second - first**2 / n
    return np.asarray(np.sqrt(np.where(variance > 1e-6 * second, variance, np.nan)))


def at_least(null: FloatArray, observed: Float64, axis: int = 0) -> npt.NDArray[np.int64]:
    """Count the shuffles whose statistic is the observed or more; equal but for rounding counts as equal."""
    tolerance = 64 * np.finfo(null.dtype).eps
    counted: npt.NDArray[np.int64] = (null >= observed - tolerance).sum(axis=axis)
    return counted


def false_discovery(p: Float64, there: BoolArray | None = None) -> Float64:
    """Return p-values adjusted for the false discovery rate (Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57).

    Parameters
    ----------
    p
        float (test,); NaN are no tests and stay.
    there
        Which are tests; those that are not NaN where left out.
    """
    tests = ~np.isnan(p) if there is None else there
    values = p[tests]
    order = np.argsort(values)[::-1]
    ranks = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(values[order] * len(values) / ranks), 1)
    out = np.full(p.shape, np.nan)
    out[tests] = adjusted
    return out
