"""The stimuli of the drop-in layer, by name and by trial, beside what plain h5py, pandas and PIL give."""

from __future__ import annotations

import io
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import laion_xr.compat as laion_fmri
from laion_xr.compat.stimuli import as_displayed_rgb, load_stimulus, load_stimulus_metadata
from laion_xr.compat.subject import Subject
from laion_xr.errors import StimuliNotDownloadedError


@dataclass
class Plain:
    """The stimulus files as h5py and pandas read them."""

    root: Path

    def __post_init__(self) -> None:
        folder = self.root / "stimuli"
        self.metadata = pd.read_csv(folder / "task-images_metadata.csv")
        self.masks = pd.read_csv(folder / "task-images_desc-segmentations_metadata.csv")
        self.captions = pd.read_csv(folder / "task-images_desc-captions.csv")
        tables = sorted((self.root / "derivatives/glmsingle-tedana/sub-03").glob("ses-*/func/*_trials.tsv"))
        self.labels = pd.concat([pd.read_csv(t, sep="\t") for t in tables], ignore_index=True)["label"].tolist()

    def encoded(self, name: str) -> bytes:
        row = self.metadata["image_name"].tolist().index(name)
        with h5py.File(self.root / "stimuli/task-images_stimuli.h5") as file:
            return np.asarray(file["images"][row]).tobytes()

    def pixels(self, name: str) -> np.ndarray[Any, Any]:
        """What the scanner's screen showed: transparent parts over middle grey."""
        image = Image.open(io.BytesIO(self.encoded(name)))
        if "A" not in image.getbands():
            return np.asarray(image.convert("RGB"))
        rgba = np.asarray(image.convert("RGBA"), dtype=np.float64)
        share = rgba[..., 3:] / 255
        return np.rint(rgba[..., :3] * share + 128 * (1 - share)).astype(np.uint8)

    def embeddings(self, model: str) -> tuple[list[str], np.ndarray[Any, Any]]:
        with h5py.File(self.root / f"stimuli/task-images_desc-{model}_embeddings.h5") as file:
            return [name.decode() for name in file["image_ids"][()]], file["embedding"][()]

    def mask(self, row: int) -> np.ndarray[Any, Any]:
        with h5py.File(self.root / "stimuli/task-images_desc-segmentations.h5") as file:
            return np.asarray(file["masks"][row])

    @property
    def segmented(self) -> str:
        """An image with several masks."""
        return str(self.masks["image_name"].value_counts().index[0])

    @property
    def unsegmented(self) -> str:
        return next(n for n in self.metadata["image_name"] if n.startswith("unique_"))


def assert_same_pixels(found: Any, expected: np.ndarray[Any, Any]) -> None:
    # libraries round a blend in two ways
    np.testing.assert_allclose(np.asarray(found).astype(int), expected.astype(int), atol=1)


@pytest.fixture(scope="module")
def plain(dataset_root: Path) -> Plain:
    return Plain(dataset_root)


@pytest.fixture(autouse=True)
def configured(dataset_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_DATA_DIR", str(dataset_root))


@pytest.fixture
def stim() -> laion_fmri.Stimuli:
    return laion_fmri.load_stimuli()


@pytest.fixture
def sub(dataset_root: Path) -> Subject:
    return Subject("sub-03", dataset_root)


# By name


def test_metadata_are_the_file(plain: Plain, stim: laion_fmri.Stimuli) -> None:
    pd.testing.assert_frame_equal(stim.metadata, plain.metadata)
    assert len(stim) == len(stim.images) == len(plain.metadata)
    assert stim.images.names() == plain.metadata["image_name"].tolist()
    pd.testing.assert_frame_equal(load_stimulus_metadata(), plain.metadata)


def test_images_are_the_bytes_of_the_file(plain: Plain, stim: laion_fmri.Stimuli) -> None:
    for row in (0, len(plain.metadata) - 1):
        name = plain.metadata["image_name"][row]
        assert stim.images[name] == stim.images[row] == stim[name] == load_stimulus(row) == plain.encoded(name)
        assert stim.images.index_of(name) == row
        picture = stim.images.get(name)
        assert picture.mode == "RGB"
        assert_same_pixels(picture, plain.pixels(name))
    assert [name for name, _ in stim.images] == plain.metadata["image_name"].tolist()
    assert all(data == plain.encoded(name) for name, data in list(stim)[:3])
    assert plain.metadata["image_name"][0] in stim.images
    assert len(plain.metadata) not in stim.images


def test_unknown_images_are_errors_of_their_kind(stim: laion_fmri.Stimuli) -> None:
    with pytest.raises(KeyError, match="nothing"):
        stim.images["nothing.jpg"]
    with pytest.raises(IndexError, match="10000"):
        stim.images[10_000]
    with pytest.raises(TypeError, match="float"):
        stim.images[1.5]  # type: ignore[index]


def test_transparent_image_is_over_the_grey_of_the_screen() -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    image.putpixel((2, 0), (255, 0, 0, 128))
    shown = as_displayed_rgb(image)
    assert [shown.getpixel((x, 0)) for x in range(3)] == [(128, 128, 128), (255, 0, 0), (192, 64, 64)]
    assert as_displayed_rgb(Image.new("L", (1, 1), 7)).getpixel((0, 0)) == (7, 7, 7)


def test_image_with_transparency_keeps_its_mode_when_asked(dataset_root: Path, plain: Plain, tmp_path: Path) -> None:
    shutil.copytree(dataset_root / "stimuli", tmp_path / "stimuli")
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    data = io.BytesIO()
    picture.save(data, "PNG")
    with h5py.File(tmp_path / "stimuli/task-images_stimuli.h5", "r+") as file:
        file["images"][0] = np.frombuffer(data.getvalue(), np.uint8)
    stim = laion_fmri.load_stimuli(tmp_path)
    assert stim.images.get(0).getpixel((0, 0)) == (192, 64, 64)
    assert stim.images.get(0, as_displayed=False).mode == "RGBA"


def test_embeddings_are_the_rows_of_the_file_by_name(plain: Plain, stim: laion_fmri.Stimuli) -> None:
    assert stim.embeddings.models == ["CLIP", "DINOv2", "PEcore", "SigLIP2"]
    for model in ("CLIP", "SigLIP2"):
        ids, values = plain.embeddings(model)
        alone = laion_fmri.load_embeddings(model)
        assert alone.models == [model]
        assert alone.image_ids.tolist() == ids
        matrix = alone[model]
        assert (matrix.shape, matrix.dtype, len(matrix), matrix.ndim) == (values.shape, np.float16, len(values), 2)
        np.testing.assert_array_equal(matrix[:], values)
        np.testing.assert_array_equal(np.asarray(matrix), values)
        np.testing.assert_array_equal(matrix[0], values[0])
        np.testing.assert_array_equal(matrix[-1, :3], values[-1, :3])
        np.testing.assert_array_equal(matrix[5:1:-2, 2], values[5:1:-2, 2])
        np.testing.assert_array_equal(matrix[[3, 0, 3]], values[[3, 0, 3]])
        np.testing.assert_array_equal(stim.embeddings.get(model, ids[7]), values[7])
        # in any order, and the same image twice
        np.testing.assert_array_equal(alone.get(model, [ids[9], ids[2], ids[9]]), values[[9, 2, 9]])
        assert alone.get(model, ids[0]).dtype == np.float16
        assert (model, ids[0]) in alone
        assert model in alone
        assert (model, "nothing.jpg") not in alone


def test_unknown_embeddings_are_errors_of_their_kind(stim: laion_fmri.Stimuli, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="nothing"):
        stim.embeddings.get("CLIP", "nothing.jpg")
    with pytest.raises(KeyError, match="CLIP"):
        laion_fmri.load_embeddings("DINOv2").get("CLIP", "nothing.jpg")
    with pytest.raises(ValueError, match="clip"):
        laion_fmri.load_embeddings("clip")
    with pytest.raises(FileNotFoundError, match="CLIP"):
        laion_fmri.load_embeddings("CLIP", tmp_path)


def test_masks_are_the_rows_of_the_file(plain: Plain, stim: laion_fmri.Stimuli) -> None:
    name = plain.segmented
    rows = plain.masks[plain.masks["image_name"] == name]
    assert len(rows) > 1
    alone = laion_fmri.Segmentations()
    pd.testing.assert_frame_equal(alone.metadata, plain.masks)
    pd.testing.assert_frame_equal(stim.segmentations.for_image(name), rows.reset_index(drop=True))
    assert alone.nouns(name, localized_only=False) == list(dict.fromkeys(rows["noun"]))
    assert alone.nouns(name) == list(dict.fromkeys(rows[rows["localized"]]["noun"]))
    for row in rows.itertuples():
        found = alone.get(name, row.noun, instance=row.instance_id)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, plain.mask(row.mask_row))
        np.testing.assert_array_equal(alone[row.mask_row], found)
    assert alone.images() == list(dict.fromkeys(plain.masks["image_name"]))
    assert len(alone) == len(plain.masks)


def test_image_without_masks_has_empty_results(plain: Plain, stim: laion_fmri.Stimuli) -> None:
    name = plain.unsegmented
    assert not stim.segmentations.has_image(name)
    assert stim.segmentations.nouns(name) == []
    assert stim.segmentations.for_image(name).empty
    assert stim.segmentations.for_image(name).columns.tolist() == plain.masks.columns.tolist()
    with pytest.raises(KeyError, match="unique_"):
        stim.segmentations.get(name, "dog")
    with pytest.raises(KeyError, match="no such noun"):
        stim.segmentations.get(plain.segmented, "no such noun")


def test_captions_are_those_of_the_table(plain: Plain, stim: laion_fmri.Stimuli) -> None:
    alone = laion_fmri.Captions()
    pd.testing.assert_frame_equal(alone.metadata, plain.captions)
    for name in (plain.segmented, plain.unsegmented):
        rows = plain.captions[plain.captions["image_name"] == name].sort_values("caption_idx")
        human = rows[rows["source"] == "human"]["caption"].tolist()
        pd.testing.assert_frame_equal(alone.get(name), rows.reset_index(drop=True))
        assert stim.captions.human(name) == human
        assert alone.human(name, limit=2) == human[:2]
        assert alone.list(name) == rows["caption"].tolist()
        ai = rows[rows["source"] == "ai"]["caption"].tolist()
        assert alone.list(name, source="ai") == ai
        assert alone.ai(name) == (ai[0] if ai else None)
        assert name in alone
    assert alone.ai(plain.unsegmented) is None
    assert alone.human("nothing.jpg") == []
    assert alone.get("nothing.jpg").empty
    with pytest.raises(ValueError, match="source"):
        alone.list(plain.segmented, source="robot")
    assert set(alone.images()) == set(plain.captions["image_name"])


def test_stimuli_that_are_not_there_are_not_downloaded(dataset_root: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset_root / "stimuli", tmp_path / "stimuli")
    for name in ("stimuli.h5", "desc-captions.csv", "desc-segmentations.h5"):
        (tmp_path / "stimuli" / f"task-images_{name}").unlink()
    for call in (laion_fmri.load_stimuli, laion_fmri.Captions, laion_fmri.Segmentations):
        with pytest.raises(StimuliNotDownloadedError):
            call(tmp_path)
    assert laion_fmri.load_embeddings("CLIP", tmp_path).models == ["CLIP"]  # an independent download
    for path in (tmp_path / "stimuli").glob("*_embeddings.h5"):
        path.unlink()
    shutil.copy(dataset_root / "stimuli/task-images_stimuli.h5", tmp_path / "stimuli")
    with pytest.raises(FileNotFoundError, match="embeddings"):
        _ = laion_fmri.load_stimuli(tmp_path).embeddings


def test_handles_close_pickle_and_are_context_managers(plain: Plain) -> None:
    with laion_fmri.Stimuli() as stim, laion_fmri.Segmentations() as masks, laion_fmri.load_embeddings() as embeddings:
        name = plain.segmented
        assert stim.images.get(name).size == (64, 64)
        assert masks.nouns(name)
        assert embeddings["CLIP"][0].shape == (64,)
    stim.close()
    again = pickle.loads(pickle.dumps(stim))
    assert again.images[name] == plain.encoded(name)
    assert pickle.loads(pickle.dumps(embeddings)).get("CLIP", name).shape == (64,)


# By trial


def test_images_of_trials_are_those_of_their_labels(plain: Plain, sub: Subject) -> None:
    assert len(sub.images) == len(plain.labels) == len(sub.metadata)
    for trial in (0, 61, len(plain.labels) - 1):
        assert sub.images[trial] == plain.encoded(plain.labels[trial])
        assert_same_pixels(sub.images.get(trial), plain.pixels(plain.labels[trial]))
    inside = (sub.metadata["session"] == "ses-02").to_numpy()
    expected = np.stack([plain.pixels(n) for n, kept in zip(plain.labels, inside, strict=True) if kept])
    found = sub.images.array(session="ses-02")
    assert found.dtype == np.uint8
    assert_same_pixels(found, expected)
    shown = list(sub.images.all(session="ses-02"))
    np.testing.assert_array_equal(np.stack([np.asarray(p) for p in shown]), found)
    assert len(set(plain.labels)) < len(plain.labels)  # some repeat
    with pytest.raises(IndexError):
        sub.images.get(len(plain.labels))


def test_embeddings_of_trials_are_in_their_order(plain: Plain, sub: Subject) -> None:
    ids, values = plain.embeddings("CLIP")
    rows = [ids.index(name) for name in plain.labels]
    found = sub.embeddings.all("CLIP")
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, values[rows])
    inside = (sub.metadata["session"] == "ses-03").to_numpy()
    np.testing.assert_array_equal(sub.embeddings.all("CLIP", session="ses-03"), values[rows][inside])
    np.testing.assert_array_equal(sub.embeddings.get("CLIP", 42), values[rows[42]])
    assert sub.embeddings.models == ["CLIP", "DINOv2", "PEcore", "SigLIP2"]


def test_masks_and_captions_of_trials(plain: Plain, sub: Subject) -> None:
    have = set(plain.masks["image_name"])
    assert [sub.segmentations.has_image(t) for t in range(20)] == [name in have for name in plain.labels[:20]]
    trial = next(t for t, name in enumerate(plain.labels) if name in have)
    name = plain.labels[trial]
    rows = plain.masks[plain.masks["image_name"] == name]
    noun = sub.segmentations.nouns(trial, localized_only=False)[0]
    first = rows[(rows["noun"] == noun) & (rows["instance_id"] == 0)].iloc[0]
    np.testing.assert_array_equal(sub.segmentations.get(trial, noun), plain.mask(first["mask_row"]))
    assert len(sub.segmentations.for_image(trial)) == len(rows)
    unique = next(t for t, name in enumerate(plain.labels) if name.startswith("unique_"))
    assert sub.segmentations.nouns(unique) == []
    assert sub.segmentations.for_image(unique).empty
    captions = plain.captions[plain.captions["image_name"] == name].sort_values("caption_idx")
    assert sub.captions.list(trial) == captions["caption"].tolist()
    assert sub.captions.human(trial, limit=1) == captions[captions["source"] == "human"]["caption"].tolist()[:1]
    assert sub.captions.ai(unique) is None
    pd.testing.assert_frame_equal(sub.captions.for_image(trial), captions.reset_index(drop=True))


def test_annotations_need_no_gated_images(dataset_root: Path, tmp_path: Path, plain: Plain) -> None:
    shutil.copytree(dataset_root, tmp_path / "data")
    (tmp_path / "data/stimuli/task-images_stimuli.h5").unlink()
    sub = Subject("sub-03", tmp_path / "data")
    assert sub.has_stimuli() is False
    assert sub.embeddings.get("CLIP", 0).shape == (64,)
    assert sub.captions.human(0)
    with pytest.raises(StimuliNotDownloadedError, match="Data Use Agreement"):
        sub.images.get(0)
