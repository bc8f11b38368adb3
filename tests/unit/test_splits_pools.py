"""Pools by name, the recipes, and the axis of images; the published lists are the oracle where they are there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from laion_xr.analysis import splits_pools as pools
from laion_xr.errors import SelectionError, UnknownLabelError

SHARED = "shared_12rep_LAION_cluster_1003_i0.jpg"
OOD = "shared_4rep_OOD_illusion-classic_classic-illusion-01-asahi.png"
MINE = "unique_LAION_initial_cluster_2817_i38_p04.jpg"
THEIRS = "unique_LAION_fillup_cluster_2817_i38_p03.jpg"


@pytest.mark.parametrize(
    ("pool", "held"),
    [
        ("shared", {SHARED}),
        ("sub-03", {SHARED, MINE}),
        ("sub-05", {SHARED, THEIRS}),
        ("sub-02", {SHARED, MINE, THEIRS}),
    ],
)
def test_what_a_pool_holds(pool: str, held: set[str]) -> None:
    assert {name for name in (SHARED, OOD, MINE, THEIRS, "", "other.jpg") if pools.in_pool(name, pool)} == held


def test_no_pool_is_everything_but_ood() -> None:
    assert [pools.in_pool(name, None) for name in (SHARED, OOD, MINE, "other.jpg", "")] == [
        True,
        False,
        True,
        True,
        False,
    ]


def test_types() -> None:
    assert pools.ood_type(OOD) == "illusion-classic"
    assert pools.ood_type(SHARED) is None
    train, test = pools.ood_split([OOD, SHARED, MINE, "shared_4rep_OOD_gabor_a.png"], "shared", "gabor")
    assert (train, test) == ((SHARED,), ("shared_4rep_OOD_gabor_a.png",))
    with pytest.raises(UnknownLabelError, match=r"OOD type 'gabour' does not exist here. Did you mean 'gabor'"):
        pools.ood_split([OOD], "shared", ["shape", "gabour"])


@given(st.sets(st.text(min_size=1, max_size=5), max_size=60), st.integers(0, 9), st.randoms())
def test_random_split_is_a_partition_and_knows_no_order(names: set[str], seed: int, shuffle) -> None:
    listed = sorted(names)
    shuffle.shuffle(listed)
    train, test = pools.random_split([*listed, *listed[:3]], seed)
    assert sorted([*train, *test]) == sorted(names)
    assert len(test) == round(0.2 * len(names))
    assert (train, test) == pools.random_split(sorted(names), seed)


def dataset(names: list[object], dim: str = "trial") -> xr.Dataset:
    return xr.Dataset({"betas": ((dim, "voxel"), np.zeros((len(names), 2)))}, {"stimulus": (dim, names)})


@given(st.lists(st.sampled_from(["a", "b", "c", "", None, float("nan")])), st.sets(st.sampled_from("abc")))
def test_axis(names: list[object], wanted: set[str]) -> None:
    axis = pools.ImageAxis.of(dataset(np.array([*names, None], dtype=object)[:-1]))
    assert axis.showing(wanted).tolist() == [name in wanted for name in names]
    assert axis.of_pool(None) == sorted({name for name in names if isinstance(name, str) and name})


def test_axis_after_averaging() -> None:
    assert pools.ImageAxis.of(dataset(["b", "a"], "stimulus")).dim == "stimulus"


@pytest.mark.parametrize(
    "obj",
    [
        dataset(["a"]).drop_vars("stimulus"),
        dataset(["a"]).rename(trial="event"),
        dataset(["a"]).isel(trial=0),
        dataset(["a"]).betas.drop_vars("stimulus"),
    ],
)
def test_axis_names_what_it_needs(obj: xr.Dataset) -> None:
    with pytest.raises(
        SelectionError, match=r"needs the coordinate 'stimulus' .* on the dim 'trial' or 'stimulus'; found"
    ):
        pools.ImageAxis.of(obj)


def test_image_names_of_anything() -> None:
    ds = dataset(["a", "b"])
    for images in (["a", "b"], ("a", "b"), np.array(["a", "b"]), ds, ds.betas, ds.stimulus, ds.stimulus.to_series()):
        assert pools.image_names(images) == ["a", "b"]
    assert sorted(pools.image_names({"a", "b"})) == ["a", "b"]
    table = pd.DataFrame({"session": ["ses-01"], "stimulus": ["a"]})
    # tables, mappings and two dimensions are not lists: their cells or keys would be taken for names
    several = [table, {"a": 1}, np.array([["a", "b"]]), xr.DataArray([["a"]], dims=("x", "y"))]
    for wrong in ("a", 3, [1], [["a"], ["b", "c"]], [None], [float("nan")], b"a", ds.drop_vars("stimulus"), *several):
        with pytest.raises(SelectionError, match="Expected a list of image names"):
            pools.image_names(wrong)
