"""`laion-xr download`, its siblings and `prefetch`, on a mirror in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from laion_xr.cli import app, prefetch


@pytest.fixture
def mirror(dataset_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options that lead to a mirror; the cache is a folder of the test."""
    monkeypatch.setenv("LAION_XR_CACHE", str(tmp_path / "cache"))
    return ["--source", str(dataset_root)]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def said(*arguments: object) -> dict[str, Any]:
    found = run(*arguments, "--json")
    assert found.exit_code == 0, found.output
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def test_plan_download_and_again(mirror: list[str], dataset_root: Path, tmp_path: Path) -> None:
    asked = ["download", tmp_path / "data", "-s", "3", "--session", "1,2", "--include", "trials,maps", *mirror]
    plan = said(*asked, "--dry-run")
    assert not (tmp_path / "data").exists()
    assert plan["bytes"] == sum((dataset_root / f["path"]).stat().st_size for f in plan["files"])
    assert "to fetch" in run(*asked, "--dry-run").stdout
    refused = run(*asked)
    assert refused.exit_code == 1
    assert "licence" in refused.output
    done = said(*asked, "--accept-license")
    assert sorted(done["fetched"]) == sorted(f["path"] for f in plan["files"])
    assert all((tmp_path / "data" / p).read_bytes() == (dataset_root / p).read_bytes() for p in done["fetched"])
    again = run(*asked)
    assert "0 files fetched" in again.stdout
    verbose = run(*asked, "--check", "-v")
    assert verbose.exit_code == 0


def test_a_line_a_file_is_not_broken(mirror: list[str], tmp_path: Path) -> None:
    deep = tmp_path / ("a_rather_long_folder_name" * 5)
    asked = ["download", deep, "-s", "3", "--session", "1", "--include", "trials", *mirror, "--accept-license"]
    lines = run(*asked, "-v").stderr.splitlines()
    fetched = [path.name for path in deep.rglob("*.tsv")]
    assert fetched
    assert all(any(name in line for line in lines) for name in fetched)


def test_siblings(mirror: list[str], tmp_path: Path) -> None:
    accept = [*mirror, "--accept-license"]
    models = said("download-embeddings", tmp_path, "--model", "CLIP", *accept)["fetched"]
    assert "stimuli/task-images_desc-CLIP_embeddings.h5" in models
    assert not any("DINO" in path for path in models)
    assert any("captions" in path for path in said("download-captions", tmp_path, *accept)["fetched"])
    assert any("segmentations" in path for path in said("download-segmentations", tmp_path, *accept)["fetched"])


def test_what_is_not_there(mirror: list[str], tmp_path: Path) -> None:
    for wrong in (["-s", "9"], ["-s", "3", "--include", "beta"], []):
        found = run("download", tmp_path, *wrong, *mirror)
        assert found.exit_code == 1
        assert "Error:" in found.output


def test_prefetch(mirror: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def find(name: str, pool: str) -> Path:
        asked.append((name, pool))
        return Path(__file__)

    monkeypatch.setattr(prefetch, "find_split", find)
    options = ["-s", "3", "--session", "1", "--embeddings", "CLIP", "--accept-license", *mirror]
    found = said("prefetch", tmp_path / "data", *options)
    assert found["splits"] == len(asked) == len(set(asked))
    assert ("tau", "shared") in asked
    paths = found["download"]["fetched"]
    assert any("CLIP" in path for path in paths)
    assert any("ses-01" in path for path in paths)
    assert not any("ses-02" in path for path in paths)
    assert run("prefetch", tmp_path / "data", *options).exit_code == 0
