"""`.laion.to_numpy_folder`: what plain NumPy and json read back, the memory, the folder that appears whole or not."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import laion_xr
from laion_xr.errors import CorruptFileError, FileAccessError, FileFormatError, SelectionError, StoreError
from laion_xr.exports import from_assembly, npy, read_numpy, to_numpy
from laion_xr.lazy.array import ReadPlan, VoxelIds, planned_array
from laion_xr.lazy.budget import set_decode_budget


@pytest.fixture
def ds(tiny: Any) -> xr.Dataset:
    return xr.open_dataset(tiny.root, engine="laion_fmri", subject="sub-03")


def test_plain_numpy_reads_what_is_on_disk(ds: xr.Dataset, tiny: Any, reads: Any, tmp_path: Path) -> None:
    assert ds.laion.to_numpy_folder(tmp_path / "x") == tmp_path / "x"
    assert len(reads.betas) == len(tiny.sessions("sub-03"))  # each session once
    folder = tmp_path / "x"
    arrays = {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}
    np.testing.assert_array_equal(arrays["betas"], tiny.matrix())
    assert arrays["betas"].dtype == np.float32
    assert arrays["stimulus"].dtype.kind == "U"
    assert arrays["stimulus"].tolist() == tiny.table().label.tolist()
    assert arrays["button"].tolist() == tiny.table().button.tolist()
    np.testing.assert_array_equal(arrays["voxel"], tiny.voxels)
    np.testing.assert_array_equal(arrays["r2_mean"], tiny.in_mask(tiny.subject_maps["sub-03", "r2_mean"]))
    content = json.loads((folder / "dataset.json").read_text("utf-8"))
    assert content["dims"] == {"trial": arrays["trial"].size, "voxel": arrays["voxel"].size, "ses": 3}
    assert content["attrs"]["subject"] == "sub-03"
    assert content["attrs"]["grid_shape"] == list(tiny.grid)
    assert content["laion_xr_version"] == laion_xr.__version__
    assert set(content["variables"]) == set(ds.variables) == set(arrays)
    for name, entry in content["variables"].items():
        assert tuple(entry["dims"]) == ds[name].dims
        assert (tuple(entry["shape"]), np.dtype(entry["dtype"])) == (arrays[name].shape, arrays[name].dtype)
        assert entry["coordinate"] == (name in ds.coords)
        assert entry["sha256"] == hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()
    assert content["variables"]["betas"]["attrs"]["units"] == "percent signal change"
    assert content["variables"]["x"]["attrs"]["units"] == "mm"


def elsewhere(source: Any) -> Any:
    """A copy that has forgotten the folder of this machine, as what was exported has."""
    source = source.copy()
    for name in ("stimulus", "voxel"):
        if name in source.coords:
            attrs = {k: v for k, v in source[name].attrs.items() if k != "root"}
            if "places" in attrs:
                places = {
                    s: {k: v for k, v in p.items() if k != "root"} for s, p in json.loads(attrs["places"]).items()
                }
                attrs["places"] = json.dumps(places)
            source[name].attrs = attrs
    return source


KINDS: dict[str, Any] = {
    "trials": lambda ds: ds,
    "means": lambda ds: ds.laion.average_repeats(),
    "z": lambda ds: ds.laion.zscore(),
    "loaded": lambda ds: ds.load(),
    "sorted": lambda ds: ds.sortby("stimulus"),
    "selected": lambda ds: ds.sel(roi="V1v", session=["ses-03", "ses-01"]).isel(trial=slice(None, None, -1)),
    "no voxels": lambda ds: ds.isel(voxel=[]),
    "no trials": lambda ds: ds.isel(trial=[]),
    "other dask": lambda ds: ds.assign(betas=ds.betas * 2),
    "scalars": lambda ds: ds[["betas"]].isel(trial=3, voxel=0),
    "bool": lambda ds: ds[["r2_mean"]].assign(high=ds.r2_mean > 1, when=ds.trial.astype("datetime64[s]")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_back_is_the_source(ds: xr.Dataset, tmp_path: Path, kind: str) -> None:
    source = KINDS[kind](ds)
    to_numpy(source, tmp_path / "x")
    found = read_numpy(tmp_path / "x", verify=True)
    # betas come lazily, labels in memory
    if "betas" in found and found.betas.size:
        assert isinstance(found.betas.data, da.Array)
    assert all(isinstance(c.data, np.ndarray) for c in found.coords.values())
    xr.testing.assert_identical(found.load(), elsewhere(source).compute())
    assert set(found.xindexes) == set(source.xindexes)
    for name in source.variables:
        assert found[name].dtype == source[name].dtype


def test_an_array_keeps_its_labels(ds: xr.Dataset, tmp_path: Path) -> None:
    ffa = ds.betas.sel(roi="V1v")
    ffa.laion.to_numpy_folder(tmp_path / "x")
    found = read_numpy(tmp_path / "x")
    xr.testing.assert_identical(found.betas.compute(), elsewhere(ffa).compute())
    assert found.attrs["subject"] == "sub-03"
    np.testing.assert_array_equal(
        found.laion.to_nifti(found.betas[0]).get_fdata(), ds.laion.to_nifti(ffa[0]).get_fdata()
    )
    found.sel(roi="V1v", session="ses-01")
    xr.DataArray([1.0, 2.0], dims="n").laion.to_numpy_folder(tmp_path / "bare")
    assert np.load(tmp_path / "bare" / "values.npy").tolist() == [1, 2]


def test_several_subjects_come_back(tiny: Any, tmp_path: Path) -> None:
    both = xr.open_datatree(tiny.root, engine="laion_fmri").laion.shared()
    both.laion.to_numpy_folder(tmp_path / "x")
    found = read_numpy(tmp_path / "x")
    xr.testing.assert_identical(found.compute(), elsewhere(both).compute())
    assert set(found.xindexes) == set(both.xindexes)
    np.testing.assert_array_equal(
        found.sel(subject="sub-01", roi="V1v").betas, both.sel(subject="sub-01", roi="V1v").betas
    )


@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")  # zarr says that its text has no final format yet
@pytest.mark.parametrize("kind", ["netcdf", "zarr"])
def test_what_xarray_stored_is_exported_as_the_source(ds: xr.Dataset, tmp_path: Path, kind: str) -> None:
    source = ds.isel(trial=slice(5)).load()
    if kind == "zarr":
        source.to_zarr(tmp_path / "a.zarr")
        stored = xr.open_zarr(tmp_path / "a.zarr")
        assert stored.stimulus.dtype.kind == "T"
    else:
        source.to_netcdf(tmp_path / "a.nc")
        stored = xr.open_dataset(tmp_path / "a.nc")
    pytest.importorskip("rsatoolbox", reason="needs rsatoolbox")
    with stored:
        found = read_numpy(stored.laion.index_labels().laion.to_numpy_folder(tmp_path / "x")).load()
        rsa = stored.laion.to_rsatoolbox()
        same = from_assembly(stored.laion.to_assembly()).load()
    for result in (found, same):
        for name in ("stimulus", "session", "roi"):
            assert result[name].values.tolist() == source[name].values.tolist()
        np.testing.assert_array_equal(result.betas, source.betas)
        np.testing.assert_array_equal(result.sel(roi="V1v").voxel, source.sel(roi="V1v").voxel)
    assert np.asarray(rsa.obs_descriptors["stimulus"]).tolist() == source.stimulus.values.tolist()


@pytest.mark.parametrize("kind", ["trials", "means"])
def test_from_a_store(tiny: Any, tmp_path: Path, kind: str) -> None:
    laion_xr.ingest(tiny.root, tmp_path / "store", subjects="sub-03", progress=False)
    ds = xr.open_dataset(
        tiny.root, engine="laion_fmri", subject="sub-03", store=str(tmp_path / "store"), source="store"
    )
    source = KINDS[kind](ds)
    blocks = source.assign(betas=source.betas.chunk({source.betas.dims[0]: -1, "voxel": 40}))
    to_numpy(blocks, tmp_path / "x")
    np.testing.assert_array_equal(np.load(tmp_path / "x" / "betas.npy"), source.betas.values)


def test_sorted_trials_read_each_session_once(ds: xr.Dataset, tiny: Any, reads: Any, tmp_path: Path) -> None:
    order = np.argsort(tiny.table().label.to_numpy(dtype=str), kind="stable")
    set_decode_budget(1)  # a session at a time
    try:
        to_numpy(ds[["betas"]].isel(trial=order), tmp_path / "x")
    finally:
        set_decode_budget(None)
    assert sorted(r.session for r in reads.betas) == ["ses-01", "ses-02", "ses-03"]
    np.testing.assert_array_equal(np.load(tmp_path / "x" / "betas.npy"), tiny.matrix()[order])


class Session:
    """A reader of 2 MB of numbers, each told by where it is."""

    shape, dtype = (64, 8192), np.dtype(np.float32)

    def __init__(self, number: int) -> None:
        self.number = number
        self.token = ("session", number)

    def read(self, trials: Any, voxels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        rows = np.arange(64)[trials]
        values = (self.number * 64 + rows[:, None] + voxels / 8192).astype(np.float32)
        if out is None:
            return values
        out[...] = values
        return out


def peak_of(call: Any) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["reads", "blocks of voxels", "other dask"])
def test_memory_is_a_few_blocks_never_all(tmp_path: Path, kind: str) -> None:
    plan = ReadPlan(tuple(Session(n) for n in range(32)), VoxelIds(np.arange(8192)))  # type: ignore[arg-type]
    if kind == "blocks of voxels":
        plan = plan.by_voxels(256)
    data = planned_array(plan)
    whole = (np.arange(32 * 64)[:, None] + np.arange(8192) / 8192).astype(np.float32)
    data = data + 0 if kind == "other dask" else data
    set_decode_budget(8 << 20)
    try:
        with dask.config.set(scheduler="threads", num_workers=2):
            peak = peak_of(lambda: npy.write_npy(tmp_path / "x.npy", data))
    finally:
        set_decode_budget(None)
    assert whole.nbytes == 64 << 20
    assert peak < 20 << 20
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), whole)


def test_what_is_read_back_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npy, "BLOCK_BYTES", 1 << 20)
    values = np.random.default_rng(0).random((4096, 1024)).astype(np.float32)  # 16 MB
    to_numpy(xr.Dataset({"betas": (("trial", "voxel"), values)}), tmp_path / "x")

    def part() -> None:
        np.testing.assert_array_equal(read_numpy(tmp_path / "x").betas[1000:1010].values, values[1000:1010])

    assert peak_of(part) < 4 << 20


def test_a_folder_that_is_there_is_kept(ds: xr.Dataset, tmp_path: Path) -> None:
    small = ds[["r2_mean"]]
    (tmp_path / "empty").mkdir()
    to_numpy(small, tmp_path / "empty")  # nothing is lost
    with pytest.raises(SelectionError, match="overwrite=True"):
        to_numpy(small, tmp_path / "empty")
    to_numpy(small.isel(voxel=slice(3)), tmp_path / "empty", overwrite=True)
    assert read_numpy(tmp_path / "empty").sizes["voxel"] == 3
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(SelectionError, match="is not replaced"):
            to_numpy(small, other, overwrite=overwrite)
    with pytest.raises(SelectionError, match="found a file"):
        to_numpy(small, other / "thesis.tex", overwrite=True)
    with pytest.raises(SelectionError, match="s3://"):
        to_numpy(small, "s3://bucket/x")
    assert (other / "thesis.tex").read_text() == "x"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "other"]


def test_what_is_no_folder(ds: xr.Dataset, tmp_path: Path) -> None:
    small = ds[["r2_mean"]]
    for call in (small.laion.to_numpy_folder, ds.laion.to_nifti_folder, read_numpy):
        for folder in (5, None, b"x", ["x"]):
            with pytest.raises(SelectionError, match=f"folder is text or a path, found {type(folder).__name__}"):
                call(folder)
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file" / "x", tmp_path / "file" / "a" / "x"):
        with pytest.raises(SelectionError, match="found a file: give another place"):
            to_numpy(small, folder)
    assert read_numpy(to_numpy(small, str(tmp_path / "a" / "b"))).sizes == small.sizes  # missing folders are made


def test_a_failure_leaves_nothing_and_the_old_folder(ds: xr.Dataset, tmp_path: Path) -> None:
    small = ds[["r2_mean"]]
    to_numpy(small, tmp_path / "x")

    def broken(block: np.ndarray) -> np.ndarray:
        raise RuntimeError("no more")

    bad = small.assign(r2_mean=("voxel", da.zeros(151).map_blocks(broken, meta=np.empty(0))))
    with pytest.raises(RuntimeError, match="no more"):
        to_numpy(bad, tmp_path / "x", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    xr.testing.assert_identical(read_numpy(tmp_path / "x", verify=True).compute(), elsewhere(small).compute())


def test_a_full_disk_is_an_error_before_anything_is_read(
    ds: xr.Dataset, reads: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, start: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(npy.os, "posix_fallocate", full)
    with pytest.raises(StoreError, match=r"no room for \w+\.npy"):
        to_numpy(ds, tmp_path / "x")
    assert (reads.betas, list(tmp_path.iterdir())) == ([], [])


def test_a_place_that_may_not_be_written(ds: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)  # the tests may run as root
    with pytest.raises(FileAccessError, match="may not be written"):
        to_numpy(ds[["r2_mean"]], tmp_path / "x")


def test_objects_and_attributes_that_no_file_takes(ds: xr.Dataset, tmp_path: Path) -> None:
    mixed = ds[["r2_mean"]].assign(note=("voxel", np.array(["a", 1.5] + ["b"] * 149, dtype=object)))
    with pytest.raises(SelectionError, match=r"'note'.*1\.5 \(float\).*fillna"):
        to_numpy(mixed, tmp_path / "x")
    with pytest.raises(SelectionError, match="'thing' of the data is a object"):
        to_numpy(ds[["r2_mean"]].assign_attrs(thing=object()), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    odd = ds[["r2_mean"]].assign_attrs(a=np.float32(1.5), b=np.arange(2), c=None, d=(1, "x"), e={"f": True})
    to_numpy(odd, tmp_path / "x")
    assert read_numpy(tmp_path / "x").attrs | {"x": 0} == ds.attrs | {
        "a": 1.5, "b": [0, 1], "c": None, "d": [1, "x"], "e": {"f": True}, "x": 0
    }  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=6), data=st.data())
def test_any_text_and_numbers_come_back(tmp_path: Path, texts: list[str], data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u2", "?", ">f4", "c8"]))
    numbers = np.asarray(data.draw(arrays(dtype, len(texts))))
    values = np.empty(len(texts), dtype=object)
    values[:] = texts
    source = xr.Dataset({"numbers": ("n", numbers)}, coords={"text": ("n", values)})
    if any(text.endswith("\0") for text in texts):
        with pytest.raises(SelectionError, match="NUL"):
            to_numpy(source, tmp_path / "x", overwrite=True)
        return
    to_numpy(source, tmp_path / "x", overwrite=True)
    found = read_numpy(tmp_path / "x", verify=True)
    xr.testing.assert_identical(found.compute(), source)
    assert found.numbers.dtype == source.numbers.dtype


@pytest.mark.parametrize("kind", ["trials", "other dask"])
def test_on_a_cluster(ds: xr.Dataset, tiny: Any, tmp_path: Path, two_processes: Any, kind: str) -> None:
    with Client(two_processes):
        to_numpy(KINDS[kind](ds), tmp_path / "x")
        found = read_numpy(tmp_path / "x").betas.sel(roi="V1v").values
    factor = 2 if kind == "other dask" else 1
    np.testing.assert_array_equal(np.load(tmp_path / "x" / "betas.npy"), factor * tiny.matrix())
    np.testing.assert_array_equal(found, factor * tiny.matrix()[:, tiny.members("V1v")])


def test_names_that_no_file_takes(tmp_path: Path) -> None:
    source = xr.Dataset({"../up": ("n", [1]), "A": ("n", [2]), "a": ("n", [3]), "é / b": ("n", [4]), "//": ("n", [5])})
    to_numpy(source, tmp_path / "x")
    files = [p.name for p in (tmp_path / "x").iterdir()]
    assert len({name.lower() for name in files}) == 6
    assert all(name.isascii() and not name.startswith(".") for name in files)
    xr.testing.assert_identical(read_numpy(tmp_path / "x").compute(), source)


def test_what_was_damaged_is_said(ds: xr.Dataset, tmp_path: Path) -> None:
    folder = to_numpy(ds[["r2_mean"]], tmp_path / "x")
    with pytest.raises(FileFormatError, match=r"found no .*dataset\.json"):
        read_numpy(tmp_path)
    values = np.load(folder / "r2_mean.npy")
    np.save(folder / "r2_mean.npy", values + 1)
    read_numpy(folder)
    with pytest.raises(CorruptFileError, match=r"r2_mean\.npy"):
        read_numpy(folder, verify=True)
    np.save(folder / "r2_mean.npy", values[:-1])  # another length
    with pytest.raises(FileFormatError, match=r"\(151,\).*found.*\(150,\)"):
        read_numpy(folder)
    (folder / "r2_mean.npy").write_bytes(b"what")
    with pytest.raises(FileFormatError, match=r"r2_mean\.npy"):
        read_numpy(folder)
    (folder / "r2_mean.npy").unlink()
    with pytest.raises(FileFormatError, match="is not there"):
        read_numpy(folder)
    description = folder / "dataset.json"
    content = json.loads(description.read_text())
    for change, says in (
        ({"version": 2}, "version 1"),
        ({"variables": {"x": {}}}, "describe"),
        ({"format": "?"}, "NumPy folder"),
    ):
        description.write_text(json.dumps(content | change))
        with pytest.raises(FileFormatError, match=says):
            read_numpy(folder)
    description.write_text("{")
    with pytest.raises(FileFormatError, match="JSON"):
        read_numpy(folder)
