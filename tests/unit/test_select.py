"""`.laion.sel`: labels, spheres and masks, with and without the label indexes, against NumPy by hand."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
import pytest
import xarray as xr

from laion_xr.analysis import select
from laion_xr.errors import SelectionError, UnknownLabelError


@pytest.fixture(params=[True, False], ids=["indexed", "plain"])
def ds(tiny, request: pytest.FixtureRequest) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", label_index=request.param)


def test_same_as_sel(ds: xr.Dataset, tiny) -> None:
    query: dict[str, Any] = {"roi": "face - V1", "noise_ceiling": slice(20, None), "session": ["ses-01", 3], "run": 1}
    columns = tiny.members("FFA1", "OFA") & ~tiny.members("V1d", "V1v")
    columns &= tiny.in_mask(tiny.subject_maps["sub-03", "noise_ceiling_12rep"]) >= 20
    rows = (tiny.table().session.isin(["ses-01", "ses-03"]) & (tiny.table().run == 1)).to_numpy()
    for found in (ds.laion.sel(**query).betas, ds.betas.laion.sel(**query), select(ds, **query).betas):
        np.testing.assert_array_equal(found, tiny.matrix()[rows][:, columns])


def test_kind_is_that_which_was_given(ds: xr.Dataset) -> None:
    assert isinstance(ds.laion.sel(run=1), xr.Dataset)
    assert isinstance(ds.betas.laion.sel(run=1), xr.DataArray)
    assert ds.noise_ceiling_4rep.laion.sel(roi="all").dims == ("voxel",)


def test_any_coordinate(ds: xr.Dataset, tiny) -> None:
    table = tiny.table()
    assert ds.laion.sel(button="left").trial.values.tolist() == np.flatnonzero(table.button == "left").tolist()
    found = ds.laion.sel(response_time=slice(0.25, 0.75))
    assert found.trial.values.tolist() == np.flatnonzero(table.response_time.between(0.25, 0.75)).tolist()
    assert ds.laion.sel(beta_index=[0, 3]).sizes["trial"] == 6
    assert ds.laion.sel(trial=[5, 3]).trial.values.tolist() == [3, 5]
    assert set(ds.laion.sel(i=2, k=slice(1, 3)).i.values) == {2}
    assert ds.laion.sel(ses="ses-02").sizes["ses"] == 1
    assert ds.laion.sel(voxel=tiny.voxels[:3], roi="all").sizes["voxel"] <= 3  # with a label, which .sel refuses


def test_dims_stay(ds: xr.Dataset) -> None:
    assert ds.laion.sel(trial=3).betas.dims == ("trial", "voxel")


def test_nothing_asked_is_everything(ds: xr.Dataset) -> None:
    assert ds.laion.sel().identical(ds)


def test_selecting_again_knows_what_there_was(tiny) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    first = ds.laion.sel(session="ses-01", roi="FFA1")
    assert first.laion.sel(session="ses-02").sizes["trial"] == 0
    assert first.laion.sel(roi="EBA").sizes["voxel"] == 0
    with pytest.raises(UnknownLabelError, match="'ses-09' does not exist here"):
        first.laion.sel(session="ses-09")


@pytest.mark.parametrize("radius", [0, 3, 8, 1000])
def test_sphere(ds: xr.Dataset, tiny, radius: float) -> None:
    centre = tiny.affine @ [3, 2, 2, 1]
    xyz = nib.affines.apply_affine(tiny.affine, np.argwhere(tiny.mask))
    inside = np.linalg.norm(xyz - centre[:3], axis=1) <= radius
    found = ds.laion.sel(sphere=(*centre[:3], radius))
    np.testing.assert_array_equal(found.voxel, tiny.voxels[inside])
    assert (
        ds.laion.sel(sphere=(*centre[:3], radius), roi="FFA1").sizes["voxel"] == (inside & tiny.members("FFA1")).sum()
    )


@pytest.mark.parametrize("sphere", [(1, 2, 3), (1, 2, 3, -1), (1, 2, 3, np.nan), (1, 2, 3, 4, 5)])
def test_sphere_that_is_none(ds: xr.Dataset, sphere: Any) -> None:
    with pytest.raises(SelectionError, match=r"sphere is \(x, y, z, radius\) in mm"):
        ds.laion.sel(sphere=sphere)


def test_sphere_needs_positions(ds: xr.Dataset) -> None:
    with pytest.raises(SelectionError, match="sphere needs the coordinates x, y, z on voxel; not here: x, z"):
        ds.drop_vars(["x", "z"]).laion.sel(sphere=(0, 0, 0, 1))


@pytest.fixture
def volume() -> np.ndarray:
    volume = np.random.default_rng(0).random((6, 7, 5)).astype(np.float32)
    volume[volume < 0.5] = 0
    volume[2, 3, 1] = np.nan
    return volume


def test_volume_as_mask(ds: xr.Dataset, tiny, volume: np.ndarray) -> None:
    expected = tiny.voxels[tiny.in_mask(np.nan_to_num(volume) != 0)]
    for mask in (volume, np.nan_to_num(volume) != 0, nib.Nifti1Image(volume, tiny.affine), volume.astype(float)):
        np.testing.assert_array_equal(ds.laion.sel(mask=mask).voxel, expected)
        np.testing.assert_array_equal(ds.betas.laion.sel(mask=mask).voxel, expected)
    subset = ds.laion.sel(noise_ceiling=slice(20, None))  # the grid stays known
    np.testing.assert_array_equal(subset.laion.sel(mask=volume).voxel, np.intersect1d(expected, subset.voxel))


def test_mask_of_the_axis(ds: xr.Dataset) -> None:
    mask = ds.noise_ceiling.values > 20
    for given in (mask, mask.tolist(), ds.noise_ceiling > 20, (ds.noise_ceiling_12rep > 20)):
        np.testing.assert_array_equal(ds.laion.sel(mask=given).voxel, ds.voxel[mask])
    np.testing.assert_array_equal(
        ds.laion.sel(mask=ds.run == 1, session="ses-01").trial, np.flatnonzero(ds.run[:14] == 1)
    )


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(3, bool), r"a boolean mask of 151 values along voxel, or a volume on the grid; found shape \(3,\)"),
        (np.ones(151), "found shape .*dtype float64"),
        (np.ones((7, 6, 5)), r"a mask of the grid's shape \(6, 7, 5\), found \(7, 6, 5\)"),
        (np.ones((6, 7, 5, 2)), r"found shape \(6, 7, 5, 2\)"),
        (xr.DataArray(np.ones(4, bool), dims="other"), "The mask is over other, and there is no such dimension"),
        ([1, 2, 3], "Expected a boolean mask"),
    ],
)
def test_mask_that_is_none(ds: xr.Dataset, mask: Any, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        ds.laion.sel(mask=mask)


def test_roi_and_mask_at_once(ds: xr.Dataset) -> None:
    with pytest.raises(SelectionError, match="roi and mask both say which voxels to keep: give one of them"):
        ds.laion.sel(roi="FFA1", mask=np.ones(151, bool))


def test_mask_next_to_other_labels(ds: xr.Dataset) -> None:
    mask = ds.noise_ceiling.values > 20
    found = ds.laion.sel(mask=mask, noise_ceiling=slice(None, 60))
    np.testing.assert_array_equal(found.voxel, ds.voxel[mask & (ds.noise_ceiling.values <= 60)])


def test_unknown_coordinate_names_the_closest(ds: xr.Dataset) -> None:
    with pytest.raises(SelectionError, match=r"Coordinate 'sesion' does not exist here. Did you mean 'session'"):
        ds.laion.sel(sesion="ses-01")
