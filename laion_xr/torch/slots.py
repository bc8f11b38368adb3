"""Shared memory that is used again for batches on their way from a worker to the main process.

PyTorch sends each batch in new shared memory, whose first touch costs several times what reading the batch from a store
does. Here a worker writes into a slot, sends its number, and the slot is free again when the last tensor on it is
gone in the main process: whoever keeps batches keeps their slots, and the worker sends the next ones PyTorch's way.
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Sequence
from typing import Any

import torch

SHARED_FOLDER = "/dev/shm"
# Of what is free there
MOST_SHARE = 0.25
# Slots begin where numbers of any type may
ALIGNED = 64

_rings: weakref.WeakValueDictionary[int, Ring] = weakref.WeakValueDictionary()


class Ring:
    """Slots of so many bytes, some for each worker."""

    def __init__(self, workers: int, slots: int, n_bytes: int) -> None:
        n_bytes = -(-n_bytes // ALIGNED) * ALIGNED
        self.memory = shared(torch.empty((workers, slots, n_bytes), dtype=torch.uint8))
        self.busy = shared(torch.zeros((workers, slots), dtype=torch.uint8))
        self.number, self.pid = id(self), os.getpid()
        self.out: set[tuple[int, int]] = set()  # slots of tensors that live in this process
        _rings[self.number] = self

    @classmethod
    def fitting(cls, workers: int, slots: int, n_bytes: int) -> Ring | None:
        """Return slots, or None where shared memory is short of room for them."""
        if os.path.isdir(SHARED_FOLDER):
            if workers * slots * n_bytes > MOST_SHARE * shutil.disk_usage(SHARED_FOLDER).free:
                return None
            return cls(workers, slots, n_bytes)
        return None  # what is free cannot be told

    def restart(self) -> None:
        """Free what workers that are gone had taken and never sent."""
        for at in (self.busy == 1).nonzero().tolist():
            if (at[0], at[1]) not in self.out:
                self.busy[at[0], at[1]] = 0

    def stacked(self, worker: int, rows: Sequence[torch.Tensor]) -> Sent | None:
        """Write rows of one shape side by side into a free slot of a worker; None where there is none."""
        size = len(rows) * rows[0].nbytes
        free = (self.busy[worker] == 0).nonzero().flatten().tolist() if size <= self.memory.shape[2] else []
        if not free:
            return None
        slot, shape, dtype = int(free[0]), (len(rows), *rows[0].shape), rows[0].dtype
        torch.stack(list(rows), out=self.memory[worker, slot, :size].view(dtype).view(shape))
        self.busy[worker, slot] = 1
        return Sent(self.number, worker, slot, shape, dtype)

    def received(self, worker: int, slot: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Return the tensor in a slot, which is free again when the last tensor on its memory is gone."""
        # the array lives as long as the storage that is made of it, whatever views of it there are
        values = self.memory[worker, slot].numpy()
        self.out.add((worker, slot))
        weakref.finalize(values, _free, weakref.ref(self), worker, slot).atexit = False
        size = dtype.itemsize
        for n in shape:
            size *= n
        found: torch.Tensor = torch.from_numpy(values)[:size].view(dtype).view(shape)
        return found


class Sent:
    """A batch's betas in a slot: what arrives in the main process is the tensor."""

    def __init__(self, ring: int, worker: int, slot: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.at = ring, worker, slot, shape, dtype

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, self.at


def _received(ring: int, worker: int, slot: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return _rings[ring].received(worker, slot, shape, dtype)


def _free(ring: weakref.ref[Ring], worker: int, slot: int) -> None:
    found = ring()
    if found is not None and found.pid == os.getpid():  # what a forked process lets go of, this one may still hold
        found.out.discard((worker, slot))
        found.busy[worker, slot] = 0


def shared(numbers: torch.Tensor) -> torch.Tensor:
    """Return a tensor in shared memory."""
    found: torch.Tensor = numbers if numbers.is_shared() else numbers.share_memory_()  # type: ignore[no-untyped-call]
    return found
