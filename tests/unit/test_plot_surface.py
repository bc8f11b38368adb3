"""Values on the surface: each triangle's colour is that of its vertices, seen from the side that it lies on."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from matplotlib import colormaps

from laion_xr import plot
from laion_xr.errors import DataNotDownloadedError, LaionXRError
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
