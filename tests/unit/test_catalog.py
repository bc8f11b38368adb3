"""The catalogue: what is there and what is missing, with a few listing calls, frozen and picklable."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pickle
import shutil
from pathlib import Path

import pytest
import upath
from fsspec.implementations.memory import MemoryFileSystem

from laion_xr import layout
from laion_xr.catalog import Catalog
from laion_xr.errors import (
    DataNotDownloadedError,
    NotALaionDatasetError,
    SubjectNotFoundError,
    UnknownLabelError,
)
from laion_xr.listing import fingerprint
from laion_xr.location import FileEntry, Location


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the memory file system from here on, one entry a request of an object store."""
    asked: list[str] = []

    def counted(name: str):
        method = getattr(MemoryFileSystem, name)

        def call(self, *args, **kwargs):
            if "walking" in asked:  # part of a find, which is one request whatever is below
                return method(self, *args, **kwargs)
            asked.append(name)
            if name == "find":
                asked.append("walking")
            try:
                return method(self, *args, **kwargs)
            finally:
                if name == "find":
                    asked.remove("walking")

        return call

    for name in ("ls", "find", "info", "cat_file", "_open"):
        monkeypatch.setattr(MemoryFileSystem, name, counted(name))
    return asked


def test_a_remote_root_is_listed_in_a_few_calls(tiny_in_memory: str, requests: list[str]) -> None:
    requests.clear()
    catalog = Catalog.scan(tiny_in_memory)
    assert requests == ["ls"]
    subject = catalog.subject("sub-03")
    assert requests == ["ls", "find", "find", "find"]
    assert subject.session_names == ("ses-01", "ses-02", "ses-03")
    assert subject.files
    assert subject.fingerprint
    assert catalog.stimuli()
    assert requests == ["ls", "find", "find", "find", "find"]


def test_a_local_root_is_listed_a_folder_at_a_time(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    touched: list[object] = []
    scandir, opener, stat = os.scandir, open, os.stat
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: (listed.append(str(path)), scandir(path))[1])
        patch.setattr("builtins.open", lambda path, *a, **k: (touched.append(path), opener(path, *a, **k))[1])
        patch.setattr(os, "stat", lambda path, *a, **k: (touched.append(path), stat(path, *a, **k))[1])
        subject = Catalog(Location(str(tiny.root)), ("sub-03",)).subject("sub-03")
    assert len(subject.files) == 30
    folders = {str(p) for p in tiny.root.rglob("*") if p.is_dir() and "sub-03" in p.parts}
    assert len(listed) == len(set(listed))
    assert set(listed) <= folders
    assert touched == []


def test_every_file_is_found(tiny) -> None:
    subject = Catalog.scan(tiny.root).subject("sub-03")
    written = {str(p.relative_to(tiny.root)) for p in tiny.root.rglob("*") if p.is_file() and "sub-03" in p.name}
    assert {e.path for e in subject.files} == written
    sizes = {e.path: e.size for e in subject.files}
    assert sizes == {name: (tiny.root / name).stat().st_size for name in written}
    assert subject.categories == tiny.categories
    assert set(subject.maps) == {*layout.SUBJECT_MAPS, "brain_mask"}
    assert subject.session("ses-01").missing == []
    assert set(Catalog.scan(tiny.root).stimuli()) == {
        "stimuli/task-images_metadata.csv",
        "stimuli/task-images_desc-CLIP_embeddings.h5",
    }


@pytest.mark.parametrize("kind", [str, Path, upath.UPath, lambda p: f"file://{p}", Location.of])
def test_kinds_of_roots_give_the_same_catalogue(tiny, kind) -> None:
    assert Catalog.scan(kind(tiny.root)) == Catalog.scan(str(tiny.root))
    assert Catalog.scan(kind(tiny.root)).subject("sub-03") == Catalog.scan(str(tiny.root)).subject("sub-03")


def test_memory_root_has_the_same_files_as_the_local_one(tiny, tiny_in_memory: str) -> None:
    here, there = Catalog.scan(tiny.root), Catalog.scan(tiny_in_memory)
    assert there.subjects == here.subjects == ("sub-01", "sub-03")
    sizes = [{e.path: e.size for e in c.subject("sub-01").files} for c in (here, there)]
    assert sizes[0] == sizes[1]


def test_frozen(tiny) -> None:
    subject = Catalog.scan(tiny.root).subject("sub-03")
    for frozen, name in ((subject, "sessions"), (subject.sessions[0], "files"), (Catalog.scan(tiny.root), "subjects")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, name, ())


def test_pickles(tiny) -> None:
    catalog = Catalog.scan(tiny.root)
    subject = catalog.subject("sub-03")
    assert pickle.loads(pickle.dumps(catalog)) == catalog
    back = pickle.loads(pickle.dumps(subject))
    assert back == subject
    assert back.fingerprint == subject.fingerprint


def test_fingerprint_depends_on_paths_sizes_and_times_only() -> None:
    entries = [FileEntry("a", 1, "x"), FileEntry("b", 2, "y")]
    first = fingerprint(entries)
    assert first == fingerprint(reversed(entries))
    assert len(first) == 16
    changed = [
        [FileEntry("c", 1, "x"), entries[1]],
        [FileEntry("a", 3, "x"), entries[1]],
        [FileEntry("a", 1, "z"), entries[1]],
        entries[:1],
    ]
    found = [first, *map(fingerprint, changed)]
    assert all(a != b for a, b in itertools.combinations(found, 2))


def test_fingerprint_changes_with_a_file(tiny_copy) -> None:
    before = Catalog.scan(tiny_copy.root).subject("sub-03").fingerprint
    os.utime(tiny_copy.betas_file("ses-02"), ns=(1, 1))
    assert Catalog.scan(tiny_copy.root).subject("sub-03").fingerprint != before


@pytest.mark.parametrize("name", ["sub-03", "03", "3", 3])
def test_subject_by_any_of_its_names(tiny, name: str | int) -> None:
    assert Catalog.scan(tiny.root).subject(name).subject == "sub-03"


def test_subject_left_out(tiny_copy) -> None:
    catalog = Catalog.scan(tiny_copy.root)
    with pytest.raises(SubjectNotFoundError, match=r"holds 2 subjects: choose one with subject=.*sub-01, sub-03"):
        catalog.subject()
    shutil.rmtree(tiny_copy.folder("sub-01"))
    assert Catalog.scan(tiny_copy.root).subject().subject == "sub-03"


def test_unknown_subject_and_session_name_the_closest(tiny) -> None:
    catalog = Catalog.scan(tiny.root)
    with pytest.raises(SubjectNotFoundError, match=r"'sub-04' does not exist here. Did you mean .*'sub-03'"):
        catalog.subject(4)
    with pytest.raises(UnknownLabelError, match=r"Session of sub-03 9 does not exist here.*ses-01, ses-02, ses-03"):
        catalog.subject(3).session(9)


def test_sessions_in_numerical_order_with_gaps_and_without_fixed_digits(tiny_copy) -> None:
    folder = tiny_copy.folder("sub-03")
    for new in ("ses-10", "ses-100"):
        shutil.copytree(folder / "ses-02", folder / new)
        for path in (folder / new / "func").iterdir():
            path.rename(path.with_name(path.name.replace("ses-02", new)))
    shutil.rmtree(folder / "ses-02")
    subject = Catalog.scan(tiny_copy.root).subject(3)
    assert subject.session_names == ("ses-01", "ses-03", "ses-10", "ses-100")
    assert layout.session_dir("sub-03", "ses-02") in subject.missing
    assert layout.session_dir("sub-03", "ses-99") in subject.missing
    assert layout.session_dir("sub-03", "ses-03") not in subject.missing


@pytest.mark.parametrize(
    ("remove", "recorded"),
    [
        (lambda t: t.trials_file("ses-02"), layout.session_path("sub-03", "ses-02", "trials")),
        (lambda t: t.betas_file("ses-02"), layout.session_path("sub-03", "ses-02", "betas")),
        (lambda t: t.mask_file(), layout.brain_mask_path("sub-03")),
        (lambda t: t.root / "derivatives" / "rois", layout.roi_dir("sub-03")),
        (
            lambda t: t.subject_file("desc-Noiseceiling4rep_statmap.nii.gz"),
            layout.subject_path("sub-03", "noise_ceiling_4rep"),
        ),
    ],
)
def test_missing_pieces_are_recorded_and_not_fatal(tiny_copy, remove, recorded: str) -> None:
    assert recorded not in Catalog.scan(tiny_copy.root).subject(3).missing
    path = remove(tiny_copy)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert recorded in Catalog.scan(tiny_copy.root).subject(3).missing


def test_missing_stimuli_are_an_empty_listing(tiny_copy) -> None:
    shutil.rmtree(tiny_copy.root / "stimuli")
    assert dict(Catalog.scan(tiny_copy.root).stimuli()) == {}


def test_plain_nifti_files_count_and_compressed_ones_come_first(tiny_copy) -> None:
    path = tiny_copy.betas_file("ses-02")
    plain = path.with_name(path.name.removesuffix(".gz"))
    shutil.copy(path, plain)
    assert Catalog.scan(tiny_copy.root).subject(3).session(2).files["betas"].path.endswith(".nii.gz")
    path.unlink()
    assert Catalog.scan(tiny_copy.root).subject(3).session(2).files["betas"].path.endswith("statmap.nii")


def test_strange_files_are_passed_over(tiny_copy) -> None:
    before = Catalog.scan(tiny_copy.root).subject(3)
    for name in ("notes.txt", "ses-99/readme.md", "ses-01/func/._junk.nii.gz", "ses-01/func/x.nii.gz.part"):
        path = tiny_copy.folder("sub-03") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert Catalog.scan(tiny_copy.root).subject(3) == before


def test_sessions_with_betas(tiny_copy) -> None:
    tiny_copy.betas_file("ses-02").unlink()
    tiny_copy.betas_file("ses-01").unlink()  # has its model file
    subject = Catalog.scan(tiny_copy.root).subject(3)
    assert [s.session for s in subject.sessions_with_betas()] == ["ses-01", "ses-03"]
    assert [s.session for s in subject.sessions_with_betas([3, "ses-01", "1"])] == ["ses-01", "ses-03"]
    assert [s.session for s in subject.sessions_with_betas("ses-03")] == ["ses-03"]
    with pytest.raises(
        DataNotDownloadedError, match=r"betas of sub-03 ses-02 are not there: expected .*ses-01, ses-03"
    ):
        subject.sessions_with_betas([1, 2])
    for session in ("ses-01", "ses-03"):
        shutil.rmtree(tiny_copy.folder("sub-03", session))
    with pytest.raises(DataNotDownloadedError, match=r"No session of sub-03 has betas in .*glmsingle-tedana/sub-03"):
        Catalog.scan(tiny_copy.root).subject(3).sessions_with_betas()


def test_surfaces_are_listed_by_hemisphere_and_form(tiny_copy) -> None:
    for hemi, form in itertools.product("LR", ("gifti", "label")):
        path = tiny_copy.root / layout.roi_path("sub-03", "face", "FFA1", form, hemi)
        path.write_text("x")
    subject = Catalog.scan(tiny_copy.root).subject(3)
    assert set(subject.roi_surfaces) == {("face", "FFA1", h, f) for h in "LR" for f in ("gifti", "label")}
    assert subject.categories == tiny_copy.categories


@pytest.mark.parametrize("where", ["nowhere", "empty", "file"])
def test_what_is_no_dataset(tmp_path: Path, where: str) -> None:
    (tmp_path / "empty" / "derivatives" / "glmsingle-tedana").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotALaionDatasetError, match=rf"{tmp_path}/{where} does not hold the LAION-fMRI dataset"):
        Catalog.scan(tmp_path / where)
