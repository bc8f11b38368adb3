"""Split files: where they are looked for, the download from a server on this machine, what is refused."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from laion_xr.access import splits
from laion_xr.errors import (
    CorruptFileError,
    FileFormatError,
    SplitLeakageError,
    SplitsNotAvailableError,
    UnknownLabelError,
)

TRAIN = ["shared_12rep_LAION_cluster_1003_i0.jpg", "shared_4rep_LAION_cluster_7_i0.jpg"]
TEST = ["shared_4rep_LAION_cluster_8_i1.jpg"]
UNIQUE = "unique_LAION_initial_cluster_2817_i38_{}.jpg"


def content(name: str = "tau", train: Any = TRAIN, test: Any = TEST, **more: Any) -> bytes:
    return json.dumps({"name": name, "variants": [{"train_ids": train, "test_ids": test}]} | more).encode()


def put(folder: Path, data: bytes, name: str = "tau", pool: str = "shared") -> Path:
    path = folder / pool / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, no installed loader, and nobody who answers."""
    monkeypatch.setenv("LAION_XR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(splits, "PUBLISHED_LOADER", "laion_fmri_is_not_installed")
    monkeypatch.setattr(splits, "BASE_URL", "http://127.0.0.1:9/")
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served as the published one."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(splits, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_registry_is_of_the_published_files(shared: Path) -> None:
    folder = shared / "splits"
    files = {str(p.relative_to(folder).as_posix()): p for p in folder.rglob("*.json")}
    assert splits.registry() == {key: hashlib.sha256(p.read_bytes()).hexdigest() for key, p in files.items()}
    assert set(files) == {f"{pool}/{name}.json" for pool in splits.POOLS for name in splits.SPLITS}


def test_folder_by_argument_and_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a", content(test=["shared_4rep_LAION_a.jpg"]))
    put(tmp_path / "b", content(test=["shared_4rep_LAION_b.jpg"]))
    monkeypatch.setenv("LAION_XR_SPLITS_DIR", str(tmp_path / "b"))
    assert splits.read_split("tau", "shared").test == ("shared_4rep_LAION_b.jpg",)
    assert splits.read_split("tau", "shared", tmp_path / "a").test == ("shared_4rep_LAION_a.jpg",)
    assert splits.read_split("tau", "shared", tmp_path / "a").train == tuple(TRAIN)


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SplitsNotAvailableError, match=r"The folder of split files .*nowhere does not exist"):
        splits.read_split("tau", "shared", tmp_path / "nowhere")


def test_installed_loader_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "loader_of_the_test"
    put(package / "splits" / "data", content())
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(splits, "PUBLISHED_LOADER", "loader_of_the_test")
    assert splits.read_split("tau", "shared").test == tuple(TEST)
    # what the user's folder has comes first, what it lacks comes from the loader
    put(tmp_path / "mine", content("cluster_k5_0"), "cluster_k5_0")
    assert splits.read_split("tau", "shared", tmp_path / "mine").train == tuple(TRAIN)


def test_download_once(served: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = content()
    path = put(served, data)
    monkeypatch.setattr(splits, "registry", lambda: {"shared/tau.json": hashlib.sha256(data).hexdigest()})
    found = splits.find_split("tau", "shared")
    assert found.is_relative_to(cache)
    path.unlink()
    assert splits.read_split("tau", "shared") == (tuple(TRAIN), tuple(TEST))
    # a copy that was damaged is fetched again
    put(served, data)
    found.write_bytes(data[:-10])
    assert splits.read_split("tau", "shared") == (tuple(TRAIN), tuple(TEST))


def test_download_of_something_else(served: Path) -> None:
    put(served, b"<html>please log in</html>")
    with pytest.raises(CorruptFileError, match="did not give the published split file: expected SHA-256 "):
        splits.read_split("tau", "shared")


def test_not_found_on_the_server(served: Path) -> None:
    with pytest.raises(SplitsNotAvailableError, match="404"):
        splits.read_split("tau", "shared")


def test_no_network_names_the_three_ways(tmp_path: Path) -> None:
    put(tmp_path, content(), "cluster_k5_0")
    with pytest.raises(SplitsNotAvailableError) as caught:
        splits.read_split("tau", "shared", tmp_path)
    message = str(caught.value)
    for part in (
        "shared/tau.json is not on this machine",
        f"looked in {tmp_path}",
        "with a network, call this again (it downloads http://127.0.0.1:9/shared/tau.json once)",
        "install the published loader",
        "splits_dir= or in LAION_XR_SPLITS_DIR",
    ):
        assert part in message


def test_cache_that_cannot_be_written(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("LAION_XR_CACHE", str(tmp_path / "file"))
    put(served, content())
    with pytest.raises(SplitsNotAvailableError, match=r"downloading it to .*file.* failed"):
        splits.read_split("tau", "shared")


def test_own_names(tmp_path: Path) -> None:
    put(tmp_path, content("mine"), "mine")
    put(tmp_path, content("theirs"), "theirs", "sub-02")
    assert splits.read_split("mine", "shared", tmp_path) == (tuple(TRAIN), tuple(TEST))
    assert splits.split_names("shared", tmp_path) == [*splits.SPLITS, "mine"]
    assert splits.split_names("sub-02", tmp_path) == ["ood", *(f"random_{i}" for i in range(5)), "theirs"]
    assert splits.pool_names(tmp_path) == ["shared", "sub-01", "sub-03", "sub-05", "sub-06", "sub-07", "sub-02"]
    with pytest.raises(UnknownLabelError, match=r"Split 'mien' does not exist here. Did you mean 'mine'"):
        splits.read_split("mien", "shared", tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "expected an object with 'variants'"),
        (b"{}", "expected an object with 'variants'"),
        (b'{"variants": []}', "a list of one object"),
        (b'{"variants": [{}, {}]}', "a list of one object"),
        (b'{"variants": [1]}', "a list of one object"),
        (b'{"variants": [{"train_ids": []}]}', "expected test_ids, a list of image names"),
        (content(train="abc"), "expected train_ids, a list of image names"),
        (content(test=[1]), "expected test_ids, a list of image names"),
        (content(train=[*TRAIN, TRAIN[0]]), f"more than once in train_ids: {TRAIN[0]}"),
        (content("cluster_k5_0"), "the file of another split: expected 'tau', found 'cluster_k5_0'"),
        (content(n_test=224), "it says n_test = 224 and holds 1 images"),
        (
            content(train=[UNIQUE.format("p04")]),
            "the file of another pool: expected unique images of nobody, found unique images of sub-03",
        ),
    ],
)
def test_file_that_is_none(tmp_path: Path, data: bytes, message: str) -> None:
    path = put(tmp_path, data)
    with pytest.raises(FileFormatError, match=message) as caught:
        splits.read_split("tau", "shared", tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("codes", "owners"), [(["p03"], "sub-05"), (["p04", "p01"], "sub-01, sub-03"), ([], "nobody")])
def test_file_of_another_pool(tmp_path: Path, codes: list[str], owners: str) -> None:
    put(tmp_path, content(train=[*TRAIN, *(UNIQUE.format(code) for code in codes)]), pool="sub-03")
    with pytest.raises(FileFormatError, match=f"unique images of sub-03, found unique images of {owners};"):
        splits.read_split("tau", "sub-03", tmp_path)


def test_published_files_are_of_their_pools_only(shared: Path) -> None:
    data = {pool: (shared / "splits" / pool / "tau.json").read_bytes() for pool in splits.POOLS}
    for pool in splits.POOLS:
        for other in splits.POOLS:
            if pool == other:
                splits.parse_split(data[pool], "tau", pool, "file")
            else:
                with pytest.raises(FileFormatError, match="another pool"):
                    splits.parse_split(data[other], "tau", pool, "file")


def test_image_on_both_sides(tmp_path: Path) -> None:
    put(tmp_path, content(test=[*TEST, TRAIN[1]]))
    with pytest.raises(SplitLeakageError, match=f"images in both train and test: {TRAIN[1]}"):
        splits.read_split("tau", "shared", tmp_path)
