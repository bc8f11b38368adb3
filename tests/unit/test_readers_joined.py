"""Readers side by side, against NumPy's concatenation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.readers.arrays import ArrayReader
from laion_xr.readers.base import Reader
from laion_xr.readers.joined import JoinedReader

PARTS = [np.random.default_rng(n).normal(size=(5, n)).astype(np.float32) for n in (3, 1, 4)]
WHOLE = np.concatenate(PARTS, axis=1)


def joined() -> JoinedReader:
    return JoinedReader([ArrayReader(part) for part in PARTS])


def test_is_a_reader() -> None:
    reader = joined()
    assert isinstance(reader, Reader)
    assert (reader.shape, reader.dtype, reader.splits_voxels) == ((5, 8), np.float32, True)
    assert reader.seams.tolist() == [3, 4]
    assert reader.token == joined().token != JoinedReader([ArrayReader(PARTS[0])]).token


@given(rows=st.lists(st.integers(0, 4), max_size=7), voxels=st.lists(st.integers(0, 7), max_size=12))
def test_any_pick(rows: list[int], voxels: list[int]) -> None:
    at = np.array(rows, dtype=int), np.array(voxels, dtype=int)
    np.testing.assert_array_equal(joined().read(*at), WHOLE[np.ix_(*at)])
    out = np.empty((len(rows), len(voxels)), np.float32)
    assert joined().read(*at, out=out) is out
    np.testing.assert_array_equal(out, WHOLE[np.ix_(*at)])


def test_outside() -> None:
    with pytest.raises(IndexError, match="voxel 8 is outside 0 to 7"):
        joined().read(slice(None), np.array([8]))
