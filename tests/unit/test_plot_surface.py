"""Values on the surface: each triangle's colour is that of its vertices, seen from the side that it lies on."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from matplotlib import colormaps

from laion_xr import plot
from laion_xr.errors import DataNotDownloadedError, LaionXRError, SelectionError
from laion_xr.plot.surface import face_values

SURF = "derivatives/freesurfer/sub-03/surf"


@pytest.fixture(scope="module")
def ds(dataset_root) -> xr.Dataset:
    return xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")


def panels(figure) -> dict[str, object]:
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def triangles(axes) -> tuple[np.ndarray, np.ndarray]:
    """Corners (face, 3, 2) and colours (face, 4)."""
    (drawn,) = axes.collections
    return np.array([path.vertices[:3] for path in drawn.get_paths()]), drawn.get_facecolors()


def test_face_values():
    values = np.array([1.0, 2.0, 6.0, np.nan, np.nan])
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 3, 4], [3, 4, 3]])
    np.testing.assert_array_equal(face_values(values, faces), [3, 1.5, np.nan, np.nan])


def test_triangles_are_coloured_by_position(ds, dataset_root):
    """The height of every voxel, drawn: colours follow the second axis of each picture."""
    figure = plot.surface(ds, ds.z, kind="white", vmin=-40, vmax=60, cmap="viridis", label="height (mm)")
    assert [*panels(figure)] == ["left, lateral", "right, lateral", "left, medial", "right, medial"]
    for axes in panels(figure).values():
        corners, colours = triangles(axes)
        height = corners[:, :, 1].mean(1)
        table = colormaps["viridis"](np.arange(256))
        index = np.abs(colours[:, None, :3] - table[:, :3]).sum(2)
        has_value = index.min(1) < 1e-9
        assert has_value.sum() > 100
        drawn = -40 + (index[has_value].argmin(1) + 0.5) * 100 / 256
        # between white and pial, where the values are from, and the white surface, which is drawn
        assert np.abs(drawn - height[has_value]).max() < 4
        assert np.abs(drawn - height[has_value]).mean() < 1
    assert figure.axes[-1].get_xlabel() == "height (mm)"


@pytest.mark.parametrize(
    ("hemi", "view", "axis", "sign"),
    [("L", "lateral", 1, -1), ("L", "medial", 1, 1), ("R", "lateral", 1, 1), ("R", "medial", 1, -1),
     ("L", "dorsal", 0, 1), ("R", "ventral", 0, -1), ("L", "anterior", 0, -1), ("R", "posterior", 0, 1)],
)  # fmt: skip
def test_sides(ds, dataset_root, hemi, view, axis, sign):
    """What lies to the right of a picture, and that only triangles that face the viewer are drawn."""
    figure = plot.surface(ds, "noise_ceiling", kind="white", views=view, hemispheres=hemi)
    (axes,) = panels(figure).values()
    corners, _ = triangles(axes)
    path = dataset_root / SURF / f"{hemi.lower()}h.white"
    coords, faces, info = nib.freesurfer.read_geometry(path, read_metadata=True)
    coords = coords + info["cras"]
    up = 1 if view in ("dorsal", "ventral") else 2
    expected = {tuple(np.round(c, 2)) for c in np.stack([sign * coords[:, axis], coords[:, up]], 1)}
    assert {tuple(np.round(c, 2)) for c in corners.reshape(-1, 2)} <= expected
    assert 0.3 * len(faces) < len(corners) < 0.7 * len(faces)


def test_what_the_truth_says_stands_out(ds):
    """The voxels of one ROI, 1, and 0 elsewhere: yellow is where its vertices are."""
    inside = ds.laion.roi_masks("V1v").astype(float).isel(roi=0, drop=True)
    figure = plot.surface(ds, inside, kind="white", views="posterior", hemispheres="L", threshold=0.5, vmin=0, vmax=1)
    (axes,) = panels(figure).values()
    corners, colours = triangles(axes)
    coloured = np.ptp(colours[:, :3], axis=1) > 1e-6  # not grey
    assert 0 < coloured.sum() < 0.5 * len(coloured)
    at = ds.sel(roi="V1v")
    left = at.x.values < np.median(ds.x.values)
    place = [at.x.values[left].mean(), at.z.values[left].mean()]
    assert np.linalg.norm(corners[coloured].mean((0, 1)) - place) < 5


def test_scale_title_and_nothing(ds, tmp_path):
    figure = plot.surface(ds, "noise_ceiling", title="Ceiling", views="lateral")
    assert figure.axes[-1].get_xlabel() == "noise ceiling (%)"
    assert figure.get_suptitle() == "Ceiling"
    few = plot.surface(ds, "noise_ceiling", threshold=2.5, views="lateral", hemispheres="L")
    assert few.axes[-1].get_xlabel() == "noise ceiling (%), at least 2.5 from 0"
    nothing = plot.surface(ds, ds.noise_ceiling * np.nan, views=["lateral"], hemispheres="R")
    assert nothing.axes[-1].get_xlabel().endswith(": nothing to show")
    _, colours = triangles(panels(nothing)["right, lateral"])
    assert np.ptp(colours[:, :3], axis=1).max() < 1e-6  # all grey
    nothing.savefig(tmp_path / "a.png")
    assert len(panels(ds.laion.plot.surface("noise_ceiling", views="dorsal"))) == 2


def test_sulci_are_darker_where_they_are_known(ds, dataset_root, tmp_path):
    nan = ds.noise_ceiling * np.nan
    _, with_folds = triangles(panels(plot.surface(ds, nan, views="lateral", hemispheres="L"))["left, lateral"])
    for part in ("glmsingle-tedana/sub-03", "anatomical/sub-03", "freesurfer/sub-03"):
        shutil.copytree(dataset_root / "derivatives" / part, tmp_path / "derivatives" / part)
    (tmp_path / SURF / "lh.sulc").unlink()
    other = xr.open_dataset(tmp_path, engine="laion_fmri")
    _, plain = triangles(panels(plot.surface(other, nan, views="lateral", hemispheres="L"))["left, lateral"])
    assert (with_folds[:, 0] <= plain[:, 0]).all()
    sulc = nib.freesurfer.read_morph_data(dataset_root / SURF / "lh.sulc")
    assert ((with_folds[:, 0] < plain[:, 0]).any()) == (sulc > 0).any()
    (tmp_path / SURF / "rh.inflated").unlink()
    with pytest.raises(DataNotDownloadedError, match=r"rh\.inflated"):
        plot.surface(other, "noise_ceiling")


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (None, {}, "which values"),
        ("noise_cieling", {}, "noise_ceiling"),
        (np.zeros(3), {}, "found shape"),
        ("noise_ceiling", {"views": "laterl"}, "lateral"),
        ("noise_ceiling", {"hemispheres": "left"}, "'L' and 'R'"),
        ("noise_ceiling", {"engine": "vtk"}, "engine is"),
        ("noise_ceiling", {"kind": "inflted"}, "inflated"),
        ("noise_ceiling", {"mesh": "fsnativ"}, "fsnative"),
    ],
)
def test_what_cannot_be_drawn(ds, values, options, message):
    with pytest.raises(LaionXRError, match=message):
        plot.surface(ds, values, **options)
    with pytest.raises(LaionXRError, match="0 voxels"):
        plot.surface(ds.isel(voxel=[]), "noise_ceiling")


def colours_of(values: np.ndarray, faces: np.ndarray, top: float) -> np.ndarray:
    """The colour of each triangle whose corners all have a value, from 0 to `top`; NaN for the others."""
    means = values[faces].mean(1)
    found = colormaps["viridis"](np.clip(means / top, 0, 1))
    found[~np.isfinite(means)] = np.nan
    return found


def check_panel(axes, coords: np.ndarray, faces: np.ndarray, values: np.ndarray, top: float, sign: int) -> None:
    """Each triangle that is drawn lies where its corners are, seen along x, and has the mean of their values."""
    corners, colours = triangles(axes)
    flat = np.stack([sign * coords[:, 1], coords[:, 2]], 1)
    # of a sphere, a triangle in front lies before one behind: the nearest is drawn
    nearest_last = np.argsort(sign * coords[faces].mean(1)[:, 0])
    of_corners = {tuple(np.round(flat[faces[n]].mean(0), 3)): n for n in nearest_last}
    drawn = np.array([of_corners[tuple(np.round(c, 3))] for c in corners.mean(1)])
    expected = colours_of(values, faces[drawn], top)
    known = np.isfinite(expected[:, 0])
    assert known.sum() > 200
    assert len({*drawn.tolist()}) == len(drawn)
    np.testing.assert_allclose(colours[known], expected[known], atol=1e-6)


@pytest.fixture(scope="module")
def fsaverage5() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The inflated surfaces that come with nilearn, as nibabel reads them."""
    datasets = pytest.importorskip("nilearn.datasets", reason="needs nilearn, which has fsaverage5")
    paths = datasets.fetch_surf_fsaverage("fsaverage5")
    found = {}
    for hemi, side in (("L", "left"), ("R", "right")):
        image = nib.load(paths[f"infl_{side}"])
        found[hemi] = image.agg_data("pointset").astype(float), image.agg_data("triangle")
    return found


def on_vertices(values: np.ndarray, **coords) -> xr.DataArray:
    return xr.DataArray(values, dims="vertex", coords={n: ("vertex", v) for n, v in coords.items()}, name="values")


@pytest.mark.parametrize("how", ["of the Dataset", "by itself", "mean", "bare", "turned round"])
def test_values_at_vertices_of_fsaverage(ds, fsaverage5, how):
    """The height of each vertex of nilearn's mesh on the left, its depth on the right: no side can take the other's."""
    sizes = [len(fsaverage5[hemi][0]) for hemi in "LR"]
    numbers = np.concatenate([fsaverage5["L"][0][:, 2] + 100, 100 - fsaverage5["R"][0][:, 1]])
    values = ds.laion.to_surface("noise_ceiling", "fsaverage5").copy(data=numbers)
    options = {"views": "lateral", "vmin": 0, "vmax": 200, "cmap": "viridis"}
    if how == "of the Dataset":
        figure = ds.laion.plot.surface(values, mesh="fsaverage5", **options)
    elif how == "by itself":
        figure = values.laion.plot.surface(**options)
    elif how == "mean":
        other = values.assign_coords({n: values[n] + 1 for n in "xyz"})  # another subject's positions
        both = xr.concat([values - 30, other + 30], "subject", coords="minimal", compat="override")
        figure = plot.surface(both.mean("subject"), **options)
    elif how == "bare":
        figure = plot.surface(on_vertices(numbers), **options)
    else:
        figure = plot.surface(ds, values.isel(vertex=slice(None, None, -1)), **options)
    assert [*panels(figure)] == ["left, lateral", "right, lateral"]
    left, right = panels(figure).values()
    check_panel(left, *fsaverage5["L"], numbers[: sizes[0]], 200, -1)
    check_panel(right, *fsaverage5["R"], numbers[sizes[0] :], 200, 1)


def test_voxels_and_their_values_at_vertices_are_the_same_picture(ds):
    for mesh in ("fsnative", "fsaverage5"):
        values = ds.laion.to_surface("noise_ceiling", mesh)
        for axes, other in zip(
            panels(plot.surface(ds, "noise_ceiling", mesh=mesh)).values(),
            panels(plot.surface(ds, values)).values(),
            strict=True,
        ):
            for one, two in zip(triangles(axes), triangles(other), strict=True):
                np.testing.assert_array_equal(one, two)
    assert plot.surface(ds, values).axes[-1].get_xlabel() == "noise ceiling (%)"
    dataset = xr.Dataset({"ceiling": values})
    assert dataset.laion.plot.surface("ceiling").axes[-1].get_xlabel() == "noise ceiling (%)"


def test_values_at_vertices_of_the_subject(ds, dataset_root):
    """Through nibabel: the values lie on the subject's own inflated surface."""
    values = ds.laion.to_surface("noise_ceiling", "fsnative")
    figure = ds.laion.plot.surface(values, views="lateral", vmin=0, vmax=100, cmap="viridis")
    for hemi, sign, axes in zip("LR", (-1, 1), panels(figure).values(), strict=True):
        coords, faces = nib.freesurfer.read_geometry(dataset_root / SURF / f"{hemi.lower()}h.inflated")
        check_panel(axes, coords, faces, values.sel(hemi=hemi).values.astype(float), 100, sign)


def test_some_vertices_or_one_hemisphere(ds):
    values = ds.laion.to_surface("noise_ceiling", "fsaverage5")
    assert [*panels(plot.surface(values.sel(hemi="R"), views="medial"))] == ["right, medial"]
    some = values.isel(vertex=values.values > 50)
    axes = panels(plot.surface(some, views="lateral", hemispheres="L"))["left, lateral"]
    whole = panels(plot.surface(values.where(values > 50), views="lateral", hemispheres="L", vmax=80))["left, lateral"]
    coloured = [np.ptp(triangles(a)[1][:, :3], axis=1) > 1e-6 for a in (axes, whole)]
    np.testing.assert_array_equal(*coloured)
    assert 0 < coloured[0].sum() < len(coloured[0])
    few = plot.surface(values, threshold=60, views="lateral")
    assert few.axes[-1].get_xlabel() == "noise ceiling (%), at least 60 from 0"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda v: v, {"mesh": "fsaverage6"}, r"vertices of fsaverage5, found mesh='fsaverage6'"),
        (lambda v: v, {"mesh": "fsaverag5"}, "fsaverage5"),
        (lambda v: v, {"depths": 0.5}, r"vertices already, found \['depths'\]"),
        (lambda v: v.sel(hemi="L"), {"hemispheres": "R"}, r"values of \['L'\] only"),
        (lambda v: v.expand_dims(subject=2), {}, r"select one of \['subject'\]"),
        (lambda v: v.isel(vertex=[]), {}, "0 vertices"),
        (lambda v: v.astype(str), {}, "real numbers"),
        (lambda v: xr.concat([v, v], "vertex"), {}, "more than once"),
        (lambda v: on_vertices(v.values[:-1]), {"mesh": "fsaverage5"}, "fsaverage5 has 20,484 vertices, found 20,483"),
        (lambda v: on_vertices(v.values), {"mesh": "fsnative"}, "need the surfaces of their subject"),
        (lambda v: on_vertices(v.values[1:], hemi=v.hemi.values[1:]), {"mesh": "fsaverage5"}, "vertices of the left"),
        (lambda v: on_vertices(v.values, hemi=np.full(20484, "left")), {"mesh": "fsaverage5"}, "'L' and 'R'"),
        (lambda v: on_vertices(v.values[:9], hemi=["L"] * 9), {"mesh": "fsaverage5"}, "left hemisphere, found 9"),
    ],
)  # fmt: skip
def test_vertices_that_fit_no_mesh(ds, change, options, message):
    values = change(ds.laion.to_surface("noise_ceiling", "fsaverage5"))
    with pytest.raises(SelectionError, match=message):
        plot.surface(values, **options)


def test_vertices_of_another_subjects_number(ds):
    bare = on_vertices(np.zeros(1000))
    with pytest.raises(SelectionError, match=r"fsnative has 1,284 vertices, found 1,000 values"):
        ds.laion.plot.surface(bare)
    with pytest.raises(SelectionError, match="which values"):
        plot.surface(xr.Dataset({"a": bare}))
