"""Dissimilarity matrices and their comparison against SciPy."""

from __future__ import annotations

import dask
import numpy as np
import numpy.typing as npt
import pytest
import scipy.spatial.distance
import scipy.stats
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from laion_xr.analysis.rsa import METRICS, mean_ranks, rdm, rsa
from laion_xr.errors import SelectionError, UnknownLabelError

N, N_VOXELS = 14, 23


def betas(seed: int = 0, dtype: str = "float64") -> xr.DataArray:
    values = np.random.default_rng(seed).standard_normal((N, N_VOXELS)) + 1.5
    names = [f"shared_{i}.jpg" for i in range(N)]
    return xr.DataArray(values.astype(dtype), dims=("stimulus", "voxel"), coords={"stimulus": names})


def expected(values: npt.NDArray[np.floating], metric: str) -> npt.NDArray[np.float64]:
    pairs = scipy.spatial.distance.pdist(values.astype(np.float64), metric)
    return np.asarray(scipy.spatial.distance.squareform(pairs))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rdm_equals_scipy(metric: str, dtype: str) -> None:
    ds = betas(dtype=dtype)
    found = rdm(ds, metric)
    np.testing.assert_allclose(found, expected(ds.values, metric), atol=1e-10)
    assert found.dims == ("stimulus", "stimulus_2")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found["stimulus_2"], ds["stimulus"])
    assert found.sel(stimulus="shared_3.jpg", stimulus_2="shared_5.jpg") == found[3, 5] == found[5, 3]
    np.testing.assert_array_equal(np.diagonal(found), 0)


@settings(max_examples=20)
@given(rows=st.integers(1, N), voxels=st.integers(1, N_VOXELS), metric=st.sampled_from(METRICS))
def test_any_chunks_give_the_same(rows: int, voxels: int, metric: str) -> None:
    ds = betas()
    ds[3, 4] = np.nan
    found = rdm(ds.chunk({"stimulus": rows, "voxel": voxels}), metric)
    assert found.chunks is not None
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_allclose(found.compute(), rdm(ds, metric))
    kept = np.delete(ds.values, 4, axis=1)
    np.testing.assert_allclose(rdm(ds, metric), expected(kept, metric), atol=1e-10)


def test_by_trial_and_as_a_method() -> None:
    by_trial = betas().rename(stimulus="trial").assign_coords(trial=np.arange(N))
    found = by_trial.laion.rdm()
    assert found.dims == ("trial", "trial_2")
    np.testing.assert_array_equal(found, rdm(betas()))
    np.testing.assert_array_equal(betas().to_dataset(name="betas").laion.rdm("cosine"), rdm(betas(), "cosine"))


def test_patterns_without_variance_and_no_voxels() -> None:
    flat = betas()
    flat[2] = 0.1
    flat[3] = 0
    by_correlation, by_cosine = rdm(flat), rdm(flat, "cosine")
    assert np.isnan(by_correlation[[2, 3]]).all()
    assert np.isnan(by_cosine[3]).all()
    assert np.isfinite(by_cosine[2].drop_isel(stimulus_2=3)).all()
    assert np.isfinite(by_correlation.values[np.ix_([0, 1, 5], [0, 1, 5])]).all()
    for lazy in (betas(), betas().chunk({"stimulus": 3})):
        assert np.isnan(rdm(lazy.isel(voxel=[]))).all()


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("lazy", [False, True])
def test_rsa_equals_scipy(method: str, lazy: bool) -> None:
    first, second = rdm(betas(0)), rdm(betas(1))
    above = np.triu_indices(N, 1)
    test = {"spearman": scipy.stats.spearmanr, "pearson": scipy.stats.pearsonr}[method]
    value = test(first.values[above], second.values[above]).statistic
    if lazy:
        first = rdm(betas(0).chunk())
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_allclose(rsa(first, second.isel(stimulus=order, stimulus_2=order), method), value)
    np.testing.assert_allclose(rsa(first.drop_vars(["stimulus", "stimulus_2"]), second, method), value)
    assert (rsa(first, second, method).chunks is not None) == lazy
    np.testing.assert_allclose(rsa(first, first, method), 1)
    # pairs that are missing
    holes = second.copy()
    holes[2], holes[:, 2] = np.nan, np.nan
    keep = (above[0] != 2) & (above[1] != 2)
    left = test(first.values[above][keep], second.values[above][keep]).statistic
    np.testing.assert_allclose(rsa(first, holes, method), left)
    assert np.isnan(rsa(first, second * np.nan, method))
    assert np.isnan(rsa(first, second * 0, method))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_mean_ranks_equal_scipy(values: list[int]) -> None:
    np.testing.assert_array_equal(mean_ranks(np.array(values, dtype=float)), scipy.stats.rankdata(values))


def test_what_is_wrong_is_said() -> None:
    good = rdm(betas())
    with pytest.raises(SelectionError, match="metric is one of correlation, cosine"):
        rdm(betas(), "manhattan")
    with pytest.raises(SelectionError, match=r"rdm needs betas with the dims 'trial' \(or 'stimulus'\) and 'voxel'"):
        rdm(betas().isel(voxel=0))
    with pytest.raises(SelectionError, match="method is one of spearman, pearson"):
        rsa(good, good, "kendall")
    with pytest.raises(SelectionError, match="second matrix to be square"):
        rsa(good, good[:, :3])
    with pytest.raises(SelectionError, match="found 14 and 3"):
        rsa(good, good[:3, :3].drop_vars("stimulus"))
    with pytest.raises(UnknownLabelError, match=r"found 11 in only one: shared_3.jpg, shared_4.jpg, shared_5.jpg"):
        rsa(good, good[:3, :3])
    with pytest.raises(UnknownLabelError, match="found 11 in only one"):
        rsa(good[:3, :3], good)
    twice = xr.concat([good, good[:1]], "stimulus")
    with pytest.raises(SelectionError, match="more than once"):
        rsa(good, xr.concat([twice, twice[:, :1]], "stimulus_2"))
