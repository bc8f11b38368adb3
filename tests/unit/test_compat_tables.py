"""Tables that are damaged, in the drop-in layer: one sentence that names the file, never an error of pandas."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import laion_xr.compat as laion_fmri
from laion_xr.compat.subject import Subject
from laion_xr.errors import FileFormatError
from tests.conftest import Tiny

DAMAGED = {
    "empty": b"",
    "blank": b"\n\n",
    "binary": bytes(range(256)) * 8,
    "gzip": b"\x1f\x8b\x08\x00" + bytes(100),
    "truncated": b"session\trun,image_name,source,caption\nses-01\t1,a,b,c\nses",
    "other": b"x\n1\n",
    "annex": b"/annex/objects/SHA256E-s12--00.tsv\n",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
}
# `other` is a table, if not of trials: get_trial_info gives what is in the file
UNREADABLE = [kind for kind in DAMAGED if kind != "other"]


@pytest.fixture
def stimuli(dataset_root: Path, tmp_path: Path) -> Path:
    """A root with the simulated stimuli alone."""
    shutil.copytree(dataset_root / "stimuli", tmp_path / "root" / "stimuli")
    return tmp_path / "root"


def refused(call: Callable[[], Any], file: Path) -> None:
    with pytest.raises(FileFormatError) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert str(file) in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("kind", UNREADABLE)
def test_damaged_trial_table(tiny_copy: Tiny, kind: str) -> None:
    path = tiny_copy.trials_file("ses-02")
    path.write_bytes(DAMAGED[kind])
    sub = Subject("sub-03", tiny_copy.root)
    refused(lambda: sub.get_trial_info("ses-02"), path)
    refused(lambda: sub.get_trial_info(["ses-01", "ses-02"]), path)
    refused(lambda: sub.metadata, path)
    assert len(sub.get_trial_info("ses-01")) == 14


def test_trial_table_without_labels(tiny_copy: Tiny) -> None:
    tiny_copy.trials_file("ses-02").write_bytes(DAMAGED["other"])
    sub = Subject("sub-03", tiny_copy.root)
    assert sub.get_trial_info("ses-02").columns.tolist() == ["x"]
    with pytest.raises(FileFormatError, match=r"ses-02.*'label'"):
        _ = sub.metadata


def test_last_line_that_is_cut_is_no_trial(tiny_copy: Tiny) -> None:
    path = tiny_copy.trials_file("ses-01")
    path.write_bytes(path.read_bytes().rstrip().rpartition(b"\t")[0])
    refused(lambda: Subject("sub-03", tiny_copy.root).get_trial_info("ses-01"), path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252"])
def test_trial_tables_of_windows_are_read_as_betas_read_them(tiny_copy: Tiny, encoding: str) -> None:
    path = tiny_copy.trials_file("ses-01")
    text = path.read_text(encoding="utf-8").replace("LAION", "LAÏON")
    path.write_text(text.replace("\n", "\r\n"), encoding=encoding, newline="")
    sub = Subject("sub-03", tiny_copy.root)
    expected = pd.read_csv(io.StringIO(text), sep="\t")["label"].tolist()
    assert any("Ï" in label for label in expected)
    assert sub.get_trial_info("ses-01")["label"].tolist() == expected
    assert len(sub.get_betas("ses-01", stimuli="shared")) == sum(label.startswith("shared_") for label in expected)


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_stimulus_metadata(tiny_copy: Tiny, kind: str) -> None:
    tiny_copy.metadata_file.write_bytes(DAMAGED[kind])
    sub = Subject("sub-03", tiny_copy.root)
    for call in (
        lambda: sub.metadata,
        sub.get_n_stimuli,
        lambda: sub.get_n_stimuli("shared"),
        sub.get_stimulus_metadata,
        lambda: sub.get_images("unique"),
        lambda: laion_fmri.load_stimulus_metadata(tiny_copy.root),
        lambda: laion_fmri.Group({"sub-03": sub}).get_shared_stimulus_metadata(),
        lambda: sub.images.get(0),
        lambda: sub.embeddings.all("CLIP", "ses-01"),
    ):
        refused(call, tiny_copy.metadata_file)


def test_stimulus_metadata_with_names_alone(tiny_copy: Tiny) -> None:
    table = pd.read_csv(tiny_copy.metadata_file)
    table[["image_name"]].to_csv(tiny_copy.metadata_file, index=False)
    sub = Subject("sub-03", tiny_copy.root)
    assert sub.get_n_stimuli() == len(table)
    for call in (lambda: sub.get_n_stimuli("shared"), lambda: sub.metadata, lambda: sub.get_images("shared")):
        with pytest.raises(FileFormatError, match="'unique_or_shared', found image_name"):
            call()


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_captions(stimuli: Path, kind: str) -> None:
    path = stimuli / "stimuli" / "task-images_desc-captions.csv"
    path.write_bytes(DAMAGED[kind])
    captions = laion_fmri.Captions(stimuli)
    for call in (
        lambda: captions.metadata,
        lambda: len(captions),
        captions.images,
        lambda: captions.human("a.jpg"),
        lambda: captions.ai("a.jpg"),
        lambda: "a.jpg" in captions,
    ):
        refused(call, path)


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_segmentations(stimuli: Path, kind: str) -> None:
    path = stimuli / "stimuli" / "task-images_desc-segmentations_metadata.csv"
    path.write_bytes(DAMAGED[kind])
    masks = laion_fmri.Segmentations(stimuli)
    for call in (
        lambda: masks.metadata,
        masks.images,
        lambda: masks.nouns("a.jpg"),
        lambda: masks.get("a.jpg", "dog"),
        lambda: masks.has_image("a.jpg"),
    ):
        refused(call, path)


def test_segmentations_with_a_row_that_is_no_number(stimuli: Path) -> None:
    path = stimuli / "stimuli" / "task-images_desc-segmentations_metadata.csv"
    table = pd.read_csv(path)
    first = table.iloc[0]
    for wrong in ("none", "1.5", ""):
        table.assign(mask_row=[wrong, *table["mask_row"].astype(str)[1:]]).to_csv(path, index=False)
        masks = laion_fmri.Segmentations(stimuli)
        refused(lambda m=masks: m.get(first["image_name"], first["noun"], first["instance_id"]), path)
    table.drop(columns="localized").to_csv(path, index=False)
    masks = laion_fmri.Segmentations(stimuli)
    assert first["noun"] in masks.nouns(first["image_name"], localized_only=False)
    with pytest.raises(FileFormatError, match="'localized'"):
        masks.nouns(first["image_name"])


@pytest.mark.parametrize("kind", UNREADABLE)
def test_damaged_events(tiny_copy: Tiny, kind: str) -> None:
    func = tiny_copy.root / "sub-03" / "ses-01" / "func"
    func.mkdir(parents=True)
    path = func / "sub-03_ses-01_task-images_run-01_events.tsv"
    path.write_bytes(DAMAGED[kind])
    refused(lambda: Subject("sub-03", tiny_copy.root).get_events("ses-01"), path)
