"""Downloads from a bucket on this machine: whole files or none, whatever the network, the server and the user do."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import laion_xr
from laion_xr import remote
from laion_xr.access import fetching, plan, watch
from laion_xr.access.download import download
from laion_xr.errors import (
    CorruptFileError,
    FileAccessError,
    IncompleteDataWarning,
    LicenseNotAcceptedError,
    NoSpaceError,
    SelectionError,
    SubjectNotFoundError,
    UnreachableError,
    UnsafePathError,
)

SOURCE = "s3://mirror"
SUBJECT = "sub-03"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are tried again as often as ever, and sooner."""
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.05)


@pytest.fixture(scope="session")
def _mirror(s3_process: Any, tiny: Any) -> None:
    s3_process.fs.mkdir("mirror")
    s3_process.put(tiny.root, "mirror")


@pytest.fixture
def bucket(s3: Any, _mirror: None) -> Any:
    """The server, whose bucket `mirror` holds the tiny dataset."""
    return s3


def fetch(bucket: Any, root: Path, subject: Any = SUBJECT, **options: Any) -> Any:
    given = {"source": SOURCE, "storage_options": {**bucket.options, "anon": True}, "accept_licenses": True}
    return download(root, subject, **{**given, **options})


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder but those that begin with a dot."""
    files = (
        p for p in root.rglob("*") if p.is_file() and not any(x.startswith(".") for x in p.relative_to(root).parts)
    )
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def hidden(root: Path) -> list[str]:
    return sorted(p.name for p in root.rglob(".*") if p.is_file() and p.parent.name != ".laion_fmri")


def assert_whole(root: Path, tiny: Any) -> None:
    """Every file is that of the simulated dataset, byte for byte."""
    found = contents(root)
    assert found
    assert [name for name, data in found.items() if (tiny.root / name).read_bytes() != data] == []


# what comes


def test_a_download_opens_as_the_original(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    result = fetch(bucket, tmp_path / "data", anatomical=True)
    assert_whole(tmp_path / "data", tiny)
    assert hidden(tmp_path) == []
    assert result.bytes == sum((tmp_path / "data" / path).stat().st_size for path in result.fetched)
    assert sorted(result.fetched) == sorted(contents(tmp_path / "data"))
    assert not any(r.signed for r in bucket.requests)
    found, expected = (
        xr.open_dataset(root, engine="laion_fmri", subject=SUBJECT) for root in (tmp_path / "data", tiny.root)
    )
    np.testing.assert_array_equal(found.betas, expected.betas)
    assert found.sel(roi="FFA1").sizes == expected.sel(roi="FFA1").sizes
    kinds = {plan.kind_of(path) for path in result.fetched}
    assert {"betas", "trials", "subject_maps", "rois", "brain_mask", "stimuli"} <= kinds
    assert not kinds & {"model", "images", "embeddings", "surfaces", "figures"}


def test_a_second_run_asks_for_listings_only(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    first = fetch(bucket, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    bucket.requests.clear()
    again = fetch(bucket, tmp_path)
    # a byte a session says whether it is held out
    assert all(r.range == "bytes=0-0" for r in bucket.objects)
    assert again.fetched == []
    assert sorted(again.present) == sorted(first.fetched)
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_dry_run_says_what_would_come(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    found = fetch(bucket, tmp_path / "new", session=1, include=["betas", "trials"], dry_run=True)
    assert not (tmp_path / "new").exists()
    names = {file.path for file in found.files if "/ses-" in file.path and "/anat/" not in file.path}
    assert {name.split("/")[3] for name in names} == {"ses-01"}
    sizes = {file.path: (tiny.root / file.path).stat().st_size for file in found.files}
    assert {file.path: file.size for file in found.files} == sizes
    assert found.bytes == sum(sizes.values())
    assert abs(found.free - shutil.disk_usage(tmp_path).free) < 1e9
    text = repr(found)
    assert all(part in text for part in (SOURCE, str(tmp_path / "new"), "betas"))
    assert "<table>" in found._repr_html_()
    assert json.loads(json.dumps(found.to_dict()))["bytes"] == found.bytes


def test_stimulus_files(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    options = {"source": SOURCE, "storage_options": {**bucket.options, "anon": True}, "accept_licenses": True}
    laion_xr.download_embeddings(tmp_path, "CLIP", **options)
    names = {name for name in contents(tmp_path) if name.startswith("stimuli/")}
    assert names == {f"stimuli/task-images_{name}" for name in ("metadata.csv", "desc-CLIP_embeddings.h5")}
    assert_whole(tmp_path, tiny)
    with pytest.raises(SelectionError, match="has no captions"):
        laion_xr.download_captions(tmp_path, **options)


def test_several_subjects_and_all(bucket: Any, tmp_path: Path) -> None:
    few = {"include": "trials", "dry_run": True}
    every = fetch(bucket, tmp_path, "all", **few)
    both = fetch(bucket, tmp_path, [1, "03"], **few)
    assert every.files == both.files
    assert {plan.layout_subject(f.path) for f in every.files} == {"sub-01", "sub-03", ""}


# what is refused before anything comes


def test_no_room_gives_both_numbers(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "free_space", lambda folder: 1000)
    with pytest.raises(NoSpaceError, match=r"needs [\d.]+ [kM]B .* and 1\.00 kB are free"):
        fetch(bucket, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert not fetch(bucket, tmp_path / "data", dry_run=True).fits


def test_the_licence_is_never_accepted_silently(bucket: Any, tmp_path: Path) -> None:
    with pytest.raises(LicenseNotAcceptedError):
        fetch(bucket, tmp_path / "data", accept_licenses=False)
    assert contents(tmp_path) == {}
    fetch(bucket, tmp_path / "data", include="trials")
    fetch(bucket, tmp_path / "data", include="maps", accept_licenses=False)  # once is enough


@pytest.mark.parametrize(
    ("subject", "options", "error", "text"),
    [
        ("sub-04", {}, SubjectNotFoundError, "sub-03"),
        (SUBJECT, {"session": "ses-77"}, SelectionError, "ses-77"),
        (SUBJECT, {"include": "beta"}, SelectionError, "Did you mean 'betas'"),
        (SUBJECT, {"n_jobs": 0}, SelectionError, "n_jobs"),
        (SUBJECT, {"session": []}, SelectionError, "session"),
        (
            SUBJECT,
            {"source": "s3://mirror/nowhere"},
            SubjectNotFoundError,
            "There is no subject in .*check the address",
        ),
        (None, {}, SelectionError, "Nothing was asked for"),
        (None, {"embeddings": "CLIPP"}, SelectionError, "Did you mean 'CLIP'"),
    ],
)
def test_arguments_that_mean_nothing(
    bucket: Any, tmp_path: Path, subject: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        fetch(bucket, tmp_path, subject, **options)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "evil", ["../../../../evil", "/evil", "x/../../../../../../evil", "C:/evil", "a\\..\\..\\evil"]
)
def test_listed_paths_that_leave_the_folder(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: str
) -> None:
    listed = plan.listed

    def hostile(location: Any, folder: str) -> list[Any]:
        found = listed(location, folder)
        name = found[0].path.rpartition("/")[0] if found else folder
        return [*found, *(found[:1] and [found[0]._replace(path=f"{name}/{evil}_trials.tsv")])]

    monkeypatch.setattr(plan, "listed", hostile)
    with pytest.raises(UnsafePathError, match="out of it"):
        fetch(bucket, tmp_path / "data", include=["trials", "*evil*"])
    assert not list(tmp_path.rglob("*evil*"))


def test_links_that_leave_the_folder(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "derivatives").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(UnsafePathError, match="link that leads out"):
        fetch(bucket, tmp_path / "data")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    # a link in the place of a file is replaced, not written through
    (tmp_path / "data" / "derivatives").unlink()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    link = tmp_path / "data" / "stimuli" / "task-images_metadata.csv"
    link.parent.mkdir()
    link.symlink_to(precious)
    fetch(bucket, tmp_path / "data", include="trials")
    assert precious.read_text() == "mine"
    assert not link.is_symlink()


# what goes wrong on the way


@pytest.mark.parametrize("kind", ["reset", "cut", "short", 429, 500, 502, 503, 0.3])
def test_what_passes_is_tried_again(bucket: Any, tiny: Any, tmp_path: Path, kind: Any) -> None:
    faults = [bucket.fail("ses-01", kind, 3), bucket.fail("stat-effect", kind, 2), bucket.fail("metadata.csv", kind, 1)]
    fetch(bucket, tmp_path)
    assert all(fault.hits for fault in faults)
    assert_whole(tmp_path, tiny)
    assert hidden(tmp_path) == []


def test_a_pause_that_the_server_asks_for_is_kept(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    fault = bucket.fail("metadata.csv", 429, 1, Retry_After="2")
    began = time.monotonic()
    fetch(bucket, tmp_path, include="trials")
    # the pauses of these tests are hundredths of a second
    assert time.monotonic() - began >= 2
    assert fault.hits == 1
    assert_whole(tmp_path, tiny)


def test_a_pause_beyond_all_patience_ends_it_at_once(bucket: Any, tmp_path: Path) -> None:
    bucket.fail("metadata.csv", 503, float("inf"), Retry_After="3600")
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="in 3600 s, as the server asks"):
        fetch(bucket, tmp_path, include="trials")
    assert time.monotonic() - began < 10


def test_what_does_not_pass_ends_it_and_a_second_run_finishes(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    bucket.fail("ses-02_task-images_space-T1w_stat-effect", 503, float("inf"))
    with pytest.raises(UnreachableError, match=r"attempts in"):
        fetch(bucket, tmp_path, n_jobs=2)
    assert_whole(tmp_path, tiny)
    assert not list(tmp_path.rglob("*ses-02*stat-effect*.nii.gz"))
    bucket.reset()
    fetch(bucket, tmp_path)
    assert_whole(tmp_path, tiny)
    assert list(tmp_path.rglob("*ses-02*stat-effect*.nii.gz"))


def test_held_out_sessions_are_named_and_skipped(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    bucket.fail("/ses-02/", 403, float("inf"))
    with pytest.warns(IncompleteDataWarning, match=r"Held out.*sub-03 ses-02.*nothing is wrong"):
        result = fetch(bucket, tmp_path)
    assert result.plan.held_out == {SUBJECT: ("ses-02",)}
    assert all("ses-02" in repr(found) for found in (result, result.plan))
    assert not list(tmp_path.rglob("*ses-02*"))
    # one question a session, and no file of it
    assert sum("/ses-02/" in r.path for r in bucket.objects) == 1
    with pytest.raises(FileAccessError, match="held out"):
        fetch(bucket, tmp_path, session="ses-02")


def test_a_single_file_that_is_refused(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    bucket.fail("label-FFA1_mask.nii.gz", 403, float("inf"))
    with pytest.warns(IncompleteDataWarning, match=r"1 file may not be read \(403\) and was skipped.*FFA1"):
        result = fetch(bucket, tmp_path)
    assert list(result.refused) == [p for p in result.refused if "label-FFA1_mask.nii.gz" in p]
    assert_whole(tmp_path, tiny)


def test_wrong_checksums_are_not_kept(bucket: Any, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = fetching.BucketFile.part
    lies = [2]

    def lying(self: Any, start: int, end: int) -> Iterator[bytes]:
        for block in part(self, start, end):
            wrong = "ses-01_task-images_desc-SingletrialBetas_trials.tsv" in self.entry.path and lies[0] > 0
            lies[0] -= wrong
            yield bytes(len(block)) if wrong else block

    monkeypatch.setattr(fetching.BucketFile, "part", lying)
    fetch(bucket, tmp_path / "a")  # twice wrong, the third time right
    assert lies[0] == 0
    assert_whole(tmp_path / "a", tiny)
    lies[0] = 10**6
    with pytest.raises(CorruptFileError, match=r"3 times with a wrong checksum.*files are complete"):
        fetch(bucket, tmp_path / "b")
    assert_whole(tmp_path / "b", tiny)  # all others came
    assert not list((tmp_path / "b").rglob("*ses-01*_trials.tsv*"))
    assert list((tmp_path / "b").rglob("*ses-02*_trials.tsv"))
    assert hidden(tmp_path / "b") == []


def test_check_finds_what_is_damaged_here(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    fetch(bucket, tmp_path)
    damaged = [next(tmp_path.rglob("*ses-01*stat-effect*.nii.gz")), next(tmp_path.rglob("*ses-01*_trials.tsv"))]
    for path in damaged:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    short = next(tmp_path.rglob("*R2mean*.nii.gz"))
    short.write_bytes(short.read_bytes()[:-5])
    assert fetch(bucket, tmp_path).fetched == [short.relative_to(tmp_path).as_posix()]  # its size tells
    result = fetch(bucket, tmp_path, check=True)
    assert sorted(result.fetched) == sorted(p.relative_to(tmp_path).as_posix() for p in damaged)
    assert_whole(tmp_path, tiny)


def test_gzip_trailers_are_checked_where_no_checksum_is_given(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    fetch(bucket, tmp_path)
    damaged = next(tmp_path.rglob("*ses-01*stat-effect*.nii.gz"))
    data = bytearray(damaged.read_bytes())
    data[-6] ^= 0xFF
    damaged.write_bytes(data)
    assert fetch(bucket, tmp_path, checksums=False).fetched == []
    assert fetch(bucket, tmp_path, checksums=False, check=True).fetched == [damaged.relative_to(tmp_path).as_posix()]
    assert_whole(tmp_path, tiny)


# long files: parts, resuming, kill -9

SCRIPT = """
import sys, logging
from laion_xr.access import transfer, bucket
from laion_xr.access.download import download
transfer.IN_PARTS_FROM = 4 << 20
bucket.LARGEST_PIECE = 1 << 20
download(sys.argv[1], source="s3://long", storage_options={"endpoint_url": sys.argv[2], "anon": True},
         captions=True, accept_licenses=True, n_jobs=2)
"""
LONG = "stimuli/task-images_desc-captions.csv"


@pytest.fixture(scope="session")
def long_file(s3_process: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    data = np.random.default_rng(0).bytes(24 << 20)
    folder = tmp_path_factory.mktemp("long")
    (folder / LONG).parent.mkdir(parents=True)
    (folder / LONG).write_bytes(data)
    s3_process.fs.mkdir("long")
    # as one object, and so with an MD5 as its ETag
    s3_process.fs.call_s3("put_object", Bucket="long", Key=LONG, Body=data, ACL="public-read")
    return data


def start(bucket: Any, root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(root), bucket.url], stderr=subprocess.PIPE)


def test_kill_9_and_go_on(s3: Any, long_file: bytes, tmp_path: Path) -> None:
    slow = s3.fail("captions", 0.25, float("inf"))
    process = start(s3, tmp_path)
    record = tmp_path / "stimuli" / ".task-images_desc-captions.csv.partial.json"
    deadline = time.monotonic() + 30
    while not record.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / LONG).exists()
    kept = sum(end - begin for begin, end in json.loads(record.read_text())["done"])
    assert 0 < kept < len(long_file)
    slow.left = 0
    s3.requests.clear()
    process = start(s3, tmp_path)
    assert process.wait(60) == 0
    assert (tmp_path / LONG).read_bytes() == long_file
    assert hidden(tmp_path) == []
    asked = sum(int(b) - int(a) + 1 for r in s3.objects for a, b in [r.range.removeprefix("bytes=").split("-")])
    assert asked == len(long_file) - kept
    if process.stderr:
        process.stderr.close()


def test_processes_that_want_the_same_fetch_it_once(s3: Any, long_file: bytes, tmp_path: Path) -> None:
    s3.fail("captions", 0.05, float("inf"))
    processes = [start(s3, tmp_path) for _ in range(3)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()
    assert (tmp_path / LONG).read_bytes() == long_file
    assert hidden(tmp_path) == []
    ranges = [r.range for r in s3.objects]
    assert len(ranges) == len(set(ranges))


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_what_came(s3: Any, long_file: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    s3.fail("captions", 0.2, float("inf"))
    process = start(s3, tmp_path)
    record = tmp_path / "stimuli" / ".task-images_desc-captions.csv.partial.json"
    deadline = time.monotonic() + 30
    while not record.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in said
    assert b"run again" in said
    assert not (tmp_path / LONG).exists()
    assert record.exists()


def test_another_version_begins_anew(s3: Any, long_file: bytes, tmp_path: Path) -> None:
    target = tmp_path / LONG
    target.parent.mkdir()
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(bytes(8 << 20))
    record = {"identity": hashlib.md5(b"older").hexdigest(), "size": len(long_file), "done": [[0, 8 << 20]]}
    partial.with_name(f"{partial.name}.json").write_text(json.dumps(record))
    options = {"source": "s3://long", "storage_options": {**s3.options, "anon": True}, "accept_licenses": True}
    laion_xr.download_captions(tmp_path, **options)
    assert target.read_bytes() == long_file
    assert hidden(tmp_path) == []


def test_a_silent_connection_is_left(
    s3: Any, long_file: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "SECONDS_OF_SILENCE", 0.5)
    s3.fail("captions", 3.0, 1)
    options = {"source": "s3://long", "storage_options": {**s3.options, "anon": True}, "accept_licenses": True}
    laion_xr.download_captions(tmp_path, **options)
    assert (tmp_path / LONG).read_bytes() == long_file
    assert "no bytes for" in caplog.text


def test_threads_of_a_process_agree(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def one() -> None:
        try:
            fetch(bucket, tmp_path, progress=False)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert_whole(tmp_path, tiny)
    assert hidden(tmp_path) == []


def test_every_file_is_logged(bucket: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="laion_xr"):
        result = fetch(bucket, tmp_path, include="trials")
    assert all(f"fetched {path}" in caplog.text for path in result.fetched)


def test_bytes_are_counted(bucket: Any, tmp_path: Path) -> None:
    bucket.fail("ses-01", "reset", 3)
    counted: list[int] = []
    result = fetch(bucket, tmp_path, count=counted.append)
    assert sum(counted) == sum(file.size for file in result.plan.files)


def test_a_folder_that_takes_no_files(bucket: Any, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "data").write_text("a file where the folder should be")
    else:
        (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(FileAccessError, match=r"cannot be written|may not"):
        fetch(bucket, tmp_path / "data")
    with contextlib.suppress(OSError):
        (tmp_path / "data").chmod(0o700)


def test_a_full_disk(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoSpaceError, match="full"):
        fetch(bucket, tmp_path)
    assert contents(tmp_path) == {}
