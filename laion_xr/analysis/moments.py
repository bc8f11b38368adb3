"""The sums that ridge regression needs, fold by fold: of features once, of betas in any blocks of rows and voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laion_xr.errors import SelectionError, missing_extra

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]
BoolArray = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Product = Callable[[FloatArray, FloatArray], FloatArray]

LEFT_OUT = -2  # fold of rows that are not used at all
ALWAYS_TRAIN = -1  # fold of rows that are never held out
ROWS_AT_ONCE = 512  # float32 sums of so many squares are exact enough to be added up in float64


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over rows of the features: how many, x and x x' (float64)."""

    n: int
    x: Float64
    xx: Float64

    @classmethod
    def of(cls, features: FloatArray) -> Moments:
        """Sum over rows, float64 whatever the features are."""
        xx = np.zeros((features.shape[1],) * 2)
        for start in range(0, len(features), 16 * ROWS_AT_ONCE):
            rows = features[start : start + 16 * ROWS_AT_ONCE].astype(np.float64)
            xx += rows.T @ rows
        return cls(len(features), features.sum(axis=0, dtype=np.float64), xx)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.x + other.x, self.xx + other.xx)

    def __neg__(self) -> Moments:
        return Moments(-self.n, -self.x, -self.xx)


@dataclass(frozen=True, eq=False)
class Design:
    """Features of every row and the fold that the row is in.

    Attributes
    ----------
    features
        Less `center`, float32 or float64 (row, feature); 0 in rows that are not used.
    center
        Mean of the features over the rows that are used, float64 (feature,).
    folds
        0 ... n_folds - 1, `ALWAYS_TRAIN` or `LEFT_OUT`, int (row,).
    n_folds
        How many.
    moments
        Of each fold, and last of the rows that are never held out.
    """

    features: FloatArray
    center: Float64
    folds: IntArray
    n_folds: int
    moments: tuple[Moments, ...]

    @classmethod
    def of(cls, features: FloatArray, folds: IntArray, n_folds: int, least_folds: int, dtype: npt.DTypeLike) -> Design:
        """Centre the features, leave rows without features out, and sum.

        Raises
        ------
        SelectionError
            Fewer than `least_folds` folds have two rows with all their features.
        """
        values = np.asarray(features, dtype=np.float64)
        usable = np.isfinite(values).all(axis=1) & (folds != LEFT_OUT)
        folds = np.where(usable, folds, LEFT_OUT)
        per_fold = np.bincount(folds[folds >= 0], minlength=n_folds)
        if (per_fold > 1).sum() < least_folds:
            raise SelectionError(
                "Expected features that are numbers (not NaN, not infinite) for two rows or more in each of at least "
                f"{least_folds} folds, found {int(usable.sum())} such rows of {len(values)}, a fold "
                f"{per_fold.tolist()}: give features of these images, or fewer folds (cv=)."
            )
        center = values[usable].mean(axis=0)
        centred = np.where(usable[:, None], values - center, 0).astype(dtype)
        moments = tuple(Moments.of(centred[folds == k]) for k in [*range(n_folds), ALWAYS_TRAIN])
        return cls(centred, center, folds, n_folds, moments)

    @property
    def labels(self) -> list[int]:
        """The folds in the order of `moments`."""
        return [*range(self.n_folds), ALWAYS_TRAIN]

    def moments_without(self, rows: BoolArray) -> tuple[Moments, ...]:
        """Return the moments without some rows (a beta is missing there)."""
        gone = [Moments.of(self.features[rows & (self.folds == k)]) for k in self.labels]
        return tuple(m + -g if g.n else m for m, g in zip(self.moments, gone, strict=True))


@dataclass(frozen=True, eq=False)
class Gaps:
    """Betas that are missing in a block of rows: columns with any, and the packed mask `(column, row)` of those."""

    start: int
    n_rows: int
    columns: IntArray
    packed: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sums over rows of the betas less `shift`, by fold; missing betas count as `shift` until `gaps` are dealt with.

    Attributes
    ----------
    xy
        Sums of feature times beta, float32 or float64 (fold, feature, voxel).
    y, yy
        Sums of betas and of their squares, float64 (fold, voxel).
    shift
        A typical beta, float64 (voxel,): sums about it lose no digits.
    gaps
        Where betas are missing.
    """

    xy: FloatArray
    y: Float64
    yy: Float64
    shift: Float64
    gaps: tuple[Gaps, ...]

    def without(self, left_out: Sequence[int]) -> tuple[FloatArray, Float64, Float64]:
        """Return the sums over all folds but some: xy, y, yy."""
        keep = [k for k in range(len(self.y)) if k not in left_out]
        return self.xy[keep].sum(axis=0, dtype=np.float64), self.y[keep].sum(axis=0), self.yy[keep].sum(axis=0)

    def least_variance(self, n: int) -> Float64:
        """Return the sum of squares (voxel,) below which `n` betas are one number and its rounding."""
        return np.asarray(n * (16 * np.finfo(self.xy.dtype).eps * np.abs(self.shift)) ** 2)

    def pick(self, voxels: IntArray) -> Statistics:
        """Return the statistics of some voxels, without the gaps."""
        return Statistics(self.xy[:, :, voxels], self.y[:, voxels], self.yy[:, voxels], self.shift[voxels], ())

    def missing(self, n_rows: int) -> tuple[IntArray, BoolArray]:
        """Return the voxels with missing betas, and which: bool (voxel, row)."""
        columns = np.unique(np.concatenate([g.columns for g in self.gaps])) if self.gaps else np.zeros(0, np.intp)
        found = np.zeros((len(columns), n_rows), dtype=bool)
        for gap in self.gaps:
            mask = np.unpackbits(gap.packed, axis=1, count=gap.n_rows).astype(bool)
            found[np.searchsorted(columns, gap.columns), gap.start : gap.start + gap.n_rows] = mask
        return columns, found


def accumulate(
    previous: Statistics | None, betas: FloatArray, design: Design, start: int, product: Product
) -> Statistics:
    """Return the statistics with a block of rows added.

    Parameters
    ----------
    previous
        Of the rows before, None at first. It is not changed: a task that runs again must find it as it was.
    betas
        float (row, voxel).
    design
        Features and folds of all rows.
    start
        Position of the block's first row.
    product
        Multiplies matrices.
    """
    dtype = design.features.dtype
    # an infinite beta is as useless as one that is missing, and spoils every sum
    lost = ~np.isfinite(betas)
    any_lost = lost.any(axis=0)
    columns = np.flatnonzero(any_lost)
    if previous is None:
        shape = (design.n_folds + 1, design.features.shape[1], betas.shape[1])
        n_there = len(betas) - lost.sum(axis=0) if len(columns) else np.full(betas.shape[1], len(betas))
        totals = np.where(lost, 0, betas).sum(axis=0, dtype=np.float64) if len(columns) else betas.sum(0, np.float64)
        shift = (totals / np.maximum(n_there, 1)).astype(dtype).astype(np.float64)
        xy, y, yy = np.zeros(shape, dtype), np.zeros((shape[0], shape[2])), np.zeros((shape[0], shape[2]))
        gaps: tuple[Gaps, ...] = ()
    else:
        shift, gaps = previous.shift, previous.gaps
        xy, y, yy = previous.xy.copy(), previous.y.copy(), previous.yy.copy()
    if len(columns):
        packed = np.packbits(lost[:, columns].T, axis=1)
        gaps = (*gaps, Gaps(start, len(betas), columns, packed))
    folds = design.folds[start : start + len(betas)]
    for k, label in enumerate(design.labels):
        rows = np.flatnonzero(folds == label)
        if not len(rows):
            continue
        values = betas[rows].astype(dtype, copy=False)
        values -= shift.astype(dtype)
        if len(columns):
            values[lost[rows]] = 0
        xy[k] += product(design.features[start + rows].T, values)
        for first in range(0, len(rows), ROWS_AT_ONCE):
            part = values[first : first + ROWS_AT_ONCE]
            y[k] += part.sum(axis=0)
            yy[k] += np.einsum("rv,rv->v", part, part)
    return Statistics(xy, y, yy, shift, gaps)


def matrix_product(device: str | None) -> Product:
    """Return what multiplies matrices: NumPy, or torch on a device.

    Parameters
    ----------
    device
        None for NumPy, else a device as torch names it: `"cuda"`, `"cuda:1"`, `"cpu"`, `"mps"`.

    Raises
    ------
    MissingExtraError
        torch is not installed.
    SelectionError
        torch knows no such device, or does not find it.
    """
    if device is None:
        return np.matmul
    try:
        import torch  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - optional
    except ImportError:
        raise missing_extra("torch", "torch", f"device={device!r}") from None
    try:
        torch.zeros(1, device=device)
    except Exception as error:
        raise SelectionError(
            f"Expected a device that torch has here, found {device!r} ({error}); leave it out to use NumPy."
        ) from None

    def on_device(a: FloatArray, b: FloatArray) -> FloatArray:
        left, right = (torch.from_numpy(np.ascontiguousarray(m)).to(device) for m in (a, b))
        found: FloatArray = (left @ right).cpu().numpy()
        return found

    return on_device
