"""Ridge regression from sufficient statistics: one pass over the betas serves every fold and every alpha.

NumPy only. For each fold the sums over its rows of x x', x y, y and y^2 are all that ridge needs: those of a training
set are differences of them, and the held-out error of any coefficients follows from those of the test fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from laion_xr.analysis.moments import ALWAYS_TRAIN, Design, Float64, FloatArray, IntArray, Moments, Product, Statistics


@dataclass(frozen=True, eq=False)
class Factor:
    """A training set, ready for every voxel: its mean and the eigenvectors of its (scaled) Gram matrix.

    Attributes
    ----------
    n
        Rows.
    mean
        Mean of the features, float64 (feature,).
    values, vectors
        Eigenvalues, ascending, float64 (feature,), and scaled eigenvectors, float64 (feature, feature).
    """

    n: int
    mean: Float64
    values: Float64
    vectors: Float64

    @classmethod
    def of(cls, moments: Moments, scale: Float64) -> Factor:
        """Factorise the Gram matrix of a training set whose features are multiplied by `scale`."""
        mean = moments.x / max(moments.n, 1)
        gram = (moments.xx - moments.n * np.outer(mean, mean)) * np.outer(scale, scale)
        values, vectors = np.linalg.eigh((gram + gram.T) / 2)
        return cls(moments.n, mean, np.maximum(values, 0), vectors * scale[:, None])


@dataclass(frozen=True, eq=False)
class Search:
    """What is tried: penalties, and how much of it each band of features gets.

    Attributes
    ----------
    alphas
        Penalties, float64 (alpha,), positive.
    shares
        Squared scales of the bands, float64 (candidate, band): the penalty of a band is alpha / share.
    bands
        Band of each feature, int (feature,).
    nested
        Whether the scores of a fold come from an alpha that was chosen without it.
    """

    alphas: Float64
    shares: Float64
    bands: IntArray
    nested: bool

    @property
    def least_folds(self) -> int:
        """How many folds with rows it takes: to hold one out, and for nested scores another from what is left."""
        return 3 if self.nested else 2

    @property
    def n_rows(self) -> int:
        """Rows of a result: coefficients, intercept, an alpha a band, r, R2."""
        return len(self.bands) + 1 + len(self.shares[0]) + 2

    def scale(self, candidate: int) -> Float64:
        """Return what the features are multiplied by, float64 (feature,)."""
        return np.asarray(np.sqrt(self.shares[candidate])[self.bands], dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Factors:
    """Every training set of a pattern of rows: folds of the rows, and their factors for each candidate of shares."""

    folds: tuple[Moments, ...]
    whole: tuple[Factor, ...]
    without: tuple[dict[tuple[int, ...], Factor], ...]

    @classmethod
    def of(cls, folds: Sequence[Moments], search: Search) -> Factors:
        """Factorise all training sets; the last of `folds` are the rows that are never held out."""
        total = sum(folds[1:], start=folds[0])
        left_out = left_out_sets(folds, search.nested)
        whole, without = [], []
        for candidate in range(len(search.shares)):
            scale = search.scale(candidate)
            whole.append(Factor.of(total, scale))
            without.append({out: Factor.of(sum((-folds[k] for k in out), start=total), scale) for out in left_out})
        return cls(tuple(folds), tuple(whole), tuple(without))


def left_out_sets(folds: Sequence[Moments], nested: bool) -> list[tuple[int, ...]]:
    """Return what is left out of each training set: a fold, and for nested scores two; folds without rows aside."""
    there = [k for k in range(len(folds) - 1) if folds[k].n]
    pairs = [(k, j) for k in there for j in there if k < j] if nested else []
    return [*((k,) for k in there), *pairs]


def fit(
    statistics: Statistics, design: Design, factors: Factors, search: Search, omit_missing: bool, product: Product
) -> FloatArray:
    """Solve all voxels: those without missing betas together, the others pattern by pattern.

    The sums of the betas hold nothing of a missing one; what a pattern has of its own are the moments of the features
    over the rows that are there, and so its factors.

    Parameters
    ----------
    statistics, design, factors, search, product
        As for `solve`; the factors are those of all rows.
    omit_missing
        Leave a missing beta out for its voxel only; else a voxel that lacks any is NaN.

    Returns
    -------
    ndarray of float64, shape (search.n_rows, voxel)
        As `solve`.
    """
    columns, lost = statistics.missing(len(design.folds))
    lost = lost[:, design.folds >= ALWAYS_TRAIN]
    concerned = lost.any(axis=1)
    columns, lost = columns[concerned], lost[concerned]
    n_voxels = statistics.y.shape[1]
    if not len(columns):
        return solve(statistics, factors, search, product)
    out = np.full((search.n_rows, n_voxels), np.nan)
    complete = np.setdiff1d(np.arange(n_voxels), columns)
    if len(complete):
        out[:, complete] = solve(statistics.pick(complete), factors, search, product)
    if not omit_missing:
        return out
    patterns: dict[bytes, list[int]] = {}
    for position in np.flatnonzero(~lost.all(axis=1)).tolist():
        patterns.setdefault(np.packbits(lost[position]).tobytes(), []).append(position)
    for positions in patterns.values():
        rows = np.zeros(len(design.folds), dtype=bool)
        rows[design.folds >= ALWAYS_TRAIN] = lost[positions[0]]
        moments = design.moments_without(rows)
        if sum(m.n > 0 for m in moments[:-1]) >= search.least_folds:
            here = columns[positions]
            out[:, here] = solve(statistics.pick(here), Factors.of(moments, search), search, product)
    return out


def solve(statistics: Statistics, factors: Factors, search: Search, product: Product) -> FloatArray:
    """Choose alphas, score and fit.

    Parameters
    ----------
    statistics
        Of the betas, complete: of all rows that the factors are of.
    factors
        Of the features.
    search
        What is tried.
    product
        Multiplies matrices.

    Returns
    -------
    ndarray of float64, shape (search.n_rows, voxel)
        Coefficients, intercept (of betas as they are, features less their centre), alpha of each band, r, R2; NaN
        for voxels that are constant or not there.
    """
    n_voxels = statistics.y.shape[1]
    n_bands = search.shares.shape[1]
    n_folds = len(factors.folds) - 1
    there = [k for k in range(n_folds) if factors.folds[k].n]
    best = np.full(n_voxels, -np.inf)
    chosen = np.zeros((2, n_voxels), dtype=np.intp)  # candidate, alpha
    best_inner = np.full((n_folds, n_voxels), -np.inf)
    scores = np.full((2, n_folds, n_voxels), np.nan)  # r, R2 of each fold
    for candidate in range(len(search.shares)):
        outer = {k: held_out(statistics, factors, candidate, (k,), k, search, product) for k in there}
        mean = mean_of_folds([r2 for _, r2 in outer.values()])
        alpha, value = best_of(mean)
        better = value > best
        best[better], chosen[:, better] = value[better], np.stack([np.full(n_voxels, candidate), alpha])[:, better]
        if search.nested:
            for k, inner in inner_scores(statistics, factors, candidate, there, search, product):
                alpha, value = best_of(inner)
                better = value > best_inner[k]
                best_inner[k, better] = value[better]
                picked = np.stack([np.take_along_axis(score, alpha[None], 0)[0] for score in outer[k]])
                scores[:, k, better] = picked[:, better]
        else:
            for k in there:
                picked = np.stack([np.take_along_axis(score, alpha[None], 0)[0] for score in outer[k]])
                scores[:, k, better] = picked[:, better]
    out = np.full((search.n_rows, n_voxels), np.nan)
    fitted = np.isfinite(best)
    for candidate in np.unique(chosen[0, fitted]).tolist():
        here = np.flatnonzero(fitted & (chosen[0] == candidate))
        alphas = search.alphas[chosen[1, here]]
        out[: -2 - n_bands, here] = coefficients(statistics, factors.whole[candidate], here, alphas)
        with np.errstate(divide="ignore"):  # a band that is left out has an infinite penalty
            out[-2 - n_bands : -2, here] = alphas / search.shares[candidate][:, None]
    out[-2:, fitted] = mean_of_folds(scores[:, there].swapaxes(0, 1))[:, fitted]
    return out


def held_out(
    statistics: Statistics,
    factors: Factors,
    candidate: int,
    left_out: tuple[int, ...],
    test: int,
    search: Search,
    product: Product,
) -> tuple[Float64, Float64]:
    """Return r and R2 on a test fold of fits without `left_out`, for every alpha: float64 (alpha, voxel)."""
    factor = factors.without[candidate][left_out]
    xy, y, _ = statistics.without(left_out)
    mean_y = y / factor.n
    rotated = factor.vectors.T @ (xy - np.outer(factor.mean, y))
    fold = factors.folds[test]
    # moments of the test fold about the means of the training set
    x = fold.x - fold.n * factor.mean
    xx = fold.xx - np.outer(fold.x, factor.mean) - np.outer(factor.mean, fold.x)
    xx += fold.n * np.outer(factor.mean, factor.mean)
    test_xy = statistics.xy[test] - np.outer(factor.mean, statistics.y[test]) - np.outer(x, mean_y)
    test_y = statistics.y[test] - fold.n * mean_y
    yy = statistics.yy[test] - 2 * mean_y * statistics.y[test] + fold.n * mean_y**2
    total = yy - test_y**2 / fold.n
    total = np.where(total > statistics.least_variance(fold.n), total, np.nan)

    dtype = statistics.xy.dtype
    gram = (factor.vectors.T @ xx @ factor.vectors).astype(dtype)
    rotated_xy = (factor.vectors.T @ test_xy).astype(dtype)
    rotated_x = (x @ factor.vectors).astype(dtype)
    r = np.empty((len(search.alphas), len(mean_y)))
    r2 = np.empty_like(r)
    for a, alpha in enumerate(search.alphas):
        w = (rotated / (factor.values + alpha)[:, None]).astype(dtype)
        explained = np.einsum("fv,fv->v", w, rotated_xy).astype(np.float64)
        power = np.einsum("fv,fv->v", w, product(gram, w)).astype(np.float64)
        shift = (rotated_x @ w).astype(np.float64)
        r2[a] = 1 - (yy - 2 * explained + power) / total
        spread = power - shift**2 / fold.n
        spread = np.where(spread > 8 * np.finfo(dtype).eps * power, spread, np.nan)  # predicts one value
        r[a] = (explained - shift * test_y / fold.n) / np.sqrt(spread * total)
    return r, r2


def inner_scores(
    statistics: Statistics,
    factors: Factors,
    candidate: int,
    there: Sequence[int],
    search: Search,
    product: Product,
) -> Iterator[tuple[int, Float64]]:
    """Yield a fold and, of the others, the mean R2 of fits without both: float64 (alpha, voxel)."""
    for k in there:
        found = [
            held_out(statistics, factors, candidate, (min(k, j), max(k, j)), j, search, product)[1]
            for j in there
            if j != k
        ]
        yield k, mean_of_folds(found)


def coefficients(statistics: Statistics, factor: Factor, voxels: IntArray, alphas: Float64) -> Float64:
    """Return coefficients and intercept of some voxels, each with its alpha: float64 (feature + 1, voxel)."""
    xy, y, _ = statistics.without(())
    rotated = factor.vectors.T @ (xy[:, voxels] - np.outer(factor.mean, y[voxels]))
    weights = factor.vectors @ (rotated / (factor.values[:, None] + alphas))
    intercept = statistics.shift[voxels] + y[voxels] / factor.n - factor.mean @ weights
    return np.concatenate([weights, intercept[None]])


def best_of(scores: Float64) -> tuple[IntArray, Float64]:
    """Return the alpha with the greatest score and that score, each (voxel,); -inf where all are NaN."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    best = filled.argmax(axis=0)
    return best, np.take_along_axis(filled, best[None], 0)[0]


def mean_of_folds(scores: Sequence[Float64] | Float64) -> Float64:
    """Return the mean over the first axis of what is not NaN, without a warning where nothing is."""
    values = np.asarray(scores)
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    return np.asarray(np.where(there, values, 0).sum(axis=0) / np.where(count, count, np.nan))
