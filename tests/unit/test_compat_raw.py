"""The raw BIDS tree in the drop-in layer: what is read, beside nibabel and pandas, and what is downloaded."""

from __future__ import annotations

from pathlib import Path

import fsspec
import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from laion_xr.compat import discovery
from laion_xr.compat.download import download, download_raw
from laion_xr.compat.subject import Subject
from laion_xr.errors import DataNotDownloadedError, FileFormatError, SelectionError
from laion_xr.location import Location
from tests.conftest import Tiny

VOLUMES = 5


def events(run: int) -> pd.DataFrame:
    return pd.DataFrame({"onset": [0.5, 4.0 + run], "duration": [2.5, 2.5], "trial_type": ["image", "blank"]})


@pytest.fixture
def raw(tiny_copy: Tiny) -> Tiny:
    """The tiny dataset with the raw files of two runs of a session."""
    func = tiny_copy.root / "sub-03" / "ses-01" / "func"
    func.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for run in (1, 2):
        stem = f"sub-03_ses-01_task-images_run-{run:02d}"
        events(run).to_csv(func / f"{stem}_events.tsv", sep="\t", index=False)
        for part in ("mag", "phase"):
            bold = rng.integers(0, 900, (*tiny_copy.grid, VOLUMES), dtype=np.int16)
            nib.save(nib.Nifti1Image(bold, tiny_copy.affine), func / f"{stem}_echo-1_part-{part}_bold.nii.gz")
        sbref = rng.integers(0, 900, tiny_copy.grid, dtype=np.int16)
        nib.save(nib.Nifti1Image(sbref, tiny_copy.affine), func / f"{stem}_echo-1_sbref.nii.gz")
    events(9).to_csv(func / "sub-03_ses-01_task-floc_run-01_events.tsv", sep="\t", index=False)
    return tiny_copy


def plain(tiny: Tiny, name: str) -> np.ndarray:
    path = tiny.root / "sub-03" / "ses-01" / "func" / f"sub-03_ses-01_task-images_{name}.nii.gz"
    return np.asarray(nib.load(path).dataobj)[tiny.mask].T.astype(np.float32)


def test_events_are_those_of_the_runs_below_each_other(raw: Tiny) -> None:
    sub = Subject("sub-03", raw.root)
    expected = pd.concat([events(1).assign(run="01"), events(2).assign(run="02")], ignore_index=True)
    pd.testing.assert_frame_equal(sub.get_events(session="ses-01"), expected)
    for run in ("02", "2", 2, "run-02"):
        pd.testing.assert_frame_equal(sub.get_events("ses-01", run=run), events(2).assign(run="02"))


def test_raw_images_are_masked(raw: Tiny) -> None:
    sub = Subject("sub-03", raw.root)
    bold = sub.get_raw_bold(session="ses-01", run="01", echo="1")
    assert (bold.shape, bold.dtype) == ((VOLUMES, len(raw.voxels)), np.float32)
    np.testing.assert_array_equal(bold, plain(raw, "run-01_echo-1_part-mag_bold"))
    phase = sub.get_raw_bold("ses-01", run="02", part="phase")
    np.testing.assert_array_equal(phase, plain(raw, "run-02_echo-1_part-phase_bold"))
    sbref = sub.get_sbref(session="ses-01", run="01", echo="1")
    np.testing.assert_array_equal(sbref, plain(raw, "run-01_echo-1_sbref"))


def test_raw_files_of_an_address_are_read(raw: Tiny) -> None:
    fs = fsspec.filesystem("memory")
    fs.put(str(raw.root), "/laion-raw", recursive=True)
    try:
        sub = Subject("sub-03", "memory://laion-raw")
        assert sub.get_events("ses-01")["run"].tolist() == ["01", "01", "02", "02"]
        np.testing.assert_array_equal(sub.get_sbref("ses-01", run="01"), plain(raw, "run-01_echo-1_sbref"))
    finally:
        fs.rm("/laion-raw", recursive=True)


def test_raw_that_is_not_there_or_not_one_is_an_error(raw: Tiny) -> None:
    sub = Subject("sub-03", raw.root)
    assert sub.has_raw()
    assert sub.has_raw(session="ses-01")
    assert not sub.has_raw("ses-02")
    assert not Subject("sub-01", raw.root).has_raw()
    with pytest.raises(DataNotDownloadedError, match=r"download_raw\('sub-03', ses='ses-02', suffix='events'\)"):
        sub.get_events("ses-02")
    with pytest.raises(DataNotDownloadedError, match="echo 3"):
        sub.get_raw_bold("ses-01", run="01", echo="3")
    with pytest.raises(SelectionError, match="2 files"):
        sub.get_raw_bold("ses-01", run=None)


def test_raw_images_of_another_grid_are_an_error(raw: Tiny) -> None:
    func = raw.root / "sub-03" / "ses-01" / "func"
    image = nib.Nifti1Image(np.zeros((4, 4, 3, 2), dtype=np.int16), np.eye(4))
    nib.save(image, func / "sub-03_ses-01_task-images_run-03_echo-1_part-mag_bold.nii.gz")
    with pytest.raises(FileFormatError, match="run-03"):
        Subject("sub-03", raw.root).get_raw_bold("ses-01", run="03")


@pytest.fixture
def target(raw: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    (folder / ".laion_fmri").mkdir(parents=True)
    (folder / ".laion_fmri" / "license_accepted").touch()
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(folder))
    monkeypatch.setattr(discovery, "bucket", lambda: Location.of(raw.root))
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "sub-03").rglob("*") if path.is_file()}


def test_raw_files_are_downloaded_by_their_entities(raw: Tiny, target: Path) -> None:
    download_raw(subject="sub-03", ses="ses-01", suffix="events", n_jobs=2)
    assert names(target) == {
        "sub-03_ses-01_task-floc_run-01_events.tsv",
        "sub-03_ses-01_task-images_run-01_events.tsv",
        "sub-03_ses-01_task-images_run-02_events.tsv",
    }
    download_raw(subject="03", ses="01", run="01", task="images", part="part-mag", extension=".nii.gz")
    stem = "sub-03_ses-01_task-images_run-01_echo-1"
    assert {n for n in names(target) if n.endswith(".gz")} == {f"{stem}_part-mag_bold.nii.gz", f"{stem}_sbref.nii.gz"}
    again = download_raw(subject="sub-03", ses="ses-01", suffix="events")
    assert (len(again.fetched), len(again.present)) == (0, 3)
    for one in (1, [1], np.array(["1"])):
        assert len(download_raw(subject="sub-03", ses=one, suffix="events").present) == 3
    with pytest.raises(SelectionError, match="ses-02"):
        download_raw(subject="sub-03", ses="ses-02")


def test_include_raw_brings_the_session_s_raw_files_too(raw: Tiny, target: Path) -> None:
    download(subject="sub-03", ses=["ses-01", "averages"], suffix="trials", include_raw=True)
    assert len(names(target)) == 9
    assert len(Subject("sub-03", target).get_trial_info("ses-01")) == 14
    assert Subject("sub-03", target).get_events("ses-01")["run"].tolist() == ["01", "01", "02", "02"]
