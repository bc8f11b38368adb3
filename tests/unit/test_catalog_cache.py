"""The catalogue cache: fewer requests, never other answers; broken, old or foreign copies are as good as none."""

from __future__ import annotations

import itertools
import json
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr
from fsspec.implementations.memory import MemoryFileSystem

import laion_xr
from laion_xr.access import cache
from laion_xr.access.cache import CachedLocation, with_cache
from laion_xr.errors import CacheWarning, DataNotDownloadedError, LaionXRError, SelectionError
from laion_xr.location import FileEntry, Location

FILES = {"a.tsv": b"one\n", "folder/b.nii.gz": b"two" * 100, "folder/deep/c.txt": b""}


class Asked(list[str]):
    """What the file system was asked for, one entry a request."""

    @property
    def files(self) -> list[str]:
        """Paths of files that were read."""
        return sorted(what.partition(" ")[2] for what in self if what.startswith("read"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()
    for method, word in (("cat_file", "read"), ("ls", "list"), ("find", "list"), ("info", "info")):
        real = getattr(MemoryFileSystem, method)

        def called(self: Any, path: str, *args: Any, _real: Any = real, _word: str = word, **kwargs: Any) -> Any:
            found.append(f"{_word} {path.partition('test/')[2]}")
            return _real(self, path, *args, **kwargs)

        monkeypatch.setattr(MemoryFileSystem, method, called)
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAION_XR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "catalog"


@pytest.fixture
def place(folder: Path) -> Iterator[Location]:
    fs = fsspec.filesystem("memory")
    fs.pipe({f"/cache-test/{name}": data for name, data in FILES.items()})
    yield Location.of("memory://cache-test")
    fs.rm("/cache-test", recursive=True)


def read_all(location: Location, end: int | None = None) -> dict[str, bytes]:
    return location.read_many(location.files(""), end)


def copies(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_off_by_default_and_for_folders_of_this_machine(place: Location, tmp_path: Path, folder: Path) -> None:
    assert with_cache(place, False) is place
    local = Location.of(tmp_path)
    assert with_cache(local, True) is local
    assert with_cache(local, "offline") is local
    assert not folder.exists()


@pytest.mark.parametrize("wrong", ["online", "", None, 1, 2.5])
def test_other_values_are_refused(place: Location, wrong: Any) -> None:
    with pytest.raises(SelectionError, match="cache_catalog is False, True or 'offline', found"):
        with_cache(place, wrong)


def test_second_time_only_listings_are_asked_for(place: Location, asked: Asked) -> None:
    first = with_cache(place, True)
    assert read_all(first) == FILES
    assert asked.files == sorted(FILES)
    asked.clear()
    again = with_cache(place, True)
    assert read_all(again) == FILES
    assert again.folders("") == ["folder"]
    assert asked.files == []
    assert set(asked) == {"list "}


def test_offline_nothing_is_asked_for(place: Location, asked: Asked) -> None:
    online = with_cache(place, True)
    read_all(online)
    online.folders("folder")
    asked.clear()
    offline = with_cache(place, "offline")
    assert offline.files("") == online.uncached.files("")
    asked.clear()
    assert read_all(offline) == FILES
    assert offline.folders("folder") == ["deep"]
    assert offline.read_bytes(offline.files("")[0]) == FILES["a.tsv"]
    assert offline.exists()
    assert asked == []


def test_offline_says_what_is_missing_and_what_to_do(place: Location, folder: Path, asked: Asked) -> None:
    read_all(with_cache(place, True), 2)  # the first bytes only
    asked.clear()
    offline = with_cache(place, "offline")
    assert isinstance(offline, CachedLocation)
    said = (
        rf"{place.url}/a\.tsv is asked for, and cache_catalog='offline' makes no request: .*{folder}.*found none; open"
    )
    entry = offline.files("")[0]
    for ask in (
        lambda: offline.read_bytes(entry),
        lambda: offline.read_bytes("a.tsv"),
        lambda: offline.open("a.tsv"),
        lambda: offline.open("a.tsv", 4),
        lambda: offline.read_range("a.tsv", 0, 1),
        lambda: offline.files("a.tsv"),
        lambda: offline.folders("a.tsv"),
        lambda: with_cache(Location.of(place.url), "offline").read_bytes(entry._replace(changed="later")),
    ):
        with pytest.raises(DataNotDownloadedError, match=said):
            ask()
    refused: dict[str, LaionXRError] = {}
    assert offline.read_many([entry], refused=refused) == {}
    assert list(refused) == ["a.tsv"]
    assert asked == []


@pytest.mark.parametrize("end", [None, 2, 1000])
def test_changed_file_is_asked_for_again(place: Location, asked: Asked, end: int | None) -> None:
    first = read_all(with_cache(place, True), end)
    place.fs.pipe_file(place.at("a.tsv"), b"ONE\n")  # of the same length
    for files in (["a.tsv"], []):
        asked.clear()
        assert read_all(with_cache(place, True), end) == first | {"a.tsv": b"ONE\n"[:end]}
        assert asked.files == files


def test_new_state_takes_the_place_of_the_old_one(place: Location, folder: Path) -> None:
    read_all(with_cache(place, True))
    before = set(copies(folder))
    place.fs.pipe_file(place.at("a.tsv"), b"three\n")
    read_all(with_cache(place, True))
    assert set(copies(folder)) == before


def test_whole_file_and_its_beginning_are_kept_apart(place: Location) -> None:
    location = with_cache(place, True)
    assert read_all(location, 2)["a.tsv"] == b"on"
    assert read_all(location)["a.tsv"] == b"one\n"
    assert read_all(location, 2)["a.tsv"] == b"on"


def test_file_that_changed_since_it_was_listed_is_not_kept(place: Location, asked: Asked) -> None:
    location = with_cache(place, True)
    entry = location.files("")[0]
    place.fs.pipe_file(place.at("a.tsv"), b"longer than listed\n")
    assert location.read_bytes(entry) == b"longer than listed\n"
    asked.clear()
    location.read_bytes(entry)
    assert asked.files == ["a.tsv"]


@pytest.mark.parametrize("changed", ["", "unknown-1234"])
def test_file_of_an_unknown_state_is_never_kept(place: Location, asked: Asked, folder: Path, changed: str) -> None:
    location = with_cache(place, True)
    entry = FileEntry("a.tsv", 4, changed)
    for _ in range(2):
        assert location.read_bytes(entry) == b"one\n"
    assert location.read_bytes("a.tsv") == b"one\n"
    assert asked.files == ["a.tsv"] * 3
    assert copies(folder) == []


DAMAGE = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]) if data else b"x",
    "another header": lambda data: b"{}" + data,
    "garbage": lambda data: bytes(range(256)),
    "another version": lambda data: data.replace(b"[1, ", b"[0, ", 1),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_copy_is_ignored_and_written_anew(place: Location, asked: Asked, folder: Path, how: str) -> None:
    read_all(with_cache(place, True))
    for path in copies(folder):
        path.write_bytes(DAMAGE[how](path.read_bytes()))
    with pytest.raises(DataNotDownloadedError, match="found none"):
        read_all(with_cache(place, "offline"))
    asked.clear()
    assert read_all(with_cache(place, True)) == FILES
    assert asked.files == sorted(FILES)
    asked.clear()
    assert read_all(with_cache(place, "offline")) == FILES
    assert asked == []


def test_copy_of_another_file_is_not_taken(place: Location, folder: Path) -> None:
    location = with_cache(place, True)
    read_all(location)
    paths = copies(folder)
    data = [path.read_bytes() for path in paths]
    for path, other in zip(paths, [*data[1:], data[0]], strict=True):
        path.write_bytes(other)
    assert read_all(location) == FILES


def test_folder_in_the_way_and_a_cache_that_cannot_be_written(place: Location, folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("a file, where the folder should be")
    with pytest.warns(CacheWarning, match=r"catalogue cache .* cannot be written .*LAION_XR_CACHE"):
        assert read_all(with_cache(place, True)) == FILES
    folder.unlink()
    location = with_cache(place, True)
    assert isinstance(location, CachedLocation)
    assert read_all(location) == FILES
    for path in copies(folder):
        path.unlink()
        path.mkdir()
    with pytest.warns(CacheWarning, match="cannot be written"):
        assert read_all(location) == FILES
    assert not [p for p in copies(folder) if p.suffix == ".partial"]


def test_writers_do_not_disturb_each_other(place: Location, folder: Path) -> None:
    results: list[dict[str, bytes]] = []
    threads = [
        threading.Thread(target=lambda: results.extend(read_all(with_cache(place, True)) for _ in range(10)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [FILES] * 40
    assert not list(folder.rglob("*.partial"))


def test_each_root_has_copies_of_its_own(place: Location) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"endpoint_url": "http://localhost:1"},
        {"client_kwargs": {"endpoint_url": "http://localhost:2"}},
    ]
    roots = [with_cache(Location.of(f"s3://{b}", o), True) for b, o in itertools.product(("one", "two"), options)]
    assert len({location.folder for location in roots if isinstance(location, CachedLocation)}) == 6
    # the same place, whoever asks
    who = with_cache(Location.of("s3://one", {"key": "me", "secret": "x"}), True)
    assert isinstance(who, CachedLocation)
    assert who.folder == getattr(roots[0], "folder", None)


def test_nothing_secret_is_written(folder: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/user:PASSWORD@cache-secret/a.tsv", b"data")
    options = {"key": "KEYKEY", "secret": "SECRET", "token": "TOKEN", "headers": {"Authorization": "BEARER"}}
    place = Location("memory://user:PASSWORD@cache-secret", options)
    assert read_all(with_cache(place, True)) == {"a.tsv": b"data"}
    found = copies(folder)
    assert found
    for path, secret in itertools.product(found, ("KEYKEY", "SECRET", "TOKEN", "BEARER", "PASSWORD")):
        assert secret not in f"{path}{path.read_bytes()!r}"
    assert {path.stat().st_mode & 0o077 for path in found} == {0}
    fs.rm("/user:PASSWORD@cache-secret", recursive=True)


def test_pickles_and_knows_the_place_itself(place: Location) -> None:
    location = with_cache(place, True)
    assert pickle.loads(pickle.dumps(location)) == location
    assert location.uncached == place
    assert type(location.uncached) is Location
    assert place.uncached is place


# the whole: opening a subject


def open_subject(root: str, **options: Any) -> xr.Dataset:
    return xr.open_dataset(root, engine="laion_fmri", subject="sub-03", **options)


def test_opening_from_the_cache_is_the_same_dataset(tiny_in_memory: str, tiny: Any, asked: Asked, folder: Path) -> None:
    plain = open_subject(tiny_in_memory)
    open_subject(tiny_in_memory, cache_catalog=True)
    asked.clear()
    again = open_subject(tiny_in_memory, cache_catalog=True)
    assert asked.files == []
    asked.clear()
    offline = open_subject(tiny_in_memory, cache_catalog="offline")
    assert asked == []
    for found in (again, offline):
        assert found.betas.name == plain.betas.name
        assert found.betas.data.name == plain.betas.data.name  # the same reads: a cache is no other data
        assert len(pickle.dumps(found.betas.data)) <= len(pickle.dumps(plain.betas.data)) + 100
        assert str(folder) not in repr(pickle.dumps(found.betas.data))  # workers know nothing of it
        for name in ("stimulus", "voxel"):
            assert found[name].attrs.pop("root_cache") == ("offline" if found is offline else "kept")
        xr.testing.assert_identical(found.compute(), plain.compute())
    assert max(path.stat().st_size for path in copies(folder)) < min(
        tiny.betas_file(session).stat().st_size for session in tiny.sessions()
    )  # betas are not kept


def test_tree_from_the_cache(tiny_in_memory: str, asked: Asked, folder: Path) -> None:
    plain = xr.open_datatree(tiny_in_memory, engine="laion_fmri")
    xr.open_datatree(tiny_in_memory, engine="laion_fmri", cache_catalog=True)
    asked.clear()
    offline = xr.open_datatree(tiny_in_memory, engine="laion_fmri", cache_catalog="offline")
    assert asked == []
    for node in offline.leaves:
        for name in {"stimulus", "voxel"} & set(node.coords):
            assert node[name].attrs.pop("root_cache") == "offline"
    xr.testing.assert_identical(offline.load(), plain.load())  # embeddings included, by name


@pytest.fixture
def with_stimuli(dataset_root: Path) -> Iterator[str]:
    """The address of a subject with all its stimulus files in fsspec's memory file system."""
    fs = fsspec.filesystem("memory")
    for part in ("stimuli", "derivatives/glmsingle-tedana/sub-03", "derivatives/anatomical/sub-03"):
        fs.put(str(dataset_root / part), f"/cache-test/{part}", recursive=True)
    yield "memory://cache-test"
    fs.rm("/cache-test", recursive=True)


def test_by_trial_methods_make_no_request_offline(with_stimuli: str, asked: Asked, folder: Path) -> None:
    plain = open_subject(with_stimuli)
    with pytest.raises(DataNotDownloadedError, match="is asked for, and cache_catalog='offline' makes no request"):
        open_subject(with_stimuli, cache_catalog="offline")
    online = open_subject(with_stimuli, cache_catalog=True)
    offline = open_subject(with_stimuli, cache_catalog="offline").isel(trial=[3, 0, 3])
    # the listing was kept; a table that nobody asked for yet was not, and each says so
    asked.clear()
    for call in (lambda: offline.laion.captions(), lambda: offline.laion.embeddings("CLIP")):
        with pytest.raises(DataNotDownloadedError, match=r"stimuli/.* is asked for.*cache_catalog=True"):
            call()
    assert asked == []
    online.laion.captions(), online.laion.embeddings("CLIP"), online.laion.segmentations(), online.laion.images()
    asked.clear()
    found = pickle.loads(pickle.dumps(offline))
    captions, clip = found.laion.captions(), found.laion.embeddings("CLIP")
    found.laion.segmentations(), found.laion.images(), found.laion.stimuli.segmentations.nouns(found.stimulus.values[0])
    assert asked == []
    assert captions.values.tolist() == plain.laion.captions()[[3, 0, 3]].values.tolist()
    np.testing.assert_array_equal(clip, plain.laion.embeddings("CLIP")[[3, 0, 3]])  # numbers are read, as betas are
    asked.clear()
    online.laion.captions()
    assert not [what for what in asked if "captions" in what]


def test_stimuli_that_were_not_kept(tiny_in_memory: str, asked: Asked, folder: Path) -> None:
    open_subject(tiny_in_memory, cache_catalog=True)
    asked.clear()
    stimuli = {"group": "stimuli", "engine": "laion_fmri", "cache_catalog": "offline"}
    with pytest.raises(DataNotDownloadedError, match=r"embeddings\.h5 is asked for"):  # not a warning a variable
        xr.open_dataset(tiny_in_memory, **stimuli)
    names = [f"embedding_{m}" for m in ("CLIP", "DINOv2", "PEcore", "SigLIP2")]
    drop = [*names, "image", "caption", "n_masks"]
    assert "n_reps" in xr.open_dataset(tiny_in_memory, drop_variables=drop, **stimuli)
    assert asked == []


def test_model_file_is_not_kept(tiny_in_memory: str, folder: Path) -> None:
    group = {"group": "sub-03/ses-01/glmsingle", "engine": "laion_fmri"}
    assert "betasmd" in xr.open_dataset(tiny_in_memory, cache_catalog=True, **group)
    with pytest.raises(DataNotDownloadedError, match=r"GLMsingle_model\.h5 is asked for"):
        xr.open_dataset(tiny_in_memory, cache_catalog="offline", **group)


def test_offline_before_anything_was_kept(tiny_in_memory: str, folder: Path, asked: Asked) -> None:
    with pytest.raises(DataNotDownloadedError, match=r"derivatives/glmsingle-tedana is asked for.*cache_catalog=True"):
        open_subject(tiny_in_memory, cache_catalog="offline")
    assert asked == []


def test_offline_with_a_store(tiny_in_memory: str, tiny: Any, tmp_path: Path, asked: Asked, folder: Path) -> None:
    laion_xr.ingest(tiny_in_memory, tmp_path / "store", subjects=3, progress=False)
    open_subject(tiny_in_memory, cache_catalog=True)
    asked.clear()
    found = open_subject(tiny_in_memory, cache_catalog="offline", store=tmp_path / "store", source="store")
    np.testing.assert_array_equal(found.betas, tiny.matrix())
    assert asked == []  # from first to last
    with pytest.raises(SelectionError, match=r"offline.*the store memory://stores is remote: give"):
        open_subject(tiny_in_memory, cache_catalog="offline", store="memory://stores")


def test_configured_remote_store_is_left_out_offline(
    tiny_in_memory: str, monkeypatch: pytest.MonkeyPatch, asked: Asked, folder: Path
) -> None:
    open_subject(tiny_in_memory, cache_catalog=True)
    monkeypatch.setenv("LAION_XR_STORE", "memory://stores")
    asked.clear()
    open_subject(tiny_in_memory, cache_catalog="offline")
    assert asked == []


def test_layout_is_of_a_version(place: Location, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_all(with_cache(place, True))
    head = json.loads(copies(folder)[0].read_bytes().partition(b"\n")[0])
    assert head[0] == cache.FORMAT
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    with pytest.raises(DataNotDownloadedError):
        read_all(with_cache(place, "offline"))
    assert read_all(with_cache(place, True)) == FILES
