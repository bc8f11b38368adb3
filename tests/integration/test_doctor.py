"""`laion-xr doctor` finds what was broken on purpose, and the command that it names mends it."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from typer.testing import CliRunner

import laion_xr
from laion_xr.cli import app


@pytest.fixture
def here(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny dataset."""
    for name in ("LAION_XR_DATA_DIR", "LAION_XR_STORE", "LAION_FMRI_ROOT", "LAION_FMRI_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    shutil.copytree(tiny.root, tmp_path / "data")
    return tmp_path / "data"


def doctor(*arguments: object) -> tuple[int, dict[str, Any]]:
    found = CliRunner().invoke(app, ["doctor", *map(str, arguments), "--json"])
    return found.exit_code, json.loads(found.stdout)


def test_nothing_is_broken(here: Path) -> None:
    code, found = doctor(here)
    assert (code, found["broken"]) == (0, [])
    assert [s["subject"] for s in found["subjects"]] == ["sub-01", "sub-03"]
    assert found["free"] > 0
    assert "Nothing is broken" in CliRunner().invoke(app, ["doctor", str(here)]).stdout


def break_short(root: Path) -> Path:
    path = next(root.rglob("sub-03_ses-01*stat-effect*.nii.gz"))
    path.write_bytes(path.read_bytes()[:-100])
    return path


def break_pointer(root: Path) -> Path:
    path = next(root.rglob("sub-03_ses-02*stat-effect*.nii.gz"))
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    return path


def break_half(root: Path) -> Path:
    path = next(root.rglob("sub-03_ses-01*_trials.tsv"))
    path.rename(path.with_name(f".{path.name}.partial"))
    return path


def break_empty(root: Path) -> Path:
    path = next(root.rglob("sub-01_*R2mean*.nii.gz"))
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize("broken", [break_short, break_pointer, break_half, break_empty])
def test_what_is_broken_is_found_and_mended(here: Path, tiny: Any, broken: Any) -> None:
    path = broken(here)
    code, found = doctor(here)
    assert code == 1
    finding = next(f for f in found["broken"] if f["path"] == path.relative_to(here).as_posix())
    words = shlex.split(finding["run"])
    assert words[:2] == ["laion-xr", "download"]
    mended = CliRunner().invoke(app, [*words[1:], "--source", str(tiny.root), "--accept-license"])
    assert mended.exit_code == 0, mended.output
    assert path.read_bytes() == (tiny.root / path.relative_to(here)).read_bytes()
    assert doctor(here)[0] == 0


def test_deep_and_remote(here: Path, tiny: Any) -> None:
    path = next(here.rglob("sub-03_ses-01*stat-effect*.nii.gz"))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # of the checksum
    path.write_bytes(data)
    table = next(here.rglob("stimuli/*metadata.csv"))
    table.write_text(table.read_text() + "\n")
    assert doctor(here)[0] == 0
    deep = doctor(here, "--deep")[1]["broken"]
    assert [f["path"] for f in deep] == [path.relative_to(here).as_posix()]
    assert deep[0]["run"].endswith("--check")
    remote = doctor(here, "--remote", "--source", tiny.root)[1]["broken"]
    assert [f["path"] for f in remote] == [table.relative_to(here).as_posix()]


def test_tables_that_do_not_fit(here: Path) -> None:
    table = next(here.rglob("sub-03_ses-01*_trials.tsv"))
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    code, found = doctor(here)
    assert code == 1
    assert any("_trials.tsv" in f["problem"] for f in found["broken"])


def test_store_behind_its_source(here: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.zarr"
    laion_xr.ingest(here, store, subjects="sub-03", sessions=[1], progress=False)
    assert doctor(here, "--store", store)[0] == 0
    path = next(here.rglob("sub-03_ses-01*stat-effect*.nii.gz"))
    shutil.copyfile(next(here.rglob("sub-03_ses-02*stat-effect*.nii.gz")), path)
    broken = doctor(here, "--store", store)[1]["broken"]
    assert any(f["run"].startswith("laion-xr ingest") for f in broken)
    assert doctor(here, "--store", tmp_path / "none")[0] == 1


def test_a_place_to_compare_with_that_has_nothing(here: Path, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    found = CliRunner().invoke(app, ["doctor", str(here), "--remote", "--source", str(tmp_path / "bucket")])
    assert found.exit_code == 1
    assert "nothing to compare with" in found.stderr


def test_locks_and_downloads_that_run(here: Path) -> None:
    path = break_half(here)
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock):
        found = doctor(here)[1]
        assert any(f"{path.name} is being downloaded now" in note for note in found["notes"])
        assert path.relative_to(here).as_posix() not in {f["path"] for f in found["broken"]}
    lock.touch()  # what a kill leaves
    code, found = doctor(here)
    assert code == 1
    assert any(lock.name in note and "nobody holds" in note for note in found["notes"])


def test_messages_are_of_the_command_line_and_say_a_path_once(here: Path, tmp_path: Path) -> None:
    pointer = break_pointer(here)
    shown = CliRunner().invoke(app, ["doctor", str(here), "--store", str(tmp_path / "none")]).stdout
    assert shown.count(pointer.name) == 1
    assert "it is a git-LFS pointer" in shown
    assert "laion_xr." not in shown
    assert "laion-xr laion-xr" not in shown
    file = CliRunner().invoke(app, ["doctor", str(pointer)])
    assert file.exit_code == 1
    assert "it is a file, and no folder" in file.stdout


def test_nothing_is_set(here: Path) -> None:
    code, found = doctor()
    assert (code, found["root"]) == (0, None)
    assert "config set data_dir" in found["notes"][0]
    assert doctor(here / "nowhere")[0] == 1
