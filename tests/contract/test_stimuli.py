"""What the subject saw: row i is that of trial i, as a plain look-up by name with h5py, PIL and pandas finds it."""

from __future__ import annotations

import concurrent.futures
import io
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import fsspec
import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import laion_xr
from laion_xr.errors import (
    CorruptFileError,
    DataNotDownloadedError,
    FileFormatError,
    IncompleteDataWarning,
    SelectionError,
    StimuliNotDownloadedError,
    UnknownLabelError,
)
from laion_xr.readers.images import ImageSource

MODELS = ["CLIP", "DINOv2", "PEcore", "SigLIP2"]


class Plain:
    """Look-ups by name, one at a time, without laion_xr."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "stimuli"
        self.metadata = pd.read_csv(self.folder / "task-images_metadata.csv")
        self.captions = pd.read_csv(self.folder / "task-images_desc-captions.csv", keep_default_na=False)
        self.masks = pd.read_csv(self.folder / "task-images_desc-segmentations_metadata.csv")
        self.embeddings: dict[str, dict[str, np.ndarray]] = {}
        for model in MODELS:
            with h5py.File(self.folder / f"task-images_desc-{model}_embeddings.h5") as file:
                rows = zip(file["image_ids"].asstr()[:], file["embedding"][:], file["valid"][:], strict=True)
                self.embeddings[model] = {name: row for name, row, valid in rows if valid}
        with h5py.File(self.folder / "task-images_stimuli.h5") as file:
            self.encoded = {n: file["images"][i].tobytes() for i, n in enumerate(self.metadata["image_name"])}
        with h5py.File(self.folder / "task-images_desc-segmentations.h5") as file:
            self.mask = file["masks"][:].astype(bool)

    def embedding(self, model: str, name: str, n: int) -> np.ndarray:
        return self.embeddings[model].get(name, np.full(n, np.nan, np.float16))

    def image(self, name: str, size: int | None = None) -> np.ndarray:
        with Image.open(io.BytesIO(self.encoded[name])) as picture:
            if size is not None:
                picture.draft(picture.mode, (size, size))
            # what shows through is the scanner's screen, middle grey
            pixels = np.asarray(picture.convert("RGBA"), np.float64)
            opaque = pixels[..., 3:] / 255
            shown = np.floor(opaque * pixels[..., :3] + (1 - opaque) * 128 + 0.5).astype(np.uint8)
            if size is None:
                return shown
            return np.asarray(Image.fromarray(shown).resize((size, size), Image.Resampling.BICUBIC))

    def caption(self, name: str) -> list[str]:
        rows = self.captions[self.captions["image_name"] == name].set_index("caption_idx")["caption"]
        return [rows.get(i, "") for i in range(6)]

    def inside(self, name: str, noun: str | None = None) -> np.ndarray:
        rows = self.masks[self.masks["image_name"] == name]
        rows = rows if noun is None else rows[rows["noun"] == noun]
        return self.mask[rows["mask_row"]].any(axis=0) if len(rows) else np.zeros(self.mask.shape[1:], bool)


@pytest.fixture(scope="module")
def plain(dataset_root: Path) -> Plain:
    return Plain(dataset_root)


@pytest.fixture(scope="module")
def ds(dataset_root: Path) -> xr.Dataset:
    return xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03", embeddings="CLIP")


@pytest.fixture(scope="module")
def stimuli(dataset_root: Path) -> xr.Dataset:
    return xr.open_dataset(dataset_root, engine="laion_fmri", group="stimuli")


@pytest.fixture
def copied(dataset_root: Path, tmp_path: Path) -> Path:
    """The dataset with stimulus files of its own, to be broken; one session of one subject."""
    for part in ("stimuli", "derivatives/glmsingle-tedana/sub-03", "derivatives/anatomical/sub-03"):
        shutil.copytree(dataset_root / part, tmp_path / part)
    return tmp_path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names that each read of images was asked for."""
    asked: list[list[str]] = []
    read = ImageSource.read

    def recording(self: ImageSource, items: Any) -> Any:
        asked.append([item.name for item in items])
        return read(self, items)

    monkeypatch.setattr(ImageSource, "read", recording)
    return asked


FILES = {
    "CLIP": "desc-CLIP_embeddings.h5",
    "SigLIP2": "desc-SigLIP2_embeddings.h5",
    "images": "stimuli.h5",
    "captions": "desc-captions.csv",
    "masks": "desc-segmentations.h5",
    "table of masks": "desc-segmentations_metadata.csv",
}


def check_rows(found: xr.Dataset | xr.DataArray, plain: Plain, missing: frozenset[str] = frozenset()) -> None:
    """Every row of everything that belongs to the images is that of its name; what is missing is an error."""
    names = found.stimulus.values.tolist()
    numbers = {model: [plain.embedding(model, x, n) for x in names] for model, n in (("CLIP", 64), ("SigLIP2", 72))}
    parts: list[tuple[set[str], Callable[[], xr.DataArray], Callable[[], np.ndarray]]] = [
        (
            {"CLIP"},
            lambda: found.laion.embeddings("CLIP"),
            lambda: np.array(numbers["CLIP"], np.float16).reshape(-1, 64),
        ),
        (
            {"SigLIP2"},
            lambda: found.laion.embeddings("SigLIP2"),
            lambda: np.array(numbers["SigLIP2"], np.float16).reshape(-1, 72),
        ),
        (
            {"images"},
            lambda: found.laion.images(),
            lambda: np.array([plain.image(x) for x in names]).reshape(-1, 64, 64, 3),
        ),
        (
            {"captions"},
            lambda: found.laion.captions(),
            lambda: np.array([plain.caption(x) for x in names], object).reshape(-1, 6),
        ),
        (
            {"masks", "table of masks"},
            lambda: found.laion.segmentations(),
            lambda: np.array([plain.inside(x) for x in names]).reshape(-1, 64, 64),
        ),
    ]
    for needs, call, expected in parts:
        if needs & missing:
            with pytest.raises(StimuliNotDownloadedError, match="not there: expected"):
                call()
            continue
        array = call()
        np.testing.assert_array_equal(array.values, expected())
        assert array.stimulus.values.tolist() == names


# alignment


@pytest.fixture(scope="module")
def without(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[frozenset[str]], xr.Dataset]:
    """Opens the subject where some of the stimulus files are missing."""
    opened: dict[frozenset[str], xr.Dataset] = {}

    def open_without(missing: frozenset[str]) -> xr.Dataset:
        if missing not in opened:
            root = tmp_path_factory.mktemp("without")
            (root / "stimuli").mkdir()
            (root / "derivatives").symlink_to(dataset_root / "derivatives")
            gone = {f"task-images_{FILES[kind]}" for kind in missing}
            for path in (dataset_root / "stimuli").iterdir():
                if path.name not in gone:
                    (root / "stimuli" / path.name).symlink_to(path)
            models = [] if "CLIP" in missing else ["CLIP"]
            opened[missing] = xr.open_dataset(root, engine="laion_fmri", subject="sub-03", embeddings=models)
        return opened[missing]

    return open_without


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_follow_any_selection(
    without: Callable[[frozenset[str]], xr.Dataset], plain: Plain, data: st.DataObject
) -> None:
    missing = data.draw(st.frozensets(st.sampled_from(sorted(FILES))))
    found = without(missing)
    for _ in range(data.draw(st.integers(1, 3))):
        n = found.sizes["trial"]
        if not n:
            break
        step = data.draw(st.sampled_from(["order", "session", "shared", "roi", "pickle", "mask"]))
        if step == "order":
            found = found.isel(trial=data.draw(st.lists(st.integers(0, n - 1), max_size=25)))
        elif step == "mask":
            found = found.isel(trial=np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n))))
        elif step == "session":
            found = found.sel(session=found.session.values[-1])
        elif step == "shared":
            found = found.isel(trial=found.unique_or_shared.values == "shared")
        elif step == "roi":
            found = found.sel(roi="visual")
        else:
            found = pickle.loads(pickle.dumps(found))
    if "CLIP" not in missing:
        expected = np.array([plain.embedding("CLIP", n, 64) for n in found.stimulus.values]).reshape(-1, 64)
        np.testing.assert_array_equal(found.embedding_CLIP.values, expected)
    check_rows(found, plain, missing)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_follow_the_selection_after_they_were_asked_for(ds: xr.Dataset, plain: Plain, data: st.DataObject) -> None:
    pick = data.draw(st.lists(st.integers(0, ds.sizes["trial"] - 1), max_size=20))
    names = ds.stimulus.values[pick].tolist()
    images = ds.laion.images(32).isel(trial=pick)
    np.testing.assert_array_equal(images.values, np.array([plain.image(n, 32) for n in names]).reshape(-1, 32, 32, 3))
    clip = ds.laion.embeddings("CLIP").isel(trial=pick)
    np.testing.assert_array_equal(
        clip.values, np.array([plain.embedding("CLIP", n, 64) for n in names]).reshape(-1, 64)
    )
    assert ds.laion.captions().isel(trial=pick).values.tolist() == [plain.caption(n) for n in names]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_embeddings_file(tmp_path: Path, data: st.DataObject) -> None:
    known = [f"unique_{i}.jpg" for i in range(12)]
    held = data.draw(st.lists(st.sampled_from([*known, "other.jpg"]), unique=True, max_size=13))
    valid = data.draw(st.lists(st.booleans(), min_size=len(held), max_size=len(held)))
    asked = data.draw(st.lists(st.sampled_from([*known, "unknown.jpg", ""]), max_size=30))
    values = np.arange(len(held) * 3).reshape(-1, 3).astype(np.float16)
    folder = tmp_path / "stimuli"
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / "task-images_desc-CLIP_embeddings.h5", "w") as file:
        file["embedding"] = values
        file.create_dataset("image_ids", data=held, dtype=h5py.string_dtype(), shape=(len(held),))
        file["valid"] = np.array(valid, bool)
    trials = xr.DataArray(np.zeros(len(asked)), dims="trial", coords={"stimulus": ("trial", np.array(asked, object))})
    found = trials.laion.embeddings("CLIP", root=tmp_path)
    rows = {name: row for name, row, ok in zip(held, values, valid, strict=True) if ok}
    expected = np.array([rows.get(name, np.full(3, np.nan)) for name in asked], np.float16).reshape(-1, 3)
    np.testing.assert_array_equal(found.values, expected)
    some = data.draw(st.lists(st.integers(0, 2), max_size=3))
    np.testing.assert_array_equal(found.isel(feature=some).values, expected[:, some])


def test_after_groupby_an_array_and_one_trial(ds: xr.Dataset, plain: Plain) -> None:
    mean = ds.betas.sel(roi="FFA1").groupby("stimulus").mean()
    check_rows(mean, plain)
    one = ds.isel(trial=17)
    name = one.stimulus.item()
    np.testing.assert_array_equal(one.laion.images(), plain.image(name))
    np.testing.assert_array_equal(one.laion.embeddings("CLIP"), plain.embedding("CLIP", name, 64))
    assert one.laion.captions().values.tolist() == plain.caption(name)
    np.testing.assert_array_equal(one.laion.segmentations(), plain.inside(name))
    assert one.laion.images().dims == ("y", "x", "rgb")


def test_a_row_that_is_missing_or_not_valid_is_nan(ds: xr.Dataset, plain: Plain) -> None:
    names = ds.stimulus.values
    missing = [model for model in MODELS for name in names if name not in plain.embeddings[model]]
    assert missing
    for model in set(missing):
        lost = [name not in plain.embeddings[model] for name in names]
        np.testing.assert_array_equal(np.isnan(ds.laion.embeddings(model)).all("feature"), lost)


def test_several_models(ds: xr.Dataset) -> None:
    found = ds.laion.embeddings(["CLIP", "SigLIP2"])
    assert found.embedding_SigLIP2.dims == ("trial", "feature_SigLIP2")
    np.testing.assert_array_equal(found.embedding_CLIP, ds.laion.embeddings("CLIP"))
    assert set(ds.laion.embeddings("all").data_vars) == {f"embedding_{m}" for m in MODELS}
    merged = xr.merge([ds.drop_vars("embedding_CLIP"), found])
    assert merged.embedding_CLIP.dims == ("trial", "feature_CLIP")


def test_captions_of_a_source(ds: xr.Dataset, plain: Plain) -> None:
    found = ds.laion.captions("ai")
    assert found.values.ravel().tolist() == [plain.caption(n)[0] for n in ds.stimulus.values]
    both = ds.laion.captions()
    assert set(both.caption_source.values[:, 1:].ravel()) <= {"human", ""}
    with pytest.raises(UnknownLabelError, match=r"Caption source 'people' does not exist here.*ai, human"):
        ds.laion.captions("people")


def test_segmentations_of_a_noun(ds: xr.Dataset, plain: Plain) -> None:
    noun = plain.masks["noun"].iloc[0]
    found = ds.laion.segmentations(noun)
    np.testing.assert_array_equal(found, [plain.inside(n, noun) for n in ds.stimulus.values])
    counts = plain.masks[plain.masks["noun"] == noun]["image_name"].value_counts()
    assert found.n_masks.values.tolist() == [counts.get(n, 0) for n in ds.stimulus.values]


# the stimulus Dataset


def test_stimulus_dataset(stimuli: xr.Dataset, plain: Plain) -> None:
    names = stimuli.stimulus.values.tolist()
    assert names == plain.metadata["image_name"].tolist()
    for column in plain.metadata.columns[1:]:
        assert stimuli[column].values.tolist() == plain.metadata[column].tolist()
    check_rows(stimuli, plain)
    np.testing.assert_array_equal(stimuli.image, [plain.image(n) for n in names])
    assert stimuli.image.dims == ("stimulus", "y", "x", "rgb")
    assert stimuli.image.dtype == np.uint8
    assert isinstance(stimuli.image.data, da.Array)
    for model in MODELS:
        found = stimuli[f"embedding_{model}"]
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, [plain.embedding(model, n, found.shape[1]) for n in names])
    assert stimuli.caption.values.tolist() == [plain.caption(n) for n in names]
    counts = plain.masks["image_name"].value_counts()
    assert stimuli.n_masks.values.tolist() == [counts.get(n, 0) for n in names]
    assert stimuli.sel(stimulus=names[3]).stimulus_index == 3


def test_what_the_names_tell(stimuli: xr.Dataset) -> None:
    for name, ood, cluster in zip(
        stimuli.stimulus.values, stimuli.ood_type.values, stimuli.cluster.values, strict=True
    ):
        parts = name.split("_")
        assert ood == (parts[3] if parts[2] == "OOD" else "")
        assert cluster == (int(parts[parts.index("cluster") + 1]) if "cluster" in parts else -1)
    assert "illusion-classic" in stimuli.ood_type.values
    assert {"OOD", "LAION"} <= set(stimuli.dataset.values)


@pytest.mark.parametrize("size", [20, (30, 40)])
def test_image_size(dataset_root: Path, plain: Plain, size: Any) -> None:
    found = xr.open_dataset(dataset_root, engine="laion_fmri", group="stimuli", image_size=size)
    assert found.image.shape[1:] == (*(size if isinstance(size, tuple) else (size, size)), 3)
    tree = xr.open_datatree(dataset_root, engine="laion_fmri", image_size=size)
    np.testing.assert_array_equal(tree["/stimuli"].image[:5], found.image[:5])
    if size == 20:
        np.testing.assert_array_equal(found.image[:5], [plain.image(n, 20) for n in found.stimulus.values[:5]])
    with pytest.raises(SelectionError, match=r"image_size= belongs to group='stimuli'.*ds\.laion\.images\("):
        xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03", image_size=size)


def test_a_few_images_decode_only_these(stimuli: xr.Dataset, ds: xr.Dataset, decoded: list[list[str]]) -> None:
    names = stimuli.stimulus.values
    stimuli.image.isel(stimulus=[100, 3], rgb=0).compute()
    stimuli.sel(stimulus=names[5]).image.compute()
    assert decoded == [[names[100], names[3]], [names[5]]]
    decoded.clear()
    repeats = ds.isel(trial=ds.stimulus.values == ds.stimulus.values[0])
    assert repeats.sizes["trial"] > 1
    repeats.laion.images().compute()
    assert decoded == [[ds.stimulus.values[0]]]


def test_chunks_of_images_are_planned_anew(ds: xr.Dataset, plain: Plain, decoded: list[list[str]]) -> None:
    few = ds.isel(trial=slice(0, 20)).laion.images(16)
    found = few.chunk({"trial": 7})
    assert found.chunks == ((7, 7, 6), (16,), (16,), (3,))
    names = few.stimulus.values.tolist()
    found[7:14].compute()
    assert decoded == [list(dict.fromkeys(names[7:14]))]
    decoded.clear()
    np.testing.assert_array_equal(found, [plain.image(n, 16) for n in names])
    assert sorted(decoded) == sorted(list(dict.fromkeys(names[i : i + 7])) for i in (0, 7, 14))
    assert found.isel(trial=slice(None, None, -1)).chunks[0] == (7, 7, 6)
    ds.laion.embeddings("CLIP").chunk({"trial": 7})  # no warning: rows of a matrix that is read in parts
    whole = xr.open_dataset(plain.root, engine="laion_fmri", group="stimuli").chunk({"stimulus": 50})
    assert whole.image.chunks[0] == (50,) * (whole.sizes["stimulus"] // 50) + (whole.sizes["stimulus"] % 50,)


def test_tree_and_round_trip(dataset_root: Path, tmp_path: Path, plain: Plain) -> None:
    tree = xr.open_datatree(dataset_root, engine="laion_fmri", subject="sub-03")
    check_rows(tree["/stimuli"].to_dataset().isel(stimulus=slice(0, 100, 7)), plain)
    check_rows(tree["/sub-03"].to_dataset().isel(trial=[5, 5, 2]), plain)
    few = tree["/stimuli"].to_dataset().isel(stimulus=slice(0, 6))
    few.to_netcdf(tmp_path / "few.nc", engine="h5netcdf")
    again = xr.open_dataset(tmp_path / "few.nc")
    np.testing.assert_array_equal(again.image, few.image)
    check_rows(again, plain)


def test_a_dataset_that_was_stored_knows_its_root(ds: xr.Dataset, tmp_path: Path, plain: Plain) -> None:
    ds.sel(roi="FFA1").isel(trial=slice(0, 9)).drop_dims("ses").to_zarr(tmp_path / "few.zarr")
    check_rows(xr.open_zarr(tmp_path / "few.zarr"), plain)


def test_a_dataset_that_was_opened_elsewhere(copied: Path, dataset_root: Path, tmp_path: Path, plain: Plain) -> None:
    ds = xr.open_dataset(copied, engine="laion_fmri", subject="sub-03").isel(trial=[4, 1]).drop_dims("ses")
    path = tmp_path / "shared.nc"
    ds.isel(voxel=[0, 5]).to_netcdf(path, engine="h5netcdf")
    found = xr.open_dataset(path).load()
    check_rows(found, plain)
    away = copied / "elsewhere"
    away.mkdir()
    found.stimulus.attrs["root"] = str(copied / "no such folder")
    calls: list[Callable[..., Any]] = [
        lambda **o: found.laion.embeddings("CLIP", **o),
        lambda **o: found.laion.images(**o),
        lambda **o: found.laion.captions(**o),
        lambda **o: found.laion.segmentations(**o),
        lambda **o: found.laion.plot_stimuli(**o),
    ]
    for call in calls:
        with pytest.raises(StimuliNotDownloadedError, match=r"expected .*no such folder .*say where.*root=\.\.\."):
            call()
        call(root=dataset_root)
    with pytest.raises(StimuliNotDownloadedError, match="found nothing of this name here"):
        found.laion.stimuli  # noqa: B018
    found.stimulus.attrs["root"] = str(away)  # it is there, and holds no stimuli
    with pytest.raises(StimuliNotDownloadedError, match=f"expected {away}/stimuli"):
        found.laion.captions()


def test_an_object_without_a_root(ds: xr.Dataset, dataset_root: Path) -> None:
    lost = xr.DataArray(np.zeros(2), dims="trial", coords={"stimulus": ("trial", ds.stimulus.values[:2])})
    with pytest.raises(SelectionError, match=r"Where the stimuli are is not known.*attribute 'root'.*root=\.\.\."):
        lost.laion.embeddings("CLIP")
    found = lost.laion.embeddings("CLIP", root=dataset_root)
    np.testing.assert_array_equal(found, ds.laion.embeddings("CLIP")[:2])
    with pytest.raises(SelectionError, match="expected a coordinate 'stimulus', found none"):
        lost.drop_vars("stimulus").laion.images(root=dataset_root)


# the objects


def test_images(dataset_root: Path, plain: Plain, tmp_path: Path) -> None:
    images = laion_xr.load_stimuli(dataset_root).images
    names = plain.metadata["image_name"].tolist()
    assert len(images) == len(names) == len(images.names)
    for name, picture in images:
        np.testing.assert_array_equal(np.asarray(picture), plain.image(name))
    assert images.bytes(names[4]) == plain.encoded[names[4]]
    assert images.get(names[4], (10, 12)).size == (12, 10)
    np.testing.assert_array_equal(images[names[4]], plain.image(names[4]))
    few = [names[7], names[2], names[7]]
    np.testing.assert_array_equal(images.array(few, 16), [plain.image(n, 16) for n in few])
    assert [n for n, _ in images.iterate(few)] == few
    assert names[0] in images
    paths = images.export(tmp_path / "out", few)
    assert [p.name for p in paths] == few
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {n: plain.encoded[n] for n in few}
    with pytest.raises(UnknownLabelError, match=f"Did you mean '{names[0]}'"):
        images[names[0].replace("12rep", "13rep")]


def test_export_stays_in_its_folder(copied: Path, tmp_path: Path) -> None:
    path = copied / "stimuli" / "task-images_metadata.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "../escaped.jpg,LAION,all,shared,12", *lines[2:]]) + "\n")
    with pytest.raises(SelectionError, match=r"'\.\./escaped\.jpg' cannot be exported"):
        laion_xr.load_stimuli(copied).images.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_embeddings(dataset_root: Path, plain: Plain) -> None:
    embeddings = laion_xr.load_stimuli(dataset_root).embeddings
    names = plain.metadata["image_name"].tolist()
    assert embeddings.models == MODELS
    few = [names[9], names[1], names[9]]
    np.testing.assert_array_equal(embeddings.get("CLIP", few), [plain.embedding("CLIP", n, 64) for n in few])
    assert embeddings.get("CLIP", names[3]).dims == ("feature_CLIP",)
    np.testing.assert_array_equal(embeddings.get("CLIP", names[3]), plain.embedding("CLIP", names[3], 64))
    assert embeddings["SigLIP2"].stimulus.values.tolist() == names
    assert embeddings.get("CLIP", []).shape == (0, 64)
    with pytest.raises(UnknownLabelError, match=r"'b\.jpg' does not exist here"):
        embeddings.get("CLIP", ["b.jpg"])
    with pytest.raises(UnknownLabelError, match="Did you mean 'CLIP'"):
        embeddings.get("CLPI")


def test_segmentations(dataset_root: Path, plain: Plain) -> None:
    segmentations = laion_xr.load_stimuli(dataset_root).segmentations
    for name in plain.metadata["image_name"]:
        rows = plain.masks[plain.masks["image_name"] == name].sort_values("mask_row")
        assert segmentations.nouns(name) == sorted(set(rows["noun"]))
        boxes = segmentations.boxes(name)
        assert boxes[["x0", "y1"]].values.tolist() == rows[["box_x0", "box_y1"]].values.tolist()
        found = segmentations.get(name)
        assert found.instance.values.tolist() == rows["instance_id"].tolist()
        np.testing.assert_array_equal(found, plain.mask[rows["mask_row"]])
    twice = plain.masks[plain.masks["instance_id"] == 1].iloc[0]
    one = segmentations.get(twice["image_name"], twice["noun"], instance=1)
    np.testing.assert_array_equal(one, plain.mask[[twice["mask_row"]]])
    assert segmentations.get(twice["image_name"], "no such noun").shape == (0, 64, 64)
    np.testing.assert_array_equal(segmentations.masks, plain.mask)
    assert isinstance(segmentations.masks.data, da.Array)
    none = next(n for n in plain.metadata["image_name"] if n not in set(plain.masks["image_name"]))
    assert segmentations.nouns(none) == []
    assert segmentations.boxes(none).shape == (0, 7)
    np.testing.assert_array_equal(np.asarray(segmentations.overlay(none)), plain.image(none))
    painted = np.asarray(segmentations.overlay(twice["image_name"], alpha=1.0))
    inside = plain.inside(twice["image_name"])
    np.testing.assert_array_equal(painted[~inside], plain.image(twice["image_name"])[~inside])
    assert len(np.unique(painted[inside], axis=0)) == 1
    with pytest.raises(UnknownLabelError, match=r"Stimulus 'b\.jpg' does not exist here"):
        segmentations.nouns("b.jpg")


def test_captions(dataset_root: Path, plain: Plain) -> None:
    captions = laion_xr.load_stimuli(dataset_root).captions
    for name in plain.metadata["image_name"]:
        rows = plain.captions[plain.captions["image_name"] == name]
        assert captions.human(name) == rows[rows["source"] == "human"]["caption"].tolist()
        assert captions.ai(name) == rows[rows["source"] == "ai"]["caption"].tolist()
    names = plain.captions["image_name"].unique()[[5, 2]].tolist()
    found = captions.get(names, "human")
    assert list(dict.fromkeys(found["image_name"])) == names
    assert set(found["source"]) == {"human"}
    assert len(captions.get()) == len(captions) == len(plain.captions)
    with pytest.raises(UnknownLabelError, match=r"Stimulus 'b\.jpg' does not exist here"):
        captions.human("b.jpg")


def _one_image(found: Any) -> np.ndarray:
    stimuli, name = found
    return np.asarray(stimuli.images.get(name))


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_other_processes(dataset_root: Path, plain: Plain, start: str) -> None:
    stimuli = laion_xr.load_stimuli(dataset_root)
    name = plain.metadata["image_name"][4]
    stimuli.images.get(name)  # used here, before it travels
    context = multiprocessing.get_context(start)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        for found in pool.map(_one_image, [(stimuli, name)] * 3):
            np.testing.assert_array_equal(found, plain.image(name))


def test_in_threads_and_pickled(dataset_root: Path, plain: Plain) -> None:
    stimuli = laion_xr.load_stimuli(dataset_root)
    names = plain.metadata["image_name"].tolist()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for name, found in zip(names, pool.map(stimuli.images.array, names), strict=True):
            np.testing.assert_array_equal(found, plain.image(name))
    assert len(pickle.dumps(stimuli)) < 5000
    again = pickle.loads(pickle.dumps(stimuli.segmentations))
    assert again.nouns(names[0]) == stimuli.segmentations.nouns(names[0])


# what is not there, and what is broken


def open_parts(root: Path) -> tuple[xr.Dataset, xr.Dataset]:
    return (
        xr.open_dataset(root, engine="laion_fmri", subject="sub-03"),
        xr.open_dataset(root, engine="laion_fmri", group="stimuli"),
    )


def test_without_images_everything_else_works(copied: Path, plain: Plain) -> None:
    path = copied / "stimuli" / "task-images_stimuli.h5"
    path.unlink()
    ds, stimuli = open_parts(copied)
    assert "image" not in stimuli
    assert {"caption", "n_masks", "embedding_CLIP"} <= set(stimuli.data_vars)
    assert ds.laion.captions().values.tolist() == [plain.caption(n) for n in ds.stimulus.values]
    np.testing.assert_array_equal(ds.laion.segmentations(), [plain.inside(n) for n in ds.stimulus.values])
    ds.laion.embeddings("CLIP").compute()
    calls: list[Callable[[], Any]] = [
        lambda: ds.laion.images(),
        lambda: ds.laion.stimuli.images[ds.stimulus.values[0]],
        lambda: ds.laion.stimuli.images.export(copied / "out"),
        lambda: ds.laion.plot_stimuli(),
        lambda: xr.open_dataset(copied, engine="laion_fmri", group="stimuli", image_size=32),
    ]
    for call in calls:
        with pytest.raises(StimuliNotDownloadedError, match=rf"expected {path}; .*request access at https"):
            call()
    assert not (copied / "out").exists()


@pytest.mark.parametrize("kind", ["metadata.csv", "desc-captions.csv", "desc-segmentations.h5"])
def test_what_needs_a_missing_file_names_it(copied: Path, kind: str) -> None:
    ds = xr.open_dataset(copied, engine="laion_fmri", subject="sub-03")
    path = copied / "stimuli" / f"task-images_{kind}"
    path.unlink()
    needs: dict[str, Callable[[], Any]] = {
        "metadata.csv": lambda: ds.laion.images(),
        "desc-captions.csv": lambda: ds.laion.captions(),
        "desc-segmentations.h5": lambda: ds.laion.segmentations(),
    }
    with pytest.raises(StimuliNotDownloadedError, match=f"expected {path}; download them first"):
        needs[kind]()
    (copied / "stimuli" / "task-images_desc-DINOv2_embeddings.h5").unlink()
    with pytest.raises(StimuliNotDownloadedError, match="embeddings of DINOv2 are not there"):
        ds.laion.embeddings("DINOv2")


def test_a_trial_of_an_unknown_image(copied: Path) -> None:
    path = copied / "stimuli" / "task-images_metadata.csv"
    ds = xr.open_dataset(copied, engine="laion_fmri", subject="sub-03")
    name = ds.stimulus.values[3]
    images = copied / "stimuli" / "task-images_stimuli.h5"
    lines = path.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith(name)) - 1
    path.write_text("\n".join(lines[: row + 1] + lines[row + 2 :]) + "\n")
    with pytest.raises(FileFormatError, match=rf"{images} does not hold an image for each row of the metadata"):
        ds.laion.images()
    with h5py.File(images, "a") as file:
        values = [v for i, v in enumerate(file["images"][:]) if i != row]
        del file["images"]
        file.create_dataset("images", (len(values),), h5py.vlen_dtype(np.uint8))
        for i, value in enumerate(values):
            file["images"][i] = value
    again = xr.open_dataset(copied, engine="laion_fmri", subject="sub-03")
    with pytest.raises(SelectionError, match=rf"show images that the metadata of .* do not have \('{name}'\)"):
        again.laion.images()
    known = again.isel(trial=again.stimulus_index.values >= 0)
    assert known.laion.images().sizes["trial"] == known.sizes["trial"] < again.sizes["trial"]


def test_metadata_with_duplicate_names(copied: Path) -> None:
    path = copied / "stimuli" / "task-images_metadata.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[3]]) + "\n")
    for call in (lambda: laion_xr.load_stimuli(copied).names, lambda: open_parts(copied)):
        with pytest.raises(FileFormatError, match=rf"{path} does not name each image once: '{lines[3].split(',')[0]}'"):
            call()


def replace_image(root: Path, row: int, data: bytes) -> str:
    with h5py.File(root / "stimuli" / "task-images_stimuli.h5", "a") as file:
        file["images"][row] = np.frombuffer(data, np.uint8)
    return str(pd.read_csv(root / "stimuli" / "task-images_metadata.csv")["image_name"][row])


@pytest.mark.parametrize("data", [b"not an image", b"", b"\xff\xd8\xff\xe0 cut"])
def test_an_image_that_is_not_an_image(copied: Path, plain: Plain, data: bytes) -> None:
    name = replace_image(copied, 0, data)  # the first: its size is asked for when the file is opened
    _, stimuli = open_parts(copied)
    with pytest.raises(FileFormatError, match=rf"The image '{name}' \(row 0 of .*stimuli\.h5\) is .*again"):
        stimuli.image.compute()
    np.testing.assert_array_equal(stimuli.image[1:], [plain.image(n) for n in stimuli.stimulus.values[1:]])
    with pytest.raises(FileFormatError, match=name):
        laion_xr.load_stimuli(copied).images.get(name)


def test_an_image_of_another_size(copied: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "PNG")
    name = replace_image(copied, 5, buffer.getvalue())
    _, stimuli = open_parts(copied)
    with pytest.raises(FileFormatError, match=rf"'{name}'.*expected 64 x 64 pixels, found 20 x 30; choose a size"):
        stimuli.image.compute()
    assert laion_xr.load_stimuli(copied).to_dataset(image_size=16).image[5].values.shape == (16, 16, 3)


def test_truncated_files(copied: Path) -> None:
    ds, stimuli = open_parts(copied)
    for kind, call in {
        "stimuli.h5": lambda: stimuli.image.compute(),
        "desc-segmentations.h5": lambda: ds.laion.stimuli.segmentations.masks.compute(),
        "desc-PEcore_embeddings.h5": lambda: stimuli.embedding_PEcore.compute(),
    }.items():
        path = copied / "stimuli" / f"task-images_{kind}"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(CorruptFileError, match=rf"{path} is truncated or damaged.*Download it again"):
            call()
    with pytest.warns(IncompleteDataWarning, match="is left out of the stimuli") as warned:
        _, found = open_parts(copied)
    assert sorted(str(w.message).split("'")[1] for w in warned) == ["embedding_PEcore", "image"]
    assert {"embedding_CLIP", "caption", "n_masks"} <= set(found)
    dropped = ["image", "embedding_PEcore"]  # these files are not touched: no warning
    again = xr.open_dataset(copied, engine="laion_fmri", group="stimuli", drop_variables=dropped)
    xr.testing.assert_identical(again, found)


GARBAGE = b"\x00\xff garbage, not a table"
BROKEN = {
    "caption": ("desc-captions.csv", [b"", GARBAGE, b"image_name,caption_idx\n", b'image_name\n"a.jpg']),
    "n_masks": ("desc-segmentations_metadata.csv", [b"", GARBAGE, b"mask_row,image_name,noun\nx,y,z\n"]),
    "image": ("stimuli.h5", [b"", GARBAGE, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"]),
    "embedding_CLIP": ("desc-CLIP_embeddings.h5", [b"", GARBAGE]),
}


@pytest.mark.parametrize(("name", "data"), [(name, data) for name, (_, all_) in BROKEN.items() for data in all_])
def test_a_broken_file_stops_nothing_else(copied: Path, plain: Plain, name: str, data: bytes) -> None:
    path = copied / "stimuli" / f"task-images_{BROKEN[name][0]}"
    path.write_bytes(data)
    said = rf"'{name}' is left out of the stimuli, the rest was opened: {path}.*drop_variables='{name}' leaves the file"
    with pytest.warns(IncompleteDataWarning, match=said) as warned:
        tree = xr.open_datatree(copied, engine="laion_fmri")
    assert len(warned) == 1
    assert set(tree["/stimuli"].data_vars) == {*(f"embedding_{m}" for m in MODELS), "image", "caption", "n_masks"} - {
        name
    }
    ds = tree["/sub-03"].to_dataset()
    calls: dict[str, Callable[[], Any]] = {
        "caption": lambda: ds.laion.captions(),
        "n_masks": lambda: ds.laion.segmentations(),
        "image": lambda: ds.laion.images(),
        "embedding_CLIP": lambda: ds.laion.embeddings("CLIP"),
    }
    with pytest.raises((FileFormatError, DataNotDownloadedError), match=str(path)):
        calls.pop(name)()
    for call in calls.values():
        call()
    dropped = xr.open_dataset(copied, engine="laion_fmri", group="stimuli", drop_variables=name)
    labels = ["caption_source", "caption_slot"]
    kept = tree["/stimuli"].to_dataset().drop_vars(labels, errors="ignore")
    xr.testing.assert_identical(dropped.drop_vars(labels, errors="ignore"), kept)


def test_images_of_another_number_than_the_metadata(copied: Path) -> None:
    with h5py.File(copied / "stimuli" / "task-images_stimuli.h5", "w") as file:
        file.create_dataset("images", (3,), h5py.vlen_dtype(np.uint8))
    with pytest.warns(IncompleteDataWarning, match="'image' is left out.*an image for each row of the metadata"):
        assert "embedding_CLIP" in xr.open_dataset(copied, engine="laion_fmri", group="stimuli", image_size=8)


def test_embeddings_with_other_names(copied: Path, plain: Plain) -> None:
    path = copied / "stimuli" / "task-images_desc-CLIP_embeddings.h5"
    with h5py.File(path, "a") as file:
        names = file["image_ids"].asstr()[:]
        lost = names[3]
        names[3] = "nobody knows this.jpg"
        file["image_ids"][:] = names
    _, stimuli = open_parts(copied)
    assert np.isnan(stimuli.embedding_CLIP.sel(stimulus=lost)).all()
    others = stimuli.isel(stimulus=stimuli.stimulus.values != lost)
    expected = [plain.embedding("CLIP", n, 64) for n in others.stimulus.values]
    np.testing.assert_array_equal(others.embedding_CLIP, expected)


def test_files_of_something_else(copied: Path) -> None:
    for kind, array in {"stimuli.h5": "images", "desc-segmentations.h5": "masks"}.items():
        path = copied / "stimuli" / f"task-images_{kind}"
        with h5py.File(path, "w") as file:
            file["other"] = np.zeros(3)
        stimuli = laion_xr.load_stimuli(copied)
        with pytest.raises(FileFormatError, match=rf"{path} has no array '{array}' of . dims: found other"):
            stimuli.images[stimuli.names[0]] if array == "images" else stimuli.segmentations.masks


def test_look_ups_say_what_they_are(dataset_root: Path, plain: Plain, copied: Path) -> None:
    stimuli = laion_xr.load_stimuli(dataset_root)
    assert repr(stimuli.images) == f"<Images: {len(plain.metadata)} images, of {dataset_root}>"
    assert repr(stimuli.embeddings) == f"<Embeddings: 4 models ({', '.join(MODELS)}), of {dataset_root}>"
    assert repr(stimuli.captions) == f"<Captions: {len(plain.captions):,} captions, of {dataset_root}>"
    assert repr(stimuli.segmentations) == f"<Segmentations: {len(plain.masks)} masks, of {dataset_root}>"
    for kind in ("stimuli.h5", "desc-captions.csv"):
        (copied / "stimuli" / f"task-images_{kind}").unlink()
    stimuli = laion_xr.load_stimuli(copied)
    assert f"{len(plain.metadata)} images, without their pictures" in repr(stimuli.images)
    assert "no captions that can be read" in repr(stimuli.captions)


def test_a_look_up_at_an_address_asks_nothing_to_say_what_it_is(plain: Plain, dataset_root: Path) -> None:
    address = fsspec.filesystem("memory")
    address.put(str(dataset_root / "stimuli"), "/looked-at/stimuli", recursive=True)
    try:
        stimuli = laion_xr.load_stimuli("memory://looked-at")
        assert "images, not counted yet" in repr(stimuli.images)
        assert len(stimuli.images) == len(plain.metadata)
        assert f"{len(plain.metadata)} images, of" in repr(stimuli.images)
    finally:
        address.rm("/looked-at", recursive=True)
