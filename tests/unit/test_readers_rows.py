"""Which voxel a row of a beta array is: said by the shape, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.errors import FileFormatError
from laion_xr.readers.rows import held_rows, resolve_rows

GRID = (4, 5, 6)
ANATOMICAL = np.arange(10, 60)
RSQUARE = np.arange(5, 35)


def test_a_volume_and_the_whole_grid() -> None:
    assert resolve_rows((4, 5, 6, 9), GRID, ANATOMICAL, RSQUARE, 9) == ("volume", None)
    assert resolve_rows((120, 9), GRID, ANATOMICAL, RSQUARE, 9) == ("grid", None)
    assert resolve_rows((120, 9), GRID, None, None, None) == ("grid", None)


def test_the_voxels_of_one_mask() -> None:
    kind, ids = resolve_rows((50, 9), GRID, ANATOMICAL, RSQUARE, 9)
    assert kind == "anatomical"
    assert ids is ANATOMICAL
    assert resolve_rows((30, 9), GRID, ANATOMICAL, RSQUARE, 9) == ("rsquare", RSQUARE)
    assert resolve_rows((30, 9), GRID, None, RSQUARE, 9).kind == "rsquare"


def test_two_masks_of_the_same_voxels_agree() -> None:
    assert resolve_rows((50, 9), GRID, ANATOMICAL, ANATOMICAL.copy(), 9).kind == "anatomical"


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((7, 9), r"its 7 rows is cannot be known: expected one of 120 \(grid\), 50 \(anatomical mask\), 30 \(rsquare"),
        ((4, 5, 7, 9), r"expected volumes of shape \(4, 5, 6\), found \(4, 5, 7\)"),
        ((9, 4, 5, 6), "with 9 trials on its last axis"),
        ((50, 8), "with 9 trials on its last axis"),
        ((9,), "found"),
        ((4, 5, 9), "found"),
        ((), "found"),
    ],
)
def test_other_shapes(shape: tuple[int, ...], match: str) -> None:
    with pytest.raises(FileFormatError, match=match):
        resolve_rows(shape, GRID, ANATOMICAL, RSQUARE, 9, "betasmd of /data/model.h5")


def test_a_size_that_fits_two_masks() -> None:
    with pytest.raises(FileFormatError, match="50 fits both masks, which differ"):
        resolve_rows((50, 9), GRID, ANATOMICAL, ANATOMICAL + 1, 9)


@given(st.sets(st.integers(0, 40)), st.lists(st.integers(0, 40), max_size=30))
def test_held_rows(ids: set[int], voxels: list[int]) -> None:
    table = np.array(sorted(ids), dtype=np.int64)
    pick = np.array(voxels, dtype=np.int64)
    rows, positions = held_rows(pick, table)
    np.testing.assert_array_equal(table[rows], pick[positions])
    assert positions.tolist() == [n for n, v in enumerate(voxels) if v in ids]


def test_held_rows_of_the_whole_grid() -> None:
    rows, positions = held_rows(np.array([7, 3]), None)
    assert rows.tolist() == [7, 3]
    assert positions.tolist() == [0, 1]
