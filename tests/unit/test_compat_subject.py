"""`Subject` of the drop-in layer: arrays, orders and errors, beside what plain nibabel and pandas give."""

from __future__ import annotations

import pickle
import shutil
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import laion_xr
from laion_xr.compat import files
from laion_xr.compat.subject import Subject, load_subject
from laion_xr.errors import (
    DataDirNotSetError,
    DataNotDownloadedError,
    StimuliNotDownloadedError,
    SubjectNotFoundError,
)
from tests.conftest import Reads, Tiny, save


@pytest.fixture
def sub(tiny: Tiny) -> Subject:
    return Subject("sub-03", str(tiny.root))


def volume_of(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(nib.load(path).dataobj)


def plain_betas(tiny: Tiny, session: str, mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What a loop over volumes with nibabel gives: (trial, voxel) in C order within a mask."""
    data = volume_of(tiny.betas_file(session))
    return np.stack([data[..., t].ravel()[mask.ravel()] for t in range(data.shape[3])]).astype(np.float32)


def anatomical(tiny: Tiny) -> np.ndarray[Any, Any]:
    return volume_of(tiny.mask_file()).astype(bool)


def rsquare(tiny: Tiny) -> np.ndarray[Any, Any]:
    return volume_of(tiny.subject_file("stat-rsquare_desc-R2mean_statmap.nii.gz")) != 0


MASKS = {"anatomical": anatomical, "rsquare": rsquare}


# Loading


def test_load_subject_by_full_and_bare_name(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tiny.root))
    assert load_subject("sub-03").subject_id == "sub-03"
    assert load_subject("03").subject_id == "sub-03"


@pytest.mark.parametrize("name", ["", "sub-"])
def test_empty_name_is_no_subject(name: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tiny.root))
    with pytest.raises(SubjectNotFoundError):
        load_subject(name)


def test_subject_is_named_by_a_string(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tiny.root))
    with pytest.raises(TypeError, match="int") as caught:  # what the published code raises
        load_subject(3)  # type: ignore[arg-type]
    assert isinstance(caught.value, SubjectNotFoundError)  # what its documentation says


def test_subject_that_is_not_there_is_not_downloaded(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tiny.root))
    with pytest.raises(DataNotDownloadedError, match="sub-99"):
        load_subject("sub-99")
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="sub-03"):
        load_subject("sub-03")


def test_without_a_data_folder_the_error_says_so() -> None:
    with pytest.raises(DataDirNotSetError, match="dataset_initialize"):
        load_subject("sub-03")


def test_sessions_are_the_folders(tiny_copy: Tiny) -> None:
    (tiny_copy.folder() / "ses-10").mkdir()
    assert Subject("sub-03", tiny_copy.root).get_sessions() == ["ses-01", "ses-02", "ses-03", "ses-10"]


# Masks


@pytest.mark.parametrize("source", ["anatomical", "rsquare"])
def test_brain_mask_is_the_file_in_c_order(tiny: Tiny, sub: Subject, source: str) -> None:
    expected = MASKS[source](tiny).ravel()
    found = sub.get_brain_mask(source=source)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, expected)
    assert sub.get_n_voxels(source=source) == expected.sum()
    if source == "rsquare":
        np.testing.assert_array_equal(sub.get_brain_mask(source="rsquare", res=None), expected)


def test_full_resolution_mask_has_its_own_grid(tiny_copy: Tiny) -> None:
    inside = np.random.default_rng(0).random((9, 4, 8)) < 0.5
    save(Path(str(tiny_copy.mask_file()).replace("_res-1pt8", "")), inside.astype(np.uint8))
    np.testing.assert_array_equal(Subject("sub-03", tiny_copy.root).get_brain_mask(res=None), inside.ravel())


def test_mask_that_is_not_there_is_an_error_not_another_mask(tiny_copy: Tiny) -> None:
    tiny_copy.mask_file().unlink()
    sub = Subject("sub-03", tiny_copy.root)
    for call in (sub.get_brain_mask, lambda: sub.get_betas("ses-01"), lambda: sub.get_roi_mask("PPA")):
        with pytest.raises(DataNotDownloadedError, match="rsquare"):
            call()
    assert sub.get_betas("ses-01", mask_source="rsquare").shape == (14, rsquare(tiny_copy).sum())


def test_unknown_mask_source_is_a_value_error(sub: Subject) -> None:
    with pytest.raises(ValueError, match="source"):
        sub.get_brain_mask(source="bogus")
    with pytest.raises(ValueError, match="source"):
        sub.get_betas("ses-01", mask_source="bogus")


# Betas


@pytest.mark.parametrize("source", ["anatomical", "rsquare"])
def test_betas_are_those_of_nibabel(tiny: Tiny, sub: Subject, source: str) -> None:
    expected = plain_betas(tiny, "ses-02", MASKS[source](tiny))
    found = sub.get_betas(session="ses-02", mask_source=source)
    assert type(found) is np.ndarray
    assert (found.dtype, found.flags.c_contiguous, found.flags.writeable) == (np.float32, True, True)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(sub.get_betas("ses-02", streaming=True, mask_source=source), expected)
    assert np.isnan(found).any()  # kept


def test_list_of_sessions_is_a_dict_in_the_order_asked_for(tiny: Tiny, sub: Subject) -> None:
    found = sub.get_betas(session=["ses-03", "ses-01"])
    assert list(found) == ["ses-03", "ses-01"]
    for session, betas in found.items():
        np.testing.assert_array_equal(betas, plain_betas(tiny, session, anatomical(tiny)))
    assert list(sub.get_betas(("ses-02",))) == ["ses-02"]
    assert sub.get_betas([]) == {}


@pytest.mark.parametrize(
    ("roi", "names"),
    [
        ("PPA", ["PPA"]),
        ("face", ["FFA1", "OFA"]),
        ("all", ["EBA", "FFA1", "OFA", "PPA", "V1d", "V1v", "laionventral"]),
        (["PPA", "face"], ["PPA", "FFA1", "OFA"]),
        ("EBA", []),
        ([], []),
        ("visual", ["EBA", "FFA1", "OFA", "PPA", "V1d", "V1v", "laionventral"]),  # as the published examples write it
        ("V1", ["V1d", "V1v"]),
    ],
)
def test_roi_is_the_union_within_the_brain_mask(tiny: Tiny, sub: Subject, roi: Any, names: list[str]) -> None:
    inside = np.zeros(tiny.grid, dtype=bool)
    for name in names:
        category = next(c for c, rois in tiny.categories.items() if name in rois)
        inside |= volume_of(tiny.roi_file(category, name)).astype(bool)
    expected = inside[anatomical(tiny)]
    if names:
        assert (inside & ~anatomical(tiny)).any() or names == ["EBA"]  # an ROI reaches outside the mask
    mask = sub.get_roi_mask(roi)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(
        sub.get_betas("ses-01", roi=roi), plain_betas(tiny, "ses-01", anatomical(tiny))[:, expected]
    )
    np.testing.assert_array_equal(sub.get_roi_mask(roi, mask_source="rsquare"), inside[rsquare(tiny)])


def test_set_algebra_of_the_package_is_understood_too(tiny: Tiny, sub: Subject) -> None:
    laion, v1d = (
        volume_of(tiny.roi_file(c, r)).astype(bool) for c, r in (("laion", "laionventral"), ("retinotopy", "V1d"))
    )
    np.testing.assert_array_equal(sub.get_roi_mask("laionventral - V1d"), (laion & ~v1d)[anatomical(tiny)])


def test_unknown_roi_lists_what_there_is(sub: Subject) -> None:
    for call in (sub.get_roi_mask, lambda q: sub.get_betas("ses-01", roi=q), sub.get_roi_data):
        with pytest.raises(ValueError, match="FFA9") as caught:
            call("FFA9")
        assert all(name in str(caught.value) for name in ("FFA1", "laionventral", "face", "retinotopy"))


def test_roi_masks_keep_the_keys(tiny: Tiny, sub: Subject) -> None:
    found = sub.get_roi_masks(["face", "PPA"])
    assert list(found) == ["face", "PPA"]
    np.testing.assert_array_equal(found["PPA"], tiny.members("PPA"))
    assert list(sub.get_roi_masks("all")) == ["all"]


def test_lists_of_rois_and_categories_are_sorted(sub: Subject) -> None:
    assert sub.get_available_rois() == ["EBA", "FFA1", "OFA", "PPA", "V1d", "V1v", "laionventral"]
    assert sub.get_available_rois(category="face") == ["FFA1", "OFA"]
    assert sub.get_available_rois(category="nothing") == []
    assert sub.get_available_categories() == ["body", "face", "laion", "place", "retinotopy"]


def test_mask_takes_the_voxels_that_it_names(tiny: Tiny, sub: Subject) -> None:
    mask = np.random.default_rng(1).random(tiny.mask.sum()) < 0.3
    np.testing.assert_array_equal(
        sub.get_betas("ses-01", mask=mask), plain_betas(tiny, "ses-01", anatomical(tiny))[:, mask]
    )
    assert sub.get_betas("ses-01", mask=np.zeros_like(mask)).shape == (14, 0)
    with pytest.raises(ValueError, match="mask"):
        sub.get_betas("ses-01", mask=mask[1:])


def test_threshold_keeps_what_is_equal_and_drops_nan_by_the_session_s_map(tiny_copy: Tiny) -> None:
    path = tiny_copy.session_file("ses-02", "space-T1w_desc-Noiseceiling_statmap.nii.gz")
    volume = np.round(np.random.default_rng(2).random(tiny_copy.grid) * 100).astype(np.float32)
    volume[0] = np.nan
    save(path, volume)
    sub = Subject("sub-03", tiny_copy.root)
    ceiling = volume[anatomical(tiny_copy)]
    threshold = float(np.nanmedian(ceiling))
    with np.errstate(invalid="ignore"):
        expected = ceiling >= threshold
    assert (ceiling == threshold).any()
    assert np.isnan(ceiling).any()
    betas = plain_betas(tiny_copy, "ses-02", anatomical(tiny_copy))
    np.testing.assert_array_equal(sub.get_betas("ses-02", nc_threshold=threshold), betas[:, expected])
    both = expected & tiny_copy.members("laionventral")
    np.testing.assert_array_equal(sub.get_betas("ses-02", roi="laionventral", nc_threshold=threshold), betas[:, both])
    mask = np.arange(len(ceiling)) % 2 == 0
    np.testing.assert_array_equal(sub.get_betas("ses-02", mask=mask, nc_threshold=threshold), betas[:, expected & mask])
    # each session of a list by its own map: the other is of 0 to 1
    shapes = {name: array.shape for name, array in sub.get_betas(["ses-01", "ses-02"], nc_threshold=threshold).items()}
    assert shapes == {"ses-01": (14, 0), "ses-02": (17, expected.sum())}


def test_threshold_that_looks_like_a_fraction_warns_and_is_taken_as_it_is(tiny: Tiny, sub: Subject) -> None:
    ceiling = tiny.session_maps["sub-03", "ses-01", "noise_ceiling_session"][anatomical(tiny)]
    with pytest.warns(UserWarning, match="percent"):
        found = sub.get_betas("ses-01", nc_threshold=0.5)
    assert found.shape == (14, (ceiling >= 0.5).sum())


@pytest.mark.parametrize("stimuli", ["shared", "unique"])
def test_stimuli_takes_trials_by_the_prefix_of_the_label(tiny: Tiny, sub: Subject, stimuli: str) -> None:
    table = pd.read_csv(tiny.trials_file("ses-01"), sep="\t")
    kept = table["label"].str.startswith("shared_").to_numpy() == (stimuli == "shared")
    assert 0 < kept.sum() < len(kept)
    betas = plain_betas(tiny, "ses-01", anatomical(tiny))
    np.testing.assert_array_equal(sub.get_betas("ses-01", stimuli=stimuli), betas[kept])
    np.testing.assert_array_equal(
        sub.get_betas("ses-01", stimuli=stimuli, roi="PPA"), betas[kept][:, tiny.members("PPA")]
    )


def test_stimuli_without_the_trial_table_is_not_downloaded(tiny_copy: Tiny) -> None:
    tiny_copy.trials_file("ses-01").unlink()
    sub = Subject("sub-03", tiny_copy.root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that labels are missing is said when the betas are opened
        with pytest.raises(DataNotDownloadedError, match="trials"):
            sub.get_betas("ses-01", stimuli="shared")


def test_arguments_that_exclude_each_other_are_value_errors(tiny: Tiny, sub: Subject) -> None:
    with pytest.raises(ValueError, match="mutually exclusive"):
        sub.get_betas("ses-01", roi="PPA", mask=np.ones(tiny.mask.sum(), dtype=bool))
    with pytest.raises(ValueError, match="session is required"):
        sub.get_betas(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shared.*unique"):
        sub.get_betas("ses-01", stimuli="some")


def test_session_that_is_not_there_is_not_downloaded(sub: Subject) -> None:
    with pytest.raises(DataNotDownloadedError, match="ses-09"):
        sub.get_betas("ses-09")
    with pytest.raises(DataNotDownloadedError, match="ses-09"):
        sub.get_betas(["ses-01", "ses-09"])


def test_broken_file_of_another_session_is_no_matter(tiny_copy: Tiny) -> None:
    tiny_copy.betas_file("ses-02").write_bytes(b"no image")
    sub = Subject("sub-03", tiny_copy.root)
    np.testing.assert_array_equal(sub.get_betas("ses-01"), plain_betas(tiny_copy, "ses-01", anatomical(tiny_copy)))


def test_session_that_comes_later_is_seen(tiny_copy: Tiny) -> None:
    hidden = tiny_copy.root / "hidden"
    shutil.move(tiny_copy.folder() / "ses-03", hidden)
    sub = Subject("sub-03", tiny_copy.root)
    assert sub.get_betas("ses-01").shape[0] == 14
    with pytest.raises(DataNotDownloadedError):
        sub.get_betas("ses-03")
    shutil.move(hidden, tiny_copy.folder() / "ses-03")
    assert sub.get_betas("ses-03").shape[0] == 15


def test_only_what_is_asked_for_is_read(tiny: Tiny, sub: Subject, reads: Reads) -> None:
    table = pd.read_csv(tiny.trials_file("ses-02"), sep="\t")
    sub.get_betas("ses-02", roi="PPA", stimuli="unique")
    (read,) = reads.betas
    ids = np.flatnonzero(anatomical(tiny).ravel())[tiny.members("PPA")]
    assert (read.session, read.voxels) == ("ses-02", ids.tolist())
    assert read.trials == np.flatnonzero(table["label"].str.startswith("unique_")).tolist()
    assert reads.maps == []
    reads.clear()
    sub.get_betas(["ses-01", "ses-03"])
    assert [r.session for r in reads.betas] == ["ses-01", "ses-03"]


def test_folder_is_listed_once_a_call(tiny: Tiny, sub: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    listings: list[str] = []
    scan = files.scan_subject
    monkeypatch.setattr(files, "scan_subject", lambda *args: listings.append(args[1]) or scan(*args))
    sub.get_betas(["ses-01", "ses-02", "ses-03"], roi="PPA", nc_threshold=5)
    assert listings == ["sub-03"]


def test_threads_share_a_subject(tiny: Tiny, sub: Subject) -> None:
    asked = [session for session in tiny.sessions() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda session: sub.get_betas(session, roi="PPA"), asked))
        tables = list(pool.map(lambda _: sub.metadata, asked))
    for session, betas in zip(asked, found, strict=True):
        np.testing.assert_array_equal(betas, plain_betas(tiny, session, anatomical(tiny))[:, tiny.members("PPA")])
    assert all(table.equals(tables[0]) for table in tables)


def test_result_is_most_of_the_memory(tmp_path: Path) -> None:
    laion_xr.simulate(tmp_path, [3], 1, 60, 40, stimuli=False, surfaces=False, models=False)
    sub = Subject("sub-03", tmp_path)
    sub.get_betas("ses-01", roi="FFA1")  # what is opened once
    tracemalloc.start()
    try:
        found = sub.get_betas("ses-01")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # the file inflated whole is 15 MB, the result 3
    whole = 40**3 * 60 * 4
    assert found.nbytes < whole / 4
    assert peak < 2 * found.nbytes + 4 * 2**20 < whole


def test_store_is_used_where_it_is_configured(
    tiny: Tiny, sub: Subject, reads: Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laion_xr.ingest(tiny.root, tmp_path / "store", subjects=["sub-03"], progress=False)
    monkeypatch.setenv("LAION_XR_STORE", str(tmp_path / "store"))
    reads.clear()
    found = sub.get_betas(["ses-01", "ses-02"], roi="face", stimuli="shared")
    assert reads.betas == []
    for session, betas in found.items():
        shared = pd.read_csv(tiny.trials_file(session), sep="\t")["label"].str.startswith("shared_").to_numpy()
        expected = plain_betas(tiny, session, anatomical(tiny))[shared][:, tiny.members("FFA1", "OFA")]
        np.testing.assert_array_equal(betas, expected)


def test_subject_pickles_with_what_it_has_opened(tiny: Tiny, sub: Subject) -> None:
    sub.get_betas("ses-01", roi="PPA")
    again = pickle.loads(pickle.dumps(sub))
    np.testing.assert_array_equal(again.get_betas("ses-01"), plain_betas(tiny, "ses-01", anatomical(tiny)))


def test_address_serves_as_a_data_folder(tiny: Tiny, tiny_in_memory: str) -> None:
    sub = Subject("sub-03", tiny_in_memory)
    np.testing.assert_array_equal(
        sub.get_betas("ses-01", roi="PPA"), plain_betas(tiny, "ses-01", anatomical(tiny))[:, tiny.members("PPA")]
    )
    with pytest.raises(DataNotDownloadedError, match="not a folder"):
        sub.get_anatomical_dir()


# Noise ceilings, trial tables


def test_noise_ceiling_is_the_map_within_the_mask(tiny: Tiny, sub: Subject) -> None:
    for source, mask in MASKS.items():
        inside = mask(tiny)
        found = sub.get_noise_ceiling(session="ses-01", mask_source=source)
        assert found.dtype == np.float32
        volume = volume_of(tiny.session_file("ses-01", "space-T1w_desc-Noiseceiling_statmap.nii.gz"))
        np.testing.assert_array_equal(found, volume[inside])
        volume = volume_of(tiny.subject_file("desc-Noiseceiling12rep_statmap.nii.gz"))
        np.testing.assert_array_equal(
            sub.get_noise_ceiling(desc="Noiseceiling12rep", mask_source=source), volume[inside]
        )
    ceiling = sub.get_noise_ceiling(session="ses-01")
    np.testing.assert_array_equal(
        sub.get_noise_ceiling(session="ses-01", roi="face"), ceiling[tiny.members("FFA1", "OFA")]
    )
    mask = ceiling > 0.5
    np.testing.assert_array_equal(sub.get_noise_ceiling(session="ses-01", mask=mask), ceiling[mask])


def test_noise_ceilings_of_a_list_are_a_dict(sub: Subject) -> None:
    found = sub.get_noise_ceiling(session=["ses-02", "ses-01"])
    assert list(found) == ["ses-02", "ses-01"]
    np.testing.assert_array_equal(found["ses-01"], sub.get_noise_ceiling(session="ses-01"))
    assert list(sub.get_noise_ceiling(desc=["Noiseceiling4rep", "NoiseceilingAllrep"])) == [
        "Noiseceiling4rep",
        "NoiseceilingAllrep",
    ]


def test_noise_ceiling_needs_one_of_session_and_desc(sub: Subject) -> None:
    for arguments in ({}, {"session": "ses-01", "desc": "Noiseceiling12rep"}):
        with pytest.raises(ValueError, match=r"session.*desc"):
            sub.get_noise_ceiling(**arguments)
    for arguments in ({"desc": "does-not-exist"}, {"session": "ses-09"}):
        with pytest.raises(FileNotFoundError):
            sub.get_noise_ceiling(**arguments)


def test_trial_info_is_the_file_as_pandas_reads_it(tiny: Tiny, sub: Subject) -> None:
    for session, found in sub.get_trial_info(session=["ses-02", "ses-01"]).items():
        pd.testing.assert_frame_equal(found, pd.read_csv(tiny.trials_file(session), sep="\t"))
    with pytest.raises(ValueError, match="session"):
        sub.get_trial_info(session=None)  # type: ignore[arg-type]
    with pytest.raises(DataNotDownloadedError, match="ses-09"):
        sub.get_trial_info("ses-09")


def test_metadata_is_every_trial_with_its_stimulus(tiny: Tiny, sub: Subject) -> None:
    stimuli = pd.read_csv(tiny.metadata_file)
    table = pd.concat([pd.read_csv(tiny.trials_file(s), sep="\t") for s in tiny.sessions()], ignore_index=True)
    found = sub.metadata
    assert found.index.tolist() == list(range(len(table)))
    pd.testing.assert_frame_equal(found[table.columns.tolist()], table)
    assert found.columns.tolist()[len(table.columns) :] == [
        "session_trial", "image_name", "stim_idx", "unique_or_shared", "dataset",
    ]  # fmt: skip
    np.testing.assert_array_equal(found["session_trial"], table.groupby("session").cumcount())
    where = {name: row for row, name in enumerate(stimuli["image_name"])}
    for row, name in enumerate(table["label"]):
        known = where.get(name)
        if known is None:  # one image has no metadata
            assert np.isnan(found["stim_idx"][row])
            assert pd.isna(found["dataset"][row])
        else:
            assert found["stim_idx"][row] == known
            assert found["dataset"][row] == stimuli["dataset"][known]
            assert found["unique_or_shared"][row] == stimuli["unique_or_shared"][known]
    assert sub.metadata is found  # what a script adds to it stays


def test_metadata_without_stimuli_are_not_downloaded(tiny_copy: Tiny) -> None:
    shutil.rmtree(tiny_copy.root / "stimuli")
    sub = Subject("sub-03", tiny_copy.root)
    assert sub.has_stimuli() is False
    for call in (lambda: sub.metadata, sub.get_n_stimuli, lambda: sub.images.get(0)):
        with pytest.raises(StimuliNotDownloadedError):
            call()


def test_counts_of_stimuli_are_those_of_the_table(tiny: Tiny, sub: Subject) -> None:
    kinds = pd.read_csv(tiny.metadata_file)["unique_or_shared"].value_counts()
    assert sub.get_n_stimuli() == kinds.sum()
    assert sub.get_n_stimuli(stimuli="shared") == kinds["shared"]
    assert sub.get_n_stimuli("unique") == kinds["unique"]
    with pytest.raises(ValueError, match="shared"):
        sub.get_n_stimuli("some")


# Space


def test_to_nifti_puts_values_back(tiny: Tiny, sub: Subject, tmp_path: Path) -> None:
    for source, mask in MASKS.items():
        inside = mask(tiny)
        values = np.random.default_rng(3).standard_normal(inside.sum())
        path = tmp_path / f"{source}.nii.gz"
        assert sub.to_nifti(values, str(path), mask_source=source) is None
        image = nib.load(path)
        expected = np.zeros(tiny.grid, dtype=np.float32)
        expected[inside] = values
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
        np.testing.assert_allclose(image.affine, nib.load(tiny.mask_file()).affine)


def test_to_nifti_of_an_roi_or_a_mask_fills_its_voxels(tiny: Tiny, sub: Subject, tmp_path: Path) -> None:
    mask = np.arange(tiny.mask.sum()) % 3 == 0
    for name, arguments, members in (("roi", {"roi": "PPA"}, tiny.members("PPA")), ("mask", {"mask": mask}, mask)):
        values = np.arange(1, members.sum() + 1, dtype=np.float32)
        sub.to_nifti(values, tmp_path / f"{name}.nii.gz", **arguments)
        found = volume_of(tmp_path / f"{name}.nii.gz")[anatomical(tiny)]
        np.testing.assert_array_equal(found[members], values)
        assert not found[~members].any()
        with pytest.raises(ValueError, match="mismatch"):
            sub.to_nifti(values[1:], tmp_path / "wrong.nii.gz", **arguments)
    assert not (tmp_path / "wrong.nii.gz").exists()


def test_voxel_coordinates_go_through_the_affine(tiny: Tiny, sub: Subject) -> None:
    ijk = np.argwhere(anatomical(tiny))
    expected = nib.affines.apply_affine(nib.load(tiny.mask_file()).affine, ijk)
    found = sub.get_voxel_coordinates()
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(sub.get_voxel_coordinates(roi="PPA"), expected[tiny.members("PPA")])
    ijk = np.argwhere(rsquare(tiny))
    np.testing.assert_allclose(
        sub.get_voxel_coordinates(mask_source="rsquare"),
        nib.affines.apply_affine(nib.load(tiny.mask_file()).affine, ijk),
    )


def test_anatomical_paths_are_files_or_not_downloaded(tiny_copy: Tiny) -> None:
    folder = tiny_copy.mask_file().parent
    stem = "sub-03_ses-PrismaAnat_space-T1w"
    for name in (f"{stem}_T1w.nii.gz", f"{stem}_res-1pt8_T1w.nii.gz", f"{stem}_T2w.nii.gz"):
        (folder / name).touch()
    sub = Subject("sub-03", tiny_copy.root)
    assert sub.has_anatomical()
    assert sub.get_anatomical_dir() == tiny_copy.root / "derivatives" / "anatomical" / "sub-03"
    assert sub.get_t1w() == folder / f"{stem}_T1w.nii.gz"
    assert sub.get_t1w(res="1pt8") == folder / f"{stem}_res-1pt8_T1w.nii.gz"
    assert sub.get_t2w() == folder / f"{stem}_T2w.nii.gz"
    assert sub.get_anatomical_brain_mask(res="1pt8") == tiny_copy.mask_file()
    with pytest.raises(DataNotDownloadedError, match="T2w"):
        sub.get_t2w(res="1pt8")
    assert not sub.has_freesurfer()
    with pytest.raises(DataNotDownloadedError, match="freesurfer"):
        sub.get_freesurfer_dir()
    shutil.rmtree(tiny_copy.root / "derivatives" / "anatomical" / "sub-03")
    assert not sub.has_anatomical()
    with pytest.raises(DataNotDownloadedError, match="anatomical"):
        sub.get_anatomical_dir()
