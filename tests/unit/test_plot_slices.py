"""Slices: what is drawn where, against nibabel's own slices and the truth of the simulation."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from nibabel.processing import resample_from_to

import laion_xr
from laion_xr import plot
from laion_xr.errors import DataNotDownloadedError, FileFormatError, LaionXRError, SelectionError

T1W = "derivatives/anatomical/sub-03/ses-PrismaAnat/anat/sub-03_ses-PrismaAnat_space-T1w_res-1pt8_T1w.nii.gz"
MASK = (
    "derivatives/anatomical/sub-03/ses-PrismaAnat/anat/sub-03_ses-PrismaAnat_space-T1w_res-1pt8_desc-brain_mask.nii.gz"
)


@pytest.fixture(scope="module")
def ds(dataset_root) -> xr.Dataset:
    return xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def pictures(figure):
    """The values of each slice: the last image of its panel."""
    return [axes.get_images()[-1] for axes in panels(figure)]


def shown(figure) -> np.ndarray:
    return np.concatenate([np.ma.filled(p.get_array(), np.nan).ravel() for p in pictures(figure)])


def bar_of(figure):
    return pictures(figure)[-1].colorbar


def resampled(volume, affine, picture, axis: int, cut: float) -> np.ndarray:
    """A plane of a volume at the pixels of a picture, by nibabel and SciPy: the nearest voxel, NaN outside."""
    n_rows, n_columns = picture.get_array().shape
    left, right, bottom, top = picture.get_extent()
    u, v = (a for a in range(3) if a != axis)
    shape, target = np.ones(3, int), np.eye(4)
    shape[[u, v]] = n_columns, n_rows
    target[u, u], target[v, v] = (right - left) / n_columns, (top - bottom) / n_rows
    target[u, 3], target[v, 3], target[axis, 3] = left + target[u, u] / 2, bottom + target[v, v] / 2, cut
    image = nib.Nifti1Image(np.asarray(volume, np.float64), affine)
    found = resample_from_to(image, (tuple(shape), target), order=0, mode="constant", cval=np.nan)
    return found.get_fdata().squeeze(axis).T


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_slices_are_those_of_nibabel(ds, axis, dataset_root):
    across = "xyz".index(axis)
    cuts = np.quantile(ds[axis].values, [0.2, 0.4, 0.7]) + 0.123
    figure = plot.slices(ds, "noise_ceiling", axis=axis, cuts=cuts)
    place = f"{dataset_root}/derivatives/glmsingle-tedana/sub-03/sub-03_task-images_space-T1w"
    image = nib.load(f"{place}_desc-Noiseceiling12rep_statmap.nii.gz")
    volume = np.where(np.asarray(nib.load(dataset_root / MASK).dataobj) != 0, image.get_fdata(), np.nan)
    assert len(pictures(figure)) == 3
    for panel, picture, cut in zip(panels(figure), pictures(figure), cuts, strict=True):
        assert panel.get_title() == f"{axis} = {cut:.0f} mm"
        expected = resampled(volume, image.affine, picture, across, cut)
        assert np.isfinite(expected).sum() > 40
        np.testing.assert_allclose(np.ma.filled(picture.get_array(), np.nan), expected, rtol=1e-6)
        left, right, bottom, top = picture.get_extent()
        assert panel.get_xlim() == (left, right)
        assert panel.get_ylim() == (bottom, top)  # upwards: superior, or anterior, is on top
    letters = {text.get_text() for text in panels(figure)[0].texts}
    assert letters == {"x": {*"PAIS"}, "y": {*"LRIS"}, "z": {*"LRPA"}}[axis]


def test_right_is_on_the_right(ds):
    panel = panels(plot.slices(ds, "x", n=1))[0]
    values = np.ma.filled(panel.get_images()[-1].get_array(), np.nan)
    means = np.nanmean(values[:, np.isfinite(values).any(0)], axis=0)
    assert (np.diff(means) > 0).all()
    at = {text.get_text(): text.get_position()[0] for text in panel.texts}
    assert at["L"] < 0.5 < at["R"]


def test_labels_colour_bar_and_limits(ds):
    figure = plot.slices(ds, "noise_ceiling", title="costs 3 $ and 4 $")
    assert bar_of(figure).ax.get_xlabel() == "noise ceiling (%)"
    values = ds.noise_ceiling.values
    norm = pictures(figure)[0].norm
    assert (norm.vmin, norm.vmax) == (0, pytest.approx(np.nanpercentile(values, 99.5)))
    assert pictures(figure)[0].get_cmap().name == "viridis"
    assert {axes.get_xlabel() for axes in panels(figure)} == {"x (mm)"}
    assert panels(figure)[0].get_ylabel() == "y (mm)"
    assert figure.get_suptitle() == r"costs 3 \$ and 4 \$"
    signed = plot.slices(ds, ds.noise_ceiling - 50, label="less")
    norm = pictures(signed)[0].norm
    assert norm.vmin == -norm.vmax
    assert pictures(signed)[0].get_cmap().name == "RdBu_r"
    assert bar_of(signed).ax.get_xlabel() == "less"
    given = pictures(plot.slices(ds, "noise_ceiling", vmin=10, vmax=20, cmap="cividis"))[0]
    assert (given.norm.vmin, given.norm.vmax, given.get_cmap().name) == (10, 20, "cividis")


def test_what_the_truth_says_stands_out(ds, tmp_path):
    truth = laion_xr.simulate(tmp_path / "not-written", subjects=["sub-01", "sub-03"], seed=0, write=False)["sub-03"]
    best = truth.voxels[truth.ncsnr > np.quantile(truth.ncsnr, 0.9)]
    z = float(np.median(ds.z.values[np.isin(ds.voxel.values, best)])) + 0.1
    figure = plot.slices(ds, "noise_ceiling", cuts=z)
    (picture,) = pictures(figure)
    is_best = np.zeros(truth.mask.size)
    is_best[best] = 1
    is_best = resampled(is_best.reshape(truth.mask.shape), truth.affine, picture, 2, z) == 1
    assert is_best.sum() > 20
    values = np.ma.filled(picture.get_array(), np.nan)
    assert np.nanmedian(values[is_best]) > 60 > 20 > np.nanmedian(values[~is_best])


def test_threshold_cuts_and_places(ds):
    figure = plot.slices(ds, "noise_ceiling", threshold=40, cuts=[0, 5.0, 9])
    assert [axes.get_title() for axes in panels(figure)] == ["z = 0 mm", "z = 5 mm", "z = 9 mm"]
    found = shown(figure)
    assert np.nanmin(found) >= 40
    assert bar_of(figure).ax.get_xlabel() == "noise ceiling (%), at least 40 from 0"
    only = ds.noise_ceiling.where(ds.z > 12)
    for panel in panels(plot.slices(ds, only)):
        assert float(panel.get_title().split()[2]) >= 12
        assert np.isfinite(np.ma.filled(panel.get_images()[-1].get_array(), np.nan)).any()
    assert len(panels(plot.slices(ds, "noise_ceiling", n=12))) == 12


def test_values_as_names_arrays_and_themselves(ds):
    expected = shown(plot.slices(ds, "r2_mean", n=2))
    for figure in (
        plot.slices(ds, ds.r2_mean, n=2),
        plot.slices(ds, ds.r2_mean.values, n=2),
        plot.slices(ds.r2_mean, n=2),
        ds.laion.plot("r2_mean", n=2),
        ds.laion.plot.slices("r2_mean", n=2),
        ds.r2_mean.laion.plot(n=2),
        plot.slices(ds, ds.r2_mean.isel(voxel=slice(None, None, -1)), n=2),
    ):
        np.testing.assert_array_equal(shown(figure), expected)


def test_the_background_is_the_subjects(ds, dataset_root, tmp_path):
    panel = panels(plot.slices(ds, "noise_ceiling", cuts=7.7))[0]
    behind = panel.get_images()[0]
    image = nib.load(dataset_root / T1W)
    drawn = np.ma.filled(behind.get_array(), np.nan)
    expected = resampled(image.get_fdata(), image.affine, behind, 2, 7.7)
    assert (expected > 0).sum() > 100
    there = np.isfinite(expected)
    np.testing.assert_allclose(drawn[there], expected[there], rtol=1e-6)
    same = plot.slices(ds, "noise_ceiling", cuts=7.7, background=str(dataset_root / T1W))
    np.testing.assert_array_equal(panels(same)[0].get_images()[0].get_array(), drawn)
    assert len(panels(plot.slices(ds, "noise_ceiling", n=1, background=None))[0].get_images()) == 1
    for part in ("glmsingle-tedana/sub-03", "anatomical/sub-03"):
        shutil.copytree(dataset_root / "derivatives" / part, tmp_path / "derivatives" / part)
    (tmp_path / T1W).unlink()
    other = xr.open_dataset(tmp_path, engine="laion_fmri")
    panel = panels(plot.slices(other, "noise_ceiling", n=1))[0]
    assert len(panel.get_images()) == 1
    assert len(panel.collections) == 1  # the outline
    with pytest.raises(DataNotDownloadedError, match="res-1pt8_T1w"):
        plot.slices(other, "noise_ceiling", background="T1w")
    (tmp_path / T1W).write_bytes(b"not an image")
    with pytest.raises(FileFormatError, match="res-1pt8_T1w"):
        plot.slices(other, "noise_ceiling")


def test_one_voxel_and_an_oblique_grid(tiny):
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    one = ds.isel(voxel=[40])
    figure = plot.slices(one, "noise_ceiling_12rep", background=None)
    assert len(panels(figure)) == 1
    assert {*shown(figure)[np.isfinite(shown(figure))]} == {float(one.noise_ceiling_12rep.values[0])}
    whole = shown(plot.slices(ds, "r2_mean"))
    assert {*whole[np.isfinite(whole)]} <= {*ds.r2_mean.values.astype(float)}


def test_all_nan_says_so(ds, tmp_path):
    figure = plot.slices(ds, ds.noise_ceiling * np.nan, n=2)
    assert bar_of(figure).ax.get_xlabel().endswith(": all NaN")
    figure.savefig(tmp_path / "a.png")


def test_into_a_given_figure(ds):
    outer = plot.slices(ds, "noise_ceiling", n=1)
    outer.clear()
    left, _ = outer.subfigures(1, 2)
    assert plot.slices(ds, "noise_ceiling", n=2, figure=left) is outer
    assert len(panels(left)) == 2


def test_shows_itself_without_pyplot(ds):
    assert plot.slices(ds, "noise_ceiling", n=1)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (None, {}, "which values"),
        ("noise_cieling", {}, "noise_ceiling"),
        ("roi", {}, "numbers"),
        ("noise_ceiling_session", {}, r"one value a voxel, found dims .* select one of \['ses'\]"),
        (np.zeros(3), {}, "found shape"),
        ("noise_ceiling", {"axis": "w"}, "axis is 'x', 'y' or 'z'"),
        ("noise_ceiling", {"n": 0}, "above 0"),
        ("noise_ceiling", {"cuts": []}, "cuts are positions"),
        ("noise_ceiling", {"cuts": "middle"}, "cuts are positions"),
        ("noise_ceiling", {"cuts": [np.nan]}, "cuts are positions"),
        ("noise_ceiling", {"threshold": 1000}, "lower threshold"),
        ("noise_ceiling", {"vmin": 5, "vmax": 5}, "vmin below vmax"),
        ("noise_ceiling", {"cmap": "virids"}, "viridis"),
        ("noise_ceiling", {"background": "photo"}, "background is"),
    ],
)
def test_what_cannot_be_drawn(ds, values, options, message):
    with pytest.raises(LaionXRError, match=message):
        plot.slices(ds, values, **options)


def test_zero_voxels_and_another_subject(ds, dataset_root):
    with pytest.raises(SelectionError, match="0 voxels"):
        plot.slices(ds.isel(voxel=[]), "noise_ceiling")
    other = xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-01")
    with pytest.raises(SelectionError, match="another subject"):
        plot.slices(ds, other.noise_ceiling)


def test_as_wide_and_with_as_many_columns_as_asked_for(ds):
    figure = plot.slices(ds, "noise_ceiling", n=4, columns=2, width=3.3)
    assert figure.get_size_inches()[0] == 3.3
    FigureCanvasAgg(figure).draw()
    boxes = [axes.get_window_extent() for axes in panels(figure)]
    assert len({round(box.x0) for box in boxes}) == len({round(box.y0) for box in boxes}) == 2
    whole = figure.get_tightbbox()
    assert whole.x0 >= -0.01
    assert whole.x1 <= 3.31
    assert plot.slices(ds, "noise_ceiling", n=4, columns=9).get_size_inches()[0] > 9
    for options in ({"columns": 0}, {"columns": "a"}, {"width": -1}, {"width": "wide"}):
        with pytest.raises(SelectionError, match=next(iter(options))):
            plot.slices(ds, "noise_ceiling", **options)
