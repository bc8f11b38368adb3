"""Trials x voxels -> pixels: block averages, a block of betas at a time, so that a whole subject need not be held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import compute
from dask.delayed import delayed

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.integer]
# Voxel sums of so many trials at a time are held beside a block
_ROWS = 64


def bins(lengths: Sequence[int], most: int) -> tuple[IntArray, IntArray]:
    """Return which pixel each position is in, and how many pixels each group has; no pixel is of two groups.

    Parameters
    ----------
    lengths
        Of the groups, one after the other.
    most
        Pixels at most; a group has one at least, and all have as many positions a pixel as nearly as can be.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    step = max(1, -(-int(sizes.sum()) // most))
    while (count := -(-sizes // step)).sum() > most and step < sizes.max():
        step += 1
    if len(sizes) == 1:
        count = np.minimum(sizes, most)
    found, first = [], 0
    for size, n in zip(sizes.tolist(), count.tolist(), strict=True):
        # of equal width within a group, rather than one that is left over
        found.append(first + (np.arange(size) * n) // max(size, 1))
        first += n
    return np.concatenate(found) if found else np.zeros(0, np.int64), count


def pixel_means(data: Any, rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> FloatArray:
    """Return the mean of all values in each pixel, NaN left out; NaN where there is none. Reads each block once.

    Parameters
    ----------
    data
        (trial, voxel), NumPy or Dask.
    rows, columns
        Pixel of each trial and of each voxel; -1 for none.
    shape
        Pixels: of trials, of voxels.
    """
    if not isinstance(data, da.Array):
        total, count = _sums(np.asarray(data), rows, columns, shape)
    else:
        parts = []
        starts = [np.cumsum([0, *lengths]) for lengths in data.chunks]
        # each block becomes sums as soon as it is read, and is gone
        for i, line in enumerate(data.to_delayed()):
            for j, block in enumerate(line):
                of_rows = rows[starts[0][i] : starts[0][i + 1]]
                of_columns = columns[starts[1][j] : starts[1][j + 1]]
                parts.append(delayed(_placed_sums, pure=True)(block, of_rows, of_columns, shape[1]))
        total, count = np.zeros(shape), np.zeros(shape)
        for first, sums, counts in compute(*parts):
            total[first : first + len(sums)] += sums
            count[first : first + len(sums)] += counts
    return np.asarray(np.divide(total, count, out=np.full(shape, np.nan), where=count > 0))


def _placed_sums(block: Any, rows: IntArray, columns: IntArray, n_columns: int) -> tuple[int, FloatArray, FloatArray]:
    # only the pixels of these trials: of many sessions all together are one picture
    used = rows[rows >= 0]
    first, last = (int(used.min()), int(used.max())) if len(used) else (0, -1)
    local = np.where(rows >= 0, rows - first, -1)
    total, count = _sums(np.asarray(block), local, columns, (last - first + 1, n_columns))
    return first, total, count


def _sums(values: Any, rows: IntArray, columns: IntArray, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    total, count = np.zeros(shape), np.zeros(shape)
    kept = np.flatnonzero(columns >= 0)
    everything = len(kept) == len(columns)
    for start in range(0, len(rows), _ROWS):
        part = values[start : start + _ROWS]
        of_part = rows[start : start + _ROWS]
        for row in np.unique(of_part[of_part >= 0]):
            picked = part[of_part == row]
            picked = picked if everything else picked[:, kept]
            there = np.isfinite(picked)
            sums = np.where(there, picked, 0).sum(axis=0, dtype=np.float64)
            total[row] += np.bincount(columns[kept], sums, shape[1])
            count[row] += np.bincount(columns[kept], there.sum(axis=0), shape[1])
    return total, count
