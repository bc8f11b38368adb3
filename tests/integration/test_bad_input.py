"""Bad input gives one clear error: which file, what was expected and found, what to do, and nothing else."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from laion_xr.backend import LaionBackendEntrypoint
from laion_xr.errors import (
    CorruptFileError,
    DataNotDownloadedError,
    FileAccessError,
    FileFormatError,
    IncompleteDataWarning,
    LaionXRError,
    NotALaionDatasetError,
    SelectionError,
    SubjectNotFoundError,
    TrialTableError,
    UnknownLabelError,
)

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 12345\n"
ANNEX = b"/annex/objects/MD5E-s12345--2c3d4e5f60718293a4b5c6d7e8f90a1b.nii.gz\n"


def one_error(call: Callable[[], object], kind: type[LaionXRError], *parts: object) -> LaionXRError:
    """Assert that a call raises just this error, shown by itself, with every part in its message."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing else: no warning goes before it
        try:
            call()
        except LaionXRError as error:
            caught = error
        else:
            pytest.fail(f"no {kind.__name__}")
    shown = "".join(traceback.format_exception(caught))
    assert type(caught) is kind, shown
    assert shown.count("Traceback (most recent call last)") == 1, shown
    message = str(caught)
    for part in parts:
        assert str(part) in message, f"{part!r} is not in: {message}"
    return caught


def open_subject(tiny, **options: Any) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", **options)


@pytest.fixture(params=["threads", "sync"])
def scheduler(request: pytest.FixtureRequest):
    with dask.config.set(scheduler=request.param):
        yield request.param


# a file of betas that is broken: opening reads its header, computing finds out

BROKEN_BETAS = ["betas", "betas of an ROI", "array", "mean"]


def computed(tiny, how: str) -> Callable[[], object]:
    ds = open_subject(tiny)
    whole_file = ds.sel(session="ses-02")
    return {
        "betas": lambda: ds.betas.compute(),
        "betas of an ROI": lambda: whole_file.sel(roi="FFA1").betas.compute(),
        "array": lambda: np.asarray(whole_file.betas),
        "mean": lambda: ds.betas.mean("trial").compute(),
    }[how]


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize("how", BROKEN_BETAS)
def test_truncated_gzip(tiny_copy, how: str) -> None:
    path = tiny_copy.betas_file("ses-02")
    path.write_bytes(path.read_bytes()[:-2000])
    one_error(computed(tiny_copy, how), CorruptFileError, path, "truncated", "Download it again")


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize("how", BROKEN_BETAS)
@pytest.mark.parametrize("where", ["checksum", "middle"])
def test_corrupted_gzip(tiny_copy, how: str, where: str) -> None:
    path = tiny_copy.betas_file("ses-02")
    data = bytearray(path.read_bytes())
    at = len(data) - 6 if where == "checksum" else len(data) // 2
    data[at : at + 4] = bytes(b ^ 0xFF for b in data[at : at + 4])
    path.write_bytes(data)
    one_error(computed(tiny_copy, how), CorruptFileError, path, "corrupt", "Download it again")


def with_volumes(path: Path, n: int) -> None:
    """Let a file's header say that it has another number of volumes."""
    data = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<h", data, 48, n)
    path.write_bytes(gzip.compress(data))


@pytest.mark.usefixtures("scheduler")
@pytest.mark.parametrize(
    ("volumes", "kind", "word"), [(20, CorruptFileError, "shorter"), (11, FileFormatError, "longer")]
)
def test_header_that_lies_about_its_size(tiny_copy, volumes: int, kind: type[LaionXRError], word: str) -> None:
    path = tiny_copy.betas_file("ses-02")
    with_volumes(path, volumes)
    table = pd.read_csv(tiny_copy.trials_file("ses-02"), sep="\t")
    pd.concat([table, table]).iloc[:volumes].assign(beta_index=range(volumes)).to_csv(
        tiny_copy.trials_file("ses-02"), sep="\t", index=False
    )
    parts = (path, f"{word} than its header says", f"expected {volumes} volumes", "found 17", "Download it again")
    one_error(lambda: open_subject(tiny_copy).betas.compute(), kind, *parts)


@pytest.mark.parametrize(("rows", "word"), [(16, "too few"), (19, "too many")])
def test_trial_table_that_does_not_fit(tiny_copy, rows: int, word: str) -> None:
    path = tiny_copy.trials_file("ses-02")
    table = pd.read_csv(path, sep="\t")
    pd.concat([table, table]).iloc[:rows].assign(beta_index=range(rows)).to_csv(path, sep="\t", index=False)
    parts = (path, tiny_copy.betas_file("ses-02"), word, "expected 17", f"found {rows}", "download both again")
    one_error(lambda: open_subject(tiny_copy), TrialTableError, *parts)
    # the other sessions can be opened without it
    assert open_subject(tiny_copy, sessions=[1, 3]).sizes["trial"] == 29


@pytest.mark.parametrize(
    ("text", "kind", "parts"),
    [
        ("", FileFormatError, ["empty", "header line"]),
        ("run\timage\n1\ta.jpg\n", TrialTableError, ["expected a column 'label'", "found run, image"]),
        ("run\tlabel\n1\ta.jpg\n2\n", FileFormatError, ["line 3", "expected 2 cells, found 1"]),
        ("run\tlabel\none\ta.jpg\n", TrialTableError, ["a run that is not a whole number", "'one'"]),
        (LFS.decode(), FileFormatError, ["git-LFS pointer", "git lfs pull"]),
        ('run\tlabel\n1\t"a.jpg\n', FileFormatError, ["line", "not a table"]),
        ("run\tlabel\n\0\0\0", FileFormatError, ["binary data"]),
    ],
)
def test_broken_trial_table(tiny_copy, text: str, kind: type[LaionXRError], parts: list[str]) -> None:
    path = tiny_copy.trials_file("ses-02")
    path.write_text(text)
    one_error(lambda: open_subject(tiny_copy), kind, path, *parts)


@pytest.mark.parametrize("shape", [(7, 6, 5), (6, 7, 6), (12, 14, 10)])
def test_mask_of_another_shape(tiny_copy, shape: tuple[int, int, int]) -> None:
    path = tiny_copy.mask_file()
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), np.eye(4)), path)
    parts = ("(6, 7, 5)", shape, "ses-01", "expected the same", "download both again")
    one_error(lambda: open_subject(tiny_copy), FileFormatError, *parts)


def test_one_session_of_another_shape(tiny_copy) -> None:
    path = tiny_copy.betas_file("ses-02")
    nib.save(nib.Nifti1Image(np.zeros((5, 7, 6, 17), np.float32), np.eye(4)), path)
    one_error(lambda: open_subject(tiny_copy), FileFormatError, path, "(5, 7, 6)", "(6, 7, 5)", "expected the same")


def test_roi_of_another_shape(tiny_copy) -> None:
    path = tiny_copy.roi_file("face", "FFA1")
    nib.save(nib.Nifti1Image(np.ones((7, 6, 5), np.uint8), np.eye(4)), path)
    one_error(lambda: open_subject(tiny_copy), FileFormatError, path, "expected", "(6, 7, 5)", "found", "(7, 6, 5)")


def test_map_of_another_shape(tiny_copy) -> None:
    path = tiny_copy.session_file("ses-02", "space-T1w_desc-Fracridge_statmap.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((7, 6, 5), np.float32), np.eye(4)), path)
    ds = open_subject(tiny_copy)
    one_error(lambda: ds.frac_ridge.compute(), FileFormatError, path, "expected", "(6, 7, 5)", "found", "(7, 6, 5)")


@pytest.mark.parametrize(
    ("pointer", "parts"), [(LFS, ("git-LFS", "git lfs pull")), (ANNEX, ("git-annex", "annex get"))]
)
@pytest.mark.parametrize("which", ["betas", "mask", "roi", "ceiling", "metadata", "embeddings", "model"])
def test_pointer_instead_of_a_file(tiny_copy, pointer: bytes, parts: tuple[str, str], which: str) -> None:
    path, options = {
        "betas": (tiny_copy.betas_file("ses-02"), {}),
        "mask": (tiny_copy.mask_file(), {}),
        "roi": (tiny_copy.roi_file("face", "FFA1"), {}),
        "ceiling": (tiny_copy.subject_file("desc-Noiseceiling12rep_statmap.nii.gz"), {}),
        "metadata": (tiny_copy.metadata_file, {}),
        "embeddings": (tiny_copy.embeddings_file(), {"embeddings": "CLIP"}),
        "model": (tiny_copy.model_file("ses-01"), {"source": "hdf5", "sessions": 1}),
    }[which]
    path.write_bytes(pointer)
    one_error(lambda: open_subject(tiny_copy, **options), FileFormatError, path, "pointer", *parts)


def test_annex_link_that_was_not_fetched(tiny_copy) -> None:
    path = tiny_copy.betas_file("ses-02")
    path.unlink()
    path.symlink_to(".git/annex/objects/XX/YY/KEY/KEY")
    one_error(
        lambda: open_subject(tiny_copy), DataNotDownloadedError, path, "link to data that was not fetched", "annex"
    )


@pytest.mark.parametrize("which", ["betas", "mask", "model", "embeddings"])
def test_empty_file(tiny_copy, which: str) -> None:
    path, options = {
        "betas": (tiny_copy.betas_file("ses-02"), {}),
        "mask": (tiny_copy.mask_file(), {}),
        "model": (tiny_copy.model_file("ses-01"), {"source": "hdf5", "sessions": 1}),
        "embeddings": (tiny_copy.embeddings_file(), {"embeddings": "CLIP"}),
    }[which]
    path.write_bytes(b"")
    one_error(
        lambda: open_subject(tiny_copy, **options), CorruptFileError, path, "empty (0 bytes)", "download it again"
    )


@pytest.mark.parametrize("which", ["betas", "mask", "model", "embeddings"])
def test_file_of_something_else(tiny_copy, which: str) -> None:
    path, options = {
        "betas": (tiny_copy.betas_file("ses-02"), {}),
        "mask": (tiny_copy.mask_file(), {}),
        "model": (tiny_copy.model_file("ses-01"), {"source": "hdf5", "sessions": 1}),
        "embeddings": (tiny_copy.embeddings_file(), {"embeddings": "CLIP"}),
    }[which]
    path.write_bytes(b"<html><body>404 Not Found</body></html>" * 50)
    one_error(
        lambda: open_subject(tiny_copy, **options), FileFormatError, path, "is not a", "<html>", "ownload it again"
    )


def test_truncated_header(tiny_copy) -> None:
    path = tiny_copy.betas_file("ses-02")
    path.write_bytes(path.read_bytes()[:60])
    one_error(lambda: open_subject(tiny_copy), CorruptFileError, path, "truncated", "Download it again")


def test_truncated_model_and_embeddings(tiny_copy) -> None:
    for path in (tiny_copy.model_file("ses-01"), tiny_copy.embeddings_file()):
        path.write_bytes(path.read_bytes()[:3000])
    parts = ("truncated or damaged", "Download it again")
    call = lambda: open_subject(tiny_copy, source="hdf5", sessions=1)  # noqa: E731
    one_error(call, CorruptFileError, tiny_copy.model_file("ses-01"), *parts)
    call = lambda: open_subject(tiny_copy, embeddings="CLIP")  # noqa: E731
    one_error(call, CorruptFileError, tiny_copy.embeddings_file(), *parts)


def test_model_file_without_betas_or_of_unknown_rows(tiny_copy) -> None:
    path = tiny_copy.model_file("ses-01")
    call = lambda: open_subject(tiny_copy, source="hdf5", sessions=1).betas.compute()  # noqa: E731
    with h5py.File(path, "w") as file:
        file["something"] = [1]
    one_error(call, FileFormatError, path, "no array 'betasmd'", "something")
    with h5py.File(path, "w") as file:
        file["betasmd"] = np.zeros((9, 14), np.float32)
    one_error(call, FileFormatError, path, "which voxel each of its 9 rows is cannot be known", 'source="nifti"')


def test_embeddings_file_of_something_else(tiny_copy) -> None:
    path = tiny_copy.embeddings_file()
    call = lambda: open_subject(tiny_copy, embeddings="CLIP")  # noqa: E731
    with h5py.File(path, "w") as file:
        file["vectors"] = [[1.0]]
    one_error(call, FileFormatError, path, "no array 'embedding'", "found vectors", "download it again")
    with h5py.File(path, "w") as file:
        file["embedding"] = np.zeros((2, 3), np.float16)
        file["image_ids"] = ["a.jpg", "a.jpg"]
    one_error(call, FileFormatError, path, "'a.jpg' more than once", "download it again")


def test_metadata_of_something_else(tiny_copy) -> None:
    tiny_copy.metadata_file.write_text("name,kind\na.jpg,x\n")
    parts = (tiny_copy.metadata_file, "expected a column 'image_name'", "found name, kind", "download it again")
    one_error(lambda: open_subject(tiny_copy), FileFormatError, *parts)


# files that may not be read; the tests may run as root, who may read everything


def refuse(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    opener, refused = open, {str(p) for p in paths}

    def guarded(file: Any, *args: Any, **kwargs: Any) -> Any:
        if str(file) in refused:
            raise PermissionError(13, "Permission denied", str(file))
        return opener(file, *args, **kwargs)

    monkeypatch.setattr("builtins.open", guarded)


@pytest.mark.parametrize("which", ["betas", "mask", "roi", "metadata"])
def test_permission_denied(tiny_copy, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = {
        "betas": tiny_copy.betas_file("ses-02"),
        "mask": tiny_copy.mask_file(),
        "roi": tiny_copy.roi_file("face", "FFA1"),
        "metadata": tiny_copy.metadata_file,
    }[which]
    refuse(monkeypatch, path)
    parts = (path, "may not be read", "permission denied", "check its permissions")
    one_error(lambda: open_subject(tiny_copy, sessions="ses-02"), FileAccessError, *parts)


def test_permission_denied_while_computing(tiny_copy, monkeypatch: pytest.MonkeyPatch) -> None:
    ds, path = open_subject(tiny_copy), tiny_copy.betas_file("ses-02")
    refuse(monkeypatch, path)
    one_error(lambda: ds.betas.compute(), FileAccessError, path, "permission denied", "check its permissions")
    assert ds.betas.sel(session="ses-01").compute().sizes["trial"] == 14


def test_permission_denied_of_every_session(tiny_copy, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tiny_copy.betas_file(s) for s in tiny_copy.sessions()]
    refuse(monkeypatch, *paths)
    one_error(lambda: open_subject(tiny_copy), FileAccessError, paths[0], "permission denied", "check its permissions")


def test_session_that_is_held_out_is_left_out_with_a_warning(tiny_copy, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, tiny_copy.betas_file("ses-02"), tiny_copy.trials_file("ses-02"))
    with pytest.warns(IncompleteDataWarning, match=r"ses-02 is left out: .*may not be read.*Held-out") as caught:
        found = open_subject(tiny_copy)
    assert len(caught) == 1
    assert found.ses.values.tolist() == ["ses-01", "ses-03"]
    np.testing.assert_array_equal(found.betas, tiny_copy.matrix(sessions=["ses-01", "ses-03"]))


def test_table_that_may_not_be_read_leaves_trials_without_labels(tiny_copy, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, tiny_copy.trials_file("ses-02"))
    with pytest.warns(IncompleteDataWarning, match="no trial table that can be read") as caught:
        found = open_subject(tiny_copy)
    assert len(caught) == 1
    assert found.trial.values.tolist() == list(range(46))
    assert set(found.sel(session="ses-02").stimulus.values) == {""}


def test_folder_that_may_not_be_listed(tiny_copy, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir, folder = os.scandir, str(tiny_copy.folder("sub-03", "ses-02"))

    def guarded(path: Any) -> Any:
        if str(path) == folder:
            raise PermissionError(13, "Permission denied", folder)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    one_error(lambda: open_subject(tiny_copy), FileAccessError, folder, "may not be listed", "permission denied")


# places that hold no dataset


@pytest.mark.parametrize("where", ["empty", "other", "nowhere", "file", "empty subject folder"])
def test_folder_without_the_dataset(tmp_path: Path, where: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "derivatives" / "fmriprep" / "sub-03").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty subject folder" / "derivatives" / "glmsingle-tedana").mkdir(parents=True)
    root = tmp_path / where
    parts = (root, "does not hold the LAION-fMRI dataset", "expected", "derivatives/glmsingle-tedana", "check the root")
    one_error(lambda: xr.open_dataset(root, engine="laion_fmri"), NotALaionDatasetError, *parts)
    one_error(lambda: xr.open_datatree(root, engine="laion_fmri"), NotALaionDatasetError, *parts)
    assert LaionBackendEntrypoint().guess_can_open(root) == (where == "empty subject folder")


def test_subject_without_any_file(tiny_copy) -> None:
    shutil.rmtree(tiny_copy.folder("sub-03"))
    tiny_copy.folder("sub-03").mkdir()
    parts = ("No session of sub-03 has betas", tiny_copy.folder("sub-03"), "expected", "download")
    one_error(lambda: open_subject(tiny_copy), DataNotDownloadedError, *parts)


def test_session_without_betas(tiny_copy) -> None:
    path = tiny_copy.betas_file("ses-02")
    path.unlink()
    parts = (path, "not there", "download", "ses-01, ses-03")
    one_error(lambda: open_subject(tiny_copy, sessions=["ses-01", "ses-02"]), DataNotDownloadedError, *parts)


def test_file_that_goes_away_after_opening(tiny_copy) -> None:
    ds, path = open_subject(tiny_copy), tiny_copy.betas_file("ses-02")
    path.unlink()
    one_error(lambda: ds.betas.compute(), DataNotDownloadedError, path, "is not there", "download it")


# names that do not exist

UNKNOWN = {
    "roi": ("FFA3", "FFA1", lambda d: d.sel(roi="FFA3")),
    "roi in a list": ("FFA3", "FFA1", lambda d: d.sel(roi=["OFA", "FFA3"])),
    "roi in an expression": ("facee", "face", lambda d: d.sel(roi="facee - FFA1")),
    "roi of another case": ("ffa1", "FFA1", lambda d: d.betas.sel(roi="ffa1")),
    "session": ("ses-1O", "ses-01", lambda d: d.sel(session="ses-1O")),
    "session number": ("9", "ses-01, ses-02, ses-03", lambda d: d.sel(session=9)),
    "session in a list": ("ses-04", "ses-03", lambda d: d.betas.sel(session=["ses-01", "ses-04"])),
    "stimulus": (
        "shared_12rep_LAION_cluster_1003_i0.png",
        "shared_12rep_LAION_cluster_1003_i0.jpg",
        lambda d: d.sel(stimulus="shared_12rep_LAION_cluster_1003_i0.png"),
    ),
    "run": ("13", "1, 2, 3", lambda d: d.sel(run=13)),
    "repetition": ("99", "0, 1", lambda d: d.sel(repetition=99)),
    "shared": ("Shared", "shared", lambda d: d.sel(unique_or_shared="Shared")),
    "laion.sel": ("FFA3", "FFA1", lambda d: d.laion.sel(roi="FFA3")),
    "laion.sel of a session": ("ses-04", "ses-03", lambda d: d.laion.sel(session="ses-04")),
    "laion.sel of an array": ("leftt", "left", lambda d: d.betas.laion.sel(button="leftt")),
}


@pytest.mark.parametrize(("name", "close", "select"), UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_label(tiny, name: str, close: str, select) -> None:
    ds = open_subject(tiny)
    error = one_error(lambda: select(ds), UnknownLabelError, name, "does not exist here", close, "There are:")
    assert isinstance(error, KeyError)
    assert isinstance(error, ValueError)
    # without the indexes, `.laion.sel` says the same
    if "laion" in select.__code__.co_names:
        plain = open_subject(tiny, label_index=False)
        one_error(lambda: select(plain), UnknownLabelError, name, close)


@pytest.mark.parametrize(
    ("options", "name", "close"),
    [
        ({"roi": "FFA3"}, "FFA3", "FFA1"),
        ({"roi": ["FFA1", "PPAA"]}, "PPAA", "PPA"),
        ({"sessions": "ses-04"}, "ses-04", "ses-03"),
        ({"sessions": ["ses-01", 7]}, "7", "ses-01, ses-02, ses-03"),
        ({"noise_ceiling": "13rep"}, "13rep", "12rep"),
        ({"embeddings": "CLIPP"}, "CLIPP", "CLIP"),
    ],
    ids=str,
)
def test_unknown_name_in_an_argument(tiny, options: dict[str, Any], name: str, close: str) -> None:
    one_error(lambda: open_subject(tiny, **options), UnknownLabelError, name, "does not exist here", close)


@pytest.mark.parametrize("subject", ["sub-04", 4, "sub-O3"])
def test_unknown_subject(tiny, subject: Any) -> None:
    call = lambda: xr.open_dataset(tiny.root, engine="laion_fmri", subject=subject)  # noqa: E731
    one_error(call, SubjectNotFoundError, "does not exist here. Did you mean", "sub-03")
    call = lambda: xr.open_datatree(tiny.root, engine="laion_fmri", subject=subject)  # noqa: E731
    one_error(call, SubjectNotFoundError, "does not exist here. Did you mean", "sub-03")


def test_several_subjects_and_none_chosen(tiny) -> None:
    call = lambda: xr.open_dataset(tiny.root, engine="laion_fmri")  # noqa: E731
    one_error(call, SubjectNotFoundError, tiny.root, "holds 2 subjects", "subject=", "sub-01, sub-03")


# selections that contradict themselves

SENSELESS = {
    "roi and mask": (lambda d: d.laion.sel(roi="FFA1", mask=d.noise_ceiling.values > 20), "give one of them"),
    "roi of no grammar": (lambda d: d.sel(roi="FFA1 |"), "expected the name of an ROI"),
    "roi as a number": (lambda d: d.sel(roi=3), "selected by a name"),
    "method": (lambda d: d.sel(noise_ceiling=30.0, method="nearest"), "method and tolerance do not apply"),
    "run as text": (lambda d: d.sel(run="one"), "labels of run are numbers, found 'one'"),
    "slice with a step": (lambda d: d.sel(noise_ceiling=slice(10, 20, 2)), "takes no step"),
    "mask of another length": (lambda d: d.laion.sel(mask=np.ones(3, bool)), "Expected a boolean mask of 151"),
    "mask of another grid": (lambda d: d.laion.sel(mask=np.ones((7, 6, 5))), "(6, 7, 5), found (7, 6, 5)"),
    "coordinate that is none": (lambda d: d.laion.sel(sesion="ses-01"), "Did you mean 'session'"),
    "no session": (lambda d: xr.open_dataset(d.encoding["source"], sessions=[], subject=3), "names no session"),
    "slice of sessions": (
        lambda d: xr.open_dataset(d.encoding["source"], sessions=slice(1, 2), subject=3),
        "sessions=slice(1, 2, None) names no session",
    ),
}


@pytest.mark.parametrize(("select", "part"), SENSELESS.values(), ids=SENSELESS)
def test_selection_that_makes_no_sense(tiny, select, part: str) -> None:
    ds = open_subject(tiny)
    ds.encoding["source"] = str(tiny.root)
    one_error(lambda: select(ds), SelectionError, part)
