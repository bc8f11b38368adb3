"""`.laion.masker`: against nilearn's NiftiMasker on the same mask, and round trips."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nilearn.maskers import NiftiMasker
from sklearn.base import clone

from laion_xr.errors import DataNotDownloadedError, FileFormatError, SelectionError
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
        (lambda m, t: m.inverse_transform(np.zeros(3)), r"\(151,\) or \(n, 151\).* found \(3,\)"),
        (lambda m, t: m.inverse_transform(np.zeros((2, 2, 151))), r"found \(2, 2, 151\)"),
        (lambda m, t: m.inverse_transform(["a"] * 151), "Expected numbers"),
    ],
)
def test_what_does_not_fit(ds: xr.Dataset, tiny, call, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        call(ds.laion.masker(), tiny)


def test_paths_that_are_no_image(ds: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataNotDownloadedError, match=re.escape(str(tmp_path / "no.nii.gz"))):
        ds.laion.masker().transform(tmp_path / "no.nii.gz")
    (tmp_path / "x.nii").write_text("text")
    with pytest.raises(FileFormatError, match="not an image"):
        ds.laion.masker().transform(str(tmp_path / "x.nii"))


def test_what_has_no_voxels(ds: xr.Dataset) -> None:
    with pytest.raises(SelectionError, match="0 voxels"):
        ds.isel(voxel=[]).laion.masker()
    with pytest.raises(SelectionError, match="coordinate 'voxel'"):
        masker(xr.Dataset())
    assert isinstance(ds.isel(voxel=4).laion.masker(), VoxelMasker)
