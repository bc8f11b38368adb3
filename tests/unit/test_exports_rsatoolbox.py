"""`.laion.to_rsatoolbox`: measurements and labels, and dissimilarities that rsatoolbox makes of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from laion_xr.errors import MissingExtraError, SelectionError
from laion_xr.exports import to_rsatoolbox

rsatoolbox = pytest.importorskip("rsatoolbox", reason="needs rsatoolbox")


@pytest.fixture
def ds(tiny: Any) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


def test_measurements_and_descriptors_are_those_of_the_files(ds: xr.Dataset, tiny: Any) -> None:
    found = ds.laion.to_rsatoolbox()
    assert isinstance(found, rsatoolbox.data.Dataset)
    np.testing.assert_array_equal(found.measurements, tiny.matrix())  # NaN kept
    table = tiny.table()
    assert np.asarray(found.obs_descriptors["stimulus"]).tolist() == table.label.tolist()
    assert np.asarray(found.obs_descriptors["session"]).tolist() == table.session.tolist()
    np.testing.assert_array_equal(found.obs_descriptors["run"], table.run)
    np.testing.assert_array_equal(found.channel_descriptors["voxel"], tiny.voxels)
    in_v1v = ["V1v" in str(text).split("+") for text in found.channel_descriptors["roi"]]
    np.testing.assert_array_equal(in_v1v, tiny.members("V1v"))
    assert found.descriptors["subject"] == "sub-03"
    assert json.loads(found.descriptors["grid_shape"]) == list(tiny.grid)
    names = set(found.obs_descriptors) | set(found.channel_descriptors)
    assert names >= set(ds.betas.coords)


def test_one_session_is_picked_by_its_label(ds: xr.Dataset, tiny: Any) -> None:
    one = ds.laion.to_rsatoolbox().subset_obs("session", "ses-02")
    np.testing.assert_array_equal(one.measurements, tiny.matrix("sub-03", ["ses-02"]))


@pytest.mark.parametrize("metric", ["correlation", "euclidean"])
def test_dissimilarities_are_ours(ds: xr.Dataset, metric: str) -> None:
    means = ds.laion.drop_nonfinite().laion.average_repeats().compute()
    found = rsatoolbox.rdm.calc_rdm(means.laion.to_rsatoolbox(), method=metric, descriptor="stimulus")
    # rsatoolbox's "euclidean" is the squared distance, a channel
    ours = means.laion.rdm("correlation" if metric == "correlation" else "sqeuclidean")
    ours = ours / (1 if metric == "correlation" else means.sizes["voxel"])
    names = np.asarray(found.pattern_descriptors["stimulus"]).tolist()
    np.testing.assert_allclose(
        found.get_matrices()[0], ours.sel(stimulus=names, stimulus_2=names), rtol=1e-4, atol=1e-5
    )


@pytest.mark.filterwarnings("ignore::laion_xr.errors.ConstantVoxelsWarning")
def test_the_order_that_leaves_no_nan(ds: xr.Dataset, tiny: Any) -> None:
    betas = ds[["betas"]].compute()
    betas.betas[:, 5] = 1.0  # a voxel that is constant: its z-scores are NaN
    complete = betas.laion.zscore().laion.drop_nonfinite().laion.average_repeats()
    data = complete.laion.to_rsatoolbox()
    kept = np.isfinite(tiny.matrix()).all(axis=0)
    kept[5] = False
    np.testing.assert_array_equal(data.channel_descriptors["voxel"], tiny.voxels[kept])
    rdm = rsatoolbox.rdm.calc_rdm(data, method="correlation", descriptor="stimulus")
    assert np.isfinite(rdm.dissimilarities).all()
    with pytest.raises(SelectionError, match="drop_nonfinite needs the dims 'trial' and 'voxel'"):
        betas.laion.average_repeats().laion.drop_nonfinite()


# rsatoolbox 0.3.2 fills an integer descriptor with NaN before it fills it with the values of each average
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_repeats_averaged_by_rsatoolbox_are_ours(ds: xr.Dataset) -> None:
    complete = ds.laion.drop_nonfinite().compute()
    found = rsatoolbox.rdm.calc_rdm(complete.laion.to_rsatoolbox(), method="correlation", descriptor="stimulus")
    ours = complete.laion.average_repeats().laion.rdm()
    names = np.asarray(found.pattern_descriptors["stimulus"]).tolist()
    np.testing.assert_allclose(
        found.get_matrices()[0], ours.sel(stimulus=names, stimulus_2=names), rtol=1e-4, atol=1e-5
    )


def test_a_file_of_rsatoolbox_reads_back(ds: xr.Dataset, tmp_path: Path) -> None:
    data = ds.sel(roi="V1v").laion.to_rsatoolbox()
    data.save(str(tmp_path / "x.h5"), file_type="hdf5")
    found = rsatoolbox.data.load_dataset(str(tmp_path / "x.h5"), file_type="hdf5")
    np.testing.assert_array_equal(found.measurements, data.measurements)
    for kind in ("obs_descriptors", "channel_descriptors"):
        for name, values in getattr(data, kind).items():
            np.testing.assert_array_equal(np.asarray(getattr(found, kind)[name]), np.asarray(values))
    assert found.descriptors["subject"] == "sub-03"


def test_several_subjects(tiny: Any) -> None:
    both = xr.open_datatree(tiny.root, engine="laion_fmri").laion.shared()
    one = both.laion.to_rsatoolbox().subset_channel("subject", "sub-01")
    np.testing.assert_array_equal(one.measurements, both.sel(subject="sub-01").betas)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda ds: ds.isel(voxel=[]), "one voxel or more"),
        (lambda ds: ds.isel(trial=[]), "one trial or more"),
        (lambda ds: ds.r2_mean, "'trial'"),
    ],
)
def test_what_rsatoolbox_does_not_take(ds: xr.Dataset, make: Any, says: str) -> None:
    with pytest.raises(SelectionError, match=says):
        to_rsatoolbox(make(ds))


def test_without_rsatoolbox_the_extra_is_named(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rsatoolbox.data.dataset", None)
    with pytest.raises(MissingExtraError, match=r"laion-xr\[rsatoolbox\]"):
        ds.laion.to_rsatoolbox()
