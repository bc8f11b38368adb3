"""The stimulus files of a simulated dataset, read with h5py, pandas and PIL, against its truth."""

from __future__ import annotations

import io
import re

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from laion_xr import layout
from laion_xr.simulate import Truth, simulate

SIZE = 48


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Truth:
    root = tmp_path_factory.mktemp("stimuli")
    return simulate(
        root, 2, 6, 60, 8, image_size=SIZE, n_shared_4=24, surfaces=False, models=False, embedding_dims={"CLIP": 20}
    )


@pytest.fixture(scope="module")
def metadata(truth) -> pd.DataFrame:
    return pd.read_csv(truth.root / layout.stimulus_path("metadata"))


def test_metadata(truth, metadata):
    assert list(metadata.columns) == ["image_name", "dataset", "participant", "unique_or_shared", "n_reps"]
    assert metadata["image_name"].is_unique
    assert tuple(metadata["image_name"]) == truth.stimuli.names
    shown = {label for subject in truth.subjects.values() for label in subject.table["label"]}
    assert shown < set(metadata["image_name"])
    unique = metadata["unique_or_shared"] == "unique"
    assert (metadata["image_name"].str.startswith("unique_") == unique).all()
    assert set(metadata["n_reps"][unique]) == {1}
    assert set(metadata["participant"][unique]) == {"sub-01", "sub-03", "sub-05"}
    owner = metadata[unique].set_index("image_name")["participant"]
    for subject in truth.subjects.values():
        seen = subject.table["label"]
        assert set(owner[seen[seen.str.startswith("unique_")]]) == {subject.name}


def test_names_follow_the_published_patterns(metadata):
    patterns = (
        r"shared_12rep_(LAION_cluster_\d+_i\d+|THINGS\+_kmeans_\d+_\w+)\.jpg",
        r"shared_4rep_NSD_special1000_\d+\.jpg",
        r"shared_4rep_OOD_([a-z-]+)_[\w .-]+\.(png|jpg)",
        r"unique_LAION_(initial|fillup|new)_cluster_\d+_i\d+_p\d\d\.jpg",
    )
    for name in metadata["image_name"]:
        assert sum(re.fullmatch(pattern, name) is not None for pattern in patterns) == 1, name
    types = metadata["image_name"].str.extract(r"_OOD_([a-z-]+)_")[0].dropna()
    assert set(types) == {
        "cropped", "gabor", "gaudy", "illusion-classic", "illusion-natural", "relations", "selfmade", "shape", "unusual"
    }  # fmt: skip


def test_images_are_real_files_of_the_kind_that_their_name_says(truth, metadata):
    modes = set()
    with h5py.File(truth.root / layout.stimulus_path("images")) as file:
        images = file["images"]
        assert images.shape == (len(metadata),)
        pictures = []
        for row, name in enumerate(metadata["image_name"]):
            with Image.open(io.BytesIO(images[row].tobytes())) as picture:
                assert picture.format == {"jpg": "JPEG", "png": "PNG"}[name[-3:]]
                assert picture.size == (SIZE, SIZE)
                modes.add((picture.format, picture.mode))
                pictures.append(np.asarray(picture.convert("RGB"), np.int16))
    assert modes == {("JPEG", "RGB"), ("JPEG", "L"), *(("PNG", mode) for mode in ("RGBA", "L", "P", "RGB"))}
    assert all(np.abs(pictures[0] - other).mean() > 5 for other in pictures[1:])


def test_embeddings_match_by_name_only(truth):
    orders = {}
    for model, n_dims in truth.stimuli.embedding_dims.items():
        expected = truth.stimuli.embedding(model)
        rows = {name: i for i, name in enumerate(truth.stimuli.names)}
        with h5py.File(truth.root / layout.embedding_path(model)) as file:
            names = file["image_ids"].asstr()[:]
            order = [rows[name] for name in names]
            assert file["embedding"].dtype == np.float16
            assert file["embedding"].shape == (len(rows), n_dims)
            np.testing.assert_array_equal(file["embedding"][:], expected[order])
            np.testing.assert_array_equal(file["valid"][:], truth.stimuli.valid(model)[order])
            assert file["valid"].dtype == bool
            assert 0 < (~file["valid"][:]).sum() < 10
        assert sorted(order) == list(range(len(rows)))
        orders[model] = tuple(order)
    assert len({*orders.values(), tuple(range(len(order)))}) == 5
    assert truth.stimuli.embedding_dims["CLIP"] == 20


def test_embeddings_are_the_features_seen_through_a_linear_map(truth):
    explained = {}
    for model in truth.stimuli.embedding_dims:
        valid = truth.stimuli.valid(model)
        x = truth.stimuli.embedding(model)[valid].astype(float)
        rest = x - truth.stimuli.features[valid] @ truth.stimuli.embedding_map(model)
        explained[model] = 1 - rest.var() / x.var()
    assert explained["CLIP"] > 0.97
    assert explained["CLIP"] > explained["DINOv2"] > explained["PEcore"] > explained["SigLIP2"] > 0.3


def test_segmentations(truth, metadata):
    table = pd.read_csv(truth.root / layout.stimulus_path("segmentations_metadata"))
    columns = "mask_row image_name noun instance_id score box_x0 box_y0 box_x1 box_y1 localized mask_file"
    assert list(table.columns) == columns.split()
    assert table["localized"].dtype == bool
    assert sorted(table["mask_row"]) == list(range(len(table)))
    assert not table["mask_row"].is_monotonic_increasing
    shared = set(metadata["image_name"][metadata["unique_or_shared"] == "shared"])
    assert set(table["image_name"]) < shared
    assert table.groupby(["image_name", "noun"])["instance_id"].nunique().max() == 2
    with h5py.File(truth.root / layout.stimulus_path("segmentations")) as file:
        masks = file["masks"]
        assert (masks.shape, masks.dtype, masks.compression, masks.shuffle) == (
            (len(table), SIZE, SIZE), np.uint8, "gzip", True
        )  # fmt: skip
        for row in table.itertuples():
            ys, xs = np.nonzero(masks[row.mask_row])
            box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert box == (row.box_x0, row.box_y0, row.box_x1, row.box_y1)


def test_the_shape_in_the_picture_is_where_its_mask_is(truth, metadata):
    table = pd.read_csv(truth.root / layout.stimulus_path("segmentations_metadata"))
    rows = {name: i for i, name in enumerate(metadata["image_name"])}
    one = table[~table["image_name"].duplicated(keep=False) & table["image_name"].str.contains("_LAION_")].iloc[0]
    with (
        h5py.File(truth.root / layout.stimulus_path("segmentations")) as masks,
        h5py.File(truth.root / layout.stimulus_path("images")) as images,
    ):
        inside = masks["masks"][one["mask_row"]].astype(bool)
        picture = Image.open(io.BytesIO(images["images"][rows[one["image_name"]]].tobytes())).convert("RGB")
    colours = np.asarray(picture, float)
    assert colours[inside].std(axis=0).mean() < 0.6 * colours[~inside].std(axis=0).mean()


def test_captions(truth, metadata):
    table = pd.read_csv(truth.root / layout.stimulus_path("captions"))
    columns = "image_name caption_idx source caption origin_collection participant_id ai_model"
    assert list(table.columns) == columns.split()
    kind = metadata.set_index("image_name")
    for name, rows in table.groupby("image_name"):
        shared = kind.loc[name, "unique_or_shared"] == "shared"
        expected = list(range(1, 6)) if shared else [1, 2, 3]
        if shared and kind.loc[name, "dataset"] != "OOD":
            expected.insert(0, 0)
        assert list(rows["caption_idx"]) == expected
        assert list(rows["source"]) == ["human" if i else "ai" for i in expected]
    text = "".join(table["caption"])
    assert {",", '"', "\n", "é"} <= set(text)
    assert set(metadata["image_name"]) - set(table["image_name"])


def test_parts_can_be_chosen(tmp_path):
    simulate(tmp_path, [1], 1, 8, 8, stimuli=["metadata", "captions"], surfaces=False, models=False)
    names = {layout.stimulus_path("metadata"), layout.stimulus_path("captions")}
    assert {p.relative_to(tmp_path).as_posix() for p in (tmp_path / "stimuli").iterdir()} == names


def test_names_of_the_caller_s(tmp_path):
    unique = [f"unique_LAION_initial_cluster_{i}_i0_p04.jpg" for i in range(60)]
    shared = ["shared_12rep_THINGS+_kmeans_0_balloon.jpg", "shared_4rep_OOD_unusual_17FLORIDA.jpg"]
    truth = simulate(tmp_path, [3], 2, 10, 8, image_names=[*unique, *shared], n_shared_12=1, n_shared_4=1, write=False)
    assert set(truth.stimuli.names) == {*unique, *shared}
    assert set(shared) < set(truth[3].table["label"])
    with pytest.raises(ValueError, match="image_names hold 0 unique images of sub-01"):
        simulate(tmp_path, [1], 2, 10, 8, image_names=[*unique, *shared], write=False)


def test_published_names_make_published_splits_meaningful(tmp_path):
    # sub-03 is participant 4 in the names of its unique images
    truth = simulate(tmp_path, 5, 1, 30, 8, write=False)
    codes = {}
    for subject in truth.subjects.values():
        labels = subject.table["label"]
        codes[subject.name] = set(labels.str.extract(r"^unique_.*_(p\d\d)\.jpg$")[0].dropna())
    assert codes == {"sub-01": {"p01"}, "sub-03": {"p04"}, "sub-05": {"p03"}, "sub-06": {"p02"}, "sub-07": {"p05"}}
