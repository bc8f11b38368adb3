"""Permutation tests against one correlation a shuffle, SciPy, and p-values that are uniform under the null."""

from __future__ import annotations

import dask
import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from laion_xr.analysis.permutation import permutation_test
from laion_xr.analysis.shuffles import Units, false_discovery, low_rank
from laion_xr.errors import SelectionError, UnknownLabelError

Array = npt.NDArray[np.float64]


def averaged(seed: int = 0, n: int = 40, n_voxels: int = 12, effect: float = 0.0, dtype: str = "float64") -> xr.Dataset:
    """Betas by image, each shown once, and a number for each."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(n)
    betas = rng.standard_normal((n, n_voxels)) + 2 + effect * np.outer(x, np.linspace(0, 1, n_voxels))
    roi = np.array(["A", "A+B", "B", ""] * (n_voxels // 4), dtype=object)
    return xr.Dataset(
        {"betas": (("stimulus", "voxel"), betas.astype(dtype)), "x_value": ("stimulus", x)},
        coords={
            "stimulus": [f"i{k}" for k in range(n)],
            "voxel": np.arange(n_voxels) + 5,
            "roi": ("voxel", roi),
            "session": ("stimulus", np.repeat(["ses-01", "ses-02"], n // 2)),
        },
    )


def trials(seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    """Betas of images that repeat unequally, over three sessions, and predictions for the images, (stimulus, voxel)."""
    rng = np.random.default_rng(seed)
    names = np.array([f"i{k}" for k in range(25)], dtype=object)
    shown = np.r_[np.arange(25), rng.integers(0, 25, 65)]
    predictions = rng.standard_normal((25, 3)) @ rng.standard_normal((3, 8))
    betas = xr.DataArray(
        predictions[shown] * 0.3 + rng.standard_normal((90, 8)),
        dims=("trial", "voxel"),
        coords={
            "trial": np.arange(90),
            "voxel": np.arange(8),
            "stimulus": ("trial", names[shown]),
            "session": ("trial", np.arange(90) // 30),
        },
    )
    return betas, xr.DataArray(
        predictions, dims=("stimulus", "voxel"), coords={"stimulus": names, "voxel": np.arange(8)}
    )


def one_by_one(betas: Array, predicted: Array, units: Units) -> tuple[Array, Array]:
    """One correlation a shuffle and voxel, of the rows that are there: observed (voxel,), null (shuffle, voxel)."""
    of_unit = predicted[units.first_rows]

    def r(shuffle: npt.NDArray[np.intp]) -> list[float]:
        moved, found = of_unit[shuffle][units.of_row], []
        for v in range(betas.shape[1]):
            there = np.isfinite(betas[:, v])
            found.append(scipy.stats.pearsonr(betas[there, v], moved[there, v]).statistic)
        return found

    null = [r(row) for _, batch in units.batches() for row in batch]
    return np.array(r(np.arange(len(units.strata)))), np.array(null)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
@pytest.mark.parametrize("within", [None, "session"])
@pytest.mark.parametrize("kind", ["low rank", "full rank", "one number"])
@pytest.mark.parametrize("holes", [False, True])
def test_equals_one_correlation_a_shuffle(alternative: str, within: str | None, kind: str, holes: bool) -> None:
    betas, predictions = trials()
    if kind == "full rank":
        predictions = predictions.isel(stimulus=[*range(25)]) * 0 + np.random.default_rng(1).standard_normal((25, 8))
    elif kind == "one number":
        predictions = predictions.isel(voxel=0, drop=True)
    if holes:
        betas[5, 2], betas[30:60, 3] = np.nan, np.nan
    found = permutation_test(betas, predictions, n_permutations=300, within=within, alternative=alternative, seed=4)
    groups = np.unique(betas.stimulus.values, return_inverse=True)[1]
    # units are numbered by the first appearance of their image
    first = {g: i for i, g in enumerate(dict.fromkeys(groups.tolist()))}
    groups = np.array([first[g] for g in groups.tolist()])
    units = Units.of(groups, betas.session.values if within else np.zeros(90, int), 4, 300)
    by_trial = predictions.sel(stimulus=betas.stimulus.values).values.reshape(90, -1)
    observed, null = one_by_one(betas.values, np.broadcast_to(by_trial, betas.shape), units)
    np.testing.assert_allclose(found.r, observed, atol=1e-10)
    statistic = {"greater": lambda r: r, "less": lambda r: -r, "two-sided": np.abs}[alternative]
    reached = statistic(null) >= statistic(observed) - 1e-12
    np.testing.assert_allclose(found.p, (1 + reached.sum(0)) / 301)
    largest = statistic(null).max(axis=1)
    np.testing.assert_allclose(found.null_max, largest, atol=1e-10)
    np.testing.assert_allclose(found.p_max, [(1 + (largest >= s - 1e-12).sum()) / 301 for s in statistic(observed)])
    np.testing.assert_allclose(found.p_fdr, scipy.stats.false_discovery_control(found.p.values))


def test_a_full_rank_of_many_voxels_is_gathered() -> None:
    ds = averaged(n=60, n_voxels=48)
    predictions = ds.betas + 0.5 * np.random.default_rng(3).standard_normal(ds.betas.shape)
    assert low_rank(predictions.values) is None
    found = permutation_test(ds, predictions, n_permutations=20)
    units = Units.of(np.arange(60), np.zeros(60, int), 0, 20)
    observed, null = one_by_one(ds.betas.values, predictions.values, units)
    np.testing.assert_allclose(found.r, observed, atol=1e-10)
    np.testing.assert_allclose(found.null_max, null.max(1), atol=1e-10)


def test_rois() -> None:
    ds = averaged(effect=0.3)
    found = permutation_test(ds, "x_value", n_permutations=200)
    units = Units.of(np.arange(40), np.zeros(40, int), 0, 200)
    x = np.broadcast_to(ds.x_value.values[:, None], ds.betas.shape)
    observed, null = one_by_one(ds.betas.values, x, units)
    assert found.region.values.tolist() == ["A", "B"]
    for i, name in enumerate("AB"):
        inside = np.array([name in label.split("+") for label in ds.roi.values])
        np.testing.assert_allclose(found.roi_r[i], observed[inside].mean())
        reached = null[:, inside].mean(1) >= observed[inside].mean()
        np.testing.assert_allclose(found.roi_p[i], (1 + reached.sum()) / 201)
        assert found.roi_size[i] == inside.sum()
    only = permutation_test(ds, "x_value", n_permutations=200, rois=["B"])
    np.testing.assert_array_equal(only.roi_p, found.roi_p[1:])
    assert permutation_test(ds, "x_value", n_permutations=20, rois=[]).sizes["region"] == 0
    with pytest.raises(UnknownLabelError, match="'C' does not exist"):
        permutation_test(ds, "x_value", rois=["C"])
    # an ROI that exists, without voxels here
    ds["roi"].attrs["roi_categories"] = '{"letters": ["A", "B", "C"]}'
    empty = permutation_test(ds, "x_value", n_permutations=20, rois=["C", "A"])
    assert np.isnan(empty.roi_p[0])
    assert empty.roi_size[0] == 0
    assert empty.roi_p_fdr[1] == empty.roi_p[1]


@settings(max_examples=20)
@given(rows=st.integers(1, 90), voxels=st.integers(1, 8), lazy=st.booleans(), seed=st.integers(0, 2**32))
def test_any_chunks_give_the_same(rows: int, voxels: int, lazy: bool, seed: int) -> None:
    betas, predictions = trials()
    expected = permutation_test(betas, predictions, n_permutations=30, within="session", seed=seed)
    chunked = betas.chunk({"trial": rows, "voxel": voxels})
    found = permutation_test(
        chunked, predictions.chunk() if lazy else predictions, n_permutations=30, within="session", seed=seed
    )
    assert found.p.chunks is not None
    with dask.config.set(scheduler="sync"):
        xr.testing.assert_allclose(found.compute(), expected)


def test_fewer_shuffles_are_the_first_of_more() -> None:
    ds = averaged(n_voxels=4)
    few, many = (permutation_test(ds, "x_value", n_permutations=n, seed=9).null_max.values for n in (30, 600))
    np.testing.assert_array_equal(few, many[:30])
    other = permutation_test(ds, "x_value", n_permutations=30, seed=10).null_max.values
    assert not np.isclose(few, other).any()


def test_shuffles_are_exact_and_stay_in_their_session() -> None:
    units = Units.of(np.array([0, 1, 2, 0, 1, 1, 2, 3]), np.array([0, 0, 0, 0, 5, 5, 5, 5]), 0, 500)
    (_, first), *_ = units.batches()
    assert units.strata.tolist() == [0, 0, 0, 5, 5, 5]
    assert units.of_row.tolist() == [0, 1, 2, 0, 3, 3, 4, 5]
    assert (np.sort(first[:, :3], 1) == [0, 1, 2]).all()
    assert (np.sort(first[:, 3:], 1) == [3, 4, 5]).all()
    assert len(np.unique(first, axis=0)) == 36  # all of 3! x 3!


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_p_values_are_uniform_under_the_null(dtype: str) -> None:
    p, p_roi = [], []
    for seed in range(40):
        ds = averaged(seed=seed, n=30, n_voxels=8, dtype=dtype).assign_coords(roi=("voxel", ["A", ""] * 4))
        found = permutation_test(ds, "x_value", n_permutations=199, seed=seed)
        p += found.p.values.tolist()
        p_roi += found.roi_p.values.tolist()
    # discrete p-values: spread each over its step
    for values in (p, p_roi):
        spread = np.array(values) - np.random.default_rng(0).random(len(values)) / 200
        assert scipy.stats.kstest(spread, "uniform").pvalue > 0.05


def test_the_largest_statistic_keeps_the_family_wise_error() -> None:
    false = [
        float(permutation_test(averaged(seed=s, n=24, n_voxels=20), "x_value", n_permutations=99, seed=s).p_max.min())
        for s in range(150)
    ]
    assert 0.02 <= np.mean(np.array(false) <= 0.1) <= 0.17


def test_an_effect_is_found() -> None:
    found = permutation_test(averaged(effect=1.5, n=80), "x_value", n_permutations=999)
    assert found.p[-1] == found.p_max[-1] == 1 / 1000
    assert found.p_fdr[-1] < 0.01
    assert found.p[0] > 0.05


def test_constant_and_missing_voxels_are_nan_and_count_nowhere() -> None:
    ds = averaged(dtype="float32")
    ds.betas[:, 1] = 0.1
    ds.betas[:, 4] = np.nan
    found = permutation_test(ds, "x_value", n_permutations=100)
    kept = [v for v in range(12) if v not in (1, 4)]
    expected = permutation_test(ds.isel(voxel=kept), "x_value", n_permutations=100)
    for name in ("r", "p", "p_fdr", "p_max"):
        assert np.isnan(found[name][[1, 4]]).all()
        np.testing.assert_allclose(found[name][kept], expected[name], atol=1e-6)
    np.testing.assert_allclose(found.roi_r, expected.roi_r, atol=1e-6)
    np.testing.assert_array_equal(found.roi_size, expected.roi_size)
    for constant in (ds.betas * 0 + 3, ds.x_value * 0):
        assert np.isnan(permutation_test(averaged(), constant.fillna(3), n_permutations=10).r).all()
    predictions = ds.betas + np.random.default_rng(0).standard_normal(ds.betas.shape)
    unfitted = permutation_test(averaged(), predictions, n_permutations=20)
    assert np.isnan(unfitted.p).values.nonzero()[0].tolist() == [4]
    for lazy in (ds, ds.chunk({"stimulus": 7})):
        nothing = permutation_test(lazy.isel(voxel=[]), "x_value", n_permutations=10).compute()
        assert nothing.p.shape == (0,)
        assert np.isnan(nothing.null_max).all()


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_false_discovery_equals_scipy(p: list[float]) -> None:
    np.testing.assert_allclose(false_discovery(np.array(p)), scipy.stats.false_discovery_control(p))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_permutations": 0}, "1 shuffle or more"),
        ({"alternative": "both"}, "alternative is one of greater, less, two-sided"),
        ({"within": "sesion"}, "Did you mean 'session'"),
        ({"within": "stimulus"}, "two images or more to shuffle within each of its values"),
        ({"groups": "session"}, "the same for all trials of an image"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        permutation_test(averaged(), "x_value", **options)  # type: ignore[arg-type]


def test_wrong_predictors() -> None:
    ds = averaged()
    with pytest.raises(UnknownLabelError, match=r"predictor 'x_valu' does not exist.*'x_value'"):
        permutation_test(ds, "x_valu")
    with pytest.raises(SelectionError, match="dim 'trial' or 'stimulus'"):
        permutation_test(ds, xr.DataArray(np.zeros((40, 2)), dims=("stimulus", "feature")))
    with pytest.raises(SelectionError, match="found none for 3"):
        permutation_test(ds, ds.betas.isel(voxel=slice(3, None)))
    with pytest.raises(SelectionError, match="predictor that is numbers"):
        permutation_test(ds, ds.x_value.where(ds.x_value > 0))
    with pytest.raises(UnknownLabelError, match="found none for 1 of 40: i3"):
        permutation_test(ds, ds.x_value.drop_sel(stimulus="i3"))
    with pytest.raises(SelectionError, match=r"'trial' .*and 'voxel', found"):
        permutation_test(ds.betas.isel(stimulus=0), ds.x_value)
    order = np.random.default_rng(0).permutation(12)
    shuffled = permutation_test(ds, ds.betas.isel(voxel=order), n_permutations=10)
    np.testing.assert_allclose(shuffled.r, 1)
