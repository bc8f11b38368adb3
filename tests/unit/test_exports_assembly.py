"""`.laion.to_assembly`: against what is on disk, through netCDF, and with the MultiIndexes that Brain-Score makes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from laion_xr.errors import SelectionError
from laion_xr.exports import from_assembly, to_assembly


@pytest.fixture
def ds(tiny: Any) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


def as_brain_score_indexes(assembly: xr.DataArray) -> xr.DataArray:
    """All coordinates of a dim in one MultiIndex, as DataAssembly.__init__ makes them (brainscore_core 2.5)."""
    levels = {str(d): [str(n) for n, c in assembly.coords.items() if c.dims == (d,)] for d in assembly.dims}
    return assembly.set_index(levels, append=True)


def same(found: xr.Dataset, source: xr.Dataset) -> None:
    np.testing.assert_array_equal(found.betas.values, source.betas.values)
    assert found.betas.dims == source.betas.dims
    assert set(found.coords) == set(source.betas.coords)
    for name in found.coords:
        expected = source[name].values
        assert found[name].values.dtype.kind == expected.dtype.kind, name
        np.testing.assert_array_equal(found[name].values, expected)
    assert set(found.xindexes) == set(source.betas.xindexes)


def test_presentations_and_neuroids_are_those_of_the_files(ds: xr.Dataset, tiny: Any, reads: Any) -> None:
    found = ds.laion.to_assembly()
    assert reads.betas == []
    assert found.dims == ("presentation", "neuroid")
    assert isinstance(found.data, da.Array)
    table = tiny.table()
    assert found.stimulus_id.values.tolist() == table.label.tolist()
    assert found.session.values.tolist() == table.session.tolist()
    assert found.repetition.values.tolist() == table.groupby("label").cumcount().tolist()
    np.testing.assert_array_equal(found.response_time, table.response_time)
    assert found.neuroid_id.values.tolist() == [f"sub-03_{v}" for v in tiny.voxels]
    assert set(found.subject.values) == {"sub-03"}
    in_v1v = np.array(["V1v" in text.split("+") for text in found.region.values])
    np.testing.assert_array_equal(in_v1v, tiny.members("V1v"))
    assert dict(found.xindexes) == {}
    for name in ("stimulus_id", "session", "repetition", "trial"):
        assert found[name].dims == ("presentation",)
    for name in ("neuroid_id", "subject", "region", "voxel", "x", "noise_ceiling"):
        assert found[name].dims == ("neuroid",)
    np.testing.assert_array_equal(found.values, tiny.matrix())  # NaN kept
    assert np.isnan(found.values).any()
    assert found.attrs["units"] == "percent signal change"
    assert found.attrs["subject"] == "sub-03"


def test_a_selection_by_position_narrows_what_is_read(ds: xr.Dataset, tiny: Any, reads: Any) -> None:
    few = np.flatnonzero(tiny.members("V1v"))
    values = ds.laion.to_assembly().isel(neuroid=few, presentation=slice(0, 5)).values
    np.testing.assert_array_equal(values, tiny.matrix()[:5, few])
    assert [(r.session, r.trials, r.voxels) for r in reads.betas] == [
        ("ses-01", [0, 1, 2, 3, 4], tiny.voxels[few].tolist())
    ]


@pytest.mark.parametrize("engine", ["h5netcdf"])
@pytest.mark.parametrize("kind", ["trials", "means", "z", "loaded", "array"])
def test_netcdf_reads_back_the_source(ds: xr.Dataset, tmp_path: Path, kind: str, engine: str) -> None:
    source = {
        "trials": lambda: ds,
        "means": lambda: ds.laion.average_repeats(),
        "z": lambda: ds.laion.zscore(by="session"),
        "loaded": lambda: ds[["betas"]].load(),
        "array": lambda: ds.betas,
    }[kind]()
    assembly = source.laion.to_assembly()
    assembly.to_netcdf(tmp_path / "a.nc", engine=engine)
    with xr.open_dataarray(tmp_path / "a.nc", engine=engine) as opened:
        xr.testing.assert_equal(opened, assembly)
        found = from_assembly(opened).load()
    same(found, source.to_dataset(name="betas") if isinstance(source, xr.DataArray) else source)
    picked = found.sel(roi="V1v").betas
    np.testing.assert_array_equal(picked.voxel, ds.sel(roi="V1v").voxel)
    np.testing.assert_array_equal(
        found.laion.to_nifti(found.betas[0]).get_fdata(), source.laion.to_nifti(assembly.values[0]).get_fdata()
    )
    for name in ("subject", "grid_shape", "roi_categories"):
        assert found.attrs[name] == ds.attrs[name]


def test_multi_indexes_as_brain_score_makes_them_come_back(ds: xr.Dataset) -> None:
    assembly = as_brain_score_indexes(ds.laion.to_assembly().load())
    assert isinstance(assembly.indexes["presentation"], pd.MultiIndex)
    region = str(assembly.region.values[np.flatnonzero(assembly.region.values != "")[0]])
    assert assembly.sel(region=region).sizes["neuroid"] == (ds.roi == region).sum()
    means = assembly.groupby("stimulus_id").mean()
    by_hand = ds.laion.average_repeats().betas
    np.testing.assert_allclose(means.sel(stimulus_id=by_hand.stimulus.values), by_hand, rtol=1e-5, atol=1e-6)
    same(from_assembly(assembly), ds)


def test_several_subjects_have_neuroids_of_their_own(tiny: Any, tmp_path: Path) -> None:
    both = xr.open_datatree(tiny.root, engine="laion_fmri").laion.shared()
    assembly = both.laion.to_assembly()
    assert assembly.subject.values.tolist() == ["sub-01"] * 151 + ["sub-03"] * 151
    assert len(set(assembly.neuroid_id.values)) == 302
    assembly.to_netcdf(tmp_path / "both.nc")
    with xr.open_dataarray(tmp_path / "both.nc") as opened:
        found = from_assembly(opened).load()
    same(found, both)
    np.testing.assert_array_equal(found.sel(subject="sub-01", roi="V1v").voxel, tiny_voxels(tiny, "sub-01"))
    one = both.sel(subject="sub-03").load()
    same(from_assembly(one.laion.to_assembly()), one)


def tiny_voxels(tiny: Any, subject: str) -> np.ndarray:
    return tiny.voxels[tiny.members("V1v", subject=subject)]


def test_an_assembly_is_pickled(ds: xr.Dataset, tiny: Any) -> None:
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds.laion.to_assembly())).values, tiny.matrix())


def test_the_subject_of_a_bare_array_can_be_said(ds: xr.Dataset) -> None:
    bare = ds.betas.copy()
    bare.voxel.attrs.clear()
    assert "subject" not in to_assembly(bare).coords
    assert to_assembly(bare).neuroid_id.values[0] == str(ds.voxel.values[0])
    assert to_assembly(bare, subject="me").neuroid_id.values[0] == f"me_{ds.voxel.values[0]}"


@pytest.mark.parametrize("dim", ["trial", "voxel"])
def test_nothing_left_is_an_empty_assembly_with_its_labels(ds: xr.Dataset, tmp_path: Path, dim: str) -> None:
    empty = ds.isel({dim: []})
    assembly = empty.laion.to_assembly()
    assembly.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataarray(tmp_path / "a.nc") as opened:
        assert opened.shape == empty.betas.shape
        found = from_assembly(opened).load()
    assert found.betas.shape == empty.betas.shape
    assert set(found.coords) == set(empty.betas.coords)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda ds: ds.drop_vars("betas"), "variable betas"),
        (lambda ds: ds.noise_ceiling, "'trial'"),
        (lambda ds: ds.betas.isel(voxel=0), "list"),
        (lambda ds: ds.laion.average_repeats("session"), "'stimulus'"),
        (lambda ds: ds.drop_vars("voxel"), "coordinate 'voxel'"),
    ],
)
def test_what_is_no_assembly(ds: xr.Dataset, make: Any, says: str) -> None:
    with pytest.raises(SelectionError, match=says):
        to_assembly(make(ds))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda ds: 3, "an array as to_assembly returns it, found int"),
        (lambda ds: None, "found NoneType"),
        (lambda ds: np.zeros((2, 2)), "found ndarray"),
        (lambda ds: ds, "found a Dataset: give one of its variables, betas, "),
        (lambda ds: ds.betas, "dims presentation and neuroid"),
    ],
)
def test_what_is_no_array_of_an_assembly(ds: xr.Dataset, make: Any, says: str) -> None:
    with pytest.raises(SelectionError, match=says):
        from_assembly(make(ds))


def test_what_from_assembly_does_not_take(ds: xr.Dataset) -> None:
    with pytest.raises(SelectionError, match="presentation"):
        from_assembly(ds.betas)
    for name in ("stimulus_id", "voxel"):
        with pytest.raises(SelectionError, match=name):
            from_assembly(to_assembly(ds).drop_vars(name))
