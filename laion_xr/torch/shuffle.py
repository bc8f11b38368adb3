"""In which order trials come, and who reads which: pure arithmetic on numbers of trials, NumPy only.

Trials that are cheap to read together are a block. Blocks are shuffled; ranks and workers take stretches of the
shuffled blocks; a worker keeps a buffer of trials, fills it block by block, and draws from it at random.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from laion_xr.readers.base import IntArray

DROP, PAD = "drop", "pad"
# Streams of random numbers: each use has its own
_BLOCKS, _BUFFER, _PARTS, CAPTIONS = range(4)


class Shard(NamedTuple):
    """Who reads: a worker of a rank."""

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1


class Load(NamedTuple):
    """A block, or the part of one, that is read: positions in the shard's sequence, and slots of the buffer."""

    positions: IntArray
    slots: IntArray


class Step(NamedTuple):
    """A batch: what is read before it, then which positions of the sequence it has, from which slots."""

    loads: list[Load]
    positions: IntArray
    slots: IntArray


@dataclass(frozen=True)
class Order:
    """How trials are ordered.

    Attributes
    ----------
    blocks
        Rows that are read together, each row in one block.
    batch_size
        Rows a batch.
    buffer
        Rows that a worker holds, at the least; a block and a batch always fit.
    shuffle
        Whether blocks and rows are shuffled; else they come as they stand.
    drop_last
        Whether the incomplete batch at the end of a rank's share is left out.
    even
        `"drop"`: rows are left out at the end, `"pad"`: rows at the beginning come again, until all ranks have as many.
        None: each row once.
    """

    blocks: Sequence[IntArray]
    batch_size: int
    buffer: int
    shuffle: bool = True
    drop_last: bool = False
    even: str | None = None

    @property
    def n_rows(self) -> int:
        """Rows of all blocks."""
        return sum(len(block) for block in self.blocks)

    def rank_rows(self, rank: int, world_size: int) -> tuple[int, int]:
        """Return where the share of a rank begins and ends in the sequence of all rows (an end beyond it wraps)."""
        n = self.n_rows
        if self.even == DROP:
            each = n // world_size
        elif self.even == PAD:
            each = -(-n // world_size)
        else:
            return rank * n // world_size, (rank + 1) * n // world_size
        return rank * each, (rank + 1) * each

    def n_batches(self, shard: Shard) -> int:
        """Return the number of batches of a worker. That of its rank does not depend on the number of workers."""
        first, last = self._share(shard)
        n = last - first
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def sequence(self, shard: Shard, seed: int, epoch: int) -> tuple[IntArray, IntArray]:
        """Return the rows of a worker in the order in which it reads them, and the number of the block of each."""
        order = np.arange(len(self.blocks))
        if self.shuffle:
            order = stream(seed, epoch, _BLOCKS).permutation(order)
        if not len(order):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        rows = np.concatenate([self.blocks[i] for i in order.tolist()])
        block = np.repeat(np.arange(len(order)), [len(self.blocks[i]) for i in order.tolist()])
        first, last = self._share(shard)
        wraps, at = np.divmod(np.arange(first, last), len(rows))
        return rows[at], block[at] + wraps * len(order)

    def steps(self, shard: Shard, seed: int, epoch: int) -> Iterator[Step]:
        """Yield the batches of a worker in their order; the same for the same seed and epoch."""
        _, block = self.sequence(shard, seed, epoch)
        pieces = np.split(np.arange(len(block)), np.flatnonzero(np.diff(block)) + 1) if len(block) else []
        rng = stream(seed, epoch, _BUFFER, *shard) if self.shuffle else None
        free = np.arange(self.capacity(shard))
        positions = slots = np.zeros(0, np.int64)
        following = 0
        for _ in range(self.n_batches(shard)):
            loads = []
            while following < len(pieces) and len(pieces[following]) <= len(free):
                piece = pieces[following]
                mine, free = free[: len(piece)], free[len(piece) :]
                loads.append(Load(piece, mine))
                positions, slots = np.concatenate([positions, piece]), np.concatenate([slots, mine])
                following += 1
            n = min(self.batch_size, len(positions))
            chosen = np.arange(n) if rng is None else rng.choice(len(positions), n, replace=False)
            yield Step(loads, positions[chosen], slots[chosen])
            free = np.sort(np.concatenate([free, slots[chosen]]))  # slots side by side are filled without a copy
            kept = np.ones(len(positions), bool)
            kept[chosen] = False
            positions, slots = positions[kept], slots[kept]

    def capacity(self, shard: Shard) -> int:
        """Return the rows that a worker's buffer has room for."""
        first, last = self._share(shard)
        longest = max((len(block) for block in self.blocks), default=0)
        return min(max(self.buffer, longest + self.batch_size - 1), last - first)

    def _share(self, shard: Shard) -> tuple[int, int]:
        """Return where a worker's rows begin and end: all batches but a rank's last are complete."""
        first, last = self.rank_rows(shard.rank, shard.world_size)
        batches = -(-(last - first) // self.batch_size)
        cuts = [
            min(first + batches * w // shard.workers * self.batch_size, last) for w in (shard.worker, shard.worker + 1)
        ]
        return cuts[0], cuts[1]


def stream(seed: int, epoch: int, *what: int) -> np.random.Generator:
    """Return random numbers that depend on the seed, the epoch, and what they are for."""
    return np.random.default_rng([seed, epoch, *what])


def merged(counts: Sequence[int], shuffle: bool, seed: int, epoch: int, shard: Shard) -> IntArray:
    """Return which part (subject) each batch is of, for so many batches of each."""
    parts = np.repeat(np.arange(len(counts)), counts)
    return stream(seed, epoch, _PARTS, *shard).permutation(parts) if shuffle else parts


def taken_by(consumed: int, batches: Sequence[int]) -> tuple[list[int], int]:
    """Return how many batches of each worker are among the first `consumed`, and which worker's comes next.

    A DataLoader asks its workers in turn, and passes over those that have no batch left.
    """
    taken, worker = [0] * len(batches), 0
    for _ in range(min(consumed, sum(batches))):
        while taken[worker] == batches[worker]:
            worker = (worker + 1) % len(batches)
        taken[worker] += 1
        worker = (worker + 1) % len(batches)
    return taken, worker


def neighbour_distance(order: npt.ArrayLike) -> float:
    """Return how far apart neighbours of the store end up, relative to a full shuffle.

    Parameters
    ----------
    order
        Positions in the store, each once, in the order in which they come; shape (trial,).

    Returns
    -------
    float
        Median distance, in the order, of two trials that are neighbours in the store, over that of two random ones
        (`1 - sqrt(1/2)` of the number of trials). 1 is a full shuffle; `1 / (0.29 n)` the order of the store.

    Examples
    --------
    >>> round(neighbour_distance(range(1000)), 4)
    0.0034
    """
    place = np.argsort(np.asarray(order))
    if len(place) < 2:
        return 1.0
    return float(np.median(np.abs(np.diff(place))) / ((1 - np.sqrt(0.5)) * len(place)))
