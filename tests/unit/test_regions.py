"""ROIs as masks, and spheres, against the volumes that were written."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from laion_xr.analysis import roi_masks, sphere
from laion_xr.analysis.regions import neighbours, offsets_within
from laion_xr.errors import SelectionError, UnknownLabelError

WITH_VOXELS = ["FFA1", "OFA", "laionventral", "PPA", "V1d", "V1v"]


@pytest.fixture(params=[True, False], ids=["indexed", "plain"])
def ds(tiny, request: pytest.FixtureRequest) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", label_index=request.param)


def test_every_roi_that_is_there(ds: xr.Dataset, tiny) -> None:
    masks = ds.laion.roi_masks()
    assert (masks.dims, masks.dtype) == (("roi", "voxel"), bool)
    assert masks.roi.values.tolist() == WITH_VOXELS
    np.testing.assert_array_equal(masks, [tiny.members(roi) for roi in WITH_VOXELS])
    by_roi = {roi: category for category, rois in tiny.categories.items() for roi in rois}
    assert masks.category.values.tolist() == [by_roi[roi] for roi in WITH_VOXELS]
    np.testing.assert_array_equal(masks.voxel, tiny.voxels)


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ("all", WITH_VOXELS),
        ("face", ["FFA1", "OFA"]),
        ("body", []),
        ("EBA", ["EBA"]),
        (["PPA", "face", "PPA"], ["PPA", "FFA1", "OFA"]),
        ("V1", ["V1d", "V1v"]),
        (["V1v | V1d", "FFA1"], ["V1v | V1d", "FFA1"]),
        ([], []),
    ],
)
def test_some(ds: xr.Dataset, tiny, asked: Any, rows: list[str]) -> None:
    masks = roi_masks(ds, asked)
    assert masks.roi.values.tolist() == rows
    assert masks.shape == (len(rows), 151)
    for row in rows:
        np.testing.assert_array_equal(masks.sel(roi=row), tiny.members(*row.split(" | ")))


def test_of_part_and_array(ds: xr.Dataset, tiny) -> None:
    part = ds.betas.laion.sel(roi="FFA1")
    masks = part.laion.roi_masks()
    assert masks.sel(roi="FFA1").all()
    np.testing.assert_array_equal(masks.sel(roi="PPA"), tiny.members("PPA")[tiny.members("FFA1")])
    assert roi_masks(part.isel(voxel=[])).shape == (0, 0)


def test_selects_and_masks(ds: xr.Dataset, tiny) -> None:
    masks = ds.laion.roi_masks(["FFA1", "PPA"])
    expected = tiny.matrix()[:, tiny.members("PPA")]
    np.testing.assert_array_equal(ds.betas.isel(voxel=masks.sel(roi="PPA").values), expected)
    np.testing.assert_array_equal(ds.betas.where(masks.sel(roi="PPA", drop=True), drop=True), expected)
    np.testing.assert_array_equal(ds.laion.sel(mask=masks.sel(roi="PPA", drop=True)).betas, expected)
    image = ds.laion.to_nifti(masks.sel(roi="PPA"))
    np.testing.assert_array_equal(np.asarray(image.dataobj) > 0, tiny.rois["sub-03", "PPA"] & tiny.mask)


def test_without_roi(ds: xr.Dataset) -> None:
    for obj in (ds.drop_vars([*({"roi", "noise_ceiling"} & set(ds.coords))]), ds.isel(voxel=0)):
        with pytest.raises(SelectionError, match="roi_masks needs the dim 'voxel' and the coordinate 'roi'"):
            obj.laion.roi_masks()


def test_unknown_roi(ds: xr.Dataset) -> None:
    with pytest.raises(UnknownLabelError, match=r"'FFA2' does not exist here. Did you mean 'FFA1'"):
        ds.laion.roi_masks(["PPA", "FFA2"])


@pytest.mark.parametrize("radius", [0.5, 2, 5.5, 1000])
def test_sphere_in_mm_and_around_a_voxel(ds: xr.Dataset, tiny, radius: float) -> None:
    at = 40
    xyz = nib.affines.apply_affine(tiny.affine, np.argwhere(tiny.mask))
    inside = np.linalg.norm(xyz - xyz[at], axis=1) <= radius
    for found in (sphere(ds, int(tiny.voxels[at]), radius), ds.laion.sphere(tuple(xyz[at]), radius)):
        np.testing.assert_array_equal(found.voxel, tiny.voxels[inside])
    array = ds.betas.laion.sphere(np.int64(tiny.voxels[at]), radius)
    np.testing.assert_array_equal(array, tiny.matrix()[:, inside])


def test_sphere_with_nothing_inside(ds: xr.Dataset) -> None:
    assert ds.laion.sphere((1000, 0, 0), 5).sizes["voxel"] == 0


@pytest.mark.parametrize("radius", [0, -1, np.nan, np.inf, "3", None, True])
def test_radius_that_is_none(ds: xr.Dataset, radius: Any) -> None:
    with pytest.raises(SelectionError, match="radius is a number of mm above 0, found"):
        ds.laion.sphere((0, 0, 0), radius)


@pytest.mark.parametrize("centre", ["FFA1", (1, 2), (1, 2, np.nan), None, 1.5, True, ("a", "b", "c")])
def test_centre_that_is_none(ds: xr.Dataset, centre: Any) -> None:
    with pytest.raises(SelectionError, match=r"centre is \(x, y, z\) in mm of T1w space, or the id of a voxel"):
        ds.laion.sphere(centre, 3)


def test_centre_outside_the_voxels(ds: xr.Dataset, tiny) -> None:
    outside = int(np.flatnonzero(~tiny.mask.ravel())[0])
    with pytest.raises(UnknownLabelError, match=f"Voxel {outside} is not here, where 151 voxels are"):
        ds.laion.sphere(outside, 3)
    with pytest.raises(SelectionError, match="sphere needs the dim 'voxel'"):
        ds.isel(voxel=0).laion.sphere(outside, 3)


@given(
    zooms=hnp.arrays(float, 3, elements=st.floats(1, 3)),
    shear=hnp.arrays(float, (3, 3), elements=st.floats(-0.375, 0.375, width=16)),
    radius=st.floats(0.125, 6),
)
def test_offsets_are_all_within(zooms: np.ndarray, shear: np.ndarray, radius: float) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(zooms) + shear
    # a grid that is nearly flat has voxels within the radius beyond the steps that are tried here
    assume(20 * np.linalg.norm(affine[:3, :3], -2) > radius)
    steps = np.stack(np.meshgrid(*[np.arange(-20, 21)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm(steps @ affine[:3, :3].T, axis=1)
    assume(not (np.abs(distance - radius) < 1e-4).any())  # on the rim, either is right
    np.testing.assert_array_equal(offsets_within(affine, radius, (50, 50, 50)), steps[distance <= radius])


def test_rim_is_inside_and_the_grid_ends() -> None:
    offsets = offsets_within(np.diag([1.8, 1.8, 1.8, 1]), 5.4, (9, 9, 9))
    assert [3, 0, 0] in offsets.tolist()
    found = neighbours(np.array([0]), (2, 2, 2), offsets_within(np.eye(4), 1, (2, 2, 2)))
    assert sorted(found[0].tolist()) == [-1, -1, -1, 0, 1, 2, 4]
