"""The iterable dataset: trials in shuffled blocks through a buffer, each once over all ranks and workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import IterableDataset, default_collate, get_worker_info

from laion_xr.errors import SelectionError
from laion_xr.readers.base import IntArray
from laion_xr.readers.chunkfiles import share_cores
from laion_xr.torch.buffer import Buffer
from laion_xr.torch.shuffle import Order, Shard, merged, taken_by
from laion_xr.torch.slots import Ring
from laion_xr.torch.state import MOST_WORKERS, Place
from laion_xr.torch.trials import Item, Trials

# Rows that are drawn at once where items come one by one
DRAWN = 64


class TrialStream(IterableDataset[Item]):
    """Batches (or items) of trials, shuffled, for `torch.utils.data.DataLoader(stream, batch_size=None)`.

    `to_torch` makes it. Each trial comes once an epoch over all ranks and workers; the order depends on the seed, the
    epoch and the numbers of ranks and workers, and on nothing else. `Loader` is a DataLoader that counts what was
    consumed, for `state_dict`, and begins a new epoch by itself; with a plain one call `set_epoch`.

    Parameters
    ----------
    parts
        The trials of each subject.
    orders
        How those of each are ordered.
    batch_size
        Trials a batch; None for items one by one.
    seed
        Of all that is random.
    rank, world_size
        Which share of the trials, of how many.
    transform
        Called with each item before it is put into a batch.
    """

    def __init__(
        self,
        parts: Sequence[Trials],
        orders: Sequence[Order],
        *,
        batch_size: int | None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        transform: Callable[[Item], Any] | None = None,
    ) -> None:
        self.parts, self.orders = list(parts), list(orders)
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.transform = transform
        self.place = Place()
        self._yielded = 0
        self._resume: int | None = None  # of this copy alone, in a worker
        self._spare: list[list[Buffer]] = []
        self.ring: Ring | None = None  # while a `Loader` starts its workers, for them

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_spare": []}

    def slot_bytes(self) -> int:
        """Return the bytes of the tensors of a batch, of the subject that has most."""
        return max(part.item_bytes for part in self.parts) * (self.batch_size or 1)

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration, from 0."""
        return self.place.epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch at the next iteration, in all workers, those that persist included: another order."""
        self.place.set_epoch(epoch)
        self._resume, self._yielded = None, 0

    def __len__(self) -> int:
        return self.n_batches()

    def n_batches(self, worker: int = 0, workers: int = 1) -> int:
        """Return the number of batches (of items, without a batch size) of this rank, or of one of its workers."""
        shard = Shard(self.rank, self.world_size, worker, workers)
        if self.batch_size is not None:
            return sum(order.n_batches(shard) for order in self.orders)
        return sum(len(order.sequence(shard, self.seed, 0)[0]) for order in self.orders)

    def rows(self, worker: int = 0, workers: int = 1) -> list[tuple[int, IntArray]]:
        """Return the batches of the epoch as (number of the subject, rows of its array): nothing is read."""
        shard = Shard(self.rank, self.world_size, worker, workers)
        return [(part, sequence[step.positions]) for part, sequence, step in self._steps(shard, self.epoch)]

    def state_dict(self, batches: int | None = None, num_workers: int = 0) -> dict[str, Any]:
        """Return where this dataset is, for `load_state_dict`.

        Parameters
        ----------
        batches
            Batches (items, without a batch size) that were consumed in this epoch, of all workers: the main process of
            a plain DataLoader says it. None: what this copy yielded.
        num_workers
            Of the DataLoader.
        """
        info = get_worker_info()
        of_worker = info is not None and batches is None
        return {
            **self._identity(),
            "epoch": self.epoch,
            "batches": self._yielded if batches is None else int(batches),
            "num_workers": info.num_workers if info is not None else num_workers,
            "worker": info.id if of_worker and info is not None else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration go on where a state was taken; with as many workers as then.

        Raises
        ------
        SelectionError
            The state is of another dataset, or of other arguments.
        """
        self.check_state(state)
        if state.get("worker") is not None:  # the workers of a StatefulDataLoader have a state each
            self.place.numbers[0] = state["epoch"]
            self._resume = self._yielded = int(state["batches"])
        else:
            self._yielded = int(state["batches"])
            self.place.resume(int(state["epoch"]), int(state["batches"]), int(state["num_workers"]))

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise SelectionError unless a state is one of this dataset."""
        if not isinstance(state, Mapping):
            raise SelectionError(f"Expected what state_dict returned, found {type(state).__name__}.")
        for key, value in self._identity().items():
            if state.get(key) != value:
                raise SelectionError(
                    f"The state is of another dataset: expected {key} {value!r}, found {state.get(key)!r}; make the "
                    "dataset with the same selection and arguments, or start the epoch anew (set_epoch)."
                )
        for key in ("epoch", "batches", "num_workers"):
            if not isinstance(state.get(key), int) or state[key] < 0:
                raise SelectionError(f"Expected {key} of the state to be 0 or more, found {state.get(key)!r}.")

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        if info is not None:
            share_cores(workers)
        if worker >= MOST_WORKERS:
            raise SelectionError(f"Expected at most {MOST_WORKERS} workers, found {workers}.")
        epoch = self.epoch
        worker, skipped = self._resumed(worker, 0 if info is None else workers)
        self._yielded = skipped
        return self._iterate(Shard(self.rank, self.world_size, worker, workers), epoch, skipped)

    def _resumed(self, worker: int, num_workers: int) -> tuple[int, int]:
        """Return whose batches this worker makes, and how many of them were consumed before; a resume is used up."""
        if self._resume is not None:
            skipped, self._resume = self._resume, None
            return worker, skipped
        found = self.place.take(worker)
        if found is None:
            return worker, 0
        batches, before = found
        if before != num_workers:
            raise SelectionError(
                f"The state was taken with num_workers={before}: expected as many, found {num_workers}; the trials "
                "that were consumed are those of these workers."
            )
        if not num_workers:
            return worker, batches
        # a new DataLoader begins with its first worker, which is then the one whose turn it was
        taken, turn = taken_by(batches, [self.n_batches(w, num_workers) for w in range(num_workers)])
        worker = (worker + turn) % num_workers
        return worker, taken[worker]

    def _iterate(self, shard: Shard, epoch: int, skipped: int) -> Iterator[Any]:
        buffers = self._buffers(shard)
        try:
            yield from self._batches(shard, epoch, skipped, buffers)
        finally:
            self._spare.append(buffers)

    def _buffers(self, shard: Shard) -> list[Buffer]:
        # memory that was touched in an epoch before: new memory costs more than what is read into it
        buffers = self._spare.pop() if self._spare else [Buffer(part) for part in self.parts]
        for buffer, order in zip(buffers, self.orders, strict=True):
            buffer.reset(order.capacity(shard))
        return buffers

    def _batches(self, shard: Shard, epoch: int, skipped: int, buffers: Sequence[Buffer]) -> Iterator[Any]:
        passed = 0
        for number, sequence, step in self._steps(shard, epoch):
            part, buffer = self.parts[number], buffers[number]
            n = 1 if self.batch_size is not None else len(step.positions)
            buffer.plan(step.loads)
            if passed + n <= skipped:
                buffer.forget(step.slots)
                passed += n
                continue
            buffer.fill(sequence)
            rows = sequence[step.positions]
            items = part.items(rows, buffer.rows(step.slots), self.seed, epoch)
            if self.batch_size is not None:
                made = items if self.transform is None else [self.transform(item) for item in items]
                batch = _collated(made, self.ring)
                buffer.forget(step.slots)
                del items, made
                passed = self._yielded = passed + 1
                yield batch
                continue
            # the buffer is written again while the items, and whatever a transform makes of them, live on
            kept = [_owned(item) for item in items[max(skipped - passed, 0) :]]
            del items
            buffer.forget(step.slots)
            passed += n
            for count, item in enumerate(kept, passed - len(kept) + 1):
                self._yielded = count
                yield item if self.transform is None else self.transform(item)

    def _steps(self, shard: Shard, epoch: int) -> Iterator[tuple[int, IntArray, Any]]:
        counts = [order.n_batches(shard) for order in self.orders]
        steps = [order.steps(shard, self.seed, epoch) for order in self.orders]
        sequences = [order.sequence(shard, self.seed, epoch)[0] for order in self.orders]
        shuffle = any(order.shuffle for order in self.orders)
        for number in merged(counts, shuffle, self.seed, epoch, shard).tolist():
            yield number, sequences[number], next(steps[number])

    def _identity(self) -> dict[str, Any]:
        first = self.orders[0]
        return {
            "version": 1,
            "seed": self.seed,
            "shapes": [list(part.betas.shape) for part in self.parts],
            "labels": [part.labels for part in self.parts],
            "blocks": [len(order.blocks) for order in self.orders],
            "batch_size": self.batch_size,
            "buffer": [order.buffer for order in self.orders],
            "shuffle": first.shuffle,
            "drop_last": first.drop_last,
            "even": first.even,
            "rank": self.rank,
            "world_size": self.world_size,
        }


def _collated(items: list[Any], ring: Ring | None) -> Any:
    """Return items as a batch; in a worker its tensors are put into a slot, where there is one for them."""
    info, first = get_worker_info(), items[0]
    plain = type(first) is dict and all(type(item) is dict and item.keys() == first.keys() for item in items)
    slot = ring.slot(info.id) if plain and ring is not None and info is not None else None
    return default_collate(items) if slot is None else slot.collated(items)


def _owned(item: Any) -> Any:
    if isinstance(item, torch.Tensor):
        return item.clone()
    if isinstance(item, dict):
        return {key: _owned(value) for key, value in item.items()}
    return item
