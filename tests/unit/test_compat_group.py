"""Groups, the configuration, and what the bucket holds, in the drop-in layer."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from laion_xr import config as settings
from laion_xr.access import configuration
from laion_xr.compat import _paths, discovery
from laion_xr.compat.config import dataset_initialize, get_data_dir
from laion_xr.compat.group import Group, load_subjects
from laion_xr.compat.subject import Subject, load_subject
from laion_xr.errors import DataDirNotSetError, DataNotDownloadedError, StimuliNotDownloadedError
from laion_xr.location import Location
from tests.conftest import Tiny


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and a process in which nothing was set."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(configuration, "PROCESS", [])
    return tmp_path / "home"


@pytest.fixture
def group(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Group:
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tiny.root))
    return load_subjects(["sub-03", "01"])


# Groups


def test_group_is_in_the_order_of_names(group: Group) -> None:
    assert len(group) == 2
    assert [name for name, _ in group] == ["sub-01", "sub-03"]
    assert all(isinstance(sub, Subject) and sub.subject_id == name for name, sub in group)
    assert group["sub-03"].subject_id == group[1].subject_id == group[-1].subject_id == "sub-03"
    with pytest.raises(KeyError, match="sub-99"):
        group["sub-99"]
    with pytest.raises(IndexError):
        group[2]
    with pytest.raises(TypeError, match="float"):
        group[1.0]  # type: ignore[index]


def test_shared_images_are_in_the_order_of_their_table(
    dataset_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(dataset_root))
    group = load_subjects(["sub-01", "sub-03"])
    every = pd.read_csv(dataset_root / "stimuli" / "task-images_metadata.csv")
    rows = np.flatnonzero(every["unique_or_shared"] == "shared")
    pd.testing.assert_frame_equal(group.get_shared_stimulus_metadata(), every.iloc[rows].reset_index(drop=True))
    with h5py.File(dataset_root / "stimuli" / "task-images_stimuli.h5") as file:
        files = [Image.open(io.BytesIO(file["images"][row].tobytes())) for row in rows]
    found = group.get_shared_images()
    assert [image.mode for image in found] == [image.mode for image in files]
    np.testing.assert_array_equal(np.asarray(found[3]), np.asarray(files[3]))
    stack = group.get_shared_images(format="numpy")
    assert (stack.shape, stack.dtype) == ((len(rows), *np.asarray(files[0]).shape[:2], 3), np.uint8)
    opaque = next(at for at, image in enumerate(files) if image.mode == "RGB")
    np.testing.assert_array_equal(stack[opaque], np.asarray(files[opaque]))
    sub = group[0]
    tensor = sub.get_images("shared", format="torch")
    np.testing.assert_array_equal(tensor, stack.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    assert len(sub.get_images("unique")) == len(every) - len(rows)
    np.testing.assert_array_equal(np.asarray(sub.get_image(idx=int(rows[3]))), np.asarray(files[3]))
    for bad in ({"format": "tiff"}, {"stimuli": "mine"}):
        with pytest.raises(ValueError, match=r"tiff|mine"):
            sub.get_images(**bad)
    with pytest.raises(StimuliNotDownloadedError):
        Subject("sub-03", tmp_path).get_images()


def test_all_subjects_are_those_of_the_data_folder(tiny_copy: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tiny_copy.root))
    assert [name for name, _ in load_subjects("all")] == ["sub-01", "sub-03"]
    shutil.rmtree(tiny_copy.folder("sub-01"))
    assert [name for name, _ in load_subjects("all")] == ["sub-03"]
    shutil.rmtree(tiny_copy.folder("sub-03"))
    with pytest.raises(DataNotDownloadedError):
        load_subjects("all")


def test_shared_betas_are_the_shared_trials_of_each_subject(tiny: Tiny, group: Group) -> None:
    found = group.get_shared_betas(session="ses-01", roi="face")
    assert list(found) == ["sub-01", "sub-03"]
    mask = np.asarray(nib.load(tiny.mask_file()).dataobj) != 0
    for name, betas in found.items():
        data = np.asarray(nib.load(tiny.betas_file("ses-01", name)).dataobj)
        shared = pd.read_csv(tiny.trials_file("ses-01", name), sep="\t")["label"].str.startswith("shared_").to_numpy()
        roi = np.zeros(tiny.grid, dtype=bool)
        for part in ("FFA1", "OFA"):
            roi |= np.asarray(nib.load(tiny.roi_file("face", part, name)).dataobj) != 0
        np.testing.assert_array_equal(betas, data[mask & roi].T[shared])
    with pytest.raises(TypeError, match="session"):
        group.get_shared_betas()  # type: ignore[call-arg]


# Configuration


def test_initialized_folder_is_found_by_load_subject(tiny_copy: Tiny, home: Path) -> None:
    with pytest.raises(DataDirNotSetError):
        get_data_dir()
    dataset_initialize(str(tiny_copy.root))
    assert get_data_dir() == str(tiny_copy.root)
    assert (tiny_copy.root / ".laion_fmri").is_dir()
    assert load_subject("sub-03").get_betas("ses-01").shape[0] == 14
    assert configuration.PROCESS == []  # the file is enough


def test_last_call_wins(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("scratch", "project", "environment"):
        (tmp_path / name).mkdir()
    dataset_initialize(str(tmp_path / "scratch"))
    dataset_initialize(str(tmp_path / "project"))
    assert get_data_dir() == str(tmp_path / "project")
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(tmp_path / "environment"))
    dataset_initialize(str(tmp_path / "scratch"))
    assert get_data_dir() == str(tmp_path / "scratch")
    assert settings.get("data_dir") == str(tmp_path / "scratch")


def test_only_a_string_that_is_a_folder_initializes(tmp_path: Path, home: Path) -> None:
    with pytest.raises(TypeError, match="string"):
        dataset_initialize(tmp_path)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="missing"):
        dataset_initialize(str(tmp_path / "missing"))
    assert not home.exists()


def test_paths_of_the_published_examples_are_those_of_the_files(tiny: Tiny) -> None:
    assert _paths.glmsingle_subject_dir(tiny.root, "sub-03") == tiny.folder()
    assert _paths.r2mean_path(str(tiny.root), "sub-03") == tiny.subject_file("stat-rsquare_desc-R2mean_statmap.nii.gz")
    assert _paths.betas_path(tiny.root, "sub-03", "ses-02") == tiny.betas_file("ses-02")
    assert _paths.trialinfo_path(tiny.root, "sub-03", "ses-02") == tiny.trials_file("ses-02")
    assert _paths.stimuli_metadata_path(tiny.root) == tiny.metadata_file
    assert _paths.subject_noise_ceiling_path(tiny.root, "sub-03", "Noiseceiling4rep") == tiny.subject_file(
        "desc-Noiseceiling4rep_statmap.nii.gz"
    )
    assert _paths.session_noise_ceiling_path(tiny.root, "sub-03", "ses-01").is_file()


def test_surface_paths_are_those_of_freesurfer(dataset_root: Path) -> None:
    for name in ("pial", "sphere.reg"):
        path = _paths.freesurfer_surf_path(dataset_root, "sub-03", "L", name)
        assert path == dataset_root / "derivatives/freesurfer/sub-03/surf" / f"lh.{name}"
        assert path.is_file()


# The bucket


@pytest.fixture
def in_bucket(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setattr(discovery, "bucket", lambda: Location.of(tiny.root))
    return tiny


def test_bucket_is_the_public_one() -> None:
    assert discovery.bucket().url == "s3://laion-fmri"


def test_subjects_and_rois_are_those_of_the_bucket(in_bucket: Tiny) -> None:
    assert discovery.get_subjects() == ["sub-01", "sub-03"]
    every = ["EBA", "FFA1", "OFA", "PPA", "V1d", "V1v", "laionventral"]
    assert discovery.get_rois() == discovery.get_rois("sub-03") == every
    assert discovery.get_rois("sub-03", category="face") == ["FFA1", "OFA"]


def test_empty_listings_warn(in_bucket: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(UserWarning, match="No ROIs"):
        assert discovery.get_rois("sub-99") == []
    monkeypatch.setattr(discovery, "bucket", lambda: Location.of(tmp_path))
    with pytest.warns(UserWarning, match="No subjects"):
        assert discovery.get_subjects() == []
    with pytest.warns(UserWarning, match="No subjects"):
        assert discovery.get_rois() == []


def test_describe_and_inspect_print_what_there_is(in_bucket: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    discovery.describe()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "LAION-fMRI Dataset"
    assert lines[2] == "  Subjects:  2 (sub-01, sub-03)"
    assert lines[3] == "  ROIs:      EBA, FFA1, OFA, PPA, V1d, V1v, laionventral"
    discovery.inspect_bucket()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == ["Top-level prefixes (2):", "  derivatives/", "  stimuli/"]
    assert lines[4] == "derivatives/glmsingle-tedana/: 2 entries, 2 sub-* entries"
