"""The carpet: pixels against block means by NumPy, what it reads, and how little it holds."""

from __future__ import annotations

import tracemalloc

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from laion_xr import plot
from laion_xr.errors import LaionXRError, SelectionError
from laion_xr.plot.carpet import _each
from laion_xr.plot.pixels import bins, pixel_means


@pytest.fixture
def ds(tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


def main_axes(figure):
    return next(axes for axes in figure.axes if axes.get_xlabel())


def pixels(figure) -> np.ndarray:
    return np.ma.filled(main_axes(figure).get_images()[0].get_array(), np.nan)


def labels(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 60))
def test_bins(lengths, most):
    found, count = bins(lengths, most)
    assert len(found) == sum(lengths)
    assert count.sum() <= max(most, len(lengths))
    np.testing.assert_array_equal(np.unique(found), np.arange(count.sum()))
    assert (np.diff(found) >= 0).all()
    group = np.repeat(np.arange(len(lengths)), lengths)
    assert all(len({*group[found == pixel]}) == 1 for pixel in np.unique(found))
    if sum(lengths) <= most:
        np.testing.assert_array_equal(found, np.arange(sum(lengths)))


@pytest.mark.parametrize("chunks", [None, (5, -1), (-1, 4), (7, 3)])
def test_pixel_means(chunks):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(150, 12)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[:75, 3] = np.inf
    rows, columns = np.sort(rng.integers(-1, 6, 150)), rng.integers(-1, 4, 12)
    data = values if chunks is None else da.from_array(values, chunks=chunks)
    found = pixel_means(data, rows, columns, (7, 4))
    for r in range(7):
        for c in range(4):
            inside = values[np.ix_(rows == r, columns == c)].astype(float)
            inside = inside[np.isfinite(inside)]
            assert found[r, c] == pytest.approx(inside.mean() if len(inside) else np.nan, nan_ok=True)


def test_every_beta_is_a_pixel_where_there_is_room(ds, tiny):
    figure = plot.carpet(ds, order="voxel", zscore=False)
    np.testing.assert_array_equal(pixels(figure), tiny.matrix().T)
    scale = main_axes(figure).get_images()[0]
    limit = np.nanpercentile(np.abs(tiny.matrix()), 98)
    assert (scale.norm.vmin, scale.norm.vmax) == pytest.approx((-limit, limit))
    assert "percent signal change" in scale.colorbar.ax.get_ylabel()
    assert "grey: NaN" in labels(figure)


def test_blocks_are_means(ds, tiny):
    figure = plot.carpet(ds, order="voxel", zscore=False, max_pixels=(10, 6))
    found = pixels(figure)
    n_trials, n_voxels = tiny.matrix().shape
    assert found.shape[1] == 6
    # two pixels a session, of as many trials as can be
    sessions = ((0, 14), (14, 17), (31, 15))
    blocks = [block for start, n in sessions for block in np.split(np.arange(start, start + n), [-(-n // 2)])]
    rows = np.arange(n_voxels) * found.shape[0] // n_voxels
    for column, block in enumerate(blocks):
        for row in range(found.shape[0]):
            inside = tiny.matrix()[block][:, rows == row]
            assert found[row, column] == pytest.approx(np.nanmean(inside.astype(float)))
    assert f"{n_trials} trials" in main_axes(figure).get_xlabel()


def test_zscored_within_sessions(ds, tiny):
    found = pixels(plot.carpet(ds, order="voxel"))
    start = 0
    for session in tiny.sessions():
        values = tiny.matrix(sessions=[session]).astype(float)
        z = (values - np.nanmean(values, 0)) / np.nanstd(values, 0)
        np.testing.assert_allclose(found[:, start : start + len(z)], z.T, rtol=1e-3, atol=1e-4)
        start += len(z)


@pytest.mark.parametrize("zscore", [True, False])
def test_each_session_is_read_once(ds, reads, tiny, zscore):
    figure = plot.carpet(ds, zscore=zscore)
    assert [r.session for r in reads.betas] == tiny.sessions()
    axes = main_axes(figure)
    assert [label.get_text() for label in axes.get_xticklabels()] == tiny.sessions()
    assert [line.get_xdata()[0] for line in axes.lines] == [13.5, 30.5]
    reads.clear()
    shuffled = ds.isel(trial=np.random.default_rng(0).permutation(ds.sizes["trial"]))
    again = plot.carpet(shuffled, zscore=zscore)
    assert sorted(r.session for r in reads.betas) == tiny.sessions()
    assert [t.get_text() for t in main_axes(again).get_xticklabels()] == list(dict.fromkeys(shuffled.session.values))


def test_rois_stand_together(ds, tiny):
    figure = plot.carpet(ds, zscore=False)
    order = labels(figure)
    sizes = {roi: tiny.members(roi).sum() for c in tiny.categories.values() for roi in c}
    inside = {roi: tiny.members(roi) for roi in sizes}
    smallest = [
        min((roi for roi in inside if inside[roi][v]), key=lambda roi: sizes[roi], default="no ROI")
        for v in range(len(tiny.voxels))
    ]
    expected = [roi for c in tiny.categories.values() for roi in c if roi in smallest] + ["no ROI"]
    assert [text for text in order if "NaN" not in text] == [f"{roi} ({smallest.count(roi)})" for roi in expected]
    ceiling = tiny.in_mask(tiny.subject_maps["sub-03", "noise_ceiling_12rep"])
    first = [v for v in np.argsort(-ceiling, kind="stable") if smallest[v] == expected[0]]
    np.testing.assert_array_equal(pixels(figure)[: len(first)], tiny.matrix().T[first])


@pytest.mark.parametrize(("n", "says"), [(0.5, ""), (1.044, "1.04"), (10.3, "10.3"), (121, "121"), (1209.1, "1,209")])
def test_voxels_a_pixel_are_written_as_numbers(n, says):
    assert _each(n) == (f" ({says} a pixel)" if says else "")


def test_highest_ceiling_on_top(ds, tiny):
    ceiling = tiny.in_mask(tiny.subject_maps["sub-03", "noise_ceiling_12rep"])
    found = pixels(plot.carpet(ds, zscore=False, order="noise_ceiling"))
    np.testing.assert_array_equal(found[0], tiny.matrix()[:, np.nanargmax(ceiling)])


def test_a_session_that_is_off_stands_out(dataset_root):
    ds = xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")
    off = ds.betas.where(ds.session != "ses-02", ds.betas + 20)
    found = pixels(plot.carpet(ds.assign(betas=off), zscore=False, order="voxel", max_pixels=(50, 30)))
    means = np.nanmean(found, axis=0)
    assert means[10:20].min() > means[np.r_[:10, 20:30]].max() + 15
    # and an ROI whose voxels are NaN is grey
    lost = ds.betas.where(~ds.laion.roi_masks("FFA1").values[0])
    figure = plot.carpet(ds.assign(betas=lost).sel(roi="FFA1"), zscore=False)
    assert np.isnan(pixels(figure)).all()


def test_averaged_repeats_and_one_beta(ds, tmp_path):
    means = ds.laion.average_repeats()
    figure = plot.carpet(means)
    assert pixels(figure).shape[1] == means.sizes["stimulus"]
    assert main_axes(figure).get_xlabel().endswith("images")
    one = plot.carpet(ds.isel(trial=[3], voxel=[5]), zscore=False)
    assert main_axes(one).get_xlabel() == "1 trial"
    one.savefig(tmp_path / "one.png")


def test_a_large_subject_is_not_held():
    """20 sessions of 300 x 20,000 betas, 480 MB: two threads hold two sessions and what they make of them."""
    session = 300 * 20_000 * 4
    made = []

    def make(block_info=None):
        made.append(block_info[None]["chunk-location"][0])
        return np.full(block_info[None]["chunk-shape"], made[-1], np.float32)

    data = da.map_blocks(make, chunks=((300,) * 20, (20_000,)), dtype=np.float32, meta=np.empty((0, 0), np.float32))
    names = np.repeat([f"ses-{n:02d}" for n in range(1, 21)], 300).astype(object)
    betas = xr.DataArray(data, dims=("trial", "voxel"), coords={"session": ("trial", names)}, name="betas")
    with dask.config.set(scheduler="threads", num_workers=2):
        tracemalloc.start()
        figure = plot.carpet(betas, zscore=False, order="voxel")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert sorted(made) == list(range(20))
    assert peak < 5 * session < 20 * session
    assert pixels(figure).shape == (600, 1000)
    np.testing.assert_array_equal(pixels(figure)[0], np.repeat(np.arange(20), 50))
    assert len(main_axes(figure).get_xticklabels()) <= 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "size"}, "order is"),
        ({"max_pixels": (0, 5)}, "max_pixels"),
        ({"vmin": 3, "vmax": 1}, "vmin below vmax"),
    ],
)
def test_what_cannot_be_drawn(ds, options, message):
    with pytest.raises(SelectionError, match=message):
        plot.carpet(ds, **options)


def test_without_what_it_needs(ds):
    with pytest.raises(LaionXRError, match="nothing to draw"):
        plot.carpet(ds.isel(voxel=[]))
    with pytest.raises(LaionXRError, match="betas"):
        plot.carpet(ds.drop_vars("betas"))
    bare = xr.DataArray(np.zeros((2, 3)), dims=("trial", "voxel"), name="betas")
    with pytest.raises(LaionXRError, match="noise_ceiling"):
        plot.carpet(bare, order="noise_ceiling", zscore=False)
    with pytest.raises(LaionXRError, match="roi"):
        plot.carpet(bare, zscore=False)
