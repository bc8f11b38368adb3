"""Bars of ROIs: their heights against NumPy, and which of them stands out."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba

from laion_xr import plot
from laion_xr.errors import SelectionError, UnknownLabelError
from laion_xr.plot.style import OKABE_ITO


@pytest.fixture(scope="module")
def ds(dataset_root) -> xr.Dataset:
    return xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")


def bars(figure) -> dict[str, float]:
    """ROI -> length of its bar."""
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    return {name.partition("  ")[0]: bar.get_width() for name, bar in zip(names, axes.patches, strict=True)}


def members(tiny, roi) -> np.ndarray:
    return tiny.in_mask(tiny.rois["sub-03", roi])


def test_bars_are_means_of_the_files(tiny):
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    values = tiny.in_mask(tiny.subject_maps["sub-03", "noise_ceiling_12rep"]).astype(float)
    for statistic, function in (("mean", np.nanmean), ("median", np.nanmedian)):
        found = bars(plot.roi_bars(ds, "noise_ceiling_12rep", statistic=statistic))
        rois = [roi for c in tiny.categories.values() for roi in c if roi != "EBA"]  # it has no voxel
        expected = {roi: function(values[members(tiny, roi)]) for roi in rois}
        assert found == pytest.approx(expected)
    labels = [t.get_text() for t in plot.roi_bars(ds, "r2_mean").axes[0].get_yticklabels()]
    assert labels[0] == f"FFA1  ({members(tiny, 'FFA1').sum()})"


@pytest.mark.parametrize("error", ["sem", "sd", "ci", None])
def test_errors(tiny, error):
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    figure = plot.roi_bars(ds, "noise_ceiling_12rep", "face", error=error)
    lines = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    assert len(lines) == (error is not None)
    if error is None:
        return
    for roi, segment in zip(("FFA1", "OFA"), lines[0].get_segments(), strict=True):
        inside = tiny.in_mask(tiny.subject_maps["sub-03", "noise_ceiling_12rep"])[members(tiny, roi)].astype(float)
        inside = inside[np.isfinite(inside)]
        low, high = segment[:, 0]
        half = np.std(inside, ddof=1) / (np.sqrt(len(inside)) if error != "sd" else 1)
        if error == "ci":  # about two standard errors on both sides
            assert low < inside.mean() < high
            assert 1.3 * half < (high - low) / 2 < 2.6 * half
        else:
            assert (low, high) == pytest.approx((inside.mean() - half, inside.mean() + half))
    assert any("voxels" in text.get_text() for text in figure.legends[0].get_texts())


def test_what_the_truth_says_stands_out(ds, dataset_root):
    """Images of what an ROI is tuned to drive it, and the bar of it is longer than those of other categories."""
    values = np.zeros(ds.sizes["voxel"])
    values[ds.laion.roi_masks("FFA1").values[0]] = 5
    found = bars(plot.roi_bars(ds, values, sort=True, error=None))
    assert next(iter(found)) == "FFA1"
    assert found["FFA1"] == 5
    assert all(value < 5 for roi, value in found.items() if roi != "FFA1")
    lengths = list(found.values())
    assert lengths == sorted(lengths, reverse=True)


def test_categories_have_colours_and_a_legend(ds):
    figure = plot.roi_bars(ds, "noise_ceiling", ["face", "PPA", "V1v | V1d"], title="ROIs")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:3] == ["face", "place", "no category"]
    colours = [bar.get_facecolor() for bar in figure.axes[0].patches]
    assert len({*colours[:-2]}) == 1
    assert len({*colours}) == 3
    # of its place among all categories, whatever is drawn beside it
    alone = plot.roi_bars(ds, "noise_ceiling", "PPA").axes[0].patches[0].get_facecolor()
    assert alone == colours[-2]
    assert len({*OKABE_ITO}) == 8
    assert figure.axes[0].get_xlabel() == "mean noise ceiling (%)"
    assert figure.axes[0].get_ylabel() == "ROI (voxels)"
    assert figure.get_suptitle() == "ROIs"


@pytest.mark.parametrize("page", ["white", "black"])
def test_every_bar_stands_out_from_the_page(ds, page):
    lines = {"white": "black", "black": "white"}[page]
    with mpl.rc_context({"text.color": lines, "axes.facecolor": page}):
        figure = plot.roi_bars(ds, "noise_ceiling", points=True)
    colours = [bar.get_edgecolor() for bar in figure.axes[0].patches]
    colours += [patch.get_edgecolor() for patch in figure.legends[0].get_patches()]
    assert set(colours) == {to_rgba(lines)}  # the palest fill, yellow on white, is 1.3 : 1
    assert all(bar.get_linewidth() >= 0.5 for bar in figure.axes[0].patches)


def test_voxels_of_several_subjects_are_not_mixed_up(dataset_root):
    both = xr.open_datatree(dataset_root, engine="laion_fmri").laion.shared()
    values = both.betas[0].compute()
    for reference in (values[::-1], values.sel(subject="sub-03")):
        with pytest.raises(SelectionError, match="several subjects"):
            plot.roi_bars(both, values, reference=reference)
    one = values.sel(subject="sub-03")
    figure = plot.roi_bars(one, one, "face", reference=one)
    marks = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)][-1].get_offsets()
    np.testing.assert_allclose(marks[:, 0], list(bars(figure).values()), rtol=1e-5)


def test_reference_and_points(ds):
    figure = plot.roi_bars(ds, "r2_mean", "face", reference="noise_ceiling", points=True)
    scatters = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    marks = scatters[-1].get_offsets()
    masks = ds.laion.roi_masks("face").values
    np.testing.assert_allclose(marks[:, 0], [np.nanmean(ds.noise_ceiling.values[m].astype(float)) for m in masks])
    for points, mask in zip(scatters, masks, strict=False):
        inside = ds.r2_mean.values[mask].astype(float)
        np.testing.assert_array_equal(points.get_offsets()[:, 0], inside[np.isfinite(inside)])
    assert figure.legends[0].get_texts()[-1].get_text() == "noise ceiling (%)"


def test_values_of_some_voxels_know_their_rois(ds):
    part = ds.sel(roi="face")
    assert bars(plot.roi_bars(ds, part.r2_mean, "FFA1")) == bars(plot.roi_bars(part, "r2_mean", "FFA1"))
    assert bars(plot.roi_bars(part.r2_mean, rois="FFA1")) == pytest.approx(bars(plot.roi_bars(ds, "r2_mean", "FFA1")))
    bare = xr.DataArray(part.r2_mean.values, dims="voxel", coords={"voxel": part.voxel.values})
    assert bars(plot.roi_bars(ds, bare, "FFA1")) == bars(plot.roi_bars(ds, "r2_mean", "FFA1"))


def test_nan_and_empty_rois_say_so(ds, tmp_path):
    values = ds.r2_mean.values.astype(float)
    values[ds.laion.roi_masks("FFA1").values[0]] = np.nan
    figure = plot.roi_bars(ds, values, ["FFA1", "OFA"])
    assert [t.get_text() for t in figure.axes[0].texts] == ["all NaN"]
    outside = ds.sel(roi="place - face")
    figure = plot.roi_bars(outside, "r2_mean", ["FFA1", "PPA"], sort=True)
    assert [t.get_text() for t in figure.axes[0].texts] == ["no voxel"]
    assert list(bars(figure)) == ["PPA", "FFA1"]
    figure.savefig(tmp_path / "a.png")


def test_names_fit_into_the_figure(ds):
    figure = plot.roi_bars(ds, "noise_ceiling")
    FigureCanvasAgg(figure).draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) > 30
    assert min(box.x0 for box in boxes) > 0
    assert all(upper.y0 > lower.y1 - 1 for upper, lower in itertools.pairwise(boxes))


def test_a_narrow_figure_has_its_legend_below(ds):
    figure = plot.roi_bars(ds, "noise_ceiling", width=3.3)
    FigureCanvasAgg(figure).draw()
    assert figure.get_size_inches()[0] == 3.3
    legend, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
    assert legend.y1 < axes.y0
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1
    assert axes.width > 0.4 * figure.bbox.width
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert min(box.x0 for box in boxes) > 0
    assert all(upper.y0 > lower.y1 - 1 for upper, lower in itertools.pairwise(boxes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width is a number of inches above 0"),
        ({"statistic": "mode"}, "statistic is"),
        ({"error": "se"}, "error is"),
        ({"values": np.zeros(3)}, "found shape"),
        ({"values": "r3_mean"}, "r2_mean"),
        ({"reference": np.zeros(3)}, "found shape"),
    ],
)
def test_what_cannot_be_drawn(ds, options, message):
    with pytest.raises(SelectionError, match=message):
        plot.roi_bars(ds, **({"values": "r2_mean"} | options))


def test_nothing_to_draw(ds):
    with pytest.raises(UnknownLabelError, match="FFA1"):
        plot.roi_bars(ds, "r2_mean", "FFA9")
    with pytest.raises(SelectionError, match="0 voxels"):
        plot.roi_bars(ds.isel(voxel=[]), "r2_mean")
    with pytest.raises(SelectionError, match="no ROI has a voxel"):
        plot.roi_bars(ds.sel(roi="place - face"), "r2_mean", "FFA1")
    with pytest.raises(SelectionError, match=r"voxels of the values are not among"):
        plot.roi_bars(ds, "r2_mean", reference=ds.noise_ceiling.sel(roi="FFA1"))
