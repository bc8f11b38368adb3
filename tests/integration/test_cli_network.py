"""`laion-xr download` and `prefetch` with a bucket on this machine: the whole way, and what goes wrong on it."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from typer.testing import CliRunner, Result

from laion_xr import remote
from laion_xr.access import watch
from laion_xr.cli import app, prefetch
from laion_xr.cli import download as download_command
from laion_xr.errors import UnreachableError


@pytest.fixture(scope="session")
def _bucket(s3_process: Any, tiny: Any) -> None:
    s3_process.fs.mkdir("published")
    s3_process.put(tiny.root, "published")


@pytest.fixture
def bucket(s3: Any, _bucket: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server, with the tiny dataset; what a user has configured is not seen."""
    for name in ("LAION_XR_DATA_DIR", "LAION_XR_STORE", "LAION_FMRI_ROOT", "LAION_FMRI_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAION_XR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.004)
    return s3


def leading(bucket: Any) -> list[str]:
    return ["-o", f"endpoint_url={bucket.url}", "-o", "anon=true"]


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert "Traceback" not in result.output
    return result


def download(bucket: Any, root: Path, *arguments: object) -> Result:
    return run("download", root, "--source", "s3://published", *leading(bucket), "--accept-license", *arguments)


def test_the_whole_way(bucket: Any, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    first = download(bucket, root, "-s", "3")
    assert first.exit_code == 0, first.output
    assert f"laion-xr info {root}" in first.stdout
    assert json.loads(run("info", root, "sub-03", "--json").stdout)["subjects"][0]["problems"] == []
    assert run("doctor", root).exit_code == 0
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(root))
    found = xr.open_dataset("sub-03", engine="laion_fmri")
    expected = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    np.testing.assert_array_equal(found.betas, expected.betas)
    again = download(bucket, root, "-s", "3")
    assert again.stdout.startswith("0 files fetched, 0 B; ")


def test_one_file_is_singular(bucket: Any, tmp_path: Path) -> None:
    assert run("download", tmp_path, "--embeddings", "CLIP", "--source", "s3://published", *leading(bucket)).exit_code
    download(bucket, tmp_path, "--embeddings", "CLIP")
    model = next(tmp_path.rglob("*CLIP*"))
    model.unlink()
    assert "1 file fetched" in download(bucket, tmp_path, "--embeddings", "CLIP").stdout


def test_no_network_ends_with_a_sentence(bucket: Any, tmp_path: Path) -> None:
    began = time.monotonic()
    away = ["--source", "s3://published", "-o", "endpoint_url=http://127.0.0.1:9", "-o", "anon=true"]
    for command in ("download", "prefetch"):
        result = run(command, tmp_path, "-s", "3", "--accept-license", *away)
        assert result.exit_code == 1
        (error,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert "cannot be reached" in error
        assert "--storage-option" in error
    assert time.monotonic() - began < 60
    assert list(tmp_path.rglob("*.nii.gz")) == []


def test_a_connection_that_is_silent_is_said(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SECONDS_OF_SILENCE", 0.4)
    bucket.fail("metadata.csv", 2.0, 1)
    result = download(bucket, tmp_path, "-s", "3", "--include", "trials")
    assert result.exit_code == 0, result.output
    assert "no bytes for" in result.stderr


def test_nothing_to_download_and_no_such_place(bucket: Any, tmp_path: Path) -> None:
    nothing = download(bucket, tmp_path)
    assert nothing.exit_code == 1
    assert all(word in nothing.stderr for word in ("--subject sub-03", "--embeddings all", "--dry-run"))
    assert "=True" not in nothing.stderr
    nowhere = run("download", tmp_path, "-s", "3", "--source", tmp_path / "nowhere")
    assert nowhere.exit_code == 1
    assert "There is no subject in" in nowhere.stderr


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_says_how_to_go_on_and_that_goes_on(bucket: Any, tiny: Any, tmp_path: Path) -> None:
    # what is of one session does not come in time, everything else does
    bucket.fail("ses-02", 3.0, float("inf"))
    asked = ["download", str(tmp_path), "-s", "3", "--source", "s3://published", *leading(bucket), "--accept-license"]
    with subprocess.Popen([sys.executable, "-m", "laion_xr.cli", *asked], stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while sum(not path.name.startswith(".") for path in tmp_path.rglob("*_mask.*")) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.splitlines() == ["Interrupted: what is whole is kept, what is not goes on when the same is run again."]
    here = [p for p in tmp_path.rglob("*") if p.is_file() and not p.name.startswith(".") and ".laion" not in str(p)]
    assert [p for p in here if p.read_bytes() != (tiny.root / p.relative_to(tmp_path)).read_bytes()] == []
    bucket.reset()
    done = json.loads(run(*asked, "--json").stdout)
    assert done["present"]
    assert done["fetched"]
    assert sorted(done["present"])[0] not in done["fetched"]
    assert run("doctor", tmp_path).exit_code == 0


def test_the_bar_does_not_draw_over_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(download_command, "stderr", lambda: Console(file=screen, force_terminal=True, width=80))
    with download_command.bar(True) as (started, count):
        time.sleep(0.3)  # the bar is drawn ten times a second
        assert screen.getvalue() == ""
        started(1000)
        count(1000)
    assert "1.0/1.0 kB" in screen.getvalue()


def test_what_prefetch_brought_is_said_also_where_splits_fail(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(name: str, pool: str) -> Path:
        raise UnreachableError("The split file cannot be had.")

    monkeypatch.setattr(prefetch, "find_split", away)
    asked = ["-s", "3", "--session", "1", "--source", "s3://published", *leading(bucket), "--accept-license"]
    result = run("prefetch", tmp_path, *asked)
    assert result.exit_code == 1
    assert f"here before; {tmp_path}" in result.stdout
    assert "The split file cannot be had." in result.stderr


def test_prefetch_of_an_address(bucket: Any, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "find_split", lambda name, pool: Path(__file__))
    result = run("prefetch", "s3://published", "-s", "3", *leading(bucket))
    assert result.exit_code == 0, result.output
    assert "The catalogue of sub-03: open with cache_catalog='offline'" in result.stdout
    assert not any("desc-SingletrialBetas_statmap.nii.gz" in r.path and not r.range for r in bucket.objects)
    bucket.requests.clear()
    options = {"endpoint_url": bucket.url, "anon": True}
    found = xr.open_dataset(
        "s3://published", engine="laion_fmri", subject="sub-03", cache_catalog="offline", storage_options=options
    )
    expected = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    np.testing.assert_array_equal(found.stimulus, expected.stimulus)
    assert bucket.requests == []
    unknown = run("prefetch", "s3://published", "-s", "9", *leading(bucket))
    assert unknown.exit_code == 1
    assert "Subject 'sub-09' does not exist" in unknown.stderr
