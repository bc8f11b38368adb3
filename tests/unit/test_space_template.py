"""MNI305: points and images against the truth, nibabel and nitransforms on the raw files."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nibabel.affines import apply_affine
from nitransforms.linear import Affine
from nitransforms.resampling import apply
from scipy.ndimage import map_coordinates

from laion_xr.errors import DataNotDownloadedError, FileFormatError, MissingExtraError, SelectionError
from laion_xr.simulate import SubjectTruth, Truth, simulate
from laion_xr.space import template_points, to_template


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    return simulate(tmp_path_factory.mktemp("template"), [3], 1, 8, stimuli=False, models=False)


@pytest.fixture(scope="module")
def subject(truth: Truth) -> SubjectTruth:
    return truth["sub-03"]


@pytest.fixture(scope="module")
def ds(truth: Truth) -> xr.Dataset:
    return xr.open_dataset(truth.root, engine="laion_fmri")


def folder(root: Path) -> Path:
    return root / "derivatives" / "freesurfer" / "sub-03" / "mri" / "transforms"


@pytest.fixture
def moved(truth: Truth, tmp_path: Path) -> Path:
    shutil.copytree(folder(truth.root), folder(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("transform", "within"), [(None, 1e-3), ("lta", 1e-9), ("xfm", 1e-3)])
def test_points_are_where_the_truth_says(ds: xr.Dataset, subject: SubjectTruth, transform, within: float) -> None:
    points = np.array([[0, 0, 0], [30, -50, -15], [-41.5, 12.25, 3]])
    found = ds.laion.template_points(points, transform=transform)
    np.testing.assert_allclose(found, apply_affine(subject.mni305, points), atol=within)
    assert found.attrs["transform"].endswith("talairach.lta" if transform == "lta" else "talairach.xfm")
    assert found.dims == ("point", "axis")


def test_points_as_nitransforms_maps_them(ds: xr.Dataset, truth: Truth) -> None:
    """nitransforms maps the way images are pulled, from the template, and reads to single precision."""
    theirs = Affine.from_filename(folder(truth.root) / "talairach.lta", fmt="fs")
    points = np.array([[0, 0, 0], [30, -50, -15.0]])
    np.testing.assert_allclose(theirs.map(template_points(ds, points).values), points, atol=1e-3)


def test_every_voxel(ds: xr.Dataset, subject: SubjectTruth) -> None:
    part = ds.sel(roi="FFA1")
    found = part.laion.template_points(transform="lta")
    ijk = np.array(np.unravel_index(part.voxel.values, subject.mask.shape)).T
    np.testing.assert_allclose(found, apply_affine(subject.mni305 @ subject.affine, ijk), atol=1e-9)
    np.testing.assert_array_equal(found.voxel, part.voxel)


def test_volume_to_volume_is_the_same_matrix(ds: xr.Dataset, subject: SubjectTruth, moved: Path) -> None:
    """The same transform as voxels to voxels (LTA type 0), as FreeSurfer writes it too."""
    path = folder(moved) / "talairach.lta"
    text = path.read_text()
    nums = re.findall(r"volume = (\d+).*?cras   = ([^\n]*)", text, re.DOTALL)
    grids = []
    for size, cras in nums:
        grid = np.eye(4)
        grid[:3, :3] = [[-1, 0, 0], [0, 0, 1], [0, -1, 0]]
        grid[:3, 3] = np.array(cras.split(), float) - grid[:3, :3] @ np.full(3, int(size) / 2)
        grids.append(grid)
    matrix = np.linalg.inv(grids[1]) @ subject.mni305 @ grids[0]
    rows = "\n".join(" ".join(f"{v:.15e}" for v in row) for row in matrix)
    head, rest = text.split("1 4 4\n")
    head = head.replace("type      = 1 # LINEAR_RAS_TO_RAS", "type      = 0 # LINEAR_VOX_TO_VOX")
    path.write_text(f"{head}1 4 4\n{rows}\n" + "\n".join(rest.splitlines()[4:]) + "\n")
    found = template_points(ds, [30, -50, -15], transform="lta", root=moved)
    np.testing.assert_allclose(found[0], apply_affine(subject.mni305, [30, -50, -15]), atol=1e-9)
    theirs = Affine.from_filename(path, fmt="fs")
    np.testing.assert_allclose(theirs.map(found.values), [[30, -50, -15]], atol=1e-2)


def test_image_as_nitransforms_makes_it(ds: xr.Dataset, truth: Truth, subject: SubjectTruth) -> None:
    found = ds.laion.to_template("noise_ceiling", interpolation="nearest", transform="lta")
    raw = np.zeros(subject.mask.shape, np.float32)
    raw.ravel()[ds.voxel.values] = ds.noise_ceiling.values
    theirs = Affine.from_filename(folder(truth.root) / "talairach.lta", fmt="fs")
    expected = apply(theirs, nib.Nifti1Image(raw, subject.affine), reference=found, order=0).get_fdata()
    mine = found.get_fdata()
    inside = np.isfinite(mine)
    # single precision moves places that lie between two voxels
    assert (np.abs(np.nan_to_num(mine) - np.nan_to_num(expected)) > 1e-6).mean() < 1e-3
    assert inside.sum() * 2**3 == pytest.approx(subject.mask.sum() * 1.778**3 * np.linalg.det(subject.mni305), rel=0.02)


def test_linear_as_scipy_interpolates(ds: xr.Dataset, subject: SubjectTruth) -> None:
    values = np.random.default_rng(0).random(ds.sizes["voxel"], np.float32)
    found = to_template(ds, values, resolution=4)
    mine = found.get_fdata()
    grid = np.indices(mine.shape).reshape(3, -1).T
    pull = np.linalg.inv(subject.mni305 @ subject.affine) @ found.affine
    ijk = apply_affine(pull, grid).T
    volume, there = np.zeros((2, *subject.mask.shape))
    volume.ravel()[ds.voxel.values], there.ravel()[ds.voxel.values] = values, 1
    total, weight = (map_coordinates(v, ijk, order=1).reshape(mine.shape) for v in (volume, there))
    clear = np.abs(weight - 0.5) > 1e-6
    np.testing.assert_array_equal(np.isfinite(mine)[clear], (weight >= 0.5)[clear])
    inside = np.isfinite(mine) & clear
    assert inside.sum() > 1000
    np.testing.assert_allclose(mine[inside], (total / np.where(weight, weight, 1))[inside], rtol=1e-4, atol=1e-4)


def test_an_roi_lands_where_its_points_land(ds: xr.Dataset, subject: SubjectTruth) -> None:
    mask = ds.laion.roi_masks("FFA1").sel(roi="FFA1")
    image = ds.laion.to_template(mask, interpolation="nearest", resolution=1)
    inside = np.argwhere(image.get_fdata() == 1)
    centre = apply_affine(image.affine, inside).mean(axis=0)
    voxels = np.intersect1d(subject.rois["FFA1"], ds.voxel.values)  # an ROI may leave the brain
    ijk = np.array(np.unravel_index(voxels, subject.mask.shape)).T
    expected = apply_affine(subject.mni305 @ subject.affine, ijk).mean(axis=0)
    np.testing.assert_allclose(centre, expected, atol=0.3)


def test_a_grid_of_ones_own_and_another_dim(ds: xr.Dataset, tmp_path: Path) -> None:
    reference = nib.Nifti1Image(np.zeros((20, 22, 18), np.uint8), np.diag([8, 8, 8, 1.0]) + 0)
    reference.affine[:3, 3] = [-80, -110, -60]
    nib.save(reference, tmp_path / "ref.nii.gz")
    image = to_template(ds, ds.betas[:3], reference=tmp_path / "ref.nii.gz")
    assert image.shape == (20, 22, 18, 3)
    np.testing.assert_array_equal(image.affine, reference.affine)
    one = to_template(ds, ds.betas[2], reference=reference)
    np.testing.assert_array_equal(image.get_fdata()[..., 2], one.get_fdata())
    plain = to_template(ds, ds.betas[2].values, reference=reference)
    np.testing.assert_array_equal(plain.get_fdata(), one.get_fdata())


def test_nan_is_no_value(ds: xr.Dataset) -> None:
    values = np.ones(ds.sizes["voxel"], np.float32)
    values[::4] = np.nan
    found = to_template(ds, values).get_fdata()
    np.testing.assert_allclose(found[np.isfinite(found)], 1, rtol=1e-5)
    assert np.isnan(to_template(ds, values * np.nan).get_fdata()).all()


def test_which_file(ds: xr.Dataset, subject: SubjectTruth, moved: Path) -> None:
    expected = apply_affine(subject.mni305, [1, 2, 3])
    (folder(moved) / "talairach.xfm").unlink()
    found = template_points(ds, [1, 2, 3], root=moved)
    assert found.attrs["transform"].endswith("talairach.lta")
    np.testing.assert_allclose(found[0], expected, atol=1e-9)
    with pytest.raises(DataNotDownloadedError, match=r"talairach\.xfm is not there: download it"):
        template_points(ds, [1, 2, 3], root=moved, transform="xfm")
    (folder(moved) / "talairach.lta").unlink()
    with pytest.raises(DataNotDownloadedError, match=r"expected .*talairach\.xfm or .*talairach\.lta; download it"):
        ds.laion.to_template("noise_ceiling", root=moved)


@pytest.mark.parametrize("text", ["", "type = 1\n", "type      = 14\nnxforms   = 1\n1 4 4\n" + "1 0 0 0\n" * 4])
def test_files_that_are_no_transform(ds: xr.Dataset, moved: Path, text: str) -> None:
    (folder(moved) / "talairach.lta").write_text(text)
    with pytest.raises(FileFormatError, match=r"talairach\.lta is not a linear transform"):
        template_points(ds, [1, 2, 3], root=moved, transform="lta")
    (folder(moved) / "talairach.xfm").write_text(text)
    with pytest.raises(FileFormatError, match=r"talairach\.xfm is not a linear transform"):
        template_points(ds, [1, 2, 3], root=moved)


def test_without_nitransforms(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nitransforms.linear", None)
    with pytest.raises(MissingExtraError, match=r"'nitransforms'.*pip install 'laion-xr\[template\]'"):
        ds.laion.to_template("noise_ceiling")
    assert ds.laion.template_points([1, 2, 3]).shape == (1, 3)  # needs none


@pytest.mark.parametrize("kind", ["array", "series", "without attributes", "table"])
def test_labels_decide_where_a_value_goes(ds: xr.Dataset, kind: str) -> None:
    values = ds.r2_mean.isel(voxel=np.random.default_rng(0).permutation(ds.sizes["voxel"])).load()
    index = pd.Index(values.voxel.values, name="voxel")
    given = {
        "array": values,
        "series": pd.Series(values.values, index),
        "without attributes": xr.DataArray(values.values, dims="voxel", coords={"voxel": np.asarray(index)}),
        "table": pd.DataFrame([values.values, values.values], columns=index),
    }[kind]
    expected = to_template(ds, ds.r2_mean.values, resolution=8).get_fdata()
    found = to_template(ds, given, resolution=8).get_fdata()
    np.testing.assert_array_equal(found if found.ndim == 3 else found[..., 1], expected)
    with pytest.raises(SelectionError, match="that are not here"):
        to_template(ds.sel(roi="FFA1"), pd.Series(values.values, index))


@pytest.mark.parametrize("resolution", [np.float32(8), np.int64(8), np.float64(8.0), 8])
def test_numpys_numbers(ds: xr.Dataset, resolution: object) -> None:
    found = to_template(ds, "r2_mean", resolution=resolution)
    np.testing.assert_array_equal(found.affine[:3, :3], 8 * np.eye(3))
    np.testing.assert_array_equal(found.get_fdata(), to_template(ds, "r2_mean", resolution=8.0).get_fdata())


def test_labels_are_exact(ds: xr.Dataset) -> None:
    labels = 2**40 + 1 + np.arange(ds.sizes["voxel"])
    found = to_template(ds, labels, interpolation="nearest", resolution=4)
    assert found.get_data_dtype() == np.float64
    values = found.get_fdata()
    values = values[np.isfinite(values)]
    assert len(values) > 100
    assert np.isin(values, labels).all()
    assert to_template(ds, "r2_mean", resolution=8).get_data_dtype() == np.float32


def test_places_with_names_of_axes(ds: xr.Dataset) -> None:
    places = np.array([[0, 1, 2], [30, -50, -15], [-41.5, 12.25, 3]])
    expected = template_points(ds, places)
    array = xr.DataArray(places, dims=("point", "axis"), coords={"axis": list("xyz")})
    for given in (
        array.T,
        array.isel(axis=[2, 0, 1]),
        array.drop_vars("axis").T,
        pd.DataFrame(places[:, ::-1], columns=list("zyx")),
        pd.DataFrame(places, columns=list("xyz")).assign(name="a")[["name", "z", "x", "y"]],
    ):
        np.testing.assert_array_equal(template_points(ds, given), expected)
    np.testing.assert_array_equal(template_points(ds, array[0]), expected[:1])


def test_half_a_reference(ds: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(SelectionError, match=r"reference is an image, or the path of one; .*x\.nii\.gz"):
        to_template(ds, "r2_mean", reference=tmp_path / "x.nii.gz")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: ds.laion.to_template("r2_mean", "MNI152"), "Did you mean 'MNI305'.*There are: MNI305, fsaverage"),
        (
            lambda ds: ds.laion.to_template("r2_mean", "fsaverage"),
            r"is a surface: take to_surface\(values, 'fsaverage'\)",
        ),
        (lambda ds: ds.laion.to_template("r2_mean", interpolation="cubic"), "There are: linear, nearest"),
        (lambda ds: ds.laion.to_template("r2_mean", resolution=0), "resolution is in mm"),
        (lambda ds: ds.laion.to_template("r2_mean", resolution=np.float32("nan")), "resolution is in mm"),
        (lambda ds: ds.laion.to_template("r2_mean", resolution=np.bool_(True)), "resolution is in mm"),
        (lambda ds: ds.laion.to_template("r2_mean", resolution="2"), "resolution is in mm"),
        (lambda ds: ds.laion.to_template("r2_mean", reference=3), "reference is an image"),
        (
            lambda ds: ds.laion.to_template("r2_mean", reference=nib.Nifti1Image(np.zeros((3, 3)), np.eye(4))),
            r"3 dims or more, found shape \(3, 3\)",
        ),
        (lambda ds: ds.laion.to_template("r2_mean", reference="no.nii"), "reference is an image"),
        (lambda ds: ds.laion.to_template("r2_mean", transform="dat"), "There are: xfm, lta"),
        (lambda ds: ds.laion.to_template(np.zeros(5)), r"found shape \(5,\)"),
        (lambda ds: ds.isel(voxel=[]).laion.to_template("r2_mean"), "0 voxels"),
        (lambda ds: ds.laion.to_template(np.zeros(ds.sizes["voxel"], complex)), "real numbers, found complex128"),
        (lambda ds: ds.laion.template_points("here"), r"places \(x, y, z\)"),
    ],
)
def test_bad_input(ds: xr.Dataset, call, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        call(ds)
