"""`.laion.to_nifti`: values back into the grid, checked with nibabel after saving."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr

from laion_xr.analysis import geometry, to_nifti
from laion_xr.analysis.volumes import one_subject, voxel_values
from laion_xr.errors import SelectionError


@pytest.fixture(scope="module")
def ds(tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


def outside(tiny, keep: np.ndarray | None = None) -> np.ndarray:
    inside = np.zeros(tiny.mask.size, dtype=bool)
    inside[tiny.voxels if keep is None else tiny.voxels[keep]] = True
    return ~inside.reshape(tiny.grid)


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
def test_saved_map_is_the_map_on_disk(ds: xr.Dataset, tiny, tmp_path: Path, name: str) -> None:
    image = ds.laion.to_nifti("noise_ceiling_4rep", tmp_path / name)
    saved, original = nib.load(tmp_path / name), tiny.subject_maps["sub-03", "noise_ceiling_4rep"].copy()
    np.testing.assert_array_equal(saved.affine, nib.load(tiny.mask_file()).affine)
    assert saved.header.get_xyzt_units()[0] == "mm"
    original[outside(tiny)] = np.nan
    for found in (saved, image):
        assert found.get_data_dtype() == np.float32
        np.testing.assert_array_equal(found.get_fdata(dtype=np.float32), original)
    assert os.listdir(tmp_path) == [name]  # nothing is left beside it


def test_saved_file_has_the_usual_permissions(ds: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    ds.laion.to_nifti("r2_mean", tmp_path / "x.nii.gz")
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("plain", "x.nii.gz")]
    assert modes[0] == modes[1]


def test_a_name_an_array_and_numbers_are_alike(ds: xr.Dataset) -> None:
    expected = ds.laion.to_nifti("r2_mean").get_fdata()
    for values in (ds.r2_mean, ds.r2_mean.values, ds.r2_mean.values.tolist(), ds.r2_mean.compute()):
        np.testing.assert_array_equal(ds.laion.to_nifti(values).get_fdata(), expected)
    np.testing.assert_array_equal(ds.r2_mean.laion.to_nifti().get_fdata(), expected)
    np.testing.assert_array_equal(to_nifti(ds, "r2_mean").get_fdata(), expected)
    np.testing.assert_array_equal(ds.laion.to_nifti("noise_ceiling").get_fdata()[tiny_mask(ds)], ds.noise_ceiling)


def tiny_mask(ds: xr.Dataset) -> np.ndarray:
    mask = np.zeros(np.prod(ds.attrs["grid_shape"]), dtype=bool)
    mask[ds.voxel.values] = True
    return mask.reshape(ds.attrs["grid_shape"])


def test_part_of_the_brain(ds: xr.Dataset, tiny) -> None:
    part = ds.sel(roi="FFA1")
    keep = tiny.members("FFA1")
    for image in (part.laion.to_nifti("r2_mean"), ds.laion.to_nifti(part.r2_mean), part.r2_mean.laion.to_nifti()):
        found = image.get_fdata(dtype=np.float32)
        np.testing.assert_array_equal(np.isnan(found), outside(tiny, keep))
        np.testing.assert_array_equal(found[~outside(tiny, keep)], part.r2_mean)


def test_voxels_in_another_order(ds: xr.Dataset) -> None:
    shuffled = ds.r2_mean.isel(voxel=np.random.default_rng(0).permutation(ds.sizes["voxel"]))
    np.testing.assert_array_equal(shuffled.laion.to_nifti().get_fdata(), ds.laion.to_nifti("r2_mean").get_fdata())


def test_another_dimension_is_the_fourth(ds: xr.Dataset, tiny) -> None:
    for values in (ds.betas[:5], ds.betas[:5].T):
        image = ds.laion.to_nifti(values)
        assert image.shape == (*tiny.grid, 5)
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32)[tiny.mask].T, tiny.matrix()[:5])
    assert ds.laion.to_nifti("r2_session").shape == (*tiny.grid, 3)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [("float64", "float32"), ("float32", "float32"), ("int64", "float32"), ("int16", "float32"), ("bool", "uint8")],
)
def test_types(ds: xr.Dataset, tiny, values: str, dtype: str) -> None:
    given = (np.arange(ds.sizes["voxel"]) % 2).astype(values)
    image = ds.laion.to_nifti(given)
    assert image.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_array_equal(image.get_fdata()[tiny.mask], given.astype(float))
    filled = image.get_fdata()[outside(tiny)]
    assert (filled == 0).all() if values == "bool" else np.isnan(filled).all()


@pytest.mark.parametrize(("values", "dtype"), [("int64", "int32"), ("int16", "int16"), ("uint8", "uint8")])
def test_integers_stay_integers_where_the_fill_is_one(ds: xr.Dataset, tiny, values: str, dtype: str) -> None:
    given = np.arange(ds.sizes["voxel"]).astype(values)
    image = to_nifti(ds, given, fill=0)
    assert image.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[tiny.mask], given)
    assert not np.asarray(image.dataobj)[outside(tiny)].any()


@pytest.mark.parametrize(
    ("values", "dtype", "first"),
    [("float16", "float32", 0), ("uint64", "int32", 0), ("int64", "float64", 2**40), ("uint64", "float64", 2**40)],
)
def test_types_that_nifti_lacks_keep_their_values(ds: xr.Dataset, tiny, values: str, dtype: str, first: int) -> None:
    given = (first + np.arange(ds.sizes["voxel"])).astype(values)
    for image in (to_nifti(ds, given, fill=0), ds.laion.masker().inverse_transform(given)):
        assert image.get_data_dtype() == np.dtype(dtype)
        np.testing.assert_array_equal(np.asarray(image.dataobj)[tiny.mask], given)


def test_array_without_the_attributes_of_the_dataset(ds: xr.Dataset) -> None:
    expected = ds.laion.to_nifti("r2_mean").get_fdata()
    alone = (ds.r2_mean * 1).drop_attrs(deep=False)
    assert "affine" not in alone.attrs
    np.testing.assert_array_equal(alone.laion.to_nifti().get_fdata(), expected)
    for step in (ds.betas.mean("trial"), ds.betas.groupby("session").mean()[0], ds.betas.sel(roi="all").std("trial")):
        assert step.laion.to_nifti().shape == (6, 7, 5)


def test_geometry(ds: xr.Dataset, tiny) -> None:
    for obj in (ds, ds.betas, ds.noise_ceiling):
        grid, affine = geometry(obj)
        assert grid == tiny.grid
        np.testing.assert_array_equal(affine, tiny.affine)


def test_one_voxel(ds: xr.Dataset, tiny) -> None:
    image = ds.isel(voxel=7).laion.to_nifti("r2_mean")
    assert np.flatnonzero(~np.isnan(image.get_fdata().ravel())).tolist() == [tiny.voxels[7]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: ds.laion.to_nifti(), r"Which values\? Give a variable's name or an array: one of \['betas'"),
        (lambda ds: ds.laion.to_nifti("r3_mean"), "There is no variable 'r3_mean' here. Did you mean 'r2_mean'"),
        (lambda ds: ds.laion.to_nifti("session"), r"values with the dim 'voxel', found dims \('trial',\)"),
        (
            lambda ds: ds.laion.to_nifti(xr.DataArray(np.zeros(3), dims="voxel")),
            "151 voxels, found 3 without voxel ids",
        ),
        (lambda ds: ds.laion.to_nifti(ds.laion.to_nifti("r2_mean")), "found an image: take them out of it with"),
        (lambda ds: ds.laion.to_nifti(np.zeros(3)), r"one value for each of 151 voxels .* found shape \(3,\)"),
        (lambda ds: ds.laion.to_nifti("roi"), "Expected numbers, found object"),
        (lambda ds: ds.laion.to_nifti(ds.r2_mean, "x.png"), r"ends in \.nii\.gz or \.nii, found 'x\.png'"),
        (lambda ds: ds.r2_mean.drop_vars("voxel").laion.to_nifti(), "the coordinate voxel is not there"),
        (lambda ds: xr.DataArray([1.0], dims="voxel", coords={"voxel": [3]}).laion.to_nifti(), "grid is not known"),
    ],
)
def test_what_is_no_volume(ds: xr.Dataset, call, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        call(ds)


def test_failed_save_leaves_nothing_behind(ds: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.nii.gz").write_text("what was there")

    def broken(image: object, path: str | Path) -> None:
        Path(path).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(nib, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        ds.laion.to_nifti("r2_mean", tmp_path / "x.nii.gz")
    assert os.listdir(tmp_path) == ["x.nii.gz"]
    assert (tmp_path / "x.nii.gz").read_text() == "what was there"


def test_values_stay_lazy_and_keep_their_labels(ds: xr.Dataset, reads) -> None:
    found = voxel_values(ds, "betas")
    xr.testing.assert_identical(found.coords.to_dataset(), ds.betas.coords.to_dataset())
    lazy = voxel_values(ds, ds.betas.data[:4])
    assert lazy.chunks is not None
    assert lazy.dims == ("dim_0", "voxel")
    assert reads.calls == []
    np.testing.assert_array_equal(voxel_values(ds, xr.DataArray(ds.r2_mean.values, dims="voxel")), ds.r2_mean)


def test_voxels_know_their_subject_and_root(ds: xr.Dataset, tiny) -> None:
    for obj in (ds, ds.r2_mean, ds.betas.mean("trial"), ds.isel(voxel=3).r2_mean, ds.sel(roi="FFA1").r2_mean * 2):
        assert one_subject(obj) == "sub-03"
        assert obj.voxel.attrs["root"] == str(tiny.root)
    assert one_subject(xr.Dataset()) is None


def test_voxels_of_several_subjects(tiny) -> None:
    both = xr.open_datatree(tiny.root, engine="laion_fmri").laion.shared()
    with pytest.raises(SelectionError, match=r"voxels of 2 subjects \(sub-01, sub-03\)"):
        both.betas.laion.to_nifti()
    for subject in ("sub-01", "sub-03"):
        one = both.sel(subject=subject)
        image = one.laion.to_nifti("noise_ceiling")
        np.testing.assert_array_equal(image.affine, tiny.affine)
        expected = tiny.in_mask(tiny.subject_maps[subject, "noise_ceiling_12rep"])
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32)[tiny.mask], expected)
