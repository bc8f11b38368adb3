"""`.laion.split`: trials of both sides against the tables that were written, laziness, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.analysis import split, split_masks
from laion_xr.errors import SelectionError, SplitLeakageError, UnknownLabelError

NAMES = ["shared_4rep_LAION_a.jpg", "shared_4rep_LAION_b.jpg", "unique_LAION_c_p04.jpg", "shared_4rep_OOD_gabor_d.png"]


@pytest.fixture
def ds(tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


@pytest.fixture
def folder(tiny, tmp_path: Path) -> Path:
    """A file `tau` over the shared images of the tiny dataset, and others that it does not show."""
    labels = sorted({name for name in tiny.table().label if name.startswith("shared_12rep")})
    sides = {"train_ids": [*labels[1:], "shared_4rep_LAION_nowhere.jpg"], "test_ids": labels[:1]}
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "tau.json").write_text(json.dumps({"name": "tau", "variants": [sides]}))
    return tmp_path


def test_named_split(ds: xr.Dataset, tiny, folder: Path, reads, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = tiny.table().label
    tested = min(name for name in labels if name.startswith("shared_12rep"))
    expected_test = np.flatnonzero(labels == tested)
    expected_train = np.flatnonzero(labels.str.startswith("shared_12rep") & (labels != tested))
    for obj in (ds, ds.betas):
        train, test = obj.laion.split("tau", pool="shared", splits_dir=folder)
        assert type(train) is type(test) is type(obj)
        np.testing.assert_array_equal(train.trial, expected_train)
        np.testing.assert_array_equal(test.trial, expected_test)
    assert reads.betas == []
    monkeypatch.setenv("LAION_XR_SPLITS_DIR", str(folder))
    train, test = ds.laion.split("tau")
    np.testing.assert_array_equal(test.betas, tiny.matrix()[expected_test])
    asked = {r.session: r.trials for r in reads.betas}  # its own trials, and no others
    table = tiny.table()
    assert asked == {
        session: (rows.beta_index[rows.label == tested]).tolist()
        for session, rows in table.groupby("session")
        if (rows.label == tested).any()
    }
    np.testing.assert_array_equal(train.betas.sel(roi="FFA1"), tiny.matrix()[expected_train][:, tiny.members("FFA1")])


def test_masks(ds: xr.Dataset, folder: Path) -> None:
    train, test = ds.laion.split_masks("tau", splits_dir=folder)
    assert (train.dims, train.dtype, test.dtype) == (("trial",), bool, bool)
    for mask, side in zip((train, test), ds.laion.split("tau", splits_dir=folder), strict=True):
        assert ds.laion.sel(mask=mask).identical(side)
        assert ds.sel(trial=mask).identical(side)


def test_after_averaging_repeats(ds: xr.Dataset, folder: Path) -> None:
    mean = ds.betas.groupby("stimulus").mean()
    train, test = mean.laion.split("tau", splits_dir=folder)
    _, by_trial = ds.laion.split("tau", splits_dir=folder)
    assert test.dims == ("stimulus", "voxel")
    np.testing.assert_array_equal(test.stimulus, np.unique(by_trial.stimulus))
    assert not set(train.stimulus.values) & set(test.stimulus.values)
    assert mean.laion.split_masks("tau", splits_dir=folder)[0].dims == ("stimulus",)


def test_ood(ds: xr.Dataset, tiny) -> None:
    labels = tiny.table().label
    train, test = ds.laion.split("ood")
    np.testing.assert_array_equal(train.trial, np.flatnonzero(labels.str.startswith("shared_12rep")))
    np.testing.assert_array_equal(test.trial, np.flatnonzero(labels.str.contains("_OOD_")))
    _, test = ds.laion.split("ood", ood_types=["shape"])
    assert set(test.stimulus.values) == {"shared_4rep_OOD_shape_b.png"}


def test_some_sessions(ds: xr.Dataset, folder: Path) -> None:
    some = ds.sel(session=["ses-01", "ses-03"])
    train, test = some.laion.split("tau", splits_dir=folder)
    whole = ds.laion.split("tau", splits_dir=folder)
    for side, other in zip((train, test), whole, strict=True):
        assert side.identical(other.sel(session=["ses-01", "ses-03"]))


def test_nothing_on_a_side(ds: xr.Dataset, folder: Path) -> None:
    _, test = ds.laion.split("tau", splits_dir=folder)
    without = ds.isel(trial=~np.isin(ds.trial, test.trial))
    with pytest.raises(
        SelectionError, match=r"split 'tau' of pool 'shared' \(4 train and 1 test images\) has no test trial"
    ):
        without.laion.split("tau", splits_dir=folder)
    with pytest.raises(SelectionError, match="has no train trial here"):
        test.laion.split_masks("tau", splits_dir=folder)
    with pytest.raises(SelectionError, match="has no test trial here"):
        ds.laion.split(test=["nowhere.jpg"])


def test_pool_of_another_subject(ds: xr.Dataset) -> None:
    with pytest.raises(SelectionError, match="holds the unique images of sub-01, and this Dataset is of sub-03"):
        ds.laion.split("ood", pool=1)
    with pytest.raises(UnknownLabelError, match="Pool 99 does not exist here"):
        ds.laion.split("ood", pool=99)


def shown(codes: list[int]) -> xr.Dataset:
    labels = np.array([NAMES[code] for code in codes], dtype=object)
    return xr.Dataset(
        {"betas": (("trial", "voxel"), np.zeros((len(codes), 2)))},
        {"stimulus": ("trial", labels), "trial": np.arange(len(codes)) + 10},
    )


CODES = [0, 1, 2, 3, 0, 1, 0, 3]


def positions(sides: tuple[xr.Dataset, xr.Dataset]) -> list[list[int]]:
    return [(side.trial - 10).values.tolist() for side in sides]


def test_own_names_take_every_repeat() -> None:
    ds = shown(CODES)
    assert positions(split(ds, train=[NAMES[0], "nowhere.jpg"], test=NAMES[1:3])) == [[0, 4, 6], [1, 2, 5]]
    assert positions(split(ds, test=ds.stimulus[:1])) == [[1, 2, 5], [0, 4, 6]]  # the rest, without OOD images
    assert positions(split(ds, train=NAMES[:1], pool="shared")) == [[0, 4, 6], [1, 5]]
    assert positions(split(ds, train=NAMES[:1], test=NAMES[3:])) == [[0, 4, 6], [3, 7]]


def test_own_masks_are_taken_as_they_are() -> None:
    ds = shown(CODES)
    train, test = np.arange(8) < 1, np.arange(8) == 1
    for masks in ((train, test), (train.tolist(), test.tolist()), (ds.trial < 11, ds.trial == 11)):
        assert positions(split(ds, train=masks[0], test=masks[1])) == [[0], [1]]
    assert positions(split(ds, train=train)) == [[0], [1, 2, 5]]  # other images only
    assert positions(split(ds, train=train, test=NAMES[1:2])) == [[0], [1, 5]]


@pytest.mark.parametrize(
    ("train", "test"), [(NAMES[:2], NAMES[1:]), (np.arange(8) < 4, np.arange(8) >= 4), (["n.jpg", NAMES[0]], ["n.jpg"])]
)
def test_image_on_both_sides(train: Any, test: Any) -> None:
    with pytest.raises(SplitLeakageError, match=r"both (in|name)|in both"):
        split(shown(CODES), train=train, test=test)


@given(st.lists(st.integers(0, 3), max_size=20), st.lists(st.booleans(), min_size=20, max_size=20), st.booleans())
def test_no_image_on_both_sides(codes: list[int], mask: list[bool], as_names: bool) -> None:
    ds = shown(codes)
    side = np.array(mask[: len(codes)], dtype=bool)
    given_side = sorted(set(ds.stimulus.values[side])) if as_names else side
    images = ds.stimulus.values
    if not side.any() or {name for name in images if "OOD" not in name} <= set(images[side]):
        with pytest.raises(SelectionError, match=r"has no (train|test) trial here"):
            split_masks(ds, train=given_side)
        return
    train, test = split_masks(ds, train=given_side)
    assert not set(images[train]) & set(images[test])
    assert set(images[train]) == set(images[side])
    assert set(images[train]) | set(images[test]) >= {n for n in images if "OOD" not in n}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "found neither"),
        ({"name": "tau", "train": NAMES[:1]}, "found the name 'tau' and a side"),
        ({"train": NAMES[0]}, "Expected a list of image names, found str"),
        ({"train": [1, 2]}, "Expected a list of image names .* found 1"),
        ({"train": np.ones(3, bool)}, r"train= as a boolean mask of 8 values along trial, found shape \(3,\)"),
        ({"test": np.ones((8, 2), bool)}, r"test= as a boolean mask"),
        ({"test": NAMES[:1], "ood_types": "gabor"}, "ood_types, images and splits_dir go with the name"),
        ({"test": shown(CODES).trial.assign_coords(trial=range(8)) < 4}, "The mask test= is of another Dataset"),
    ],
)
def test_arguments_that_mean_nothing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        split(shown(CODES), **options)
