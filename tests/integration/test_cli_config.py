"""`laion-xr config` and `laion-xr download-stimuli`, end to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from laion_xr.cli import app

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="says where Linux keeps configuration files")

WHO = ["--name", "Ada Lovelace", "--email", "ada@university.example", "--institution", "Engines"]
PURPOSE = ["--purpose", "To relate images to responses of the ventral stream."]


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config" / "laion-xr" / "config.json"


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert "Traceback" not in result.output
    return result


def sentence(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_store_that_is_none_is_said_when_it_is_set(file: Path, tmp_path: Path) -> None:
    result = run("config", "set", "store", tmp_path / "laoin.zarr")
    assert result.exit_code == 0
    assert f"Note: There is no store at {tmp_path / 'laoin.zarr'}: nothing is there" in result.stderr
    assert f"`laion-xr ingest ROOT {tmp_path / 'laoin.zarr'}` makes one" in result.stderr
    (tmp_path / "other").mkdir()
    assert "other is no store of laion_xr" in run("config", "set", "store", tmp_path / "other").stderr
    # nobody asks an address
    assert run("config", "set", "store", "s3://bucket/laion.zarr").stderr == ""


def test_paths_are_whole_in_a_pipe(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    store = tmp_path / ("a_rather_long_folder_name" * 5) / "laion.zarr"
    run("config", "set", "store", store)
    assert f"store       {store}  (the file)" in run("config").stdout.splitlines()


def test_shows_values_and_where_they_come_from(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_STORE", "s3://bucket/store")
    monkeypatch.setenv("LAION_FMRI_REQUEST_ID", "lfm_secret")
    result = run("config")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "not set" in rows["data_dir"]
    assert "s3://bucket/store" in rows["store"]
    assert "the environment variable LAION_XR_STORE" in rows["store"]
    assert f"{file} (not there yet)" in result.stdout
    found = json.loads(run("config", "--json").stdout)
    assert found["path"] == str(file)
    assert found["settings"]["store"] == {
        "value": "s3://bucket/store",
        "origin": "the environment variable LAION_XR_STORE",
    }
    assert found["settings"]["data_dir"] == {"value": None, "origin": "not set"}
    assert "lfm_secret" not in result.output + json.dumps(found)


def test_help_says_what_wins() -> None:
    shown = run("config", "--help").stdout
    assert shown.index("LAION_XR_DATA_DIR") < shown.index("configuration file") < shown.index("LAION_FMRI_ROOT")


def test_set_get_unset_path(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sentence(run("config", "set", "data_dir", "data")).count("--create") == 1
    assert run("config", "set", "data_dir", "data", "--create").exit_code == 0
    assert run("config", "set", "store", "s3://bucket/store").exit_code == 0
    assert json.loads(file.read_text()) == {"data_dir": str(tmp_path / "data"), "store": "s3://bucket/store"}
    assert run("config", "get", "data_dir").stdout == f"{tmp_path / 'data'}\n"
    assert run("config", "path").stdout == f"{file}\n"
    assert "is not set now" in run("config", "unset", "store").stdout
    missing = run("config", "get", "store")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "LAION_XR_STORE" in missing.stderr
    monkeypatch.setenv("LAION_XR_DATA_DIR", "/elsewhere")
    assert "Note: /elsewhere, from the environment variable LAION_XR_DATA_DIR, wins" in (
        run("config", "set", "data_dir", "data").stderr
    )


def test_mistakes_are_sentences(file: Path) -> None:
    for name in ("data_dir", "store", "access_url"):
        assert f"laion-xr config unset {name}" in sentence(run("config", "set", name, " "))
    assert not file.exists()
    for arguments in (("set", "data_dri", "x"), ("get", "data_dri"), ("unset", "data_dri")):
        assert "Did you mean 'data_dir'" in sentence(run("config", *arguments))
    file.parent.mkdir(parents=True)
    file.write_text("{")
    for arguments in ((), ("get", "store"), ("set", "store", "x"), ("--json",)):
        assert f"{file} is not JSON" in sentence(run("config", *arguments))
    assert f"{file} is not JSON" in sentence(run("info", "sub-03"))
    assert run("config", "path").exit_code == 0


def test_images(access_service: Any, tmp_path: Path) -> None:
    access_service.files = {"task-images_stimuli.h5": b"images" * 100, "task-images_metadata.csv": b"image_name\n"}
    assert "No data folder is configured" in sentence(run("download-stimuli"))
    run("config", "set", "data_dir", "data", "--create")
    assert "--accept-license" in sentence(run("download-stimuli", *WHO, *PURPOSE))
    assert "found no purpose" in sentence(run("download-stimuli", *WHO, "--accept-license"))
    assert access_service.ids == {}
    result = run("download-stimuli", *WHO, *PURPOSE, "--accept-license")
    assert result.exit_code == 0, result.output
    images = tmp_path / "data" / "stimuli" / "task-images_stimuli.h5"
    assert images.read_bytes() == access_service.files[images.name]
    assert f"{images} (600 B)" in result.stdout
    found = json.loads(run("download-stimuli", "--json").stdout)
    assert found["task-images_stimuli.h5"] == {"path": str(images), "size": 600}
    shown = result.output + json.dumps(found) + run("config").output
    assert [secret for secret in access_service.secrets if secret in shown] == []
    access_service.revoked.update(access_service.ids)
    assert "was revoked" in sentence(run("download-stimuli"))


def test_no_command_shows_a_secret(access_service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access_service.files = {"task-images_stimuli.h5": b"images" * 100}
    run("config", "set", "data_dir", "data", "--create")
    assert run("download-stimuli", *WHO, *PURPOSE, "--accept-license").exit_code == 0
    kept = tmp_path / "home" / ".cache" / "laion-fmri" / "auth.json"
    known = json.loads(kept.read_text())["request_id"]
    kept.chmod(0o644)
    noted = run("download-stimuli")
    assert noted.stderr.startswith(f"Note: {kept} holds the request id")
    assert noted.stderr.count("\n") == 1
    said = noted.output
    for variable in (None, known):
        if variable is not None:
            monkeypatch.setenv("LAION_FMRI_REQUEST_ID", variable)
        for arguments in (["config"], ["doctor"], ["config", "get", "access_url"], ["download-stimuli"]):
            for more in ([], ["--json"], ["--debug"]):
                if more != ["--json"] or arguments[-1] != "access_url":
                    said += run(*arguments, *more).output
    access_service.revoked.add(known)
    failed = CliRunner().invoke(app, ["download-stimuli", "--debug"])
    assert failed.exception is not None
    said += failed.output + "".join(traceback.format_exception(failed.exception))
    assert "access_url" in said
    assert [secret for secret in access_service.secrets if secret in said] == []
    written = {p: p.read_bytes().decode("latin-1") for p in tmp_path.rglob("*") if p.is_file() and p != kept}
    assert [p for p, text in written.items() for secret in access_service.secrets if secret in text] == []


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_while_images_come(access_service: Any, tmp_path: Path) -> None:
    data = bytes(range(256)) * 12_000
    access_service.files = {"task-images_stimuli.h5": data}
    access_service.fail("stimuli.h5", 0.1, float("inf"))
    command = [sys.executable, "-m", "laion_xr.cli", "download-stimuli", str(tmp_path), *WHO, *PURPOSE]
    with subprocess.Popen([*command, "--accept-license"], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("stimuli/.*.partial.json")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines() == ["Interrupted: what is whole is kept, what is not goes on when the same is run again."]
    assert not (tmp_path / "stimuli" / "task-images_stimuli.h5").exists()
    access_service.faults.clear()
    access_service.asked.clear()
    assert run("download-stimuli", tmp_path).exit_code == 0
    assert (tmp_path / "stimuli" / "task-images_stimuli.h5").read_bytes() == data
    assert access_service.of("stimuli.h5")[0].start > 0
