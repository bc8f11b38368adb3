"""The published splits by name, all 72 files: computed where a recipe makes them, else read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from laion_xr.access import splits as files
from laion_xr.analysis import list_pools, list_splits, split, split_images
from laion_xr.errors import SelectionError, SplitsNotAvailableError, UnknownLabelError

POOLS = ["shared", "sub-01", "sub-03", "sub-05", "sub-06", "sub-07"]
NAMES = ["tau", *(f"cluster_k5_{i}" for i in range(5)), "ood", *(f"random_{i}" for i in range(5))]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "PUBLISHED_LOADER", "laion_fmri_is_not_installed")
    monkeypatch.setattr(files, "BASE_URL", "http://127.0.0.1:9/")


def published(shared: Path, pool: str, name: str) -> dict[str, list[str]]:
    return json.loads((shared / "splits" / pool / f"{name}.json").read_text("utf-8"))["variants"][0]


def everything(shared: Path) -> list[str]:
    """All image names of the experiment: as the metadata have them."""
    names = set()
    for pool in POOLS:
        sides = published(shared, pool, "ood")
        names |= {*sides["train_ids"], *sides["test_ids"]}
    assert len(names) == 1121 + 371 + 5 * 4712 == 25052
    return sorted(names, reverse=True)


def shown(names: list[str], seed: int = 0) -> xr.Dataset:
    """A Dataset that shows images one to three times each."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.array(names, dtype=object), rng.integers(1, 4, len(names))))
    return xr.Dataset(
        {"betas": (("trial", "voxel"), np.zeros((len(labels), 1), np.float32))},
        {"stimulus": ("trial", labels), "trial": np.arange(len(labels))},
    )


def test_names(shared: Path) -> None:
    assert list_pools() == POOLS
    assert sorted(list_splits()) == sorted(NAMES) == sorted(p.stem for p in (shared / "splits" / "shared").iterdir())
    assert list_splits(3) == list_splits("03") == list_splits("sub-03")


@pytest.mark.parametrize("pool", POOLS)
def test_as_published(shared: Path, pool: str) -> None:
    names = everything(shared)
    for name in NAMES:
        expected = published(shared, pool, name)
        made = name.startswith(("random", "ood"))
        # without a folder nothing can be read here, so these are computed
        options: dict[str, Any] = {"images": names} if made else {"splits_dir": shared / "splits"}
        train, test = split_images(name, pool, **options)
        assert [*train] == expected["train_ids"], name
        assert [*test] == expected["test_ids"], name


@pytest.mark.parametrize("pool", ["shared", "sub-03"])
def test_whole_pool_in_a_dataset(shared: Path, pool: str) -> None:
    own = published(shared, "sub-03", "ood")
    ds = shown([*own["train_ids"], *own["test_ids"]])
    for name in NAMES:
        expected = published(shared, pool, name)
        made = name.startswith(("random", "ood"))
        train, test = split(ds, name, pool=pool, splits_dir=None if made else shared / "splits")
        labels = ds.stimulus.values
        np.testing.assert_array_equal(train.trial, np.flatnonzero(np.isin(labels, expected["train_ids"])))
        np.testing.assert_array_equal(test.trial, np.flatnonzero(np.isin(labels, expected["test_ids"])))


def test_part_of_a_pool_gets_the_published_random_split(shared: Path) -> None:
    expected = published(shared, "shared", "random_2")
    some = [*expected["train_ids"][::7], *expected["test_ids"][::5]]
    ds = shown(some)
    by_file = split(ds, "random_2", splits_dir=shared / "splits")
    by_names = split(ds, "random_2", images=everything(shared))
    for side, other, ids in zip(by_file, by_names, (expected["train_ids"], expected["test_ids"]), strict=True):
        assert set(side.stimulus.values) == set(ids) & set(some)
        assert side.identical(other)
    with pytest.raises(
        SplitsNotAvailableError, match=r"drawn from all 1121 images of the pool 'shared', and \d+ are here"
    ):
        split(ds, "random_2")


def test_other_images_than_the_published_ones(shared: Path) -> None:
    ds = shown(["shared_12rep_LAION_cluster_1003_i0.jpg", *(f"shared_4rep_LAION_made_up_{i}.jpg" for i in range(20))])
    with pytest.raises(SelectionError, match="Only 1 of the 21 images of the pool 'shared' here are published ones"):
        split(ds, "random_0", splits_dir=shared / "splits")
    train, test = split(ds, "random_0", images=ds.stimulus)
    assert len(np.unique(test.stimulus)) == 4
    assert len(np.unique(train.stimulus)) == 17


def test_ood_types(shared: Path) -> None:
    expected = published(shared, "shared", "ood")
    shapes = [name for name in expected["test_ids"] if "_OOD_shape_" in name]
    for options in ({"images": everything(shared)}, {"splits_dir": shared / "splits"}):
        train, test = split_images("ood", ood_types="shape", **options)
        assert (list(train), list(test)) == (expected["train_ids"], shapes)
    with pytest.raises(
        SelectionError, match="ood_types= narrows the test side of the split 'ood', and the split is 'tau'"
    ):
        split_images("tau", ood_types="shape")


def test_unknown_names() -> None:
    with pytest.raises(UnknownLabelError, match=r"Pool 'sub-04' does not exist here. Did you mean 'sub-0"):
        split_images("tau", "sub-04")
    with pytest.raises(UnknownLabelError, match=r"Split 'random_5' does not exist here. Did you mean 'random_"):
        split_images("random_5")
    with pytest.raises(UnknownLabelError, match=r"Pool 'shraed' does not exist here. Did you mean 'shared'"):
        list_splits("shraed")


def test_pool_of_which_nothing_is_published() -> None:
    ds = shown([f"unique_LAION_{i}_p12.jpg" for i in range(10)]).assign_attrs(subject="sub-02")
    with pytest.raises(SelectionError, match="Nothing is published of the pool 'sub-02'"):
        split(ds, "random_0", pool=2)
    _, test = split(ds, "random_0", pool=2, images=ds)
    assert len(np.unique(test.stimulus)) == 2
