"""PyTorch loaders with worker processes: forked and spawned, persistent, resumed, over ranks; none hangs.

A test that hangs fails by its own timeout. The parent reads first, so that the threads of Zarr, Dask and HDF5 are
there when it forks.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, DistributedSampler

import laion_xr
from laion_xr.errors import SelectionError
from laion_xr.lazy.budget import decode_budget
from laion_xr.readers import chunkfiles
from laion_xr.torch import Loader, TrialStream, to_torch
from tests.conftest import Tiny

pytestmark = pytest.mark.timeout(100)
METHODS = [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()]


@pytest.fixture(scope="module")
def stored(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    store = tmp_path_factory.mktemp("torch") / "store.zarr"
    laion_xr.ingest(tiny.root, store, progress=False)
    ds = xr.open_dataset(
        tiny.root, engine="laion_fmri", subject="sub-03", store=store, source="store", embeddings="CLIP"
    )
    ds.compute()  # starts the threads of Zarr and Dask, and opens HDF5 files
    return ds


@pytest.fixture(scope="module")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Two sessions of three chunks each."""
    folder = tmp_path_factory.mktemp("chunked")
    laion_xr.simulate(folder / "root", subjects=1, sessions=2, trials=300, grid=12, surfaces=False, models=False)
    laion_xr.ingest(folder / "root", folder / "store.zarr", progress=False)
    return xr.open_dataset(folder / "root", engine="laion_fmri", store=folder / "store.zarr", source="store")


def trials_of(batches: Any) -> list[list[int]]:
    return [batch["trial"].tolist() for batch in batches]


def flat(batches: list[list[int]]) -> list[int]:
    return [trial for batch in batches for trial in batch]


def plain(stream: TrialStream, method: str, **options: Any) -> DataLoader[Any]:
    return DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context=method, **options)


def test_fork_and_spawn_give_each_trial_once_in_the_same_order(chunked: xr.Dataset) -> None:
    chunked.betas.compute()
    values = chunked.betas.values
    orders = {}
    for method in METHODS:
        for rank in (0, 1) if method == METHODS[0] else (1,):  # starting Python and PyTorch anew takes seconds
            stream = to_torch(chunked, batch_size=32, rank=rank, world_size=2, buffer=200, seed=3)
            loader = plain(stream, method, persistent_workers=True)
            for epoch in range(2):
                stream.set_epoch(epoch)
                batches = list(loader)
                for batch in batches:
                    np.testing.assert_array_equal(batch["betas"].numpy(), values[batch["trial"].numpy()])
                orders[method, rank, epoch] = trials_of(batches)
    for epoch in range(2):
        assert sorted(flat(orders[METHODS[0], 0, epoch]) + flat(orders[METHODS[0], 1, epoch])) == list(range(600))
        assert all(orders[method, 1, epoch] == orders[METHODS[0], 1, epoch] for method in METHODS)
    assert orders[METHODS[0], 1, 0] != orders[METHODS[0], 1, 1]


@pytest.mark.parametrize("method", METHODS)
def test_persistent_workers_see_the_epoch(chunked: xr.Dataset, method: str) -> None:
    stream = to_torch(chunked, batch_size=50)
    loader = plain(stream, method, persistent_workers=True)
    found = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        found.append(trials_of(loader))
        assert sorted(flat(found[-1])) == list(range(600))
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("method", [METHODS[0], *(pytest.param(m, marks=pytest.mark.slow) for m in METHODS[1:])])
def test_a_loader_resumes_in_mid_epoch(chunked: xr.Dataset, method: str) -> None:
    def made(persistent: bool) -> Loader:
        stream = to_torch(chunked, batch_size=32, buffer=150)
        return Loader(stream, 2, multiprocessing_context=method, persistent_workers=persistent, prefetch_factor=3)

    whole = made(True)
    expected = [trials_of(whole) for _ in range(3)]
    assert all(sorted(flat(order)) == list(range(600)) for order in expected)
    first = made(False)
    list(first)
    iterator = iter(first)
    head = [next(iterator)["trial"].tolist() for _ in range(7)]  # the workers have prepared more
    state = first.state_dict()
    del iterator
    assert (state["epoch"], state["batches"]) == (1, 7)
    again = made(True)
    again.load_state_dict(state)
    assert head + trials_of(again) == expected[1]
    assert again.stream.epoch == 2
    assert trials_of(again) == expected[2]


def test_a_plain_loader_resumes_by_a_count(chunked: xr.Dataset) -> None:
    stream = to_torch(chunked, batch_size=32)
    expected = trials_of(plain(stream, METHODS[0]))
    again = to_torch(chunked, batch_size=32)
    again.load_state_dict(stream.state_dict(batches=5, num_workers=2))
    assert trials_of(plain(again, METHODS[0])) == expected[5:]
    assert trials_of(plain(again, METHODS[0])) == expected  # once
    again.load_state_dict(stream.state_dict(batches=5, num_workers=3))
    with pytest.raises(SelectionError, match="num_workers=3"):
        list(plain(again, METHODS[0]))


class StatefulWorker(torch.utils.data.IterableDataset):
    def __init__(self, stream: TrialStream, states: list[Any] | None) -> None:
        self.stream, self.states = stream, states

    def __iter__(self) -> Iterator[Any]:
        worker = torch.utils.data.get_worker_info().id
        if self.states is not None:
            self.stream.load_state_dict(self.states[worker])
        iterator = iter(self.stream)
        yield worker, self.stream.state_dict(), []
        for batch in iterator:
            yield worker, self.stream.state_dict(), batch["trial"].tolist()


def test_each_worker_resumes_from_a_state_of_its_own(chunked: xr.Dataset) -> None:
    stream = to_torch(chunked, batch_size=32)
    whole: dict[int, list[Any]] = {0: [], 1: []}
    for worker, state, trials in plain(StatefulWorker(stream, None), METHODS[0]):
        whole[worker].append((state, trials))
    at = [whole[0][4][0], whole[1][0][0]]  # one after four batches, one before its first
    rest: dict[int, list[Any]] = {0: [], 1: []}
    for worker, _, trials in plain(StatefulWorker(to_torch(chunked, batch_size=32), at), METHODS[0]):
        rest[worker] += trials
    assert rest[0] == [t for _, trials in whole[0][5:] for t in trials]
    assert rest[1] == [t for _, trials in whole[1] for t in trials]


@pytest.mark.parametrize(
    ("source", "method"), [*(("store", m) for m in METHODS), ("nifti", METHODS[0]), ("dask", METHODS[0])]
)
def test_workers_read_every_source(tiny: Tiny, stored: xr.Dataset, source: str, method: str) -> None:
    ds = stored
    if source != "store":
        ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", source="nifti", embeddings="CLIP")
    if source == "dask":
        ds = ds.assign(betas=ds.betas * 1)
    stream = to_torch(ds, batch_size=6, embedding="CLIP")
    missing = np.full(8, np.nan, "f4")
    seen = []
    for batch in plain(stream, method):
        np.testing.assert_array_equal(batch["betas"].numpy(), tiny.matrix()[batch["trial"].numpy()])
        expected = np.array([tiny.embeddings.get(name, missing) for name in batch["stimulus"]], "f4")
        np.testing.assert_array_equal(batch["embedding"].numpy(), expected)
        seen += batch["trial"].tolist()
    assert sorted(seen) == list(range(46))


def test_images_and_captions_come_from_workers(dataset_root: Path) -> None:
    ds = xr.open_dataset(dataset_root, engine="laion_fmri", subject="sub-01")
    ds.laion.images(16).isel(trial=slice(0, 4)).compute()  # HDF5 was open here before
    stream = to_torch(ds, batch_size=20, image=16, caption="any")
    alone = {t: (c, image) for b in stream for t, c, image in zip(*_of(b), strict=True)}
    for batch in plain(stream, METHODS[0]):
        for trial, caption, image in zip(*_of(batch), strict=True):
            assert alone[trial][0] == caption
            assert torch.equal(alone[trial][1], image)


def _of(batch: dict[str, Any]) -> tuple[list[int], list[str], Any]:
    return batch["trial"].tolist(), batch["caption"], batch["image"]


@pytest.mark.parametrize("method", METHODS)
def test_shared_memory_is_used_again_and_never_while_a_batch_lives(chunked: xr.Dataset, method: str) -> None:
    values = chunked.betas.values
    stream = to_torch(chunked, batch_size=8, buffer=150)
    loader = Loader(stream, 2, multiprocessing_context=method, persistent_workers=True)
    kept: list[tuple[list[int], torch.Tensor]] = []
    places = set()
    for _ in range(2):
        n = 0
        for batch in loader:
            np.testing.assert_array_equal(batch["betas"].numpy(), values[batch["trial"].numpy()])
            places.add(batch["betas"].data_ptr())
            n += 1
            if n % 9 == 0:  # a view of it alone
                kept.append((batch["trial"].tolist()[3:], batch["betas"][3:]))
        assert n == 75
    assert len(places) < 75  # 150 batches
    for trials, betas in kept:
        np.testing.assert_array_equal(betas.numpy(), values[trials])
    everything = list(loader)  # more than there are slots
    for batch in everything:
        np.testing.assert_array_equal(batch["betas"].numpy(), values[batch["trial"].numpy()])


def test_slots_of_workers_that_are_gone_are_free_again(chunked: xr.Dataset) -> None:
    loader = Loader(to_torch(chunked, batch_size=8, buffer=150), 2, prefetch_factor=2)
    for _ in range(4):
        iterator = iter(loader)
        batch = next(iterator)
        del iterator  # in the middle, with batches on their way
    (ring,) = loader._rings
    ring.restart()
    assert len(ring.out) == int(ring.busy.sum()) == 1
    np.testing.assert_array_equal(batch["betas"].numpy(), chunked.betas.values[batch["trial"].numpy()])
    del batch
    assert int(ring.busy.sum()) == 0


class Wide:
    """Betas of another type than the slots were made for, and too many."""

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"betas": item["betas"].double().tile(40), "trial": item["trial"]}


def test_a_transform_may_make_more_than_slots_have_room_for(chunked: xr.Dataset) -> None:
    chunked = chunked.isel(voxel=slice(0, 9))
    values = np.tile(chunked.betas.values.astype("f8"), 40)
    n = 0
    for batch in Loader(to_torch(chunked, batch_size=3, transform=Wide()), 2):
        assert batch["betas"].dtype == torch.float64
        np.testing.assert_array_equal(batch["betas"].numpy(), values[batch["trial"].numpy()])
        n += len(batch["trial"])
    assert n == 600


class Everything:
    """An item with all that a slot takes, and all that it does not."""

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        n = item["trial"]
        return item | {
            "nested": {"one": item["betas"][:3], "two": {"of it": torch.full((40, 50), n, dtype=torch.int16)}},
            "half": item["betas"][::2].to(torch.bfloat16),
            "flag": torch.tensor(n % 2 == 0),
            "number": n / 2,
            "list": [n, torch.tensor([n, n])],
            "empty": torch.empty(0),
            "text": f"trial {n}",
        }


def test_what_comes_through_slots_is_what_the_main_process_makes(chunked: xr.Dataset) -> None:
    stream = to_torch(chunked, batch_size=32, buffer=150, transform=Everything())
    alone, n = iter(Loader(to_torch(chunked, batch_size=32, buffer=150, transform=Everything()))), 0
    for batch in Loader(stream, 1):
        other = next(alone)
        assert list(batch) == list(other)
        for key in ("stimulus", "text"):
            assert batch.pop(key) == other.pop(key)
        torch.testing.assert_close(batch, other, rtol=0, atol=0, equal_nan=True)
        n += 1
    assert n == 19


def test_numbers_that_are_kept_keep_no_slot(chunked: xr.Dataset) -> None:
    loader = Loader(to_torch(chunked, batch_size=8, buffer=150), 2, persistent_workers=True)
    kept = [batch["trial"] for batch in loader]
    assert int(loader._rings[-1].busy.sum()) == 0
    assert sorted(flat([trial.tolist() for trial in kept])) == list(range(600))


class Threads:
    """How many threads a worker decodes in."""

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"trial": item["trial"], "threads": chunkfiles.THREADS}


@pytest.mark.parametrize(("cores", "workers", "each"), [(8, 2, 4), (3, 2, 1), (1, 2, 1), (64, 2, 4)])
def test_workers_share_the_cores(
    chunked: xr.Dataset, monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, each: int
) -> None:
    if "fork" not in METHODS:
        pytest.skip("this system does not fork: workers would not see the number of cores that is set here")
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    before = chunkfiles.THREADS
    stream = to_torch(chunked, batch_size=300, transform=Threads())
    loader = DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context="fork")
    assert {n for batch in loader for n in batch["threads"].tolist()} == {each}
    assert before == chunkfiles.THREADS  # the main process keeps its own


def halved(batch: dict[str, Any]) -> tuple[Any, Any]:
    return batch["betas"] / 2, batch["trial"]


def test_a_function_of_workers_takes_tensors(chunked: xr.Dataset) -> None:
    values = chunked.betas.values
    for betas, trials in Loader(to_torch(chunked, batch_size=50), 2, collate_fn=halved):
        np.testing.assert_array_equal(betas.numpy(), values[trials.numpy()] / 2)


def test_batches_may_be_changed_and_their_arrays_kept(chunked: xr.Dataset) -> None:
    values = chunked.betas.values
    loader = Loader(to_torch(chunked, batch_size=8, buffer=150), 2, persistent_workers=True)
    kept = []
    for n, batch in enumerate(loader):
        batch["betas"].sub_(1)
        np.testing.assert_array_equal(batch["betas"].numpy(), values[batch["trial"].numpy()] - 1)
        if n % 20 == 0:  # an array outlives its tensor, and what was made of that
            kept.append((batch["trial"].tolist(), batch["betas"].numpy()[:, ::3]))
    del batch
    # as many slots as arrays on their memory: all are kept of one worker, whose slots may have run out
    memory = loader._rings[-1].memory
    starts = np.array([betas.__array_interface__["data"][0] for _, betas in kept]) - memory.data_ptr()
    held = int(((starts >= 0) & (starts < memory.nbytes)).sum())
    assert int(loader._rings[-1].busy.sum()) == held > 0
    for trials, betas in kept:
        np.testing.assert_array_equal(betas, values[trials][:, ::3] - 1)
    del trials, betas
    kept.clear()
    assert int(loader._rings[-1].busy.sum()) == 0


@pytest.mark.skipif("fork" not in METHODS, reason="this system does not fork")
def test_what_a_forked_process_lets_go_of_stays(chunked: xr.Dataset) -> None:
    loader = Loader(to_torch(chunked, batch_size=8, buffer=150), 1, persistent_workers=True)
    iterator = iter(loader)
    batch = next(iterator)
    process = multiprocessing.get_context("fork").Process(target=dict.clear, args=(batch,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    (ring,) = loader._rings
    assert all(int(ring.busy[at]) for at in ring.out)
    for _ in range(20):
        next(iterator)
    np.testing.assert_array_equal(batch["betas"].numpy(), chunked.betas.values[batch["trial"].numpy()])


class Fails:
    """A transform that fails at one trial."""

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["trial"] == 5:
            raise ValueError("the user's own words")
        return item


@pytest.mark.parametrize("method", [METHODS[0], *(pytest.param(m, marks=pytest.mark.slow) for m in METHODS[1:])])
def test_an_error_in_a_transform_is_told_and_workers_end(chunked: xr.Dataset, method: str) -> None:
    before = set(psutil.Process().children())
    loader = Loader(
        to_torch(chunked, batch_size=8, buffer=150, transform=Fails()), 2, multiprocessing_context=method, timeout=60
    )
    with pytest.raises(ValueError, match="the user's own words") as raised:
        list(loader)
    assert not loader._rings  # workers that the traceback keeps alive write into its slots
    raised.value.__traceback__ = None
    del raised
    left = [p for p in set(psutil.Process().children()) - before if "resource_tracker" not in " ".join(p.cmdline())]
    assert not left


@pytest.mark.skipif("fork" not in METHODS, reason="this system does not fork")
# PyTorch raises from a signal, wherever the main process happens to be: in a finalizer it is raised once more later
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_is_killed_is_an_error(chunked: xr.Dataset) -> None:
    before = set(psutil.Process().children())
    loader = Loader(to_torch(chunked, batch_size=4, buffer=150), 2, multiprocessing_context="fork")
    iterator = iter(loader)
    next(iterator)
    worker = next(iter(set(psutil.Process().children()) - before))
    worker.kill()
    with pytest.raises(RuntimeError, match="worker"):
        list(iterator)
    del iterator
    assert sorted(flat(trials_of(loader))) == list(range(600))  # new ones begin anew


@pytest.mark.parametrize("persistent", [False, True])
def test_a_loop_that_is_left_begins_anew(chunked: xr.Dataset, persistent: bool) -> None:
    values = chunked.betas.values
    loader = Loader(to_torch(chunked, batch_size=8, buffer=150), 2, persistent_workers=persistent, prefetch_factor=4)
    first = []
    for _ in range(4):
        for batch in loader:
            first.append(batch["trial"].tolist())
            break
    assert first == [first[0]] * 4
    del batch
    whole = list(loader)  # more batches than there are slots
    for batch in whole:
        np.testing.assert_array_equal(batch["betas"].numpy(), values[batch["trial"].numpy()])
    assert sorted(flat(trials_of(whole))) == list(range(600))
    del batch
    whole.clear()
    assert int(loader._rings[-1].busy.sum()) == 0


def test_two_loaders_of_one_stream_do_not_disturb_each_other(chunked: xr.Dataset) -> None:
    values = chunked.betas.values
    stream = to_torch(chunked, batch_size=32, buffer=150)
    n = 0
    for both in zip(Loader(stream, 2), Loader(stream, 2), strict=False):
        assert both[0]["trial"].tolist() == both[1]["trial"].tolist()
        for batch in both:
            np.testing.assert_array_equal(batch["betas"].numpy(), values[batch["trial"].numpy()])
        n += 1
    assert n == 19


@pytest.mark.skipif("fork" not in METHODS, reason="this system does not fork")
@pytest.mark.parametrize("source", ["store", "dask"])
def test_a_fork_amid_reads_does_not_hang(stored: xr.Dataset, source: str) -> None:
    # other threads read, and one holds the whole budget for decodes, at the moment of each fork
    done = threading.Event()

    def reading() -> None:
        while not done.is_set():
            stored[["betas", "embedding_CLIP"]].compute()

    def holding() -> None:
        with decode_budget().take(decode_budget().total):
            done.wait(60)

    ds = stored.assign(betas=stored.betas * 1) if source == "dask" else stored
    threads = [threading.Thread(target=reading, daemon=True) for _ in range(2)]
    threads += [threading.Thread(target=holding, daemon=True)] if source == "dask" else []
    if source == "dask":
        threads = threads[-1:]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    try:
        for _ in range(3):
            assert sorted(flat(trials_of(plain(to_torch(ds, batch_size=6), "fork")))) == list(range(46))
    finally:
        done.set()
        for thread in threads:
            thread.join(20)


def test_map_dataset_with_a_distributed_sampler(stored: xr.Dataset, tiny: Tiny) -> None:
    dataset = to_torch(stored, kind="map")
    seen: list[int] = []
    for rank in range(2):
        sampler = DistributedSampler(dataset, 2, rank, shuffle=True, seed=1)
        for batch in DataLoader(dataset, 5, sampler=sampler, num_workers=2):
            np.testing.assert_array_equal(batch["betas"].numpy(), tiny.matrix()[batch["trial"].numpy()])
            seen += batch["trial"].tolist()
    assert sorted(seen) == list(range(46))


def test_no_worker_reads_what_another_reads(chunked: xr.Dataset) -> None:
    # by the plan that they follow: chunks at the border between two are the only ones that both read
    stream = to_torch(chunked, batch_size=32)
    by_worker = []
    for worker in range(2):
        rows = np.concatenate([rows for _, rows in stream.rows(worker, 2)])
        by_worker.append({(int(row) // 300, int(row) % 300 // 128) for row in rows})
    assert len(by_worker[0] & by_worker[1]) <= 1
    assert len(by_worker[0] | by_worker[1]) == 6


class Peak:
    """An item's memory of the process that made it, for the parent."""

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"trial": item["trial"], "pid": os.getpid(), "rss": psutil.Process().memory_info().rss}


@pytest.mark.slow
def test_memory_of_a_worker_is_that_of_its_buffer(tmp_path: Path) -> None:
    root, store = tmp_path / "root", tmp_path / "store.zarr"
    laion_xr.simulate(
        root,
        subjects=1,
        sessions=2,
        trials=1000,
        grid=52,
        stimuli=["metadata"],
        surfaces=False,
        models=False,
        brain_fraction=0.2,
    )
    laion_xr.ingest(root, store, progress=False)
    ds = xr.open_dataset(root, engine="laion_fmri", store=store, source="store")
    total, buffer = ds.betas.nbytes, 256 * ds.sizes["voxel"] * 4
    assert total > 200e6
    stream = to_torch(ds, batch_size=16, buffer=256, transform=Peak())
    loader = DataLoader(stream, batch_size=None, num_workers=1)
    used = [int(m) for batch in loader for m in batch["rss"]]
    # the first is of a worker whose buffer is full already
    assert max(used) - used[0] < 40e6
    assert max(used) - psutil.Process().memory_info().rss < buffer + 80e6
