"""Statistics over the trials of many sessions, a session in memory at a time: a reader whose rows are results."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

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

FloatArray = npt.NDArray[np.floating]


# Of a session's voxels that are reduced together: large enough that threads seldom wait for one another
BLOCK_BYTES = 192 << 20


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

    def start(
        self, n_groups: int, n_voxels: int, dtype: np.dtype[np.generic], out: AnyArray | None = None
    ) -> Accumulator:
        """Return what takes up sessions; `out`, which the result will be put into, may serve it as memory."""


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
        parts = tuple((p.reader.token, array_digest(p.trials, p.groups, p.weights)) for p in self.parts)
        return "reduced", self.reduction.token, self.n_groups, parts

    def read(self, trials: IntArray | slice, voxels: IntArray, out: AnyArray | None = None) -> AnyArray:
        """Return the picked rows of the picked voxels.

        Two sessions are in memory at once, one is read while the other is taken up; from a store, of some columns of
        chunks at a time, so that memory is the result and some hundred megabytes.
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
        if not np.array_equal(rows, distinct):
            found = np.empty((len(distinct), len(picked)), self.dtype)
            self._reduce(parts, n_groups, picked, found)
            return np.take(found, np.searchsorted(distinct, rows), axis=0, out=out, mode="clip")
        self._reduce(parts, n_groups, picked, out)
        return out

    def _reduce(self, parts: Sequence[Part], n_groups: int, voxels: IntArray, out: AnyArray) -> None:
        read = [p for p in parts if len(p.trials)]
        blocks = self._blocks(read, voxels)
        for block in blocks:
            alone = len(blocks) == 1
            begin = partial(self.reduction.start, n_groups, len(block), self.dtype, out if alone else None)
            accumulator = None
            for part, values in _read_ahead(read, voxels if alone else voxels[block]):
                # not before: its memory is touched while the next ones are read
                accumulator = accumulator or begin()
                accumulator.add(values, part.groups, part.weights)
            accumulator = accumulator or begin()
            if alone:
                accumulator.result(out)
            else:
                found = np.empty((len(out), len(block)), self.dtype)
                accumulator.result(found)
                out[:, block] = found

    def _blocks(self, parts: Sequence[Part], voxels: IntArray) -> list[IntArray]:
        """Return positions in `voxels` by what is reduced together: what is read together, joined up to a size."""
        if not parts or not self.splits_voxels:
            return [np.arange(len(voxels))]
        longest = max(len(p.trials) for p in parts)
        most = max(BLOCK_BYTES // (longest * self.dtype.itemsize), 1)
        joined: list[list[IntArray]] = []
        # of the first session: the others of a store have the same order, or cost more
        for block in blocks_of(parts[0].reader, voxels):
            if joined and sum(map(len, joined[-1])) + len(block) <= most:
                joined[-1].append(block)
            else:
                joined.append([block])
        return [np.sort(np.concatenate(blocks)) for blocks in joined]


def _read_ahead(parts: Sequence[Part], voxels: IntArray) -> Iterator[tuple[Part, AnyArray]]:
    """Yield the values of one part after another; the next are read meanwhile, into memory that is used again."""
    if not parts:
        return
    longest = max(len(p.trials) for p in parts)
    small = longest * len(voxels) * parts[0].reader.dtype.itemsize <= BLOCK_BYTES
    ahead = 2 if small else 1
    free = deque(np.empty((longest, len(voxels)), p.reader.dtype) for p in parts[: ahead + 1])
    waiting = deque(parts)
    reading: deque[tuple[Part, AnyArray, Future[AnyArray]]] = deque()
    with ThreadPoolExecutor(ahead, thread_name_prefix="laion-xr-read") as pool:
        while waiting or reading:
            while waiting and free:
                part, buffer = waiting.popleft(), free.popleft()
                reading.append((part, buffer, pool.submit(_read_part, part, voxels, buffer[: len(part.trials)])))
            part, buffer, values = reading.popleft()
            yield part, values.result()
            free.append(buffer)


def _read_part(part: Part, voxels: IntArray, out: AnyArray) -> AnyArray:
    whole = np.array_equal(part.trials, np.arange(part.reader.shape[0]))
    return part.reader.read(slice(None) if whole else part.trials, voxels, out)
