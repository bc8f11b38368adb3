"""Statistics over the trials of many sessions, a session in memory at a time: a reader whose rows are results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from laion_xr.readers.base import AnyArray, IntArray, Reader, checked_pick, result_array, trial_positions
from laion_xr.readers.standardised import digest

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Part:
    """What is read of one session.

    Attributes
    ----------
    reader
        The session.
    trials
        Positions in it.
    groups
        The group that each belongs to.
    weights
        The weight of each.
    """

    reader: Reader
    trials: IntArray
    groups: IntArray
    weights: FloatArray

    def of_groups(self, groups: IntArray) -> Part:
        """Return the part that some groups (increasing) need, groups numbered by their positions among these."""
        kept = np.isin(self.groups, groups)
        return Part(self.reader, self.trials[kept], np.searchsorted(groups, self.groups[kept]), self.weights[kept])


@runtime_checkable
class Accumulator(Protocol):
    """What is kept of the sessions that were read, for some voxels."""

    def add(self, values: AnyArray, groups: IntArray, weights: FloatArray) -> None:
        """Take a session's trials, `(trial, voxel)`, which it may change."""

    def result(self, out: AnyArray) -> None:
        """Fill the result, `(row, voxel)`."""


@runtime_checkable
class Reduction(Protocol):
    """A statistic over groups of trials.

    Attributes
    ----------
    by_group
        Whether the rows of the result are the groups, each from its own trials only.
    """

    by_group: bool

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that say which statistic it is."""

    def n_rows(self, n_groups: int) -> int:
        """Return the number of rows of the result."""

    def start(self, n_groups: int, n_voxels: int, dtype: np.dtype[np.generic]) -> Accumulator:
        """Return what takes up sessions."""


class ReducedReader:
    """A statistic over trials as a reader: its rows are those of the result.

    Parameters
    ----------
    parts
        What is read of each session.
    n_groups
        Number of groups of trials.
    reduction
        The statistic.
    """

    def __init__(self, parts: Sequence[Part], n_groups: int, reduction: Reduction) -> None:
        self.parts, self.n_groups, self.reduction = tuple(parts), n_groups, reduction

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows of the result, number of voxels of the grid."""
        return self.reduction.n_rows(self.n_groups), self.parts[0].reader.shape[1]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of what `read` returns."""
        return self.parts[0].reader.dtype

    @property
    def splits_voxels(self) -> bool:
        """Whether a part of the voxels costs a part of the reading, in every session."""
        return all(getattr(p.reader, "splits_voxels", False) for p in self.parts)

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change."""
        parts = tuple((p.reader.token, digest(p.trials, p.groups, p.weights)) for p in self.parts)
        return "reduced", self.reduction.token, self.n_groups, parts

    def read(self, trials: IntArray | slice, voxels: IntArray, out: AnyArray | None = None) -> AnyArray:
        """Return the picked rows of the picked voxels.

        Two sessions are in memory at once: one is read while the other is taken up.
        """
        n_rows, n_voxels = self.shape
        rows = checked_pick(trial_positions(trials, n_rows), n_rows, "row")
        picked = checked_pick(voxels, n_voxels, "voxel")
        out = result_array((len(rows), len(picked)), self.dtype, out)
        if not out.size:
            return out
        distinct = np.unique(rows)
        parts, n_groups = self.parts, self.n_groups
        if self.reduction.by_group and len(distinct) < n_rows:
            parts, n_groups = tuple(p.of_groups(distinct) for p in parts), len(distinct)
        else:
            distinct = np.arange(n_rows)
        accumulator = self.reduction.start(n_groups, len(picked), self.dtype)
        for part, values in _read_ahead([p for p in parts if len(p.trials)], picked):
            accumulator.add(values, part.groups, part.weights)
        if np.array_equal(rows, distinct):
            accumulator.result(out)
        else:
            found = np.empty((len(distinct), len(picked)), self.dtype)
            accumulator.result(found)
            np.take(found, np.searchsorted(distinct, rows), axis=0, out=out, mode="clip")
        return out


def _read_ahead(parts: Sequence[Part], voxels: IntArray) -> Iterator[tuple[Part, AnyArray]]:
    """Yield the values of one part after another; the next is read meanwhile, into memory that is used again."""
    if not parts:
        return
    longest = max(len(p.trials) for p in parts)
    buffers = [np.empty((longest, len(voxels)), parts[0].reader.dtype) for _ in range(min(2, len(parts)))]

    def read(number: int) -> AnyArray:
        part = parts[number]
        n = len(part.trials)
        whole = np.array_equal(part.trials, np.arange(part.reader.shape[0]))
        return part.reader.read(slice(None) if whole else part.trials, voxels, buffers[number % 2][:n])

    with ThreadPoolExecutor(1, thread_name_prefix="laion-xr-read") as pool:
        reading = pool.submit(read, 0)
        for number, part in enumerate(parts):
            values = reading.result()
            if number + 1 < len(parts):
                reading = pool.submit(read, number + 1)
            yield part, values
