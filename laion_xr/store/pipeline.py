"""From a session's file to blocks of trials in the store's order of voxels, on three threads, in memory used again.

One inflates and gathers in the order of the file, one puts in order, one encodes and writes: as fast as the slowest.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Queue
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from laion_xr.readers.base import IntArray, Reader
from laion_xr.readers.nifti import NiftiReader
from laion_xr.store.plan import BLOCKS_FILLED, BLOCKS_HELD

FloatArray = npt.NDArray[np.float32]
T = TypeVar("T")
# Trials that are read at once and handed over: the reading waits only where a block's worth of them is not yet taken
TRIALS_HELD = 16
# Seconds between looks at whether somebody still takes what is read
WAIT = 0.2


def through_threads(
    reader: Reader,
    voxels: IntArray,
    height: int,
    begin: Callable[[], tuple[T, Callable[[int, FloatArray], object]]],
) -> T:
    """Read a session forward, and hand on `height` trials at a time.

    Parameters
    ----------
    reader
        The session.
    voxels
        C-order flat grid ids, in the order that the blocks are to have.
    height
        Trials of a block; the last may have fewer.
    begin
        Called first, on the thread that writes, while the first trials are read; returns a result, and what takes the
        position of a block's first trial and the block, which may change it and must not keep it.

    Returns
    -------
    The result of `begin`.
    """
    n_trials, few = reader.shape[0], min(TRIALS_HELD, height)
    n_few = BLOCKS_HELD * -(-height // few)
    ordered, restore = in_file_order(reader, voxels)
    free: Queue[FloatArray] = Queue()
    read: Queue[tuple[int, FloatArray] | None] = Queue()
    stopped = threading.Event()

    def buffer(n: int) -> FloatArray:
        while not stopped.is_set():
            with contextlib.suppress(Empty):
                return free.get(timeout=WAIT)[:n]
        raise _StoppedError

    def put_in_order(blocks: list[FloatArray], hand_on: Callable[[int, FloatArray], Future[None]]) -> None:
        consumed: list[Future[None] | None] = [None] * len(blocks)
        turn = 0
        try:
            while (item := read.get()) is not None:
                start, rows = item
                done = 0
                while done < len(rows):  # a block may end within them
                    at = (start + done) % height
                    if at == 0 and (earlier := consumed[turn]) is not None:
                        earlier.result()
                    part = rows[done : done + height - at]
                    done += len(part)
                    _put_in_order(part, restore, blocks[turn][at : at + len(part)])
                    if at + len(part) == height or start + done == n_trials:
                        filled = at + len(part)
                        consumed[turn] = hand_on(start + done - filled, blocks[turn][:filled])
                        turn = (turn + 1) % len(blocks)
                free.put(rows if rows.base is None else rows.base)
            for last in consumed:
                if last is not None:
                    last.result()
        finally:
            stopped.set()

    with (
        _buffers.lent([*[(height, len(voxels))] * BLOCKS_FILLED, *[(few, len(voxels))] * n_few]) as lent,
        ThreadPoolExecutor(1, thread_name_prefix="laion-xr-write") as third,
        ThreadPoolExecutor(1, thread_name_prefix="laion-xr-order") as second,
    ):
        for rows in lent[BLOCKS_FILLED:]:
            free.put(rows)
        begun = third.submit(begin)

        def consume(start: int, block: FloatArray) -> None:
            if stopped.is_set():
                return
            try:
                begun.result()[1](start, block)
            except BaseException:
                stopped.set()
                raise

        ordering = second.submit(put_in_order, lent[:BLOCKS_FILLED], lambda *block: third.submit(consume, *block))
        try:
            for item in source_blocks(reader, ordered, few, buffer):
                read.put(item)
        except _StoppedError:  # another thread failed: its error is the one to say
            pass
        finally:
            read.put(None)
        ordering.result()
        return begun.result()[0]


class _StoppedError(Exception):
    """Nobody takes what is read."""


def in_file_order(reader: Reader, voxels: IntArray) -> tuple[IntArray, IntArray | None]:
    """Return voxels as the file has them one after the other, and what restores their order; None: it is the same."""
    if not isinstance(reader, NiftiReader):
        return voxels, None
    order = np.argsort(reader.file_positions(voxels), kind="stable")
    restore = np.empty_like(order)
    restore[order] = np.arange(len(order))
    return voxels[order], restore


def _put_in_order(rows: FloatArray, restore: IntArray | None, out: FloatArray) -> None:
    if restore is None:
        out[...] = rows
        return
    for row, target in zip(rows, out, strict=True):
        np.take(row, restore, out=target, mode="wrap")  # the only mode that neither buffers nor checks


class _Buffers:
    """Arrays that go from one session to the next: memory that was never touched costs more than filling it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: dict[tuple[int, ...], list[FloatArray]] = {}

    @contextlib.contextmanager
    def lent(self, shapes: Sequence[tuple[int, int]]) -> Iterator[list[FloatArray]]:
        """Lend arrays of some shapes, of any values."""
        with self._lock:
            arrays = [self._free[s].pop() if self._free.get(s) else np.empty(s, np.float32) for s in shapes]
        yield arrays
        # not after an error: then the next one has new arrays
        with self._lock:
            for array in arrays:
                self._free.setdefault(array.shape, []).append(array)

    def clear(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._free.clear()


_buffers = _Buffers()


def release_buffers() -> None:
    """Give back the memory that goes from one session to the next."""
    _buffers.clear()


def source_blocks(
    reader: Reader, voxels: IntArray, height: int, buffer: Callable[[int], FloatArray] | None = None
) -> Iterator[tuple[int, FloatArray]]:
    """Yield a session's betas `height` trials at a time, in one pass where the file is read forward.

    `buffer` returns the array to fill with so many trials; None for a new one each.
    """
    if isinstance(reader, NiftiReader):
        yield from reader.stream(voxels, height, buffer)  # type: ignore[misc]
        return
    for start in range(0, reader.shape[0], height):
        stop = min(start + height, reader.shape[0])
        out = None if buffer is None else buffer(stop - start)
        yield start, reader.read(slice(start, stop), voxels, out)  # type: ignore[misc]
