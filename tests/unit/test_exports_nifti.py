"""`.laion.to_nifti_folder`: every file read by nibabel, against volumes made by hand of what is on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import laion_xr
from laion_xr.errors import SelectionError
from laion_xr.exports import nifti_folder, to_nifti_folder
from laion_xr.exports.folders import file_names
from laion_xr.lazy.budget import set_decode_budget
from laion_xr.schema import TRIAL_LABELS as LABELS


@pytest.fixture
def ds(tiny: Any) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


def means(tiny: Any) -> dict[str, np.ndarray]:
    """Means over the trials of each stimulus, (voxel,), NaN left out."""
    values, labels = tiny.matrix(), tiny.table().label.to_numpy()
    found = {}
    for name in sorted(set(labels)):
        rows = values[labels == name]
        with np.errstate(invalid="ignore"):
            found[name] = np.nansum(rows, axis=0) / np.sum(~np.isnan(rows), axis=0)
    return found


def volume(tiny: Any, values: np.ndarray, voxels: np.ndarray | None = None) -> np.ndarray:
    found = np.full(tiny.mask.size, np.nan, dtype=np.float32)
    found[tiny.voxels if voxels is None else voxels] = values
    return found.reshape(tiny.grid)


def read(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "index.tsv", sep="\t")


@pytest.mark.parametrize("kind", ["dataset", "array", "averaged", "loaded", "dask"])
def test_a_file_a_stimulus(ds: xr.Dataset, tiny: Any, reads: Any, tmp_path: Path, kind: str) -> None:
    source = {
        "dataset": lambda: ds,
        "array": lambda: ds.betas,
        "averaged": lambda: ds.laion.average_repeats(),
        "loaded": lambda: ds.load(),
        "dask": lambda: ds.assign(betas=ds.betas + 0),
    }[kind]()
    reads.calls.clear()
    assert source.laion.to_nifti_folder(tmp_path / "x") == tmp_path / "x"
    assert len(reads.betas) == (0 if kind == "loaded" else 3)  # each session once
    index, expected = read(tmp_path / "x"), means(tiny)
    assert index.stimulus.tolist() == list(expected)
    assert index.n_reps.tolist() == tiny.table().label.value_counts()[list(expected)].tolist()
    assert set(index.unique_or_shared) == {"shared", "unique"}
    mask = nib.load(tiny.mask_file())
    for file, name in zip(index.file, index.stimulus, strict=True):
        assert file == f"stimulus-{Path(name).stem}.nii.gz"
        image = nib.load(tmp_path / "x" / file)
        np.testing.assert_array_equal(image.affine, mask.affine)
        assert image.shape == mask.shape
        assert image.get_data_dtype() == np.float32
        assert image.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(image.get_fdata(), volume(tiny, expected[name]), rtol=1e-5, atol=1e-6)
    names = sorted(p.name for p in (tmp_path / "x").iterdir())
    assert names == sorted([*index.file, "index.tsv", "dataset.json"])  # nothing else is left
    assert json.loads((tmp_path / "x" / "dataset.json").read_text())["attrs"]["subject"] == "sub-03"


@pytest.mark.parametrize("order", ["as they are", "shuffled"])
def test_a_file_a_trial_holds_the_very_values(
    ds: xr.Dataset, tiny: Any, reads: Any, tmp_path: Path, order: str
) -> None:
    rows = np.arange(len(tiny.table()))
    rows = np.random.default_rng(0).permutation(rows)[:20] if order == "shuffled" else rows
    keep = np.flatnonzero(tiny.members("V1v"))
    set_decode_budget(1)  # a session at a time
    try:
        ds.isel(trial=rows, voxel=keep).laion.to_nifti_folder(tmp_path / "x", average=False, fill=0)
    finally:
        set_decode_budget(None)
    assert len(reads.betas) == len({tiny.table().session[r] for r in rows})
    index = read(tmp_path / "x")
    assert index.trial.tolist() == rows.tolist()
    assert index.stimulus.tolist() == tiny.table().label[rows].tolist()
    assert index.session.tolist() == tiny.table().session[rows].tolist()
    assert index.file.is_unique
    for file, trial in zip(index.file, rows, strict=True):
        expected = volume(tiny, tiny.matrix()[trial, keep], tiny.voxels[keep])
        inside = volume(tiny, np.ones(len(keep)), tiny.voxels[keep]) == 1
        expected[~inside] = 0
        np.testing.assert_array_equal(nib.load(tmp_path / "x" / file).get_fdata(dtype=np.float32), expected)


def test_averages_in_blocks_of_voxels_wait_on_disk(
    ds: xr.Dataset, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laion_xr.ingest(tiny.root, tmp_path / "store", subjects="sub-03", progress=False)
    stored = {"store": str(tmp_path / "store"), "source": "store"}
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", **stored)
    averaged = ds.laion.average_repeats()
    averaged = averaged.assign(betas=averaged.betas.chunk({"stimulus": -1, "voxel": 40}))
    assert len(averaged.betas.chunks[1]) == 4
    monkeypatch.setattr(nifti_folder, "ROWS_AT_ONCE", 5)
    to_nifti_folder(averaged, tmp_path / "x", workers=1)
    index, expected = read(tmp_path / "x"), means(tiny)
    for file, name in zip(index.file, index.stimulus, strict=True):
        found = nib.load(tmp_path / "x" / file).get_fdata()
        np.testing.assert_allclose(found, volume(tiny, expected[name]), rtol=1e-5, atol=1e-6)
    assert not (tmp_path / "x" / "betas.npy").exists()


def test_by_another_label(ds: xr.Dataset, tiny: Any, tmp_path: Path) -> None:
    ds.laion.to_nifti_folder(tmp_path / "x", by="session")
    index = read(tmp_path / "x")
    assert index.file.tolist() == [f"session-ses-0{n}.nii.gz" for n in (1, 2, 3)]
    assert index.n_reps.tolist() == tiny.table().session.value_counts().sort_index().tolist()
    expected = np.nanmean(tiny.matrix("sub-03", ["ses-02"]), axis=0)
    found = nib.load(tmp_path / "x" / index.file[1]).get_fdata()
    np.testing.assert_allclose(found, volume(tiny, expected), rtol=1e-5, atol=1e-6)


def test_one_subject_of_several(tiny: Any, tmp_path: Path) -> None:
    both = xr.open_datatree(tiny.root, engine="laion_fmri").laion.shared(zscore_by=None)
    with pytest.raises(SelectionError):
        both.laion.to_nifti_folder(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    one = both.sel(subject="sub-03")
    one.laion.to_nifti_folder(tmp_path / "x")
    index, expected = read(tmp_path / "x"), means(tiny)
    for file, name in zip(index.file, index.stimulus, strict=True):
        found = nib.load(tmp_path / "x" / file).get_fdata()
        np.testing.assert_allclose(found, volume(tiny, expected[name]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda ds: ds.isel(voxel=[]), "no voxel is left"),
        (lambda ds: ds.isel(trial=[]), "no trial is left"),
        (lambda ds: ds.r2_mean, "a map is one file"),
        (lambda ds: ds.drop_vars("betas"), "variable betas"),
        (lambda ds: ds.drop_vars("voxel"), "coordinate voxel"),
        (lambda ds: ds.drop_vars("stimulus_index").drop_indexes(list(LABELS)).drop_vars("stimulus"), "'stimulus'"),
    ],
)
def test_what_is_no_folder_of_volumes(ds: xr.Dataset, tmp_path: Path, make: Any, says: str) -> None:
    with pytest.raises(SelectionError, match=says):
        to_nifti_folder(make(ds), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing(ds: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nifti_folder, "to_nifti", broken)
    with pytest.raises(OSError, match="No space"):
        to_nifti_folder(ds, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_only_when_asked_and_of_this_kind(ds: xr.Dataset, tmp_path: Path) -> None:
    small = ds.isel(trial=slice(4))
    to_nifti_folder(small, tmp_path / "x")
    with pytest.raises(SelectionError, match="overwrite=True"):
        to_nifti_folder(small, tmp_path / "x")
    to_nifti_folder(small.isel(trial=[0]), tmp_path / "x", overwrite=True)
    assert len(list((tmp_path / "x").glob("*.nii.gz"))) == 1
    ds[["r2_mean"]].laion.to_numpy_folder(tmp_path / "numpy")
    with pytest.raises(SelectionError, match="is not replaced"):
        to_nifti_folder(small, tmp_path / "numpy", overwrite=True)


def test_other_labels_of_what_is_averaged(ds: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="averaged by stimulus already"):
        to_nifti_folder(ds.laion.average_repeats(), tmp_path / "x", by="session")
    with pytest.raises(SelectionError, match="'colour'"):
        to_nifti_folder(ds, tmp_path / "x", by="colour")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": -1}, "1 or more, or None; found -1"),
        ({"workers": 0}, "1 or more, or None; found 0"),
        ({"workers": 1.5}, "1 or more"),
        ({"workers": True}, "1 or more"),
        ({"workers": "2"}, "1 or more"),
        ({"fill": "a"}, "fill is a number"),
        ({"fill": None}, "fill is a number"),
        ({"by": "session", "average": False}, "average=False writes a file a trial, and by='session'"),
        ({"by": 5}, "by is the name of a coordinate"),
        ({"by": ["session"]}, "by is the name of a coordinate"),
    ],
)
def test_options_that_mean_nothing(
    ds: xr.Dataset, reads: Any, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(SelectionError, match=says):
        ds.laion.to_nifti_folder(tmp_path / "x", **options)
    assert (reads.calls, list(tmp_path.iterdir())) == ([], [])


def test_voxels_that_are_there_twice(ds: xr.Dataset, reads: Any, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="is there twice"):
        ds.isel(voxel=[1, 2, 1]).laion.to_nifti_folder(tmp_path / "x")
    assert (reads.betas, list(tmp_path.iterdir())) == ([], [])


def test_numpys_numbers(ds: xr.Dataset, tiny: Any, tmp_path: Path) -> None:
    small = ds.isel(trial=[0])
    small.laion.to_nifti_folder(tmp_path / "x", by="trial", workers=np.int64(2), fill=np.float32(-1), average=np.False_)
    found = nib.load(tmp_path / "x" / read(tmp_path / "x").file[0]).get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(found[tiny.mask], tiny.matrix()[0])
    assert (found[~tiny.mask] == -1).all()


def test_voxels_in_another_order(ds: xr.Dataset, tiny: Any, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(ds.sizes["voxel"])
    ds.isel(trial=[3], voxel=order).laion.to_nifti_folder(tmp_path / "x", average=False)
    found = nib.load(tmp_path / "x" / read(tmp_path / "x").file[0]).get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(found, volume(tiny, tiny.matrix()[3]))


@given(st.lists(st.text(max_size=300), max_size=12))
def test_any_names_give_files_that_any_system_takes(labels: list[str]) -> None:
    names = file_names(labels, "stimulus-")
    assert len({name.lower() for name in names}) == len(labels)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,220}", name) for name in names)


def test_names_are_safe_and_unique() -> None:
    labels = ["a", "A", "a b", "a/b", "../a", "", "é", "x" * 400, "a-2", "a"]
    names = file_names(labels, "stimulus-")
    assert names[:3] == ["stimulus-a", "stimulus-A-2", "stimulus-a-b"]
    assert len({name.lower() for name in names}) == len(labels)
    assert all(name.startswith("stimulus-") for name in names)
