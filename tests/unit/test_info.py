"""`.laion.info()`: what a Dataset holds, from its coordinates, against pandas by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from laion_xr.analysis import DatasetInfo, dataset_info


@pytest.fixture(scope="module")
def ds(tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


def test_summary(ds: xr.Dataset, tiny) -> None:
    summary = ds.laion.info().summary
    assert summary["subject"] == "sub-03"
    assert (summary["trial"], summary["voxel"]) == (46, int(tiny.mask.sum()))
    size = sum(tiny.betas_file(s).stat().st_size for s in tiny.sessions())
    assert summary["files to read"] == f"3 ({size / 1e9:.3g} GB)"


def test_files_are_those_of_the_selection(ds: xr.Dataset, tiny) -> None:
    size = tiny.betas_file("ses-02").stat().st_size
    assert ds.sel(session="ses-02").laion.info().summary["files to read"] == f"1 ({size / 1e9:.3g} GB)"
    assert ds.sel(roi="EBA").laion.info().summary["files to read"] == "0 (0 GB)"
    assert "files to read" not in (ds * 2).laion.info().summary


def test_sessions(ds: xr.Dataset, tiny) -> None:
    table = tiny.table()
    groups = table.groupby("session")
    found = ds.laion.info().sessions
    assert found.index.tolist() == tiny.sessions()
    assert found["trials"].tolist() == [14, 17, 15]
    assert found["runs"].tolist() == groups.run.nunique().tolist()
    assert found["stimuli"].tolist() == groups.label.nunique().tolist()
    shared = table.label.str.startswith("shared")
    assert found["shared trials"].tolist() == shared.groupby(table.session).sum().tolist()


def test_rois(ds: xr.Dataset, tiny) -> None:
    found = ds.laion.info().rois
    ceiling = tiny.in_mask(tiny.subject_maps["sub-03", "noise_ceiling_12rep"])
    assert set(found.index) == {roi for rois in tiny.categories.values() for roi in rois}
    for category, rois in tiny.categories.items():
        for roi in rois:
            row, inside = found.loc[roi], tiny.members(roi)
            assert row["category"] == category
            assert row["voxels"] == inside.sum()
            expected = round(float(np.nanmedian(ceiling[inside])), 1) if inside.any() else np.nan
            np.testing.assert_equal(row["median noise ceiling"], expected)


def test_part_and_array(ds: xr.Dataset, tiny) -> None:
    part = ds.sel(roi="FFA1", session=["ses-01", "ses-03"])
    for obj in (part, part.betas):
        info = obj.laion.info()
        assert info.sessions["trials"].tolist() == [14, 15]
        assert info.rois.loc["FFA1", "voxels"] == tiny.members("FFA1").sum()
        assert info.rois.loc["PPA", "voxels"] == (tiny.members("FFA1") & tiny.members("PPA")).sum()
    assert part.betas.laion.info().summary["size in memory"] == f"{part.betas.nbytes / 1e9:.3g} GB"


def test_shows_as_text_and_html(ds: xr.Dataset) -> None:
    info = ds.laion.info()
    assert isinstance(info, DatasetInfo)
    text, html = repr(info), info._repr_html_()
    for shown in (text, html):
        assert all(word in shown for word in ("sub-03", "Sessions", "ses-02", "ROIs", "laionventral"))
    assert html.count("<table") == 3


@pytest.mark.parametrize("drop", [["roi"], ["session"], ["noise_ceiling"], ["run", "unique_or_shared"]])
def test_without_some_labels(tiny, drop: list[str]) -> None:
    info = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", drop_variables=drop).laion.info()
    assert info.rois.empty == ("roi" in drop)
    assert info.sessions.empty == ("session" in drop)
    assert ("median noise ceiling" in info.rois) == (drop not in (["noise_ceiling"], ["roi"]))
    assert repr(info)


def test_of_something_else_it_says_little() -> None:
    info = dataset_info(xr.Dataset({"a": ("x", [1.0])}))
    assert info.summary == {"size in memory": "8e-09 GB"}
    pd.testing.assert_frame_equal(info.rois, pd.DataFrame())
    assert repr(info) == "size in memory: 8e-09 GB"


def test_empty_selection(ds: xr.Dataset) -> None:
    info = ds.isel(trial=[], voxel=[]).laion.info()
    assert info.sessions.empty
    assert info.rois["voxels"].sum() == 0
    assert repr(info)
    assert info._repr_html_()
