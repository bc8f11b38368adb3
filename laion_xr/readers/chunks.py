"""Which chunks of an array a pick touches, and which of them to read together: pure arithmetic.

The array is `(voxel axes..., trial)`: one or three voxel axes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from laion_xr.readers.base import IntArray


def trial_groups(trials: IntArray, chunk: int, most: int) -> Iterator[IntArray]:
    """Split positions in `trials` into groups that are read together: touching chunks, `most` trials wide."""
    order = np.argsort(trials, kind="stable")
    wide = max(most // chunk, 1)  # chunks
    start = 0
    numbers = trials[order] // chunk
    for stop in range(1, len(order) + 1):
        if stop == len(order) or numbers[stop] - numbers[stop - 1] > 1 or numbers[stop] - numbers[start] >= wide:
            yield order[start:stop]
            start = stop


def voxel_runs(at: tuple[IntArray, ...], chunks: tuple[int, ...], most: int) -> Iterator[slice]:
    """Split voxels, sorted by chunk, into runs of neighbouring chunks along the last voxel axis."""
    numbers = [a // c for a, c in zip(at, chunks, strict=True)]
    # a gap of more than one chunk, or another row of chunks, ends a run
    ends = np.diff(numbers[-1]) > 1
    for n in numbers[:-1]:
        ends |= np.diff(n) != 0
    wide = max(most // math.prod(chunks), 1)
    for start, stop in _pairs(np.flatnonzero(ends) + 1, len(at[0])):
        number = (numbers[-1][start:stop] - numbers[-1][start]) // wide
        for a, b in _pairs(np.flatnonzero(np.diff(number)) + 1, stop - start):
            yield slice(start + a, start + b)


def _pairs(inner: IntArray, size: int) -> Iterator[tuple[int, int]]:
    edges = [0, *inner.tolist(), size]
    return itertools.pairwise(edges)
