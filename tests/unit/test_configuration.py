"""Where a setting comes from: which place wins, the file, and files that are broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import xarray as xr

from laion_xr.access import configuration
from laion_xr.access.configuration import cache_dir, data_dir, lookup, store_dir, write_file
from laion_xr.errors import ConfigurationError, DataDirNotSetError, NotALaionDatasetError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="says where Linux keeps configuration files")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.delenv("LAION_XR_CACHE", raising=False)
    return tmp_path


@pytest.fixture
def own_file(home: Path) -> Path:
    path = home / "config" / "laion-xr" / "config.json"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def published_file(home: Path) -> Path:
    path = home / "config" / "laion_fmri" / "config.json"
    path.parent.mkdir(parents=True)
    return path


def test_stronger_places_win(home: Path, own_file: Path, published_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ["published", "data", "root", "own", "variable"]
    for name in places:
        (home / name).mkdir()
    set_by = {
        "published": lambda: published_file.write_text(json.dumps({"data_dir": str(home / "published")})),
        "data": lambda: monkeypatch.setenv("LAION_FMRI_DATA", str(home / "data")),
        "root": lambda: monkeypatch.setenv("LAION_FMRI_ROOT", str(home / "root")),
        "own": lambda: own_file.write_text(json.dumps({"data_dir": str(home / "own")})),
        "variable": lambda: monkeypatch.setenv("LAION_XR_DATA_DIR", str(home / "variable")),
    }
    origins = [str(published_file), "LAION_FMRI_DATA", "LAION_FMRI_ROOT", str(own_file), "LAION_XR_DATA_DIR"]
    # from the weakest on: each hides those before it
    for name, origin in zip(places, origins, strict=True):
        set_by[name]()
        assert data_dir() == str(home / name)
        assert origin in lookup("data_dir").origin


def test_not_set_says_all_the_ways(home: Path) -> None:
    with pytest.raises(DataDirNotSetError) as caught:
        data_dir()
    said = str(caught.value)
    for way in (
        "first argument",
        "laion_xr.config.dataset_initialize('/path')",
        "`laion-xr config set data_dir /path`",
        "laion_xr.config.set(data_dir='/path')",
        "LAION_XR_DATA_DIR",
        "LAION_FMRI_ROOT",
        "LAION_FMRI_DATA",
        str(home / "config" / "laion_fmri" / "config.json"),
    ):
        assert way in said
    assert (lookup("data_dir").value, lookup("data_dir").origin) == (None, "not set")


def test_open_dataset_uses_it(tiny, home: Path, own_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    own_file.write_text(json.dumps({"data_dir": str(tiny.root)}))
    assert xr.open_dataset("sub-03", engine="laion_fmri").attrs["subject"] == "sub-03"
    own_file.write_text("{")
    with pytest.raises(ConfigurationError, match="is not JSON"):
        xr.open_dataset("sub-03", engine="laion_fmri")


def test_a_folder_that_does_not_exist_says_who_named_it(home: Path, own_file: Path) -> None:
    own_file.write_text(json.dumps({"data_dir": "/no/such/folder"}))
    with pytest.raises(NotALaionDatasetError) as caught:
        data_dir()
    assert "The data folder /no/such/folder does not exist" in str(caught.value)
    assert str(own_file) in str(caught.value)
    assert data_dir(must_exist=False) == "/no/such/folder"


def test_addresses_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_DATA_DIR", "s3://laion-fmri")
    assert data_dir() == "s3://laion-fmri"


def test_other_settings(home: Path, own_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_dir() is None
    assert cache_dir() == home / "caches" / "laion-xr"
    own_file.write_text(json.dumps({"store": "~/a.zarr", "cache_dir": "~/b", "access_url": "https://a.example/"}))
    assert store_dir() == str(home / "home" / "a.zarr")
    assert cache_dir() == home / "home" / "b"
    assert configuration.access_url() == "https://a.example"
    monkeypatch.setenv("LAION_XR_STORE", "s3://bucket/store")
    monkeypatch.setenv("LAION_XR_CACHE", "relative")
    monkeypatch.setenv("LAION_XR_ACCESS_URL", "https://b.example")
    assert store_dir() == "s3://bucket/store"
    assert cache_dir() == Path("relative").absolute()
    assert configuration.access_url() == "https://b.example"


def test_the_service_of_the_published_loader_where_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration.access_url() == "https://laion-fmri.hebartlab.com"
    monkeypatch.setenv("LAION_FMRI_ACCESS_URL", "https://staging.example/")
    assert configuration.access_url() == "https://staging.example"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "is not JSON"),
        ("{'data_dir': 1}", "is not JSON"),
        ("[]", "holds a list: expected a JSON object"),
        ('{"data_dri": "x"}', "'data_dri' does not exist here. Did you mean 'data_dir'"),
        ('{"data_dir": 3}', "has data_dir = 3: expected a text"),
        ('{"store": null}', "has store = null: expected a text"),
    ],
)
def test_a_broken_file_is_named_and_kept(own_file: Path, text: str, found: str) -> None:
    own_file.write_text(text)
    for use in (data_dir, store_dir, cache_dir, lambda: write_file({"store": "x"})):
        with pytest.raises(ConfigurationError) as caught:
            use()
        assert str(own_file) in str(caught.value)
        assert found in str(caught.value)
    assert own_file.read_text() == text


def test_a_file_that_cannot_be_read(own_file: Path) -> None:
    own_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        data_dir()
    own_file.unlink()
    own_file.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        data_dir()


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"data_dir": 3}', '{"data_dir": ""}'])
def test_a_broken_file_of_the_published_loader_is_as_none(published_file: Path, text: str) -> None:
    published_file.write_text(text)
    with pytest.raises(DataDirNotSetError):
        data_dir()


def test_writing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    path = write_file({"data_dir": "data", "store": "s3://bucket/x", "access_url": "https://a.example"})
    assert path == home / "config" / "laion-xr" / "config.json"
    # folders are absolute, as the next session starts elsewhere
    kept = {"data_dir": str(home / "data"), "store": "s3://bucket/x", "access_url": "https://a.example"}
    assert json.loads(path.read_text()) == kept
    write_file({"store": None, "cache_dir": "~/c"})
    del kept["store"]
    assert json.loads(path.read_text()) == kept | {"cache_dir": str(home / "home" / "c")}
    assert [p.name for p in path.parent.iterdir()] == ["config.json"]


def test_a_write_that_fails_leaves_the_file_as_it_was(
    home: Path, own_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_file.write_text('{"store": "a"}')

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ConfigurationError, match=r"cannot be written .*LAION_XR_DATA_DIR"):
        write_file({"store": "b"})
    assert own_file.read_text() == '{"store": "a"}'
    assert [p.name for p in own_file.parent.iterdir()] == ["config.json"]


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'store'"):
        lookup("stor")
    with pytest.raises(ConfigurationError, match="There are: data_dir, store, cache_dir, access_url"):
        write_file({"xyz": "1"})
