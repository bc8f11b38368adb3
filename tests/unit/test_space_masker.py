"""`.laion.masker`: against nilearn's NiftiMasker on the same mask, and round trips."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nilearn.decoding import Decoder
from nilearn.maskers import NiftiMasker
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from laion_xr.errors import (
    CorruptFileError,
    DataNotDownloadedError,
    FileAccessError,
    FileFormatError,
    SelectionError,
)
from laion_xr.space import VoxelMasker, masker


@pytest.fixture(scope="module")
def ds(tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


@pytest.fixture(scope="module")
def images(tiny) -> dict[str, nib.Nifti1Image]:
    rng = np.random.default_rng(0)
    return {
        "3d": nib.Nifti1Image(rng.random(tiny.grid, np.float32), tiny.affine),
        "4d": nib.Nifti1Image(rng.random((*tiny.grid, 4), np.float32), tiny.affine),
        "float64": nib.Nifti1Image(rng.random(tiny.grid), tiny.affine),
    }


@pytest.fixture(scope="module")
def theirs(tiny) -> NiftiMasker:
    return NiftiMasker(nib.load(tiny.mask_file()), standardize=None).fit()


@pytest.mark.parametrize("name", ["3d", "4d", "float64"])
def test_as_nilearn_does(ds: xr.Dataset, images, theirs: NiftiMasker, tmp_path: Path, name: str) -> None:
    mine = ds.laion.masker().fit()
    expected = theirs.transform(images[name])
    found = mine.transform(images[name])
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    nib.save(images[name], tmp_path / "x.nii.gz")
    np.testing.assert_allclose(mine.fit_transform(tmp_path / "x.nii.gz"), expected, rtol=1e-7)
    back, other = mine.inverse_transform(expected), theirs.inverse_transform(expected)
    np.testing.assert_allclose(back.get_fdata(), other.get_fdata(), rtol=1e-7)
    np.testing.assert_array_equal(back.affine, other.affine)
    np.testing.assert_array_equal(mine.mask_img_.get_fdata(), theirs.mask_img_.get_fdata())


def test_lists(ds: xr.Dataset, images, theirs: NiftiMasker) -> None:
    several = [images["3d"], images["3d"]]
    np.testing.assert_array_equal(ds.laion.masker().transform(several), theirs.transform(several))
    assert ds.laion.masker().transform([images["3d"], images["4d"]]).shape == (5, ds.sizes["voxel"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data(), dtype=st.sampled_from(["float32", "int16", "uint8", "int32"]))
def test_there_and_back_is_exact(ds: xr.Dataset, data, dtype: str) -> None:
    picks = data.draw(st.lists(st.integers(0, ds.sizes["voxel"] - 1), min_size=1, max_size=30, unique=True))
    part = ds.isel(voxel=picks)  # in any order
    shape = data.draw(st.sampled_from([(len(picks),), (3, len(picks))]))
    values = data.draw(hnp.arrays(dtype, shape))
    voxels = masker(part)
    np.testing.assert_array_equal(voxels.transform(voxels.inverse_transform(values)), values)
    np.testing.assert_array_equal(voxels.transform(part.laion.to_nifti(values.astype("f4"))), values.astype("f4"))


def test_order_is_that_of_the_object(ds: xr.Dataset, tiny) -> None:
    shuffled = ds.isel(voxel=np.random.default_rng(1).permutation(ds.sizes["voxel"]))
    volume = tiny.subject_maps["sub-03", "r2_mean"]
    found = shuffled.laion.masker().transform(nib.Nifti1Image(volume, tiny.affine))
    np.testing.assert_array_equal(found, volume.ravel()[shuffled.voxel.values])
    np.testing.assert_array_equal(found, shuffled.r2_mean.values)


def test_nan_stays(ds: xr.Dataset, tiny) -> None:
    found = ds.laion.masker().transform(nib.Nifti1Image(np.full(tiny.grid, np.nan, np.float32), tiny.affine))
    assert np.isnan(found).all()


def test_clones(ds: xr.Dataset) -> None:
    mine = ds.laion.masker()
    other = clone(mine)
    assert other is not mine
    np.testing.assert_array_equal(other.mask_img_.get_fdata(), mine.mask_img_.get_fdata())
    assert mine.set_params(voxels=np.array([3])).n_elements_ == 1
    assert "VoxelMasker(1 voxels of a grid of 6 x 7 x 5)" in repr(mine)
    with pytest.raises(SelectionError, match="no parameter 'smoothing_fwhm'"):
        mine.set_params(smoothing_fwhm=3)


COLOURS = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def image(tiny, *n: int) -> nib.Nifti1Image:
    values = np.random.default_rng(5).random((*tiny.grid, *n), np.float32)
    return nib.Nifti1Image(values, tiny.affine)


def shifted(affine: np.ndarray) -> np.ndarray:
    moved = affine.copy()
    moved[0, 3] += 1
    return moved


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, t: m.transform(nib.Nifti1Image(np.zeros((6, 7, 6)), t.affine)), r"found shape \(6, 7, 6\)"),
        (lambda m, t: m.transform(nib.Nifti1Image(np.zeros(t.grid), shifted(t.affine))), "another affine"),
        (lambda m, t: m.transform(nib.Nifti1Image(np.zeros((*t.grid, 1, 2)), t.affine)), "3-D or 4-D"),
        (lambda m, t: m.transform(3), "Expected a NIfTI image, its path, or a list of these, found int"),
        (lambda m, t: m.transform([3]), "Expected a NIfTI image or its path, found int"),
        (lambda m, t: m.transform([]), "empty list"),
        (lambda m, t: m.inverse_transform(np.zeros(3)), r"each of 151 voxels .* found shape \(3,\)"),
        (lambda m, t: m.inverse_transform(np.zeros((2, 2, 151))), r"found \(2, 2, 151\)"),
        (lambda m, t: m.inverse_transform(["a"] * 151), "Expected numbers"),
        (lambda m, t: m.inverse_transform("r2_mean"), "Expected values of 151 voxels, found 'r2_mean'"),
        (lambda m, t: m.inverse_transform(None), "Expected values of 151 voxels, found None"),
        (lambda m, t: m.inverse_transform([[1, 2], [3]]), "rows of different lengths"),
        (lambda m, t: m.inverse_transform(1j * np.ones(151)), "real numbers, found complex128"),
        (
            lambda m, t: m.transform(nib.Nifti1Image(np.zeros(t.grid, complex), t.affine)),
            "real numbers, found complex128",
        ),
        (lambda m, t: m.transform(nib.Nifti1Image(np.zeros(t.grid, COLOURS), t.affine)), "found colours"),
        (lambda m, t: m.transform(image(t, 4), confounds=np.ones((4, 1))), r"nilearn\.signal\.clean"),
        (lambda m, t: m.transform(image(t), sample_mask=[0]), "one, 3-D"),
        (lambda m, t: m.transform(image(t, 4), sample_mask=[0, 4]), "from 0 to 3, or 4 booleans"),
        (lambda m, t: m.transform(image(t, 4), sample_mask=[-1]), "from 0 to 3"),
        (lambda m, t: m.transform(image(t, 4), sample_mask=[True, False]), "or 4 booleans"),
        (lambda m, t: m.transform(image(t, 4), sample_mask=[[0], [1, 2]]), "from 0 to 3"),
        (lambda m, t: m.transform(image(t, 4), sample_mask=["a"]), "from 0 to 3"),
        (lambda m, t: m.transform(image(t, 4), sample_mask=1), "from 0 to 3"),
        (lambda m, t: m.transform(image(t, 4), sample_mask=[]), "from 0 to 3|leaves no image"),
        (lambda m, t: m.transform(image(t, 4), sample_mask=[False] * 4), "leaves no image"),
        (lambda m, t: m.set_output(transform="polars"), "'default' or 'pandas', found 'polars'"),
    ],
)
def test_what_does_not_fit(ds: xr.Dataset, tiny, call, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        call(ds.laion.masker(), tiny)


def test_paths_that_are_no_image(ds: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataNotDownloadedError, match=re.escape(str(tmp_path / "no.nii.gz"))):
        ds.laion.masker().transform(tmp_path / "no.nii.gz")
    for data in (b"", b"text", b"\x1f\x8b\x08", b"x" * 400):
        for name in ("x.nii", "x.nii.gz"):
            (tmp_path / name).write_bytes(data)
            with pytest.raises(FileFormatError, match="not an image"):
                ds.laion.masker().transform(str(tmp_path / name))
    with pytest.raises(FileFormatError, match="not an image"):
        ds.laion.masker().transform(tmp_path)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
def test_half_a_file(ds: xr.Dataset, tiny, tmp_path: Path, name: str) -> None:
    nib.save(image(tiny, 3), tmp_path / name)
    opened = nib.load(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    for source in (tmp_path / name, opened, [image(tiny), str(tmp_path / name)]):
        with pytest.raises(CorruptFileError, match=rf"{re.escape(str(tmp_path / name))} is truncated or damaged \("):
            ds.laion.masker().transform(source)
    (tmp_path / name).unlink()
    with pytest.raises(DataNotDownloadedError, match="There is no image"):
        ds.laion.masker().transform(opened)


def test_files_that_may_not_be_read(ds: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> None:
        raise PermissionError(13, "Permission denied")  # the tests may run as root

    monkeypatch.setattr(nib, "load", refused)
    with pytest.raises(FileAccessError, match="may not be read"):
        ds.laion.masker().transform(tmp_path / "x.nii")


LABELLED = {
    "array": lambda a: a,
    "array, voxels first": lambda a: a.transpose("voxel", ...),
    "variable": lambda a: a.sortby("voxel").transpose("voxel", ...).variable,
    "array without attributes": lambda a: xr.DataArray(a.values, dims=a.dims, coords={"voxel": np.array(a.voxel)}),
    "table": lambda a: pd.DataFrame(a.values, columns=pd.Index(a.voxel.values, name="voxel")),
    "table, index": lambda a: pd.DataFrame(a.values, columns=pd.Index(a.voxel.values, name="voxel")).T,
    "feature names": lambda a: pd.DataFrame(a.values, columns=[f"voxel_{n}" for n in a.voxel.values]),
    "series": lambda a: pd.Series(a.values[1], index=pd.Index(a.voxel.values, name="voxel")),
    "series of feature names": lambda a: pd.Series(a.values[1], index=[f"voxel_{n}" for n in a.voxel.values]),
}


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize("part", [False, True])
def test_labels_decide_where_a_value_goes(ds: xr.Dataset, tiny, kind: str, part: bool) -> None:
    chosen = ds.sel(roi="FFA1") if part else ds
    order = np.random.default_rng(2).permutation(chosen.sizes["voxel"])
    keep = tiny.members("FFA1") if part else slice(None)
    expected = np.zeros((2, tiny.mask.size), np.float32)
    expected[:, tiny.voxels[keep]] = tiny.matrix()[:2, keep]
    found = chosen.laion.masker().inverse_transform(LABELLED[kind](chosen.betas[:2].isel(voxel=order).load()))
    assert found.get_data_dtype() == np.float32
    rows = np.moveaxis(np.atleast_3d(found.get_fdata().reshape(tiny.mask.size, -1)), 1, 0).squeeze(-1)
    np.testing.assert_array_equal(rows, expected[1:] if "series" in kind else expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda ds, n: ds.noise_ceiling.isel(voxel=slice(0, n)), r"the \d+ voxels of the masker, found \d+, of which"),
        (lambda ds, n: ds.noise_ceiling, r"the \d+ voxels of the masker, found 151, of which"),
        (lambda ds, n: ds.sel(roi="FFA1").noise_ceiling[1:], r"voxels of the masker, found"),
        (lambda ds, n: ds.noise_ceiling.isel(voxel=slice(0, n)).to_series(), "voxels that are not here"),
        (lambda ds, n: ds.sel(roi="FFA1").noise_ceiling.to_series()[1:], "voxels of the masker, found"),
        (lambda ds, n: ds.sel(roi="FFA1").noise_ceiling[[0, *range(n - 1)]], "is there twice"),
        (
            lambda ds, n: pd.DataFrame(np.ones((1, n)), columns=[f"voxel_{i}" for i in range(300, 300 + n)]),
            "found 'voxel_300'",
        ),
        (lambda ds, n: pd.DataFrame(np.ones((1, n)), columns=[f"f{i}" for i in range(n)]), None),
        (
            lambda ds, n: pd.DataFrame(
                np.ones((1, n)),
                columns=["other", *ds.sel(roi="FFA1").laion.masker().get_feature_names_out()[1:]],
            ),
            "names of the masker's voxels, found 'other'",
        ),
        (lambda ds, n: [ds.sel(roi="FFA1").noise_ceiling] * 2, "list of labelled arrays"),
    ],
)
def test_values_of_other_voxels(ds: xr.Dataset, values, message: str | None) -> None:
    part = ds.sel(roi="FFA1")
    given = values(ds, part.sizes["voxel"])
    if message is None:  # names that say nothing here: by position
        assert part.laion.masker().inverse_transform(given).get_fdata().sum() == part.sizes["voxel"]
        return
    with pytest.raises(SelectionError, match=message):
        part.laion.masker().inverse_transform(given)


def test_values_of_another_subject_or_grid(ds: xr.Dataset, tiny) -> None:
    other = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-01")
    with pytest.raises(SelectionError, match="of another subject: they are of sub-01, the object is of sub-03"):
        ds.laion.masker().inverse_transform(other.r2_mean)
    moved = ds.r2_mean.copy()
    moved.voxel.attrs["affine"] = shifted(tiny.affine).ravel().tolist()
    with pytest.raises(SelectionError, match="of another grid"):
        ds.laion.masker().inverse_transform(moved)
    with pytest.raises(SelectionError, match="is there twice"):
        ds.isel(voxel=[1, 2, 1]).laion.masker()


def test_some_of_the_images(ds: xr.Dataset, tiny, theirs: NiftiMasker) -> None:
    mine, four = ds.laion.masker(), image(tiny, 4)
    for chosen in ([0, 3], np.array([3, 1]), [True, False, True, True], np.array([0, 1], np.uint8)):
        expected = theirs.transform(four, sample_mask=np.asarray(chosen))
        np.testing.assert_array_equal(mine.transform(four, sample_mask=chosen), expected)
        np.testing.assert_array_equal(mine.fit_transform(four, None, None, chosen), expected)
    three = [image(tiny), image(tiny, 2)]
    np.testing.assert_array_equal(mine.transform(three, sample_mask=[2]), mine.transform(three)[2:])


def test_as_a_step_of_scikit_learn(ds: xr.Dataset, tiny) -> None:
    order = np.random.default_rng(0).permutation(ds.sizes["voxel"])
    mine = ds.isel(voxel=order).laion.masker()
    names = [f"voxel_{n}" for n in tiny.voxels[order]]
    assert mine.get_feature_names_out().tolist() == names
    images = [image(tiny) for _ in range(3)]
    plain = mine.transform(images)
    steps = make_pipeline(mine, StandardScaler()).set_output(transform="pandas")
    table = steps.fit_transform(images)
    assert table.columns.tolist() == names
    np.testing.assert_array_equal(clone(mine).transform(images), pd.DataFrame(plain, columns=names))
    frame = mine.set_output().transform(images[0])
    assert frame.shape == (1, len(names))
    back = mine.inverse_transform(frame[sorted(names)])  # in another order
    np.testing.assert_array_equal(back.get_fdata().squeeze().ravel()[tiny.voxels[order]], plain[0])
    assert isinstance(mine.set_output(transform="default").transform(images), np.ndarray)


def test_mask_for_nilearns_decoder(ds: xr.Dataset, tiny) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(*tiny.grid, 20)).astype(np.float32)
    labels = np.arange(20) % 2
    values[..., labels == 1] += 2
    mask = ds.laion.masker().mask_img_
    decoder = Decoder(mask=mask, standardize=None, screening_percentile=100, cv=2)
    decoder.fit(nib.Nifti1Image(values, tiny.affine), labels)
    np.testing.assert_array_equal(decoder.mask_img_.get_fdata(), tiny.mask)
    assert np.mean(decoder.cv_scores_[0]) > 0.9


def test_what_has_no_voxels(ds: xr.Dataset) -> None:
    with pytest.raises(SelectionError, match="0 voxels"):
        ds.isel(voxel=[]).laion.masker()
    with pytest.raises(SelectionError, match="coordinate 'voxel'"):
        masker(xr.Dataset())
    assert isinstance(ds.isel(voxel=4).laion.masker(), VoxelMasker)
