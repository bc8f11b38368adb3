"""Downloads of the drop-in layer: the published arguments, handed on; small ones in earnest, from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laion_xr.access import download as access
from laion_xr.access import gated
from laion_xr.compat import discovery
from laion_xr.compat.download import (
    accept_license,
    accept_licenses,
    download,
    download_captions,
    download_embeddings,
    download_segmentations,
    download_stimuli,
)
from laion_xr.compat.subject import Subject
from laion_xr.errors import LicenseNotAcceptedError, SubjectNotFoundError
from laion_xr.location import Location
from tests.conftest import Tiny


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, in which the licence was accepted with the published loader."""
    folder = tmp_path / "data"
    (folder / ".laion_fmri").mkdir(parents=True)
    (folder / ".laion_fmri" / "license_accepted").touch()
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def bucket(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """The tiny dataset in place of the bucket."""
    monkeypatch.setattr(discovery, "bucket", lambda: Location.of(tiny.root))
    return tiny


def test_one_session_is_downloaded_and_read(bucket: Tiny, target: Path) -> None:
    download(subject="03", ses="ses-01", n_jobs=2)
    sub = Subject("sub-03", target)
    assert sub.get_sessions() == ["ses-01"]
    assert sub.get_betas("ses-01", roi="face").shape == (14, bucket.members("FFA1", "OFA").sum())
    np.testing.assert_array_equal(sub.get_betas("ses-01"), bucket.matrix("sub-03", ["ses-01"]))
    # the published default is everything, the model of GLMsingle too
    assert (target / bucket.model_file("ses-01").relative_to(bucket.root)).is_file()


def test_endings_and_entities_narrow(bucket: Tiny, target: Path) -> None:
    download(subject="sub-03", ses="01", suffix="trials", extension="tsv")
    files = {path.name for path in target.rglob("*ses-0*") if path.is_file()}
    assert files == {"sub-03_ses-01_task-images_desc-SingletrialBetas_trials.tsv"}


def test_entities_do_not_narrow_anatomy_and_surfaces(dataset_root: Path, target: Path, bucket: Tiny) -> None:
    """As the published quick start has it: `suffix` names the files of the betas, and a T1w is drawn afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "bucket", lambda: Location.of(dataset_root))
        download(
            subject="sub-03",
            ses="ses-01",
            suffix=["statmap", "trials", "mask"],
            include_freesurfer=True,
            include_anatomical=True,
        )
    sub = Subject("sub-03", target)
    assert sub.get_t1w().is_file()
    assert sub.get_t2w(res="1pt8").is_file()
    assert (sub.get_freesurfer_dir() / "surf" / "lh.pial").is_file()
    assert not list(target.rglob("*_model.h5"))
    assert not list(target.rglob("*/ses-02"))


def test_embeddings_are_downloaded_by_model(bucket: Tiny, target: Path, tmp_path: Path) -> None:
    download_embeddings("CLIP")
    assert (target / "stimuli" / "task-images_desc-CLIP_embeddings.h5").is_file()
    (tmp_path / "other" / ".laion_fmri").mkdir(parents=True)
    (tmp_path / "other" / ".laion_fmri" / "license_accepted").touch()
    download_embeddings(data_dir=tmp_path / "other")
    assert (tmp_path / "other" / "stimuli" / "task-images_desc-CLIP_embeddings.h5").is_file()


def test_arguments_are_handed_on(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(access, "download", lambda *args, **options: calls.append((args, options)))
    monkeypatch.setattr(gated, "download_stimuli", lambda *args, **options: calls.append((args, options)))
    download(
        "sub-03",
        ses=["ses-01", "averages"],
        task="images",
        space="T1w",
        desc="SingletrialBetas",
        stat=["effect"],
        include_stimuli=True,
        include_freesurfer=True,
        include_anatomical=True,
        include_embeddings=True,
        n_jobs=4,
    )
    (args, options), (_, apart), (_, images) = calls
    assert args == (None, "sub-03")
    assert options.pop("source").url == "s3://laion-fmri"
    assert options == {
        "session": ["ses-01", "averages"],
        "include": "all",
        "desc": ["SingletrialBetas"],
        "stat": ["effect"],
        "space": ["T1w"],
        "suffix": None,
        "anatomical": False,
        "surfaces": False,
        "embeddings": True,
        "n_jobs": 4,
    }
    # what the entities do not narrow
    assert (apart["anatomical"], apart["surfaces"], apart["stimuli"]) == (True, True, False)
    assert not {"desc", "stat", "space", "suffix"} & set(apart)
    assert images == {"access_url": None}
    calls.clear()
    download("all", extension=["nii.gz", ".tsv"], include_anatomical=True)
    ((args, options),) = calls
    assert args == (None, "all")
    assert (options["include"], options["anatomical"]) == (["*.nii.gz", "*.tsv"], True)
    calls.clear()
    download_segmentations()
    download_captions("there")
    assert (calls[0][1]["segmentations"], calls[1][1]["captions"], calls[1][0]) == (True, True, ("there",))
    download_stimuli("there", server_url="http://127.0.0.1:9")
    assert calls[2] == (("there",), {"access_url": "http://127.0.0.1:9"})


def test_wrong_arguments_are_refused_before_anything_is_asked(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "download", lambda *args, **options: None)
    with pytest.raises(SubjectNotFoundError):
        download("")
    with pytest.raises(ValueError, match="task"):
        download("sub-03", task="rest")
    with pytest.warns(UserWarning, match="n_jobs"):
        download("sub-03", n_jobs=0)


def test_licence_is_never_accepted_silently(bucket: Tiny, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accept_license()  # it was
    with pytest.warns(UserWarning, match="stimulus images"):
        accept_licenses(include_stimuli=True)
    (target / ".laion_fmri" / "license_accepted").unlink()
    for call in (accept_license, lambda: download("sub-03", ses="ses-01"), download_embeddings):
        with pytest.raises(LicenseNotAcceptedError):
            call()
    assert not (target / "derivatives").exists()
