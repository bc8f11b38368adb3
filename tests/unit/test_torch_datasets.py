"""Datasets of PyTorch in one process: values against what was written, bad input, resuming, memory."""

from __future__ import annotations

import io
import json
import pickle
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from PIL import Image
from torch.utils.data import default_collate

import laion_xr
from laion_xr.errors import (
    MissingExtraError,
    ReadCostWarning,
    SelectionError,
    StimuliNotDownloadedError,
    UnknownLabelError,
)
from laion_xr.readers.stored import StoredReader
from laion_xr.torch import Loader, TrialDataset, TrialStream, to_torch
from tests.conftest import Reads, Tiny


@pytest.fixture(scope="module")
def tiny_store(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("torch") / "store.zarr"
    laion_xr.ingest(tiny.root, store, progress=False)
    return store


@pytest.fixture
def ds(tiny: Tiny, tiny_store: Path) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", store=tiny_store, source="store")


@pytest.fixture(params=["store", "nifti", "memory", "dask"])
def any_ds(request: pytest.FixtureRequest, tiny: Tiny, tiny_store: Path) -> xr.Dataset:
    source = request.param if request.param in ("store", "nifti") else "nifti"
    found = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", store=tiny_store, source=source)
    if request.param == "memory":
        return found[["betas"]].compute()
    return found.assign(betas=found.betas * 1) if request.param == "dask" else found


def trials_of(batches: Any) -> list[int]:
    return [t for batch in batches for t in batch["trial"].tolist()]


# values


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_hold_what_was_written(any_ds: xr.Dataset, tiny: Tiny, shuffle: bool) -> None:
    matrix, table = tiny.matrix(), tiny.table()
    batches = list(to_torch(any_ds, batch_size=5, shuffle=shuffle, buffer=20))
    assert [len(b["trial"]) for b in batches] == [5] * 9 + [1]
    assert sorted(trials_of(batches)) == list(range(46))
    if not shuffle:
        assert trials_of(batches) == list(range(46))
    known = {name: row for row, name in enumerate(tiny.metadata["image_name"])}
    for batch in batches:
        trial = batch["trial"].numpy()
        np.testing.assert_array_equal(batch["betas"].numpy(), matrix[trial])  # NaN is kept
        assert batch["betas"].dtype == torch.float32
        assert batch["stimulus"] == table["label"].iloc[trial].tolist()
        assert batch["stimulus_index"].tolist() == [known.get(name, -1) for name in batch["stimulus"]]


def test_items_hold_what_batches_hold(any_ds: xr.Dataset, tiny: Tiny) -> None:
    items = list(to_torch(any_ds, buffer=20))
    assert sorted(item["trial"] for item in items) == list(range(46))
    for item in items:
        np.testing.assert_array_equal(item["betas"].numpy(), tiny.matrix()[item["trial"]])


def test_map_dataset_takes_any_trial(any_ds: xr.Dataset, tiny: Tiny, recwarn: pytest.WarningsRecorder) -> None:
    dataset = to_torch(any_ds, kind="map")
    recwarn.clear()  # of the cost from .nii.gz: tested by itself
    assert isinstance(dataset, TrialDataset)
    assert len(dataset) == 46
    asked = [45, 3, 3, -46, 20]
    items = dataset.__getitems__(asked)
    assert [item["trial"] for item in items] == [45, 3, 3, 0, 20]
    np.testing.assert_array_equal(np.stack([item["betas"] for item in items]), tiny.matrix()[asked])
    assert dataset[-1]["trial"] == 45
    for wrong in (46, -47):
        with pytest.raises(IndexError, match="0 to 45"):
            dataset[wrong]


def test_a_batch_of_a_map_dataset_is_one_read_a_session(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    read = StoredReader.read

    def counting(self: StoredReader, trials: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(trials))
        return read(self, trials, *args, **kwargs)

    monkeypatch.setattr(StoredReader, "read", counting)
    to_torch(ds, kind="map").__getitems__([0, 20, 1, 45, 44, 2])
    assert sorted(calls) == [1, 2, 3]


def test_an_epoch_reads_each_session_file_once(tiny: Tiny, reads: Reads) -> None:
    whole = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", source="nifti")
    stream = to_torch(whole, batch_size=4, buffer=1)
    assert reads.betas == []
    list(stream)
    assert [read.session for read in reads.betas] == ["ses-01", "ses-02", "ses-03"]


def test_selections_are_served(ds: xr.Dataset, tiny: Tiny) -> None:
    chosen = ds.sel(roi="FFA1", session=["ses-01", "ses-03"]).isel(trial=slice(None, None, -2))
    table = tiny.table()
    inside = tiny.members("FFA1")
    wanted = np.flatnonzero(table["session"].isin(["ses-01", "ses-03"]))[::-2]
    batches = list(to_torch(chosen, batch_size=4, shuffle=False))
    assert sorted(trials_of(batches)) == sorted(wanted)
    for batch in batches:
        np.testing.assert_array_equal(batch["betas"].numpy(), tiny.matrix()[batch["trial"].numpy()][:, inside])
    array = list(to_torch(chosen.betas, batch_size=4, shuffle=False))
    assert trials_of(array) == trials_of(batches)


def test_z_scores_and_means_are_served(ds: xr.Dataset, tiny: Tiny) -> None:
    frame = pd.DataFrame(tiny.matrix().astype("f8")).assign(session=tiny.table()["session"].to_numpy())
    z = frame.groupby("session").transform(lambda x: (x - x.mean()) / x.std(ddof=0)).to_numpy()
    for batch in to_torch(ds.laion.zscore(), batch_size=7):
        np.testing.assert_allclose(batch["betas"].numpy(), z[batch["trial"].numpy()], atol=2e-5)
    means = pd.DataFrame(z).groupby(tiny.table()["label"].to_numpy()).mean()
    averaged = ds.laion.zscore().laion.average_repeats()
    batches = list(to_torch(averaged, batch_size=7))
    names = [name for batch in batches for name in batch["stimulus"]]
    assert sorted(names) == sorted(means.index)
    got = torch.cat([batch["betas"] for batch in batches]).numpy()
    np.testing.assert_allclose(got, means.loc[names].to_numpy(), atol=2e-5)


def test_type_and_missing_values(ds: xr.Dataset, tiny: Tiny) -> None:
    matrix = tiny.matrix()
    assert np.isnan(matrix).any()
    for batch in to_torch(ds, batch_size=8, dtype="float16", nan=-9.0, buffer=17):
        assert batch["betas"].dtype == torch.float16
        expected = np.where(np.isnan(matrix), -9, matrix)[batch["trial"].numpy()].astype("f2")
        np.testing.assert_array_equal(batch["betas"].numpy(), expected)
    assert next(iter(to_torch(ds, batch_size=2, dtype=torch.bfloat16)))["betas"].dtype == torch.bfloat16


def test_embeddings_follow_the_trials(ds: xr.Dataset, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = np.full(8, np.nan, "f4")
    for limit in (1 << 20, 0):  # in memory, by row
        monkeypatch.setattr("laion_xr.torch.items.EMBEDDING_BYTES", limit)
        for batch in to_torch(ds, batch_size=6, embedding="CLIP"):
            expected = [tiny.embeddings.get(name, missing) for name in batch["stimulus"]]
            np.testing.assert_array_equal(batch["embedding"].numpy(), np.array(expected, "f4"))
    batch = next(iter(to_torch(ds, batch_size=6, embedding=["CLIP"])))
    assert batch["embedding"]["CLIP"].shape == (6, 8)
    given = np.random.default_rng(0).random((46, 3))
    for batch in to_torch(ds, batch_size=6, embedding=given):
        np.testing.assert_array_equal(batch["embedding"].numpy(), given[batch["trial"].numpy()].astype("f4"))


def test_arrays_of_features_are_matched_by_their_labels(ds: xr.Dataset, tiny: Tiny) -> None:
    values = np.random.default_rng(0).random((46, 3)).astype("f4")
    features = xr.DataArray(values, {"trial": ds.trial.values}, ("trial", "feature"))
    some = ds.isel(trial=[40, 3, 17, 8])
    table = pd.DataFrame(values, pd.Index(ds.trial.values, name="trial"))
    for given in (features, features[::-1], features.T, table, table[::-1], table[0], features[:, 0]):
        batch = next(iter(to_torch(some, batch_size=4, embedding=given)))
        expected = values[batch["trial"].numpy()]
        np.testing.assert_array_equal(batch["embedding"].numpy(), expected if given.ndim == 2 else expected[:, 0])
    by_image = pd.DataFrame(np.arange(len(names := sorted(set(tiny.table()["label"])))), names).rename_axis("stimulus")
    batch = next(iter(to_torch(ds, batch_size=46, embedding=by_image)))
    assert [names[i] for i in batch["embedding"][:, 0].int().tolist()] == batch["stimulus"]
    means = next(iter(to_torch(ds.laion.average_repeats(), batch_size=9, embedding=by_image)))
    assert [names[i] for i in means["embedding"][:, 0].int().tolist()] == means["stimulus"]
    with pytest.raises(UnknownLabelError, match="features for every trial"):
        to_torch(some, embedding=features[:20])
    # no labels: as they stand, however they lie in memory
    for given in (values[:4][::-1], values[:4].astype(np.longdouble), values[:4] > 0.5):
        item = to_torch(some, kind="map", embedding=given)[1]
        np.testing.assert_array_equal(item["embedding"].numpy(), given[1].astype("f4"))


def test_means_are_of_no_trial(ds: xr.Dataset) -> None:
    averaged = ds.laion.average_repeats()
    assert set(to_torch(averaged, kind="map")[5]) == {"betas", "stimulus", "stimulus_index"}
    assert set(next(iter(to_torch(averaged.betas, batch_size=4)))) == {"betas", "stimulus", "stimulus_index"}


def test_double_precision_is_kept() -> None:
    values = np.random.default_rng(0).random((9, 2)) / 3
    array = xr.DataArray(values, dims=("trial", "voxel"))
    for source in (array, array.chunk(trial=4)):
        for batch in to_torch(source, batch_size=4, dtype=np.float64, buffer=5):
            np.testing.assert_array_equal(batch["betas"].numpy(), values[batch["trial"].numpy()])
        np.testing.assert_array_equal(to_torch(source, kind="map", dtype="float64")[3]["betas"].numpy(), values[3])


def as_shown(picture: Image.Image) -> np.ndarray:
    """Return an image over middle grey, the colour of the scanner's screen."""
    screen = Image.new("RGB", picture.size, (128, 128, 128))
    screen.paste(picture.convert("RGB"), mask=picture.convert("RGBA").getchannel("A"))
    return np.asarray(screen)


def test_images_and_captions_follow_the_trials(dataset_root: Path) -> None:
    simulated = xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-03")
    names = pd.read_csv(dataset_root / "stimuli" / "task-images_metadata.csv")["image_name"].tolist()
    captions = laion_xr.load_stimuli(dataset_root).captions
    written = {n: set(captions.human(n)) for n in set(simulated.stimulus.values)}
    stream = to_torch(simulated, batch_size=40, image=True, caption="human")
    with h5py.File(next((dataset_root / "stimuli").glob("*_stimuli.h5"))) as file:
        pixels = {
            name: as_shown(Image.open(io.BytesIO(file["images"][row].tobytes())))
            for row, name in enumerate(names)
            if name in written
        }
    drawn: list[list[str]] = []
    for _ in range(2):
        drawn.append([])
        for batch in sorted(stream, key=lambda b: b["trial"].tolist()):
            for i, name in enumerate(batch["stimulus"]):
                np.testing.assert_array_equal(batch["image"][i].permute(1, 2, 0).numpy(), pixels[name])
            assert batch["image"].dtype == torch.uint8
            assert all(c in (written[n] or {""}) for n, c in zip(batch["stimulus"], batch["caption"], strict=True))
            drawn[-1] += [c for _, c in sorted(zip(batch["trial"].tolist(), batch["caption"], strict=True))]
    assert drawn[0] == drawn[1]  # the same epoch
    stream.set_epoch(1)
    again = {t: c for b in stream for t, c in zip(b["trial"].tolist(), b["caption"], strict=True)}
    stream.set_epoch(0)
    before = {t: c for b in stream for t, c in zip(b["trial"].tolist(), b["caption"], strict=True)}
    assert before != again
    assert next(iter(to_torch(simulated, batch_size=2, image=(16, 24))))["image"].shape == (2, 3, 16, 24)


def test_subjects_of_a_tree_take_turns(tiny: Tiny) -> None:
    tree = xr.open_datatree(tiny.root, engine="laion_fmri")
    seen: dict[str, list[int]] = {"sub-01": [], "sub-03": []}
    turns = []
    for batch in tree.laion.to_torch(batch_size=3):
        (subject,) = set(batch["subject"])
        turns.append(subject)
        seen[subject] += batch["trial"].tolist()
        np.testing.assert_array_equal(batch["betas"].numpy(), tiny.matrix(subject)[batch["trial"].numpy()])
    assert {s: sorted(t) for s, t in seen.items()} == {"sub-01": list(range(24)), "sub-03": list(range(46))}
    assert len({tuple(turns[:8]), tuple(turns[-8:])} - {("sub-01",) * 8, ("sub-03",) * 8}) == 2
    with pytest.raises(SelectionError, match="ConcatDataset"):
        to_torch(tree, kind="map")


def test_transform_sees_items(ds: xr.Dataset, tiny: Tiny) -> None:
    def mean(item: dict[str, Any]) -> dict[str, Any]:
        return {"trial": item["trial"], "mean": item["betas"].nanmean()}

    expected = np.nanmean(tiny.matrix().astype("f8"), axis=1)
    for batch in to_torch(ds, batch_size=6, transform=mean):
        assert set(batch) == {"trial", "mean"}
        np.testing.assert_allclose(batch["mean"].numpy(), expected[batch["trial"].numpy()], atol=1e-5)
    np.testing.assert_allclose(to_torch(ds, kind="map", transform=mean)[4]["mean"], expected[4], atol=1e-5)


# order, resuming


def test_order_is_that_of_seed_and_epoch(ds: xr.Dataset) -> None:
    first = trials_of(to_torch(ds, batch_size=5, seed=4))
    stream = to_torch(ds, batch_size=5, seed=4)
    assert trials_of(stream) == first == trials_of(stream)
    stream.set_epoch(1)
    second = trials_of(stream)
    assert second != first
    assert sorted(second) == sorted(first)
    assert trials_of(to_torch(ds, batch_size=5, seed=5)) != first
    planned = [row for _, rows in stream.rows() for row in rows.tolist()]
    assert planned == second


def test_ranks_share_the_trials(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [to_torch(ds, batch_size=4, rank=r, world_size=2) for r in range(2)]
    found = [trials_of(s) for s in streams]
    assert sorted(found[0] + found[1]) == list(range(46))
    assert [len(s) for s in streams] == [6, 6]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert trials_of(to_torch(ds, batch_size=4)) == found[1]
    padded = [to_torch(ds, batch_size=4, rank=r, world_size=4, even="pad") for r in range(4)]
    assert [len(trials_of(s)) for s in padded] == [12] * 4


@pytest.mark.parametrize("batch_size", [3, None])
@pytest.mark.parametrize("consumed", [0, 1, 7, 15])
def test_a_resume_goes_on_exactly(ds: xr.Dataset, batch_size: int | None, consumed: int) -> None:
    def made() -> TrialStream:
        return to_torch(ds, batch_size=batch_size, buffer=19, caption=None)

    stream = made()
    stream.set_epoch(2)
    iterator = iter(stream)
    for _ in range(consumed):
        next(iterator)
    state = pickle.loads(pickle.dumps(stream.state_dict()))
    rest = list(iterator)
    again = made()
    again.load_state_dict(state)
    resumed = list(again)
    assert again.epoch == 2
    assert len(resumed) == len(rest)
    for a, b in zip(resumed, rest, strict=True):
        torch.testing.assert_close(a["betas"], b["betas"], rtol=0, atol=0, equal_nan=True)
        assert str(a["trial"]) == str(b["trial"])
    assert len(list(again)) == len(again)  # the next time, from the beginning
    assert again.n_batches() == len(again)


def test_a_resume_reads_only_what_is_left(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = to_torch(ds, batch_size=1, buffer=1)
    stream.load_state_dict(stream.state_dict(batches=45))
    calls: list[int] = []
    read = StoredReader.read

    def counting(self: StoredReader, trials: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(trials))
        return read(self, trials, *args, **kwargs)

    monkeypatch.setattr(StoredReader, "read", counting)
    assert len(list(stream)) == 1
    assert calls == [1]


def test_states_of_other_datasets_are_refused(ds: xr.Dataset) -> None:
    state = to_torch(ds, batch_size=3).state_dict()
    with pytest.raises(SelectionError, match="batch_size 4, found 3"):
        to_torch(ds, batch_size=4).load_state_dict(state)
    with pytest.raises(SelectionError, match="num_workers=0: expected as many, found 2"):
        Loader(to_torch(ds, batch_size=3), num_workers=2).load_state_dict(state)


def test_states_of_other_trials_and_voxels_are_refused(ds: xr.Dataset) -> None:
    part = ds.isel(trial=slice(0, 20), voxel=slice(0, 30))
    state = to_torch(part, batch_size=3, buffer=9).state_dict()
    to_torch(part, batch_size=3, buffer=9).load_state_dict(state)
    to_torch(part.betas, batch_size=3, buffer=9).load_state_dict(state)
    others = [
        ds.isel(trial=slice(20, 40), voxel=slice(0, 30)),
        part.isel(trial=slice(None, None, -1)),
        part.isel(voxel=slice(None, None, -1)),
        ds.isel(trial=slice(0, 20), voxel=slice(30, 60)),
        part.assign_attrs(subject="sub-01"),
    ]
    for other in others:
        with pytest.raises(SelectionError, match="labels"):
            to_torch(other, batch_size=3, buffer=9).load_state_dict(state)


@pytest.mark.parametrize(("name", "value"), [("RANK", "abc"), ("WORLD_SIZE", "-1")])
def test_an_environment_that_means_nothing(
    ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SelectionError, match=f"The environment variable {name}.*found '{value}'"):
        to_torch(ds)
    monkeypatch.setenv(name, "")
    assert len(to_torch(ds)) == 46


def test_loader_counts_and_begins_epochs(ds: xr.Dataset) -> None:
    loader = Loader(to_torch(ds, batch_size=4))
    assert len(loader) == 12
    first, second = trials_of(loader), trials_of(loader)
    assert first != second
    assert loader.stream.epoch == 2
    assert loader.state_dict()["batches"] == 0
    with pytest.raises(SelectionError, match="batch size"):
        Loader(to_torch(ds))
    with pytest.raises(SelectionError, match="shuffle"):
        Loader(to_torch(ds, batch_size=4), shuffle=True)


# bad input


def test_bad_input(ds: xr.Dataset, tiny: Tiny) -> None:
    with pytest.raises(SelectionError, match="46 x 0"):
        to_torch(ds.sel(roi="EBA"))
    with pytest.raises(SelectionError, match="0 x"):
        to_torch(ds.isel(trial=[]))
    with pytest.raises(SelectionError, match="betas"):
        to_torch(ds.drop_vars("betas"))
    with pytest.raises(SelectionError, match="'trial'"):
        to_torch(ds.isel(voxel=0))
    with pytest.raises(SelectionError, match="real numbers"):
        to_torch(ds.betas.astype(int))
    with pytest.raises(SelectionError, match=r"expected 46, found the shape \(45, 3\)"):
        to_torch(ds, embedding=np.zeros((45, 3)))
    with pytest.raises(UnknownLabelError, match="iterable"):
        to_torch(ds, kind="iter")
    with pytest.raises(UnknownLabelError, match="CLIP"):
        to_torch(ds, embedding="CLIPP")
    with pytest.raises(StimuliNotDownloadedError, match="images"):
        to_torch(ds, image=32)
    with pytest.raises(SelectionError, match="'stimulus'"):
        to_torch(xr.DataArray(np.ones((3, 2), "f4"), dims=("trial", "voxel")), embedding="CLIP")
    for wrong in (
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"buffer": -1},
        {"seed": -1},
        {"even": "yes"},
        {"dtype": "int32"},
        {"dtype": "floaty"},
        {"rank": 0},
        {"rank": 2, "world_size": 2},
        {"kind": "map", "batch_size": 3},
    ):
        with pytest.raises(SelectionError):
            to_torch(ds, **wrong)


def test_plain_arrays_are_served() -> None:
    values = np.random.default_rng(0).random((9, 2)).astype("f4")
    for batch in to_torch(xr.DataArray(values, dims=("trial", "voxel")), batch_size=4):
        assert set(batch) == {"betas", "trial"}
        np.testing.assert_array_equal(batch["betas"].numpy(), values[batch["trial"].numpy()])


def test_a_map_dataset_over_compressed_files_warns(tiny: Tiny, ds: xr.Dataset) -> None:
    whole = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", source="nifti")
    with pytest.warns(ReadCostWarning, match="ingest"):
        to_torch(whole, kind="map")
    with pytest.warns(ReadCostWarning, match="z-scoring"):
        to_torch(ds.laion.zscore(), kind="map")
    to_torch(ds, kind="map")  # from a store there is nothing to warn of


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, ds: xr.Dataset) -> None:
    for name in [n for n in sys.modules if n.startswith("laion_xr.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"laion-xr\[torch\]"):
        ds.laion.to_torch()


# memory


def test_memory_is_bounded_by_the_buffer(tmp_path: Path) -> None:
    # a session of eight chunks of trials; what is held is two of them, of memory that tracemalloc sees
    root, store = tmp_path / "root", tmp_path / "store.zarr"
    laion_xr.simulate(
        root, subjects=1, sessions=1, trials=1000, grid=24, stimuli=["metadata"], surfaces=False, models=False
    )
    laion_xr.ingest(root, store, progress=False)
    stored = xr.open_dataset(root, engine="laion_fmri", store=store, source="store")
    stream = to_torch(stored, batch_size=16, buffer=256)
    row = stored.sizes["voxel"] * 4
    assert len(stream.orders[0].blocks) == 8
    held = []
    real = torch.empty

    def recording(*args: Any, **kwargs: Any) -> Any:
        made = real(*args, **kwargs)
        held.append(made.nbytes)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty", recording)
        tracemalloc.start()
        n = sum(len(batch["trial"]) for batch in stream)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert n == 1000
    assert held[0] == 256 * row  # the buffer, once
    assert sum(held) <= (256 + 128) * row  # and a block that is put into its places
    assert peak < 256 * row + (8 << 20)  # NumPy's: a chunk as it is in its file, and decoded
    list(stream)
    assert sum(held) <= (256 + 128) * row  # memory of the epoch before is used again


def test_pickled_it_is_small_and_reads_the_same(ds: xr.Dataset) -> None:
    stream = to_torch(ds, batch_size=5, embedding="CLIP")
    before = trials_of(stream)  # has read embeddings, and keeps its buffer
    data = pickle.dumps(stream)
    assert len(data) < 60_000
    assert trials_of(pickle.loads(data)) == before


def test_default_collate_of_map_items_is_the_batch_of_the_stream(ds: xr.Dataset) -> None:
    batch = next(iter(to_torch(ds, batch_size=5, embedding="CLIP", shuffle=False)))
    other = default_collate(to_torch(ds, kind="map", embedding="CLIP").__getitems__(batch["trial"].tolist()))
    assert set(other) == set(batch)
    assert other["stimulus"] == batch["stimulus"]
    torch.testing.assert_close(other["betas"], batch["betas"], rtol=0, atol=0, equal_nan=True)


def test_items_are_those_who_take_them(ds: xr.Dataset, dataset_root: Path, tiny: Tiny) -> None:
    # what a transform returns lives on while the buffer is written again
    def pair(item: dict[str, Any]) -> Any:
        return item["trial"], item["betas"], item["betas"].numpy()[::2]

    kept = list(to_torch(ds, buffer=8, transform=pair))
    for trial, betas, half in kept:
        np.testing.assert_array_equal(betas.numpy(), tiny.matrix()[trial])
        np.testing.assert_array_equal(half, tiny.matrix()[trial][::2])

    # and may be changed in place, like embeddings and images that are shown again
    def changed(item: dict[str, Any]) -> dict[str, Any]:
        return {"trial": item["trial"]} | {key: item[key].sub_(1) for key in ("betas", "embedding", "image")}

    shown = xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-01")
    shown = shown.isel(trial=np.repeat(np.arange(12), 2), voxel=slice(0, 5)).compute()
    options: dict[str, Any] = {"embedding": "CLIP", "image": 8, "transform": changed, "shuffle": False, "nan": 0.0}
    stream, dataset = to_torch(shown, batch_size=24, **options), to_torch(shown, kind="map", **options)
    assert isinstance(dataset, TrialDataset)
    del options["transform"]
    (plain,) = to_torch(shown, batch_size=24, **options)
    for _ in range(2):
        (batch,) = stream
        for found in (batch, default_collate(dataset.__getitems__(range(24)))):
            for key in ("betas", "embedding", "image"):
                torch.testing.assert_close(found[key], plain[key] - 1, rtol=0, atol=0, equal_nan=True)


def test_a_transform_does_not_see_what_was_consumed(ds: xr.Dataset) -> None:
    seen: list[int] = []

    def noted(item: dict[str, Any]) -> int:
        seen.append(item["trial"])
        return int(item["trial"])

    stream = to_torch(ds, transform=noted)
    whole = list(stream)
    seen.clear()
    stream.load_state_dict(stream.state_dict(batches=40))
    assert list(stream) == seen == whole[40:]


def test_states_are_plain_values(ds: xr.Dataset) -> None:
    numbers = {"batch_size": 4, "seed": 3, "buffer": 30, "rank": 1, "world_size": 2}
    stream = to_torch(ds, **{key: np.int64(n) for key, n in numbers.items()})
    loader = Loader(stream)
    first = next(iter(loader))
    state = json.loads(json.dumps(loader.state_dict()))
    file = io.BytesIO()
    torch.save(loader.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == loader.state_dict() == state
    again = Loader(to_torch(ds, **numbers))
    again.load_state_dict(state)
    assert sorted([*trials_of([first]), *trials_of(again)]) == sorted(trials_of(to_torch(ds, **numbers)))


@pytest.mark.parametrize("wrong", [{}, None, [1], {"epoch": 1}, {"num_workers": 0}, {"batches": -1}, {"batches": "2"}])
def test_what_is_no_state_is_refused(ds: xr.Dataset, wrong: Any) -> None:
    loader = Loader(to_torch(ds, batch_size=4))
    state = loader.state_dict() | wrong if isinstance(wrong, dict) and "batches" in wrong else wrong
    for target in (loader, loader.stream):
        with pytest.raises(SelectionError, match=r"state"):
            target.load_state_dict(state)
    assert len(list(loader)) == 12


def test_a_state_of_the_end_begins_the_next_epoch(ds: xr.Dataset) -> None:
    loader = Loader(to_torch(ds, batch_size=4))
    iterator = iter(loader)
    for _ in range(12):
        next(iterator)
    state = loader.state_dict()
    assert (state["epoch"], state["batches"]) == (0, 12)
    second = Loader(to_torch(ds, batch_size=4))
    second.load_state_dict(state)
    assert list(second) == []
    assert second.stream.epoch == 1
    assert next(iterator, None) is None
    assert trials_of(second) == trials_of(loader)


def test_words_of_wrong_arguments(ds: xr.Dataset) -> None:
    for options, words in (
        ({"nan": "0"}, "nan"),
        ({"nan": True}, "nan"),
        ({"transform": 3}, "expected a function"),
        ({"embedding": []}, "names of embedding models"),
        ({"dtype": "float8_e4m3fn"}, "float16, bfloat16, float32, float64"),
        ({"dtype": np.int8}, "float16, bfloat16, float32, float64"),
        ({"shuffle": "no"}, "shuffle is True or False, found 'no'"),
        ({"drop_last": 3}, "drop_last is True or False, found 3"),
        ({"embedding": np.full((46, 2), "a")}, "real numbers, found <U1"),
        ({"embedding": np.full((46, 2), None)}, "real numbers, found object"),
        ({"kind": "map", "rank": 0, "world_size": 2}, "give rank, world_size to these"),
        ({"kind": "map", "even": "pad", "drop_last": True, "buffer": 9}, "give buffer, even, drop_last to these"),
    ):
        with pytest.raises(SelectionError, match=words):
            to_torch(ds, **options)
    with pytest.raises(SelectionError, match="in_order"):
        Loader(to_torch(ds, batch_size=4), in_order=False)
    dataset = to_torch(ds, kind="map")
    assert isinstance(dataset, TrialDataset)
    for index in (slice(0, 3), 1.7, "a"):
        with pytest.raises(SelectionError, match="by its number"):
            dataset[index]  # type: ignore[index]
    assert dataset[torch.tensor(3)]["trial"] == dataset[np.int16(3)]["trial"] == 3


def test_a_batch_of_more_than_there_is(ds: xr.Dataset) -> None:
    (batch,) = to_torch(ds, batch_size=1000)
    assert sorted(batch["trial"].tolist()) == list(range(46))
    assert list(to_torch(ds, batch_size=1000, drop_last=True)) == []
    (batch,) = to_torch(ds.isel(trial=[7]), batch_size=3)
    assert batch["betas"].shape == (1, ds.sizes["voxel"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_each_type_goes_through_a_small_buffer(ds: xr.Dataset, tiny: Tiny, dtype: str) -> None:
    # slots that are not side by side
    for batch in to_torch(ds, batch_size=3, buffer=9, dtype=dtype):
        expected = torch.from_numpy(tiny.matrix()[batch["trial"].numpy()]).to(getattr(torch, dtype))
        torch.testing.assert_close(batch["betas"], expected, rtol=0, atol=0, equal_nan=True)
