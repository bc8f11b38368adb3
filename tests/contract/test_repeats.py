"""Z-scores, means of repeats, ceilings, reliability: against plain NumPy; lazy and in memory, from files and store."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import scipy.stats
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import laion_xr
from laion_xr.analysis import average_repeats, drop_nonfinite, noise_ceiling, reliability, streaming, zscore
from laion_xr.errors import ConstantVoxelsWarning, SelectionError

Array = npt.NDArray[Any]
# float32 sums against float64
TOLERANCE: dict[str, Any] = {"rtol": 2e-5, "atol": 2e-6}


@pytest.fixture(scope="module")
def store(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("repeats") / "laion.zarr"
    laion_xr.ingest(tiny.root, store, progress=False)
    return store


@pytest.fixture(params=["files", "store", "numpy", "dask"])
def ds(request: pytest.FixtureRequest, tiny: Any, store: Path) -> xr.Dataset:
    """The same subject read from files, from the store, in memory, and as a Dask array that nothing is known of."""
    if request.param == "store":
        return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", store=store, source="store")
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    if request.param == "files":
        return ds
    betas = tiny.matrix()
    if request.param == "dask":
        betas = da.from_array(betas, chunks=(7, 40))
    return ds.assign(betas=(("trial", "voxel"), betas, ds.betas.attrs))


def plain_zscore(values: Array, groups: Array, ddof: int = 0) -> Array:
    out = np.full(values.shape, np.nan)
    for group in np.unique(groups):
        part = values[groups == group].astype(np.float64)
        out[groups == group] = (part - np.nanmean(part, axis=0)) / np.nanstd(part, axis=0, ddof=ddof)
    return out


def sessions(tiny: Any) -> Array:
    return tiny.table()["session"].to_numpy()


# z-scores


@pytest.mark.parametrize("ddof", [0, 1])
def test_zscore_by_session(tiny: Any, ds: xr.Dataset, ddof: int) -> None:
    found = ds.laion.zscore(ddof=ddof)
    assert found.betas.dtype == np.float32
    assert found.betas.attrs["units"] == "1"
    np.testing.assert_allclose(found.betas, plain_zscore(tiny.matrix(), sessions(tiny), ddof), **TOLERANCE)
    xr.testing.assert_identical(found.drop_vars("betas"), ds.drop_vars("betas"))


def test_zscore_by_run_is_by_the_runs_of_each_session(tiny: Any, ds: xr.Dataset) -> None:
    groups = (tiny.table()["session"] + "/" + tiny.table()["run"].astype(str)).to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantVoxelsWarning)  # runs of a few trials, some of them NaN
        found = zscore(ds.betas, by="run").values
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = plain_zscore(tiny.matrix(), groups)
    np.testing.assert_allclose(found, np.where(np.isfinite(expected), expected, np.nan), **TOLERANCE)


def test_zscore_over_groups_that_reach_over_sessions(tiny: Any, ds: xr.Dataset) -> None:
    kinds = np.where(tiny.table()["label"].str.startswith("shared"), "shared", "unique")
    found = zscore(ds, by="unique_or_shared").betas
    np.testing.assert_allclose(found, plain_zscore(tiny.matrix(), kinds), **TOLERANCE)


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_zscore_of_any_pick_is_over_the_trials_that_are_there(tiny: Any, store: Path, data: Any) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", store=store)
    before = data.draw(st.lists(st.integers(0, 45), min_size=1, max_size=60))
    voxels = data.draw(st.lists(st.integers(0, 150), min_size=1, max_size=20))
    after = data.draw(st.lists(st.integers(0, len(before) - 1), min_size=1, max_size=40))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a session of one trial has no variance
        expected = plain_zscore(tiny.matrix()[before], sessions(tiny)[before])[after][:, voxels]
        found = ds.isel(trial=before).laion.zscore().isel(trial=after, voxel=voxels).betas.values
    np.testing.assert_allclose(found, np.where(np.isfinite(expected), expected, np.nan), rtol=1e-4, atol=1e-5)


def test_a_selection_of_zscores_narrows_what_is_read(tiny: Any, reads: Any) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    reads.clear()
    z = ds.laion.zscore()
    assert reads.calls == []
    z.sel(session="ses-02", roi="laionventral").betas.compute()
    (read,) = reads.betas
    assert read.session == "ses-02"
    assert len(read.trials) == 17
    assert len(read.voxels) == tiny.members("laionventral").sum()


def test_zscores_pickle(tiny: Any, ds: xr.Dataset) -> None:
    again = pickle.loads(pickle.dumps(ds.laion.zscore()))
    np.testing.assert_allclose(again.betas, plain_zscore(tiny.matrix(), sessions(tiny)), **TOLERANCE)


def test_constant_and_missing_voxels_are_nan_with_one_warning() -> None:
    values = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32)
    values[:, 1] = 7.3
    values[:, 2] = np.nan
    values[3, 3] = np.nan
    values[:10, 4] = 0
    coords = {"session": ("trial", np.repeat(["ses-01", "ses-02"], 10))}
    betas = xr.DataArray(values, dims=("trial", "voxel"), coords=coords)
    with pytest.warns(ConstantVoxelsWarning, match="no z-score: they are NaN") as caught:
        found = zscore(betas.chunk(trial=5)).values
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zscore(betas[:, [0, 2, 3]]).values  # noqa: B018
    assert np.isnan(found[:, [1, 2]]).all()
    assert np.isnan(found[:10, 4]).all()
    assert np.isfinite(found[10:, 4]).all()
    assert np.isnan(found[:, 3]).sum() == 1
    np.testing.assert_allclose(found[:10, 0], scipy.stats.zscore(values[:10, 0].astype(float)), **TOLERANCE)


@pytest.mark.parametrize("offset", [1e3, -1e5])
def test_zscores_of_values_far_from_zero(offset: float) -> None:
    values = (np.random.default_rng(0).standard_normal((500, 40)) + offset).astype(np.float32)
    betas = xr.DataArray(values, dims=("trial", "voxel"), coords={"session": ("trial", ["a"] * 500)})
    expected = scipy.stats.zscore(values.astype(np.float64), axis=0)
    np.testing.assert_allclose(zscore(betas), expected, rtol=1e-4, atol=1e-4)


# means of repeats


def plain_means(values: Array, labels: Array, weights: Array | None = None) -> tuple[list[str], Array]:
    weights = np.ones(len(labels)) if weights is None else weights
    names = sorted(set(labels))
    out = np.full((len(names), values.shape[1]), np.nan)
    for n, name in enumerate(names):
        part, w = values[labels == name].astype(np.float64), weights[labels == name][:, None]
        there = np.where(np.isnan(part), 0, w).sum(axis=0)
        out[n] = np.where(there > 0, np.nansum(part * w, axis=0) / np.where(there > 0, there, 1), np.nan)
    return names, out


def test_average_of_repeats(tiny: Any, ds: xr.Dataset) -> None:
    found = ds.laion.average_repeats()
    names, expected = plain_means(tiny.matrix(), tiny.table()["label"].to_numpy())
    assert found.betas.dims == ("stimulus", "voxel")
    assert found.stimulus.values.tolist() == names
    np.testing.assert_allclose(found.betas, expected, **TOLERANCE)
    assert found.n_reps.values.tolist() == tiny.table()["label"].value_counts()[names].tolist()
    rows = tiny.metadata["image_name"].tolist()
    assert found.stimulus_index.values.tolist() == [rows.index(n) if n in rows else -1 for n in names]
    assert "trial" not in found.dims
    assert "session" not in found.coords
    assert found.sel(roi="laionventral", stimulus=names[:2]).betas.shape == (2, tiny.members("laionventral").sum())
    xr.testing.assert_identical(found.r2_mean, ds.r2_mean)


def test_an_array_gives_an_array(tiny: Any, ds: xr.Dataset) -> None:
    found = average_repeats(ds.betas)
    assert isinstance(found, xr.DataArray)
    assert found.name == "betas"
    np.testing.assert_array_equal(found, ds.laion.average_repeats().betas)
    assert found.sel(roi="laionventral").sizes["voxel"] == tiny.members("laionventral").sum()


def test_min_reps_and_weights(tiny: Any, ds: xr.Dataset) -> None:
    labels = tiny.table()["label"].to_numpy()
    weights = np.random.default_rng(0).random(46)
    found = ds.laion.average_repeats(min_reps=3, weights=weights)
    names, expected = plain_means(tiny.matrix(), labels, weights)
    kept = [n for n, name in enumerate(names) if (labels == name).sum() >= 3]
    assert found.stimulus.values.tolist() == [names[n] for n in kept]
    assert (found.n_reps >= 3).all()
    np.testing.assert_allclose(found.betas, expected[kept], **TOLERANCE)
    by_name = ds.laion.average_repeats(weights="response_time").betas
    times = tiny.table()["response_time"].to_numpy()
    np.testing.assert_allclose(by_name, plain_means(tiny.matrix(), labels, times)[1], rtol=1e-4, atol=1e-5)


def test_means_of_zscores_equal_groupby(ds: xr.Dataset) -> None:
    z = ds.laion.zscore()
    found = z.laion.average_repeats().betas
    np.testing.assert_allclose(found, z.betas.groupby("stimulus").mean(), **TOLERANCE)


def test_a_selection_of_means_reads_only_its_trials(tiny: Any, reads: Any) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    labels = tiny.table()["label"].to_numpy()
    name = labels[20]
    found = ds.laion.average_repeats().sel(stimulus=[name], roi="laionventral").betas
    reads.clear()
    found.compute()
    assert sum(len(r.trials) for r in reads.betas) == (labels == name).sum()
    assert {len(r.voxels) for r in reads.betas} == {int(tiny.members("laionventral").sum())}


@given(order=st.permutations(range(46)), rows=st.lists(st.integers(0, 3), min_size=1, max_size=6))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_means_do_not_depend_on_the_order_of_trials(tiny: Any, store: Path, order: list[int], rows: list[int]) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", store=store).isel(trial=order)
    found = ds.laion.average_repeats(min_reps=2).isel(stimulus=rows)
    names, expected = plain_means(tiny.matrix(), tiny.table()["label"].to_numpy())
    np.testing.assert_allclose(found.betas, expected[[names.index(n) for n in found.stimulus.values]], **TOLERANCE)


def test_embeddings_follow_their_stimuli(tiny: Any) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", embeddings=["CLIP"])
    found = ds.laion.average_repeats().embedding_CLIP
    for name, row in zip(found.stimulus.values, found.values, strict=True):
        np.testing.assert_array_equal(row, tiny.embeddings.get(name, np.full(8, np.nan, np.float16)))


def test_blocks_of_voxels_from_the_store(tiny: Any, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "LEAST_VOXELS", 40)
    monkeypatch.setattr(streaming, "KEPT_BYTES", 1)
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", store=store, source="store")
    found = ds.laion.average_repeats().betas
    assert found.data.numblocks == (1, 4)
    np.testing.assert_allclose(found, plain_means(tiny.matrix(), tiny.table()["label"].to_numpy())[1], **TOLERANCE)


# ceilings


def plain_ceiling(values: Array, labels: Array, ddof: int) -> Array:
    out = np.full(values.shape[1], np.nan)
    for v in range(values.shape[1]):
        variances, inverse = [], []
        for name in set(labels):
            x = values[labels == name, v]
            x = x[~np.isnan(x)]
            if len(x) > 1:
                variances.append(x.var(ddof=ddof))
                inverse.append(1 / len(x))
        if variances:
            noise = np.mean(variances)
            signal = max(0, 1 - noise)
            ncsnr = np.sqrt(signal / noise)
            out[v] = 100 * ncsnr**2 / (ncsnr**2 + np.mean(inverse))
    return out


@pytest.mark.parametrize(("images", "ddof"), [("12rep", 1), ("12rep", 0), ("4rep", 1), ("all", 1)])
def test_noise_ceiling_by_the_published_definition(tiny: Any, ds: xr.Dataset, images: str, ddof: int) -> None:
    labels = tiny.table()["label"].to_numpy()
    of_set = np.array([images == "all" or f"_{images}_" in name for name in labels])
    z = plain_zscore(tiny.matrix(), sessions(tiny))
    found = ds.laion.noise_ceiling(images, ddof=ddof)
    assert found.dims == ("voxel",)
    assert found.name == "noise_ceiling"
    assert found.attrs["units"] == "%"
    np.testing.assert_allclose(found, plain_ceiling(z[of_set], labels[of_set], ddof), rtol=1e-3, atol=1e-3)
    assert found.sel(roi="laionventral").sizes["voxel"] == tiny.members("laionventral").sum()


def test_noise_ceiling_of_named_images_and_of_zscores(tiny: Any, ds: xr.Dataset) -> None:
    labels = tiny.table()["label"]
    names = [n for n, count in labels.value_counts().items() if count > 1][:2]
    kept = labels.isin(names).to_numpy()
    z = plain_zscore(tiny.matrix(), sessions(tiny))
    expected = plain_ceiling(z[kept], labels.to_numpy()[kept], 1)
    np.testing.assert_allclose(noise_ceiling(ds, names), expected, rtol=1e-3, atol=1e-3)
    again = noise_ceiling(ds.laion.zscore(), names, zscore_by=None)
    np.testing.assert_allclose(again, expected, rtol=1e-3, atol=1e-3)


def mean_of_numbers(values: Array) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else np.nan


def test_odd_even_reliability(tiny: Any, ds: xr.Dataset) -> None:
    table = tiny.table()
    z = plain_zscore(tiny.matrix(), sessions(tiny))
    half = table.groupby("label").cumcount().to_numpy() % 2
    names = [n for n, count in table["label"].value_counts().items() if count > 1]
    expected = np.full(z.shape[1], np.nan)
    for v in range(z.shape[1]):
        means = [mean_of_numbers(z[(table["label"] == n) & (half == h), v]) for n in names for h in (0, 1)]
        one, other = np.array(means[::2]), np.array(means[1::2])
        both = np.isfinite(one) & np.isfinite(other)
        expected[v] = np.corrcoef(one[both], other[both])[0, 1]
    found = ds.laion.reliability()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    corrected = ds.laion.reliability(spearman_brown=True)
    np.testing.assert_allclose(corrected, 2 * expected / (1 + expected), rtol=1e-2, atol=1e-2)


def test_random_halves_depend_on_the_seed_only(ds: xr.Dataset) -> None:
    first = reliability(ds, method="split-half", seed=4).values
    np.testing.assert_array_equal(first, reliability(ds, method="split-half", seed=4).values)
    assert not np.array_equal(first, reliability(ds, method="split-half", seed=5).values)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.Dataset, Any]:
    root = tmp_path_factory.mktemp("simulated")
    truth = laion_xr.simulate(
        root,
        subjects=["sub-03"],
        sessions=6,
        grid=14,
        trials=300,
        n_shared_12=30,
        n_shared_4=60,
        stimuli=["metadata"],
        models=False,
        surfaces=False,
    )
    return xr.open_dataset(root, engine="laion_fmri", subject="sub-03"), truth[3]


@pytest.mark.parametrize("images", ["12rep", "4rep", "all"])
def test_ceilings_recover_the_truth(simulated: tuple[xr.Dataset, Any], images: str) -> None:
    ds, truth = simulated
    labels = ds["stimulus"].to_series()
    counts = labels[labels.str.contains("" if images == "all" else f"_{images}_")].value_counts()
    expected = truth.ceiling(counts[counts > 1].to_numpy())
    found = ds.laion.noise_ceiling(images).values
    there = np.isfinite(found)
    assert there.mean() > 0.95
    assert np.corrcoef(found[there], expected[there])[0, 1] > 0.9
    # a noise variance above 1 counts as no signal, never as less than none: hence a little above the truth
    assert -1 < np.mean((found - expected)[there]) < 7
    biased = ds.laion.noise_ceiling(images, ddof=0).values
    assert np.mean((biased - expected)[there]) > 20


def test_reliability_recovers_the_truth(simulated: tuple[xr.Dataset, Any]) -> None:
    ds, truth = simulated
    counts = ds["stimulus"].to_series().value_counts()
    images = counts.index[counts >= 4]  # more of them: r is of as many points
    found = ds.laion.reliability(images, spearman_brown=True).values
    # the squared correlation of a perfect model with the mean of n repeats is what the ceiling says
    expected = truth.ceiling(counts[images].to_numpy()) / 100
    there = np.isfinite(found)
    assert np.corrcoef(found[there], expected[there])[0, 1] > 0.9
    assert abs(np.mean((found - expected)[there])) < 0.07


# voxels without numbers


@pytest.mark.parametrize("how", ["any", "all"])
def test_drop_nonfinite(tiny: Any, ds: xr.Dataset, how: str) -> None:
    finite = np.isfinite(tiny.matrix())
    kept = finite.all(axis=0) if how == "any" else finite.any(axis=0)
    found = drop_nonfinite(ds, how)
    assert found.voxel.values.tolist() == tiny.voxels[kept].tolist()
    assert found.betas.shape == (46, kept.sum())


# bad input


def once(ds: xr.Dataset) -> xr.Dataset:
    """The first trial of each image."""
    return ds.isel(trial=np.flatnonzero(~ds["stimulus"].to_series().duplicated()))


def test_one_repeat_is_its_own_mean(ds: xr.Dataset) -> None:
    found = average_repeats(once(ds))
    assert (found.n_reps == 1).all()
    np.testing.assert_array_equal(found.betas, once(ds).isel(trial=np.argsort(once(ds)["stimulus"].values)).betas)


@pytest.mark.parametrize("function", [zscore, average_repeats, noise_ceiling, reliability, drop_nonfinite])
def test_what_lacks_a_dim_says_which(ds: xr.Dataset, function: Any) -> None:
    with pytest.raises(SelectionError, match="needs the dims 'trial' and 'voxel', found"):
        function(ds.isel(voxel=0).betas)
    with pytest.raises(SelectionError, match="needs the variable betas"):
        function(ds[["r2_mean"]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: zscore(ds, by="sesion"), "needs the coordinate 'sesion' on 'trial'"),
        (lambda ds: zscore(ds, by=[]), "at least one coordinate"),
        (lambda ds: average_repeats(ds, min_reps=99), "No stimulus has 99 trials here: expected min_reps up to"),
        (lambda ds: average_repeats(ds, weights=[1.0]), r"expected the shape \(46,\), found \(1,\)"),
        (lambda ds: average_repeats(ds, weights=-np.ones(46)), "0 or more"),
        (lambda ds: noise_ceiling(ds, "8rep"), "images is one of 12rep, 4rep, all"),
        (lambda ds: noise_ceiling(ds, ["nothing.jpg"]), "1 of 1 images have no trial here, 'nothing.jpg'"),
        (lambda ds: noise_ceiling(ds, ddof=2), "ddof is 1"),
        (lambda ds: noise_ceiling(ds.isel(trial=[0])), "needs repeated images"),
        (lambda ds: reliability(once(ds)), "reliability needs repeated images: none of all has two trials here"),
        (lambda ds: noise_ceiling(once(ds), "all"), "noise_ceiling needs repeated images: none of all has two"),
        (lambda ds: average_repeats(once(ds), min_reps=2), "No stimulus has 2 trials here: expected min_reps up to 1"),
        (lambda ds: reliability(ds, method="thirds"), "method is one of odd-even, split-half"),
        (lambda ds: drop_nonfinite(ds, "some"), "how is 'any' or 'all'"),
    ],
)
def test_arguments_that_cannot_be(ds: xr.Dataset, call: Any, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        call(ds)


def test_no_voxels(ds: xr.Dataset) -> None:
    empty = ds.isel(voxel=[])
    assert empty.laion.zscore().betas.values.shape == (46, 0)
    assert empty.laion.average_repeats().betas.values.shape[1] == 0
    assert empty.laion.noise_ceiling().values.shape == (0,)


def test_repeats_count_where_they_are() -> None:
    """An image whose second trial is NaN in a voxel is no repeated image there."""
    values = np.array([[1, 1], [3, np.nan], [0, 2], [0, 4]], np.float32)
    labels = pd.Series(["a", "a", "b", "b"])
    coords = {"stimulus": ("trial", labels), "session": ("trial", ["ses-01"] * 4)}
    betas = xr.DataArray(values, dims=("trial", "voxel"), coords=coords)
    found = noise_ceiling(betas, "all", zscore_by=None).values
    np.testing.assert_allclose(found, plain_ceiling(values, labels.to_numpy(), 1))


def test_weights_after_trials_that_count_once() -> None:
    """What is missing is counted in half the memory until a weight is not 1, or the number is too large."""
    values = np.array([[np.nan], [1], [np.nan], [4]], np.float32)
    coords = {"stimulus": ("trial", ["a"] * 4)}
    betas = xr.DataArray(values, dims=("trial", "voxel"), coords=coords)
    weights = np.array([1, 1, 0.5, 3])
    np.testing.assert_allclose(average_repeats(betas, weights=weights), [[(1 + 12) / 4]])
    many = xr.DataArray(np.full((70_000, 1), np.nan, np.float32), dims=("trial", "voxel"))
    many[5] = 2
    many = many.assign_coords(stimulus=("trial", ["a"] * 70_000))
    np.testing.assert_allclose(average_repeats(many), [[2]])
