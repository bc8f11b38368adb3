"""Shared memory that is used again for batches on their way from a worker to the main process.

PyTorch sends each tensor in new shared memory, whose first touch costs several times what reading a batch from a store
does, and whose file descriptor takes a connection of its own. Here a worker writes the tensors of a batch into a slot,
sends its number, and the slot is free again when the last tensor on it is gone in the main process: whoever keeps
betas keeps their slots, and the worker sends the next ones PyTorch's way.
"""

from __future__ import annotations

import math
import os
import shutil
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import default_collate

SHARED_FOLDER = "/dev/shm"
# Of what is free there
MOST_SHARE = 0.25
# Tensors up to this are copied out of their slot: whoever keeps the numbers of trials keeps no slot
SMALL = 4096
# Tensors begin where numbers of any type may
ALIGNED = 64

_rings: weakref.WeakValueDictionary[int, Ring] = weakref.WeakValueDictionary()


class Ring:
    """Slots of so many bytes, some for each worker."""

    def __init__(self, workers: int, slots: int, n_bytes: int) -> None:
        self.memory = shared(torch.empty((workers, slots, aligned(n_bytes)), dtype=torch.uint8))
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

    def slot(self, worker: int) -> Slot | None:
        """Return a free slot of a worker, or None where there is none."""
        free = (self.busy[worker] == 0).nonzero()
        return Slot(self, worker, int(free[0, 0])) if len(free) else None

    def received(self, worker: int, slot: int, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch with the tensors in a slot, which is free again when the last of them is gone."""
        # the array lives as long as the storage that is made of it, whatever views of it there are
        values = self.memory[worker, slot].numpy()
        self.out.add((worker, slot))
        weakref.finalize(values, _free, weakref.ref(self), worker, slot).atexit = False
        return _unpacked(torch.from_numpy(values), batch)


class Slot:
    """A slot while a worker fills it with a batch."""

    def __init__(self, ring: Ring, worker: int, number: int) -> None:
        self.ring, self.at, self.used = ring, (worker, number), 0
        self.memory = ring.memory[worker, number]

    def collated(self, items: Sequence[Mapping[str, Any]]) -> Any:
        """Return items as a batch, whose tensors are in the slot as far as there is room; takes the slot."""
        batch = {key: self._column([item[key] for item in items]) for key in items[0]}
        if not self.used:
            return batch
        self.ring.busy[self.at] = 1
        return Sent(self.ring.number, *self.at, batch)

    def _column(self, values: list[Any]) -> Any:
        first = values[0]
        if type(first) is dict and all(type(v) is dict and v.keys() == first.keys() for v in values):
            return {key: self._column([v[key] for v in values]) for key in first}
        if _plain(first) and all(_plain(v) and (v.shape, v.dtype) == (first.shape, first.dtype) for v in values):
            found = self._room((len(values), *first.shape), first.dtype)
            if found is None:
                return default_collate(values)
            torch.stack(values, out=found[1])
            return found[0]
        made = default_collate(values)
        found = self._room(tuple(made.shape), made.dtype) if _plain(made) else None
        if found is None:
            return made
        found[1].copy_(made)
        return found[0]

    def _room(self, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Part, torch.Tensor] | None:
        part = Part(self.used, shape, dtype)
        if not part.n_bytes or part.start + part.n_bytes > len(self.memory):
            return None
        self.used += aligned(part.n_bytes)
        return part, part.of(self.memory)


class Part:
    """Where in a slot a tensor is."""

    def __init__(self, start: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.start, self.shape, self.dtype = start, shape, dtype
        self.n_bytes = math.prod(shape) * dtype.itemsize

    def __reduce__(self) -> tuple[Any, ...]:
        return Part, (self.start, self.shape, self.dtype)

    def of(self, memory: torch.Tensor) -> torch.Tensor:
        """Return the tensor, on the slot's memory."""
        return memory[self.start : self.start + self.n_bytes].view(self.dtype).view(self.shape)


class Sent:
    """A batch on its way: what arrives in the main process is a dict with tensors in the slot's memory."""

    def __init__(self, ring: int, worker: int, slot: int, batch: dict[str, Any]) -> None:
        self.at = ring, worker, slot, batch

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, self.at


def _received(ring: int, worker: int, slot: int, batch: dict[str, Any]) -> dict[str, Any]:
    return _rings[ring].received(worker, slot, batch)


def _unpacked(memory: torch.Tensor, batch: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(batch)
    for key, value in batch.items():
        if isinstance(value, Part):
            tensor = value.of(memory)
            found[key] = tensor.clone() if value.n_bytes <= SMALL else tensor
        elif type(value) is dict:
            found[key] = _unpacked(memory, value)
    return found


def _plain(value: Any) -> bool:
    """Return whether a value is a tensor of which the bytes are all there is."""
    return type(value) is torch.Tensor and value.layout is torch.strided and not value.requires_grad and value.is_cpu


def aligned(n_bytes: int) -> int:
    """Return the bytes that so many take in a slot."""
    return -(-n_bytes // ALIGNED) * ALIGNED


def _free(ring: weakref.ref[Ring], worker: int, slot: int) -> None:
    found = ring()
    if found is not None and found.pid == os.getpid():  # what a forked process lets go of, this one may still hold
        found.out.discard((worker, slot))
        found.busy[worker, slot] = 0


def shared(numbers: torch.Tensor) -> torch.Tensor:
    """Return a tensor in shared memory."""
    found: torch.Tensor = numbers if numbers.is_shared() else numbers.share_memory_()  # type: ignore[no-untyped-call]
    return found
