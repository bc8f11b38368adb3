"""Several lazy variables computed at once come back in the order in which they were asked for."""

from __future__ import annotations

import gc
import itertools

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from laion_xr.lazy import result

NAMES = ["r2_mean", "betas", "noise_ceiling_12rep", "r2_session", "noise_ceiling_4rep"]


@pytest.fixture
def ds(tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


@pytest.mark.parametrize("scheduler", ["threads", "sync"])
@pytest.mark.parametrize("names", list(itertools.permutations(NAMES, 3)), ids="-".join)
def test_arrays_in_any_order(ds: xr.Dataset, names: tuple[str, ...], scheduler: str) -> None:
    # dask returns the results of one optimizer together: see laion_xr.lazy.result
    found = dask.compute(*(ds[name].data for name in names), scheduler=scheduler)
    for name, values in zip(names, found, strict=True):
        np.testing.assert_array_equal(values, ds[name].compute().values, err_msg=name)


def test_beside_arrays_of_another_kind_and_what_derives_from_them(ds: xr.Dataset) -> None:
    plain, mean = da.arange(5), ds.betas.mean("trial").data
    found = dask.compute(plain, ds.betas.data, mean, plain + 1, ds.r2_session.data)
    expected = [np.arange(5), ds.betas.values, ds.betas.mean("trial").values, np.arange(1, 6), ds.r2_session.values]
    for values, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(values, right)


def test_datasets_and_trees(ds: xr.Dataset, tiny) -> None:
    mixed = ds[["r2_session", "r2_mean", "noise_ceiling_session", "noise_ceiling_12rep"]]
    xr.testing.assert_identical(mixed.compute(), ds.compute()[list(mixed.data_vars)])
    tree = xr.open_datatree(tiny.root, engine="laion_fmri").load()
    for subject in ("sub-01", "sub-03"):
        alone = xr.open_dataset(tiny.root, engine="laion_fmri", subject=subject).compute()
        xr.testing.assert_identical(tree[subject].to_dataset(inherit=False), alone)


def test_one_result_without_a_copy_still(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[bool] = []
    real = result._are_rows_of

    def recording(rows, whole) -> bool:
        joined.append(real(rows, whole))
        return joined[-1]

    monkeypatch.setattr(result, "_are_rows_of", recording)
    ds.betas.compute()
    dask.compute(ds.betas.data, ds.r2_mean.data, ds.r2_session.data)
    ds.compute()
    assert joined
    assert all(joined)


def test_nothing_is_remembered_of_arrays_that_are_gone(tiny_copy) -> None:
    ds = xr.open_dataset(tiny_copy.root, engine="laion_fmri", subject="sub-03")
    names = {v.data.name for v in ds.data_vars.values()} & set(result._PLANNED)
    assert names
    del ds
    gc.collect()
    assert not names & set(result._PLANNED)
