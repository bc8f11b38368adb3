"""The arithmetic of picks that all readers share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.errors import FileFormatError
from laion_xr.readers.base import as_dtype, checked_pick, sorted_pick, trial_positions


@given(st.lists(st.integers(0, 30), max_size=40))
def test_sorted_pick_can_be_undone(values: list[int]) -> None:
    pick = np.array(values, dtype=np.int64)
    distinct, restore = sorted_pick(pick)
    assert (np.diff(distinct) > 0).all()
    np.testing.assert_array_equal(distinct if restore is None else distinct[restore], pick)


def test_a_sorted_pick_needs_nothing_after() -> None:
    assert sorted_pick(np.array([2, 3, 9]))[1] is None
    assert sorted_pick(np.array([2, 2]))[1] is not None


def test_trial_positions() -> None:
    assert trial_positions(slice(None, None, -2), 5).tolist() == [4, 2, 0]
    assert trial_positions(np.array([3, 3]), 5).tolist() == [3, 3]
    assert trial_positions(np.array(2), 5).tolist() == [2]


def test_checked_pick() -> None:
    assert checked_pick(np.array([]), 0, "voxel").dtype == np.intp
    assert checked_pick(np.array([4, 0], np.uint8), 5, "voxel").tolist() == [4, 0]
    for bad in ([5], [-1], [0, 99]):
        with pytest.raises(IndexError, match=f"voxel {bad[-1]} is outside 0 to 4"):
            checked_pick(np.array(bad), 5, "voxel")
    for wrong in (np.array([True, False]), np.array([1.0]), np.zeros((2, 2), int)):
        with pytest.raises(IndexError, match="expected integer positions along trial"):
            checked_pick(wrong, 5, "trial")


def test_as_dtype() -> None:
    values = np.array([1.5, -0.4, np.nan, np.inf])
    assert as_dtype(values, np.dtype(np.int16), "f").tolist() == [2, 0, -1, -1]
    assert as_dtype(values, np.dtype(np.float64), "f") is values
    assert as_dtype(np.array([1e300]), np.dtype(np.float32), "f").tolist() == [np.inf]
    assert as_dtype(np.array([]), np.dtype(np.int8), "f").shape == (0,)
    with pytest.raises(FileFormatError, match="f: expected values that fit int8, found 0 to 300"):
        as_dtype(np.array([0, 300]), np.dtype(np.int8), "f")
