"""A function around every voxel, against a loop over voxels with distances in mm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
import xarray as xr

import laion_xr
from laion_xr.analysis import average_repeats, searchlight
from laion_xr.errors import ReadCostWarning, SelectionError, UnknownLabelError

RADIUS = 3.5


@pytest.fixture
def ds(tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


def statistic(betas: np.ndarray) -> float:
    # depends on the order of voxels too
    return np.nanmean(betas) + np.nanstd(np.nanmean(betas, axis=0)) + 0.1 * np.nan_to_num(betas[3, 0])


def by_hand(tiny, values: np.ndarray, voxels: np.ndarray, radius: float = RADIUS, least: int = 1) -> np.ndarray:
    xyz = nib.affines.apply_affine(tiny.affine, np.array(np.unravel_index(voxels, tiny.grid)).T)
    found = []
    for centre in xyz:
        inside = np.linalg.norm(xyz - centre, axis=1) <= radius
        found.append(statistic(values[:, inside]) if inside.sum() >= least else np.nan)
    return np.array(found)


@pytest.fixture(params=["one block", "blocks"])
def cubes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "blocks":
        monkeypatch.setattr("laion_xr.analysis.spheres.CUBE", 2)
        monkeypatch.setattr("laion_xr.analysis.spheres.CENTRES_AT_ONCE", 3)
    return request.param


@pytest.mark.parametrize("radius", [1, RADIUS, 1000])
def test_lazy_and_eager(ds: xr.Dataset, tiny, reads: Any, cubes: str, radius: float) -> None:
    found = ds.laion.searchlight(statistic, radius)
    assert isinstance(found.data, da.Array)
    assert reads.betas == []
    expected = by_hand(tiny, tiny.matrix(), tiny.voxels, radius)
    np.testing.assert_allclose(found.compute(), expected, rtol=1e-5)
    assert [r.session for r in reads.betas] == tiny.sessions()  # each file once, whatever the blocks
    eager = searchlight(ds.betas.compute(), statistic, radius)
    assert isinstance(eager.data, np.ndarray)
    np.testing.assert_allclose(eager, expected, rtol=1e-5)


def test_labels_stay(ds: xr.Dataset, tiny) -> None:
    found = ds.laion.searchlight(statistic, RADIUS)
    assert (found.dims, found.dtype, found.name) == (("voxel",), np.float64, "searchlight")
    np.testing.assert_array_equal(found.voxel, tiny.voxels)
    np.testing.assert_array_equal(found.sel(roi="FFA1").voxel, tiny.voxels[tiny.members("FFA1")])
    assert "trial" not in found.coords
    assert ds.laion.to_nifti(found).shape == tiny.grid
    xyz = nib.affines.apply_affine(tiny.affine, np.argwhere(tiny.mask))
    sizes = (np.linalg.norm(xyz[:, None] - xyz, axis=-1) <= RADIUS).sum(axis=1)
    np.testing.assert_array_equal(found.n_voxels, sizes)


def test_from_a_store_blocks_read_their_own(ds: xr.Dataset, tiny, tmp_path: Path, cubes: str) -> None:
    laion_xr.ingest(tiny.root, tmp_path / "store", subjects=3, progress=False)
    stored = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", store=tmp_path / "store")
    found = stored.laion.searchlight(statistic, RADIUS)
    assert (found.data.numblocks[0] > 1) == (cubes == "blocks")
    np.testing.assert_allclose(found, by_hand(tiny, tiny.matrix(), tiny.voxels), rtol=1e-5)


def test_of_a_selection_and_of_averages(ds: xr.Dataset, tiny, cubes: str) -> None:
    inside = tiny.members("laionventral")
    rows = (tiny.table().session == "ses-02").to_numpy()
    part = ds.sel(roi="laionventral", session="ses-02")
    expected = by_hand(tiny, tiny.matrix()[rows][:, inside], tiny.voxels[inside])
    np.testing.assert_allclose(part.laion.searchlight(statistic, RADIUS), expected, rtol=1e-5)
    mean = average_repeats(ds)
    expected = by_hand(tiny, mean.betas.values, tiny.voxels)
    np.testing.assert_allclose(mean.laion.searchlight(statistic, RADIUS), expected, rtol=1e-5)
    np.testing.assert_allclose((ds.betas * 2).laion.searchlight(np.nanmax, RADIUS).max(), 2 * np.nanmax(tiny.matrix()))


@pytest.mark.parametrize("as_what", ["ids", "mask", "array", "roi", "shuffled"])
def test_centres(ds: xr.Dataset, tiny, as_what: str, reads: Any) -> None:
    inside = tiny.members("PPA")
    centres = {
        "ids": lambda: tiny.voxels[inside],
        "shuffled": lambda: tiny.voxels[inside][::-1].tolist(),
        "mask": lambda: inside,
        "array": lambda: ds.laion.roi_masks("PPA")[0],
        "roi": lambda: "PPA",
    }[as_what]()
    found = ds.laion.searchlight(statistic, RADIUS, centres=centres)
    np.testing.assert_array_equal(found.voxel, tiny.voxels[inside])
    np.testing.assert_allclose(found, by_hand(tiny, tiny.matrix(), tiny.voxels)[inside], rtol=1e-5)
    assert max(len(r.voxels) for r in reads.betas) <= int(found.n_voxels.sum())


def test_voxels_in_another_order(ds: xr.Dataset, tiny, cubes: str) -> None:
    order = np.random.default_rng(0).permutation(151)
    found = ds.isel(voxel=order).laion.searchlight(statistic, RADIUS)
    expected = by_hand(tiny, tiny.matrix()[:, order], tiny.voxels[order])
    np.testing.assert_array_equal(found.voxel, tiny.voxels[order])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_min_voxels(ds: xr.Dataset, tiny) -> None:
    calls = []

    def size(betas: np.ndarray) -> int:
        calls.append(betas.shape[1])
        return betas.shape[1]

    found = ds.compute().laion.searchlight(size, RADIUS, min_voxels=8)
    assert min(calls) >= 8
    np.testing.assert_array_equal(np.isnan(found), found.n_voxels < 8)
    assert 0 < int(np.isnan(found).sum()) < 151


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("part", ["no voxels", "no centres"])
def test_nothing_there(ds: xr.Dataset, lazy: bool, part: str) -> None:
    some = ds.sel(roi="EBA") if part == "no voxels" else ds.isel(trial=[0])
    centres = [] if part == "no centres" else None
    found = (some if lazy else some.compute()).laion.searchlight(statistic, RADIUS, centres=centres)
    assert found.shape == (0,)
    assert found.compute().dtype == np.float64


@pytest.mark.parametrize("returned", [np.zeros(2), np.zeros((1, 1)), "text", None, 1j, [1.0]])
@pytest.mark.parametrize("lazy", [True, False])
def test_function_that_returns_no_number(ds: xr.Dataset, returned: Any, lazy: bool) -> None:
    some = ds.isel(trial=[0, 1]) if lazy else ds.isel(trial=[0, 1]).compute()
    with pytest.raises(SelectionError, match="function of a searchlight returns one real number for a sphere"):
        some.laion.searchlight(lambda _: returned, RADIUS).compute()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0}, "radius is a number of mm above 0"),
        ({"radius": -2}, "radius is a number of mm above 0"),
        ({"min_voxels": 0}, "min_voxels is a whole number of 1 or more"),
        ({"min_voxels": 1.5}, "min_voxels is a whole number of 1 or more"),
        ({"function": "mean"}, "function takes betas"),
        ({"centres": np.ones(3, bool)}, "Expected a mask of 151 centres"),
        ({"centres": [1.5]}, "centres are ids of voxels"),
    ],
)
def test_bad_arguments(ds: xr.Dataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        searchlight(ds, **({"function": statistic, "radius": RADIUS} | options))


def test_centres_that_are_not_here(ds: xr.Dataset, tiny) -> None:
    outside = int(np.flatnonzero(~tiny.mask.ravel())[0])
    with pytest.raises(UnknownLabelError, match=f"1 of 2 are not, such as {outside}"):
        ds.laion.searchlight(statistic, RADIUS, centres=[outside, int(tiny.voxels[0])])
    with pytest.raises(UnknownLabelError, match="'FFA9' does not exist here"):
        ds.laion.searchlight(statistic, RADIUS, centres="FFA9")


def test_other_dims(ds: xr.Dataset) -> None:
    with pytest.raises(SelectionError, match=r"searchlight needs betas with the dims 'trial' \(or 'stimulus'\)"):
        ds.betas.isel(voxel=0).laion.searchlight(statistic, RADIUS)
    with pytest.raises(SelectionError, match="searchlight needs each voxel once"):
        ds.isel(voxel=[0, 1, 0]).laion.searchlight(statistic, RADIUS)
    plain = xr.DataArray(np.ones((4, 2)), dims=("trial", "voxel"), coords={"voxel": [3, 4]})
    with pytest.raises(SelectionError, match="The grid is not known"):
        searchlight(plain, statistic, RADIUS)


def test_says_when_too_much_is_kept(ds: xr.Dataset) -> None:
    laion_xr.set_decode_budget(100)
    try:
        with pytest.warns(ReadCostWarning, match="keeps .* GB of betas at once, as their files can only be read whole"):
            ds.laion.searchlight(statistic, RADIUS)
    finally:
        laion_xr.set_decode_budget(None)
