"""Ordinary xarray operations on an opened subject, each compared with NumPy on the eagerly loaded matrix.

One test an operation, with `chunks=None` and `chunks={}`. What xarray refuses is asserted as known.
"""

from __future__ import annotations

import copy
import io
import pickle
import runpy
import sys
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from laion_xr.lazy.array import plan_of

Matrix = np.ndarray
LABELS = {
    "trial": ("session", "run", "stimulus", "repetition", "unique_or_shared"),
    "voxel": ("roi", "noise_ceiling"),
}


@pytest.fixture(params=[None, {}], ids=["chunks=None", "chunks={}"])
def ds(tiny, request: pytest.FixtureRequest) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", chunks=request.param)


@pytest.fixture
def betas(ds: xr.Dataset) -> xr.DataArray:
    return ds.betas


@pytest.fixture(scope="module")
def whole(tiny) -> Matrix:
    return tiny.matrix()


@pytest.fixture(scope="module")
def trials(tiny) -> pd.DataFrame:
    table = tiny.table().rename(columns={"label": "stimulus"})
    return table.assign(repetition=table.groupby("stimulus").cumcount())


@pytest.fixture(scope="module")
def ceiling(tiny) -> np.ndarray:
    return tiny.in_mask(tiny.subject_maps["sub-03", "noise_ceiling_12rep"])


def same(found: xr.DataArray, expected: Matrix) -> None:
    np.testing.assert_array_equal(found.transpose("trial", "voxel", ...).values, expected)


def close(found: xr.DataArray, expected: Matrix) -> None:
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)


# what is there


def test_whole_matrix(betas: xr.DataArray, whole: Matrix) -> None:
    same(betas, whole)


def test_betas_are_dask_one_block_a_session_and_coordinates_are_in_memory(ds: xr.Dataset) -> None:
    assert isinstance(ds.betas.data, da.Array)
    assert type(ds.betas.data) is da.Array  # a subclass would not mix with other Dask arrays
    assert ds.betas.chunks == ((14, 17, 15), (ds.sizes["voxel"],))
    assert [name for name, c in ds.coords.items() if c.chunks] == []


def test_array_knows_what_it_reads(ds: xr.Dataset) -> None:
    for name in ds.data_vars:
        assert plan_of(ds[name].data) is not None, name


# selecting by label


def test_sel_session(betas: xr.DataArray, whole: Matrix, trials: pd.DataFrame) -> None:
    same(betas.sel(session="ses-02"), whole[trials.session == "ses-02"])


@pytest.mark.parametrize("kind", [list, np.array, pd.Index, lambda x: xr.DataArray(x, dims="s")])
def test_sel_session_list(betas: xr.DataArray, whole: Matrix, trials: pd.DataFrame, kind) -> None:
    wanted = ["ses-03", "ses-01"]
    found = betas.sel(session=kind(wanted))
    same(found, whole[trials.session.isin(wanted)])  # a union, in the order of the trials
    assert found.session.values.tolist() == trials.session[trials.session.isin(wanted)].tolist()


def test_sel_run_stimulus_repetition(ds: xr.Dataset, whole: Matrix, trials: pd.DataFrame) -> None:
    name = trials.stimulus.mode()[0]
    same(ds.sel(run=2).betas, whole[trials.run == 2])
    same(ds.sel(stimulus=name).betas, whole[trials.stimulus == name])
    same(ds.sel(repetition=0).betas, whole[trials.repetition == 0])
    same(ds.sel(repetition=slice(1, None)).betas, whole[trials.repetition >= 1])
    shared = trials.stimulus.str.startswith("shared")
    same(ds.sel(unique_or_shared="shared").betas, whole[shared])


def test_sel_two_labels_of_one_dimension(ds: xr.Dataset, tiny, whole: Matrix, trials, ceiling: np.ndarray) -> None:
    found = ds.sel(session="ses-01", run=[1, 3], roi="FFA1", noise_ceiling=slice(30, None))
    rows = (trials.session == "ses-01") & trials.run.isin([1, 3])
    columns = tiny.members("FFA1") & (ceiling >= 30)
    assert 0 < columns.sum() < len(columns)
    same(found.betas, whole[rows][:, columns])


@pytest.mark.parametrize(
    ("query", "rois"),
    [
        ("FFA1", ["FFA1"]),
        ("face", ["FFA1", "OFA"]),
        ("all", ["FFA1", "OFA", "laionventral", "PPA", "V1d", "V1v"]),
        ("visual", ["FFA1", "OFA", "laionventral", "PPA", "V1d", "V1v"]),
        ("V1", ["V1d", "V1v"]),
        (["PPA", "face"], ["PPA", "FFA1", "OFA"]),
        ("V1v | V1d", ["V1d", "V1v"]),
    ],
)
def test_sel_roi(ds: xr.Dataset, tiny, whole: Matrix, query: Any, rois: list[str]) -> None:
    for found in (ds.sel(roi=query).betas, ds.betas.sel(roi=query), ds.betas.loc[{"roi": query}]):
        same(found, whole[:, tiny.members(*rois)])


def test_sel_roi_algebra(betas: xr.DataArray, tiny, whole: Matrix) -> None:
    ventral, v1, face = tiny.members("laionventral"), tiny.members("V1d", "V1v"), tiny.members("FFA1", "OFA")
    same(betas.sel(roi="laionventral - retinotopy"), whole[:, ventral & ~v1])
    same(betas.sel(roi="face & laionventral"), whole[:, face & ventral])
    same(betas.sel(roi="(face | V1) - laionventral"), whole[:, (face | v1) & ~ventral])


@pytest.mark.parametrize("query", [{"roi": "EBA"}, {"roi": "body"}, {"roi": []}, {"roi": "FFA1 & EBA"}])
def test_empty_roi_gives_no_voxels(ds: xr.Dataset, query: dict[str, Any]) -> None:
    found = ds.sel(query)
    assert found.sizes["voxel"] == 0
    assert found.betas.compute().shape == (ds.sizes["trial"], 0)
    assert found.compute().r2_session.shape == (3, 0)


def test_labels_that_do_not_meet_give_nothing(ds: xr.Dataset, trials: pd.DataFrame) -> None:
    only_first = trials.stimulus[trials.session == "ses-01"]
    name = next(n for n in only_first if n not in set(trials.stimulus[trials.session == "ses-02"]))
    assert ds.sel(session="ses-02", stimulus=name).sizes["trial"] == 0
    assert ds.sel(session="ses-02").sel(stimulus=name).sizes["trial"] == 0
    assert ds.sel(session="ses-02").sel(session="ses-01").betas.compute().shape[0] == 0
    last = int(trials.repetition.max())
    assert ds.sel(session="ses-01", repetition=last).sizes["trial"] == 0
    assert ds.sel(session="ses-01").sel(repetition=last).sizes["trial"] == 0
    assert ds.sel(roi="FFA1").sel(roi="EBA").sizes["voxel"] == 0


def test_sel_ceiling(ds: xr.Dataset, whole: Matrix, ceiling: np.ndarray) -> None:
    same(ds.sel(noise_ceiling=slice(20, 60)).betas, whole[:, (ceiling >= 20) & (ceiling <= 60)])
    at = float(np.nanmax(ceiling))  # inclusive at both ends
    assert ds.sel(noise_ceiling=slice(at, at)).sizes["voxel"] == 1
    assert ds.sel(noise_ceiling=slice(101, None)).sizes["voxel"] == 0


def test_sel_chain(ds: xr.Dataset, tiny, whole: Matrix, trials: pd.DataFrame, ceiling: np.ndarray) -> None:
    found = ds.sel(roi="laionventral").sel(noise_ceiling=slice(10, None)).sel(session="ses-02").sel(run=1)
    rows = (trials.session == "ses-02") & (trials.run == 1)
    same(found.betas, whole[rows][:, tiny.members("laionventral") & (ceiling >= 10)])


def test_sel_maps_come_along(ds: xr.Dataset, tiny) -> None:
    found = ds.sel(roi="FFA1")
    inside = tiny.members("FFA1")
    np.testing.assert_array_equal(found.r2_mean, tiny.in_mask(tiny.subject_maps["sub-03", "r2_mean"])[inside])
    np.testing.assert_array_equal(
        found.r2_session.sel(ses="ses-02"), tiny.in_mask(tiny.session_maps["sub-03", "ses-02", "r2_session"])[inside]
    )


def test_sel_trial_and_voxel(ds: xr.Dataset, tiny, whole: Matrix) -> None:
    found = ds.sel(trial=20, voxel=tiny.voxels[7])
    assert found.betas.shape == ()
    assert found.betas.compute().item() == whole[20, 7]
    same(ds.sel(trial=slice(3, 5), voxel=tiny.voxels[[9, 2]]).betas, whole[3:6][:, [9, 2]])


def test_sel_mask(ds: xr.Dataset, whole: Matrix, trials: pd.DataFrame, ceiling: np.ndarray) -> None:
    rows, columns = (trials.session == "ses-02").to_numpy(), ceiling > 20
    same(ds.sel(voxel=ds.noise_ceiling > 20, trial=ds.session == "ses-02").betas, whole[rows][:, columns])
    same(ds.sel(roi=ds.noise_ceiling > 20).betas, whole[:, columns])  # a label takes a mask too


# selecting by position


def test_isel_mask(ds: xr.Dataset, whole: Matrix, ceiling: np.ndarray) -> None:
    same(ds.isel(voxel=ds.noise_ceiling > 20).betas, whole[:, ceiling > 20])


@pytest.mark.parametrize(
    "key",
    [
        (slice(None), slice(None)),
        (slice(None, None, -1), slice(0, 50)),
        (slice(5, 40, 3), slice(None, None, 2)),
        (slice(40, 5, -4), [5, 1]),
        ([2, 0, 2], [5, 1]),
        ([2, 20, 45, 3, 20], slice(None)),
        ([-1, 0, -46], [-1, 0]),
        (np.arange(46)[::-1], np.array([7, 7, 3])),
        (slice(14, 31), slice(None)),
        (slice(13, 32), slice(None)),
    ],
    ids=str,
)
def test_isel_outer(ds: xr.Dataset, whole: Matrix, key: tuple[Any, Any]) -> None:
    found = ds.isel(trial=key[0], voxel=key[1])
    same(found.betas, whole[key[0]][:, key[1]])
    same(ds.betas[key], whole[key[0]][:, key[1]])
    # labels go with their rows and columns
    np.testing.assert_array_equal(found.stimulus, ds.stimulus.values[key[0]])
    np.testing.assert_array_equal(found.roi, ds.roi.values[key[1]])


@pytest.mark.parametrize("key", [(3, 4), (-1, slice(None)), (slice(None), 4), (0, [4, 2]), ([30, 2], -1)], ids=str)
def test_isel_scalar(ds: xr.Dataset, whole: Matrix, key: tuple[Any, Any]) -> None:
    found = ds.isel(trial=key[0], voxel=key[1])
    np.testing.assert_array_equal(found.betas, whole[key])
    assert found.betas.dims == tuple(d for d, k in zip(("trial", "voxel"), key, strict=True) if not isinstance(k, int))


def test_isel_again_and_again(betas: xr.DataArray, whole: Matrix) -> None:
    found = betas.isel(trial=[30, 2, 44, 7]).isel(voxel=slice(3, 60, 2)).isel(trial=[3, 1]).isel(voxel=[5, 0])
    same(found, whole[[30, 2, 44, 7]][:, 3:60:2][[3, 1]][:, [5, 0]])
    np.testing.assert_array_equal(betas.isel(trial=[30, 2]).isel(trial=1).isel(voxel=0), whole[2, 0])


def test_isel_pointwise(ds: xr.Dataset, whole: Matrix) -> None:
    found = ds.isel(trial=xr.DataArray([1, 40, 2], dims="p"), voxel=xr.DataArray([3, 4, 3], dims="p"))
    np.testing.assert_array_equal(found.betas, whole[[1, 40, 2], [3, 4, 3]])


def test_isel_empty(ds: xr.Dataset) -> None:
    assert ds.isel(voxel=[]).betas.compute().shape == (46, 0)
    assert ds.isel(trial=[]).betas.compute().shape == (0, ds.sizes["voxel"])
    assert ds.isel(trial=[], voxel=0).betas.compute().shape == (0,)
    assert ds.isel(trial=[], voxel=0).betas.dtype == np.float32


def test_isel_permutation(betas: xr.DataArray, whole: Matrix) -> None:
    order = np.random.default_rng(0).permutation(len(whole))
    same(betas.isel(trial=order, voxel=slice(0, 20)), whole[order][:, :20])


def test_isel_out_of_bounds_is_an_index_error(betas: xr.DataArray) -> None:
    for key in ({"trial": 46}, {"voxel": [0, 10_000]}, {"trial": [-47]}):
        with pytest.raises(IndexError, match="out of bounds"):
            betas.isel(key)


def test_head_tail_thin_shift_roll_pad_rolling(ds: xr.Dataset, betas: xr.DataArray, whole: Matrix) -> None:
    same(ds.head(trial=5).betas, whole[:5])
    same(ds.tail(trial=5).betas, whole[-5:])
    same(ds.thin(trial=2).betas, whole[::2])
    same(betas.shift(trial=1).isel(trial=slice(1, None)), whole[:-1])
    rolled = ds.roll(trial=1, roll_coords=True)
    same(rolled.betas, np.roll(whole, 1, axis=0))
    assert rolled.sel(session="ses-01").sizes["trial"] == 14
    assert betas.pad(trial=1).sizes["trial"] == 48
    close(betas.rolling(trial=3).mean().isel(trial=2), whole[:3].mean(0))


# conditions


def test_where_drop(ds: xr.Dataset, whole: Matrix, ceiling: np.ndarray, trials: pd.DataFrame) -> None:
    same(ds.betas.where(ds.noise_ceiling > 20, drop=True), whole[:, ceiling > 20])
    same(ds[["betas"]].where(ds.session == "ses-02", drop=True).betas, whole[trials.session == "ses-02"])


def test_where(ds: xr.Dataset, whole: Matrix, ceiling: np.ndarray) -> None:
    same(xr.where(ds.noise_ceiling > 20, ds.betas, 0.0), np.where(ceiling > 20, whole, 0))
    same(ds.betas.where(ds.noise_ceiling > 20), np.where(ceiling > 20, whole, np.nan))


# grouping and reducing


def test_groupby_session_and_stimulus(ds: xr.Dataset, whole: Matrix, trials: pd.DataFrame) -> None:
    few = ds.isel(voxel=slice(0, 50))
    for label in ("session", "stimulus", "run"):
        found = few[["betas"]].groupby(label).mean().betas
        expected = pd.DataFrame(whole[:, :50]).groupby(trials[label]).mean()
        assert found[label].values.tolist() == expected.index.tolist()
        close(found, expected.to_numpy())


def test_groupby_two(ds: xr.Dataset, whole: Matrix, trials: pd.DataFrame) -> None:
    found = ds.betas.isel(voxel=slice(0, 50)).groupby(["session", "run"]).mean().sel(session="ses-02", run=3)
    close(found, np.nanmean(whole[(trials.session == "ses-02") & (trials.run == 3), :50], axis=0))


def test_groupby_arithmetic_and_map(ds: xr.Dataset, whole: Matrix, trials: pd.DataFrame) -> None:
    few = ds.betas.isel(voxel=slice(0, 50))
    groups = few.groupby("session")
    frame = pd.DataFrame(whole[:, :50])
    centred = frame - frame.groupby(trials.session).transform("mean")
    close(groups - groups.mean(), centred)
    zscored = groups.map(lambda x: (x - x.mean("trial")) / x.std("trial"))
    close(zscored, centred / frame.groupby(trials.session).transform("std", ddof=0))


def test_reductions(ds: xr.Dataset, betas: xr.DataArray, whole: Matrix, ceiling: np.ndarray) -> None:
    close(betas.mean("trial"), np.nanmean(whole, axis=0))
    close(betas.std("trial"), np.nanstd(whole, axis=0))
    np.testing.assert_array_equal(betas.argmax("voxel"), np.nanargmax(whole, axis=1))
    np.testing.assert_array_equal(ds.noise_ceiling.idxmax("voxel"), ds.voxel.values[np.nanargmax(ceiling)])
    close(betas.compute().quantile(0.5, "trial"), np.nanquantile(whole, 0.5, axis=0))
    weights = np.nan_to_num(ceiling)
    expected = np.nansum(whole * weights, axis=1) / (~np.isnan(whole) * weights).sum(1)
    close(betas.weighted(ds.noise_ceiling.fillna(0)).mean("voxel"), expected)


def test_corr_dot_polyfit(betas: xr.DataArray, whole: Matrix) -> None:
    filled, values = betas.fillna(0), np.nan_to_num(whole)
    close(xr.dot(filled, filled, dim="voxel"), (values**2).sum(1))
    close(xr.corr(filled, filled.isel(trial=0), dim="voxel"), [np.corrcoef(v, values[0])[0, 1] for v in values])
    slope = np.polyfit(np.arange(46), values[:, :5], 1)[0]
    close(filled[:, :5].polyfit("trial", 1).polyfit_coefficients.sel(degree=1), slope)


def test_arithmetic(betas: xr.DataArray, whole: Matrix) -> None:
    close(betas - betas.mean("trial"), whole - np.nanmean(whole, axis=0))
    assert (betas * 2).dtype == np.float32


# aligning and combining


def test_subsets_align(betas: xr.DataArray, whole: Matrix) -> None:
    same(betas[:, :30] * betas[:, 10:60], whole[:, 10:30] ** 2)
    same(betas[:30] * betas[10:40], whole[10:30] ** 2)


def test_outer_join_and_reindex_like(ds: xr.Dataset, betas: xr.DataArray, whole: Matrix) -> None:
    a, b = xr.align(betas[:, :30], betas[:, 10:60], join="outer")
    same(a.isel(voxel=slice(0, 30)), whole[:, :30])
    assert np.isnan(a.isel(voxel=slice(30, 60))).all()
    np.testing.assert_array_equal(b.roi, ds.roi[:60])  # labels from whichever side has them
    same(betas.reindex_like(betas[:, 5:25]), whole[:, 5:25])


def test_assign_bare_and_derived_arrays(ds: xr.Dataset) -> None:
    n = ds.sizes["voxel"]
    ds["whole"] = xr.DataArray(np.arange(n), coords={"voxel": ds.voxel.values}, dims="voxel")
    ds["part"] = xr.DataArray(np.ones(20), coords={"voxel": ds.voxel.values[:20]}, dims="voxel")
    ds["derived"] = ds.noise_ceiling[5:25] + 1
    assert ds.sizes["voxel"] == n
    assert ds.whole.values.tolist() == list(range(n))
    assert np.flatnonzero(ds.part.notnull()).tolist() == list(range(20))
    assert np.flatnonzero(ds.derived.notnull()).tolist() == [i for i in range(5, 25) if ds.noise_ceiling[i] >= 0]
    assert "roi" in ds.xindexes


def test_bare_arithmetic(ds: xr.Dataset, whole: Matrix) -> None:
    weights = np.arange(float(ds.sizes["voxel"]))
    same(ds.betas * xr.DataArray(weights, coords={"voxel": ds.voxel}, dims="voxel"), whole * weights)
    # a bare array over some voxels: the documented way
    part = xr.DataArray(weights[:20], coords={"voxel": ds.voxel.values[:20]}, dims="voxel")
    same(ds.sel(voxel=part.voxel.values).betas * part, whole[:, :20] * weights[:20])


def test_concat(betas: xr.DataArray, whole: Matrix, trials: pd.DataFrame) -> None:
    joined = xr.concat([betas[10:40], betas[:10]], dim="trial")
    same(joined, np.concatenate([whole[10:40], whole[:10]]))
    order = np.r_[10:40, 0:10]
    rows = order[(trials.session == "ses-01").to_numpy()[order]]
    same(joined.sel(session="ses-01"), whole[rows])
    columns = xr.concat([betas[:, :10], betas[:, 20:40]], dim="voxel")
    same(columns, whole[:, np.r_[0:10, 20:40]])
    assert (columns.sel(roi="all").roi != "").all()
    subjects = xr.concat([betas.mean("trial"), betas.mean("trial")], dim=pd.Index(["a", "b"], name="subject"))
    assert subjects.dims == ("subject", "voxel")


# the default that changes is xarray's, and has nothing to do with what is combined here
@pytest.mark.filterwarnings("ignore:In a future version of xarray:FutureWarning")
def test_combine_and_merge(ds: xr.Dataset, whole: Matrix) -> None:
    pieces = [ds.isel(trial=slice(0, 10)), ds.isel(trial=slice(10, 20))]
    same(xr.combine_by_coords(pieces[::-1]).betas, whole[:20])
    same(xr.combine_nested(pieces, "trial").betas, whole[:20])
    merged = xr.merge([ds[["betas"]], (ds.betas * 2).rename("twice")])
    same(merged.twice, whole * 2)


def test_sortby(ds: xr.Dataset, whole: Matrix, trials: pd.DataFrame, ceiling: np.ndarray) -> None:
    same(ds.sortby("noise_ceiling").betas, whole[:, np.argsort(ceiling, kind="stable")])
    same(ds.sortby("voxel", ascending=False).betas, whole[:, ::-1])
    found = ds.sortby("stimulus")
    assert found.stimulus.values.tolist() == sorted(trials.stimulus)
    same(found.betas, whole[found.trial.values])


def test_stack_and_tables(ds: xr.Dataset, whole: Matrix, trials: pd.DataFrame) -> None:
    np.testing.assert_array_equal(ds[["betas"]].stack(sample=("trial", "voxel")).betas, whole.ravel())
    few = ds.betas[:5, :5]
    np.testing.assert_array_equal(few.to_dataframe()["betas"], whole[:5, :5].ravel())
    # xarray leaves coordinates with an index out of a table
    assert not {"stimulus", "roi"} & set(few.to_dataframe())
    frame = few.drop_indexes([n for n in few.xindexes if n not in few.dims]).to_dataframe()
    assert frame["stimulus"].tolist() == trials.stimulus[:5].repeat(5).tolist()
    np.testing.assert_array_equal(ds.betas[:5, :5].to_pandas(), whole[:5, :5])
    assert ds.session.to_series().tolist() == trials.session.tolist()
    assert ds.noise_ceiling.to_series().index.tolist() == ds.voxel.values.tolist()


# blockwise


def test_map_blocks(ds: xr.Dataset, betas: xr.DataArray, whole: Matrix) -> None:
    same(betas.map_blocks(lambda x: x * 2), whole * 2)
    same(betas.map_blocks(lambda x: x * 2, template=betas), whole * 2)
    same(ds[["betas"]].map_blocks(lambda x: x * 2).betas, whole * 2)


def test_apply_ufunc(betas: xr.DataArray, whole: Matrix) -> None:
    found = xr.apply_ufunc(
        lambda x: np.nanmean(x, -1), betas, input_core_dims=[["voxel"]], dask="parallelized", output_dtypes=["f4"]
    )
    close(found, np.nanmean(whole, axis=1))


def test_chunk(betas: xr.DataArray, whole: Matrix) -> None:
    with pytest.warns(UserWarning, match="split the reads"):
        found = betas.chunk({"trial": 7, "voxel": 100})
    same(found, whole)
    same(betas.chunk(-1), whole)


def test_text_stays_in_memory_when_chunked(ds: xr.Dataset, tmp_path: Path, whole: Matrix) -> None:
    found = ds.chunk({"trial": 16, "voxel": -1})
    assert [name for name, c in found.coords.items() if c.chunks and c.dtype == object] == []
    assert [name for name in (*LABELS["trial"], *LABELS["voxel"]) if found[name].chunks] == []
    found.to_zarr(tmp_path / "x.zarr", consolidated=False)  # with no warning of text in Dask arrays
    same(xr.open_zarr(tmp_path / "x.zarr", consolidated=False).betas, whole)


def test_persist_and_load(ds: xr.Dataset, tiny, whole: Matrix) -> None:
    few = ds[["betas"]].sel(roi="all")
    inside = tiny.members("FFA1", "OFA", "laionventral", "PPA", "V1d", "V1v")
    same(few.persist().betas, whole[:, inside])
    loaded = few.load()
    assert isinstance(loaded.betas.data, np.ndarray)
    same(loaded.sel(roi="FFA1").betas, whole[:, tiny.members("FFA1")])


# shape and names


def test_rename_swap_transpose_expand(ds: xr.Dataset, whole: Matrix) -> None:
    same(ds.rename(session="visit").sel(visit="ses-01").betas, whole[:14])
    renamed = ds.rename(trial="sample")
    assert renamed.isel(sample=slice(0, 3)).betas.dims == ("sample", "voxel")
    assert renamed.sel(session="ses-01").sizes["sample"] == 14
    assert ds.betas.rename("b").name == "b"
    assert ds.swap_dims(trial="stimulus").betas.dims == ("stimulus", "voxel")
    same(ds.transpose("voxel", "trial", ...).isel(voxel=slice(0, 3)).betas, whole[:, :3])
    assert ds.expand_dims(subject=["a"]).betas.dims == ("subject", "trial", "voxel")
    assert xr.broadcast(ds.betas, ds.noise_ceiling)[1].dims == ("trial", "voxel")
    same(ds.betas.T.sel(roi="all").T, ds.betas.sel(roi="all").values)


def test_assign_and_drop_coordinates(ds: xr.Dataset) -> None:
    found = ds.assign_coords(fold=("trial", np.arange(46) % 5), hemi=("voxel", np.full(ds.sizes["voxel"], "L")))
    assert found.sel(session="ses-01").fold.sizes == {"trial": 14}
    assert "beta_index" not in ds.drop_vars(["beta_index", "x"]).coords
    assert set(ds.reset_coords(drop=True).coords) <= {*ds.xindexes}
    assert set(ds.drop_vars([c for c in ds.coords if c not in ds.dims]).coords) == {"trial", "voxel", "ses"}
    assert "beta_index" in ds.reset_coords("beta_index").data_vars
    assert "betas" not in ds.drop_dims("voxel")
    assert "betas" not in ds.drop_dims("trial")


def test_indexes(ds: xr.Dataset) -> None:
    assert ds.set_xindex("beta_index").sel(beta_index=3).sizes["trial"] == 3
    assert "session" not in ds.reset_index("session").xindexes
    assert ds.set_index(trial="beta_index").trial.values.tolist() == ds.beta_index.values.tolist()


def test_loc_assignment(ds: xr.Dataset, whole: Matrix) -> None:
    few = ds[["betas"]].isel(voxel=slice(0, 20)).compute()
    few["betas"].loc[{"session": "ses-02"}] = 0.0
    expected = whole[:, :20].copy()
    expected[14:31] = 0
    same(few.betas, expected)


# copies, processes, files


def test_pickle_and_copies(ds: xr.Dataset) -> None:
    few = ds[["betas", "r2_session"]].sel(roi="all")
    xr.testing.assert_identical(pickle.loads(pickle.dumps(few)).compute(), few.compute())
    assert ds.identical(ds.copy(deep=True))
    assert ds.identical(copy.deepcopy(ds))
    assert pickle.loads(pickle.dumps(ds)).sel(session="ses-01", roi="face").sizes["trial"] == 14


def test_representations(ds: xr.Dataset) -> None:
    assert "LabelIndex" in repr(ds)
    assert "LabelIndex" in ds._repr_html_()
    assert "betas" in ds.betas._repr_html_()
    buffer = io.StringIO()
    ds.info(buffer)
    assert "float32 betas" in buffer.getvalue()


def test_netcdf(ds: xr.Dataset, tmp_path: Path, whole: Matrix) -> None:
    ds.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as back:
        same(back.betas, whole)
        same(back.laion.index_labels().sel(session="ses-02").betas, whole[14:31])


def test_zarr(ds: xr.Dataset, tmp_path: Path, whole: Matrix) -> None:
    # Zarr wants even chunks, and sessions are not
    with pytest.raises(ValueError, match="Zarr requires uniform chunk sizes"):
        ds.to_zarr(tmp_path / "x.zarr", consolidated=False)
    ds.to_zarr(tmp_path / "y.zarr", align_chunks=True, encoding={"betas": {"chunks": (16, 64)}}, consolidated=False)
    same(xr.open_zarr(tmp_path / "y.zarr", consolidated=False).betas, whole)
    ds["betas"] = (ds.betas.dims, ds.betas.data.rechunk({0: 16}))
    ds.to_zarr(tmp_path / "z.zarr", consolidated=False)
    same(xr.open_zarr(tmp_path / "z.zarr", consolidated=False).betas, whole)


def test_datatree(ds: xr.Dataset, tiny, whole: Matrix) -> None:
    tree = xr.DataTree.from_dict({"/a": ds[["betas"]], "/b": ds[["betas"]].isel(trial=slice(0, 20))})
    close(tree.map_over_datasets(lambda d: d.mean())["/b/betas"], np.nanmean(whole[:20]))
    same(tree["/a/betas"].sel(roi="FFA1", session="ses-01"), whole[:14][:, tiny.members("FFA1")])


def test_close_and_context_manager(tiny) -> None:
    with xr.open_dataset(tiny.root, engine="laion_fmri", subject=3) as ds:
        assert ds.sizes["trial"] == 46
    ds.close()
    assert ds.betas[0, 0].compute().shape == ()  # every read opens its own file


@pytest.mark.parametrize("options", [{"cache": False}, {"inline_array": True, "chunks": {}}, {"decode_cf": False}])
def test_options_of_xarray_change_nothing(tiny, whole: Matrix, options: dict[str, Any]) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject=3, **options)
    same(ds.betas, whole)
    assert plan_of(ds.betas.data) is not None


# what xarray refuses

REFUSED = {
    "drop one label": lambda ds: ds.drop_vars("roi"),
    "replace one label": lambda ds: ds.assign_coords(noise_ceiling=("voxel", np.zeros(ds.sizes["voxel"]))),
    "query": lambda ds: ds.query(voxel="noise_ceiling > 20"),
}


@pytest.mark.parametrize("operation", REFUSED.values(), ids=REFUSED)
def test_one_label_of_several_is_refused_with_the_way_out(ds: xr.Dataset, operation) -> None:
    with pytest.raises(
        ValueError, match=r"(?s)would corrupt.*ds\.drop_indexes\(.*ds\.laion\.index_labels\(\)"
    ) as caught:
        operation(ds)
    assert "roi" in str(caught.value)


def test_the_way_out(ds: xr.Dataset, whole: Matrix, ceiling: np.ndarray) -> None:
    plain = ds.drop_indexes([name for name in ds.xindexes if name not in ds.dims])
    same(plain.query(voxel="noise_ceiling > 20").betas, whole[:, ceiling > 20])
    assert "roi" not in plain.drop_vars("roi").coords
    replaced = plain.assign_coords(noise_ceiling=("voxel", np.where(ceiling > 50, 1.0, 0.0).astype("f4")))
    again = replaced.laion.index_labels()
    assert set(again.xindexes) == set(ds.xindexes)
    same(again.sel(noise_ceiling=1.0, roi="all").betas, ds.sel(noise_ceiling=slice(50, None), roi="all").betas.values)


KNOWN = {
    "reset_coords of a label": (lambda ds: ds.reset_coords("stimulus"), "cannot remove index coordinates"),
    "arithmetic with bare coordinates of another length": (
        lambda ds: ds.betas * xr.DataArray(np.zeros(20), coords={"voxel": ds.voxel.values[:20]}, dims="voxel"),
        "conflicting sizes for dimension 'voxel'",
    ),
    "reindex": (lambda ds: ds.reindex(voxel=ds.voxel.values[::2]), "conflicting sizes for dimension 'voxel'"),
    "a label and the ids of its dimension in one sel": (
        lambda ds: ds.sel(voxel=ds.voxel.values[:3], roi="FFA1"),
        "more than one index",
    ),
    "a label on a whole tree": (
        lambda ds: xr.DataTree.from_dict({"/a": ds}).sel(roi="FFA1"),
        "Dimensions {'roi'} do not exist",
    ),
}


@pytest.mark.parametrize(("operation", "message"), KNOWN.values(), ids=KNOWN)
def test_known_limit(ds: xr.Dataset, operation, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        operation(ds)


# the battery that the design was chosen by


def test_shared_battery(
    dataset_root: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = shared / "tools" / "xarray_battery.py"
    if not script.is_file():
        pytest.skip(f"there is no {script}")
    monkeypatch.setattr(sys, "argv", [str(script), str(dataset_root), "sub-03"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the battery's own business
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    assert "FAIL" not in printed
    assert printed.endswith("160 of 160 hold\n")
    assert stop.value.code == 0
