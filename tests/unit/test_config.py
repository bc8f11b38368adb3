"""`laion_xr.config`: values for a block, for the process, and for ever."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import laion_xr
from laion_xr import config
from laion_xr.access import configuration
from laion_xr.errors import ConfigurationError, NotALaionDatasetError


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "config" / "config.json"
    monkeypatch.setattr(configuration, "config_path", lambda: path)
    before = list(configuration.PROCESS)
    yield path
    configuration.PROCESS[:] = before


def test_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_STORE", "of-the-environment")
    with config.set(store="a", data_dir=Path("b")):
        assert (config.get("store"), config.get("data_dir")) == ("a", "b")
        with config.set(store=None):
            assert (config.get("store"), config.get("data_dir")) == (None, "b")
        assert config.get("store") == "a"
    assert config.get("store") == "of-the-environment"
    assert config.get("data_dir") is None


def test_a_block_ends_with_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), config.set(store="a"):
        raise ZeroDivisionError
    assert config.get("store") is None


def test_the_process() -> None:
    config.set(store="a")
    assert config.get("store") == "a"
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(config.get("store")))
    thread.start()
    thread.join()
    assert found == ["a"]
    config.set(store="b")
    with config.set(store="c"):
        assert config.get("store") == "c"
    assert config.get("store") == "b"
    assert config.settings()["store"] == ("store", "b", "laion_xr.config.set")


def test_threads_have_blocks_of_their_own() -> None:
    barrier = threading.Barrier(4)
    found: dict[int, list[str | None]] = {}

    def work(n: int) -> None:
        seen = []
        for _ in range(50):
            with config.set(store=str(n)):
                barrier.wait()
                seen.append(config.get("store"))
                barrier.wait()
        found[n] = seen

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [str(n)] * 50 for n in range(4)}
    assert config.get("store") is None


def test_tasks_have_blocks_of_their_own() -> None:
    async def work(n: int) -> bool:
        with config.set(store=str(n)):
            await asyncio.sleep(0.001)
            return config.get("store") == str(n)

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*(work(n) for n in range(20)))

    assert asyncio.run(all_of_them()) == [True] * 20


def test_saved(file: Path, tmp_path: Path) -> None:
    assert config.save(store="s3://bucket/x", cache_dir=tmp_path / "c") == file == config.path()
    assert config.get("store") == "s3://bucket/x"
    assert json.loads(file.read_text()) == {"store": "s3://bucket/x", "cache_dir": str(tmp_path / "c")}
    config.save(store=None)
    assert config.get("store") is None


@pytest.mark.parametrize("use", [config.set, config.save])
def test_what_is_no_setting(use, file: Path) -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'data_dir'"):
        use(data_dirs="x")
    with pytest.raises(ConfigurationError, match="expected a path or text, found 3"):
        use(store=3)
    assert not file.exists()
    assert configuration.PROCESS == []


def test_dataset_initialize(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with pytest.raises(NotALaionDatasetError, match="does not exist: expected a folder"):
        laion_xr.config.dataset_initialize(str(folder))
    with pytest.raises(FileNotFoundError):
        config.dataset_initialize(folder)
    with pytest.raises(TypeError, match="path must be a string or a path, got int"):
        config.dataset_initialize(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="is an address"):
        config.dataset_initialize("s3://laion-fmri")
    assert not file.exists()
    config.dataset_initialize(folder, create=True)
    assert config.get("data_dir") == str(folder)
    assert (folder / ".laion_fmri").is_dir()
    other = tmp_path / "other"
    other.mkdir()
    config.dataset_initialize(str(other))
    assert config.get("data_dir") == str(other)
    assert folder.is_dir()


def test_a_data_folder_that_is_none(file: Path, tmp_path: Path) -> None:
    (tmp_path / "README").write_text("text")
    for create in (False, True):
        with pytest.raises(NotALaionDatasetError, match="README is a file: expected a folder"):
            config.dataset_initialize(tmp_path / "README", create=create)
        for empty in ("", "  "):
            with pytest.raises(ConfigurationError, match="is an empty text"):
                config.dataset_initialize(empty, create=create)
    assert not file.exists()


def test_a_data_folder_may_be_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "config").mkdir()
    monkeypatch.setattr(Path, "mkdir", lambda self, **options: denied() if self.name == ".laion_fmri" else None)
    config.dataset_initialize(tmp_path)
    assert config.get("data_dir") == str(tmp_path)


def test_settings_are_shown_with_nothing_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_FMRI_REQUEST_ID", "lfm_secret")
    assert list(config.settings()) == ["data_dir", "store", "cache_dir", "access_url"]
    assert "lfm_secret" not in repr(config.settings())
    assert repr(config.set(store="a")) == "laion_xr.config.set(store='a')"


class Folder(os.PathLike[bytes]):
    def __fspath__(self) -> bytes:
        return b"/data/of-bytes"


def test_paths_of_bytes_are_paths(file: Path) -> None:
    with config.set(data_dir=Folder()):  # type: ignore[arg-type]
        assert config.get("data_dir") == "/data/of-bytes"
    config.save(store=Folder())  # type: ignore[arg-type]
    assert json.loads(file.read_text()) == {"store": "/data/of-bytes"}


@pytest.mark.parametrize("name", [[], {}, 3, None, b"store"])
def test_names_that_are_none(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"The setting .* does not exist"):
        config.get(name)  # type: ignore[arg-type]


def test_a_file_where_a_folder_of_the_path_belongs(file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotALaionDatasetError, match=r"cannot be made: a file is where one of its folders belongs"):
        config.dataset_initialize(tmp_path / "file" / "x", create=True)
    with pytest.raises(NotALaionDatasetError, match="does not exist"):
        config.dataset_initialize(tmp_path / "file" / "x")
    assert not file.exists()


def test_a_folder_that_may_not_be_made(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(ConfigurationError, match=r"cannot be made \(Permission denied\)"):
        config.dataset_initialize(tmp_path / "x", create=True)
    assert not file.exists()
