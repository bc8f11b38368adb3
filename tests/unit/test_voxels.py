"""Mask <-> voxel axis <-> volume, against NumPy on the grid itself."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from laion_xr.errors import SelectionError
from laion_xr.voxels import grid_positions, to_volume, within_sphere, world_positions

grids = st.tuples(*[st.integers(1, 6)] * 3)


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray:
    return draw(hnp.arrays(bool, draw(grids)))


@given(mask=masks(), dtype=st.sampled_from(["f4", "f8", "i2", "u1"]), extra=st.lists(st.integers(1, 3), max_size=2))
def test_volume_and_back(mask: np.ndarray, dtype: str, extra: list[int]) -> None:
    ids = np.flatnonzero(mask.ravel())
    values = np.arange(len(ids) * int(np.prod(extra)), dtype=dtype).reshape(*extra, len(ids))
    volume = to_volume(values, ids, mask.shape, fill=0)
    assert volume.dtype == np.dtype(dtype)
    # as NumPy reads a mask off a volume, in C order
    np.testing.assert_array_equal(np.moveaxis(volume[mask], 0, -1), values)
    assert not volume[~mask].any()


@given(masks())
def test_outside_is_nan_unless_told_otherwise(mask: np.ndarray) -> None:
    ids = np.flatnonzero(mask.ravel())
    np.testing.assert_array_equal(np.isnan(to_volume(np.ones(len(ids), "f4"), ids, mask.shape)), ~mask)


@pytest.mark.parametrize(
    ("dtype", "found"),
    [("f4", "f4"), ("f8", "f8"), ("i2", "f4"), ("u1", "f4"), ("i4", "f8"), ("i8", "f8"), ("?", "u1")],
)
def test_type_that_holds_the_fill(dtype: str, found: str) -> None:
    volume = to_volume(np.array([1], dtype), np.array([3]), (2, 2, 1))
    assert volume.dtype == np.dtype(found)
    assert volume[1, 1, 0] == 1


def test_voxels_in_any_order() -> None:
    volume = to_volume(np.array([1.0, 2.0, 3.0]), np.array([5, 0, 3]), (1, 2, 3), fill=0)
    np.testing.assert_array_equal(volume.ravel(), [2, 0, 0, 3, 0, 1])


def test_values_of_another_length_are_refused() -> None:
    with pytest.raises(SelectionError, match=r"one value for each of 2 voxels on the last axis, found shape \(3,\)"):
        to_volume(np.zeros(3), np.array([0, 1]), (2, 2, 2))


@given(masks())
def test_grid_positions_are_those_of_argwhere(mask: np.ndarray) -> None:
    i, j, k = grid_positions(np.flatnonzero(mask.ravel()), mask.shape)
    np.testing.assert_array_equal(np.stack([i, j, k], axis=1), np.argwhere(mask))
    assert i.dtype == j.dtype == k.dtype == np.int16


@given(mask=masks(), affine=hnp.arrays("f8", (3, 4), elements=st.floats(-50, 50, width=32)))
def test_world_positions_are_those_of_nibabel(mask: np.ndarray, affine: np.ndarray) -> None:
    full = np.vstack([affine, [0, 0, 0, 1]])
    xyz = world_positions(np.flatnonzero(mask.ravel()), mask.shape, full)
    assert xyz.dtype == np.float32
    np.testing.assert_allclose(xyz.T, nib.affines.apply_affine(full, np.argwhere(mask)), rtol=1e-6, atol=1e-4)


@given(
    hnp.arrays("f4", st.tuples(st.just(3), st.integers(0, 20)), elements=st.floats(-20, 20, width=16)),
    st.floats(0, 20),
)
def test_sphere_by_distance(xyz: np.ndarray, radius: float) -> None:
    found = within_sphere(xyz, (1.0, -2.0, 3.0), radius)
    expected = [sum((float(a) - b) ** 2 for a, b in zip(p, (1, -2, 3), strict=True)) <= radius**2 for p in xyz.T]
    assert found.tolist() == expected


def test_sphere_has_its_rim() -> None:
    assert within_sphere(np.array([[3.0], [4.0], [0.0]]), (0, 0, 0), 5).tolist() == [True]
    assert within_sphere(np.array([[3.0], [4.0], [0.01]]), (0, 0, 0), 5).tolist() == [False]
