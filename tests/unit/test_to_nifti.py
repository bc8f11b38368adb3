"""`.laion.to_nifti`: values back into the grid, checked with nibabel after saving."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from laion_xr.analysis import geometry, to_nifti
from laion_xr.analysis.volumes import one_subject, voxel_values
from laion_xr.errors import FileAccessError, SelectionError


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


def volume_of(tiny, values: np.ndarray) -> np.ndarray:
    """Values of the brain's voxels in their grid, NaN elsewhere: made by hand."""
    volume = np.full(tiny.grid, np.nan)
    volume[tiny.mask] = values
    return volume


def shuffled_kinds(ds: xr.Dataset) -> dict[str, object]:
    """The map r2_mean with its voxels in another order, in all that can say which voxels these are."""
    order = np.random.default_rng(3).permutation(ds.sizes["voxel"])
    array = ds.r2_mean.isel(voxel=order).load()
    series = pd.Series(array.values, index=pd.Index(array.voxel.values, name="voxel"))
    return {
        "array": array,
        "array without attributes": xr.DataArray(
            array.values, dims="voxel", coords={"voxel": np.asarray(array.voxel.values)}
        ),
        "series": series,
        "series of xarray": array.to_series(),
        "series of nullable numbers": series.astype("Float64"),
        "series without a name": series.rename_axis(None),
        "series of fractions as ids": series.set_axis(series.index.astype(float).rename("voxel")),
        "table, columns": pd.DataFrame([series]),
        "table, index": series.to_frame("r2"),
    }


KINDS = [
    "array", "array without attributes", "series", "series of xarray", "series of nullable numbers",
    "series without a name", "series of fractions as ids", "table, columns", "table, index",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_labels_decide_where_a_value_goes(ds: xr.Dataset, tiny, kind: str) -> None:
    values = shuffled_kinds(ds)[kind]
    expected = volume_of(tiny, tiny.in_mask(tiny.subject_maps["sub-03", "r2_mean"]))
    found = ds.laion.to_nifti(values).get_fdata().squeeze()
    np.testing.assert_array_equal(found, expected)
    part = values.iloc[..., :7] if kind == "table, columns" else values[:7]  # type: ignore[index]
    ids = shuffled_kinds(ds)["array"].voxel.values[:7]  # type: ignore[attr-defined]
    found = ds.laion.to_nifti(part).get_fdata() if kind != "series without a name" else None
    if found is not None:
        assert set(np.flatnonzero(~np.isnan(found.ravel()))) == set(ids)
        np.testing.assert_array_equal(found.ravel()[ids], expected.ravel()[ids])


def test_tables_by_their_labels(ds: xr.Dataset, tiny) -> None:
    table = pd.DataFrame(
        {"noise_ceiling": ds.noise_ceiling, "r2_mean": ds.r2_mean}, pd.Index(ds.voxel, name="voxel")
    ).sample(frac=1, random_state=0)
    for values in (table, table.T):
        found = ds.laion.to_nifti(values).get_fdata()
        np.testing.assert_array_equal(found[tiny.mask].T, [ds.noise_ceiling, ds.r2_mean])
    plain = pd.DataFrame(np.arange(2 * ds.sizes["voxel"], dtype="f4").reshape(2, -1))  # no labels: by position
    np.testing.assert_array_equal(ds.laion.to_nifti(plain).get_fdata()[tiny.mask].T, plain)
    np.testing.assert_array_equal(ds.laion.to_nifti(plain.loc[1]).get_fdata()[tiny.mask], plain.loc[1])


def test_dims_of_a_variable_count(ds: xr.Dataset) -> None:
    variable = ds.betas[:3].compute().transpose("voxel", "trial").variable
    np.testing.assert_array_equal(ds.laion.to_nifti(variable).get_fdata(), ds.laion.to_nifti(ds.betas[:3]).get_fdata())


def test_masked_values_are_missing(ds: xr.Dataset, tiny) -> None:
    hidden = np.arange(ds.sizes["voxel"]) % 3 == 0
    for dtype in ("float32", "int16"):
        values = np.ma.masked_array(np.ones(len(hidden), dtype), hidden)
        np.testing.assert_array_equal(np.isnan(ds.laion.to_nifti(values).get_fdata()[tiny.mask]), hidden)


def test_an_array_of_laion_xr_may_have_other_voxels(ds: xr.Dataset) -> None:
    part = ds.sel(roi="FFA1")
    np.testing.assert_array_equal(part.laion.to_nifti(ds.r2_mean).get_fdata(), ds.laion.to_nifti("r2_mean").get_fdata())


def bare(ids: object) -> xr.DataArray:
    ids = np.asarray(ids)
    return xr.DataArray(np.ones(len(ids)), dims="voxel", coords={"voxel": ids})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda ds: bare(np.arange(151)), r"values of 42 voxels that are not here, the first 2:"),
        (lambda ds: bare([-1]), "not here, the first -1"),
        (lambda ds: pd.Series(np.ones(151), index=pd.RangeIndex(151, name="voxel")), "not here, the first 2"),
        (lambda ds: bare(ds.voxel.values + 0.5), "voxel ids are whole numbers"),
        (lambda ds: bare(["a", "b"]), "voxel ids are whole numbers"),
        (lambda ds: ds.r2_mean.isel(voxel=[3, 4, 3]), "is there twice"),
        (lambda ds: ds.r2_mean.assign_coords(voxel=("voxel", -ds.voxel.values, ds.voxel.attrs)), "is not in the grid"),
        (
            lambda ds: ds.r2_mean.assign_coords(voxel=("voxel", ds.voxel.values + 10**6, ds.voxel.attrs)),
            "is not in the grid",
        ),
        (lambda ds: ds[["r2_mean"]], r"one array of values, found a Dataset: take one of its variables, r2_mean"),
        (lambda ds: [ds.r2_mean, ds.r2_mean[::-1]], r"a list of labelled arrays.*xr\.concat"),
        (lambda ds: [ds.r2_mean.to_series()], r"a list of labelled arrays.*xr\.concat"),
        (lambda ds: ds.r2_session.to_series(), "several levels"),
        (lambda ds: ds.r2_session.to_series().to_frame().T, "several levels"),
        (lambda ds: pd.DataFrame(np.ones((2, 2))).rename_axis("voxel").rename_axis(columns="voxel"), "both"),
        (
            lambda ds: pd.DataFrame({"a": ds.r2_mean, "b": ds.roi}, pd.Index(ds.voxel, name="voxel")),
            "Expected numbers, found object",
        ),
        (lambda ds: [[1, 2], [3]], "rows of different lengths"),
        (lambda ds: {"a": 1}, "Expected numbers, found dict"),
        (lambda ds: 1j * ds.r2_mean, r"real numbers, found complex\d+: give its \.real"),
        (lambda ds: 1j * np.ones(151), "real numbers, found complex128"),
    ],
)
def test_values_without_a_place(ds: xr.Dataset, values, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        ds.laion.to_nifti(values(ds))


def test_values_of_another_subject(tiny, ds: xr.Dataset) -> None:
    other = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-01")
    both = xr.open_datatree(tiny.root, engine="laion_fmri").laion.shared()
    for values in (other.r2_mean, both.sel(subject="sub-01").noise_ceiling):
        for obj in (ds, both.sel(subject="sub-03")):
            with pytest.raises(SelectionError, match=r"of another subject.*sub-01.*sub-03"):
                obj.laion.to_nifti(values)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("values", "dtype", "fill", "stored"),
    [
        ([1, 2], "int16", 0.5, "float32"),
        ([1, 2], "int16", 1e9, "float32"),
        ([1, 2], "int16", INF, "float32"),
        ([1, 2], "int16", -3, "int16"),
        ([1, 2], "int16", -3.0, "int16"),
        ([1, 2], "int16", 2**24 + 1, "float64"),
        ([1, 2], "uint8", -1, "float32"),
        ([1, 2], "uint8", 255, "uint8"),
        ([0, 1], "bool", 300, "float32"),
        ([0, 1], "bool", NAN, "uint8"),
        ([0, 1], "bool", 2, "uint8"),
        ([1, 2**24], "int32", NAN, "float32"),
        ([1, 2**24 + 1], "int32", NAN, "float64"),
        ([1, 2**40 + 1], "int64", NAN, "float64"),
        ([-1, -(2**40) - 1], "int64", 0, "float64"),
        ([1, 2**31 - 1], "uint64", 0, "int32"),
        ([1, 2**31 - 1], "uint64", 2**31, "float64"),
        ([1, 1e38], "float64", NAN, "float32"),
        ([1, 1e40], "float64", NAN, "float64"),
        ([1, 1e-60], "float64", NAN, "float64"),
        ([0, INF], "float64", NAN, "float32"),
        ([0, NAN], "float64", -INF, "float32"),
        ([0, 1], "float32", 1e40, "float64"),
        ([0, 1], "float32", 0.1, "float32"),
        ([0, 1], ">f4", NAN, "float32"),
        ([0, 1], ">i2", 0, "int16"),
        ([0, 1], "float16", 0, "float32"),
        ([0, 1], "int16", np.float32(0.5), "float32"),
        ([0, 1], "int16", np.int8(-1), "int16"),
        ([0, 1], "int16", np.bool_(True), "int16"),
        ([0, 1], "int16", np.array(-2), "int16"),
    ],
)
def test_values_and_fill_are_held(ds: xr.Dataset, tiny, tmp_path: Path, values, dtype: str, fill, stored: str) -> None:
    given = np.resize(np.array(values, dtype), ds.sizes["voxel"])
    ds.laion.to_nifti(given, tmp_path / "x.nii", fill=fill)
    image = nib.load(tmp_path / "x.nii")
    assert image.get_data_dtype() == np.dtype(stored)
    found = np.asarray(image.dataobj)
    exact = stored != "float32" or np.dtype(dtype).kind != "f"
    np.testing.assert_allclose(found[tiny.mask], given.astype(float), rtol=0 if exact else 1e-7)
    held = 0.0 if dtype == "bool" and fill is NAN else float(fill)
    np.testing.assert_allclose(found[outside(tiny)], held, rtol=1e-7)


@pytest.mark.parametrize("fill", ["x", None, 1j, [0, 1], [[1], [1, 2]], 2**70, {}])
def test_a_fill_that_is_no_number(ds: xr.Dataset, tmp_path: Path, fill: object) -> None:
    for call in (ds.laion.to_nifti, lambda *a, **k: to_nifti(ds, *a, **k)):
        with pytest.raises(SelectionError, match="fill is a number"):
            call("r2_mean", tmp_path / "x.nii.gz", fill=fill)
    assert os.listdir(tmp_path) == []


def test_whole_numbers_that_no_type_holds(ds: xr.Dataset) -> None:
    for values in (np.full(151, 2**53 + 1), np.full(151, -(2**63)), np.full(151, 2**64 - 1, "u8")):
        with pytest.raises(SelectionError, match=r"up to 2\*\*53, found"):
            ds.laion.to_nifti(values)


def test_missing_folders_are_made(ds: xr.Dataset, tmp_path: Path) -> None:
    ds.laion.to_nifti("noise_ceiling", str(tmp_path / "a" / "b" / "x.nii.gz"))
    assert nib.load(tmp_path / "a" / "b" / "x.nii.gz").shape == (6, 7, 5)
    longest = "é" * 60 + "x" * 100 + ".nii"
    ds.laion.to_nifti("noise_ceiling", tmp_path / longest)
    assert sorted(os.listdir(tmp_path)) == ["a", longest]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder.nii.gz", r"a file at .*folder\.nii\.gz, found a folder"),
        ("file/x.nii.gz", r"Expected a folder at .*file, found a file"),
        ("file/b/x.nii.gz", r"Expected a folder at .*b, found a file"),
        ("x", r"ends in \.nii\.gz or \.nii, found 'x'"),
        ("x.NII", r"ends in \.nii\.gz or \.nii, found 'x\.NII'"),
        (5, "path is text or a path, found int"),
        (b"x.nii", "path is text or a path, found bytes"),
        ("s3://bucket/x.nii.gz", "a file of this machine, found 's3://bucket/x.nii.gz'"),
    ],
)
def test_paths_that_are_no_place(ds: xr.Dataset, reads, tmp_path: Path, name, message: str) -> None:
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(SelectionError, match=message):
        ds.laion.to_nifti(ds.betas[0], tmp_path / name if isinstance(name, str) and "//" not in name else name)
    assert reads.calls == []  # it is said before anything is read
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.nii.gz"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_folder_that_may_not_be_written(
    ds: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))  # the tests may run as root

    with monkeypatch.context() as patched:
        patched.setattr(nib, "save", refused)
        with pytest.raises(FileAccessError, match=f"{tmp_path} may not be written: give another folder"):
            ds.laion.to_nifti("r2_mean", tmp_path / "x.nii.gz")
    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(FileAccessError, match="may not be written: give another folder"):
        ds.laion.to_nifti("r2_mean", tmp_path / "a" / "x.nii.gz")
