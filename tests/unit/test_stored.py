"""What a store says it holds, and whether a session stands for the files that are there now."""

from __future__ import annotations

import gzip
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from laion_xr.errors import FileFormatError
from laion_xr.location import FileEntry, Location
from laion_xr.stored import (
    FORMAT_VERSION,
    RECORD,
    StoredSession,
    file_tail,
    session_records,
    stored_sessions,
    voxels_checksum,
)

NIFTI, PLAIN, MODEL = "ses-01/betas.nii.gz", "ses-01/betas.nii", "ses-01/model.h5"


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Location]:
    if request.param == "local":
        yield Location.of(tmp_path)
        return
    url = f"memory://stored-{uuid.uuid4().hex}"
    yield Location.of(url)
    if fsspec.filesystem("memory").exists(url):
        fsspec.filesystem("memory").rm(url, recursive=True)


def put(place: Location, path: str, data: bytes, changed: str = "1") -> FileEntry:
    place.fs.makedirs(place.at(path).rpartition("/")[0], exist_ok=True)
    with place.fs.open(place.at(path), "wb") as file:
        file.write(data)
    return FileEntry(path, len(data), changed)


def betas(text: bytes) -> bytes:
    # longer than a pointer, and not compressible: its size stays when one byte changes
    return gzip.compress(text + np.random.default_rng(0).bytes(1000), mtime=0)


def session(place: Location, source: FileEntry, **record: Any) -> StoredSession:
    made_from = {**source._asdict(), "tail": file_tail(place, source)}
    return StoredSession(place, "sub-03/ses-01", {"source": made_from, **record})


# the fingerprint


def test_the_same_file(place: Location) -> None:
    entry = put(place, NIFTI, betas(b"a"))
    assert session(place, entry).matches(place, entry)


def test_a_copy_with_another_time_is_known_by_its_end(place: Location) -> None:
    entry = put(place, NIFTI, betas(b"a"))
    stored = session(place, entry)
    assert stored.matches(place, put(place, NIFTI, betas(b"a"), "2"))


def test_other_content_of_the_same_size(place: Location) -> None:
    entry = put(place, NIFTI, betas(b"a"))
    stored = session(place, entry)
    other = put(place, NIFTI, betas(b"b"), "2")
    assert other.size == entry.size
    assert not stored.matches(place, other)


def test_another_size_with_the_same_end(place: Location) -> None:
    entry = put(place, NIFTI, betas(b"a"))
    stored = session(place, entry)
    assert not stored.matches(place, put(place, NIFTI, b"x" + betas(b"a")))


def test_a_file_without_a_checksum_is_known_by_its_time_only(place: Location) -> None:
    for path in (PLAIN, MODEL):
        entry = put(place, path, bytes(1000))
        assert file_tail(place, entry) == ""
        assert session(place, entry).matches(place, entry)
        assert not session(place, entry).matches(place, entry._replace(changed="2"))


def test_the_tail_is_the_end_of_the_gzip_stream(place: Location) -> None:
    data = betas(b"a")
    assert file_tail(place, put(place, NIFTI, data)) == data[-8:].hex()
    assert file_tail(place, put(place, NIFTI, b"short")) == ""


# which files it stands for


def test_is_current_while_its_file_is_unchanged(place: Location) -> None:
    entry = put(place, NIFTI, betas(b"a"))
    model = put(place, MODEL, bytes(1000))
    stored = session(place, entry)
    assert stored.is_current(place, {"betas": entry})
    assert stored.is_current(place, {"betas": entry, "model": model})
    changed = put(place, NIFTI, betas(b"b"), "2")
    assert not stored.is_current(place, {"betas": changed, "model": model})


def test_is_current_when_its_file_is_gone(place: Location) -> None:
    entry = put(place, NIFTI, betas(b"a"))
    model = put(place, MODEL, bytes(1000))
    stored = session(place, entry)
    assert stored.is_current(place, {})
    # the model file holds the same betas
    assert stored.is_current(place, {"model": model})


def test_is_not_current_where_another_file_took_its_place(place: Location) -> None:
    entry, plain = put(place, NIFTI, betas(b"a")), put(place, PLAIN, bytes(1000))
    model = put(place, MODEL, bytes(1000))
    assert not session(place, entry).is_current(place, {"betas": plain})
    assert not session(place, model).is_current(place, {"betas": entry})
    assert session(place, model).is_current(place, {"betas": entry, "model": model})


def test_a_link_to_data_that_were_dropped_counts_as_gone(tmp_path: Path) -> None:
    place = Location.of(tmp_path)
    entry = put(place, NIFTI, betas(b"a"))
    stored = session(place, entry)
    file = tmp_path / NIFTI
    file.unlink()
    file.symlink_to(tmp_path / "annex" / "objects" / "key")
    found = next(e for e in place.files("") if e.path == NIFTI)
    assert stored.is_current(place, {"betas": found})


@pytest.mark.parametrize("pointer", [b"version https://git-lfs.github.com/spec/v1\n", b"/annex/objects/MD5E-s1--a\n"])
def test_a_pointer_to_data_that_were_dropped_counts_as_gone(tmp_path: Path, pointer: bytes) -> None:
    place = Location.of(tmp_path)
    stored = session(place, put(place, NIFTI, betas(b"a")))
    assert stored.is_current(place, {"betas": put(place, NIFTI, pointer, "2")})
    assert not stored.is_current(place, {"betas": put(place, NIFTI, b"no pointer", "2")})


def test_voxels_are_compared_as_a_set(place: Location) -> None:
    stored = session(place, put(place, NIFTI, betas(b"a")), voxels_crc32=voxels_checksum(np.array([5, 1, 3])))
    assert stored.has_voxels(np.array([1, 3, 5], dtype=np.int32))
    assert not stored.has_voxels(np.array([1, 3]))
    assert not stored.has_voxels(np.array([1, 3, 6]))


# what is there


def record(**changes: Any) -> dict[str, Any]:
    whole = {
        "format": FORMAT_VERSION,
        "complete": True,
        "checksum": "0" * 16,
        "checksums": {},
        "n_trials": 3,
        "source": {},
        "voxels_crc32": 1,
    }
    return {k: v for k, v in {**whole, **changes}.items() if v is not None}


def put_group(place: Location, name: str, attributes: Any) -> None:
    text = json.dumps({"attributes": attributes, "zarr_format": 3, "node_type": "group"})
    put(place, f"sub-03/{name}/zarr.json", text.encode())


def test_no_store(place: Location) -> None:
    assert stored_sessions(place, "sub-03") == {}


def test_only_complete_sessions(place: Location) -> None:
    put_group(place, "ses-01", {RECORD: record()})
    put_group(place, "ses-02", {})
    put_group(place, "ses-03", {RECORD: record(complete=None)})
    put_group(place, "ses-04", {RECORD: record(checksum=None)})
    put_group(place, "ses-05", {RECORD: "text"})
    put(place, "sub-03/ses-06/zarr.json", b'{"attributes": ')
    put(place, "sub-03/ses-07/betas/zarr.json", b"{}")
    put_group(place, "stimuli", {RECORD: record()})
    put_group(place, "ses-10", {RECORD: record(n_trials=4)})
    found = stored_sessions(place, "sub-03")
    assert list(found) == ["ses-01", "ses-10"]
    assert [s.path for s in found.values()] == ["sub-03/ses-01", "sub-03/ses-10"]
    assert found["ses-10"].reader((2, 3, 4)).shape == (4, 24)
    states = {name: r is not None for name, r in session_records(place, "sub-03").items()}
    assert states == {f"ses-{n:02}": n in (1, 3, 4, 10) for n in (1, 2, 3, 4, 5, 6, 7, 10)}


def test_sessions_that_are_written_meanwhile_are_found(place: Location) -> None:
    put_group(place, "ses-01", {RECORD: record()})
    assert list(stored_sessions(place, "sub-03")) == ["ses-01"]
    put_group(place, "ses-02", {RECORD: record()})
    assert list(stored_sessions(place, "sub-03")) == ["ses-01", "ses-02"]


def test_a_newer_format_is_an_error_that_says_what_to_do(place: Location) -> None:
    put_group(place, "ses-01", {RECORD: {"format": FORMAT_VERSION + 1, "complete": True, "anything": "else"}})
    with pytest.raises(FileFormatError, match=f"of store format {FORMAT_VERSION + 1}, and this version") as error:
        stored_sessions(place, "sub-03")
    assert "update laion_xr, choose another store, or open with source='nifti'" in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_store_that_may_not_be_read(tmp_path: Path) -> None:
    place = Location.of(tmp_path)
    put_group(place, "ses-01", {RECORD: record()})
    (tmp_path / "sub-03").chmod(0)
    with pytest.raises(PermissionError):
        stored_sessions(place, "sub-03")
