"""What a store holds is what the source holds: every trial and voxel, bit for bit, through every way of reading it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import nibabel as nib
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import laion_xr
from laion_xr._version import __version__
from laion_xr.errors import ReadCostWarning, StaleStoreWarning, StoreError
from laion_xr.location import Location
from laion_xr.readers.zarrarrays import LOST
from laion_xr.stored import FORMAT_VERSION, RECORD, stored_sessions

AFFINE = np.diag([2.0, 2, 2, 1])


def open_subject(root: Any, subject: Any = "sub-03", **options: Any) -> xr.Dataset:
    return xr.open_dataset(root, engine="laion_fmri", subject=subject, **options)


def same_bits(found: Any, expected: Any) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


def small_chunks(root: Any, store: Any, **options: Any) -> laion_xr.store.IngestPlan:
    """A plan whose sessions are many chunks, the last of them cut."""
    plan = laion_xr.plan_ingest(root, store, **options)
    plan.chunks = (4, 19)
    return plan


@pytest.fixture(scope="module")
def store(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the tiny dataset. Read it, never write into it."""
    store = tmp_path_factory.mktemp("store") / "laion.zarr"
    table = laion_xr.ingest(tiny.root, store, plan=small_chunks(tiny.root, store), progress=False)
    assert table["outcome"].tolist() == ["written"] * 5
    return store


@pytest.fixture(scope="module")
def ds(tiny: Any, store: Path) -> xr.Dataset:
    return open_subject(tiny.root, store=store, source="store")


@pytest.fixture
def store_copy(store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "laion.zarr"))


# values


@pytest.mark.parametrize("source", ["store", "auto"])
@pytest.mark.parametrize("subject", ["sub-01", "sub-03"])
def test_every_trial_and_voxel(tiny: Any, store: Path, reads: Any, subject: str, source: str) -> None:
    ds = open_subject(tiny.root, subject, store=store, source=source)
    same_bits(ds.betas.values, tiny.matrix(subject))
    assert reads.betas == []


@st.composite
def picks(draw: Any) -> tuple[list[int], list[int]]:
    trials = draw(st.lists(st.integers(0, 45), min_size=1, max_size=60))
    return trials, draw(st.lists(st.integers(0, 150), min_size=1, max_size=170))


@given(picks())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pick_in_any_order(tiny: Any, ds: xr.Dataset, pick: tuple[list[int], list[int]]) -> None:
    assert ds.betas.shape == (46, 151)
    trials, voxels = pick
    found = ds.isel(trial=trials, voxel=voxels)
    same_bits(found.betas.values, tiny.matrix()[trials][:, voxels])
    assert found.trial.values.tolist() == trials


@given(picks())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_pick_of_its_readers(tiny: Any, store: Path, pick: tuple[list[int], list[int]]) -> None:
    session = stored_sessions(Location.of(store), "sub-03")["ses-02"]
    truth = tiny.matrix(sessions=["ses-02"])
    trials, voxels = np.array(pick[0]) % len(truth), np.array(pick[1])
    same_bits(session.reader(tiny.grid).read(trials, tiny.voxels[voxels]), truth[trials][:, voxels])


@pytest.mark.parametrize("n", [1, 40, 151])
def test_all_trials_of_a_block_of_voxels(tiny: Any, ds: xr.Dataset, n: int) -> None:
    chunked = ds.chunk({"trial": -1, "voxel": n})
    assert chunked.betas.data.numblocks == (1, -(-151 // n))
    same_bits(chunked.betas.values, tiny.matrix())


def test_labels_of_trials_and_voxels(tiny: Any, ds: xr.Dataset) -> None:
    found = ds.sel(roi="face", session=["ses-03", "ses-01"]).betas
    rows = np.r_[0:14, 31:46]
    same_bits(found.values, tiny.matrix()[rows][:, tiny.members("FFA1", "OFA")])


def test_every_bit_pattern(tmp_path: Path) -> None:
    # both zeros, infinities, NaN of any payload, subnormal numbers, and the fill value of lost chunks
    grid, n = (5, 4, 3), 9
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, (*grid, n), dtype=np.uint32)
    special = [0, 1 << 31, 0x7F800000, 0xFF800000, 0x7FC00001, 0xFFC12345, 1, np.float32(LOST).view(np.uint32)]
    bits[rng.random(bits.shape) < 0.5] = rng.choice(special)
    bits[0, :, :, 0] = special[-1]
    # a signalling NaN becomes a quiet one in the processor, on any way
    quiet = np.isnan(bits.view(np.float32))
    bits[quiet] |= 1 << 22
    folder = tmp_path / "laion/derivatives/glmsingle-tedana/sub-01"
    names = "sub-01_ses-01_task-images_"
    (folder / "ses-01/func").mkdir(parents=True)
    betas = bits.view(np.float32)
    nib.save(
        nib.Nifti1Image(betas, AFFINE),
        folder / f"ses-01/func/{names}space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz",
    )
    rows = "".join(f"ses-01\t1\t{i}\tunique_LAION_{i}_p01.jpg\n" for i in range(n))
    table = folder / f"ses-01/func/{names}desc-SingletrialBetas_trials.tsv"
    table.write_text(f"session\trun\tbeta_index\tlabel\n{rows}")
    mask = rng.random(grid) < 0.8
    masks = tmp_path / "laion/derivatives/anatomical/sub-01/ses-PrismaAnat/anat"
    masks.mkdir(parents=True)
    nib.save(
        nib.Nifti1Image(mask.astype(np.uint8), AFFINE),
        masks / "sub-01_ses-PrismaAnat_space-T1w_res-1pt8_desc-brain_mask.nii.gz",
    )
    root, store = tmp_path / "laion", tmp_path / "laion.zarr"
    laion_xr.ingest(root, store, plan=small_chunks(root, store), progress=False)
    truth = np.moveaxis(betas, -1, 0).reshape(n, -1)[:, mask.ravel()]
    for source in ("nifti", "store"):
        same_bits(open_subject(root, 1, store=store, source=source).betas.values, truth)
    assert laion_xr.verify(store, root)["status"].tolist() == ["ok"]


def test_pickled_with_its_reads(tiny: Any, ds: xr.Dataset) -> None:
    same_bits(pickle.loads(pickle.dumps(ds)).betas.isel(voxel=slice(3, 9)).values, tiny.matrix()[:, 3:9])


# coordinates and maps


def test_opened_from_a_store_it_is_the_same_dataset(tiny: Any, ds: xr.Dataset) -> None:
    source = open_subject(tiny.root, source="nifti")
    xr.testing.assert_identical(ds.drop_vars("betas").load(), source.drop_vars("betas").load())
    assert ds.betas.attrs == source.betas.attrs
    assert ds.betas.dims == source.betas.dims
    assert set(ds.xindexes) == set(source.xindexes)
    assert list(ds.variables) == list(source.variables)


def test_copied_to_zarr_and_back(ds: xr.Dataset, tmp_path: Path) -> None:
    # sessions of unequal length are no chunks of Zarr's: it says so, and how
    ds.to_zarr(tmp_path / "copy.zarr", align_chunks=True, encoding={"betas": {"chunks": (16, 64)}})
    copy = xr.open_zarr(tmp_path / "copy.zarr")
    same_bits(copy.betas.values, ds.betas.values)
    labels = [name for name in ds.xindexes if name not in ds.dims]
    xr.testing.assert_equal(copy.drop_vars("betas").load(), ds.drop_vars("betas").drop_indexes(labels).load())


# the store by itself, with xarray and zarr alone


@pytest.fixture
def plain(store: Path) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the exceptions of the whole suite do not count here
        return xr.open_zarr(store / "sub-03" / "ses-02").load()


def test_plain_open_zarr(tiny: Any, plain: xr.Dataset) -> None:
    assert set(plain.sizes) == {"trial", "voxel", "ses"}
    ordered = plain.sortby("voxel")
    assert ordered.voxel.values.tolist() == tiny.voxels.tolist()
    same_bits(ordered.betas.values, tiny.matrix(sessions=["ses-02"]))


def test_plain_coordinates_and_maps_are_those_of_the_source(tiny: Any, plain: xr.Dataset) -> None:
    source = open_subject(tiny.root, sessions="ses-02", source="nifti", label_index=False).load()
    ordered = source.sel(voxel=plain.voxel.values)
    assert set(plain.variables) == set(source.variables)
    assert set(plain.coords) == set(source.coords)
    for name, variable in plain.variables.items():
        expected = ordered[name].variable
        assert variable.dims == expected.dims, name
        assert variable.attrs == expected.attrs, name
        np.testing.assert_array_equal(variable.values, expected.values, err_msg=str(name))
        if expected.dtype != object:
            assert variable.dtype == expected.dtype, name
    assert {k: v for k, v in plain.attrs.items() if k != RECORD} == source.attrs
    # of the whole table, not of the session
    assert plain.trial.values.tolist() == list(range(14, 31))


def test_plain_open_datatree(tiny: Any, store: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(store, engine="zarr")
    assert sorted(tree.groups) == ["/", "/sub-01", "/sub-01/ses-01", "/sub-01/ses-02", "/sub-03"] + [
        f"/sub-03/ses-0{n}" for n in (1, 2, 3)
    ]
    for subject in ("sub-01", "sub-03"):
        for name in tiny.sessions(subject):
            found = tree[f"{subject}/{name}"].to_dataset().sortby("voxel")
            same_bits(found.betas.values, tiny.matrix(subject, [name]))


def test_labels_after_plain_open(tiny: Any, plain: xr.Dataset) -> None:
    labelled = plain.laion.index_labels()
    source = open_subject(tiny.root, sessions="ses-02", source="nifti")
    for labels in ({"roi": "face"}, {"roi": "laionventral - FFA1", "run": 2}, {"noise_ceiling": slice(30, 60)}):
        found, expected = labelled.sel(**labels).sortby("voxel"), source.sel(**labels)
        assert found.voxel.values.tolist() == expected.voxel.values.tolist()
        assert found.trial.values.tolist() == expected.trial.values.tolist()
        same_bits(found.betas.values, expected.betas.values)


def test_an_roi_lies_together(plain: xr.Dataset) -> None:
    roi = plain.roi.values.astype(object)
    inside = np.array(["laionventral" in text.split("+") for text in roi])
    assert inside[: inside.sum()].all()
    assert (roi[-3:] == "").all()


def test_no_text_of_fixed_width(store: Path) -> None:
    texts = 0
    for array in zarr.open_group(store, mode="r")["sub-03/ses-02"].array_values():
        kind = array.metadata.to_dict()["data_type"]
        assert isinstance(kind, str), kind  # those of fixed width carry a length
        texts += kind == "string"
    assert texts >= 6


def test_chunks_on_disk_are_those_of_the_plan(store: Path) -> None:
    betas = zarr.open_array(store / "sub-03" / "ses-02" / "betas", mode="r")
    assert (betas.shape, betas.chunks, betas.dtype) == ((17, 151), (4, 19), np.float32)
    assert betas.metadata.dimension_names == ("trial", "voxel")


def test_attributes_say_what_it_was_made_from(tiny: Any, plain: xr.Dataset) -> None:
    record = plain.attrs[RECORD]
    assert json.loads(json.dumps(record)) == record
    assert (record["format"], record["package"]) == (FORMAT_VERSION, __version__)
    file = tiny.betas_file("ses-02")
    assert record["source"]["size"] == file.stat().st_size
    assert record["source"]["tail"] == file.read_bytes()[-8:].hex()
    assert len(record["checksum"]) == 16


# session by session


def test_sessions_that_it_lacks_are_read_from_the_source(tiny: Any, store_copy: Path, reads: Any) -> None:
    shutil.rmtree(store_copy / "sub-03" / "ses-02")
    ds = open_subject(tiny.root, store=store_copy)
    same_bits(ds.betas.values, tiny.matrix())
    assert {r.session for r in reads.betas} == {"ses-02"}
    with pytest.raises(StoreError, match="sub-03 ses-02 is not in the store"):
        open_subject(tiny.root, store=store_copy, source="store")
    same_bits(
        open_subject(tiny.root, store=store_copy, source="store", sessions=["ses-03", "ses-01"]).betas.values,
        tiny.matrix(sessions=["ses-01", "ses-03"]),
    )


def test_a_session_that_is_not_complete_is_none(tiny: Any, store_copy: Path, reads: Any) -> None:
    path = store_copy / "sub-03" / "ses-02" / "zarr.json"
    metadata = json.loads(path.read_text())
    del metadata["attributes"][RECORD]
    path.write_text(json.dumps(metadata))
    same_bits(open_subject(tiny.root, store=store_copy).betas.values, tiny.matrix())
    assert {r.session for r in reads.betas} == {"ses-02"}


def test_no_store_there(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(ReadCostWarning, match=r"There is no store at .*none.zarr: nothing is there.*laion_xr.ingest"):
        ds = open_subject(tiny.root, store=tmp_path / "none.zarr")
    same_bits(ds.betas.values, tiny.matrix())
    with pytest.warns(ReadCostWarning, match=r"is no store of laion_xr: it has no zarr.json"):
        open_subject(tiny.root, store=tiny.root)
    ds[["x"]].drop_indexes(["roi", "noise_ceiling"]).to_zarr(tmp_path / "other.zarr", consolidated=False)
    with pytest.warns(ReadCostWarning, match=r"other.zarr is no store of laion_xr: it holds no subject"):
        open_subject(tiny.root, store=tmp_path / "other.zarr")
    with monkeypatch.context() as environment:
        environment.setenv("LAION_XR_STORE", str(tmp_path / "none.zarr"))
        with pytest.warns(ReadCostWarning, match=r"There is no store at .* correct store= \(or LAION_XR_STORE"):
            open_subject(tiny.root)
    # asked for the files: nobody looks for a store
    open_subject(tiny.root, store=tmp_path / "none.zarr", source="nifti")
    with pytest.raises(StoreError, match="is not in the store"):
        open_subject(tiny.root, store=tmp_path / "none.zarr", source="store")
    with pytest.raises(StoreError, match="source='store' needs a store: pass store="):
        open_subject(tiny.root, source="store")


def test_the_configured_store(tiny: Any, store: Path, reads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_XR_STORE", str(store))
    same_bits(open_subject(tiny.root).betas.values, tiny.matrix())
    assert reads.betas == []


def test_other_betas_than_those_it_was_made_from(tiny_copy: Any, store: Path, reads: Any) -> None:
    file = tiny_copy.betas_file("ses-02")
    changed = tiny_copy.betas["sub-03", "ses-02"] + 1
    nib.save(nib.Nifti1Image(changed, tiny_copy.affine), file)
    tiny_copy.betas = {**tiny_copy.betas, ("sub-03", "ses-02"): changed}
    with pytest.warns(StaleStoreWarning, match=r"holds sub-03 ses-02 made from other betas than those in .* not used"):
        ds = open_subject(tiny_copy.root, store=store)
    same_bits(ds.betas.values, tiny_copy.matrix())
    assert {r.session for r in reads.betas} == {"ses-02"}
    with (
        pytest.warns(StaleStoreWarning, match="run 'laion-xr ingest' again"),
        pytest.raises(StoreError, match="ses-02 is not in the store, or not as the files and the mask are now"),
    ):
        open_subject(tiny_copy.root, store=store, source="store")


def test_a_copy_of_the_files_with_other_times(tiny_copy: Any, store: Path, reads: Any) -> None:
    for name in tiny_copy.sessions():
        os.utime(tiny_copy.betas_file(name), (1, 1))
    same_bits(open_subject(tiny_copy.root, store=store).betas.values, tiny_copy.matrix())
    assert reads.betas == []


@pytest.mark.parametrize("source", ["store", "auto"])
def test_it_stands_for_betas_that_are_gone(tiny_copy: Any, store: Path, source: str) -> None:
    for name in tiny_copy.sessions():
        tiny_copy.betas_file(name).unlink()
    ds = open_subject(tiny_copy.root, store=store, source=source)
    same_bits(ds.betas.values, tiny_copy.matrix())
    assert ds.session.values.tolist() == tiny_copy.table()["session"].tolist()


def test_another_mask_is_read_from_the_source(tiny: Any, store: Path, reads: Any) -> None:
    ds = open_subject(tiny.root, store=store, mask_source="rsquare")
    truth = open_subject(tiny.root, source="nifti", mask_source="rsquare").betas.values
    reads.clear()
    same_bits(ds.betas.values, truth)
    assert {r.session for r in reads.betas} == {"ses-01", "ses-02", "ses-03"}


def test_several_subjects_as_a_tree(tiny: Any, store: Path, reads: Any) -> None:
    tree = xr.open_datatree(tiny.root, engine="laion_fmri", store=store)
    for subject in ("sub-01", "sub-03"):
        same_bits(tree[subject].betas.values, tiny.matrix(subject))
    assert reads.betas == []


# other places, other precision


def test_in_memory(tiny: Any, tiny_in_memory: str) -> None:
    store = f"memory://store-{uuid.uuid4().hex}"
    done = laion_xr.ingest(tiny_in_memory, store, plan=small_chunks(tiny_in_memory, store, subjects=3), progress=False)
    assert done["outcome"].tolist() == ["written"] * 3
    same_bits(open_subject(tiny_in_memory, store=store, source="store").betas.values, tiny.matrix())
    again = laion_xr.ingest(tiny_in_memory, store, subjects=3, progress=False)
    assert again["outcome"].tolist() == ["kept"] * 3
    fs = fsspec.filesystem("memory")
    name = store.removeprefix("memory://")
    lost = f"/{name}/sub-03/ses-02/betas/c/2/3"
    assert fs.exists(lost)
    fs.rm(lost)
    assert laion_xr.verify(store)["status"].tolist() == ["ok", "damaged", "ok"]
    with pytest.raises(laion_xr.errors.CorruptFileError, match="expected a chunk betas/c/2/3, found none"):
        open_subject(tiny_in_memory, store=store, source="store").betas.values  # noqa: B018
    assert laion_xr.verify(store, tiny_in_memory, repair=True)["status"].tolist() == ["ok", "repaired", "ok"]
    same_bits(open_subject(tiny_in_memory, store=store, source="store").betas.values, tiny.matrix())
    fs.rm(f"/{name}", recursive=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("large") / "laion"
    laion_xr.simulate(root, subjects=[1], sessions=1, trials=64, grid=24, stimuli=False, surfaces=False, models=False)
    return root


def size(store: Path) -> int:
    return sum(p.stat().st_size for p in (store / "sub-01" / "ses-01" / "betas").rglob("*") if p.is_file())


def test_a_lossy_store_is_smaller_and_keeps_its_word(large: Path, tmp_path: Path) -> None:
    exact = open_subject(large, 1, source="nifti").betas.values
    sizes = {}
    for precision in (None, 1e-2, 1e-3):
        store = tmp_path / f"{precision}.zarr"
        laion_xr.ingest(large, store, precision=precision, progress=False)
        found = open_subject(large, 1, store=store, source="store").betas.values
        np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
        np.testing.assert_allclose(found, exact, rtol=precision or 0, atol=0)
        sizes[precision] = size(store)
        assert laion_xr.verify(store, large)["status"].tolist() == ["ok"]
        assert stored_sessions(Location.of(store), "sub-01")["ses-01"].record["precision"] == precision
    assert sizes[1e-2] < sizes[1e-3] < sizes[None]
    assert sizes[1e-2] < 0.6 * sizes[None]
