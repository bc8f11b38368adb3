"""Encoding models against scikit-learn, himalaya, and the simulation's truth."""

from __future__ import annotations

import importlib.util
import itertools

import dask
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold, PredefinedSplit

import laion_xr
from laion_xr.analysis import blocks as blocks_module
from laion_xr.analysis.encoding import encode, predict, simplex
from laion_xr.errors import MissingExtraError, SelectionError, UnknownLabelError

ALPHAS = [0.1, 1.0, 10.0, 100.0, 1000.0]
N, N_IMAGES, N_FEATURES, N_VOXELS = 180, 80, 9, 17


def data(dtype: str = "float64", seed: int = 0, noise: float = 3.0) -> tuple[xr.DataArray, xr.DataArray]:
    """Betas by trial of images that repeat, and the features of the images in an order of their own."""
    rng = np.random.default_rng(seed)
    names = np.array([f"shared_{i}.jpg" for i in range(N_IMAGES)], dtype=object)
    features = rng.standard_normal((N_IMAGES, N_FEATURES))
    shown = rng.integers(0, N_IMAGES, N)
    betas = features[shown] @ rng.standard_normal((N_FEATURES, N_VOXELS)) + 5
    betas += noise * rng.standard_normal(betas.shape)
    order = rng.permutation(N_IMAGES)
    return (
        xr.DataArray(
            betas.astype(dtype),
            dims=("trial", "voxel"),
            coords={
                "trial": np.arange(N) + 100,
                "voxel": np.arange(N_VOXELS) * 3,
                "stimulus": ("trial", names[shown]),
                "session": ("trial", np.repeat(np.array(["ses-01", "ses-02", "ses-03"], dtype=object), N // 3)),
                "x": ("voxel", np.linspace(-3, 3, N_VOXELS)),
            },
            name="betas",
        ),
        xr.DataArray(features[order], dims=("stimulus", "feature"), coords={"stimulus": names[order]}),
    )


def matrix(betas: xr.DataArray, features: xr.DataArray) -> npt.NDArray[np.float64]:
    return features.sel(stimulus=betas.stimulus.values).values


def folds_of_images(betas: xr.DataArray, n: int, seed: int = 3) -> npt.NDArray[np.int64]:
    names, codes = np.unique(betas.stimulus.values, return_inverse=True)
    return np.random.default_rng(seed).integers(0, n, len(names))[codes]


def grid_search(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.floating], folds: npt.NDArray[np.int64]
) -> list[GridSearchCV]:
    return [
        GridSearchCV(Ridge(solver="svd"), {"alpha": ALPHAS}, cv=PredefinedSplit(folds), scoring="r2").fit(x, column)
        for column in y.T.astype(np.float64)
    ]


def equal(a: xr.Dataset, b: xr.Dataset, rtol: float = 1e-9, atol: float = 1e-9) -> None:
    assert set(a.variables) == set(b.variables)
    for name in a.data_vars:
        np.testing.assert_allclose(a[name], b[name], rtol=rtol, atol=atol, err_msg=str(name))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 2e-5)])
def test_equals_scikit_learn_on_the_same_folds(dtype: str, tolerance: float) -> None:
    betas, features = data(dtype)
    folds = folds_of_images(betas, 4)
    found = encode(betas, features, alphas=ALPHAS, cv=folds, nested=False)
    for v, expected in enumerate(grid_search(matrix(betas, features), betas.values, folds)):
        np.testing.assert_allclose(found.alpha[v], expected.best_params_["alpha"], rtol=1e-6)
        np.testing.assert_allclose(found.r2[v], expected.best_score_, atol=tolerance)
        np.testing.assert_allclose(found.coef[:, v], expected.best_estimator_.coef_, atol=tolerance * 10)
        np.testing.assert_allclose(found.intercept[v], expected.best_estimator_.intercept_, atol=tolerance * 10)
    assert found.coef.dtype == found.r.dtype == np.dtype(dtype)
    assert found.coef.dims == ("feature", "voxel")
    np.testing.assert_array_equal(found["x"], betas["x"])


def test_equals_ridge_cv_of_scikit_learn_on_the_same_folds() -> None:
    betas, features = data()
    folds = folds_of_images(betas, 5)
    found = encode(betas, features, alphas=ALPHAS, cv=folds, nested=False)
    x = matrix(betas, features)
    for v in range(N_VOXELS):
        expected = RidgeCV(ALPHAS, cv=PredefinedSplit(folds), scoring="r2").fit(x, betas.values[:, v])
        assert found.alpha[v] == expected.alpha_
        np.testing.assert_allclose(found.coef[:, v], expected.coef_, atol=1e-8)


def test_equals_himalaya() -> None:
    ridge = pytest.importorskip("himalaya.ridge", reason="needs himalaya, of the test extra")
    betas, features = data(noise=6)
    folds = folds_of_images(betas, 4)
    found = encode(betas, features, alphas=ALPHAS, cv=folds, nested=False)
    x = matrix(betas, features)
    model = ridge.RidgeCV(ALPHAS, fit_intercept=True, cv=PredefinedSplit(folds)).fit(x, betas.values)
    np.testing.assert_allclose(found.alpha, model.best_alphas_)
    np.testing.assert_allclose(found.coef, model.coef_, atol=1e-6)
    np.testing.assert_allclose(found.intercept, model.intercept_, atol=1e-6)


def test_nested_scores_are_those_of_a_search_without_the_fold() -> None:
    betas, features = data(noise=8)
    folds = folds_of_images(betas, 4)
    found = encode(betas, features, alphas=ALPHAS, cv=folds)
    x, r, r2 = matrix(betas, features), [], []
    for k in range(4):
        train, test = folds != k, folds == k
        for v, search in enumerate(grid_search(x[train], betas.values[train], folds[train])):
            y, prediction = betas.values[test, v], search.predict(x[test])
            r2.append((k, v, 1 - np.sum((y - prediction) ** 2) / np.sum((y - y.mean()) ** 2)))
            r.append((k, v, np.corrcoef(y, prediction)[0, 1]))
    for name, scores in (("r", r), ("r2", r2)):
        expected = [np.mean([s for _, v, s in scores if v == voxel]) for voxel in range(N_VOXELS)]
        np.testing.assert_allclose(found[name], expected, atol=1e-9)
    # the fit itself is the same
    plain = encode(betas, features, alphas=ALPHAS, cv=folds, nested=False)
    equal(found[["coef", "alpha", "intercept"]], plain[["coef", "alpha", "intercept"]])
    assert float((found.r2 - plain.r2).mean()) <= 0


def test_banded_equals_a_search_over_scaled_features() -> None:
    betas, features = data(noise=4)
    folds = folds_of_images(betas, 3)
    shares = [(1.0, 0.0), (0.75, 0.25), (0.1, 0.9)]
    bands = {"a": features.isel(feature=slice(0, 4)), "b": features.isel(feature=slice(4, None))}
    found = encode(betas, bands, alphas=ALPHAS, cv=folds, nested=False, shares=shares)
    x, sizes = matrix(betas, features), (4, N_FEATURES - 4)
    searches = {share: grid_search(x * np.repeat(np.sqrt(share), sizes), betas.values, folds) for share in shares}
    for v in range(N_VOXELS):
        share = max(shares, key=lambda s: searches[s][v].best_score_)
        best = searches[share][v]
        np.testing.assert_allclose(found.r2[v], best.best_score_, atol=1e-10)
        expected = best.best_estimator_.coef_ * np.repeat(np.sqrt(share), sizes)
        np.testing.assert_allclose(found.coef[:, v], expected, atol=1e-9)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(found.alpha[:, v], best.best_params_["alpha"] / np.array(share))
    assert found.alpha.dims == ("band", "voxel")
    assert found.feature_band.values.tolist() == ["a"] * 4 + ["b"] * 5
    one = encode(betas, {"all": features}, alphas=ALPHAS, cv=folds)
    equal(one, encode(betas, features, alphas=ALPHAS, cv=folds))


@pytest.mark.parametrize("n_bands", [1, 2, 3])
def test_simplex_is_every_way_to_share(n_bands: int) -> None:
    found = {tuple(row) for row in simplex(n_bands).tolist()}
    expected = {s for s in itertools.product(np.arange(5) / 4, repeat=n_bands) if np.isclose(sum(s), 1)}
    assert found == expected


@settings(max_examples=25)
@given(
    rows=st.integers(1, N),
    voxels=st.integers(1, N_VOXELS),
    seed=st.integers(0, 3),
    missing=st.floats(0, 0.02),
    nested=st.booleans(),
)
def test_any_chunks_give_the_same(rows: int, voxels: int, seed: int, missing: float, nested: bool) -> None:
    betas, features = data(seed=seed)
    betas = betas.where(np.random.default_rng(seed).random(betas.shape) >= missing)
    chunked = encode(betas.chunk({"trial": rows, "voxel": voxels}), features, alphas=ALPHAS, nested=nested)
    assert all(chunked[name].chunks is not None for name in ("coef", "r", "alpha"))
    with dask.config.set(scheduler="sync"):
        equal(chunked.compute(), encode(betas, features, alphas=ALPHAS, nested=nested))


def test_lazy_features_and_trial_features_are_the_same_as_features_of_images() -> None:
    betas, features = data()
    by_image = encode(betas, features, alphas=ALPHAS)
    by_trial = features.sel(stimulus=betas.stimulus).drop_vars("stimulus")
    equal(encode(betas, by_trial, alphas=ALPHAS), by_image)
    order = np.random.default_rng(0).permutation(N)
    equal(encode(betas, by_trial.assign_coords(trial=betas.trial)[order], alphas=ALPHAS), by_image)
    equal(encode(betas.chunk(), features.chunk(), alphas=ALPHAS).compute(), by_image)
    ds = betas.to_dataset().assign(embedding_CLIP=by_trial.rename(feature="feature_CLIP"))
    equal(ds.laion.encode("CLIP", alphas=ALPHAS), by_image)
    equal(ds.laion.encode("embedding_CLIP", alphas=ALPHAS), by_image)
    equal(ds.drop_vars("embedding_CLIP").laion.encode(features, alphas=ALPHAS), by_image)


def test_repeats_averaged() -> None:
    betas, features = data()
    averaged = betas.groupby("stimulus").mean()
    folds = np.arange(averaged.sizes["stimulus"]) % 4
    found = encode(averaged, features, alphas=ALPHAS, cv=folds, nested=False)
    x = features.sel(stimulus=averaged.stimulus.values).values
    for v, expected in enumerate(grid_search(x, averaged.values, folds)):
        np.testing.assert_allclose(found.r2[v], expected.best_score_, atol=1e-10)
    equal(encode(averaged.transpose("voxel", "stimulus"), features, alphas=ALPHAS, cv=folds, nested=False), found)


def test_no_image_is_in_two_folds_and_splitters_are_taken() -> None:
    betas, features = data()
    by_splitter = encode(betas, features, alphas=ALPHAS, cv=GroupKFold(4))
    images = pd.factorize(betas.stimulus.values)[0]  # in the order in which they appear
    folds = np.empty(N, dtype=int)
    for k, (_, test) in enumerate(GroupKFold(4).split(np.zeros(N), groups=images)):
        folds[test] = k
    equal(by_splitter, encode(betas, features, alphas=ALPHAS, cv=folds))
    by_session = encode(betas, features, alphas=ALPHAS, cv=3, groups="session", nested=False)
    assert by_session.attrs["n_folds"] == 3
    with pytest.raises(SelectionError, match=r"image whose trials are in two .*groups="):
        encode(betas, features, cv=np.arange(N) % 3)
    # rows that are always in the training set
    part = np.where(folds == 3, -1, folds)
    found = encode(betas, features, alphas=ALPHAS, cv=part, nested=False)
    x = matrix(betas, features)
    for v, expected in enumerate(grid_search(x, betas.values, part)):
        np.testing.assert_allclose(found.r2[v], expected.best_score_, atol=1e-10)


@pytest.mark.parametrize("chunks", [None, {"trial": 50, "voxel": 6}])
def test_a_missing_beta_is_left_out_for_its_voxel_only(chunks: dict[str, int] | None) -> None:
    betas, features = data()
    folds = folds_of_images(betas, 4)
    holes = betas.copy()
    holes[7, 2] = np.nan
    holes[60:120, [4, 5]] = np.nan  # a session
    holes[9, 6] = np.inf
    holes[:, 8] = np.nan
    holes[3:, 9] = np.nan  # three trials are left
    holes[folds == 1, 10] = np.nan  # a whole fold
    lazy = holes if chunks is None else holes.chunk(chunks)
    found = encode(lazy, features, alphas=ALPHAS, cv=folds, nested=False).compute()
    x = matrix(betas, features)
    for v in (2, 4, 5, 6, 10, 11):
        there = np.isfinite(holes.values[:, v])
        (expected,) = grid_search(x[there], holes.values[there][:, [v]], folds[there])
        np.testing.assert_allclose(found.r2[v], expected.best_score_, atol=1e-10)
        np.testing.assert_allclose(found.coef[:, v], expected.best_estimator_.coef_, atol=1e-9)
        np.testing.assert_allclose(found.intercept[v], expected.best_estimator_.intercept_, atol=1e-9)
    for name in ("coef", "intercept", "alpha", "r", "r2"):
        assert np.isnan(found[name].isel(voxel=8)).all()
    strict = encode(lazy, features, alphas=ALPHAS, cv=folds, nested=False, missing="nan").compute()
    lost = ~np.isfinite(holes.values).all(axis=0)
    assert np.isnan(strict.coef.values[:, lost]).all()
    np.testing.assert_allclose(strict.r2[~lost], found.r2[~lost])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1234.567])
def test_constant_voxels_are_nan(dtype: str, value: float) -> None:
    betas, features = data(dtype)
    betas[:, 3] = value
    for lazy in (betas, betas.chunk({"trial": 31})):
        found = encode(lazy, features, alphas=ALPHAS).compute()
        for name in ("coef", "intercept", "alpha", "r", "r2"):
            assert np.isnan(found[name].isel(voxel=3)).all()
            assert np.isfinite(found[name].drop_isel(voxel=3)).all()


def test_rows_without_features_are_left_out() -> None:
    betas, features = data()
    features[5, 2] = np.nan
    folds = folds_of_images(betas, 3)
    found = encode(betas, features, alphas=ALPHAS, cv=folds)
    there = betas.stimulus.values != features.stimulus.values[5]
    equal(found, encode(betas[there], features, alphas=ALPHAS, cv=folds[there]))
    with pytest.raises(SelectionError, match="found 0 such rows of 180"):
        encode(betas, features * np.nan)


def test_no_voxels_and_one_voxel() -> None:
    betas, features = data()
    for lazy in (betas, betas.chunk({"trial": 50})):
        none = encode(lazy.isel(voxel=[]), features, alphas=ALPHAS).compute()
        assert none.coef.shape == (N_FEATURES, 0)
        assert none.r.shape == (0,)
        one = encode(lazy.isel(voxel=[3]), features, alphas=ALPHAS).compute()
        equal(one, encode(betas, features, alphas=ALPHAS).isel(voxel=[3]))


def test_fewer_betas_than_features() -> None:
    betas, _ = data()
    rng = np.random.default_rng(0)
    wide = xr.DataArray(rng.standard_normal((N, 400)), dims=("trial", "feature"))
    folds = folds_of_images(betas, 3)
    found = encode(betas, wide, alphas=[10.0, 100.0], cv=folds, nested=False)
    for v in range(3):
        expected = Ridge(float(found.alpha[v]), solver="svd").fit(wide.values, betas.values[:, v])
        np.testing.assert_allclose(found.coef[:, v], expected.coef_, atol=1e-10)


def test_predict() -> None:
    betas, features = data()
    fitted = encode(betas, features, alphas=[1.0])
    expected = Ridge(1.0).fit(matrix(betas, features), betas.values).predict(features.values)
    found = predict(fitted, features)
    assert found.dims == ("stimulus", "voxel")
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(predict(encode(betas.chunk(), features, alphas=[1.0]), features.chunk()), expected)
    by_trial = features.sel(stimulus=betas.stimulus).rename(feature="feature_CLIP")
    assert predict(fitted, by_trial).dims == ("trial", "voxel")
    with pytest.raises(SelectionError, match="Expected 9 features, as were fitted; found 4"):
        predict(fitted, features[:, :4])
    with pytest.raises(SelectionError, match="dims trial or stimulus"):
        predict(fitted, features[0])
    labelled = features.assign_coords(feature=[f"f{i}" for i in range(N_FEATURES)])
    fitted = encode(betas, labelled, alphas=[1.0])
    np.testing.assert_allclose(predict(fitted, labelled), expected, atol=1e-9)
    with pytest.raises(SelectionError, match="in their order"):
        predict(fitted, labelled[:, ::-1])


def test_scores_over_the_ceiling() -> None:
    betas, features = data("float32")
    ncsnr = np.linspace(0.2, 2, N_VOXELS)
    for n in (12, 4):
        percent = 100 * ncsnr**2 / (ncsnr**2 + 1 / n)
        ceiling = xr.DataArray(percent.astype("f4"), dims="voxel", attrs={"map": f"{n}rep"})
        found = encode(betas.assign_coords(noise_ceiling=ceiling), features, alphas=ALPHAS)
        expected = ncsnr**2 / (ncsnr**2 + 1)
        np.testing.assert_allclose(found.ceiling, expected, rtol=1e-5)
        np.testing.assert_allclose(found.r_normalized, found.r / np.sqrt(expected), rtol=1e-5)
        np.testing.assert_allclose(found.r2_normalized, found.r2 / expected, rtol=1e-5)
        thrice = encode(betas, features, alphas=ALPHAS, noise_ceiling=ceiling, repeats=3)
        np.testing.assert_allclose(thrice.ceiling, ncsnr**2 / (ncsnr**2 + 1 / 3), rtol=1e-5)
        means = betas.groupby("stimulus").mean()
        counts = np.arange(means.sizes["stimulus"]) % 3 + 1
        assert "ceiling" not in encode(means, features, alphas=ALPHAS, noise_ceiling=ceiling)
        found = encode(means.assign_coords(n_reps=("stimulus", counts)), features, alphas=ALPHAS, noise_ceiling=ceiling)
        np.testing.assert_allclose(found.ceiling, ncsnr**2 / (ncsnr**2 + np.mean(1 / counts)), rtol=1e-5)
    # unknown repeats: no normalised scores, unless they are said
    unknown = xr.DataArray([0.0, 100.0, 120.0, np.nan] + [50.0] * 13, dims="voxel")
    assert "ceiling" not in encode(betas, features, alphas=ALPHAS, noise_ceiling=unknown)
    found = encode(betas, features, alphas=ALPHAS, noise_ceiling=unknown, ceiling_repeats=1)
    np.testing.assert_allclose(found.ceiling[:5], [np.nan, 1, np.nan, np.nan, 0.5])
    assert np.isnan(found.r_normalized[0])
    with pytest.raises(SelectionError, match="ceiling on the 17 voxels"):
        encode(betas, features, noise_ceiling=unknown[:3])
    with pytest.raises(SelectionError, match="'noise_ceilin' does not exist"):
        encode(betas, features, noise_ceiling="noise_ceilin")
    with pytest.raises(SelectionError, match="repeats above 0"):
        encode(betas, features, noise_ceiling=unknown, ceiling_repeats=1, repeats=0)


def wrong_features() -> dict[str, tuple[object, str]]:
    _, features = data()
    renamed = features.assign_coords(stimulus=[f"other_{i}.jpg" for i in range(N_IMAGES)])
    return {
        "other names": (renamed, r"found none for 7\d of 7\d: shared_\d+.jpg"),
        "twice": (xr.concat([features, features[:1]], "stimulus"), "more than once"),
        "no names": (features.drop_vars("stimulus"), "need the coordinate 'stimulus'"),
        "another dim": (features.rename(stimulus="image"), "dims 'trial' or 'stimulus'"),
        "other length": (features.rename(stimulus="trial").drop_vars("trial"), "features of 180 trials, found 80"),
        "text": (features.astype(str), "features that are numbers"),
        "none": (features[:, :0], "one feature or more"),
        "no spaces": ({}, "an empty mapping"),
        "an array": (features.values, "Features are a DataArray"),
        "a name": ("CLOP", r"'CLOP' does not exist here.*embeddings=\['CLOP'\]"),
    }


@pytest.mark.parametrize("what", list(wrong_features()))
def test_wrong_features(what: str) -> None:
    betas, _ = data()
    features, message = wrong_features()[what]
    with pytest.raises((SelectionError, UnknownLabelError), match=message):
        encode(betas, features)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alphas": [1.0, 0.0]}, "alphas that are positive"),
        ({"alphas": []}, "alphas that are positive"),
        ({"alphas": np.nan}, "alphas that are positive"),
        ({"cv": 1}, "Expected 2 folds or more"),
        ({"cv": 81}, r"cv=81 and 7\d images"),
        ({"cv": 2}, "Nested scores take 3 folds or more, found 2"),
        ({"cv": "kfold"}, "cv is a number of folds"),
        ({"cv": np.zeros(N, int)}, "Expected 2 folds or more, found 1"),
        ({"groups": "sessions"}, "Did you mean 'session'"),
        ({"groups": np.arange(3)}, "groups of 180 rows"),
        ({"missing": "mean"}, "missing is 'omit' or 'nan'"),
        ({"shares": [[1, 1]]}, r"shares \(candidate, band\) of 1 bands"),
        ({"shares": [[0.0]]}, "one above 0"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    betas, features = data()
    with pytest.raises(SelectionError, match=message):
        encode(betas, features, **options)  # type: ignore[arg-type]


def test_wrong_betas_name_the_dims() -> None:
    betas, features = data()
    with pytest.raises(SelectionError, match=r"dims 'trial' \(or 'stimulus'\) and 'voxel', found \('trial',\)"):
        encode(betas.isel(voxel=0), features)
    with pytest.raises(SelectionError, match="needs the variable betas; here are r2_mean"):
        encode(xr.Dataset({"r2_mean": ("voxel", np.zeros(3))}), features)


def test_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    betas, features = data("float32")
    if importlib.util.find_spec("torch") is None:
        with pytest.raises(MissingExtraError, match=r"laion-xr\[torch\]"):
            encode(betas, features, device="cuda")
        pytest.skip("torch is not installed: what it computes was not compared")
    equal(encode(betas, features, device="cpu"), encode(betas, features), rtol=1e-4, atol=1e-5)
    with pytest.raises(SelectionError, match="a device that torch has here, found 'abacus'"):
        encode(betas, features, device="abacus")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> laion_xr.simulate.Truth:
    return laion_xr.simulate(
        tmp_path_factory.mktemp("simulated"),
        subjects=[3],
        trials=300,
        n_shared_12=30,
        n_shared_4=60,
        models=False,
        surfaces=False,
    )


def test_truth_is_recovered(simulated: laion_xr.simulate.Truth) -> None:
    truth, known = simulated, simulated[3]
    ds = xr.open_dataset(truth.root, engine="laion_fmri", subject="sub-03", embeddings="CLIP")
    names = truth.stimuli.metadata["image_name"].to_numpy(dtype=object)
    features = xr.DataArray(truth.stimuli.features, dims=("stimulus", "feature"), coords={"stimulus": names})
    # sessions differ in gain and offset, which no image explains
    plain = ds.betas.drop_indexes([n for n in ds.xindexes if n not in ds.dims])
    by_session = plain.groupby("session")
    scored = (by_session - by_session.mean()).groupby("session") / by_session.std()
    found = encode(
        scored, features, noise_ceiling=xr.DataArray(known.ceiling([1]), dims="voxel"), ceiling_repeats=1
    ).compute()
    tuned = (known.ncsnr > 0.5) & np.isfinite(found.r.values)
    assert tuned.sum() > 300
    assert 0.93 < float(found.r_normalized[tuned].mean()) < 1.02
    assert 0.87 < float(found.r2_normalized[tuned].mean()) < 1.04
    # weights point where the truth's do
    weights = known.weights[tuned]
    cosine = (found.coef.values[:, tuned] * weights.T).sum(0)
    cosine /= np.linalg.norm(found.coef.values[:, tuned], axis=0) * np.linalg.norm(weights, axis=1)
    assert np.median(cosine) > 0.97
    untuned = (known.ncsnr == 0) & np.isfinite(found.r.values)
    assert abs(float(found.r[untuned].mean())) < 0.02
    assert np.isnan(found.r.values[np.isin(known.voxels, known.nan_voxels)]).all()
    # an embedding that holds the features, and noise, does as well but for the noise
    assert float(ds.laion.encode("CLIP").r[tuned].mean()) > 0.8 * float(found.r[tuned].mean())


def test_store_and_files_give_the_same(
    simulated: laion_xr.simulate.Truth, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    laion_xr.ingest(simulated.root, f"{tmp_path}/laion.zarr", progress=False)
    options = {"engine": "laion_fmri", "subject": "sub-03", "embeddings": "CLIP"}
    stored = xr.open_dataset(simulated.root, **options, store=f"{tmp_path}/laion.zarr", source="store")
    files = xr.open_dataset(simulated.root, **options, source="nifti")
    expected = files.sel(roi="FFA1").load().laion.encode("CLIP")
    equal(files.sel(roi="FFA1").laion.encode("CLIP").compute(), expected, rtol=1e-3, atol=1e-4)
    equal(stored.sel(roi="FFA1").laion.encode("CLIP").compute(), expected, rtol=1e-3, atol=1e-4)
    narrow = stored.chunk({"trial": -1, "voxel": 7})
    equal(narrow.sel(roi="FFA1").laion.encode("CLIP").compute(), expected, rtol=1e-3, atol=1e-4)
    assert expected.sel(roi="FFA1").r.equals(expected.r)  # labels came along
    # where a session is too large, blocks of voxels over all trials, ROI by ROI
    some = {"voxel": np.flatnonzero(stored["voxel"].values % 5 == 0)}
    whole = stored.isel(some).load().laion.encode("CLIP")
    monkeypatch.setattr(blocks_module, "BLOCK_BYTES", 1 << 19)
    by_blocks = stored.isel(some).laion.encode("CLIP")
    assert len(stored.isel(some).betas.chunk({"trial": -1, "voxel": 256}).chunks[1]) > 2
    equal(by_blocks.compute(), whole, rtol=1e-2, atol=1e-3)
