"""The Dataset of a subject: its contract, and every value of it against plain nibabel, pandas, h5py and NumPy."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import upath
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from laion_xr.backend import LaionBackendEntrypoint
from laion_xr.errors import (
    DataDirNotSetError,
    DataNotDownloadedError,
    IncompleteDataWarning,
    NotALaionDatasetError,
    SelectionError,
    StimuliNotDownloadedError,
    StoreError,
    SubjectNotFoundError,
    UnknownLabelError,
)

# name: dims, dtype, unit, as the table of the design has them
CONTRACT = {
    "betas": (("trial", "voxel"), "float32", "percent signal change"),
    "trial": (("trial",), "int64", ""),
    "session": (("trial",), "object", ""),
    "stimulus": (("trial",), "object", ""),
    "run": (("trial",), "int64", ""),
    "session_trial": (("trial",), "int64", ""),
    "beta_index": (("trial",), "int64", ""),
    "stimulus_index": (("trial",), "int64", ""),
    "unique_or_shared": (("trial",), "object", ""),
    "dataset": (("trial",), "object", ""),
    "repetition": (("trial",), "int64", ""),
    "response_time": (("trial",), "float64", ""),  # a column that only this trial table has
    "button": (("trial",), "object", ""),
    "voxel": (("voxel",), "int64", ""),
    "i": (("voxel",), "int16", ""),
    "j": (("voxel",), "int16", ""),
    "k": (("voxel",), "int16", ""),
    "x": (("voxel",), "float32", "mm"),
    "y": (("voxel",), "float32", "mm"),
    "z": (("voxel",), "float32", "mm"),
    "roi": (("voxel",), "object", ""),
    "noise_ceiling": (("voxel",), "float32", "%"),
    "noise_ceiling_12rep": (("voxel",), "float32", "%"),
    "noise_ceiling_4rep": (("voxel",), "float32", "%"),
    "noise_ceiling_Allrep": (("voxel",), "float32", "%"),
    "r2_mean": (("voxel",), "float32", "%"),
    "ses": (("ses",), "object", ""),
    "noise_ceiling_session": (("ses", "voxel"), "float32", "%"),
    "r2_session": (("ses", "voxel"), "float32", "%"),
    "hrf_index": (("ses", "voxel"), "int16", ""),
    "frac_ridge": (("ses", "voxel"), "float32", ""),
}
DATA = {n for n, (dims, *_) in CONTRACT.items() if dims in {("trial", "voxel"), ("ses", "voxel")}} | {
    "noise_ceiling_12rep",
    "noise_ceiling_4rep",
    "noise_ceiling_Allrep",
    "r2_mean",
}
INDEXED = {
    "trial": ["trial"],
    "voxel": ["voxel"],
    "ses": ["ses"],
    "trial labels": ["session", "run", "stimulus", "repetition", "unique_or_shared"],
    "voxel labels": ["roi", "noise_ceiling"],
}


def open_subject(root: Any, subject: Any = "sub-03", **options: Any) -> xr.Dataset:
    return xr.open_dataset(root, engine="laion_fmri", subject=subject, **options)


@pytest.fixture(scope="module")
def ds(tiny) -> xr.Dataset:
    return open_subject(tiny.root)


def on_axis(path: Path, mask: np.ndarray) -> np.ndarray:
    """A map as nibabel reads it, on the voxel axis."""
    return np.asarray(nib.load(path).dataobj).ravel()[mask.ravel()]


# form


def test_names_are_those_of_the_contract(ds: xr.Dataset) -> None:
    assert set(ds.variables) == set(CONTRACT)
    assert set(ds.data_vars) == DATA


@pytest.mark.parametrize("name", CONTRACT)
def test_dims_types_and_units(ds: xr.Dataset, name: str) -> None:
    dims, dtype, units = CONTRACT[name]
    assert ds[name].dims == dims
    assert str(ds[name].dtype) == dtype
    assert ds[name].attrs.get("units", "") == units
    assert ds[name].attrs.get("long_name") or name in ("response_time", "button")


def test_what_is_lazy_and_what_is_in_memory(ds: xr.Dataset) -> None:
    for name in ds.variables:
        assert isinstance(ds[name].variable._data, da.Array) == (name in DATA), name


def test_indexes(ds: xr.Dataset) -> None:
    assert {n for names in INDEXED.values() for n in names} == set(ds.xindexes)
    groups = [sorted(map(str, variables)) for _, variables in ds.xindexes.group_by_index()]
    assert sorted(groups) == sorted(map(sorted, INDEXED.values()))


def test_text_is_python_text(ds: xr.Dataset) -> None:
    for name in ("session", "stimulus", "unique_or_shared", "dataset", "roi", "ses", "button"):
        assert {type(v) for v in ds[name].values} == {str}, name


def test_attributes_are_few_json_safe_and_say_what_it_is(ds: xr.Dataset, tiny) -> None:
    assert set(ds.attrs) == {
        "subject",
        "space",
        "mask_source",
        "grid_shape",
        "affine",
        "roi_categories",
        "fingerprint",
        "laion_xr_version",
    }
    assert json.loads(json.dumps(ds.attrs)) == ds.attrs
    for variable in ds.variables.values():
        assert json.loads(json.dumps(variable.attrs)) == variable.attrs
    assert ds.attrs["subject"] == "sub-03"
    assert ds.attrs["space"] == "T1w"
    assert ds.attrs["mask_source"] == "anatomical"
    assert ds.attrs["grid_shape"] == list(tiny.grid)
    np.testing.assert_array_equal(np.reshape(ds.attrs["affine"], (4, 4)), nib.load(tiny.mask_file()).affine)
    assert {c: tuple(r) for c, r in json.loads(ds.attrs["roi_categories"]).items()} == tiny.categories


def test_fingerprint_is_that_of_the_files(tiny_copy, ds: xr.Dataset) -> None:
    here = open_subject(tiny_copy.root).attrs["fingerprint"]
    assert here == open_subject(tiny_copy.root).attrs["fingerprint"]
    assert here != open_subject(tiny_copy.root, sessions=1).attrs["fingerprint"]
    os.utime(tiny_copy.betas_file("ses-01"), ns=(0, 0))
    assert here != open_subject(tiny_copy.root).attrs["fingerprint"]


def test_opening_warns_of_nothing(tiny) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_subject(tiny.root)
        xr.open_datatree(tiny.root, engine="laion_fmri")


# values


def test_betas_are_those_of_nibabel(ds: xr.Dataset, tiny) -> None:
    volumes = [nib.load(tiny.betas_file(s)).get_fdata(dtype=np.float32) for s in tiny.sessions()]
    expected = np.concatenate([v[tiny.mask].T for v in volumes])  # boolean indexing goes in C order
    np.testing.assert_array_equal(ds.betas, expected)
    assert np.isnan(expected).any()  # NaN is data


def test_trial_columns_are_those_of_the_tables(ds: xr.Dataset, tiny) -> None:
    table = pd.concat([pd.read_csv(tiny.trials_file(s), sep="\t") for s in tiny.sessions()], ignore_index=True)
    for name, column in {"stimulus": "label"}.items() | {(n, n) for n in table.columns if n != "label"}:
        assert ds[name].values.tolist() == table[column].tolist(), name
    assert ds.trial.values.tolist() == list(range(46))
    assert ds.session_trial.values.tolist() == [*range(14), *range(17), *range(15)]
    assert ds.repetition.values.tolist() == table.groupby("label").cumcount().tolist()
    assert ds.repetition.max() > 1


def test_stimulus_columns_are_those_of_the_metadata(ds: xr.Dataset, tiny) -> None:
    metadata = pd.read_csv(tiny.metadata_file)
    for position, name in enumerate(ds.stimulus.values):
        rows = np.flatnonzero(metadata.image_name == name)
        assert ds.stimulus_index.values[position] == (rows[0] if len(rows) else -1)
        if len(rows):
            assert ds.unique_or_shared.values[position] == metadata.unique_or_shared[rows[0]]
            assert ds.dataset.values[position] == metadata.dataset[rows[0]]


def test_voxel_positions(ds: xr.Dataset, tiny) -> None:
    ijk = np.argwhere(tiny.mask)
    np.testing.assert_array_equal(ds.voxel, np.ravel_multi_index(tuple(ijk.T), tiny.grid))
    np.testing.assert_array_equal(np.stack([ds.i, ds.j, ds.k], axis=1), ijk)
    xyz = nib.affines.apply_affine(nib.load(tiny.mask_file()).affine, ijk)
    np.testing.assert_allclose(np.stack([ds.x, ds.y, ds.z], axis=1), xyz, rtol=1e-6)


def test_roi_memberships(ds: xr.Dataset, tiny) -> None:
    inside = {
        roi: np.asarray(nib.load(tiny.roi_file(category, roi)).dataobj)[tiny.mask] != 0
        for category, rois in tiny.categories.items()
        for roi in rois
    }
    for position, text in enumerate(ds.roi.values):
        assert set(text.split("+")) - {""} == {roi for roi, where in inside.items() if where[position]}


@pytest.mark.parametrize("name", ["noise_ceiling_12rep", "noise_ceiling_4rep", "noise_ceiling_Allrep", "r2_mean"])
def test_subject_maps(ds: xr.Dataset, tiny, name: str) -> None:
    np.testing.assert_array_equal(ds[name], tiny.in_mask(tiny.subject_maps["sub-03", name]))


@pytest.mark.parametrize("name", ["noise_ceiling_session", "r2_session", "hrf_index", "frac_ridge"])
def test_session_maps(ds: xr.Dataset, tiny, name: str) -> None:
    for session in tiny.sessions():
        volume = tiny.session_maps.get(("sub-03", session, name))
        missing = np.full(ds.sizes["voxel"], -1 if name == "hrf_index" else np.nan)
        np.testing.assert_array_equal(ds[name].sel(ses=session), missing if volume is None else tiny.in_mask(volume))


def test_the_other_subject_is_another(tiny) -> None:
    other = open_subject(tiny.root, "sub-01")
    np.testing.assert_array_equal(other.betas, tiny.matrix("sub-01"))
    assert other.attrs["subject"] == "sub-01"


def test_from_memory_and_from_disk_alike(tiny, tiny_in_memory: str, ds: xr.Dataset) -> None:
    for root in (tiny_in_memory, upath.UPath(tiny_in_memory), f"simplecache::{tiny_in_memory}"):
        found = open_subject(root)
        np.testing.assert_array_equal(found.betas, ds.betas)
        for name in set(CONTRACT) - {"betas"}:
            xr.testing.assert_equal(found[name].compute(), ds[name].compute())


# trials stay themselves


@pytest.mark.parametrize(
    "options",
    [
        {"sessions": "ses-02"},
        {"sessions": [3, 1]},
        {"stimuli": "shared"},
        {"stimuli": "unique", "sessions": ["2"]},
        {"roi": "FFA1", "nc_threshold": 20},
        {"mask_source": "rsquare"},
    ],
    ids=str,
)
def test_trial_ids_and_repetition_do_not_depend_on_what_is_opened(tiny, ds: xr.Dataset, options) -> None:
    part = open_subject(tiny.root, **options)
    whole = ds.sel(trial=part.trial.values)
    for name in ("trial", "session", "stimulus", "run", "repetition", "session_trial", "beta_index", "stimulus_index"):
        np.testing.assert_array_equal(part[name], whole[name])
    if "mask_source" not in options:
        np.testing.assert_array_equal(part.betas, whole.betas.sel(voxel=part.voxel.values))


def test_parts_go_together_again(tiny, ds: xr.Dataset) -> None:
    parts = [open_subject(tiny.root, sessions=s).betas for s in ("ses-03", "ses-01")]
    joined = xr.concat(parts, dim="trial").sortby("trial")
    np.testing.assert_array_equal(joined, ds.betas.sel(session=["ses-01", "ses-03"]))


def test_trial_ids_count_sessions_whose_betas_are_missing(tiny_copy) -> None:
    tiny_copy.betas_file("ses-02").unlink()  # its table is there
    found = open_subject(tiny_copy.root)
    assert found.trial.values.tolist() == [*range(14), *range(31, 46)]
    assert found.ses.values.tolist() == ["ses-01", "ses-03"]


@pytest.mark.parametrize("source", ["betas", "model"])
def test_trial_ids_count_sessions_without_a_table(tiny_copy, source: str) -> None:
    shutil.copy(tiny_copy.model_file("ses-01"), tiny_copy.model_file("ses-02"))  # holds 14 trials
    tiny_copy.trials_file("ses-02").unlink()
    n = 17
    if source == "model":
        tiny_copy.betas_file("ses-02").unlink()
        n = 14
    with pytest.warns(IncompleteDataWarning, match="ses-02 has betas and no trial table"):
        whole = open_subject(tiny_copy.root)
    assert whole.sizes["trial"] == 14 + n + 15
    part = open_subject(tiny_copy.root, sessions="ses-03")
    assert part.trial.values.tolist() == list(range(14 + n, 14 + n + 15))


# arguments


@pytest.mark.parametrize("subject", ["sub-03", "03", "3", 3, np.int64(3)])
def test_subject_by_any_of_its_names(tiny, subject: Any) -> None:
    assert open_subject(tiny.root, subject).attrs["subject"] == "sub-03"


@pytest.mark.parametrize(
    "root",
    [
        str,
        Path,
        upath.UPath,
        lambda p: f"file://{p}",
        lambda p: f"{p}/",
        lambda p: f"{p}/derivatives/glmsingle-tedana/sub-03",
        lambda p: p / "derivatives" / "glmsingle-tedana" / "sub-03",
        lambda p: f"{p}/derivatives/glmsingle-tedana/sub-03/",
        lambda p: f"file://{p}/derivatives/glmsingle-tedana/sub-03",
    ],
)
def test_kinds_of_roots(tiny, root) -> None:
    obj = root(tiny.root)
    subject = None if "sub-03" in str(obj) else "sub-03"
    assert open_subject(obj, subject).sizes["trial"] == 46


def test_remote_subject_folder(tiny_in_memory: str) -> None:
    address = f"{tiny_in_memory}/derivatives/glmsingle-tedana/sub-03"
    assert open_subject(address, None).attrs["subject"] == "sub-03"


def test_subject_may_be_left_out_where_there_is_one(tiny_copy) -> None:
    with pytest.raises(SubjectNotFoundError, match="choose one with subject="):
        open_subject(tiny_copy.root, None)
    shutil.rmtree(tiny_copy.folder("sub-01"))
    assert open_subject(tiny_copy.root, None).attrs["subject"] == "sub-03"


def test_two_subjects_at_once_are_refused(tiny) -> None:
    with pytest.raises(SelectionError, match="One subject is opened at a time, found sub-01 and sub-03"):
        open_subject(tiny.root, "sub-01", group="sub-03")
    with pytest.raises(SelectionError, match="One subject is opened at a time"):
        open_subject(tiny.folder("sub-03"), "sub-01")
    assert open_subject(tiny.folder("sub-03"), 3, group="sub-03").attrs["subject"] == "sub-03"


def test_bare_subject_in_the_configured_folder(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("LAION_XR_DATA_DIR", raising=False)
    with pytest.raises(DataDirNotSetError, match=r"No data folder is configured: set .* LAION_XR_DATA_DIR"):
        open_subject("sub-03", None)
    # the published loader's configuration, then our own variable, which wins
    config = tmp_path / "config" / "laion_fmri" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"data_dir": str(tiny.root)}))
    for name in ("sub-03", Path("sub-03")):
        assert open_subject(name, None).attrs["subject"] == "sub-03"
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(NotALaionDatasetError, match="nowhere"):
        open_subject("sub-03", None)
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tiny.root))
    config.write_text("not json")
    assert open_subject("sub-01", None).attrs["subject"] == "sub-01"


def test_configured_folder_may_be_remote(tiny_in_memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAION_XR_DATA_DIR", tiny_in_memory)
    assert open_subject("sub-03", None).sizes["trial"] == 46


@pytest.mark.parametrize(
    ("sessions", "n"),
    [
        ("ses-02", 17),
        (2, 17),
        (np.int64(2), 17),
        (["01", "ses-03"], 29),
        ((3, 2), 32),
        (np.array([1, 2]), 31),
        (range(2, 4), 32),
        (pd.Index(["ses-03"]), 15),
        (None, 46),
    ],
    ids=str,
)
def test_sessions(tiny, sessions: Any, n: int) -> None:
    found = open_subject(tiny.root, sessions=sessions)
    assert found.sizes["trial"] == n
    assert found.ses.values.tolist() == list(dict.fromkeys(found.session.values))


def test_group_names_a_subject_the_stimuli_or_a_model_file(tiny) -> None:
    for group in ("sub-03", "/sub-03", "sub-03/", "03"):
        assert open_subject(tiny.root, None, group=group).attrs["subject"] == "sub-03"
    assert "stimulus" in open_subject(tiny.root, None, group="stimuli").dims
    assert open_subject(tiny.root, None, group="/stimuli").identical(open_subject(tiny.root, None, group="stimuli"))
    assert open_subject(tiny.root, "sub-03", group="/").attrs["subject"] == "sub-03"
    for group in ("sub-03/ses-01/glmsingle", "/3/1/glmsingle"):
        assert open_subject(tiny.root, None, group=group).attrs["session"] == "ses-01"


@pytest.mark.parametrize("group", ["sub-03/ses-01", "sub-03/ses-01/model", "sub-03/ses-01/glmsingle/x"])
def test_group_that_does_not_exist(tiny, group: str) -> None:
    with pytest.raises(UnknownLabelError, match=rf"Group '{group}' does not exist here.*sub-03/ses-01/glmsingle"):
        open_subject(tiny.root, None, group=group)


def test_unknown_subject_of_a_group_is_not_found(tiny) -> None:
    for group in ("sub-09", "sub-09/ses-01/glmsingle"):
        with pytest.raises(SubjectNotFoundError, match=r"'sub-09' does not exist here. Did you mean"):
            open_subject(tiny.root, None, group=group)


def test_rsquare_mask(tiny) -> None:
    found = open_subject(tiny.root, mask_source="rsquare")
    r2 = tiny.subject_maps["sub-03", "r2_mean"]
    expected = np.flatnonzero((np.nan_to_num(r2) != 0).ravel())
    np.testing.assert_array_equal(found.voxel, expected)
    assert found.attrs["mask_source"] == "rsquare"
    volumes = [np.moveaxis(tiny.betas["sub-03", s], -1, 0).reshape(-1, r2.size) for s in tiny.sessions()]
    np.testing.assert_array_equal(found.betas, np.concatenate(volumes)[:, expected])


def test_rsquare_mask_leaves_nan_out(tiny_copy) -> None:
    path = tiny_copy.subject_file("stat-rsquare_desc-R2mean_statmap.nii.gz")
    image = nib.load(path)
    volume = image.get_fdata(dtype=np.float32)
    volume[2, 3, 1] = np.nan
    nib.save(nib.Nifti1Image(volume, image.affine), path)
    found = open_subject(tiny_copy.root, mask_source="rsquare")
    assert np.ravel_multi_index((2, 3, 1), tiny_copy.grid) not in found.voxel.values
    assert found.sizes["voxel"] == int((np.nan_to_num(volume) != 0).sum())


def test_unknown_mask_source(tiny) -> None:
    with pytest.raises(SelectionError, match=r"mask_source 'anatomy' does not exist here. Did you mean 'anatomical'"):
        open_subject(tiny.root, mask_source="anatomy")


@pytest.mark.parametrize("roi", ["FFA1", "face", ["FFA1", "PPA"], "V1 - face", "EBA", "all"])
def test_roi(tiny, ds: xr.Dataset, roi: Any) -> None:
    found = open_subject(tiny.root, roi=roi)
    np.testing.assert_array_equal(found.betas, ds.betas.sel(roi=roi))
    # it stays known what there is besides
    assert found.sel(roi="PPA").sizes["voxel"] <= found.sizes["voxel"]
    assert found.sel(roi="EBA").sizes["voxel"] == 0


def test_nc_threshold_keeps_the_equal_and_drops_nan(tiny, ds: xr.Dataset) -> None:
    ceiling = tiny.in_mask(tiny.subject_maps["sub-03", "noise_ceiling_12rep"])
    at = float(np.sort(ceiling[~np.isnan(ceiling)])[50])
    found = open_subject(tiny.root, nc_threshold=at)
    np.testing.assert_array_equal(found.voxel, tiny.voxels[ceiling >= at])
    assert at in found.noise_ceiling.values
    assert open_subject(tiny.root, nc_threshold=0).sizes["voxel"] == (~np.isnan(ceiling)).sum()


def test_nc_threshold_that_looks_like_a_fraction_warns(tiny) -> None:
    with pytest.warns(UserWarning, match=r"in percent \(0-100\): a threshold of 0.3 .* Did you mean 30"):
        open_subject(tiny.root, nc_threshold=0.3)


@pytest.mark.parametrize("name", ["12rep", "4rep", "Allrep", "ses-02", "2", 2])
def test_noise_ceiling_chooses_the_coordinate(tiny, name: Any) -> None:
    maps = {f"{n}": tiny.subject_maps["sub-03", f"noise_ceiling_{n}"] for n in ("12rep", "4rep", "Allrep")}
    volume = maps.get(str(name), tiny.session_maps["sub-03", "ses-02", "noise_ceiling_session"])
    found = open_subject(tiny.root, noise_ceiling=name)
    np.testing.assert_array_equal(found.noise_ceiling, tiny.in_mask(volume))
    narrowed = open_subject(tiny.root, noise_ceiling=name, nc_threshold=0.5 if str(name)[-1] == "2" else 20)
    assert (narrowed.noise_ceiling >= (0.5 if str(name)[-1] == "2" else 20)).all()


# the small dataset's session maps are fractions, and the threshold with them
test_noise_ceiling_chooses_the_coordinate = pytest.mark.filterwarnings("ignore:Noise ceilings are in percent")(
    test_noise_ceiling_chooses_the_coordinate
)


def test_nc_threshold_that_is_no_number(tiny) -> None:
    with pytest.raises(SelectionError, match="nc_threshold is a number in percent, found '30'"):
        open_subject(tiny.root, nc_threshold="30")


def test_noise_ceiling_that_does_not_exist(tiny, tiny_copy) -> None:
    with pytest.raises(UnknownLabelError, match=r"'8rep' does not exist here. Did you mean .*'4rep'.*ses-01"):
        open_subject(tiny.root, noise_ceiling="8rep")
    with pytest.raises(UnknownLabelError, match="'ses-09' does not exist here"):
        open_subject(tiny.root, noise_ceiling="ses-09")
    tiny_copy.session_file("ses-02", "space-T1w_desc-Noiseceiling_statmap.nii.gz").unlink()
    with pytest.raises(DataNotDownloadedError, match=r"noise ceiling of ses-02 is not there: expected .*Noiseceiling"):
        open_subject(tiny_copy.root, noise_ceiling="ses-02")


@pytest.mark.parametrize("kind", ["shared", "unique"])
def test_stimuli(tiny, ds: xr.Dataset, kind: str) -> None:
    found = open_subject(tiny.root, stimuli=kind)
    assert 0 < found.sizes["trial"] < 46
    np.testing.assert_array_equal(found.trial, np.flatnonzero(ds.unique_or_shared == kind))


def test_stimuli_of_another_kind(tiny) -> None:
    with pytest.raises(SelectionError, match="stimuli is 'shared', 'unique' or None, found 'both'"):
        open_subject(tiny.root, stimuli="both")


@pytest.mark.parametrize("source", ["auto", "nifti"])
def test_source(tiny, ds: xr.Dataset, source: str) -> None:
    np.testing.assert_array_equal(open_subject(tiny.root, source=source).betas, ds.betas)


def test_source_hdf5(tiny, ds: xr.Dataset) -> None:
    found = open_subject(tiny.root, source="hdf5", sessions=1)
    np.testing.assert_array_equal(found.betas, ds.betas.sel(session="ses-01"))
    with pytest.raises(DataNotDownloadedError, match=r"ses-02 has no file for source='hdf5': expected .*model\.h5"):
        open_subject(tiny.root, source="hdf5")


def test_source_that_is_not_there(tiny) -> None:
    with pytest.raises(SelectionError, match=r"source 'nifty' does not exist here. Did you mean 'nifti'"):
        open_subject(tiny.root, source="nifty")
    with pytest.raises(StoreError, match=r"source='store' needs a store: pass store=.* LAION_XR_STORE"):
        open_subject(tiny.root, source="store")


def test_storage_options_are_passed_on(tiny_in_memory: str) -> None:
    assert open_subject(tiny_in_memory, storage_options={"use_listings_cache": False}).sizes["trial"] == 46
    tree = xr.open_datatree(tiny_in_memory, engine="laion_fmri", storage_options={"use_listings_cache": False})
    assert "sub-03" in tree.children


# leaving out


@pytest.mark.parametrize(
    ("drop", "path"),
    [
        ("betas", None),
        ("noise_ceiling_4rep", "Noiseceiling4rep"),
        ("r2_mean", "R2mean"),
        ("hrf_index", "HRFindex"),
        ("roi", "derivatives/rois"),
        ("noise_ceiling", "Noiseceiling12rep"),
    ],
)
def test_dropped_variables_are_not_there_and_their_files_not_touched(
    tiny, drop: str, path: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    for module in ("builtins.open", "io.open"):
        opener = open

        def recording(file: Any, *args: Any, _open=opener, **kwargs: Any) -> Any:
            opened.append(str(file))
            return _open(file, *args, **kwargs)

        monkeypatch.setattr(module, recording)
    also = ["noise_ceiling_12rep"] if drop == "noise_ceiling" else []
    found = open_subject(tiny.root, drop_variables=[drop, *also] if also else drop)
    assert drop not in found.variables
    found.drop_vars("betas", errors="ignore").compute()
    if path is not None:
        assert [name for name in opened if path in name] == []
    assert set(CONTRACT) - set(found.variables) == {drop, *also}


@pytest.mark.parametrize(
    "drop", [["betas", "r2_mean"], ("betas",), {"x", "y", "stimulus"}, ["roi"], ["voxel", "trial"]]
)
def test_several_dropped(tiny, drop: Any) -> None:
    found = open_subject(tiny.root, drop_variables=drop)
    assert set(CONTRACT) - set(found.variables) == set(drop)
    if "session" in found.xindexes:
        assert found.sel(session="ses-02").sizes["trial"] == 17


def test_dropped_labels_still_narrow(tiny, ds: xr.Dataset) -> None:
    found = open_subject(tiny.root, drop_variables=["roi", "noise_ceiling"], roi="face", nc_threshold=20)
    expected = ds.sel(roi="face", noise_ceiling=slice(20, None))
    np.testing.assert_array_equal(found.voxel, expected.voxel)


def test_dropping_what_is_not_there_is_no_error(tiny) -> None:
    assert set(open_subject(tiny.root, drop_variables=["nothing"]).variables) == set(CONTRACT)


# groups of groups


def test_tree(tiny, ds: xr.Dataset) -> None:
    tree = xr.open_datatree(tiny.root, engine="laion_fmri")
    assert set(tree.children) == {"sub-01", "sub-03", "stimuli"}
    assert tree["/sub-03"].to_dataset().identical(ds)
    np.testing.assert_array_equal(tree["/sub-01/betas"], tiny.matrix("sub-01"))
    assert tree["/stimuli"].sizes["stimulus"] == len(tiny.metadata)


def test_groups(tiny, ds: xr.Dataset) -> None:
    for groups in (
        xr.open_groups(tiny.root, engine="laion_fmri"),
        LaionBackendEntrypoint().open_groups_as_dict(tiny.root),
    ):
        assert set(groups) == {"/", "/sub-01", "/sub-03", "/stimuli"}
        assert groups["/sub-03"].identical(ds)


@pytest.mark.parametrize("subject", [3, "sub-03", ["sub-03"], [3]])
def test_tree_of_some_subjects_with_arguments(tiny, subject: Any) -> None:
    tree = xr.open_datatree(tiny.root, engine="laion_fmri", subject=subject, roi="FFA1", sessions=1)
    assert set(tree.children) == {"sub-03", "stimuli"}
    assert tree["/sub-03"].sizes == {"trial": 14, "voxel": int(tiny.members("FFA1").sum()), "ses": 1}


def test_tree_of_a_subject_folder_or_of_one_group(tiny) -> None:
    assert set(xr.open_datatree(tiny.folder("sub-03"), engine="laion_fmri").children) == {"sub-03", "stimuli"}
    one = xr.open_datatree(tiny.root, engine="laion_fmri", group="sub-03")
    assert one.sizes["trial"] == 46
    model = xr.open_datatree(tiny.folder("sub-03"), engine="laion_fmri", group="sub-03/ses-01/glmsingle")
    assert "betasmd" in model


def test_tree_drops_variables_everywhere(tiny) -> None:
    tree = xr.open_datatree(tiny.root, engine="laion_fmri", drop_variables=["betas", "embedding_CLIP"])
    assert "betas" not in tree["/sub-01"]
    assert "embedding_CLIP" not in tree["/stimuli"]


def test_stimuli_dataset(tiny) -> None:
    stimuli = xr.open_dataset(tiny.root, engine="laion_fmri", group="stimuli")
    metadata = pd.read_csv(tiny.metadata_file)
    assert stimuli.stimulus.values.tolist() == metadata.image_name.tolist()
    assert stimuli.stimulus_index.values.tolist() == list(range(len(metadata)))
    for column in ("dataset", "participant", "unique_or_shared", "n_reps"):
        assert stimuli[column].values.tolist() == metadata[column].tolist()
    for name, vector in zip(stimuli.stimulus.values, stimuli.embedding_CLIP.values, strict=True):
        np.testing.assert_array_equal(vector, tiny.embeddings.get(name, np.full(8, np.nan)))
    assert stimuli.sel(stimulus=metadata.image_name[3]).stimulus_index == 3


def test_stimuli_that_are_not_there(tiny_copy) -> None:
    tiny_copy.metadata_file.unlink()
    with pytest.raises(StimuliNotDownloadedError, match=r"expected .*task-images_metadata\.csv; download them first"):
        xr.open_dataset(tiny_copy.root, engine="laion_fmri", group="stimuli")
    assert set(xr.open_datatree(tiny_copy.root, engine="laion_fmri").children) == {"sub-01", "sub-03"}


def test_model_file(tiny) -> None:
    model = xr.open_dataset(tiny.root, engine="laion_fmri", group="sub-03/ses-01/glmsingle")
    with h5py.File(tiny.model_file("ses-01")) as file:
        arrays: dict[str, Any] = {}
        file.visititems(lambda n, d: arrays.update({n: d[()]}) if isinstance(d, h5py.Dataset) else None)
    assert set(model) == {n.replace("/", "_") for n in arrays}
    for name, values in arrays.items():
        found = model[name.replace("/", "_")].values
        np.testing.assert_array_equal(found, values.decode() if isinstance(values, bytes) else values)
    assert model.betasmd.dims == ("i", "j", "k", "trial")
    assert model.R2.dims == ("i", "j", "k")
    assert model.diagnostics_onoff.dims == ("trial",)
    assert model.rrbadness.dims == ("rrbadness_0",)
    assert isinstance(model.betasmd.data, da.Array)
    assert model.attrs == {"subject": "sub-03", "session": "ses-01"}
    assert set(model.drop_vars("note")) == set(
        xr.open_dataset(tiny.root, engine="laion_fmri", group="sub-03/ses-01/glmsingle", drop_variables="note")
    )


@pytest.mark.parametrize("rows", ["anatomical", "rsquare", "other", "both"])
def test_model_file_of_a_table(tiny_copy, rows: str) -> None:
    r2 = np.flatnonzero(tiny_copy.subject_maps["sub-03", "r2_mean"].ravel() != 0)
    ids = {"rsquare": r2, "other": np.arange(3)}.get(rows, tiny_copy.voxels)
    if rows == "both":  # as many voxels in the one mask as in the other: which it is cannot be known
        volume = np.zeros(tiny_copy.grid, np.float32)
        volume.ravel()[: len(ids)] = 1
        nib.save(
            nib.Nifti1Image(volume, tiny_copy.affine),
            tiny_copy.subject_file("stat-rsquare_desc-R2mean_statmap.nii.gz"),
        )
    with h5py.File(tiny_copy.model_file("ses-01"), "w") as file:
        file["betasmd"] = np.arange(len(ids) * 14.0).reshape(len(ids), 14)
        file["R2"] = np.arange(len(ids))
    model = xr.open_dataset(tiny_copy.root, engine="laion_fmri", group="sub-03/ses-01/glmsingle")
    assert model.betasmd.dims == ("voxel", "trial")
    assert model.R2.dims == ("voxel",)
    if rows in ("other", "both"):
        assert "voxel" not in model.coords
    else:
        np.testing.assert_array_equal(model.voxel, ids)
        assert model.attrs["mask_source"] == rows


def test_model_file_that_is_not_there(tiny) -> None:
    with pytest.raises(
        DataNotDownloadedError, match=r"sub-03 ses-02 has no GLMsingle model file: expected .*model\.h5"
    ):
        xr.open_dataset(tiny.root, engine="laion_fmri", group="sub-03/ses-02/glmsingle")
    with pytest.raises(UnknownLabelError, match="Session of sub-03"):
        xr.open_dataset(tiny.root, engine="laion_fmri", group="sub-03/ses-09/glmsingle")


# guessing


class Strange:
    def __fspath__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "obj",
    [
        None,
        3,
        2.5,
        b"x",
        "",
        "x\0y",
        "\udcff",
        [],
        {},
        object(),
        Strange(),
        Path("nowhere"),
        "sub-03",
        "x.zarr",
        "x.nc",
    ],
    ids=lambda obj: f"{type(obj).__name__} {obj}" if isinstance(obj, (str, bytes, int, float)) else type(obj).__name__,
)
def test_guess_never_raises_and_says_no(obj: Any) -> None:
    assert LaionBackendEntrypoint().guess_can_open(obj) is False


def test_guess_is_narrow(tiny, tmp_path: Path) -> None:
    guess = LaionBackendEntrypoint().guess_can_open
    for obj in (tiny.root, str(tiny.root), upath.UPath(tiny.root)):
        assert guess(obj) is True
    (tmp_path / "derivatives" / "fmriprep").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    for obj in (
        tmp_path,
        tmp_path / "file",
        tiny.root / "derivatives",
        tiny.trials_file("ses-01"),
        tmp_path / "x.zarr",
    ):
        assert guess(obj) is False
    with pytest.raises(ValueError, match="did not find a match"):
        xr.open_dataset(tmp_path)


def test_guess_asks_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *args: pytest.fail("asked the network"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: pytest.fail("asked the network"))
    for address in ("s3://laion-fmri", "https://example.org/derivatives/glmsingle-tedana", "simplecache::s3://x"):
        assert LaionBackendEntrypoint().guess_can_open(address) is False


def test_engine_may_be_left_out(tiny) -> None:
    assert xr.open_dataset(tiny.root, subject=3).sizes["trial"] == 46


# indexes and files


def test_without_label_indexes_and_then_with(tiny, ds: xr.Dataset) -> None:
    plain = open_subject(tiny.root, label_index=False)
    assert set(plain.xindexes) == {"trial", "voxel", "ses"}
    assert plain.laion.sel(roi="FFA1", run=1).sizes == ds.sel(roi="FFA1", run=1).sizes
    assert plain.laion.index_labels().identical(ds)
    assert plain.laion.index_labels().sel(roi="face").identical(ds.sel(roi="face"))
    assert ds.laion.index_labels().identical(ds)  # again


def test_arrays_index_their_labels_too(tiny, ds: xr.Dataset) -> None:
    plain = open_subject(tiny.root, label_index=False).betas
    again = plain.laion.index_labels()
    assert set(again.xindexes) == set(ds.betas.xindexes)
    np.testing.assert_array_equal(again.sel(roi="FFA1", session="ses-02"), ds.betas.sel(roi="FFA1", session="ses-02"))
    # categories and empty ROIs are known to the array as well
    np.testing.assert_array_equal(again.sel(roi="face"), ds.betas.sel(roi="face"))
    assert again.sel(roi="EBA").sizes["voxel"] == 0
    assert plain.laion.sel(roi="face").sizes == ds.betas.sel(roi="face").sizes


@pytest.mark.parametrize("form", ["zarr", "netcdf"])
@pytest.mark.parametrize("part", ["whole", "selected", "array"])
def test_round_trip_through_a_file(tiny, ds: xr.Dataset, tmp_path: Path, form: str, part: str) -> None:
    # two sessions that Zarr's even chunks fit as they are
    few = open_subject(tiny.root, sessions=["ses-02", "ses-03"])
    kept = {"whole": few, "selected": few.sel(roi="all"), "array": few.betas.to_dataset()}[part]
    path = tmp_path / "file"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if form == "zarr":
            kept.to_zarr(path, consolidated=False)
            back = xr.open_zarr(path, consolidated=False)
        else:
            kept.to_netcdf(path, engine="h5netcdf")
            back = xr.open_dataset(path, engine="h5netcdf")
    with back:
        assert set(back.variables) == set(kept.variables)
        for name in kept.variables:
            np.testing.assert_array_equal(back[name].values, kept[name].values, err_msg=str(name))
        again = back.laion.index_labels()
        query = {"roi": "face - V1", "noise_ceiling": slice(10, None), "session": "ses-03", "run": [1, 2]}
        expected = kept.sel(query)
        assert expected.betas.size > 0
        np.testing.assert_array_equal(again.sel(query).betas, expected.betas)
        np.testing.assert_array_equal(again.betas.sel(roi="face"), kept.betas.sel(roi="face"))
        assert again.laion.to_nifti(again.betas.mean("trial")).shape == tiny.grid


def test_text_is_stored_with_variable_length(tiny, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_subject(tiny.root, sessions=1).to_zarr(tmp_path / "x.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "x.zarr", consolidated=False)
    for name in ("session", "stimulus", "roi", "unique_or_shared", "dataset", "ses", "button"):
        assert back[name].dtype.kind in "OT", name  # not U, of the longest label's width


def test_accessor_is_there_without_importing_the_package(tiny) -> None:
    code = f"""
        import sys
        import xarray as xr
        assert "laion_xr" not in sys.modules
        ds = xr.open_dataset({str(tiny.root)!r}, engine="laion_fmri", subject="sub-03")
        print(ds.laion.sel(roi="FFA1").sizes["voxel"], ds.betas.laion.sel(run=1).sizes["trial"])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    runs = (tiny.table().run == 1).sum()
    assert done.stdout.split() == [str(int(tiny.members("FFA1").sum())), str(int(runs))]
    assert done.stderr == ""


# embeddings


def expected_embeddings(tiny, names: Any) -> np.ndarray:
    return np.array([tiny.embeddings.get(n, np.full(8, np.nan)) for n in names], dtype=np.float16).reshape(-1, 8)


@pytest.mark.parametrize("embeddings", ["CLIP", ["CLIP"], "all"])
def test_embeddings_belong_to_their_trials(tiny, embeddings: Any) -> None:
    found = open_subject(tiny.root, embeddings=embeddings)
    assert found.embedding_CLIP.dims == ("trial", "feature_CLIP")
    assert found.embedding_CLIP.dtype == np.float16
    assert isinstance(found.embedding_CLIP.data, da.Array)
    expected = expected_embeddings(tiny, found.stimulus.values)
    np.testing.assert_array_equal(found.embedding_CLIP, expected)


@pytest.fixture(scope="module")
def embedded(tiny) -> xr.Dataset:
    return open_subject(tiny.root, embeddings=["CLIP"])


def picked(ds: xr.Dataset, seed: int) -> xr.Dataset:
    rng, n = np.random.default_rng(seed), ds.sizes["trial"]
    return ds.isel(trial=rng.integers(0, n, rng.integers(0, 9)) if n else [])


STEPS = {
    "permutation": lambda ds, seed: ds.isel(trial=np.random.default_rng(seed).permutation(ds.sizes["trial"])),
    "picks": picked,
    "label": lambda ds, seed: ds.sel(session=f"ses-0{seed % 3 + 1}"),
    "slice": lambda ds, seed: ds.isel(trial=slice(None, None, [-1, 2, -3][seed % 3])),
    "sort": lambda ds, seed: ds.sortby("stimulus"),
}


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 1000)), min_size=1, max_size=4))
def test_embeddings_stay_with_their_trials_whatever_is_selected(tiny, embedded: xr.Dataset, steps) -> None:
    found = embedded
    for step, seed in steps:
        found = STEPS[step](found, seed)
    np.testing.assert_array_equal(found.embedding_CLIP, expected_embeddings(tiny, found.stimulus.values))
    np.testing.assert_array_equal(found.betas, tiny.matrix()[found.trial.values])


def test_embeddings_that_are_not_there(tiny) -> None:
    with pytest.raises(StimuliNotDownloadedError, match=r"embeddings of DINOv2 are not there: expected .*DINOv2.*CLIP"):
        open_subject(tiny.root, embeddings="DINOv2")
    with pytest.raises(UnknownLabelError, match=r"Embedding model 'CLPI' does not exist here. Did you mean 'CLIP'"):
        open_subject(tiny.root, embeddings=["CLPI"])


def test_embeddings_of_a_selection_read_their_rows(embedded: xr.Dataset, tiny) -> None:
    one = embedded.sel(trial=20)
    np.testing.assert_array_equal(one.embedding_CLIP, expected_embeddings(tiny, [one.stimulus.item()])[0])


# what is missing


def test_without_rois(tiny_copy) -> None:
    shutil.rmtree(tiny_copy.root / "derivatives" / "rois")
    found = open_subject(tiny_copy.root)
    assert set(found.roi.values) == {""}
    np.testing.assert_array_equal(found.betas, tiny_copy.matrix())
    with pytest.raises(KeyError, match="ROI or category 'FFA1' does not exist here"):
        found.sel(roi="FFA1")
    assert found.sel(roi="all").sizes["voxel"] == 0


def test_without_metadata(tiny_copy) -> None:
    shutil.rmtree(tiny_copy.root / "stimuli")
    found = open_subject(tiny_copy.root)
    assert set(found.stimulus_index.values) == {-1}
    assert found.unique_or_shared.values.tolist() == [n.partition("_")[0] for n in tiny_copy.table().label]
    assert open_subject(tiny_copy.root, stimuli="shared").sizes["trial"] == (found.unique_or_shared == "shared").sum()


def test_without_anatomical_mask(tiny_copy) -> None:
    tiny_copy.mask_file().unlink()
    with pytest.warns(IncompleteDataWarning, match=r"brain mask .*brain_mask.nii.gz is not there: .*mask_source='rsq"):
        found = open_subject(tiny_copy.root)
    assert found.attrs["mask_source"] == "rsquare"
    assert found.voxel.equals(open_subject(tiny_copy.root, mask_source="rsquare").voxel)


def test_without_any_mask(tiny_copy) -> None:
    tiny_copy.mask_file().unlink()
    tiny_copy.subject_file("stat-rsquare_desc-R2mean_statmap.nii.gz").unlink()
    with pytest.raises(DataNotDownloadedError, match=r"No mask says which voxels sub-03 has: expected .*brain_mask"):
        open_subject(tiny_copy.root)


def test_without_r2_map(tiny_copy) -> None:
    tiny_copy.subject_file("stat-rsquare_desc-R2mean_statmap.nii.gz").unlink()
    with pytest.raises(DataNotDownloadedError, match=r"R2mean.*download it, or open with mask_source='anatomical'"):
        open_subject(tiny_copy.root, mask_source="rsquare")
    assert "r2_mean" not in open_subject(tiny_copy.root)


def test_full_resolution_mask_does_not_stand_in(tiny_copy) -> None:
    path = tiny_copy.mask_file()
    path.rename(path.with_name(path.name.replace("_res-1pt8", "")))
    with pytest.warns(IncompleteDataWarning, match="is not there"):
        assert open_subject(tiny_copy.root).attrs["mask_source"] == "rsquare"


def test_session_without_a_trial_table(tiny_copy) -> None:
    tiny_copy.trials_file("ses-02").unlink()
    with pytest.warns(IncompleteDataWarning, match="sub-03 ses-02 has betas and no trial table"):
        found = open_subject(tiny_copy.root)
    np.testing.assert_array_equal(found.betas, tiny_copy.matrix())
    second = found.sel(session="ses-02")
    assert second.sizes["trial"] == 17
    assert set(second.stimulus.values) == {""}
    assert set(second.run.values) == {-1}
    assert second.session_trial.values.tolist() == list(range(17))
    assert set(second.button.values) == {""}


def test_without_any_trial_table(tiny_copy) -> None:
    for session in tiny_copy.sessions():
        tiny_copy.trials_file(session).unlink()
    with pytest.warns(IncompleteDataWarning, match="no trial table"):
        found = open_subject(tiny_copy.root)
    np.testing.assert_array_equal(found.betas, tiny_copy.matrix())


def test_gap_in_the_sessions(tiny_copy) -> None:
    shutil.rmtree(tiny_copy.folder("sub-03", "ses-02").parent)
    found = open_subject(tiny_copy.root)
    assert found.ses.values.tolist() == ["ses-01", "ses-03"]
    np.testing.assert_array_equal(found.betas, tiny_copy.matrix(sessions=["ses-01", "ses-03"]))
    with pytest.raises(UnknownLabelError, match=r"Session of sub-03 'ses-02' .*ses-01, ses-03"):
        open_subject(tiny_copy.root, sessions=["ses-01", "ses-02"])


def test_only_the_model_file(tiny_copy, ds: xr.Dataset) -> None:
    tiny_copy.betas_file("ses-01").unlink()
    np.testing.assert_array_equal(open_subject(tiny_copy.root).betas, ds.betas)


def test_only_plain_nifti(tiny_copy, ds: xr.Dataset) -> None:
    for path in list(tiny_copy.root.rglob("*.nii.gz")):
        nib.save(nib.load(path), path.with_suffix(""))
        path.unlink()
    assert open_subject(tiny_copy.root).compute().drop_attrs().identical(ds.compute().drop_attrs())


@pytest.mark.parametrize("kinds", list(itertools.combinations(["r2_session", "frac_ridge", "hrf_index"], 2)), ids=str)
def test_without_session_maps(tiny_copy, kinds: tuple[str, ...]) -> None:
    endings = {"r2_session": "*desc-R2_*", "frac_ridge": "*Fracridge*", "hrf_index": "*HRFindex*"}
    for kind in kinds:
        for path in tiny_copy.folder("sub-03").rglob(endings[kind]):
            path.unlink()
    assert set(CONTRACT) - set(open_subject(tiny_copy.root).variables) == set(kinds)


def test_without_the_chosen_ceiling(tiny_copy) -> None:
    tiny_copy.subject_file("desc-Noiseceiling12rep_statmap.nii.gz").unlink()
    found = open_subject(tiny_copy.root)
    assert np.isnan(found.noise_ceiling).all()
    with pytest.raises(SelectionError, match="their map is not there"):
        found.sel(noise_ceiling=slice(30, None))
    with pytest.raises(DataNotDownloadedError, match=r"nc_threshold needs the noise ceiling: expected .*12rep"):
        open_subject(tiny_copy.root, nc_threshold=30)


def test_pickled_dataset_reads_in_a_fresh_process(tiny, ds: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "ds.pickle"
    path.write_bytes(pickle.dumps(ds.sel(roi="FFA1", session="ses-02")))
    code = f"import pickle; print(float(pickle.load(open({str(path)!r}, 'rb')).betas.sum()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == float(ds.sel(roi="FFA1", session="ses-02").betas.sum())
