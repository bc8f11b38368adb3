"""Train and test images in the plane of their features, against NumPy's own principal components and distances."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from laion_xr import plot
from laion_xr.errors import LaionXRError, SelectionError
from laion_xr.plot.split import nearest, principal_components


@pytest.fixture(scope="module")
def ds(dataset_root) -> xr.Dataset:
    return xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")


def points(figure) -> dict[str, np.ndarray]:
    """Side -> positions of its images in the main panel."""
    main = next(axes for axes in figure.axes if axes.get_xlabel().startswith("component"))
    return {c.get_label().partition(" ")[0]: np.asarray(c.get_offsets()) for c in main.collections}


def named(features: np.ndarray) -> xr.DataArray:
    names = np.array([f"image_{n}.jpg" for n in range(len(features))], dtype=object)
    return xr.DataArray(features, dims=("stimulus", "feature"), coords={"stimulus": names}, name="my features")


def side(images) -> xr.DataArray:
    names = np.array([f"image_{n}.jpg" for n in images], dtype=object)
    return xr.DataArray(np.zeros(len(names)), dims="trial", coords={"stimulus": ("trial", names)})


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)])
def test_principal_components(shape):
    values = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 1, shape[1])
    found = principal_components(values)
    covariance = np.cov(values.T)
    variances, axes = np.linalg.eigh(covariance)
    np.testing.assert_allclose(found.explained, variances[::-1][:2] / variances.sum())
    expected = (values - values.mean(0)) @ axes[:, ::-1][:, :2]
    for k in range(2):
        assert abs(np.corrcoef(found.points[:, k], expected[:, k])[0, 1]) == pytest.approx(1)
        assert found.points[:, k].var(ddof=1) == pytest.approx(variances[-1 - k])


def test_nearest():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(300, 5)), rng.normal(size=(20, 5))
    pairs = np.linalg.norm(b[:, None] - a, axis=2)
    np.testing.assert_allclose(nearest(b, a), pairs.min(1))
    own = np.linalg.norm(a[:, None] - a, axis=2) + np.diag(np.full(300, np.inf))
    np.testing.assert_allclose(nearest(a), own.min(1))
    assert np.isnan(nearest(a[:1])).all()
    assert nearest(np.repeat(a, 10, axis=0)).max() == 0
    assert len(nearest(np.repeat(a, 10, axis=0))) == 1000


def test_each_image_once_with_its_embedding(ds):
    names = list(dict.fromkeys(ds.stimulus.values))
    train, test = ds.laion.split(test=names[:20])  # OOD images are on neither side
    figure = plot.split(train, test, title="mine")
    names = [*names[:20], *dict.fromkeys(train.stimulus.values)]
    values = ds.laion.stimuli.embeddings.get("CLIP", names).values.astype(float)
    usable = np.isfinite(values).all(1)
    centred = values[usable] - values[usable].mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    is_test = (np.arange(len(names)) < 20)[usable]
    found = points(figure)
    assert {name: len(at) for name, at in found.items()} == {"train": (~is_test).sum(), "test": is_test.sum()}
    for k in range(2):
        expected = u[:, k] * s[k]
        sign = np.sign(found["test"][0, k] * expected[is_test][0])
        for name, of in (("train", ~is_test), ("test", is_test)):
            np.testing.assert_allclose(np.sort(found[name][:, k]), np.sort(sign * expected[of]), atol=1e-6)
    labels = {axes.get_xlabel() for axes in figure.axes} | {axes.get_ylabel() for axes in figure.axes}
    for k in range(2):
        assert f"component {k + 1} of CLIP, {100 * s[k] ** 2 / (s**2).sum():.1f} % of the variance" in labels
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [f"train ({(~is_test).sum()} images)", f"test ({is_test.sum()} images)"]
    assert figure.get_suptitle() == "mine"


def test_a_far_test_side_is_far(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 6))
    features[60:] += 20
    figure = plot.split(side([*range(60), 3, 3]), side(range(60, 80)), named(features))
    found = points(figure)
    assert len(found["train"]) == 60
    gap = abs(found["train"][:, 0].mean() - found["test"][:, 0].mean())
    assert gap > 5 * max(at[:, 0].std() for at in found.values())
    text = figure.texts[-1].get_text()
    across = np.linalg.norm(features[60:, None] - features[:60], axis=2).min(1)
    own = np.linalg.norm(features[:60, None] - features[:60], axis=2) + np.diag(np.full(60, np.inf))
    assert f"of a test image {np.median(across):.3g}, of a train image {np.median(own.min(1)):.3g}" in text
    assert "my features" in text
    # colour is not the only difference
    main = next(axes for axes in figure.axes if axes.get_xlabel().startswith("component"))
    shapes = [c.get_paths()[0].vertices.shape for c in main.collections]
    assert shapes[0] != shapes[1]
    figure.savefig(tmp_path / "a.png")


def test_images_without_features_are_counted():
    features = np.random.default_rng(0).normal(size=(12, 3))
    features[2] = np.nan
    figure = plot.split(side(range(8)), side(range(8, 12)), named(features))
    assert "1 image without features left out" in figure.texts[-1].get_text()
    assert len(points(figure)["train"]) == 7


def test_as_a_method(ds):
    names = list(dict.fromkeys(ds.stimulus.values))
    found = points(ds.laion.plot.split(test=names[:9], features="DINOv2"))
    expected = points(plot.split(*ds.laion.split(test=names[:9]), "DINOv2"))
    np.testing.assert_array_equal(found["test"], expected["test"])


@pytest.mark.parametrize(
    ("train", "test", "options", "message"),
    [
        (range(5), range(5, 9), {"method": "tsne"}, "method is 'pca'"),
        ([], range(5, 9), {}, "train side has no image"),
        (range(5), range(20, 22), {}, "2 images of the test side have no features: image_20.jpg"),
        ([0], [1], {}, "three images or more"),
    ],
)
def test_what_cannot_be_drawn(train, test, options, message):
    features = named(np.random.default_rng(0).normal(size=(12, 3)))
    with pytest.raises(SelectionError, match=message):
        plot.split(side(train), side(test), features, **options)


def test_sides_and_features_without_names(ds):
    features = named(np.zeros((4, 3)))
    with pytest.raises(SelectionError, match="no coordinate 'stimulus'"):
        plot.split(side([1]).drop_vars("stimulus"), side([2]), features)
    with pytest.raises(SelectionError, match="features are"):
        plot.split(side([1]), side([2]), features.drop_vars("stimulus"))
    with pytest.raises(SelectionError, match="no image of the train side has features"):
        plot.split(side([1]), side([2]), features * np.nan)
    with pytest.raises(LaionXRError, match="CLAP"):
        plot.split(ds, ds, "CLAP")
