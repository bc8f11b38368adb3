"""Encoding models, permutation tests and dissimilarities on a cluster of two processes: the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
import xarray as xr
from distributed import Client, LocalCluster

from laion_xr.analysis import predict


@pytest.fixture(scope="module")
def client(two_processes: LocalCluster) -> Iterator[Client]:
    with Client(two_processes) as client:
        yield client


def analyses(ds: xr.Dataset) -> list[xr.Dataset | xr.DataArray]:
    fit = ds.laion.encode("CLIP", alphas=[10.0, 1000.0])
    predicted = predict(fit, ds["embedding_CLIP"])
    tested = ds.laion.permutation_test(predicted, n_permutations=20, within="session")
    return [fit, predicted, tested, ds.laion.rdm()]


def test_the_same_numbers(client: Client, dataset_root: Path) -> None:
    ds = xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03", embeddings="CLIP").sel(roi="FFA1")
    with dask.config.set(scheduler="sync"):
        expected = [found.compute() for found in analyses(ds)]
    in_memory = analyses(ds.compute(scheduler="sync"))
    for found, other, loaded in zip(analyses(ds), expected, in_memory, strict=True):
        assert found.chunks
        there = found.compute()
        xr.testing.assert_allclose(there, other, rtol=1e-6, atol=1e-6)
        xr.testing.assert_allclose(there, loaded, rtol=1e-3, atol=1e-3)
