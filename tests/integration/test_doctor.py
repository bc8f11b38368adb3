"""`laion-xr doctor` finds what was broken on purpose, and the command that it names mends it."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
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


def break_last_byte(root: Path) -> Path:
    return break_last_byte_of(next(root.rglob("sub-03_ses-02*stat-effect*.nii.gz")))


def break_last_byte_of(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # its size stays
    path.write_bytes(data)
    return path


def cut(pattern: str, left: int) -> Any:
    def broken(root: Path) -> Path:
        path = next(root.rglob(pattern))
        path.write_bytes(path.read_bytes()[:left])
        return path

    return broken


def gone(pattern: str) -> Any:
    def broken(root: Path) -> Path:
        path = next(root.rglob(pattern))
        path.unlink()
        return path

    return broken


def gone_with_its_folder(root: Path) -> Path:
    path = next(root.rglob("sub-03*desc-brain_mask.nii.gz"))
    shutil.rmtree(root / "derivatives" / "anatomical" / "sub-03")
    return path


BROKEN = {
    "short": break_short,
    "pointer": break_pointer,
    "half": break_half,
    "empty": break_empty,
    "last byte": break_last_byte,
    "betas gone": gone("sub-03_ses-02*stat-effect*.nii.gz"),
    "trials gone": gone("sub-03_ses-02*_trials.tsv"),
    "mask gone": gone("sub-03*desc-brain_mask.nii.gz"),
    "anatomical folder gone": gone_with_its_folder,
    "ROI cut": cut("sub-03*label-FFA1_mask.nii.gz", 50),
    "model cut": cut("sub-03*_model.h5", -100),
    "metadata of nonsense": lambda root: _written(root / "stimuli" / "task-images_metadata.csv", "a"),
    "embeddings cut": cut("*CLIP_embeddings.h5", 900),
    "embeddings of nonsense": lambda root: _written(
        root / "stimuli" / "task-images_desc-CLIP_embeddings.h5", "a" * 999
    ),
}


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_found_and_mended(here: Path, tiny: Any, broken: Any) -> None:
    path = broken(here)
    code, found = doctor(here)
    assert code == 1
    finding = next(f for f in found["broken"] if f["path"] == path.relative_to(here).as_posix())
    words = shlex.split(finding["run"])
    assert words[0] == "laion-xr"
    assert words[1].startswith("download")
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
    said = [text for text in shown.splitlines() if not text.startswith("  run: ")]
    assert sum(pointer.name in text for text in said) == 1
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


def test_images_that_are_cut(here: Path) -> None:
    path = here / "stimuli" / "task-images_stimuli.h5"
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (5,), h5py.vlen_dtype(np.uint8))
        images[0] = np.arange(200, dtype=np.uint8)
    assert doctor(here)[0] == 0
    path.write_bytes(path.read_bytes()[:1000])
    code, found = doctor(here)
    assert code == 1
    assert [(f["path"], f["run"]) for f in found["broken"]] == [
        ("stimuli/task-images_stimuli.h5", f"laion-xr download-stimuli {here}")
    ]


def test_a_plain_file_that_is_cut(here: Path) -> None:
    packed = next(here.rglob("sub-03_ses-01*stat-effect*.nii.gz"))
    plain = packed.with_suffix("")
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert doctor(here)[0] == 0
    plain.write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
    code, found = doctor(here)
    assert code == 1
    assert [f["path"] for f in found["broken"]] == [plain.relative_to(here).as_posix()]
    assert "truncated" in found["broken"][0]["problem"]


def test_files_of_several_members_are_whole(here: Path, tiny: Any) -> None:
    path = next(here.rglob("sub-03_ses-01*stat-effect*.nii.gz"))
    data = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(data[:5000]) + gzip.compress(data[5000:]))
    found = xr.open_dataset(here, engine="laion_fmri", subject="sub-03", sessions=1).betas
    expected = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", sessions=1).betas
    np.testing.assert_array_equal(found, expected)
    for deep in ([], ["--deep"]):
        assert doctor(here, *deep)[1]["broken"] == []


def test_what_is_missing_is_said_once_for_all_sessions(here: Path) -> None:
    for session in ("01", "03"):
        next(here.rglob(f"sub-03_ses-{session}*stat-effect*.nii.gz")).unlink()
    (here / next(here.rglob("sub-03_ses-01*_model.h5"))).unlink()  # which has the betas too
    code, found = doctor(here)
    assert code == 1
    (finding,) = found["broken"]
    assert "no betas of sub-03 ses-01, ses-03 are here" in finding["problem"]
    assert shlex.split(finding["run"])[1:] == [
        "download", str(here), "--subject", "sub-03", "--session", "ses-01,ses-03", "--include", "betas"
    ]  # fmt: skip
    (subject,) = [s for s in found["subjects"] if s["subject"] == "sub-03"]
    assert sum("stat-effect" in path for path in subject["missing"]) == 2


def test_the_model_stands_for_the_betas_and_so_does_a_store(here: Path, tmp_path: Path) -> None:
    store = tmp_path / "store.zarr"
    laion_xr.ingest(here, store, subjects="sub-03", sessions=[2], progress=False)
    next(here.rglob("sub-03_ses-01*stat-effect*.nii.gz")).unlink()  # its model is here
    next(here.rglob("sub-03_ses-02*stat-effect*.nii.gz")).unlink()
    found = doctor(here)[1]
    assert ["no betas of sub-03 ses-02 are here" in finding["problem"] for finding in found["broken"]] == [True]
    assert any("no betas of sub-03 ses-01 are here, and the GLMsingle model has them too" in n for n in found["notes"])
    found = doctor(here, "--store", store)[1]
    assert not any("no betas" in finding["problem"] for finding in found["broken"])
    assert any("no betas of sub-03 ses-02 are here, and the store has them too" in note for note in found["notes"])


def test_what_was_not_downloaded_is_told_and_is_not_broken(here: Path) -> None:
    shutil.rmtree(here / "derivatives" / "glmsingle-tedana" / "sub-03" / "ses-02")
    for path in (here / "stimuli").glob("*"):
        path.unlink()
    for path in here.rglob("sub-03*R2mean*"):
        path.unlink()
    shutil.rmtree(here / "derivatives" / "rois" / "sub-03")
    code, found = doctor(here)
    assert (code, found["broken"]) == (0, [])
    told = "\n".join(found["notes"])
    for part in (
        f"sub-03 has gaps: ses-02 are not here: laion-xr download {here} --subject sub-03 --session ses-02",
        f"embeddings of CLIP, DINOv2, PEcore, SigLIP2 (laion-xr download-embeddings {here} --model CLIP,DINOv2",
        f"captions (laion-xr download-captions {here})",
        f"the images (laion-xr download-stimuli {here})",
        "the stimulus table (laion-xr download",
        f"sub-03 has no r2_mean here: laion-xr download {here} --subject sub-03 --session averages",
        "sub-03 has no ROIs here",
    ):
        assert part in told


def test_remote_tells_what_is_not_here(here: Path, tiny: Any) -> None:
    roi = next(here.rglob("sub-03*label-FFA1_mask.nii.gz"))
    roi.unlink()
    betas = next(here.rglob("sub-03_ses-01*stat-effect*.nii.gz"))
    betas.unlink()
    next(here.rglob("sub-03_ses-01*_model.h5")).unlink()
    shutil.rmtree(here / "derivatives" / "glmsingle-tedana" / "sub-03" / "ses-03")
    remote = ["--remote", "--source", tiny.root]
    code, found = doctor(here, *remote)
    assert code == 1
    assert [f["path"] for f in found["broken"]] == [betas.relative_to(here).as_posix()]
    (one,) = [note for note in found["notes"] if roi.name in note]
    assert "sub-03: 1 file is in" in one
    assert any("sub-03: 1 session is in" in note and "--session ses-03" in note for note in found["notes"])
    for note in found["notes"]:
        if note.startswith("sub-03: 1 "):
            command = note.rpartition(": laion-xr ")[2]
            mended = CliRunner().invoke(app, [*shlex.split(command), "--accept-license"])
            assert mended.exit_code == 0, mended.output
    assert roi.read_bytes() == (tiny.root / roi.relative_to(here)).read_bytes()
    mended = CliRunner().invoke(app, [*shlex.split(found["broken"][0]["run"])[1:], "--accept-license"])
    assert mended.exit_code == 0, mended.output
    code, found = doctor(here, *remote)
    assert code == 0
    assert not any(f"in {tiny.root}" in note for note in found["notes"])


def test_the_command_mends_one_file_and_brings_no_other(here: Path, tiny: Any) -> None:
    shutil.rmtree(here / "derivatives" / "glmsingle-tedana" / "sub-03" / "ses-02")
    path = break_last_byte_of(next(here.rglob("sub-03*label-FFA1_mask.nii.gz")))
    (finding,) = doctor(here, "--deep")[1]["broken"]
    arguments = [*shlex.split(finding["run"])[1:], "--source", str(tiny.root), "--accept-license", "--json"]
    done = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert done["fetched"] == [path.relative_to(here).as_posix()]
    assert doctor(here, "--deep")[1]["broken"] == []


def test_every_file_of_a_simulated_dataset_is_whole(dataset_root: Path) -> None:
    """With all kinds of files of the layout."""
    for deep in ([], ["--deep"]):
        code, found = doctor(dataset_root, *deep)
        assert (code, found["broken"]) == (0, [])


@pytest.mark.parametrize(
    ("pattern", "deep"),
    [
        ("*_mask.func.gii", False),
        ("*_mask.label", True),
        ("*desc-captions.csv", False),
        ("*segmentations_metadata.csv", True),
    ],
)
def test_other_files_that_are_cut(dataset_root: Path, tmp_path: Path, pattern: str, deep: bool) -> None:
    shutil.copytree(dataset_root, tmp_path / "data")
    path = next((tmp_path / "data").rglob(pattern))
    path.write_bytes(path.read_bytes()[:130])
    code, found = doctor(tmp_path / "data", *(["--deep"] if deep else []))
    assert code == 1
    assert path.relative_to(tmp_path / "data").as_posix() in {f["path"] for f in found["broken"]}


def test_sidecars_that_are_no_json(here: Path) -> None:
    path = here / "derivatives" / "glmsingle-tedana" / "sub-03" / "ses-01" / "func" / "sub-03_a.json"
    path.write_text('{"a":')
    assert [(f["path"], f["problem"][:13]) for f in doctor(here)[1]["broken"]] == [
        (path.relative_to(here).as_posix(), "it is no JSON")
    ]
