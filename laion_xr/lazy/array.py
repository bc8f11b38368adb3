"""A Dask array over sessions that remembers what it reads, so that selections re-plan the read.

A plain `dask.array.Array`; the memory is its top layer, a `PlannedLayer`. Copies and pickling keep it, any
computation on top hides it, as it should be.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask._task_spec import DataNode
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from laion_xr.lazy.budget import decode_budget
from laion_xr.lazy.result import SharedResult, computes_in_place
from laion_xr.readers.base import IntArray, Reader, sorted_pick

Key = int | slice | npt.NDArray[np.integer]


class VoxelIds:
    """C-order flat grid indices, small when pickled: an increasing pick travels as a compressed bit mask."""

    __slots__ = ("ids",)

    def __init__(self, ids: IntArray) -> None:
        self.ids = np.asarray(ids, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[object, ...]:
        ids = self.ids
        if len(ids) > 1 and bool((ids[1:] > ids[:-1]).all()):
            bits = np.zeros(int(ids[-1]) + 1, dtype=bool)
            bits[ids] = True
            return _unpack, (zlib.compress(np.packbits(bits).tobytes(), 1), len(bits))
        return VoxelIds, (ids.astype(np.int32),)

    def __dask_tokenize__(self) -> object:
        return tokenize(self.ids)


def _unpack(packed: bytes, size: int) -> VoxelIds:
    bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), dtype=np.uint8), count=size)
    return VoxelIds(np.flatnonzero(bits))


@dataclass(frozen=True, eq=False)
class ReadPlan:
    """What an array reads.

    Attributes
    ----------
    readers
        One a session.
    voxels
        C-order flat grid ids, in the order of the array's columns.
    trials
        Positions on the concatenation of the readers, in the order of the array's rows; None for all.
    kept
        Whether the trial and the voxel axis are still there (an integer drops its axis).
    name
        What the tasks are called.
    block
        Voxels a task, over all trials; None for a task a session over all voxels.
    """

    readers: tuple[Reader, ...]
    voxels: VoxelIds
    trials: IntArray | None = None
    kept: tuple[bool, bool] = (True, True)
    name: str = "betas"
    block: int | None = None

    @property
    def n_trials(self) -> int:
        """Number of rows."""
        return sum(r.shape[0] for r in self.readers) if self.trials is None else len(self.trials)

    def pick(self, key: tuple[Key, ...]) -> ReadPlan:
        """Return the plan of an outer selection on the axes that are there."""
        keys: list[Key] = list(key)
        trial_key = keys.pop(0) if self.kept[0] else slice(None)
        voxel_key = keys.pop(0) if self.kept[1] else slice(None)
        kept = (
            self.kept[0] and not isinstance(trial_key, (int, np.integer)),
            self.kept[1] and not isinstance(voxel_key, (int, np.integer)),
        )
        trials = self.trials
        if not _is_all(trial_key):
            trials = np.atleast_1d((np.arange(self.n_trials) if trials is None else trials)[trial_key])
        voxels = self.voxels if _is_all(voxel_key) else VoxelIds(np.atleast_1d(self.voxels.ids[voxel_key]))
        return ReadPlan(self.readers, voxels, trials, kept, self.name, self.block)

    @property
    def splits_voxels(self) -> bool:
        """Whether a part of the voxels costs a part of the reading, in every session."""
        return all(getattr(reader, "splits_voxels", False) for reader in self.readers)

    @property
    def costs_whole_files(self) -> bool:
        """Whether a part of a read decodes the whole of a large file: betas in `.nii.gz`, not maps, not a store."""
        return not self.splits_voxels and any(reader.shape[0] > 1 for reader in self.readers)

    @property
    def blocks(self) -> list[VoxelIds] | None:
        """The voxels of each task over all trials; None for a task a session over all voxels.

        Where a reader joins others side by side, no task reaches over a seam.
        """
        seams: IntArray | None = getattr(self.readers[0], "seams", None) if len(self.readers) == 1 else None
        if self.block is None and seams is None:
            return None
        ids = self.voxels.ids
        pieces = [ids]
        if seams is not None:
            part = np.searchsorted(seams, ids, side="right")
            cuts = np.flatnonzero(np.diff(part)) + 1
            if len(cuts) < len(np.unique(part)):  # else they are mixed, and each stretch would read its files again
                pieces = np.split(ids, cuts)
        step = self.block or max(len(ids), 1)
        return [VoxelIds(piece[start : start + step]) for piece in pieces for start in range(0, len(piece), step)]

    def by_voxels(self, block: int) -> ReadPlan:
        """Return the plan that reads all trials of `block` voxels in one task."""
        return replace(self, block=block)

    def sessions(self) -> list[tuple[Reader, IntArray | slice, IntArray | slice]]:
        """Return what is read of each session: reader, positions in it, rows of the array, in any order."""
        starts = np.cumsum([0, *(r.shape[0] for r in self.readers)]).tolist()
        if self.trials is None:
            return [(r, slice(None), slice(a, b)) for r, a, b in zip(self.readers, starts, starts[1:], strict=False)]
        session = np.searchsorted(starts, self.trials, side="right") - 1
        found: list[tuple[Reader, IntArray | slice, IntArray | slice]] = []
        for s in np.unique(session).tolist():
            rows = np.flatnonzero(session == s)
            found.append((self.readers[s], self.trials[rows] - starts[s], rows))
        return found

    def parts(self) -> tuple[list[tuple[Reader, IntArray | slice, int]], IntArray | None]:
        """Return what each session's task reads (reader, positions in it, their number), and the order after."""
        if self.trials is None:
            return [(r, slice(None), r.shape[0]) for r in self.readers], None
        starts = np.cumsum([0, *(r.shape[0] for r in self.readers)])
        session = np.searchsorted(starts, self.trials, side="right") - 1
        runs = np.flatnonzero(np.diff(session)) + 1
        restore = None
        picked = self.trials
        if len(runs) + 1 > len(np.unique(session)):
            # a session's trials lie apart: read each session once, in order, and reorder after
            picked, restore = sorted_pick(self.trials)
            session = np.searchsorted(starts, picked, side="right") - 1
            runs = np.flatnonzero(np.diff(session)) + 1
        parts: list[tuple[Reader, IntArray | slice, int]] = []
        for piece in np.split(np.arange(len(picked)), runs):
            if not len(piece):
                continue
            reader = self.readers[int(session[piece[0]])]
            local = picked[piece] - starts[session[piece[0]]]
            whole = len(local) == reader.shape[0] and bool((local == np.arange(len(local))).all())
            parts.append((reader, slice(None) if whole else local, len(local)))
        return parts, restore


class PlannedLayer(MaterializedLayer):
    """A materialised layer that carries the plan of its array."""

    def __init__(self, mapping: Mapping[Any, Any], plan: ReadPlan) -> None:
        super().__init__(mapping)
        self.plan = plan


def _is_all(key: Key) -> bool:
    return isinstance(key, slice) and key == slice(None)


def _read(
    reader: Reader, trials: IntArray | slice, voxels: VoxelIds, start: int, n_trials: int, result: SharedResult | None
) -> npt.NDArray[np.generic]:
    rows = result.rows(start, start + n_trials) if result is not None else None
    if rows is not None:  # allocated already, as the result of the computation
        return reader.read(trials, voxels.ids, out=rows)
    with decode_budget().take(n_trials * len(voxels) * reader.dtype.itemsize):
        return reader.read(trials, voxels.ids)


def _read_block(
    sessions: Sequence[tuple[Reader, IntArray | slice, IntArray | slice]], voxels: VoxelIds, n_trials: int
) -> npt.NDArray[np.generic]:
    dtype = sessions[0][0].dtype
    with decode_budget().take(n_trials * len(voxels) * dtype.itemsize):
        out = np.empty((n_trials, len(voxels)), dtype)
        for reader, trials, rows in sessions:
            if isinstance(rows, slice):
                reader.read(trials, voxels.ids, out=out[rows])
            else:
                out[rows] = reader.read(trials, voxels.ids)
        return out


def _array_by_voxels(plan: ReadPlan, blocks: list[VoxelIds]) -> da.Array:
    sessions, n_trials = plan.sessions(), plan.n_trials
    key = f"{plan.name}-{tokenize(*((r.token, t, rows) for r, t, rows in sessions), plan.voxels, *map(len, blocks))}"
    shared = f"sessions-{key}"
    tasks: dict[Hashable, Any] = {
        (key, 0, j): (_read_block, shared, voxels, n_trials) for j, voxels in enumerate(blocks)
    }
    graph = HighLevelGraph(
        {shared: MaterializedLayer({shared: DataNode(shared, sessions)}), key: PlannedLayer(tasks, plan)},
        {shared: set(), key: {shared}},
    )
    return da.Array(graph, key, ((n_trials,), tuple(len(b) for b in blocks)), dtype=plan.readers[0].dtype)


def planned_array(plan: ReadPlan) -> da.Array:
    """Return the Dask array of a plan, voxels shared between its tasks.

    One task a session over all its voxels; or, where the plan says so, one a block of voxels over all trials.
    """
    dtype = plan.readers[0].dtype
    parts, restore = plan.parts()
    n_voxels = len(plan.voxels)
    if not parts or not n_voxels:
        array = da.zeros((plan.n_trials, n_voxels), dtype=dtype, chunks=-1)
        restore = None
    elif (blocks := plan.blocks) is not None:
        array, restore = _array_by_voxels(plan, blocks), None
    else:
        token = tokenize(*((r.token, t) for r, t, _ in parts), plan.voxels)
        shared, key = f"voxels-{token}", f"{plan.name}-{token}"
        starts = np.cumsum([0, *(n for *_, n in parts)]).tolist()

        def tasks(result: SharedResult | None = None) -> dict[Hashable, Any]:
            return {(key, i, 0): (_read, r, t, shared, starts[i], n, result) for i, (r, t, n) in enumerate(parts)}

        graph = HighLevelGraph(
            {shared: MaterializedLayer({shared: plan.voxels}), key: PlannedLayer(tasks(), plan)},
            {shared: set(), key: {shared}},
        )
        array = da.Array(graph, key, (tuple(n for *_, n in parts), (n_voxels,)), dtype=dtype)
        if restore is None and all(plan.kept):
            return computes_in_place(array, tasks)
    if restore is not None:
        array = array[restore]
    squeeze = tuple(slice(None) if kept else 0 for kept in plan.kept)
    return _remember(array[squeeze] if 0 in squeeze else array, plan)


def _remember(array: da.Array, plan: ReadPlan) -> da.Array:
    # reordering and squeezing put a layer of dask's own on top: it is the one that must carry the plan
    layers = dict(array.dask.layers)
    top = layers[array.name]
    if isinstance(top, PlannedLayer):
        return array
    layers[array.name] = PlannedLayer(dict(top), plan)
    return da.Array(HighLevelGraph(layers, array.dask.dependencies), array.name, array.chunks, meta=array._meta)


def plan_of(array: object) -> ReadPlan | None:
    """Return the plan that an array carries, or None."""
    if not isinstance(array, da.Array):
        return None
    layer = array.dask.layers.get(array.name)
    plan = getattr(layer, "plan", None)
    return plan if isinstance(plan, ReadPlan) and sum(plan.kept) == array.ndim else None
