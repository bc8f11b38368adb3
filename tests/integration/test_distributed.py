"""A cluster of two processes gives the same numbers, and what travels to it is small."""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import dask
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.base import collections_to_expr
from distributed import Client, LocalCluster
from distributed.protocol import serialize
from distributed.protocol.serialize import ToPickle

from laion_xr.errors import CorruptFileError

GRID = (143, 143, 143)
SESSIONS = [f"ses-{i:02d}" for i in range(1, 31)]
MB = 1_000_000


@pytest.fixture(scope="module")
def client(two_processes: LocalCluster) -> Iterator[Client]:
    with Client(two_processes) as client:
        yield client


@pytest.fixture
def ds(tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", embeddings="CLIP")


def test_the_same_numbers(client: Client, ds: xr.Dataset, tiny) -> None:
    whole = tiny.matrix()
    np.testing.assert_array_equal(ds.betas, whole)
    few = ds.sel(roi="FFA1", noise_ceiling=slice(10, None), session=["ses-01", "ses-03"])
    columns = tiny.members("FFA1") & (ds.noise_ceiling.values >= 10)
    np.testing.assert_array_equal(few.betas, whole[np.r_[0:14, 31:46]][:, columns])
    order = np.random.default_rng(0).permutation(46)
    np.testing.assert_array_equal(ds.betas.isel(trial=order).sel(roi="PPA"), whole[order][:, tiny.members("PPA")])
    np.testing.assert_allclose(ds.betas.mean("trial"), np.nanmean(whole, axis=0), rtol=1e-5, atol=1e-6)
    grouped = ds.betas.sel(roi="FFA1").groupby("session").std()
    expected = [np.nanstd(whole[(ds.session == s).values][:, tiny.members("FFA1")], axis=0) for s in tiny.sessions()]
    np.testing.assert_allclose(grouped, expected, rtol=1e-5, atol=1e-6)


def test_every_variable_and_a_persisted_array(client: Client, ds: xr.Dataset) -> None:
    with dask.config.set(scheduler="sync"):
        expected = ds.compute()
    assert ds.compute().identical(expected)
    kept = ds.betas.persist()
    np.testing.assert_array_equal(kept.sel(roi="FFA1"), expected.betas.sel(roi="FFA1"))
    np.testing.assert_array_equal(kept, expected.betas)


def test_stimuli(client: Client, dataset_root: Path) -> None:
    ds = xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")
    few = ds.isel(trial=np.random.default_rng(0).permutation(ds.sizes["trial"])[:70])
    arrays = [few.laion.images(32), few.laion.embeddings("CLIP"), few.laion.segmentations(size=32)]
    with dask.config.set(scheduler="sync"):
        expected = [array.values for array in arrays]
    for array, values in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, values)
    stimuli = xr.open_dataset(dataset_root, engine="laion_fmri", group="stimuli")
    means = stimuli.image.astype(float).mean(("y", "x"))
    with dask.config.set(scheduler="sync"):
        expected_means = means.values
    np.testing.assert_allclose(means, expected_means)


def test_both_workers_read(client: Client, ds: xr.Dataset) -> None:
    # decodes happen in the workers' processes, not here
    pids = client.run(os.getpid).values()
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    futures = client.compute([ds.betas.sel(session=s).mean().data for s in ("ses-01", "ses-02", "ses-03")])
    with dask.config.set(scheduler="sync"):
        expected = [float(ds.betas.sel(session=s).mean()) for s in ("ses-01", "ses-02", "ses-03")]
    np.testing.assert_allclose(client.gather(futures), expected, rtol=1e-5, atol=1e-6)


def test_an_error_arrives_as_itself(client: Client, tiny_copy) -> None:
    path = tiny_copy.betas_file("ses-02")
    path.write_bytes(path.read_bytes()[:-2000])
    ds = xr.open_dataset(tiny_copy.root, engine="laion_fmri", subject="sub-03")
    with pytest.raises(CorruptFileError, match=rf"{path} is truncated.*Download it again"):
        ds.betas.compute()


def test_an_array_of_a_remote_place_pickles(tiny, tiny_in_memory: str) -> None:
    ds = xr.open_dataset(tiny_in_memory, engine="laion_fmri", subject="sub-03")
    with dask.config.set(scheduler="sync"):  # another process has another memory
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(ds.betas)), tiny.matrix())


# the size of what travels, for a dataset of the published size of which only headers, tables and the mask are real


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    root = tmp_path_factory.mktemp("full")
    rng = np.random.default_rng(0)
    # a ball of brain: 270,000 voxels that hang together, as in a head
    centred = [(np.arange(n) - n / 2) / n for n in GRID]
    distance = sum(np.square(c) for c in np.meshgrid(*centred, indexing="ij"))
    mask = distance <= np.partition(distance.ravel(), 270_000)[270_000]
    anat = root / "derivatives" / "anatomical" / "sub-03" / "ses-PrismaAnat" / "anat"
    anat.mkdir(parents=True)
    name = "sub-03_ses-PrismaAnat_space-T1w_res-1pt8_desc-brain_mask.nii"
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)), anat / name)
    inside = np.flatnonzero(mask.ravel())
    roi = np.zeros(mask.size, np.uint8)
    roi[inside[(rng.random(len(inside)) < 0.3) & (np.arange(len(inside)) < 14_000)]] = 1  # scattered: the hard case
    roi_folder = root / "derivatives" / "rois" / "sub-03" / "laion"
    roi_folder.mkdir(parents=True)
    nib.save(
        nib.Nifti1Image(roi.reshape(GRID), np.eye(4)),
        roi_folder / "sub-03_space-T1w_res-1pt8_label-laionventral_mask.nii",
    )
    for i, session in enumerate(SESSIONS):
        n = 1044 + i % 23
        folder = root / "derivatives" / "glmsingle-tedana" / "sub-03" / session / "func"
        folder.mkdir(parents=True)
        stem = f"sub-03_{session}_task-images"
        header = nib.Nifti1Header()
        header.set_data_dtype(np.float32)
        header.set_data_shape((*GRID, n))
        header["magic"], header["vox_offset"] = b"n+1", 352
        # a header, and data that break off: nothing here reads them
        path = folder / f"{stem}_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
        path.write_bytes(gzip.compress(header.binaryblock + bytes(4000)))
        names = [f"unique_LAION_initial_cluster_{rng.integers(5000)}_i{k}_p03.jpg" for k in range(n)]
        table = pd.DataFrame({"session": session, "run": np.arange(n) // 90, "beta_index": range(n), "label": names})
        table.to_csv(folder / f"{stem}_desc-SingletrialBetas_trials.tsv", sep="\t", index=False)
    return xr.open_dataset(root, engine="laion_fmri", subject="sub-03")


def sizes(array: xr.DataArray) -> dict[str, int]:
    """Bytes of the graph of an array: as pickled by hand, and as a client sends it to its scheduler."""
    header, frames = serialize(
        ToPickle(collections_to_expr([array.data], optimize_graph=False)), serializers=["pickle"]
    )
    return {
        "cloudpickle of the graph": len(cloudpickle.dumps(array.__dask_graph__())),
        "cloudpickle of its tasks": len(cloudpickle.dumps(dict(array.__dask_graph__()))),
        "pickle of the array": len(pickle.dumps(array.data)),
        "sent by a client": len(pickle.dumps(header)) + sum(memoryview(f).nbytes for f in frames),
    }


def test_graph_of_4000_voxels_of_30_sessions_is_small(full: xr.Dataset) -> None:
    few = full.betas.sel(roi="laionventral")
    assert few.sizes["voxel"] == pytest.approx(4200, abs=200)
    assert few.data.npartitions == 30
    found = sizes(few)
    assert max(found.values()) < 0.1 * MB, found
    found = sizes(few.mean("trial"))
    assert max(found.values()) < 0.2 * MB, found


def test_graph_of_the_whole_brain_is_small(full: xr.Dataset) -> None:
    assert full.sizes["voxel"] == pytest.approx(270_000, abs=1000)
    found = sizes(full.betas)
    assert max(found.values()) < 1 * MB, found
    found = sizes(full.betas.sel(noise_ceiling=np.arange(full.sizes["voxel"]) % 3 == 0))  # scattered voxels
    assert max(found.values()) < 1 * MB, found


def test_graph_of_shuffled_trials_is_small(full: xr.Dataset) -> None:
    order = np.random.default_rng(0).permutation(full.sizes["trial"])
    few = full.betas.sel(roi="laionventral")
    found = sizes(few.isel(trial=order[:1000]))
    assert max(found.values()) < 1 * MB, found
    found = sizes(few.isel(trial=order))
    assert max(found.values()) < 1 * MB, found  # the order itself is a quarter of a megabyte


def test_a_pickled_dataset_holds_its_coordinates_and_little_more(full: xr.Dataset) -> None:
    coordinates = sum(
        c.nbytes if c.dtype != object else sum(map(len, c.values)) + 8 * c.size for c in full.coords.values()
    )
    assert len(pickle.dumps(full)) < 2 * coordinates
