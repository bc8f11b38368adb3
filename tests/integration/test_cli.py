"""The command line, end to end: what it prints, the exit codes, and that an error is one sentence."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from PIL import Image
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner, Result

import laion_xr.cli.demo_data as demo_data_module
from laion_xr import __version__, layout
from laion_xr.cli import app, demo_analysis, info, screen
from laion_xr.cli import simulate as simulate_command
from laion_xr.cli.demo_data import MARKER, SETTINGS, SUBJECT, demo_data
from laion_xr.errors import CacheWarning, IncompleteDataWarning, SelectionError
from laion_xr.simulate import Truth, simulate

SMALL = {"sessions": 3, "trials": 24, "grid": 14, "seed": 0, "surfaces": False, "image_size": 16}
SESSION_KEYS = {"session", "trials", "runs", "stimuli", "shared_trials", "size", "present", "missing"}
SUBJECT_KEYS = {
    *("subject", "size", "files", "trials", "voxels", "grid", "mask_source", "noise_ceiling", "sessions"),
    *("absent_sessions", "maps", "rois", "missing", "problems"),
}


def run(*arguments: object, **environment: str) -> Result:
    """Run the command line in this process, away from the configuration and the cache of whoever runs the tests."""
    nowhere = {"LAION_XR_DATA_DIR": "", "XDG_CONFIG_HOME": "/nonexistent", "COLUMNS": "100"}
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={**nowhere, **environment})
    assert "Traceback" not in result.output
    return result


def run_json(*arguments: object, **environment: str) -> dict:
    result = run(*arguments, "--json", **environment)
    assert (result.exit_code, result.stderr) == (0, "")
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
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return simulate(tmp_path_factory.mktemp("complete") / "root", subjects=["sub-01", "sub-03"], **SMALL)


@pytest.fixture(scope="module")
def half(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A half-downloaded root: pieces missing, and some that cannot be used."""
    root = tmp_path_factory.mktemp("half") / "root"
    shutil.copytree(truth.root, root)
    shutil.rmtree(root / layout.session_dir("sub-01", "ses-02").removesuffix("/func"))
    for kind in ("betas", "trials", "hrf_index"):
        (root / layout.session_path("sub-01", "ses-03", kind)).unlink()
    (root / layout.brain_mask_path("sub-01")).unlink()
    shutil.rmtree(root / layout.roi_dir("sub-01"))
    table = root / layout.session_path("sub-03", "ses-01", "trials")
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    (root / layout.session_path("sub-03", "ses-02", "trials")).unlink()
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 9\n"
    (root / layout.roi_path("sub-03", "face", "FFA1")).write_text(pointer)
    (root / layout.stimulus_path("images")).unlink()
    (root / layout.embedding_path("PEcore")).unlink()
    return root


# the app itself


def test_version_and_help() -> None:
    assert run("--version").stdout == f"laion-xr {__version__}\n"
    for command in ([], ["demo"], ["info"], ["simulate"]):
        result = run(*command, "--help")
        assert result.exit_code == 0
        assert "Examples" in result.stdout or not command


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["info", "--nonsense"],
        ["simulate"],
        ["info", ".", "-o", "novalue"],
        ["simulate", "x", "--grid", "3,4"],
        ["simulate", "x", "--trials", "many"],
    ],
)
def test_usage_errors_are_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_script_runs_as_a_program(truth: Truth) -> None:
    command = [sys.executable, "-m", "laion_xr.cli"]
    done = subprocess.run([*command, "info", truth.root, "--json"], capture_output=True, text=True, check=True)
    assert [s["subject"] for s in json.loads(done.stdout)["subjects"]] == ["sub-01", "sub-03"]
    failed = subprocess.run([*command, "info", truth.root, "sub-02"], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("Error: Subject 'sub-02'")


def test_starting_loads_nothing_heavy() -> None:
    code = "import sys, laion_xr; old = set(sys.modules); import laion_xr.cli; print(*sorted(set(sys.modules) - old))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = done.stdout.split()
    assert "laion_xr.cli.commands" in new
    heavy = ("matplotlib", "xarray", "dask", "nibabel", "h5py", "pandas", "laion_xr.simulate", "laion_xr.cli.info")
    assert [name for name in new if name.startswith(heavy)] == []


def test_interrupt_is_130_and_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "run", interrupt)
    result = run("info", "x")
    assert (result.exit_code, result.output) == (130, "")


def test_unexpected_errors_are_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(info, "run", fault)
    assert "RuntimeError: two lines" in sentence(run("info", "x"))
    for arguments in (["info", "x", "--debug"], ["--debug", "info", "x"]):
        assert isinstance(CliRunner().invoke(app, arguments).exception, RuntimeError)


def test_warnings_become_notes(capsys: pytest.CaptureFixture[str]) -> None:
    with screen.reporting():
        warnings.warn("no mask", IncompleteDataWarning, stacklevel=1)
    assert capsys.readouterr().err == "Note: no mask\n"


def test_a_note_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with screen.reporting():
        for text in ("no room", "no mask", "no room"):
            warnings.warn(text, CacheWarning, stacklevel=1)
    assert capsys.readouterr().err == "Note: no room\nNote: no mask\n"


# what fits on a screen


def table_of(rows: int = 2) -> Table:
    table = screen.plain_table("Sessions", "subject", ">trials of all runs", ">size", "problem")
    for i in range(rows):
        table.add_row(f"sub-{i:02d}", f"{1_234_567 + i:,}", "1.15 GB", "it has been truncated " * 3)
    return table


def test_what_is_no_terminal_has_no_edge(capsys: pytest.CaptureFixture[str]) -> None:
    long = "/data/" + "a_rather_long_folder_name/" * 20
    table = screen.plain_table("Paths", "path", ">size")
    table.add_row(long, "12 GB")
    screen.print_table(table)
    screen.paragraph("word " * 300)
    screen.stderr().print(long)
    out, err = capsys.readouterr()
    assert any(long in line and "12 GB" in line for line in out.splitlines())
    assert "word " * 299 in out
    assert long in err


@pytest.mark.parametrize("width", [200, 80, 60, 45])
def test_names_and_numbers_are_whole_however_narrow(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(screen, "stdout", lambda: shown)
    screen.print_table(table_of(), prose=["problem"], spare=["size"])
    text = shown.file.getvalue()
    lines = text.splitlines()
    assert max(map(len, lines)) <= width or width == 45
    for i in range(2):
        assert any(f"sub-{i:02d}" in line and f"{1_234_567 + i:,}" in line for line in lines)
    assert "…" not in text
    assert text.count("truncated") == 6
    assert ("1.15 GB" in text) == ("Too narrow for size" not in text)


def test_columns_are_left_out_one_by_one_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Console(file=io.StringIO(), force_terminal=True, width=30, color_system=None)
    monkeypatch.setattr(screen, "stdout", lambda: shown)
    table = screen.plain_table("T", *"abcd")
    table.add_row(*("x" * 10 for _ in "abcd"), style="red")
    screen.print_table(table, spare=["c", "b"])
    text = shown.file.getvalue()
    assert [line.split() for line in text.splitlines() if "x" in line] == [["x" * 10, "x" * 10]]
    assert "Too narrow for c, b: widen the terminal, or use --json." in " ".join(text.split())


# info


def test_info_of_a_root(truth: Truth) -> None:
    result = run("info", truth.root)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = words(result.stdout)
    for subject in truth.subjects.values():
        n_voxels = f"{len(subject.voxels):,}"
        row = next(line for line in lines if line[:1] == [subject.name])
        assert row[1:7] == ["3", "3", "72", n_voxels, str(len(subject.rois)), "0"]
    assert "missing" not in result.stdout.partition("Stimuli")[2]


def test_info_of_a_subject(truth: Truth) -> None:
    for subject in ("sub-03", "03", "3"):
        result = run("info", truth.root, subject)
        assert result.exit_code == 0
        lines = words(result.stdout)
        shared = truth["sub-03"].trials["ses-01"]["label"].str.startswith("shared").sum()
        assert next(line for line in lines if line[:1] == ["ses-01"])[1:5:3] == ["24", str(shared)]
        inside = len(truth["sub-03"].positions(truth["sub-03"].rois["FFA1"]))
        assert next(line for line in lines if "FFA1" in line)[-2] == str(inside)


def test_info_json(truth: Truth) -> None:
    report = run_json("info", truth.root)
    assert set(report) == {"root", "simulated", "subjects", "stimuli", "problems", "laion_xr_version"}
    assert (report["root"], report["simulated"], report["problems"]) == (str(truth.root), True, [])
    assert [s["subject"] for s in report["subjects"]] == list(truth.subjects)
    for subject in report["subjects"]:
        known = truth[subject["subject"]]
        assert set(subject) == SUBJECT_KEYS
        assert (subject["trials"], subject["voxels"]) == (72, len(known.voxels))
        assert (subject["missing"], subject["problems"], subject["absent_sessions"]) == ([], [], [])
        assert all(set(s) == SESSION_KEYS for s in subject["sessions"])
        assert {r["roi"]: r["voxels"] for r in subject["rois"]} == {
            roi: len(known.positions(ids)) for roi, ids in known.rois.items()
        }
        ffa = next(r for r in subject["rois"] if r["roi"] == "FFA1")
        ceiling = np.nanmedian(known.noise_ceiling["12rep"][known.positions(known.rois["FFA1"])])
        assert ffa["noise_ceiling"] == pytest.approx(ceiling, abs=0.01)
    stimuli = report["stimuli"]
    assert (stimuli["images"], stimuli["models"]) == (len(truth.stimuli.metadata), list(layout.EMBEDDING_MODELS))
    assert all((truth.root / f["path"]).stat().st_size == f["size"] for f in stimuli["files"])


def test_rois_are_in_one_order_everywhere(truth: Truth) -> None:
    ds = xr.open_dataset(truth.root, engine="laion_fmri", subject="sub-03")
    order = ds.laion.info().rois.index.tolist()
    found = json.loads(run("info", truth.root, "sub-03", "--json").stdout)
    assert [roi["roi"] for roi in found["subjects"][0]["rois"]] == order
    assert order.index("mfswords") < order.index("VWFA1")
    rows = [line.split() for line in run("info", truth.root, "sub-03").stdout.splitlines()]
    assert [name for row in rows for name in row[:2] if name in order] == order


def test_info_of_half_a_root(half: Path) -> None:
    overview = run("info", half)
    assert overview.exit_code == 0
    assert "Problem: " in overview.stdout
    report = run_json("info", half)
    one, three = report["subjects"]
    assert one["absent_sessions"] == ["ses-02"]
    assert {s["session"]: s["missing"] for s in one["sessions"]} == {
        "ses-01": [],
        "ses-03": ["betas", "hrf_index", "trials"],
    }
    assert (one["mask_source"], one["rois"]) == ("rsquare", [])
    assert layout.brain_mask_path("sub-01") in one["missing"]
    # the table is gone, the volumes can be counted; the pointer is a problem of its own
    assert {s["session"]: s["trials"] for s in three["sessions"]} == {"ses-01": 23, "ses-02": 24, "ses-03": 24}
    assert [r["roi"] for r in three["rois"] if r["voxels"] is None] == ["FFA1"]
    few, pointer = sorted(three["problems"], key=lambda p: "too few rows" not in p)
    assert "expected 24" in few
    assert "git-LFS" in pointer
    assert {f["kind"] for f in report["stimuli"]["files"] if f["size"] is None} == {"images", "embedding_PEcore"}
    closely = run("info", half, "sub-01")
    rows = {line[0]: line[-1] for line in words(closely.stdout) if line and line[0].startswith("ses-")}
    assert rows == {"ses-01": "-", "ses-02": "everything", "ses-03": "trials"}
    assert "ROIs: none here" in closely.stdout


def test_info_of_stimuli_alone(truth: Truth, tmp_path: Path) -> None:
    shutil.copytree(truth.root / "stimuli", tmp_path / "stimuli")
    result = run("info", tmp_path)
    assert result.exit_code == 0
    assert "only stimuli are here" in result.stdout


def test_info_of_an_interrupted_simulation(truth: Truth, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(truth.root, root, ignore=shutil.ignore_patterns("sub-01", "*.h5"))
    description = root / "dataset_description.json"
    description.write_text(description.read_text().replace('"Complete": true', '"Complete": false'))
    assert "was interrupted: run it again with" in run("info", root).stdout


def test_info_of_a_remote_root(truth: Truth) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(truth.root), "/laion-cli", recursive=True)
    try:
        local, remote = run_json("info", truth.root, "sub-01"), run_json("info", "memory://laion-cli", "sub-01")
    finally:
        memory.rm("/laion-cli", recursive=True)
    assert remote["root"] == "memory://laion-cli"
    assert remote["subjects"] == local["subjects"]
    assert remote["stimuli"] == local["stimuli"]


def test_info_without_a_root(truth: Truth) -> None:
    configured = {"LAION_XR_DATA_DIR": str(truth.root)}
    assert run_json("info", **configured)["root"] == str(truth.root)
    assert [s["subject"] for s in run_json("info", "sub-03", **configured)["subjects"]] == ["sub-03"]
    folder = truth.root / layout.subject_dir("sub-03")
    assert [s["subject"] for s in run_json("info", folder)["subjects"]] == ["sub-03"]
    assert "another one" in sentence(run("info", folder, "sub-01"))
    assert "LAION_XR_DATA_DIR" in sentence(run("info"))


def test_info_of_what_is_not_there(truth: Truth, tmp_path: Path) -> None:
    assert "does not hold the LAION-fMRI dataset" in sentence(run("info", tmp_path))
    (tmp_path / "derivatives" / "fmriprep" / "sub-01").mkdir(parents=True)
    (tmp_path / "stimuli").mkdir()
    assert "does not hold the LAION-fMRI dataset" in sentence(run("info", tmp_path))
    assert "does not hold the LAION-fMRI dataset" in sentence(run("info", tmp_path / "nowhere"))
    assert "Did you mean 'sub-03'" in sentence(run("info", truth.root, "sub-3x"))
    assert run("info", tmp_path, "--json").stdout == ""


def test_storage_options() -> None:
    given = ["anon=true", "n=3", "key=a=b", 'client_kwargs={"a": 1}', "x=True", "empty="]
    expected = {"anon": True, "n": 3, "key": "a=b", "client_kwargs": {"a": 1}, "x": True, "empty": ""}
    assert info.options(given) == expected


# simulate


def test_simulate(tmp_path: Path) -> None:
    root = tmp_path / "data"
    arguments = ["simulate", root, "--subjects", "sub-01,03", "--subjects", "7", "--sessions", "2", "--trials", "12"]
    result = run(*arguments, "--grid", "12x13,14", "--seed", "5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "sub-01, sub-03, sub-07" in result.stdout
    report = run_json("info", root)
    assert [s["subject"] for s in report["subjects"]] == ["sub-01", "sub-03", "sub-07"]
    assert all(s["grid"] == [12, 13, 14] and s["trials"] == 24 for s in report["subjects"])
    assert "or --overwrite" in sentence(run(*arguments))
    assert run(*arguments, "--grid", "12", "--overwrite", "--no-progress").exit_code == 0


def test_simulate_never_replaces_other_data(tmp_path: Path) -> None:
    (tmp_path / "stimuli").mkdir()
    assert "not simulated" in sentence(run("simulate", tmp_path, "--overwrite"))


@pytest.mark.parametrize(
    ("given", "meaning"),
    [
        ([], None),
        (["2"], 2),
        (["0"], 0),
        (["03"], ["03"]),
        (["1,3"], ["1", "3"]),
        (["sub-01, sub-03", "7"], ["sub-01", "sub-03", "7"]),
    ],
)
def test_counts_and_names(given: list[str], meaning: object) -> None:
    assert simulate_command.count_or_names(given) == meaning


# demo


@pytest.fixture(scope="module")
def demo_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def demo_text(demo_cache: Path) -> str:
    result = run("demo", LAION_XR_CACHE=str(demo_cache))
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture(scope="module")
def demo_truth() -> Truth:
    return simulate("unused", **SETTINGS, write=False)


def test_demo_prints_dataset_table_and_picture(demo_text: str, demo_cache: Path) -> None:
    assert "<xarray.Dataset>" in demo_text
    assert "betas" in demo_text
    assert any(len(line) > 4 and "FFA1" in line for line in words(demo_text))
    assert "that the noise allows" in demo_text
    picture = demo_cache / "laion-xr-demo.png"
    assert f"Picture: {picture}\n" in demo_text
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape[0] > 800
    # something is drawn in each half
    assert all(np.ptp(part) > 100 for part in np.array_split(pixels, 2, axis=1))


def test_demo_is_kept_and_comes_near_the_ceiling(
    demo_text: str, demo_cache: Path, demo_truth: Truth, tmp_path: Path
) -> None:
    picture = tmp_path / "deep" / "picture.svg"
    found = run_json("demo", "--output", picture, LAION_XR_CACHE=str(demo_cache))
    assert not found["simulated_now"]
    assert found["picture"] == str(picture)
    assert "<svg" in picture.read_text()[:1000]
    known = demo_truth[SUBJECT]
    rois = {roi["roi"]: roi for roi in found["rois"]}
    assert set(rois) == set(known.rois)
    for name, roi in rois.items():
        ceiling = known.noise_ceiling["Allrep"][known.positions(known.rois[name])]
        if not len(ceiling):
            assert (roi["voxels"], roi["accuracy"]) == (0, None)
            continue
        assert roi["noise_ceiling"] == pytest.approx(np.nanmedian(ceiling), abs=1.5)
        assert roi["ceiling"] == pytest.approx(np.sqrt(roi["noise_ceiling"] / 100), abs=0.01)
        assert 0.9 * roi["ceiling"] < roi["accuracy"] < roi["ceiling"] + 0.02
    assert 0.94 < found["accuracy"] / found["ceiling"] < 1.01


def test_demo_accuracy_follows_the_truth(demo_text: str, demo_cache: Path, demo_truth: Truth) -> None:
    known = demo_truth[SUBJECT]
    root = demo_cache / "demo"
    with xr.open_dataset(root, engine="laion_fmri", embeddings=["CLIP"], noise_ceiling="Allrep") as ds:
        found = demo_analysis.encode(ds)
    accuracy = found.accuracy.values
    np.testing.assert_array_equal(found.accuracy.voxel.values, known.voxels)
    expected = np.sqrt(known.noise_ceiling["Allrep"] / 100)
    use = np.isfinite(accuracy) & np.isfinite(expected)
    # only voxels that lack whole sessions are left out
    assert use.mean() > 0.985
    assert np.isnan(accuracy[known.positions(known.nan_voxels)]).all()
    silent = use & (known.ncsnr == 0)
    assert abs(accuracy[silent].mean()) < 0.02
    assert np.corrcoef(accuracy[use], expected[use])[0, 1] > 0.9
    strong = use & (known.noise_ceiling["Allrep"] > 50)
    assert np.median(accuracy[strong] / expected[strong]) == pytest.approx(0.97, abs=0.03)
    # images of one subject only, each shown once, but the few without an embedding
    names = known.table["label"]
    unique = set(names[names.str.startswith("unique")])
    valid = set(np.array(demo_truth.stimuli.names)[demo_truth.stimuli.valid("CLIP")])
    assert found.n_train == len(unique & valid)
    assert found.n_test == len({n for n in names if n.startswith("shared")} & valid)


def test_demo_picture_needs_a_place(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    assert "use .png, .pdf, .svg" in sentence(run("demo", "--output", tmp_path / "x.foo", LAION_XR_CACHE=cache))
    (tmp_path / "file").write_text("")
    assert "cannot be made" in sentence(run("demo", "--output", tmp_path / "file" / "x.png", LAION_XR_CACHE=cache))
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def tiny_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Path]]:
    """The demo's dataset made tiny, in a cache of its own; the list says where it was simulated."""
    made: list[Path] = []

    def count(root: Path, **settings: object) -> None:
        made.append(root)
        simulate(root, **settings)  # type: ignore[arg-type]

    monkeypatch.setenv("LAION_XR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo_data_module, "SETTINGS", {**SMALL, "subjects": [1], "stimuli": False, "models": False})
    monkeypatch.setattr(demo_data_module, "simulate", count)
    yield made
    assert not list(tmp_path.rglob("*.partial"))


def test_two_demos_at_once_simulate_once(tiny_demo: list[Path]) -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(demo_data())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(data.new for data in found) == [False, False, True]
    assert len(tiny_demo) == 1


def test_demo_data_are_made_again_when_they_are_not_whole(
    tiny_demo: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = demo_data().root
    assert not demo_data().new
    (root / layout.brain_mask_path(SUBJECT)).unlink()
    assert demo_data().new
    monkeypatch.setattr(demo_data_module, "__version__", "another")
    assert demo_data().new
    (root / MARKER).write_text("{")
    assert demo_data().new
    assert len(tiny_demo) == 4


def test_interrupted_demo_leaves_nothing(
    tiny_demo: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(root: Path, **_: object) -> None:
        (root / "half").write_text("")
        raise KeyboardInterrupt

    # what a killed one left is swept away by the next
    (tmp_path / "cache" / ".demo.abc.partial").mkdir(parents=True)
    monkeypatch.setattr(demo_data_module, "simulate", interrupt)
    result = run("demo", LAION_XR_CACHE=str(tmp_path / "cache"))
    assert (result.exit_code, result.output) == (130, "")
    assert not (tmp_path / "cache" / "demo").exists()


def test_demo_root(tiny_demo: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert demo_data(folder) == (folder, True)
    assert demo_data(folder) == (folder, False)
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "mine"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("")
    with pytest.raises(SelectionError, match="never replaced"):
        demo_data(other)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]
    with pytest.raises(SelectionError, match="is a file"):
        demo_data(other / "thesis.txt")


# the analysis of the demo


def test_ridge_equals_its_definition() -> None:
    rng = np.random.default_rng(0)
    x, new = rng.standard_normal((40, 6)) * [1, 2, 3, 4, 5, 0] + 3, rng.standard_normal((5, 6))
    y = np.column_stack([x @ rng.standard_normal(6), rng.standard_normal(40), np.full(40, np.nan)])
    spread = np.where(x.std(0) > 0, x.std(0), 1)
    z, z_new = (x - x.mean(0)) / spread, (new - x.mean(0)) / spread
    found = demo_analysis.ridge(x, y, new)
    for target in (0, 1):
        errors, predictions = [], []
        for alpha in demo_analysis.ALPHAS:
            inverse = np.linalg.inv(z.T @ z + alpha * np.eye(6)) @ z.T
            left = (np.eye(40) - z @ inverse) @ (y[:, target] - y[:, target].mean())
            errors.append(float(left @ left) / (1 - np.trace(z @ inverse) / 40) ** 2)
            predictions.append(z_new @ inverse @ (y[:, target] - y[:, target].mean()) + y[:, target].mean())
        np.testing.assert_allclose(found[:, target], predictions[int(np.argmin(errors))], rtol=1e-8)
    assert np.isnan(found[:, 2]).all()


def test_zscore_within_sessions() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.array(["a", "b"], dtype=object), 30)
    betas = rng.standard_normal((60, 4)).astype(np.float32) * np.where(groups == "a", 1, 5)[:, None] + 2
    betas[3, 0] = np.nan
    betas[:30, 1] = np.nan
    betas[30:, 2] = 7
    found = demo_analysis.zscore_within(betas, groups)
    assert found[3, 0] == 0
    assert np.isnan(found[:, 1]).all()
    assert (found[30:, 2] == 0).all()
    expected = (betas[30:, 3] - betas[30:, 3].mean()) / betas[30:, 3].std()
    np.testing.assert_allclose(found[30:, 3], expected, rtol=1e-5)


def test_correlation_of_constants_is_nan() -> None:
    a: npt.NDArray[np.float64] = np.array([[1.0, 1], [2, 1], [3, 1]])
    np.testing.assert_allclose(demo_analysis.correlation(a, -a), [-1, np.nan])


def test_demo_needs_images_to_test_on(demo_text: str, demo_cache: Path) -> None:
    with xr.open_dataset(demo_cache / "demo", engine="laion_fmri", embeddings="CLIP", stimuli="unique") as ds:
        few = ds.isel(voxel=slice(0, 5))
        with pytest.raises(SelectionError, match="open more sessions"):
            demo_analysis.encode(few)
