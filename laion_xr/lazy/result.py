"""Computing a planned array without a copy: every session is decoded into its rows of one result.

Dask computes chunks, then concatenates them: twice the memory, and for a session of 1.1 GB more time than the decode.
An array that is computed as it was planned needs neither. Dask asks each collection how to optimize its graph and how
to put the chunks together (`__dask_optimize__`, `__dask_postcompute__`); a planned array answers for itself. Where the
answer does not apply (other processes, a derived array, a copy of the array) Dask's own way is taken.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Mapping, Set
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.array.core import finalize
from dask.array.optimization import optimize
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

AnyArray = npt.NDArray[np.generic]


class SharedResult:
    """The rows that the tasks of one computation fill, allocated when the first of them runs.

    It does not travel: a task in another process finds it empty, and returns rows of its own.
    """

    def __init__(self, shape: tuple[int, int] | None, dtype: npt.DTypeLike = np.float32) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._lock = threading.Lock()
        self._array: AnyArray | None = None

    def rows(self, start: int, stop: int) -> AnyArray | None:
        """Return the rows to fill, or None in another process."""
        if self._shape is None:
            return None
        with self._lock:
            if self._array is None:
                self._array = np.empty(self._shape, self._dtype)
            return self._array[start:stop]

    def __reduce__(self) -> tuple[object, ...]:
        return SharedResult, (None,)


def computes_in_place(array: da.Array, tasks_into: Callable[[SharedResult], Mapping[Hashable, Any]]) -> da.Array:
    """Make a 2-D array, chunked along its first axis, compute into one result.

    Parameters
    ----------
    array
        The array; its top layer is replaced when it is computed or persisted.
    tasks_into
        Returns that layer's tasks, filling the rows of a shared result.
    """
    planned = _Planned(array.shape, array.dtype, tasks_into)
    _PLANNED[array.name] = planned
    # attributes of this instance, not of a subclass: xarray refuses to mix a subclass of da.Array with plain ones
    vars(array).update(__dask_optimize__=_OPTIMIZER, __dask_postcompute__=lambda: (joined, ()), _planned=planned)
    return array


@dataclass(frozen=True, eq=False)
class _Planned:
    shape: tuple[int, int]
    dtype: npt.DTypeLike
    tasks_into: Callable[[SharedResult], Mapping[Hashable, Any]]


# Name -> what the array of that name computes into; forgotten with the array
_PLANNED: WeakValueDictionary[str, _Planned] = WeakValueDictionary()


class _Optimizer:
    """Dask's own optimization, after the planned arrays that are asked for got a result to share.

    One for all arrays, and equal to Dask's own: Dask 2026.8 puts the collections of one optimizer together
    (`dask._expr._HLGExprSequence._tune_down`) and returns results in the order of these groups, so that with one for
    each array `dask.compute(a, b, c)` would give a, c, b.
    """

    def __call__(self, graph: Any, keys: Any, **kwargs: Any) -> Any:
        if isinstance(graph, HighLevelGraph):
            asked = {key[0] if isinstance(key, tuple) else key for key in flatten(keys)}
            planned = {
                name: found
                for name, users in graph.dependents.items()
                if (found := _PLANNED.get(name)) is not None and _is_result(name, users, asked)
            }
            tasks = {name: p.tasks_into(SharedResult(p.shape, p.dtype)) for name, p in planned.items()}
            layers = {**graph.layers, **{name: MaterializedLayer(dict(made)) for name, made in tasks.items()}}
            graph = HighLevelGraph(layers, graph.dependencies)
        return optimize(graph, keys, **kwargs)

    def __eq__(self, other: object) -> bool:
        return other is optimize or isinstance(other, _Optimizer)

    def __hash__(self) -> int:
        return hash(optimize)


_OPTIMIZER = _Optimizer()


def _is_result(name: str, users: Set[str], asked: Set[str]) -> bool:
    """Whether a layer is computed for itself: nothing uses it but, to compute and not to persist, Dask's last step."""
    return all(user in asked and user.startswith("finalize-") for user in users) if users else name in asked


def joined(blocks: Any) -> AnyArray:
    """Return the result that the blocks are consecutive rows of; Dask's concatenation where they are not."""
    rows = [row[0] if isinstance(row, (list, tuple)) else row for row in blocks]
    whole: AnyArray | None = getattr(rows[0], "base", None)
    if whole is not None and _are_rows_of(rows, whole) and not _on_worker():
        return whole
    found: AnyArray = finalize(blocks)
    return found


def _are_rows_of(rows: list[Any], whole: Any) -> bool:
    if not isinstance(whole, np.ndarray) or whole.ndim != 2 or not all(r.base is whole for r in rows):
        return False
    at = whole.ctypes.data
    for block in rows:
        if block.ctypes.data != at or block.shape[1:] != whole.shape[1:]:
            return False
        at += block.nbytes
    return bool(at == whole.ctypes.data + whole.nbytes)


def _on_worker() -> bool:
    # a worker in this process may keep the blocks: what it keeps must not be written to
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except (ValueError, AttributeError):
        return False
    return True
