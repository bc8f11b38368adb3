"""The label index among what xarray does with it: subjects that do not mix, and ROIs where the index is lost."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from laion_xr.errors import SelectionError
from laion_xr.lazy.roinames import RoiNames
from tests.conftest import Tiny

Change = Callable[[xr.Dataset], xr.Dataset]


@pytest.fixture
def ds(tiny: Tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


@pytest.fixture
def other(tiny: Tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-01")


# another subject: the same numbers are other trials and voxels there

MIXED: dict[str, Callable[[xr.Dataset, xr.Dataset], object]] = {
    "difference": lambda a, b: a.betas - b.betas,
    "difference of a few": lambda a, b: a.betas[:5, :5] - b.betas,
    "same numbers": lambda a, b: a.betas.isel(trial=[0], voxel=[0]) * b.betas.isel(trial=[0], voxel=[0]),
    "where": lambda a, b: a.betas.where(b.noise_ceiling_12rep > 20),
    "align": lambda a, b: xr.align(a, b, join="outer"),
    "left": lambda a, b: xr.align(a, b, join="left"),
    "concat": lambda a, b: xr.concat([a.betas, b.betas], "subject", join="inner", coords="minimal", compat="override"),
    "concat of trials": lambda a, b: xr.concat([a.betas, b.betas], "trial", join="inner"),
    "corr": lambda a, b: xr.corr(a.betas, b.betas, "trial"),
    "reindex_like": lambda a, b: a.reindex_like(b),
    "merge": lambda a, b: xr.merge([a.betas, b.betas.rename("others")], join="outer"),
}


@pytest.mark.parametrize("how", MIXED)
def test_subjects_are_not_mixed(ds: xr.Dataset, other: xr.Dataset, how: str) -> None:
    with pytest.raises(SelectionError, match=r"of sub-0[13], found those of sub-0[13].*shared\(\)"):
        MIXED[how](ds, other)
    with pytest.raises(SelectionError, match="the same number is another"):
        MIXED[how](other, pickle.loads(pickle.dumps(ds)))


def test_a_subject_meets_itself_and_plain_arrays(ds: xr.Dataset, other: xr.Dataset, tiny: Tiny) -> None:
    again = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", roi="PPA")
    inside = tiny.members("PPA")
    np.testing.assert_array_equal((ds.betas - again.betas).shape, (46, inside.sum()))
    with xr.set_options(arithmetic_join="outer"):
        assert (ds.betas - again.betas).shape == (46, 151)
    plain = other.betas.isel(trial=slice(46), voxel=slice(151)).values[:46, :151]
    assert (ds.betas[: len(plain), : plain.shape[1]] - plain).shape == plain.shape
    # without the index xarray goes by the numbers, and drops labels that differ
    bare = [xr.open_dataset(tiny.root, engine="laion_fmri", subject=s, label_index=False) for s in ("sub-01", "sub-03")]
    assert "stimulus" not in (bare[0].betas - bare[1].betas).coords


# the index is lost

LOST: dict[str, Change] = {
    "groupby": lambda ds: ds.groupby("stimulus").mean(),
    "groupby, computed": lambda ds: ds.groupby("session").mean().compute(),
    "groupby, persisted and copied": lambda ds: ds.groupby("session").sum().persist().copy(deep=True),
    "groupby, pickled": lambda ds: pickle.loads(pickle.dumps(ds.groupby("session").mean())),
    "groupby, reversed": lambda ds: ds.groupby("session").mean().isel(voxel=slice(None, None, -1)),
    "broadcast": lambda ds: xr.broadcast(ds, ds.trial, exclude=["voxel"])[0],
    "swap_dims": lambda ds: ds.swap_dims(trial="stimulus"),
    "indexes dropped": lambda ds: ds.drop_indexes([*ds.xindexes.get_all_coords("roi")]),
    "swap_dims, loaded": lambda ds: ds.swap_dims(trial="stimulus").load(),
}


@pytest.mark.parametrize("how", LOST)
def test_rois_are_found_where_the_index_is_lost(ds: xr.Dataset, tiny: Tiny, how: str) -> None:
    found = LOST[how](ds)
    assert "roi" not in found.xindexes
    assert isinstance(found.roi.to_index(), RoiNames)
    voxels = found.voxel.values
    for query, names in {
        "laionventral": ["laionventral"],
        "V1v | PPA": ["V1v", "PPA"],
        "face": ["OFA", "FFA1"],
        "EBA": ["EBA"],
    }.items():
        inside = np.any([tiny.members(name) for name in names], axis=0)
        expected = voxels[np.isin(voxels, tiny.voxels[inside])]
        np.testing.assert_array_equal(found.sel(roi=query).voxel, expected)
        np.testing.assert_array_equal(found.laion.index_labels().sel(roi=query).voxel, expected)
    with pytest.raises(KeyError) as caught:
        found.sel(roi="nope")
    assert "does not exist here" in str(caught.value.__cause__)
    with pytest.raises(SelectionError, match=r"one ROI is found at a time.*found \['PPA', 'V1v'\]"):
        found.sel(roi=["PPA", "V1v"])


@pytest.mark.parametrize("chunks", [None, {}, "auto"])
def test_rois_are_found_without_label_indexes(tiny: Tiny, chunks: object) -> None:
    plain = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", label_index=False, chunks=chunks)
    assert set(plain.xindexes) == {"trial", "voxel", "ses"}
    for found in (
        plain,
        plain.betas,
        plain.compute(),
        plain.isel(voxel=slice(None)),
        pickle.loads(pickle.dumps(plain)),
    ):
        np.testing.assert_array_equal(found.sel(roi="face").voxel, tiny.voxels[tiny.members("OFA", "FFA1")])


def test_names_of_rois_are_plain_text_to_everything_else(ds: xr.Dataset) -> None:
    roi = ds.roi
    assert type(roi.values) is np.ndarray
    assert roi.dtype == object
    np.testing.assert_array_equal((roi == "").values, [name == "" for name in roi.values.tolist()])
    np.testing.assert_array_equal(roi.str.contains("PPA"), ["PPA" in name for name in roi.values.tolist()])
    assert set(ds.groupby("roi").groups) == set(roi.values.tolist())
    assert sorted(pd.unique(roi.values)) == sorted(set(roi.values.tolist()))
    index = roi.to_index()
    assert index.equals(pd.Index(roi.values))
    assert pickle.loads(pickle.dumps(index)).equals(index)
    assert isinstance(index[:3], RoiNames)
    assert index[0] == roi.values[0]
    one = roi.isel(voxel=3)
    assert (one.dtype, one.item()) == (object, roi.values[3])
