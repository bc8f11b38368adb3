"""What is asked for in a download, from a mirror in a folder: names that mean nothing, room, and what is in the way."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from laion_xr.access import plan, room
from laion_xr.access.download import download
from laion_xr.access.download_plan import DownloadPlan
from laion_xr.cli import app
from laion_xr.errors import ConfigurationError, FileAccessError, LaionXRError, NoSpaceError, SelectionError
from laion_xr.listing import FileEntry
from laion_xr.location import Location

SUBJECT = "sub-03"


@pytest.fixture
def fetch(tiny: Any, tmp_path: Path) -> Any:
    """Downloads of the tiny dataset into `data`."""

    def call(root: Any = tmp_path / "data", subject: Any = SUBJECT, **options: Any) -> Any:
        return download(root, subject, **{"source": tiny.root, "accept_licenses": True, **options})

    return call


def sessions_of(found: Any) -> set[str]:
    files = (file.path for file in found.files)
    return {part for path in files for part in path.split("/") if part.startswith("ses-") and part[4:].isdigit()}


@pytest.mark.parametrize(
    ("session", "name"),
    [
        ("ses_01", "ses-ses_01"),
        ("SES-01", "ses-SES-01"),
        ("1,2", "ses-1,2"),
        ("01 ", "ses-01 "),
        (-1, "ses--1"),
        (99, "ses-99"),
        ([1, 99], "ses-99"),
        (["ses-01", "averages", "ses-1x"], "ses-1x"),
    ],
)
def test_a_session_that_is_not_there_is_named(fetch: Any, tmp_path: Path, session: Any, name: str) -> None:
    with pytest.raises(SelectionError, match=r"ses-01, ses-02, ses-03") as caught:
        fetch(session=session)
    assert f"Session {name!r} does not exist here" in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_session_that_is_not_there_on_the_command_line(tiny: Any, tmp_path: Path) -> None:
    found = CliRunner().invoke(
        app, ["download", str(tmp_path), "-s", "3", "--session", "1,99", "--source", str(tiny.root), "--accept-license"]
    )
    assert found.exit_code == 1
    assert "ses-99" in found.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"include": "*zzz*"}, r"no file answers to include='\*zzz\*'; there are betas, trials"),
        ({"include": ["betas", "*zzz*"]}, "zzz"),
        ({"include": "figures"}, "include='figures'"),
        ({"desc": "Singletrialbetas"}, "desc 'Singletrialbetas' does not exist here.*Did you mean 'SingletrialBetas'"),
        ({"desc": ["SingletrialBetas", "desc-R3"]}, "desc 'R3'"),
        ({"stat": "t"}, "stat 't'.*There are: effect, rsquare"),
        ({"space": "MNI"}, "space 'MNI'"),
        ({"suffix": "bold"}, "suffix 'bold'"),
        ({"suffix": "mask", "include": "betas"}, "answers to these filters together"),
    ],
)
def test_a_filter_that_no_file_answers_to(fetch: Any, tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(SelectionError, match=text):
        fetch(**options)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("session", [np.int64(1), np.arange(1, 3), np.array(["ses-01"]), (1, "02"), np.str_("01")])
def test_numbers_and_names_of_numpy(fetch: Any, session: Any) -> None:
    asked = {"ses-01"} if np.size(session) == 1 else {"ses-01", "ses-02"}
    assert sessions_of(fetch(session=session, dry_run=True)) == asked
    assert fetch(subject=np.int64(3), dry_run=True).files == fetch(dry_run=True).files


@pytest.mark.parametrize("session", [np.array(1), np.array([], int), [True], [1.5], {"a": 1}, b"1", np.bool_(True)])
def test_what_is_no_name(fetch: Any, session: Any) -> None:
    with pytest.raises(SelectionError, match="session="):
        fetch(session=session)


@pytest.mark.parametrize("jobs", ["4", None, 0, -1, 2.5, True])
def test_numbers_of_jobs_that_are_none(fetch: Any, jobs: Any) -> None:
    with pytest.raises(SelectionError, match="n_jobs="):
        fetch(n_jobs=jobs)


def test_folders_that_are_none(fetch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for root, text in (("", "empty text"), (" ", "empty text"), (3, "root=3"), ([], r"root=\[\]")):
        with pytest.raises(ConfigurationError, match=text):
            fetch(root)
    with pytest.raises(SelectionError, match="source=''"):
        fetch(source="")
    assert list(tmp_path.iterdir()) == []


def test_no_source_is_the_bucket(fetch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def made(source: Location, *args: object, **options: object) -> None:
        asked.append(source.url)
        raise LaionXRError("far enough")

    monkeypatch.setattr("laion_xr.access.download.make_plan", made)
    with pytest.raises(LaionXRError, match="far enough"):
        fetch(source=None)
    assert asked == ["s3://laion-fmri"]


class Folder(os.PathLike[bytes]):
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return os.fsencode(self.path)


def test_a_path_of_bytes(fetch: Any, tmp_path: Path) -> None:
    assert fetch(Folder(tmp_path / "b"), dry_run=True).root == tmp_path / "b"


# room


def test_a_check_needs_no_room_for_what_is_here(fetch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(include="trials")
    monkeypatch.setattr(plan, "free_space", lambda folder: 10)
    found = fetch(include="trials", check=True)
    assert found.fetched == []
    looked = fetch(include="trials", check=True, dry_run=True)
    assert (looked.bytes, looked.fits, looked.absent) == (0, True, ())
    assert set(looked.checked) == set(looked.files)
    assert "to check" in repr(looked)
    # what is missing beside it does need some
    with pytest.raises(NoSpaceError, match="10 B are free"):
        fetch(include=["trials", "maps"], check=True)


def test_what_is_damaged_and_does_not_fit_is_left(fetch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(include="trials")
    path = next((tmp_path / "data").rglob("*ses-01*_trials.tsv"))
    damaged = path.read_bytes().replace(b"\t", b" ", 1)
    path.write_bytes(damaged)
    monkeypatch.setattr(room, "free_space", lambda folder: 10)
    with pytest.raises(NoSpaceError, match=r"has to be fetched again.*10 B are free there.*left as it is"):
        fetch(include="trials", check=True)
    assert path.read_bytes() == damaged


def test_room_is_counted_in_blocks_of_the_disk(tmp_path: Path) -> None:
    files = tuple(FileEntry(f"a{n}", size, "") for n, size in enumerate((0, 1, 4096, 4097)))
    found = DownloadPlan(Location.of(tmp_path), tmp_path, files, (), {}, 0, 16384, block=4096)
    assert (found.bytes, found.room, found.fits) == (8194, 16384, True)
    tight = DownloadPlan(Location.of(tmp_path), tmp_path, files, (), {}, 0, 16383, block=4096)
    assert not tight.fits
    with pytest.raises(NoSpaceError, match=r"16\.4 kB"):
        tight.require_room()


def test_the_block_of_the_disk_is_asked_for(fetch: Any, tmp_path: Path) -> None:
    found = fetch(include="trials", dry_run=True)
    assert found.block == os.statvfs(tmp_path).f_frsize
    assert found.room >= found.bytes


# what is in the way, and what is damaged beside a mirror without checksums


def test_a_folder_in_the_place_of_a_file(fetch: Any, tiny: Any, tmp_path: Path) -> None:
    target = tmp_path / "data" / tiny.trials_file("ses-01").relative_to(tiny.root)
    target.mkdir(parents=True)
    with pytest.raises(FileAccessError, match="move it away") as caught:
        fetch(include="trials")
    assert str(target) in str(caught.value)
    assert "permissions" not in str(caught.value)
    assert [p.name for p in (tmp_path / "data").rglob("*ses-01*.partial")] == []


def test_a_file_in_the_place_of_a_folder(fetch: Any, tmp_path: Path) -> None:
    (tmp_path / "data" / "derivatives").mkdir(parents=True)
    way = tmp_path / "data" / "derivatives" / "glmsingle-tedana"
    way.touch()
    with pytest.raises(FileAccessError, match="move it away") as caught:
        fetch(include="trials")
    assert str(way) in str(caught.value)
    assert "permissions" not in str(caught.value)


def test_a_check_compares_with_a_mirror_in_a_folder(fetch: Any, tiny: Any, tmp_path: Path) -> None:
    fetch(include=["trials", "rois"])
    path = next((tmp_path / "data").rglob("*ses-01*_trials.tsv"))
    path.write_bytes(path.read_bytes().replace(b"\t", b" ", 1))  # its size stays
    assert fetch(include=["trials", "rois"]).fetched == []
    assert fetch(include=["trials", "rois"], check=True).fetched == [path.relative_to(tmp_path / "data").as_posix()]
    assert path.read_bytes() == (tiny.root / path.relative_to(tmp_path / "data")).read_bytes()
    assert fetch(include=["trials", "rois"], check=True).fetched == []


def test_a_command_of_doctor_reads_what_has_the_right_size(fetch: Any, tiny: Any, tmp_path: Path) -> None:
    fetch(anatomical=True)
    path = next((tmp_path / "data").rglob("*ses-01*stat-effect*.nii.gz"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (finding,) = json.loads(CliRunner().invoke(app, ["doctor", str(tmp_path / "data"), "--json"]).stdout)["broken"]
    words = [*shlex.split(finding["run"])[1:], "--source", str(tiny.root), "--json"]
    assert json.loads(CliRunner().invoke(app, words).stdout)["fetched"] == [finding["path"]]
    shutil.rmtree(tmp_path / "data")
