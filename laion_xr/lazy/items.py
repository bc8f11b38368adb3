"""A Dask array of items of one shape (images, masks) that remembers what it reads, so that selections re-plan it.

What `laion_xr.lazy.array` is for the matrix of betas: here only what lies along the first axis decides what is read.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import DataNode, Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from laion_xr.lazy.budget import decode_budget

Key = int | slice | npt.NDArray[np.integer]

# Items a task: as many as fill this, and no more than that
CHUNK_BYTES, CHUNK_ITEMS = 32 << 20, 64


class ItemSource(Protocol):
    """What reads items: picklable, no open handle kept."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one item."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what `read` returns."""

    @property
    def token(self) -> tuple[object, ...]:
        """Plain values that change whenever what `read` returns may change."""

    def read(self, items: Sequence[Any]) -> npt.NDArray[Any]:
        """Return distinct items, `(len(items), *shape)`."""


@dataclass(frozen=True, eq=False)
class ItemPlan:
    """What an array of items reads.

    Attributes
    ----------
    source
        Reads the items.
    items
        What the source is asked for, hashable, in the order of the first axis; repeats are read once a task.
    name
        What the tasks are called.
    kept
        Whether the first axis is still there (an integer drops it).
    within
        Selections on the other axes, one after the other: made after an item is read.
    step
        Items a task; None for as many as fill `CHUNK_BYTES`, and at most `CHUNK_ITEMS`.
    """

    source: ItemSource
    items: tuple[Hashable, ...]
    name: str
    kept: bool = True
    within: tuple[tuple[Key, ...], ...] = ()
    step: int | None = None

    def pick(self, key: tuple[Key, ...]) -> ItemPlan:
        """Return the plan of an outer selection on the axes that are there."""
        first, rest = (key[0], key[1:]) if self.kept else (slice(None), key)
        plan = self
        if not _is_all(first):
            at = np.atleast_1d(np.arange(len(self.items))[first])
            kept = self.kept and not isinstance(first, (int, np.integer))
            plan = replace(plan, items=tuple(self.items[i] for i in at.tolist()), kept=kept)
        return plan if all(map(_is_all, rest)) else replace(plan, within=(*plan.within, rest))

    def array(self) -> da.Array:
        """Return the Dask array, a task for each run of `step` items."""
        dtype, shape = np.dtype(self.source.dtype), _shape_within(self.source.shape, self.within)
        n_bytes = math.prod(self.source.shape) * dtype.itemsize
        step = self.step or max(1, min(CHUNK_ITEMS, CHUNK_BYTES // max(n_bytes, 1)))
        parts = [self.items[start : start + step] for start in range(0, len(self.items), step)]
        if not parts:
            array = da.zeros((0, *shape), dtype=dtype, chunks=-1)
            key, layers, dependencies = array.name, dict(array.dask.layers), dict(array.dask.dependencies)
            layers[key] = ItemLayer(dict(layers[key]), self)
            return da.Array(HighLevelGraph(layers, dependencies), key, array.chunks, dtype=dtype)
        # repr: Dask's own way through tens of thousands of small tuples takes seconds
        key = f"{self.name}-{tokenize(self.source.token, repr(self.items), self.within, self.kept, step)}"
        shared = f"source-{key}"
        rest = (0,) * len(shape)
        tasks: dict[Hashable, Any] = {}
        for i, part in enumerate(parts):
            at = (key, *((i,) if self.kept else ()), *rest)
            tasks[at] = Task(at, _read, TaskRef(shared), part, self.within, self.kept, n_bytes)
        graph = HighLevelGraph(
            {shared: MaterializedLayer({shared: DataNode(shared, self.source)}), key: ItemLayer(tasks, self)},
            {shared: set(), key: {shared}},
        )
        chunks = (*((tuple(len(p) for p in parts),) if self.kept else ()), *((n,) for n in shape))
        return da.Array(graph, key, chunks, dtype=dtype)


class ItemLayer(MaterializedLayer):
    """A materialised layer that carries the plan of its array."""

    def __init__(self, mapping: Mapping[Any, Any], plan: ItemPlan) -> None:
        super().__init__(mapping)
        self.plan = plan


def item_plan_of(array: object) -> ItemPlan | None:
    """Return the plan that an array carries, or None."""
    if not isinstance(array, da.Array):
        return None
    plan = getattr(array.dask.layers.get(array.name), "plan", None)
    return plan if isinstance(plan, ItemPlan) else None


def _is_all(key: Key) -> bool:
    return isinstance(key, slice) and key == slice(None)


def _read(
    source: ItemSource, items: tuple[Hashable, ...], within: tuple[tuple[Key, ...], ...], kept: bool, n_bytes: int
) -> npt.NDArray[Any]:
    at = {item: i for i, item in enumerate(dict.fromkeys(items))}
    repeats = len(at) < len(items)
    with decode_budget().take((len(at) + (len(items) if repeats else 0)) * n_bytes):
        block = source.read(list(at))
        for keys in within:
            block = _outer(block, keys)
        if repeats:
            block = block[[at[item] for item in items]]
        return block if kept else block[0]


def _outer(block: npt.NDArray[Any], keys: tuple[Key, ...]) -> npt.NDArray[Any]:
    # from the last axis on, so that an integer that drops its axis does not shift those still to come
    for axis in range(len(keys), 0, -1):
        block = block[(*(slice(None),) * axis, keys[axis - 1])]
    return np.ascontiguousarray(block)


def _shape_within(shape: tuple[int, ...], within: tuple[tuple[Key, ...], ...]) -> tuple[int, ...]:
    for keys in within:
        axes = zip(shape, keys, strict=True)
        shape = tuple(len(np.arange(n)[key]) for n, key in axes if not isinstance(key, (int, np.integer)))
    return shape
