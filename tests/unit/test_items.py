"""Arrays of items: selections re-plan the read, whatever axis they are on."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.lazy import items as module
from laion_xr.lazy.items import ItemPlan, item_plan_of
from laion_xr.lazy.variable import LazyVariable, lazy_variable

SHAPE = (4, 3, 2)


class Numbers:
    """Item i is an array of its own; what was asked for is kept."""

    dtype = np.dtype(np.int64)
    shape = SHAPE
    token = ("numbers",)

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def read(self, items: Sequence[int]) -> np.ndarray:
        self.asked.append(list(items))
        return np.array([np.arange(24).reshape(SHAPE) + 100 * i for i in items]).reshape(-1, *SHAPE)


def expected(items: Sequence[int]) -> np.ndarray:
    return np.array(items)[:, None, None, None] * 100 + np.arange(24).reshape(SHAPE)


def variable(items: Sequence[int]) -> tuple[Numbers, LazyVariable]:
    source = Numbers()
    return source, lazy_variable(("trial", "y", "x", "rgb"), ItemPlan(source, tuple(items), "numbers").array())


@st.composite
def keys(draw: st.DrawFn, n: int):
    kind = draw(st.sampled_from(["slice", "list", "int"]))
    if kind == "int" and n:
        return draw(st.integers(-n, n - 1))
    if kind == "list" and n:
        return draw(st.lists(st.integers(-n, n - 1), max_size=6))
    bounds = st.none() | st.integers(-n - 1, n + 1)
    return slice(draw(bounds), draw(bounds), draw(st.sampled_from([None, 1, 2, -1])))


@given(st.data(), st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 5))
def test_selections_one_after_the_other(data: st.DataObject, items: list[int], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_ITEMS", chunk)
        _, found = variable(items)
        values = expected(items)
        for _ in range(data.draw(st.integers(1, 3))):
            if not found.dims:
                break
            dim = data.draw(st.sampled_from(found.dims))
            key = data.draw(keys(found.sizes[dim]))
            axis = found.dims.index(dim)
            values = values[(slice(None),) * axis + (key if not isinstance(key, list) else np.array(key, int),)]
            found = found.isel({dim: key})
            assert item_plan_of(found.data) is not None
            assert found.shape == values.shape
        np.testing.assert_array_equal(found.values, values)


def test_only_what_is_kept_is_read_and_repeats_once() -> None:
    source, found = variable(range(200))
    np.testing.assert_array_equal(found[[7, 150, 7, 3, 150]].values, expected([7, 150, 7, 3, 150]))
    assert source.asked == [[7, 150, 3]]


def test_a_chunk_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(variable(range(200))[1].data.chunks[0]) == module.CHUNK_ITEMS
    monkeypatch.setattr(module, "CHUNK_BYTES", 24 * 8 * 5)
    assert max(variable(range(200))[1].data.chunks[0]) == 5


@pytest.mark.parametrize(
    ("chunks", "expects"),
    [
        ({"trial": 30}, (30, 30, 30, 10)),
        ({"trial": -1}, (100,)),
        ({"trial": 30, "x": -1, "y": 4, "rgb": (2,)}, (30, 30, 30, 10)),
        ({"trial": 1000}, (100,)),
    ],
)
def test_chunks_along_the_first_dim_are_planned(chunks: dict[str, int], expects: tuple[int, ...]) -> None:
    source, found = variable(range(100))
    again = found.chunk(chunks)
    assert item_plan_of(again.data) is not None
    assert again.chunks[0] == expects
    np.testing.assert_array_equal(again.values, expected(range(100)))
    assert sorted(map(len, source.asked)) == sorted(expects)
    assert again.data.name != found.data.name
    assert again[[5, 70]].chunks[0] == (2,)
    np.testing.assert_array_equal(again[[5, 70]].values, expected([5, 70]))


@pytest.mark.parametrize("chunks", [{"x": 1}, {"trial": 30, "y": 2}, {"trial": (40, 60)}, {}, 50, {"trial": "auto"}])
def test_other_chunks_are_made_of_what_was_read(chunks: object) -> None:
    source, found = variable(range(100))
    again = found.chunk(chunks)
    np.testing.assert_array_equal(again.values, expected(range(100)))
    assert sorted(map(len, source.asked)) == [36, 64]
    # an image of one trial has no such dim any more
    assert found[3].chunk(chunks if isinstance(chunks, int) else {"y": 2}).shape == SHAPE


def test_nothing_is_read_of_nothing() -> None:
    source, found = variable(range(5))
    assert found[:0].values.shape == (0, *SHAPE)
    assert found[:0, 1, :, [0]].values.shape == (0, 3, 1)
    assert source.asked == []


def test_a_copy_and_a_pickle_still_replan() -> None:
    _, found = variable(range(100))
    for again in (pickle.loads(pickle.dumps(found)), found.copy(deep=True), found.copy(deep=False)):
        few = again[[90, 2]]
        assert few.data.npartitions == 1
        np.testing.assert_array_equal(few.values, expected([90, 2]))


def test_the_same_reads_have_the_same_name() -> None:
    names = {variable(items)[1].data.name for items in ([1, 2], [1, 2], [2, 1])}
    assert len(names) == 2
