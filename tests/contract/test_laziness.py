"""Laziness asserted: a recording reader says which sessions, trials and voxels were read.

Opening, showing and selecting read no betas; computing reads what was selected and nothing else.
"""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from laion_xr.errors import ReadCostWarning
from laion_xr.lazy.budget import decode_budget, set_decode_budget
from laion_xr.location import Location
from laion_xr.readers.nifti import NiftiReader

LENGTHS = {"ses-01": 14, "ses-02": 17, "ses-03": 15}
EVERY_TRIAL = {s: list(range(n)) for s, n in LENGTHS.items()}


@pytest.fixture(params=[None, {}], ids=["chunks=None", "chunks={}"])
def ds(tiny, reads, request: pytest.FixtureRequest) -> xr.Dataset:
    found = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", chunks=request.param)
    assert reads.betas == []
    return found


@pytest.fixture(scope="module")
def trials(tiny) -> pd.DataFrame:
    return tiny.table()


def local(rows: Any) -> dict[str, list[int]]:
    """Positions in each session's file of rows of the whole table, in the order of the file, each once."""
    starts = dict(zip(LENGTHS, np.cumsum([0, 14, 17]), strict=True))
    found = {}
    for session, n in LENGTHS.items():
        inside = sorted({int(r - starts[session]) for r in np.asarray(rows) if 0 <= r - starts[session] < n})
        if inside:
            found[session] = inside
    return found


def assert_read(reads, trials: dict[str, list[int]], voxels: Any) -> None:
    """Each session was read once, those trials of it, and those voxels."""
    assert [r.session for r in reads.betas] == sorted(trials)
    for read in reads.betas:
        assert sorted(set(read.trials)) == trials[read.session]
        assert len(read.trials) == len(trials[read.session])
        assert sorted(read.voxels) == sorted(int(v) for v in voxels)


# what reads nothing


def test_opening_touches_headers_only(tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[tuple[str, int | None]] = []
    read_many, opener = Location.read_many, Location.open

    def recording(self, files, end=None, refused=None):
        wanted = list(files)
        names = [getattr(file, "path", file) for file in wanted]
        heads.extend((n, end) for n in names if "SingletrialBetas_statmap" in n)
        return read_many(self, wanted, end, refused)

    def forbidding(self, relative, size=None):
        if "SingletrialBetas_statmap" in relative:
            assert [n for n, _ in heads].count(relative) == 1, "opened besides its header"
        return opener(self, relative, size)

    monkeypatch.setattr(Location, "read_many", recording)
    monkeypatch.setattr(Location, "open", forbidding)
    xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    assert sorted(n.split("/")[3] for n, _ in heads) == list(LENGTHS)
    assert all(end is not None and end <= 4096 for _, end in heads)


def test_opening_reads_one_map_for_the_coordinate(tiny, reads) -> None:
    xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", noise_ceiling="4rep")
    assert [path.rpartition("/")[2] for path in reads.maps] == [
        "sub-03_task-images_space-T1w_desc-Noiseceiling4rep_statmap.nii.gz"
    ]


LAZY = {
    "repr": repr,
    "html": lambda ds: (ds._repr_html_(), ds.betas._repr_html_(), repr(ds.betas)),
    "info": lambda ds: (ds.info(io.StringIO()), ds.laion.info(), repr(ds.laion.info()), ds.laion.info()._repr_html_()),
    "metadata": lambda ds: (ds.sizes, ds.nbytes, ds.dtypes, ds.chunks, ds.betas.shape, ds.betas.dtype, ds.attrs),
    "coordinates": lambda ds: [c.values for c in ds.coords.values()],
    "isel": lambda ds: ds.isel(trial=[3, 1, 40], voxel=slice(2, 9)),
    "isel pointwise": lambda ds: ds.betas.isel(
        trial=xr.DataArray([1, 2], dims="p"), voxel=xr.DataArray([1, 2], dims="p")
    ),
    "sel": lambda ds: ds.sel(roi="FFA1", noise_ceiling=slice(30, None), session=["ses-01", "ses-03"]),
    "laion.sel": lambda ds: ds.laion.sel(sphere=(0, -15, -25, 5), roi="all", button="left"),
    "where drop": lambda ds: ds.betas.where(ds.noise_ceiling > 20, drop=True),
    "where drop of a Dataset": lambda ds: ds[["betas"]].where(ds.session == "ses-02", drop=True),
    "pickle": lambda ds: pickle.loads(pickle.dumps(ds)),
    "deep copy": copy.deepcopy,
    "arithmetic": lambda ds: (ds.betas - ds.betas.mean("trial")) / ds.betas.std("trial"),
    "groupby": lambda ds: ds.betas.groupby("stimulus").mean(),
    "sortby": lambda ds: ds.sortby("noise_ceiling").sortby("stimulus"),
    "rename, transpose": lambda ds: ds.rename(trial="t").transpose(),
    "merge": lambda ds: xr.merge([ds, (ds.betas * 2).rename("twice")]),
    "concat": lambda ds: xr.concat([ds.betas[:10], ds.betas[20:]], "trial"),
    "identical": lambda ds: ds.identical(ds.copy()),
    "drop and index again": lambda ds: ds.drop_indexes(
        [n for n in ds.xindexes if n not in ds.dims]
    ).laion.index_labels(),
    "tree": lambda ds: repr(xr.DataTree.from_dict({"/a": ds, "/b/c": ds})),
    "to_zarr without computing": lambda ds: (
        ds.betas.sel(session="ses-01")
        .to_dataset()
        .to_zarr(zarr.storage.MemoryStore(), compute=False, consolidated=False)
    ),
}


@pytest.mark.parametrize("operation", LAZY.values(), ids=LAZY)
def test_no_betas_are_read(ds: xr.Dataset, reads, operation) -> None:
    reads.clear()
    operation(ds)
    assert reads.calls == []


def test_tree_is_lazy(tiny, reads) -> None:
    tree = xr.open_datatree(tiny.root, engine="laion_fmri")
    repr(tree)
    tree._repr_html_()
    pickle.loads(pickle.dumps(tree))
    assert reads.betas == []


# what reads just what was selected


def test_a_whole_subject(ds: xr.Dataset, tiny, reads) -> None:
    ds.betas.compute()
    assert_read(reads, EVERY_TRIAL, tiny.voxels)


def test_roi(ds: xr.Dataset, tiny, reads) -> None:
    ds.sel(roi="FFA1").betas.compute()
    assert_read(reads, EVERY_TRIAL, tiny.voxels[tiny.members("FFA1")])


def test_the_first_thing_a_user_types(ds: xr.Dataset, tiny, reads) -> None:
    ceiling = tiny.in_mask(tiny.subject_maps["sub-03", "noise_ceiling_12rep"])
    ds.sel(roi="FFA1", noise_ceiling=slice(30, None)).betas.compute()
    assert_read(reads, EVERY_TRIAL, tiny.voxels[tiny.members("FFA1") & (ceiling >= 30)])


def test_sessions(ds: xr.Dataset, tiny, reads) -> None:
    ds.betas.sel(session=["ses-03", "ses-01"]).compute()
    assert_read(reads, {s: EVERY_TRIAL[s] for s in ("ses-01", "ses-03")}, tiny.voxels)


def test_one_trial_one_voxel(ds: xr.Dataset, tiny, reads) -> None:
    ds.betas.isel(trial=20, voxel=7).compute()
    assert_read(reads, local([20]), [tiny.voxels[7]])


def test_one_stimulus(ds: xr.Dataset, tiny, reads, trials: pd.DataFrame) -> None:
    name = trials.label.mode()[0]
    ds.betas.sel(stimulus=name).compute()
    assert_read(reads, local(np.flatnonzero(trials.label == name)), tiny.voxels)


def test_chain(ds: xr.Dataset, tiny, reads, trials: pd.DataFrame) -> None:
    found = ds.sel(session=["ses-01", "ses-02"]).sel(roi="laionventral").isel(voxel=slice(3, 30, 2)).sel(run=2)
    found.betas.compute()
    rows = np.flatnonzero(trials.session.isin(["ses-01", "ses-02"]) & (trials.run == 2))
    assert_read(reads, local(rows), tiny.voxels[tiny.members("laionventral")][3:30:2])


def test_nothing_selected_reads_nothing(ds: xr.Dataset, reads) -> None:
    reads.clear()
    ds.sel(roi="EBA").compute()
    ds.isel(trial=[]).betas.compute()
    assert reads.betas == []


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_trials_read_each_session_once(ds: xr.Dataset, tiny, reads, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(46)[:30]
    found = ds.betas.isel(trial=order, voxel=slice(0, 9))
    np.testing.assert_array_equal(found.compute(), tiny.matrix()[order][:, :9])
    assert_read(reads, local(order), tiny.voxels[:9])


def test_shuffled_and_then_an_roi_reads_the_roi(ds: xr.Dataset, tiny, reads) -> None:
    order = np.random.default_rng(0).permutation(46)
    found = ds.isel(trial=order).sel(roi="FFA1")
    np.testing.assert_array_equal(found.betas.compute(), tiny.matrix()[order][:, tiny.members("FFA1")])
    assert_read(reads, EVERY_TRIAL, tiny.voxels[tiny.members("FFA1")])


def test_repeated_trials_are_read_once(ds: xr.Dataset, tiny, reads) -> None:
    ds.betas.isel(trial=[40, 2, 2, 40, 20, 2], voxel=[5, 1]).compute()
    assert_read(reads, local([2, 20, 40]), tiny.voxels[[5, 1]])


STEPS = {
    "pickle": lambda ds: pickle.loads(pickle.dumps(ds)),
    "deep copy": lambda ds: ds.copy(deep=True),
    "copy.deepcopy": copy.deepcopy,
    "rename": lambda ds: ds.rename(session="visit", trial="sample"),
    "rename a variable": lambda ds: ds.rename(betas="b").rename(b="betas"),
    "merge": lambda ds: xr.merge([ds[["betas"]], ds[["r2_mean"]]]),
    "merge of an assigned one": lambda ds: ds.assign(extra=("voxel", np.arange(ds.sizes["voxel"]))),
    "sortby voxels": lambda ds: ds.sortby("noise_ceiling"),
    "sortby trials": lambda ds: ds.sortby("stimulus"),
    "tree": lambda ds: pickle.loads(pickle.dumps(xr.DataTree.from_dict({"/a": ds})))["/a"].to_dataset(),
    "where drop on labels": lambda ds: ds.isel(voxel=np.flatnonzero(ds.noise_ceiling > -1)),
    "drop and index again": lambda ds: ds.drop_indexes(
        [n for n in ds.xindexes if n not in ds.dims]
    ).laion.index_labels(),
    "assign_coords": lambda ds: ds.assign_coords(fold=("trial", np.arange(46) % 5)),
    "drop_vars": lambda ds: ds.drop_vars(["r2_mean", "beta_index"]),
    "set_coords and attrs": lambda ds: ds.assign_attrs(note="x").set_coords("r2_mean"),
    "transpose": lambda ds: ds.transpose("trial", "voxel", ...),
    "reset_coords": lambda ds: ds.reset_coords("beta_index"),
    "roundtrip of an array": lambda ds: ds.betas.to_dataset(),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_selection_still_reaches_the_reader_after(ds: xr.Dataset, tiny, reads, step) -> None:
    after = step(ds)
    columns = tiny.members("FFA1")
    if "noise_ceiling" in after.coords and after.sizes["voxel"] < len(columns):
        columns &= ds.noise_ceiling.values > -1
    reads.clear()
    after.sel(roi="FFA1").betas.compute()
    assert_read(reads, EVERY_TRIAL, tiny.voxels[columns])


def test_where_drop_reads_what_is_kept(ds: xr.Dataset, tiny, reads) -> None:
    reads.clear()
    ds.betas.where(ds.noise_ceiling > 20, drop=True).compute()
    ceiling = tiny.in_mask(tiny.subject_maps["sub-03", "noise_ceiling_12rep"])
    assert_read(reads, EVERY_TRIAL, tiny.voxels[ceiling > 20])
    reads.clear()
    ds[["betas"]].where(ds.session == "ses-02", drop=True).compute()
    assert_read(reads, {"ses-02": EVERY_TRIAL["ses-02"]}, tiny.voxels)
    reads.clear()
    ds.betas.where(ds.r2_mean.compute() > 40, drop=True)  # the condition is read, the betas are not
    assert reads.betas == []
    assert [path.rpartition("_desc-")[2] for path in reads.maps] == ["R2mean_statmap.nii.gz"]


@pytest.mark.parametrize(
    "grouped",
    [
        lambda few: few.groupby("stimulus").mean(),
        lambda few: few.groupby("stimulus").std(),
        lambda few: few.groupby(["session", "run"]).mean(),
        lambda few: few.groupby("session") - few.groupby("session").mean(),
        lambda few: few.groupby("session").map(lambda x: (x - x.mean("trial")) / x.std("trial")),
    ],
    ids=["mean", "std", "two labels", "arithmetic", "map"],
)
def test_groupby_reads_each_session_once(ds: xr.Dataset, tiny, reads, grouped) -> None:
    few = ds.betas.sel(roi="FFA1", session=["ses-01", "ses-02"])
    grouped(few).compute()
    assert_read(reads, {s: EVERY_TRIAL[s] for s in ("ses-01", "ses-02")}, tiny.voxels[tiny.members("FFA1")])


def test_selecting_out_of_a_grouped_array(ds: xr.Dataset, tiny, reads) -> None:
    for session, part in ds.betas.groupby("session"):
        reads.clear()
        part.sel(roi="FFA1").compute()
        assert_read(reads, {session: EVERY_TRIAL[session]}, tiny.voxels[tiny.members("FFA1")])


def test_maps_are_read_where_they_are_selected(ds: xr.Dataset, reads) -> None:
    reads.clear()
    ds.r2_session.sel(ses="ses-02", roi="FFA1").compute()
    assert [(r.session, r.trials) for r in reads.calls] == [("ses-02", [0])]
    reads.clear()
    ds[["r2_mean"]].compute()
    assert len(reads.calls) == 1


def test_maps_of_a_dataset_do_not_read_betas(ds: xr.Dataset, reads) -> None:
    ds.drop_vars("betas").sel(roi="all").compute()
    assert reads.betas == []


def test_tree_reads_what_is_selected(tiny, reads) -> None:
    for chunks in (None, {}):
        tree = xr.open_datatree(tiny.root, engine="laion_fmri", chunks=chunks)
        reads.clear()
        tree["/sub-03/betas"].sel(roi="FFA1", session="ses-02").compute()
        assert_read(reads, {"ses-02": EVERY_TRIAL["ses-02"]}, tiny.voxels[tiny.members("FFA1")])


def test_arguments_of_opening_narrow_the_read(tiny, reads) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject=3, roi="FFA1", sessions=2, stimuli="shared")
    ds.betas.compute()
    shared = [i for i, n in enumerate(tiny.tables["sub-03", "ses-02"].label) if n.startswith("shared")]
    assert_read(reads, {"ses-02": shared}, tiny.voxels[tiny.members("FFA1")])


def test_a_computation_hides_the_plan_and_stays_right(ds: xr.Dataset, tiny) -> None:
    doubled = ds.assign(betas=ds.betas * 2).sel(roi="FFA1", session="ses-02")
    np.testing.assert_array_equal(doubled.betas, tiny.matrix(sessions=["ses-02"])[:, tiny.members("FFA1")] * 2)


# computing


def test_arrays_computed_together_or_again_are_right_and_independent(ds: xr.Dataset, tiny) -> None:
    whole = tiny.matrix()
    few = ds.betas.isel(voxel=slice(0, 20))
    mean, again, part, first = dask.compute(few.mean("trial").data, few.data, few[:20].data, few.data)
    np.testing.assert_allclose(mean, np.nanmean(whole[:, :20], axis=0), rtol=1e-5)
    np.testing.assert_array_equal(again, whole[:, :20])
    np.testing.assert_array_equal(part, whole[:20, :20])
    np.testing.assert_array_equal(first, again)
    one, two = few.compute(), few.compute()
    one[:] = 0  # a result is one's own: writing to it changes no other
    np.testing.assert_array_equal(two, whole[:, :20])
    np.testing.assert_array_equal(few, whole[:, :20])


def test_a_persisted_array_is_not_changed_by_what_is_computed_from_it(ds: xr.Dataset, tiny) -> None:
    whole = tiny.matrix()[:, :20]
    kept = ds.betas.isel(voxel=slice(0, 20)).persist()
    found = kept.compute()
    found[:] = 0
    np.testing.assert_array_equal(kept.compute(), whole)
    np.testing.assert_array_equal(kept.sel(session="ses-02"), whole[14:31])


@pytest.mark.parametrize("scheduler", ["threads", "sync", "processes"])
def test_any_scheduler(tiny, scheduler: str) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    with dask.config.set(scheduler=scheduler, num_workers=2):
        np.testing.assert_array_equal(ds.betas, tiny.matrix())
        np.testing.assert_array_equal(ds.sel(roi="FFA1").betas, tiny.matrix()[:, tiny.members("FFA1")])


def test_threads_of_the_user_compute_the_same_array_at_once(ds: xr.Dataset, tiny) -> None:
    whole, found = tiny.matrix(), {}

    def compute(i: int) -> None:
        found[i] = ds.betas.compute().values

    threads = [threading.Thread(target=compute, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for values in found.values():
        np.testing.assert_array_equal(values, whole)
    assert len({v.ctypes.data for v in found.values()}) == 4


# memory


@pytest.fixture
def budget() -> Iterator[None]:
    yield
    set_decode_budget(None)


@pytest.mark.usefixtures("budget")
@pytest.mark.parametrize("sessions_at_once", [1, 2])
def test_concurrent_decodes_stay_within_the_budget(
    tiny, monkeypatch: pytest.MonkeyPatch, sessions_at_once: int
) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    n_voxels = ds.sizes["voxel"]
    set_decode_budget(sessions_at_once * 17 * n_voxels * 4)
    running, most, lock = 0, 0, threading.Lock()
    read, pause = NiftiReader.read, threading.Event()

    def counting(self, trials, voxels, out=None):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pause.wait(0.05)
        found = read(self, trials, voxels, out)
        with lock:
            running -= 1
        return found

    monkeypatch.setattr(NiftiReader, "read", counting)
    with dask.config.set(scheduler="threads", num_workers=3):
        (ds.betas + 1).compute()
    assert most == sessions_at_once
    assert 0 < decode_budget().peak <= decode_budget().total
    assert decode_budget().held == 0


# chunks that cost


@pytest.mark.parametrize("chunks", [{"trial": 5}, {"voxel": 40}, {"trial": 5, "voxel": 40}])
def test_chunks_that_split_a_session_warn_of_their_cost(tiny, chunks: dict[str, int]) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    blocks = -(-46 // chunks.get("trial", 46)) * -(-ds.sizes["voxel"] // chunks.get("voxel", 1000))
    with pytest.warns(ReadCostWarning, match=r"3 sessions into .* blocks.*about \d+ times the reading. Select first"):
        found = ds[["betas"]].chunk(chunks)
    assert found.betas.data.npartitions >= blocks
    np.testing.assert_array_equal(found.betas, tiny.matrix())


# xarray warns of its own, of chunks that separate the stored ones
@pytest.mark.filterwarnings("ignore:The specified chunks separate the stored chunks:UserWarning")
def test_chunks_auto_warns_where_it_splits(tiny) -> None:
    with dask.config.set({"array.chunk-size": "2kiB"}), pytest.warns(ReadCostWarning, match="split the reads"):
        ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", chunks="auto")
    np.testing.assert_array_equal(ds.betas, tiny.matrix())


@pytest.mark.parametrize("chunks", [{}, -1, {"trial": -1}, {"trial": (14, 17, 15)}, {"trial": (31, 15)}])
def test_chunks_of_whole_sessions_do_not_warn(tiny, chunks: Any) -> None:
    ds = xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")
    np.testing.assert_array_equal(ds.betas.chunk(chunks), tiny.matrix())


def test_chunks_as_they_are_change_nothing(tiny) -> None:
    plain, asked = (
        xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03", chunks=c, embeddings="all")
        for c in (None, {})
    )
    for name in plain.data_vars:
        assert plain[name].chunks == asked[name].chunks, name
        assert plain[name].data.name == asked[name].data.name, name
    model = {"group": "sub-03/ses-01/glmsingle", "engine": "laion_fmri"}
    plain, asked = (xr.open_dataset(tiny.root, chunks=c, **model) for c in (None, {}))
    for name in plain.data_vars:
        assert plain[name].chunks == asked[name].chunks, name


def test_tokens_follow_the_files(tiny_copy, tiny) -> None:
    here = xr.open_dataset(tiny_copy.root, engine="laion_fmri", subject="sub-03").betas.data.name
    assert here == xr.open_dataset(tiny_copy.root, engine="laion_fmri", subject="sub-03").betas.data.name
    assert here != xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03").betas.data.name
    path = tiny_copy.betas_file("ses-02")
    path.write_bytes(path.read_bytes())  # a new time
    assert here != xr.open_dataset(tiny_copy.root, engine="laion_fmri", subject="sub-03").betas.data.name
