"""Plans of reads: any chain of selections gives what NumPy gives, and asks each reader once for just that."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import Any

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laion_xr.lazy.array import ReadPlan, VoxelIds, plan_of, planned_array
from laion_xr.readers.base import Reader, trial_positions

GRID = 40


@dataclass(frozen=True, eq=False)
class MatrixReader:
    """A session in memory that writes down what it is asked for."""

    matrix: np.ndarray
    splits_voxels: bool = False
    asked: list[tuple[list[int], list[int]]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    @property
    def token(self) -> tuple[object, ...]:
        return ("matrix", self.matrix.tobytes())

    def read(self, trials: Any, voxels: Any, out: np.ndarray | None = None) -> np.ndarray:
        rows = trial_positions(trials, self.shape[0])
        self.asked.append((rows.tolist(), np.asarray(voxels).tolist()))
        found = self.matrix[np.ix_(rows, voxels)]
        if out is None:
            return found
        out[...] = found
        return out


def readers(lengths: list[int], splits: bool = False) -> tuple[MatrixReader, ...]:
    rng = np.random.default_rng(0)
    return tuple(MatrixReader(rng.integers(0, 10_000, (n, GRID)).astype(np.float32), splits) for n in lengths)


def test_the_reader_of_these_tests_is_one() -> None:
    assert isinstance(readers([1])[0], Reader)


@st.composite
def picks(draw: st.DrawFn) -> list[tuple[int, int, str]]:
    """Steps of a selection: a seed, an axis, a kind."""
    kinds = st.sampled_from(["slice", "backwards", "list", "shuffle", "mask", "integer", "empty", "one"])
    return draw(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 1), kinds), max_size=4))


def key_of(seed: int, kind: str, size: int) -> Any:
    rng = np.random.default_rng(seed)
    start, stop = sorted(rng.integers(0, size + 1, 2).tolist())
    match kind:
        case "slice":
            return slice(start, stop, int(rng.integers(1, 4)))
        case "backwards":
            return slice(None, None, -int(rng.integers(1, 4)))
        case "list":
            return rng.integers(0, size, 5) if size else slice(None)
        case "shuffle":
            return rng.permutation(size)
        case "mask":
            return np.flatnonzero(rng.random(size) < 0.5)
        case "integer":
            return int(rng.integers(0, size)) if size else slice(None)
        case "empty":
            return np.empty(0, dtype=int)
        case _:
            return slice(start, start + 1)


@settings(max_examples=150)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    voxels=st.lists(st.integers(0, GRID - 1), max_size=12),
    steps=picks(),
    block=st.sampled_from([None, 1, 3, 100]),
)
def test_any_chain_of_selections_is_that_of_numpy(
    lengths: list[int], voxels: list[int], steps: list[tuple[int, int, str]], block: int | None
) -> None:
    sessions = readers(lengths, splits=block is not None)
    expected = np.concatenate([r.matrix for r in sessions])[:, voxels]
    rows, columns = np.arange(sum(lengths)), np.array(voxels, dtype=int)
    plan = ReadPlan(sessions, VoxelIds(np.array(voxels, dtype=int)))
    if block is not None:
        plan = plan.by_voxels(block)
    for seed, axis, kind in steps:
        if not plan.kept[axis]:
            continue
        key: list[Any] = [slice(None), slice(None)]
        key[axis] = key_of(seed, kind, len(rows) if axis == 0 else len(columns))
        plan = plan.pick(tuple(k for k, kept in zip(key, plan.kept, strict=True) if kept))
        if axis == 0:
            rows = np.atleast_1d(rows[key[0]])
        else:
            columns = np.atleast_1d(columns[key[1]])
        at = axis if expected.ndim == 2 else 0
        expected = expected[(slice(None),) * at + (key[axis],)]
    array = planned_array(plan)
    assert array.shape == expected.shape
    assert array.dtype == np.float32
    assert plan_of(array) is plan
    with dask.config.set(scheduler="sync"):
        np.testing.assert_array_equal(array.compute(), expected)
        again = pickle.loads(pickle.dumps(array))
        assert plan_of(again).kept == plan.kept
        for r in sessions:
            r.asked.clear()
        np.testing.assert_array_equal(array.sum(), expected.sum())
    # each session is asked for its trials and for its voxels, and for no others
    starts = np.cumsum([0, *lengths])
    for r, start, n in zip(sessions, starts, lengths, strict=False):
        wanted = {int(t - start) for t in rows if start <= t < start + n} if len(columns) else set()
        assert {t for trials, _ in r.asked for t in trials} == wanted
        assert {v for _, found in r.asked for v in found} == (set(columns.tolist()) if wanted else set())
        assert len(r.asked) <= (1 if block is None else -(-len(columns) // block))


def test_tokens_name_what_is_read() -> None:
    plan = ReadPlan(readers([3, 4]), VoxelIds(np.array([1, 5, 7])))
    other = ReadPlan(readers([3, 4]), VoxelIds(np.array([1, 5, 7])))
    assert planned_array(plan).name == planned_array(other).name
    different = [
        plan.pick((slice(1, None), slice(None))),
        plan.pick((slice(None), slice(1, None))),
        ReadPlan(readers([4, 3]), plan.voxels),
        plan.by_voxels(2),
        plan.by_voxels(1),
        plan.pick((np.array([6, 0]), slice(None))),
    ]
    names = [planned_array(p).name for p in (plan, *different)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("ids", [[], [3], [3, 2], [5, 5], [0, 1, 2], [7, 100, 2_900_000]])
def test_voxel_ids_travel(ids: list[int]) -> None:
    found = pickle.loads(pickle.dumps(VoxelIds(np.array(ids, dtype=int))))
    assert found.ids.tolist() == ids
    assert found.ids.dtype == np.int64


def test_voxel_ids_of_a_brain_travel_small() -> None:
    assert len(pickle.dumps(VoxelIds(np.arange(1_000_000, 1_270_000)))) < 5_000


def test_what_carries_no_plan() -> None:
    array = planned_array(ReadPlan(readers([3]), VoxelIds(np.arange(4))))
    assert plan_of(array) is not None
    for other in (array + 1, array[:2], array.compute(), None, "x"):
        assert plan_of(other) is None


def test_session_task_per_session_in_the_order_of_the_rows() -> None:
    plan = ReadPlan(readers([3, 4, 2]), VoxelIds(np.arange(4)))
    assert planned_array(plan).chunks == ((3, 4, 2), (4,))
    assert planned_array(plan.pick((np.array([8, 1, 0]), slice(None)))).chunks == ((1, 2), (4,))
    assert planned_array(plan.by_voxels(3)).chunks == ((9,), (3, 1))
