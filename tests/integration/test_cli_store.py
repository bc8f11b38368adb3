"""The commands of the store, end to end: plan, ingest, verify, store info."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from laion_xr import __version__, layout
from laion_xr.cli import app
from laion_xr.simulate import simulate
from laion_xr.store import IngestPlan, store_info
from laion_xr.store.info import codec_text

SMALL = {"sessions": 2, "trials": 20, "grid": 12, "seed": 0, "surfaces": False, "image_size": 16}
SESSIONS = [("sub-01", "ses-01"), ("sub-01", "ses-02"), ("sub-03", "ses-01"), ("sub-03", "ses-02")]


def run(*arguments: object, stdin: str | None = None) -> Result:
    nowhere = {"LAION_XR_DATA_DIR": "", "LAION_XR_STORE": "", "XDG_CONFIG_HOME": "/nonexistent", "COLUMNS": "120"}
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=nowhere, input=stdin)
    assert "Traceback" not in result.output
    return result


def run_json(*arguments: object, code: int = 0) -> dict:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def sentence(result: Result) -> str:
    """Return the one sentence of a failed command."""
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "root"
    simulate(folder, subjects=["sub-01", "sub-03"], **SMALL)
    return folder


@pytest.fixture(scope="module")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A store, and what its ingest printed. Read it, never write into it."""
    store = tmp_path_factory.mktemp("store") / "laion.zarr"
    return store, run("ingest", root, store)


@pytest.fixture
def store(made: tuple[Path, Result], tmp_path: Path) -> Path:
    """A store of one's own, to be broken."""
    shutil.copytree(made[0], tmp_path / "laion.zarr")
    return tmp_path / "laion.zarr"


def break_chunk(store: Path, session: str = "sub-01/ses-01") -> None:
    chunk = next(p for p in sorted((store / session / "betas" / "c").rglob("*")) if p.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 0xFF
    chunk.write_bytes(data)


def newer_source(root: Path, into: Path) -> Path:
    """Copy a dataset, with other betas in the first session."""
    shutil.copytree(root, into)
    betas = into / layout.session_path("sub-01", "ses-01", "betas")
    shutil.copy(into / layout.session_path("sub-01", "ses-02", "betas"), betas)
    return into


# help and usage


@pytest.mark.parametrize("command", [["plan"], ["ingest"], ["verify"], ["store", "info"]])
def test_help_has_examples(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"laion-xr {' '.join(command)} my-data" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "root"],
        ["plan", "root", "store", "--memory", "much"],
        ["plan", "root", "store", "--workers", "0"],
        ["ingest", "root", "store", "-o", "novalue"],
        ["ingest", "root", "store", "--plan", "plan.json", "--subject", "1"],
        ["verify"],
        ["store", "nonsense"],
    ],
)
def test_usage_errors_are_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


# plan


def test_plan_says_what_ingest_would_do_and_writes_nothing(root: Path, tmp_path: Path) -> None:
    result = run("plan", root, tmp_path / "laion.zarr")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line for line in words(result.stdout) if line and line[0].startswith("sub-")]
    assert [tuple(row[:3]) for row in rows] == [(*s, "write") for s in SESSIONS]
    assert "4 sessions of 4" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_plan_narrows_and_knows_what_is_stored(root: Path, made: tuple[Path, Result], tmp_path: Path) -> None:
    new = run_json("plan", root, tmp_path / "x.zarr", "--subject", "1,sub-03", "--session", "2", "--precision", "0.001")
    assert [(s["subject"], s["session"]) for s in new["sessions"]] == [("sub-01", "ses-02"), ("sub-03", "ses-02")]
    assert new["precision"] == 0.001
    stored = run_json("plan", root, made[0])
    assert {s["action"] for s in stored["sessions"]} == {"keep"}
    assert "Nothing to write" in run("plan", root, made[0]).stdout


def test_workers_are_clamped_and_both_numbers_said(root: Path, tmp_path: Path) -> None:
    arguments = (root, tmp_path / "laion.zarr", "--workers", "4", "--memory", "0.6GB", "--session", "1")
    assert "2 of the 4 asked for" in run("plan", *arguments).stdout
    plan = run_json("plan", *arguments)
    assert (plan["workers"], plan["workers_asked"], plan["memory"]) == (2, 4, 600_000_000)
    result = run("ingest", *arguments)
    assert result.exit_code == 0
    assert result.stderr.startswith("Note: 4 workers of ")
    assert "600 MB: 2 write at once" in result.stderr


def test_plan_refuses_what_cannot_be(root: Path, tmp_path: Path) -> None:
    assert "--memory 1.00 MB" in sentence(run("plan", root, tmp_path / "x", "--memory", "1MB"))
    assert "relative error between" in sentence(run("plan", root, tmp_path / "x", "--precision", "2"))
    assert "sub-01, sub-03" in sentence(run("plan", root, tmp_path / "x", "--subject", "sub-02"))
    assert "derivatives" in sentence(run("plan", tmp_path, tmp_path / "x"))


def test_a_plan_file_that_is_not_there_is_one_clear_sentence(root: Path, tmp_path: Path) -> None:
    found = sentence(run("ingest", root, tmp_path / "laion.zarr", "--plan", tmp_path / "nope.json"))
    assert f"--plan {tmp_path / 'nope.json'} cannot be read (No such file or directory)" in found
    assert f"laion-xr plan ROOT STORE --json > {tmp_path / 'nope.json'}" in found
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    assert "is no text" in sentence(run("ingest", root, tmp_path / "laion.zarr", "--plan", tmp_path / "binary.json"))


def test_memory_is_said_as_it_was_given(root: Path, tmp_path: Path) -> None:
    found = sentence(run("plan", root, tmp_path / "laion.zarr", "--memory", "1KB"))
    assert "--memory 1.00 kB is less than one worker takes" in found


def test_plan_ends_with_a_duration_for_people(root: Path, tmp_path: Path) -> None:
    last = run("plan", root, tmp_path / "laion.zarr").stdout.splitlines()[-1]
    assert last == "To write: 4 sessions of 4, under 1 s"


# ingest


def test_ingest_prints_what_became_of_each_session(root: Path, made: tuple[Path, Result]) -> None:
    store, result = made
    assert (result.exit_code, result.stderr) == (0, "")  # no terminal: no bar
    rows = [line for line in words(result.stdout) if line and line[0].startswith("sub-")]
    assert [tuple(row[:3]) for row in rows] == [(*s, "written") for s in SESSIONS]
    assert "4 written, 0 kept" in result.stdout
    assert f"LAION_XR_STORE={store}" in result.stdout
    ds = xr.open_dataset(root, engine="laion_fmri", subject="sub-03", store=store, source="store")
    source = xr.open_dataset(root, engine="laion_fmri", subject="sub-03")
    np.testing.assert_array_equal(ds.betas.values, source.betas.values)


def test_ingest_again_keeps(root: Path, store: Path) -> None:
    found = run_json("ingest", root, store, "--no-progress")
    assert [(s["subject"], s["session"]) for s in found["sessions"]] == SESSIONS
    assert {s["outcome"] for s in found["sessions"]} == {"kept"}
    assert found["laion_xr_version"] == __version__


def test_ingest_of_an_edited_plan(root: Path, tmp_path: Path) -> None:
    store, path = tmp_path / "laion.zarr", tmp_path / "plan.json"
    plan = json.loads(run("plan", root, store, "--json").stdout)
    plan["sessions"] = plan["sessions"][1:2]
    plan["chunks"] = [8, 64]
    path.write_text(json.dumps(plan))
    assert IngestPlan.from_json(path.read_text()).chunks == (8, 64)
    assert "1 written" in run("ingest", root, store, "--plan", path).stdout
    (session,) = run_json("store", "info", store)["sessions"]
    assert (session["subject"], session["session"], session["chunks"]) == ("sub-01", "ses-02", [8, 64])
    assert "1 kept" in run("ingest", root, store, "--plan", "-", stdin=json.dumps(plan)).stdout


def test_ingest_refuses_the_plan_of_something_else(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(run("plan", root, tmp_path / "laion.zarr", "--json").stdout)
    assert "The plan is for the store" in sentence(run("ingest", root, tmp_path / "other", "--plan", path))
    assert "The plan is for the dataset" in sentence(run("ingest", tmp_path, tmp_path / "laion.zarr", "--plan", path))
    path.write_text("{}")
    assert "JSON of an ingest plan" in sentence(run("ingest", root, tmp_path / "laion.zarr", "--plan", path))


def test_no_update_refuses_a_changed_source(root: Path, store: Path, tmp_path: Path) -> None:
    changed = newer_source(root, tmp_path / "changed")
    message = sentence(run("ingest", changed, store, "--no-update"))
    assert "sub-01 ses-01" in message
    assert "--no-update" in message
    assert "update=" not in message
    outcomes = run_json("ingest", changed, store)["sessions"]
    assert [s["outcome"] for s in outcomes] == ["written", "kept", "kept", "kept"]


def test_ingest_names_the_session_that_failed(root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(root, broken)
    betas = broken / layout.session_path("sub-01", "ses-02", "betas")
    betas.write_bytes(betas.read_bytes()[:-2000])
    message = sentence(run("ingest", broken, tmp_path / "laion.zarr", "--subject", "1"))
    assert "1 of 2 sessions" in message
    assert "sub-01 ses-02" in message
    assert [s.session for s in store_info(tmp_path / "laion.zarr").sessions if s.complete] == ["ses-01"]


# verify


def test_verify_is_silent_about_nothing(root: Path, made: tuple[Path, Result]) -> None:
    for more in ((), (root,)):
        result = run("verify", made[0], *more)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "4 of 4 sessions right" in result.stdout
    (only, *_) = run_json("verify", made[0], "--subject", "3")["sessions"]
    assert (only["subject"], only["status"]) == ("sub-03", "ok")


def test_verify_finds_and_repairs_a_broken_chunk(root: Path, store: Path) -> None:
    break_chunk(store)
    result = run("verify", store)
    assert result.exit_code == 1
    assert ["sub-01", "ses-01", "damaged"] in [line[:3] for line in words(result.stdout)]
    assert "1 session not right" in result.stderr
    found = run_json("verify", store, code=1)["sessions"]
    assert [s["status"] for s in found] == ["damaged", "ok", "ok", "ok"]
    assert "give ROOT" in sentence(run("verify", store, "--repair"))
    assert run_json("verify", store, root, "--repair")["sessions"][0]["status"] == "repaired"
    assert run("verify", store, root).exit_code == 0


def test_verify_says_that_the_source_changed(root: Path, store: Path, tmp_path: Path) -> None:
    found = run_json("verify", store, newer_source(root, tmp_path / "changed"), code=1)["sessions"]
    assert [s["status"] for s in found] == ["changed", "ok", "ok", "ok"]


def test_verify_of_no_store(tmp_path: Path) -> None:
    assert "no complete session" in sentence(run("verify", tmp_path))


# store info


def test_store_info_prints_how_it_is_stored(root: Path, made: tuple[Path, Result]) -> None:
    result = run("store", "info", made[0], root)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line for line in words(result.stdout) if line and line[0].startswith("sub-")]
    assert [(row[0], row[1], row[-2], row[-1]) for row in rows] == [(*s, "exact", "same") for s in SESSIONS]
    assert "blosc lz4-5 bitshuffle + crc32c" in result.stdout
    assert f"laion_xr {__version__}" in result.stdout


def test_store_info_as_json(root: Path, made: tuple[Path, Result]) -> None:
    store = made[0]
    found = run_json("store", "info", store)
    assert set(found) == {"laion_xr_version", "store", "sessions", "size", "problems"}
    first = found["sessions"][0]
    assert (first["trials"], first["precision"], first["source_state"]) == (20, None, "not checked")
    assert first["betas_bytes"] == 4 * first["trials"] * first["voxels"]
    assert found["size"] == sum(p.stat().st_size for p in store.rglob("*") if p.is_file())
    assert first["source_size"] == (root / first["source"]).stat().st_size


def test_store_info_of_what_is_wrong(root: Path, store: Path, tmp_path: Path) -> None:
    changed = newer_source(root, tmp_path / "changed")
    (changed / layout.session_path("sub-01", "ses-02", "betas")).unlink()
    (changed / layout.session_path("sub-01", "ses-02", "model")).unlink(missing_ok=True)
    metadata = store / "sub-03" / "ses-01" / "zarr.json"
    record = json.loads(metadata.read_text())
    record["attributes"]["laion_xr_store"].pop("complete")
    metadata.write_text(json.dumps(record))
    (store / "sub-03" / "ses-02" / "betas" / "zarr.json").write_text("{")
    found = run_json("store", "info", store, changed)
    states = [(s["complete"], s["source_state"]) for s in found["sessions"]]
    assert states == [(True, "changed"), (True, "missing"), (False, "not checked"), (False, "not checked")]
    assert [word for p in found["problems"] for word in ("another", "not complete", "cannot be read") if word in p] == [
        "another",
        "not complete",
        "cannot be read",
    ]
    assert "Problem:" in run("store", "info", store).stdout


def test_store_info_of_no_store(tmp_path: Path) -> None:
    assert "is not a store" in sentence(run("store", "info", tmp_path))


def test_codec_in_words() -> None:
    assert codec_text([{"name": "bytes", "configuration": {"endian": "little"}}]) == "none"
    assert codec_text([{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1}}]) == "zstd"
