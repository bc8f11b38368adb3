"""What the drop-in layer is given: sessions in every spelling, masks, thresholds, ROIs; and what means nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from laion_xr.compat import _paths
from laion_xr.compat.arguments import listed, one_session, voxel_mask
from laion_xr.compat.group import Group, load_subjects
from laion_xr.compat.subject import Subject
from laion_xr.errors import DataNotDownloadedError, LaionXRError, SelectionError, SubjectNotFoundError
from tests.conftest import Tiny


@pytest.fixture
def sub(tiny: Tiny) -> Subject:
    return Subject("sub-03", str(tiny.root))


@pytest.fixture
def full(dataset_root: Path) -> Subject:
    """A subject with images and embeddings."""
    return Subject("sub-03", dataset_root)


def plain_betas(tiny: Tiny, session: str, subject: str = "sub-03") -> np.ndarray[Any, Any]:
    """(trial, voxel) of the anatomical mask, by nibabel."""
    mask = np.asarray(nib.load(tiny.mask_file()).dataobj) != 0
    return np.asarray(nib.load(tiny.betas_file(session, subject)).dataobj)[mask].T.astype(np.float32)


# Sessions

SPELLINGS = ["ses-01", "ses-1", "01", "1", 1, np.int64(1), np.str_("ses-01"), np.array("1")]


@pytest.mark.parametrize("session", SPELLINGS, ids=repr)
def test_every_method_knows_a_session_by_all_its_names(full: Subject, dataset_root: Path, session: Any) -> None:
    folder = dataset_root / "derivatives/glmsingle-tedana/sub-03/ses-01/func"
    table = pd.read_csv(next(folder.glob("*_trials.tsv")), sep="\t")
    stem = "sub-03_ses-01_task-images_space-T1w"
    mask = full.get_brain_mask()
    betas = np.asarray(nib.load(folder / f"{stem}_stat-effect_desc-SingletrialBetas_statmap.nii.gz").dataobj)
    ceiling = np.asarray(nib.load(folder / f"{stem}_desc-Noiseceiling_statmap.nii.gz").dataobj)
    np.testing.assert_array_equal(full.get_betas(session), betas.reshape(-1, betas.shape[3])[mask].T)
    np.testing.assert_array_equal(full.get_noise_ceiling(session), ceiling.ravel()[mask])
    pd.testing.assert_frame_equal(full.get_trial_info(session), table)
    names = table["label"].tolist()
    np.testing.assert_array_equal(
        full.embeddings.all("CLIP", session), np.stack([full.embeddings.get("CLIP", i) for i in range(len(names))])
    )
    assert len(full.images.array(session)) == len(list(full.images.all(session))) == len(names)
    np.testing.assert_array_equal(full.images.array(session)[-1], np.asarray(full.images.get(len(names) - 1)))
    assert _paths.betas_path(dataset_root, "sub-03", session).is_file()
    assert _paths.trialinfo_path(dataset_root, "sub-03", session).is_file()
    assert _paths.session_noise_ceiling_path(dataset_root, "sub-03", session).is_file()
    assert not full.has_raw(session)


@pytest.mark.parametrize("session", ["1", 1], ids=repr)
def test_torch_dataset_knows_a_session_by_all_its_names(full: Subject, session: Any) -> None:
    pytest.importorskip("torch", reason="needs PyTorch (extra torch)")
    dataset = full.to_torch_dataset(session=session, roi="FFA1")
    assert len(dataset) == len(full.get_trial_info("ses-01"))
    assert dataset[0]["session"] == "ses-01"


def test_name_in_bids_knows_a_session_by_all_its_names(full: Subject, tmp_path: Path) -> None:
    values = np.ones(full.get_n_voxels(), dtype=np.float32)
    full.to_template(values, "MNI305", output_dir=tmp_path, session=1)
    assert [path.name for path in tmp_path.iterdir()] == ["sub-03_ses-01_space-MNI305_statmap.nii.gz"]


@given(st.integers(0, 99))
def test_names_of_a_session_are_one(number: int) -> None:
    expected = f"ses-{number:02d}"
    for spelled in (number, str(number), f"ses-{number}", expected, f"{number:02d}", np.int32(number)):
        assert one_session(spelled) == expected


METHODS: dict[str, Callable[[Subject, Any], Any]] = {
    "get_betas": lambda sub, session: sub.get_betas(session),
    "get_noise_ceiling": lambda sub, session: sub.get_noise_ceiling(session=session),
    "get_trial_info": lambda sub, session: sub.get_trial_info(session),
    "images.array": lambda sub, session: sub.images.array(session),
    "images.all": lambda sub, session: list(sub.images.all(session)),
    "embeddings.all": lambda sub, session: sub.embeddings.all("CLIP", session),
    "get_events": lambda sub, session: sub.get_events(session),
    "to_torch_dataset": lambda sub, session: sub.to_torch_dataset(session=session),
}
ONE = ["images.array", "images.all", "embeddings.all", "get_events", "to_torch_dataset"]


@pytest.mark.parametrize("method", METHODS)
def test_session_that_is_not_there_is_not_downloaded(full: Subject, method: str) -> None:
    for session in ("ses-99", "99", 99):
        with pytest.raises(DataNotDownloadedError, match="ses-99"):
            METHODS[method](full, session)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("session", ["", "ses-", 1.0, True, b"ses-01", {"ses-01": 1}, np.array([["ses-01"]])], ids=repr)
def test_what_names_no_session_is_a_value_error(full: Subject, method: str, session: Any) -> None:
    with pytest.raises(SelectionError, match=r"session"):
        METHODS[method](full, session)


@pytest.mark.parametrize("method", ONE)
@pytest.mark.parametrize("session", [["ses-01"], ("ses-01", "ses-02"), np.array(["ses-01"])], ids=repr)
def test_methods_of_one_session_refuse_a_list(full: Subject, method: str, session: Any) -> None:
    with pytest.raises(SelectionError, match="one session") as caught:
        METHODS[method](full, session)
    assert isinstance(caught.value, TypeError)


ORDERED: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "objects": lambda names: np.array(names, dtype=object),
    "Series": lambda names: pd.Series(names, index=range(7, 7 + len(names))),
    "Index": pd.Index,
    "categories": lambda names: pd.Series(names, dtype="category"),
    "unique": lambda names: pd.Series([*names, *names]).unique(),
    "DataArray": lambda names: xr.DataArray(names, dims="ses"),
    "generator": lambda names: (name for name in names),
    "keys": lambda names: dict.fromkeys(names).keys(),
}


@pytest.mark.parametrize("kind", ORDERED)
def test_several_sessions_are_a_list_however_they_are_given(tiny: Tiny, sub: Subject, kind: str) -> None:
    names = ["ses-03", "ses-01"]
    betas = sub.get_betas(ORDERED[kind](names))
    assert list(betas) == names
    assert [type(name) for name in betas] == [str, str]
    for name in names:
        np.testing.assert_array_equal(betas[name], plain_betas(tiny, name))
    tables = sub.get_trial_info(ORDERED[kind](names))
    assert list(tables) == names
    for name in names:
        pd.testing.assert_frame_equal(tables[name], pd.read_csv(tiny.trials_file(name), sep="\t"))
    ceilings = sub.get_noise_ceiling(ORDERED[kind](names))
    assert list(ceilings) == names
    np.testing.assert_array_equal(ceilings["ses-01"], sub.get_noise_ceiling(session="ses-01"))


def test_set_of_sessions_is_in_their_order(sub: Subject) -> None:
    assert list(sub.get_betas({"ses-03", "ses-01", "ses-02"})) == ["ses-01", "ses-02", "ses-03"]
    assert listed({"ses-10", "ses-9", "ses-1"}) == ["ses-1", "ses-9", "ses-10"]


def test_keys_of_the_dict_are_what_was_given(tiny: Tiny, sub: Subject) -> None:
    found = sub.get_betas(["1", 2])
    assert list(found) == ["1", 2]
    np.testing.assert_array_equal(found[2], plain_betas(tiny, "ses-02"))
    assert list(sub.get_betas(range(1, 3))) == [1, 2]
    assert sub.get_betas(np.array([], dtype=str)) == sub.get_trial_info([]) == {}


@pytest.mark.parametrize("sessions", [[None], ["ses-01", ""], [["ses-01"]], [1.5]], ids=repr)
def test_list_with_something_that_is_no_session_is_a_value_error(sub: Subject, sessions: Any) -> None:
    for call in (sub.get_betas, sub.get_trial_info, sub.get_noise_ceiling):
        with pytest.raises(SelectionError, match="session"):
            call(sessions)


def test_group_takes_sessions_from_a_generator_for_every_subject(tiny: Tiny) -> None:
    group = Group({name: Subject(name, tiny.root) for name in ("sub-01", "sub-03")})
    found = group.get_shared_betas(session=(name for name in ["ses-01", "ses-02"]))
    assert {name: list(betas) for name, betas in found.items()} == {
        "sub-01": ["ses-01", "ses-02"],
        "sub-03": ["ses-01", "ses-02"],
    }


def test_session_that_came_after_the_metadata_is_told(tiny_copy: Tiny) -> None:
    hidden = tiny_copy.root / "hidden"
    (tiny_copy.folder() / "ses-03").rename(hidden)
    sub = Subject("sub-03", tiny_copy.root)
    assert set(sub.metadata["session"]) == {"ses-01", "ses-02"}
    hidden.rename(tiny_copy.folder() / "ses-03")
    with pytest.raises(DataNotDownloadedError, match="anew"):
        list(sub.images.all("ses-03"))


# Noise ceilings by their desc


def test_descs_come_in_any_kind_of_list(sub: Subject) -> None:
    names = ["Noiseceiling4rep", "NoiseceilingAllrep"]
    found = sub.get_noise_ceiling(desc=pd.Series(names))
    assert list(found) == names
    np.testing.assert_array_equal(found[names[0]], sub.get_noise_ceiling(desc=names[0]))
    for wrong in (3, [None], {"a": 1}):
        with pytest.raises(SelectionError, match="desc"):
            sub.get_noise_ceiling(desc=wrong)


# Masks


def test_mask_of_ones_and_zeros_is_a_mask(tiny: Tiny, sub: Subject) -> None:
    mask = np.random.default_rng(1).random(sub.get_n_voxels()) < 0.3
    expected = plain_betas(tiny, "ses-01")[:, mask]
    kinds = [mask.astype(float), mask.astype(np.uint8), mask.tolist(), pd.Series(mask), mask.astype(object)]
    for given_mask in [*kinds, pd.Series(mask, dtype="boolean"), xr.DataArray(mask, dims="voxel")]:
        np.testing.assert_array_equal(sub.get_betas("ses-01", mask=given_mask), expected)


def test_mask_of_other_values_is_a_value_error(sub: Subject, tmp_path: Path) -> None:
    n = sub.get_n_voxels()
    holes = np.ones(n)
    holes[2] = np.nan
    missing = pd.Series([True] * (n - 1) + [None], dtype="boolean")
    for wrong in (holes, np.arange(n), np.full(n, 0.5), ["yes"] * n, missing, [None] * n, -np.ones(n, dtype=int)):
        for call in (
            lambda m: sub.get_betas("ses-01", mask=m),
            lambda m: sub.get_noise_ceiling("ses-01", mask=m),
            lambda m: sub.get_voxel_coordinates(mask=m),
            lambda m: sub.to_nifti(np.ones(n), tmp_path / "out.nii.gz", mask=m),
        ):
            with pytest.raises(SelectionError, match="True or False"):
                call(wrong)
    for wrong in (np.arange(3), [[True], [True, False]], True, np.ones((n, 1), dtype=bool)):
        with pytest.raises(SelectionError, match="one value for each"):
            sub.get_betas("ses-01", mask=wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "out.nii.gz").exists()


@given(arrays.arrays(st.sampled_from([np.float32, np.int8, np.uint16, np.bool_]), arrays.array_shapes(max_dims=1)))
def test_mask_is_taken_where_it_is_zeros_and_ones(values: np.ndarray[Any, Any]) -> None:
    if all(value in (0, 1) for value in values.tolist()):
        assert voxel_mask(values, len(values), "anatomical").tolist() == [value == 1 for value in values.tolist()]
    else:
        with pytest.raises(SelectionError):
            voxel_mask(values, len(values), "anatomical")


def test_roi_with_mask_is_a_value_error_everywhere(sub: Subject, tmp_path: Path) -> None:
    both: dict[str, Any] = {"roi": "PPA", "mask": np.ones(sub.get_n_voxels(), dtype=bool)}
    for call in (
        lambda: sub.get_betas("ses-01", **both),
        lambda: sub.get_noise_ceiling(session="ses-01", **both),
        lambda: sub.get_noise_ceiling(desc="Noiseceiling12rep", **both),
        lambda: sub.get_voxel_coordinates(**both),
        lambda: sub.to_nifti(np.ones(3), tmp_path / "out.nii.gz", **both),
    ):
        with pytest.raises(ValueError, match="mutually exclusive"):
            call()


# ROIs, thresholds, kinds of stimuli


def test_rois_that_are_no_names_are_errors_of_both_kinds(sub: Subject) -> None:
    for wrong in (3, np.ones(sub.get_n_voxels(), dtype=bool), np.ones((2, 2)), [1, 2], [["PPA"]], {"PPA": 1}, b"PPA"):
        for call in (
            lambda q: sub.get_betas("ses-01", roi=q),
            sub.get_roi_mask,
            sub.get_roi_masks,
            sub.get_roi_data,
        ):
            with pytest.raises(LaionXRError, match="ROI") as caught:
                call(wrong)
            assert isinstance(caught.value, ValueError)
            assert isinstance(caught.value, TypeError)
    for call in (sub.get_roi_mask, sub.get_roi_masks, sub.get_roi_data):
        with pytest.raises(TypeError, match="None"):
            call(None)


def test_rois_come_in_any_kind_of_list(tiny: Tiny, sub: Subject) -> None:
    for query in (np.array(["PPA", "face"]), pd.Series(["PPA", "face"]), {"PPA", "face"}, iter(["PPA", "face"])):
        np.testing.assert_array_equal(sub.get_roi_mask(query), tiny.members("PPA", "FFA1", "OFA"))


def test_threshold_is_one_number(tiny: Tiny, sub: Subject) -> None:
    for wrong in ("20", [1, 2], np.array([1.0, 2.0]), True, {}):
        with pytest.raises(SelectionError, match="nc_threshold") as caught:
            sub.get_betas("ses-01", nc_threshold=wrong)  # type: ignore[arg-type]
        assert isinstance(caught.value, TypeError)
    with pytest.raises(ValueError, match="NaN"):
        sub.get_betas("ses-01", nc_threshold=np.nan)
    expected = sub.get_noise_ceiling("ses-01") >= 20
    for number in (20, 20.0, np.float32(20), np.int64(20), np.array(20)):
        found = sub.get_betas("ses-01", nc_threshold=number)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, plain_betas(tiny, "ses-01")[:, expected])


def test_other_arguments_of_another_type_are_value_errors(full: Subject) -> None:
    for call in (
        lambda: full.get_betas("ses-01", stimuli=["shared"]),  # type: ignore[arg-type]
        lambda: full.get_n_stimuli(np.array(["shared", "unique"])),  # type: ignore[arg-type]
        lambda: full.get_images(3),  # type: ignore[arg-type]
        lambda: full.get_betas("ses-01", mask_source=["rsquare"]),  # type: ignore[arg-type]
    ):
        with pytest.raises(SelectionError, match=r"shared|rsquare"):
            call()


def test_image_without_a_name_is_neither_shared_nor_unique(tiny_copy: Tiny) -> None:
    path = tiny_copy.trials_file("ses-01")
    table = pd.read_csv(path, sep="\t")
    table.loc[[0, 5], "label"] = ""
    table.to_csv(path, sep="\t", index=False)
    sub = Subject("sub-03", tiny_copy.root)
    betas = plain_betas(tiny_copy, "ses-01")
    for kind in ("shared", "unique"):
        of_kind = table["label"].str.startswith(f"{kind}_").to_numpy()
        assert of_kind.any()
        np.testing.assert_array_equal(sub.get_betas("ses-01", stimuli=kind), betas[of_kind])
    assert len(sub.get_betas("ses-01")) == len(table)


# Subjects


def test_subject_is_named_as_load_subject_names_it(tiny: Tiny) -> None:
    for name in ("03", "3", "sub-3"):
        assert Subject(name, tiny.root).subject_id == "sub-03"
        assert Subject(name, tiny.root).get_sessions() == ["ses-01", "ses-02", "ses-03"]
    with pytest.raises(SubjectNotFoundError):
        Subject("", tiny.root)
    with pytest.raises(TypeError, match="int"):
        Subject(3, tiny.root)  # type: ignore[arg-type]


def test_subjects_are_named_by_strings(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tiny.root))
    for wrong in (3, None, [3], {"sub-03": 1}):
        with pytest.raises(TypeError, match=r"string|sub-03") as caught:
            load_subjects(wrong)  # type: ignore[arg-type]
        assert isinstance(caught.value, SubjectNotFoundError)
    assert [name for name, _ in load_subjects(np.array(["03", "sub-01"]))] == ["sub-01", "sub-03"]


def test_image_goes_into_a_folder_that_is_not_there(tiny: Tiny, sub: Subject, tmp_path: Path) -> None:
    path = tmp_path / "new" / "maps" / "ones.nii.gz"
    sub.to_nifti(np.ones(sub.get_n_voxels()), path)
    expected = np.asarray(nib.load(tiny.mask_file()).dataobj) != 0
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), expected)
