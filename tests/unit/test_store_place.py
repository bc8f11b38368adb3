"""Where sessions are written: beside the store, one writer a session, there at once or not at all."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
import zarr
from filelock import FileLock

from laion_xr.errors import StoreError
from laion_xr.location import Location
from laion_xr.store import place as module
from laion_xr.store.place import consolidate_store, ensure_groups, is_consolidated, reserved, tidy, workshop


@pytest.fixture
def store(tmp_path: Path) -> Location:
    location = Location.of(tmp_path / "laion.zarr")
    ensure_groups(location, ["sub-03"])
    return location


@pytest.fixture
def remote() -> Iterator[Location]:
    url = f"memory://place-{uuid.uuid4().hex}"
    location = Location.of(url)
    ensure_groups(location, ["sub-03"])
    yield location
    fsspec.filesystem("memory").rm(url, recursive=True)


def folder(store: Location, session: str = "ses-01") -> Path:
    return Path(store.url) / "sub-03" / session


def write(path: Path, text: str) -> None:
    path.mkdir(parents=True)
    (path / "zarr.json").write_text(text)


def put(store: Location, text: str) -> None:
    with reserved(store, "sub-03", "ses-01") as place:
        write(Path(place.location.url), text)
        place.publish()


# the folder


def test_the_workshop_is_beside_the_store(store: Location) -> None:
    assert workshop(store) == Path(f"{store.url}.partial")


def test_the_workshop_is_on_the_disk_that_a_link_leads_to(store: Location, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.zarr"
    link.parent.mkdir()
    link.symlink_to(store.url)
    assert workshop(Location.of(link)) == Path(f"{store.url}.partial")


def test_the_workshop_is_inside_where_the_store_is_a_disk_of_its_own(
    store: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # nor where nothing may be written beside it
    assert workshop(store) == Path(store.url) / ".partial"
    put(store, "new")
    assert folder(store).joinpath("zarr.json").read_text() == "new"
    tidy(store)
    assert not (Path(store.url) / ".partial").exists()


# writing


def test_a_session_is_there_when_it_is_published_and_not_before(store: Location) -> None:
    with reserved(store, "sub-03", "ses-01") as place:
        write(Path(place.location.url), "new")
        assert not folder(store).exists()
        place.publish()
        assert folder(store).joinpath("zarr.json").read_text() == "new"
    assert sorted(p.name for p in workshop(store).iterdir()) == ["store.lock", "sub-03_ses-01.lock"]


def test_replaces_what_is_there(store: Location) -> None:
    put(store, "old")
    put(store, "new")
    assert folder(store).joinpath("zarr.json").read_text() == "new"


def test_what_is_not_published_leaves_nothing(store: Location) -> None:
    put(store, "old")

    def fail() -> None:
        with reserved(store, "sub-03", "ses-01") as place:
            write(Path(place.location.url), "half")
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert folder(store).joinpath("zarr.json").read_text() == "old"
    tidy(store)
    assert not workshop(store).exists()


def test_what_a_killed_writer_left_is_removed(store: Location) -> None:
    write(workshop(store) / "sub-03_ses-01", "half")
    with reserved(store, "sub-03", "ses-01") as place:
        assert not Path(place.location.url).exists()
    write(workshop(store) / "sub-03_ses-02", "half")
    (workshop(store) / "sub-03_ses-02.lock").touch()
    tidy(store)
    assert not workshop(store).exists()


def test_a_kill_between_the_two_renames_loses_nothing(store: Location) -> None:
    put(store, "old")
    folder(store).rename(workshop(store) / "sub-03_ses-01.old")
    with reserved(store, "sub-03", "ses-01"):
        assert folder(store).joinpath("zarr.json").read_text() == "old"
    folder(store).rename(workshop(store) / "sub-03_ses-01.old")
    tidy(store)
    assert folder(store).joinpath("zarr.json").read_text() == "old"
    assert not workshop(store).exists()


def test_a_kill_after_the_second_rename_keeps_the_new_one(store: Location) -> None:
    put(store, "new")
    write(workshop(store) / "sub-03_ses-01.old", "old")
    with reserved(store, "sub-03", "ses-01"):
        assert folder(store).joinpath("zarr.json").read_text() == "new"
    assert not (workshop(store) / "sub-03_ses-01.old").exists()


# one writer a session


def test_one_writer_a_session(store: Location) -> None:
    inside: list[int] = []
    most: list[int] = []

    def writer(number: int) -> None:
        for i in range(5):
            with reserved(store, "sub-03", "ses-01") as place:
                inside.append(number)
                most.append(len(inside))
                write(Path(place.location.url), f"{number}-{i}")
                time.sleep(0.001)
                assert Path(place.location.url, "zarr.json").read_text() == f"{number}-{i}"
                place.publish()
                inside.remove(number)
            tidy(store)  # removes the lock files of others that wait for them

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 20
    assert set(most) == {1}
    assert folder(store).joinpath("zarr.json").read_text().endswith("-4")


def test_tidy_leaves_what_another_process_writes(store: Location) -> None:
    context = multiprocessing.get_context("spawn")
    started, finish = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(store.url, started, finish))
    process.start()
    assert started.wait(60)
    tidy(store)
    assert (workshop(store) / "sub-03_ses-01" / "zarr.json").read_text() == "half"
    assert (workshop(store) / "sub-03_ses-01.lock").exists()
    finish.set()
    process.join(60)
    assert process.exitcode == 0
    assert folder(store).joinpath("zarr.json").read_text() == "half"


def _hold(url: str, started: object, finish: object) -> None:
    with reserved(Location.of(url), "sub-03", "ses-01") as place:
        write(Path(place.location.url), "half")
        started.set()  # type: ignore[attr-defined]
        finish.wait(60)  # type: ignore[attr-defined]
        place.publish()


def test_the_folder_may_be_removed_before_the_lock_is_held(store: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire, calls = FileLock.acquire, []

    def losing_the_folder(self: FileLock, *args: object, **options: object) -> object:
        calls.append(self)
        if len(calls) == 1:
            shutil.rmtree(workshop(store))
        return acquire(self, *args, **options)

    monkeypatch.setattr(FileLock, "acquire", losing_the_folder)
    with reserved(store, "sub-03", "ses-01"):
        assert (workshop(store) / "sub-03_ses-01.lock").exists()
    assert calls


# the store's own metadata


def add_session(store: Location) -> None:
    with reserved(store, "sub-03", "ses-01") as place:
        path = Path(place.location.url)
        zarr.open_group(path, mode="w").create_array("trial", shape=3, dtype="i8")
        place.publish()


def test_consolidated_metadata_are_forgotten_before_a_session_changes(store: Location) -> None:
    assert not is_consolidated(store)
    add_session(store)
    consolidate_store(store)
    assert is_consolidated(store)
    assert "sub-03/ses-01/trial" in dict(zarr.open_group(store.url, mode="r").members(max_depth=None))
    add_session(store)
    assert not is_consolidated(store)


def test_consolidating_removes_what_a_killed_write_of_metadata_left(store: Location) -> None:
    left = Path(store.url) / f"zarr.{uuid.uuid4().hex}.partial"
    left.write_text("{")
    consolidate_store(store)
    assert not left.exists()
    assert is_consolidated(store)


def test_groups_that_are_there_stay(store: Location) -> None:
    add_session(store)
    ensure_groups(store, ["sub-01", "sub-03"])
    group = zarr.open_group(store.url, mode="r", use_consolidated=False)
    assert sorted(dict(group.groups())) == ["sub-01", "sub-03"]
    assert "ses-01" in group["sub-03"]


def test_groups_that_several_make_at_once(tmp_path: Path) -> None:
    for n in range(5):
        location = Location.of(tmp_path / f"{n}.zarr")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _, at=location: ensure_groups(at, ["sub-01", "sub-03"]), range(4)))
        assert sorted(dict(zarr.open_group(location.url, mode="r").groups())) == ["sub-01", "sub-03"]


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written: expected a folder"):
        ensure_groups(Location.of(tmp_path / "file"), [])
    with pytest.raises(StoreError, match="choose another place"):
        ensure_groups(Location.of(tmp_path / "file" / "laion.zarr"), [])


# object stores


def test_on_an_object_store_the_marker_goes_first(remote: Location) -> None:
    with reserved(remote, "sub-03", "ses-01") as place:
        assert (place.location, place.path) == (remote, "sub-03/ses-01")
        zarr.open_group(module.zarr_store(remote, writable=True), path=place.path, mode="w").create_array(
            "trial", shape=3, dtype="i8"
        )
        place.publish()
    consolidate_store(remote)
    assert remote.fs.exists(remote.at("sub-03/ses-01/zarr.json"))
    with reserved(remote, "sub-03", "ses-01"):
        assert not remote.fs.exists(remote.at("sub-03/ses-01/zarr.json"))
        assert remote.fs.exists(remote.at("sub-03/ses-01/trial/zarr.json"))
        assert not is_consolidated(remote)
    tidy(remote)
