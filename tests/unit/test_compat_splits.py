"""The published splits in the drop-in layer: names, image names, masks over trials."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from laion_xr.compat.splits import (
    Split,
    get_split_masks,
    get_train_test_ids,
    list_ood_types,
    list_pools,
    list_splits,
    load_all_splits,
    load_split,
)
from laion_xr.errors import SelectionError

TRAIN = [f"shared_12rep_LAION_cluster_{n}_i0.jpg" for n in (9, 3, 5, 1)]
TEST = ["shared_12rep_LAION_cluster_7_i0.jpg", "shared_12rep_LAION_cluster_2_i0.jpg"]
OOD = ["shared_4rep_OOD_shape_b.png", "shared_4rep_OOD_gabor_a.png", "shared_4rep_OOD_illusion-classic_c.png"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two splits in a user's folder, in the published form, in an order of their own."""
    for name, test in (("tau", TEST), ("ood", OOD)):
        content = {
            "name": name,
            "pool": "shared LAION pool",
            "splitter": "min_nn_stochastic",
            "params": {"method": "made by hand", "seed": 3},
            "n_train": len(TRAIN),
            "n_test": len(test),
            "variants": [{"variant_id": 0, "train_ids": TRAIN, "test_ids": test}],
        }
        (tmp_path / "shared").mkdir(exist_ok=True)
        (tmp_path / "shared" / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.setenv("LAION_XR_SPLITS_DIR", str(tmp_path))
    return tmp_path


def test_names_are_the_published_ones() -> None:
    assert list_pools() == ["shared", "sub-01", "sub-03", "sub-05", "sub-06", "sub-07"]
    assert list_splits() == [
        *(f"random_{i}" for i in range(5)),
        *(f"cluster_k5_{i}" for i in range(5)),
        "tau",
        "ood",
    ]
    assert list_ood_types() == [
        *("cropped", "gabor", "gaudy", "illusion-classic", "illusion-natural"),
        *("relations", "selfmade", "shape", "unusual"),
    ]


def test_split_is_what_its_file_says(folder: Path) -> None:
    split = load_split("tau", pool="shared")
    assert isinstance(split, Split)
    assert (split.name, split.pool, split.split_family) == ("tau", "shared", "tau")
    assert (split.n_train, split.n_test) == (4, 2)
    assert (split.splitter, split.params) == ("min_nn_stochastic", {"method": "made by hand", "seed": 3})
    (variant,) = split.variants
    assert (variant.variant_id, variant.train_ids, variant.test_ids) == (0, TRAIN, TEST)
    assert variant.all_ids() == TRAIN + TEST
    assert Split("cluster_k5_2", "shared", "", {}, 0, 0).split_family == "cluster_k5"
    assert Split("random_4", "shared", "", {}, 0, 0).split_family == "random"
    assert Split("mine", "shared", "", {}, 0, 0).split_family == "other"


def test_image_names_are_in_the_order_of_the_file(folder: Path) -> None:
    assert get_train_test_ids("tau", pool="shared") == (TRAIN, TEST)
    assert get_train_test_ids("ood", "shared", ood_types=["gabor", "illusion-classic"])[1] == OOD[1:]
    assert get_train_test_ids("ood", "shared", ood_types="shape") == (TRAIN, OOD[:1])


def test_masks_tell_the_side_of_each_trial(folder: Path) -> None:
    labels = [TEST[0], TRAIN[0], "unique_LAION_initial_cluster_1_i38_p04.jpg", OOD[0], TRAIN[0], TEST[1]]
    table = pd.DataFrame({"label": labels, "run": 1}, index=[5, 3, 9, 1, 0, 2])
    expected = [label in TRAIN for label in labels], [label in TEST for label in labels]
    for trials in (table, table["label"], np.array(labels), labels):
        for found, right in zip(get_split_masks(trials, "tau", pool="shared"), expected, strict=True):
            assert found.dtype == np.bool_
            assert found.tolist() == right
    train, test = get_split_masks(table, "ood", "shared", ood_types=["gabor"])
    assert train.tolist() == expected[0]
    assert not test.any()
    train, test = get_split_masks([], "tau", "shared")
    assert (train.shape, test.shape, train.dtype) == ((0,), (0,), np.bool_)


def test_what_has_no_label_a_trial_is_a_value_error(folder: Path) -> None:
    table = pd.DataFrame({"session": "ses-01", "image_name": TRAIN})
    labelled = table.assign(label=TRAIN)
    for wrong in (
        table,
        table.rename(columns={"image_name": "lbl"}),
        table[["session", "image_name"]],
        pd.DataFrame(),
        labelled.to_numpy(),
        np.array(TRAIN).reshape(2, 2),
        np.array(TRAIN[0]),
        "ses-01",
        b"ses-01",
        {"label": TRAIN},
        {"ses-01": labelled},  # of get_trial_info(["ses-01"])
        [labelled],
        set(TRAIN),
        [TRAIN, TRAIN],
        [1, 2],
        np.array(TRAIN, dtype="S"),
        pd.MultiIndex.from_frame(table),
        pd.concat([labelled, labelled["label"]], axis=1),
        xr.Dataset({"label": ("trial", TRAIN)}),
        None,
        3,
    ):
        with pytest.raises(SelectionError, match="column 'label'"):
            get_split_masks(wrong, "tau", pool="shared")
    with pytest.raises(SelectionError, match="found the columns session, image_name"):
        get_split_masks(table, "tau", pool="shared")


def test_trial_without_a_label_is_on_neither_side(folder: Path) -> None:
    for nothing in (None, np.nan, pd.NA, ""):
        train, test = get_split_masks(pd.Series([TRAIN[0], nothing, TEST[0]], dtype=object), "tau", "shared")
        assert (train.tolist(), test.tolist()) == ([True, False, False], [False, False, True])


def test_labels_come_in_any_ordered_kind(folder: Path) -> None:
    labels = [*TRAIN, *TEST]
    for trials in (
        pd.Index(labels),
        pd.Categorical(labels),
        pd.Series(labels, dtype="string"),
        tuple(labels),
        iter(labels),
        np.array(labels, dtype=object),
        xr.DataArray(labels, dims="trial"),
    ):
        train, test = get_split_masks(trials, "tau", "shared")
        assert (train.tolist(), test.tolist()) == ([True] * 4 + [False] * 2, [False] * 4 + [True] * 2)


def test_unknown_names_are_value_errors(folder: Path) -> None:
    for call in (
        lambda: load_split("gamma", "shared"),
        lambda: load_split("tau", "sub-99"),
        lambda: get_train_test_ids("tau", "shared", variant_id=3),
        lambda: get_train_test_ids("ood", "shared", ood_types=["cats"]),
        lambda: get_train_test_ids("tau", "shared", ood_types=["shape"]),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            call()


def test_published_files_give_the_published_numbers(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_SPLITS_DIR", str(shared / "splits"))
    train, test = get_train_test_ids("tau", pool="shared")
    assert (len(train), len(test)) == (897, 224)
    assert len(get_train_test_ids("ood", pool="shared", ood_types=["shape"])[1]) == 82
    for pool, size in (("shared", 1121), ("sub-03", 5833)):
        every = load_all_splits(pool)
        assert list(every) == list_splits()
        for name, split in every.items():
            raw = json.loads((shared / "splits" / pool / f"{name}.json").read_text())
            assert split.variants[0].train_ids == raw["variants"][0]["train_ids"]
            assert split.variants[0].test_ids == raw["variants"][0]["test_ids"]
            assert (split.params, split.splitter) == (raw["params"], raw["splitter"])
            assert split.n_test == 371 if name == "ood" else split.n_train + split.n_test == size
