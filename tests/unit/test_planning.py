"""`.laion.plan()`: what a read will cost, against what is then read."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import laion_xr
from laion_xr.analysis import ReadSummary, average_repeats, planning, read_plan, zscore
from laion_xr.errors import SelectionError, StoreError
from laion_xr.readers.chunkfiles import ChunkFiles
from laion_xr.readers.stored import _stored_voxels

HEADER, VOLUME = 352, 4 * 6 * 7 * 5


@pytest.fixture
def ds(tiny) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


@pytest.fixture
def stored(tiny, tmp_path: Path) -> xr.Dataset:
    plan = laion_xr.plan_ingest(tiny.root, tmp_path / "store", subjects=3)
    plan.chunks = (4, 16)
    laion_xr.ingest(tiny.root, tmp_path / "store", plan=plan, progress=False)
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", store=tmp_path / "store")


@pytest.fixture(autouse=True)
def no_budget_left_over() -> Iterator[None]:
    yield
    laion_xr.set_decode_budget(None)


def as_asked(plan: ReadSummary) -> list[tuple[str, int, int]]:
    return sorted(zip(plan.files.session, plan.files.trials, plan.files.voxels, strict=True))


def as_read(reads: Any) -> list[tuple[str, int, int]]:
    return sorted((r.session, len(set(r.trials)), len(r.voxels)) for r in reads.betas)


VARIANTS = {
    "everything": lambda ds: ds.betas,
    "roi": lambda ds: ds.betas.sel(roi="FFA1"),
    "one voxel": lambda ds: ds.betas.isel(voxel=3),
    "sessions": lambda ds: ds.betas.sel(session=["ses-03", "ses-01"]),
    "mixed trials": lambda ds: ds.betas.isel(trial=[40, 2, 2, 20, 1, 41]),
    "z-scores": lambda ds: zscore(ds.betas),
    "some z-scores": lambda ds: zscore(ds.betas).isel(trial=[2, 3], voxel=[5, 1]),
    "z-scores of runs": lambda ds: zscore(ds.betas, by="run").isel(trial=[2, 20]),
    "averages": lambda ds: average_repeats(ds.betas),
    "one average": lambda ds: average_repeats(ds.betas).isel(stimulus=[1], voxel=slice(10)),
    "averages of z-scores": lambda ds: average_repeats(zscore(ds.betas), min_reps=3),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_is_what_is_then_read(ds: xr.Dataset, reads: Any, name: str) -> None:
    array = VARIANTS[name](ds)
    plan = array.laion.plan()
    assert reads.calls == []
    assert plan.exact
    array.compute()
    assert as_asked(plan) == as_read(reads)
    assert plan.result_bytes == array.nbytes


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    trials=st.lists(st.integers(0, 45), max_size=12),
    voxels=st.lists(st.integers(0, 150), max_size=8),
    kind=st.sampled_from(["betas", "zscore", "mean"]),
)
def test_any_pick(ds: xr.Dataset, reads: Any, trials: list[int], voxels: list[int], kind: str) -> None:
    array = ds.betas if kind != "zscore" else zscore(ds.betas)
    array = array.isel(trial=trials, voxel=voxels)
    if kind == "mean" and trials:
        array = average_repeats(array)
    reads.clear()
    plan = read_plan(array)
    assert reads.calls == []
    array.compute(scheduler="sync")
    assert as_asked(plan) == as_read(reads)


def test_a_compressed_file_is_inflated_up_to_the_last_trial(ds: xr.Dataset, tiny) -> None:
    plan = ds.betas.isel(trial=[5, 2], voxel=[0]).laion.plan()
    size = tiny.betas_file("ses-01").stat().st_size
    row = plan.files.iloc[0]
    assert (row.path, row.source) == (str(tiny.betas_file("ses-01").relative_to(tiny.root)), "nifti")
    assert (row.trials, row.of_trials, row.voxels) == (2, 14, 1)
    assert row.decoded_bytes == 6 * VOLUME
    assert row.file_bytes == size * 6 // 14
    assert row.result_bytes == 2 * 4
    inflated = len(gzip.decompress(tiny.betas_file("ses-01").read_bytes()))
    assert ds.betas.sel(session="ses-01").laion.plan().decoded_bytes == inflated - HEADER


def test_numbers_follow_from_the_rates(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "DECODE_RATES", {"nifti": 1000, "store": 1})
    monkeypatch.setattr(planning, "KEEP_RATE", 500)
    one = [n * VOLUME / 1000 + n * 151 * 4 / 500 for n in (14, 17, 15)]
    np.testing.assert_allclose(ds.betas.laion.plan(cores=1).files.seconds, one)
    assert ds.betas.laion.plan(cores=1).seconds == pytest.approx(sum(one))
    assert ds.betas.laion.plan(cores=2).seconds == pytest.approx(sum(one) / 2)
    assert ds.betas.laion.plan(cores=8).seconds == pytest.approx(max(one))  # one session cannot be divided
    # sessions of an average are read one after another
    assert average_repeats(ds.betas).laion.plan(cores=8).seconds == pytest.approx(sum(one))


def test_memory(ds: xr.Dataset) -> None:
    voxels = 4 * 151
    assert ds.betas.laion.plan(cores=2).memory_bytes == ds.betas.nbytes  # decoded into the result
    mixed = ds.betas.isel(trial=[40, 2, 20, 41])  # put in order after it is read
    assert mixed.laion.plan(cores=2).memory_bytes == (4 + 3) * voxels
    assert mixed.laion.plan(cores=9).memory_bytes == (4 + 4) * voxels
    laion_xr.set_decode_budget(3 * voxels)
    assert mixed.laion.plan(cores=9).memory_bytes == (4 + 3) * voxels
    laion_xr.set_decode_budget(1)  # one read is let through all the same
    assert mixed.laion.plan(cores=9).memory_bytes == (4 + 2) * voxels
    laion_xr.set_decode_budget(None)
    mean = average_repeats(ds.betas)
    n = mean.sizes["stimulus"]
    assert mean.laion.plan(cores=2).memory_bytes == (n + n + 2 * 17) * voxels


def test_dataset_counts_every_lazy_variable(ds: xr.Dataset, reads: Any) -> None:
    plan = ds.laion.plan()
    assert reads.calls == []
    ds.compute()
    assert sorted(plan.files.path) == sorted(r.path for r in reads.calls)
    assert plan.n_files == len(reads.calls)
    assert set(ds[["betas"]].laion.plan().files.variable) == {"betas"}


def test_embeddings(tiny) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", embeddings="CLIP")
    plan = ds.embedding_CLIP.laion.plan()
    names = {n for n in ds.stimulus.values if n in tiny.embeddings}
    row = plan.files.iloc[0]
    assert (row.source, row.path) == ("hdf5", "stimuli/task-images_desc-CLIP_embeddings.h5")
    assert len(names) <= row.trials <= len(names) + 1  # one has a row, and no embedding
    assert row.file_bytes == row.trials * 8 * 2


def test_hdf5_is_at_most_the_file(tiny) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", sessions=1, source="hdf5")
    row = ds.betas.isel(trial=[3]).laion.plan().files.iloc[0]
    assert (row.source, row.trials, row.of_trials) == ("hdf5", 1, 14)
    assert row.file_bytes == tiny.model_file("ses-01").stat().st_size


@pytest.mark.parametrize("by_voxels", [False, True])
@pytest.mark.parametrize("on_files", [True, False])
def test_store_counts_the_chunks_that_are_read(
    stored: xr.Dataset, monkeypatch: pytest.MonkeyPatch, by_voxels: bool, on_files: bool
) -> None:
    loaded: list[int] = []
    load = ChunkFiles.load

    def counting(self: ChunkFiles, row: int, column: int, *rest: Any) -> None:
        loaded.append(Path(self.path(row, column)).stat().st_size)
        load(self, row, column, *rest)

    monkeypatch.setattr(ChunkFiles, "load", counting)
    for array in (
        stored.betas,
        stored.betas.sel(roi="FFA1"),
        stored.betas.isel(trial=[0, 1, 30], voxel=[7]),
        zscore(stored.betas).sel(roi="PPA"),
        average_repeats(stored.betas),
    ):
        lazy = array.chunk({array.dims[0]: -1, "voxel": 40}) if by_voxels else array
        loaded.clear()
        if on_files:
            plan = lazy.laion.plan()
        else:
            with monkeypatch.context() as elsewhere:
                elsewhere.setattr(ChunkFiles, "of", lambda *_: None)
                _stored_voxels.cache_clear()
                plan = lazy.laion.plan()
            _stored_voxels.cache_clear()
        assert loaded == []
        lazy.compute()
        assert set(plan.files.source) == {"store"}
        assert plan.decoded_bytes == len(loaded) * 4 * 16 * 4
        if on_files:
            assert plan.file_bytes == sum(loaded)


def test_store_that_is_gone(stored: xr.Dataset, tmp_path: Path) -> None:
    _stored_voxels.cache_clear()
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is not in the store any more: open the dataset again"):
        stored.betas.laion.plan()


def test_write_through_reads_the_store_once_it_has_the_session(tiny, tmp_path: Path) -> None:
    ds = xr.open_dataset(
        tiny.root, engine="laion_fmri", subject="sub-03", sessions=1, store=tmp_path / "s", write_through=True
    )
    assert ds.betas.laion.plan().files.source.tolist() == ["nifti"]
    ds.betas.compute()
    assert ds.betas.laion.plan().files.source.tolist() == ["store"]


def test_what_was_computed_of_reads(ds: xr.Dataset, reads: Any) -> None:
    for array in (ds.betas * 2, ds.betas.groupby("stimulus").mean(), (ds.betas - ds.betas.mean("trial")).mean()):
        plan = array.laion.plan()
        assert not plan.exact
        assert plan.files.session.tolist() == ["ses-01", "ses-02", "ses-03"]
        assert "at most" in repr(plan)
    mixed = (ds.betas.isel(trial=[40, 2, 20]) + 1).laion.plan()
    assert as_asked(mixed) == [("ses-01", 1, 151), ("ses-02", 1, 151), ("ses-03", 1, 151)]
    assert reads.calls == []


@pytest.mark.parametrize("pick", ["computed", "coordinate", "no voxels", "no trials", "missing map"])
def test_nothing_to_read(ds: xr.Dataset, pick: str) -> None:
    array = {
        "computed": lambda: ds.betas.sel(roi="FFA1").compute(),
        "coordinate": lambda: ds.noise_ceiling,
        "no voxels": lambda: ds.betas.sel(roi="EBA"),
        "no trials": lambda: ds.betas.isel(trial=[]),
        "missing map": lambda: ds.hrf_index.isel(ses=[1]),
    }[pick]()
    plan = array.laion.plan()
    assert (plan.n_files, plan.file_bytes, plan.decoded_bytes, plan.seconds) == (0, 0, 0, 0)
    assert "0 s" in repr(plan)
    assert json.loads(json.dumps(plan.to_dict()))["files"] == []
    assert plan._repr_html_().count("<table") == 1


def test_as_data_text_and_html(ds: xr.Dataset) -> None:
    plan = ds.sel(roi="FFA1").laion.plan(cores=2)
    data = json.loads(json.dumps(plan.to_dict()))
    assert data["n_files"] == plan.n_files == len(data["files"])
    assert data["files"][0]["trials"] == 14
    assert (data["file_bytes"], data["cores"]) == (plan.file_bytes, 2)
    for text in (repr(plan), plan._repr_html_()):
        assert all(word in text for word in ("ses-02", "17 of 17", "nifti", "memory", "with 2 cores"))
    assert plan._repr_html_().count("<table") == 2


def test_bad_cores(ds: xr.Dataset) -> None:
    with pytest.raises(SelectionError, match=r"cores is a number of 1 or more, or None .* found 0"):
        ds.laion.plan(cores=0)


def test_reads_nothing_and_computes_nothing(ds: xr.Dataset) -> None:
    with dask.config.set(scheduler=lambda *_, **__: pytest.fail("computed")):
        ds.laion.plan()
        average_repeats(zscore(ds.betas)).laion.plan()
