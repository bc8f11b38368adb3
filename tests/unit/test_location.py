"""A root of any kind becomes the same location, which lists, reads, pickles, and says what went wrong."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import upath
from fsspec.implementations.memory import MemoryFileSystem

from laion_xr import remote as remote_requests
from laion_xr.access.cache import CachedLocation
from laion_xr.access.download_plan import DownloadPlan
from laion_xr.errors import DataNotDownloadedError, FileAccessError, UnreachableError
from laion_xr.location import FileEntry, Location

FILES = {"a.txt": b"one", "folder/b.txt": b"two", "folder/deep/c.txt": b"three"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "root"


@pytest.fixture
def memory() -> Iterator[str]:
    fs = fsspec.filesystem("memory")
    fs.pipe({f"/location-test/{name}": data for name, data in FILES.items()})
    yield "memory://location-test"
    fs.rm("/location-test", recursive=True)


@pytest.fixture(params=["str", "Path", "bytes", "file", "local", "upath", "trailing"])
def local(request: pytest.FixtureRequest, folder: Path) -> Location:
    class BytesPath:
        def __fspath__(self) -> bytes:
            return os.fsencode(folder)

    root = {
        "str": str(folder),
        "Path": folder,
        "bytes": BytesPath(),
        "file": f"file://{folder}",
        "local": f"local://{folder}",
        "upath": upath.UPath(folder),
        "trailing": f"{folder}/",
    }[request.param]
    return Location.of(root)


@pytest.fixture(params=["str", "upath", "trailing", "chained"])
def remote(request: pytest.FixtureRequest, memory: str) -> Location:
    root: Any = {
        "str": memory,
        "upath": upath.UPath(memory),
        "trailing": f"{memory}/",
        "chained": f"simplecache::{memory}",
    }[request.param]
    return Location.of(root)


def read_everything(location: Location) -> dict[str, bytes]:
    return {entry.path: location.read_bytes(entry.path) for entry in location.files("")}


def test_local_roots_are_one_and_the_same(local: Location, folder: Path) -> None:
    assert local == Location(str(folder))
    assert local.is_local
    assert read_everything(local) == FILES
    assert local.folders("") == ["folder"]


def test_remote_roots_read_alike(remote: Location) -> None:
    assert not remote.is_local
    assert read_everything(remote) == FILES
    assert remote.folders("") == ["folder"]
    assert remote.read_many(["a.txt", "folder/b.txt"], end=2) == {"a.txt": b"on", "folder/b.txt": b"tw"}


def test_relative_and_home_folders_become_absolute(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Location.of("root") == Location.of("~/root") == Location(str(folder))


def test_listing_has_sizes_and_times_and_is_sorted(folder: Path) -> None:
    entries = Location.of(folder).files("")
    assert entries == sorted(entries)
    assert [(e.path, e.size) for e in entries] == [(name, len(data)) for name, data in sorted(FILES.items())]
    assert entries[0].changed == str((folder / "a.txt").stat().st_mtime_ns)


def test_listing_of_a_part_keeps_paths_relative_to_the_root(remote: Location, folder: Path) -> None:
    expected = ["folder/b.txt", "folder/deep/c.txt"]
    assert [e.path for e in remote.files("folder")] == expected
    assert [e.path for e in Location.of(folder).files("folder")] == expected


@pytest.mark.parametrize("missing", ["nowhere", "a.txt/below"])
def test_what_is_not_there_lists_as_nothing(folder: Path, memory: str, missing: str) -> None:
    for location in (Location.of(folder), Location.of(memory)):
        assert location.files(missing) == []
        assert location.folders(missing) == []


def test_storage_options_are_passed_on_and_those_of_a_upath_kept() -> None:
    location = Location.of("s3://bucket/data", {"anon": True})
    assert location.storage_options == {"anon": True}
    assert location.url == "s3://bucket/data"
    path = upath.UPath("s3://bucket/data", anon=True, endpoint_url="http://localhost:1")
    assert Location.of(path).storage_options == {"anon": True, "endpoint_url": "http://localhost:1"}
    assert Location.of(path, {"anon": False}).storage_options["anon"] is False
    assert Location.of(path).child("x").storage_options == Location.of(path).storage_options


def test_nothing_shows_the_values_of_options(folder: Path) -> None:
    options = {"key": "K3Y", "secret": "S3SECRET", "client_kwargs": {"aws_session_token": "T0KEN"}}
    location = Location.of("s3://b", options)
    cached = CachedLocation("s3://b", options, folder="f")
    plan = DownloadPlan(location, folder, (), (), {}, 0, 0)
    shown = [f"{x!r} {x}" for x in (location, cached, location.child("a"), [location], vars(plan), plan.source)]
    assert not [text for text in shown if any(value in text for value in ("K3Y", "S3SECRET", "T0KEN"))]
    assert repr(location) == "Location('s3://b', {'key': <hidden>, 'secret': <hidden>, 'client_kwargs': <hidden>})"
    assert repr(cached).startswith("CachedLocation('s3://b', {")
    assert repr(Location.of(folder)) == f"Location({str(folder)!r}, {{}})"
    # they are there, and equal as before
    assert location.storage_options == options
    assert location == Location.of("s3://b", dict(options))
    assert location != Location.of("s3://b", {"key": "other"})


def test_storage_options_reach_the_file_system() -> None:
    location = Location.of("memory://options-test", {"skip_instance_cache": True})
    assert location.fs is not location.fs  # what that option asks for
    assert Location.of("memory://options-test").fs is Location.of("memory://options-test").fs


def test_pickles_small_and_equal(remote: Location) -> None:
    remote.files("")  # the file system was in use
    back = pickle.loads(pickle.dumps(remote))
    assert back == remote
    assert back.read_bytes("a.txt") == b"one"
    assert len(pickle.dumps(remote)) < 300


def test_open_is_at_the_beginning_and_seekable(remote: Location, folder: Path) -> None:
    for location in (remote, Location.of(folder)):
        with location.open("folder/b.txt") as file:
            assert file.seekable()
            assert file.read() == b"two"


def test_missing_file_says_where_it_was_expected(folder: Path, memory: str) -> None:
    with pytest.raises(DataNotDownloadedError, match=rf"{folder}/nope\.txt is not there: download it"):
        Location.of(folder).open("nope.txt")
    with pytest.raises(DataNotDownloadedError, match=r"memory://location-test/nope.txt is not there"):
        Location.of(memory).open("nope.txt")
    with pytest.raises(DataNotDownloadedError, match=r"memory://location-test/nope.txt is not there"):
        Location.of(memory).read_many(["a.txt", "nope.txt"])


def test_annexed_file_that_was_not_fetched_is_listed_and_says_so(folder: Path) -> None:
    (folder / "data.nii.gz").symlink_to(".git/annex/objects/XX/YY/KEY/KEY")
    location = Location.of(folder)
    assert "data.nii.gz" in [e.path for e in location.files("")]
    with pytest.raises(DataNotDownloadedError, match=r"link to data that was not fetched.*git annex get"):
        location.open("data.nii.gz")


class Refusing(MemoryFileSystem):
    """A file system that lets nothing be listed or read."""

    protocol = "refusing"
    cachable = False

    def _refuse(self, *args: object, **kwargs: object) -> None:
        raise PermissionError("403")

    ls = find = info = cat_file = open = _refuse  # type: ignore[assignment]


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Location:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    return Location.of("refusing://bucket")


def test_refused_remote_access_names_file_and_way_out(refusing: Location) -> None:
    for ask in (
        lambda: refusing.open("x.nii.gz"),
        lambda: refusing.files("x.nii.gz"),
        lambda: refusing.folders("x.nii.gz"),
        lambda: refusing.read_many(["x.nii.gz"]),
    ):
        with pytest.raises(FileAccessError, match=r"refusing://bucket/x.nii.gz may not be read.*storage_options"):
            ask()


def test_refused_local_access_names_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the tests may run as root, who may read everything
    def refuse(*args: object, **kwargs: object) -> io.FileIO:
        raise PermissionError(13, "Permission denied", str(args[0]))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(FileAccessError, match=rf"{folder}/a.txt may not be read by this user \(permission denied\)"):
        Location.of(folder).open("a.txt")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(FileAccessError, match=rf"{folder}/folder may not be listed by this user"):
        Location.of(folder).files("folder")


def test_a_failure_that_does_not_pass_names_the_file(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> bytes:
        raise TimeoutError("no answer")

    monkeypatch.setattr(remote_requests, "ATTEMPTS", 2)
    monkeypatch.setattr(remote_requests, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(MemoryFileSystem, "cat_file", broken)
    with pytest.raises(UnreachableError, match=r"memory://location-test/a\.txt.*no answer"):
        Location.of(memory).read_many(["a.txt"])


def test_entries_are_plain_values() -> None:
    assert FileEntry("a", 1, "t") == ("a", 1, "t")
